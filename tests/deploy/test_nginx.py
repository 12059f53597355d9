"""A real nginx with the files of production before the real service: TLS, logins, and what does not go outside."""

import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from gateway.api.http.server import PREFIX
from gateway.settings import HttpSettings
from tests.deploy.deployed import DEPLOY, NAME, PASSWORD, gengfu, moved
from tests.servers.influxdb import NGINX, require_influxdb
from tests.servers.mosquitto import free_port
from tests.servers.service import Service, wait_until

pytestmark = pytest.mark.server


class Proxy:
    """nginx with the two files of a container, other places and ports."""

    def __init__(self, folder: Path, secrets: Path, service_port: int) -> None:
        require_influxdb()  # the same check: nginx comes with it
        folder.mkdir()
        self.port, self.metrics_port = free_port(), free_port()
        shutil.copytree(secrets / "nginx", folder / "gengfu")
        gengfu = moved(
            (DEPLOY / "nginx" / "gengfu.conf").read_text(encoding="utf-8"),
            {
                "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
                "/etc/nginx/gengfu/": f"{folder}/gengfu/",
            },
        )
        self.data = folder.parent / "data"
        self.container = moved(
            (DEPLOY / "nginx" / "container.conf").read_text(encoding="utf-8"),
            {"listen 9100": f"listen 127.0.0.1:{self.metrics_port}", "gengfu:8080": f"127.0.0.1:{service_port}"},
        )
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        self._main = folder / "nginx.conf"
        self._main.write_text(
            f"daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log {folder}/nginx.log;\n"
            f"events {{ worker_connections 256; }}\nhttp {{\naccess_log off;\n{temporary}{gengfu}\n"
            f"{self.container}\n}}\n",
            encoding="utf-8",
        )
        self.log = folder / "nginx.log"
        self._process: subprocess.Popen[bytes] | None = None

    def main_file(self) -> str:
        return self._main.read_text(encoding="utf-8")

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
    """The service with an administrator, told by which address people come, and nginx before it."""
    folder = tmp_path_factory.mktemp("proxy")
    gengfu("user", "add", "ann", "--data-dir", folder / "data", typed=f"{PASSWORD}\n")
    told = {"GENGFU_HTTP__PUBLIC_URL": f"https://{NAME}", "GENGFU_HTTP__BEHIND_PROXY": "true"}
    service = Service(folder / "data", free_port(), **told).start()
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
async def login(outside: aiohttp.ClientSession) -> dict[str, str]:
    """The cookie that the service gives, as a browser sends it back."""
    async with outside.post(f"{PREFIX}/session", json={"username": "ann", "password": PASSWORD}) as answer:
        assert answer.status == 200
        (cookie,) = [line for line in answer.headers.getall("Set-Cookie") if line.startswith("__Host-gengfu_login=")]
    assert {"Secure", "HttpOnly"} <= set(cookie.split("; "))
    return {"Cookie": cookie.partition(";")[0]}


@pytest.fixture(scope="module")
def token(proxy: Proxy) -> dict[str, str]:
    """A machine's, that may watch and read the metrics."""
    acts = ["--act", "watch", "--act", "read_metrics"]
    made = gengfu("user", "token", "add", "monitor", *acts, "--data-dir", proxy.data)
    return {"Authorization": f"Bearer {made.strip()}"}


@pytest.mark.parametrize("path", [f"{PREFIX}/alarms", f"{PREFIX}/live"])
async def test_nobody_gets_in_without_the_login(path: str, outside: aiohttp.ClientSession) -> None:
    """The service runs on the same machine as nginx: nobody who comes by nginx is taken for somebody at the machine."""
    async with outside.get(path) as answer:
        assert (answer.status, (await answer.json())["code"]) == (401, "not_signed_in")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/watchdog"])
async def test_a_monitor_outside_sees_how_it_is_without_a_login(path: str, outside: aiohttp.ClientSession) -> None:
    async with outside.get(path) as answer:
        assert answer.status in {200, 503}
        assert answer.content_type == "application/json"


async def test_with_the_login_people_reach_the_service(outside: aiohttp.ClientSession, login: dict[str, str]) -> None:
    async with outside.get(f"{PREFIX}/alarms", headers=login) as answer:
        assert (answer.status, await answer.json()) == (200, {"items": [], "next": None})
        assert answer.headers["Strict-Transport-Security"]


async def test_a_machines_token_reaches_the_service(outside: aiohttp.ClientSession, token: dict[str, str]) -> None:
    async with outside.get(f"{PREFIX}/alarms", headers=token) as answer:
        assert answer.status == 200


async def test_nobody_claims_another_address(outside: aiohttp.ClientSession, login: dict[str, str]) -> None:
    """What a browser says of where it comes from ends at nginx; guessers are counted by address."""
    claim = {"X-Forwarded-For": "203.0.113.9"}
    body = {"username": "ann", "password": PASSWORD}
    async with outside.post(f"{PREFIX}/session", json=body, headers=claim) as answer:
        assert answer.status == 200
    async with outside.get(f"{PREFIX}/me/logins", headers=login) as answer:
        assert {one["origin"] for one in (await answer.json())["items"]} == {"127.0.0.1"}


async def test_the_live_feed_comes_through(outside: aiohttp.ClientSession, login: dict[str, str]) -> None:
    async with outside.ws_connect(f"{PREFIX}/live", headers=login, origin=f"https://{NAME}") as feed:
        assert (await feed.receive_json(timeout=10))["type"] == "snapshot"


async def test_a_page_of_another_site_gets_nothing_done(outside: aiohttp.ClientSession, login: dict[str, str]) -> None:
    async with outside.post(
        f"{PREFIX}/session", json={}, headers={**login, "Origin": "https://evil.example"}
    ) as answer:
        assert (answer.status, (await answer.json())["code"]) == (403, "foreign_origin")


async def test_metrics_are_for_prometheus_inside_only_and_with_its_token(
    proxy: Proxy, outside: aiohttp.ClientSession, token: dict[str, str]
) -> None:
    async with outside.get("/metrics", headers=token) as answer:
        assert answer.status == 404
    async with aiohttp.ClientSession(f"http://127.0.0.1:{proxy.metrics_port}") as prometheus:
        async with prometheus.get("/metrics") as answer:
            assert answer.status == 401
        async with prometheus.get("/metrics", headers=token) as answer:
            assert "gengfu_messages_total" in await answer.text()
        async with prometheus.get("/healthz") as answer:
            assert answer.status == 204, "nginx's own, for its container's health check"
        for path in ("/", f"{PREFIX}/alarms", "/readyz"):
            async with prometheus.get(path, headers=token) as answer:
                assert answer.status == 404


def test_without_containers_nginx_asks_the_machine_itself(proxy: Proxy, tmp_path: Path) -> None:
    """The same file with the other address beside it: nginx takes both, and the address is the service's default."""
    machine = (DEPLOY / "nginx" / "machine.conf").read_text(encoding="utf-8")
    assert f"default {HttpSettings().host}:{HttpSettings().port};" in machine
    whole = tmp_path / "nginx.conf"
    whole.write_text(proxy.main_file().replace(proxy.container, machine), encoding="utf-8")
    command = [NGINX, "-t", "-q", "-c", str(whole), "-e", str(tmp_path / "nginx.log")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")


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
    assert int(megabytes.removesuffix("m;")) > HttpSettings().upload_mb
