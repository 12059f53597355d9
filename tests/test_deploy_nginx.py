"""A real nginx with the files of production before the real service: a login, TLS, and what does not go outside."""

import base64
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from gateway.api.server import MAX_BODY, PREFIX
from tests.deployed import DEPLOY, NAME, moved
from tests.influxdb import NGINX, require_influxdb
from tests.mosquitto import free_port
from tests.service import Service, wait_until

pytestmark = pytest.mark.server


class Proxy:
    """nginx with both files of deploy/nginx, other places and ports."""

    def __init__(self, folder: Path, secrets: Path, service_port: int) -> None:
        require_influxdb()  # the same check: nginx comes with it
        folder.mkdir()
        self.port, self.metrics_port = free_port(), free_port()
        shutil.copytree(secrets / "nginx", folder / "gengfu")
        gengfu = moved(
            (DEPLOY / "nginx" / "gengfu.conf").read_text(encoding="utf-8"),
            {
                "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
                "127.0.0.1:8080": f"127.0.0.1:{service_port}",
                "/etc/nginx/gengfu/": f"{folder}/gengfu/",
            },
        )
        metrics = moved(
            (DEPLOY / "nginx" / "metrics.conf").read_text(encoding="utf-8"),
            {"listen 9100": f"listen 127.0.0.1:{self.metrics_port}"},
        )
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        self._main = folder / "nginx.conf"
        self._main.write_text(
            f"daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log {folder}/nginx.log;\n"
            f"events {{ worker_connections 256; }}\nhttp {{\naccess_log off;\n{temporary}{gengfu}\n{metrics}\n}}\n",
            encoding="utf-8",
        )
        self.log = folder / "nginx.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Proxy":
        self._process = subprocess.Popen(
            [NGINX, "-p", str(self._main.parent), "-c", str(self._main), "-e", str(self.log)]
        )
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, secrets: Path) -> Iterator[Proxy]:
    """The service, told by which address people come, and nginx before it."""
    folder = tmp_path_factory.mktemp("proxy")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GENGFU_HTTP__PUBLIC_URL", f"https://{NAME}")
        service = Service(folder / "data", free_port()).start()
    proxy = Proxy(folder / "nginx", secrets, service.http_port).start()
    try:
        wait_until(lambda: answers(service), "the service answers")
        yield proxy
    finally:
        proxy.stop()
        service.kill()


def answers(service: Service) -> bool:
    try:
        return bool(service.get("/healthz"))
    except OSError:
        time.sleep(0.02)
        return False


@pytest.fixture
async def outside(proxy: Proxy, secrets: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser without a login: it knows the authority and comes by the server's name."""
    trusted = ssl.create_default_context(cafile=secrets / "ca.crt")
    async with aiohttp.ClientSession(
        f"https://localhost:{proxy.port}", connector=aiohttp.TCPConnector(ssl=trusted), headers={"Host": NAME}
    ) as session:
        yield session


@pytest.fixture
def login(secrets: Path) -> dict[str, str]:
    """As a browser sends it."""
    (_, _, words) = (secrets / "first-logins.txt").read_text().splitlines()[0].partition(": ")
    return logged_in_as(*words.split(" "))


def logged_in_as(username: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


@pytest.mark.parametrize("path", ["/", f"{PREFIX}/alarms", f"{PREFIX}/live", "/api/docs", "/t/C-1"])
async def test_nobody_gets_in_without_the_login(path: str, outside: aiohttp.ClientSession) -> None:
    async with outside.get(path) as answer:
        assert answer.status == 401
    async with outside.get(path, headers=logged_in_as("gengfu", "guess")) as answer:
        assert answer.status == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_monitor_outside_sees_how_it_is_without_a_login(path: str, outside: aiohttp.ClientSession) -> None:
    async with outside.get(path) as answer:
        assert answer.status in {200, 503}
        assert answer.content_type == "application/json"


async def test_with_the_login_people_reach_the_service(outside: aiohttp.ClientSession, login: dict[str, str]) -> None:
    async with outside.get(f"{PREFIX}/alarms", headers=login) as answer:
        assert (answer.status, await answer.json()) == (200, {"items": [], "next": None})
        assert answer.headers["Strict-Transport-Security"]


async def test_the_live_feed_comes_through(outside: aiohttp.ClientSession, login: dict[str, str]) -> None:
    async with outside.ws_connect(f"{PREFIX}/live", headers=login, origin=f"https://{NAME}") as feed:
        assert (await feed.receive_json(timeout=10))["type"] == "snapshot"


async def test_a_page_of_another_site_gets_nothing_done(outside: aiohttp.ClientSession, login: dict[str, str]) -> None:
    async with outside.post(
        f"{PREFIX}/session", json={}, headers={**login, "Origin": "https://evil.example"}
    ) as answer:
        assert (answer.status, (await answer.json())["code"]) == (403, "foreign_origin")


async def test_metrics_are_for_prometheus_inside_only(
    proxy: Proxy, outside: aiohttp.ClientSession, login: dict[str, str]
) -> None:
    async with outside.get("/metrics", headers=login) as answer:
        assert answer.status == 404
    async with aiohttp.ClientSession(f"http://127.0.0.1:{proxy.metrics_port}") as prometheus:
        async with prometheus.get("/metrics") as answer:
            assert "gengfu_messages_total" in await answer.text()
        for path in ("/", f"{PREFIX}/alarms", "/readyz"):
            async with prometheus.get(path) as answer:
                assert answer.status == 404


def test_an_old_tls_is_refused(proxy: Proxy, secrets: Path) -> None:
    address, authority = f"localhost:{proxy.port}", str(secrets / "ca.crt")
    command = ["openssl", "s_client", "-connect", address, "-CAfile", authority, "-verify_return_error"]
    assert (
        subprocess.run([*command, "-tls1_2"], input=b"", capture_output=True, timeout=20, check=False).returncode == 0
    )
    command += ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]
    assert subprocess.run(command, input=b"", capture_output=True, timeout=20, check=False).returncode != 0


def test_what_the_service_takes_the_proxy_lets_through() -> None:
    text = (DEPLOY / "nginx" / "gengfu.conf").read_text(encoding="utf-8")
    (megabytes,) = [line.split()[1] for line in text.splitlines() if "client_max_body_size" in line]
    assert int(megabytes.removesuffix("m;")) * 1024 * 1024 >= MAX_BODY
