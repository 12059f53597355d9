"""Where the service listens: beyond this machine only with an administrator and TLS, or a proxy that is named."""

import json
import os
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from gateway.api.http.listening import NotSafe, entrance_of, require_administrator, require_safe_settings
from gateway.api.http.server import make_app
from gateway.people.authentication.secret_seal import SecretSeal
from gateway.people.people import make_people
from gateway.settings import HttpSettings
from tests.servers.api_server import ApiServer
from tests.servers.mosquitto import free_port
from tests.servers.service import GENGFU, Service, wait_until

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is refused
TLS = {"tls_certificate": "cert.pem", "tls_key": "key.pem"}
PROXY = {"behind_proxy": True, "public_url": "https://watch.example.net"}
PASSWORD = "nine kettles sing before dawn"


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({}, ""),
        ({"host": "::1"}, ""),
        ({"host": EVERYWHERE}, "sent unencrypted"),
        ({"host": "192.0.2.1"}, "sent unencrypted"),
        ({"host": "192.0.2.1", **TLS}, ""),
        ({"host": EVERYWHERE, **TLS}, "http.public_url"),  # it would answer to no name
        ({"host": EVERYWHERE, "public_url": "https://watch.example.net", **TLS}, ""),
        ({"tls_key": "key.pem"}, "belong together"),
        ({"tls_certificate": "cert.pem"}, "belong together"),
        (PROXY, ""),
        ({**PROXY, "public_url": ""}, "http.public_url"),
        ({**PROXY, "public_url": "http://watch.example.net"}, "https://"),
        ({**PROXY, "host": EVERYWHERE}, "http.trusted_proxies"),
        ({**PROXY, "host": EVERYWHERE, "trusted_proxies": ("172.16.0.0/12",)}, ""),
        ({"public_url": "https://watch.example.net"}, "http.behind_proxy"),  # who does the TLS?
        ({"public_url": "http://localhost:8080"}, ""),
    ],
)
def test_settings_that_would_let_strangers_listen_are_refused(given: dict[str, Any], complaint: str) -> None:
    http = HttpSettings(**given)
    if not complaint:
        return require_safe_settings(http)
    with pytest.raises(NotSafe, match=complaint):
        require_safe_settings(http)
    return None


@pytest.mark.parametrize(
    ("given", "reached"),
    [({}, False), ({"host": "localhost"}, False), ({"host": "192.0.2.1", **TLS}, True), (PROXY, True)],
)
def test_where_others_reach_it_somebody_must_be_able_to_log_in(given: dict[str, Any], reached: bool) -> None:
    http = HttpSettings(**given)
    require_administrator(http, 1)
    assert entrance_of(http, demo=False).local is not reached
    assert entrance_of(http, demo=True).local is False
    if reached:
        with pytest.raises(NotSafe, match="gengfu user add"):
            require_administrator(http, 0)
    else:
        require_administrator(http, 0)


def test_a_proxy_is_named_by_address_or_network() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        HttpSettings(trusted_proxies=("nonsense",))


# -- whoever is at this machine ------------------------------------------------------------------------


@pytest.fixture
async def alone(api: ApiServer) -> Any:
    """The same server, as a real service that has no accounts yet."""
    people = make_people(api.services.database, 15, SecretSeal(Path("second_factor.key")), demo=False)
    await people.hashes.open()
    await people.accounts.refresh()
    services = api.services._replace(people=people, registry=CollectorRegistry())
    app = make_app(services, api.feed, None, entrance_of(HttpSettings(), demo=False))
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        yield ApiServer(client, services, api.feed, api.clock, api.components)
    people.hashes.close()


async def test_without_accounts_whoever_is_at_this_machine_may_everything(alone: ApiServer) -> None:
    status, me = await alone.get("/api/v1/me")
    assert (status, me["id"], me["account"], me["demo"]) == (200, "local", False, False)
    assert (await alone.get("/api/v1/people"))[0] == 200
    assert (await alone.get("/api/v1/me/logins"))[0] == 403, "it has no account"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
async def test_what_a_proxy_has_passed_on_is_not_this_machine(alone: ApiServer, header: str) -> None:
    """Somebody puts a proxy in front without saying so: then everybody would be at this machine."""
    assert (await alone.get("/api/v1/me", headers={header: "203.0.113.9"}))[0] == 401


async def test_with_the_first_account_the_local_person_is_gone(alone: ApiServer) -> None:
    body = {
        "username": "ann", "name": {"en": "Ann", "zh-CN": "安"}, "password": PASSWORD,
        "roles": [{"site": "*", "role": "admin"}],
    }  # fmt: skip
    async with alone.client.ws_connect("/api/v1/live") as socket:
        await socket.receive_json(timeout=20)
        assert (await alone.post("/api/v1/people", body))[0] == 200
        assert (await alone.get("/api/v1/me"))[0] == 401
    assert (await alone.post("/api/v1/session", {"username": "ann", "password": PASSWORD}))[0] == 200
    assert (await alone.get("/api/v1/people"))[1]["items"][0]["roles"] == {"*": ["admin"]}


# -- the real service ----------------------------------------------------------------------------------


def gengfu(*arguments: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [GENGFU, *arguments], input=typed, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, and its key beside it."""
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key.pem"),
         "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def tls_settings(folder: Path) -> dict[str, str]:
    return {
        "GENGFU_HTTP__HOST": EVERYWHERE,
        "GENGFU_HTTP__PUBLIC_URL": "https://127.0.0.1",
        "GENGFU_HTTP__TLS_CERTIFICATE": str(folder / "cert.pem"),
        "GENGFU_HTTP__TLS_KEY": str(folder / "key.pem"),
    }


def test_beyond_loopback_nothing_is_served_in_the_clear_nor_without_an_administrator(
    tmp_path: Path, certificate: Path
) -> None:
    folder = ["--data-dir", str(tmp_path), "--http-port", "0"]
    done = gengfu("serve", *folder, GENGFU_HTTP__HOST=EVERYWHERE)
    assert (done.returncode, "127.0.0.1 only" in done.stderr) == (1, True)
    done = gengfu("serve", *folder, **tls_settings(certificate))
    assert (done.returncode, "gengfu user add" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr


@pytest.fixture
def over_tls(tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service on every address of this machine, with an administrator."""
    done = gengfu("user", "add", "ann", "--data-dir", str(tmp_path / "data"), typed=f"{PASSWORD}\n")
    assert done.returncode == 0, done.stderr
    for name, value in tls_settings(certificate).items():
        monkeypatch.setenv(name, value)
    service = Service(tmp_path / "data", free_port())
    yield service.start()
    service.kill()


def test_with_an_administrator_and_tls_it_is_served_everywhere(over_tls: Service, certificate: Path) -> None:
    trust = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    address = f"https://127.0.0.1:{over_tls.http_port}"

    def ask(path: str, body: bytes | None = None, cookie: str = "") -> tuple[int, Any, Any]:
        request = urllib.request.Request(address + path, body, {"Content-Type": "application/json", "Cookie": cookie})
        try:
            with urllib.request.urlopen(request, timeout=20, context=trust) as answer:
                return answer.status, answer.headers, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, error.headers, json.loads(error.read())

    def answers() -> bool:
        try:
            return ask("/healthz")[0] == 200
        except urllib.error.URLError:
            return False

    wait_until(answers, "the service answers over TLS")
    assert ask("/api/v1/me")[0] == 401, "nobody is local any more"
    login = json.dumps({"username": "ann", "password": PASSWORD}).encode()
    status, headers, me = ask("/api/v1/session", login)
    assert (status, me["roles"]) == (200, {"*": ["admin"]})
    cookie = headers.get_all("Set-Cookie")[0].partition(";")[0]
    assert cookie.startswith("__Host-gengfu_login=")
    assert ask("/api/v1/me", cookie=cookie)[0] == 200
    done = gengfu("user", "add", "bo", "--data-dir", str(over_tls.folder), "--role", "admin", typed=f"{PASSWORD}\n")
    assert done.returncode == 0, "while the service runs too"
    done = gengfu("user", "disable", "ann", "--data-dir", str(over_tls.folder))
    assert done.returncode == 0, done.stderr
    wait_until(lambda: ask("/api/v1/me", cookie=cookie)[0] == 401, "the login ends in the running service", 3)
