"""`approval.permissions` set for ledger and rules, on the real service: two people, and a machine that requests."""

import asyncio
import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest

from tests.servers.mosquitto import Mosquitto
from tests.servers.service import GENGFU, Service, wait_until
from tests.servers.wire import send

pytestmark = pytest.mark.server
PASSWORD = "nine kettles sing before dawn"
LEDGER_AND_RULES = '["adopt_equipment", "edit_ledger", "manage_rules"]'
API = "/api/v1"


class Caller:
    """Somebody at the door: with a login of their own, or with a token."""

    def __init__(self, service: Service, username: str = "", token: str = "") -> None:
        self._service = service
        self._headers = {"Content-Type": "application/json"}
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        if username:
            status, answer = self.ask("POST", "/session", {"username": username, "password": PASSWORD})
            assert status == 200, answer

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        address = f"http://127.0.0.1:{self._service.http_port}{API}{path}"
        request = urllib.request.Request(address, data, self._headers, method=method)
        try:
            with self._opener.open(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def approve(self, what: dict[str, Any]) -> tuple[int, Any]:
        return self.ask("POST", f"/approvals/{what['id']}/approve", {"version": what["version"]})


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """With two administrators, two pumps that nobody has adopted, and two people for ledger and rules."""
    mosquitto = Mosquitto(tmp_path / "mosquitto").start()
    for name in ("ann", "bo"):
        subprocess.run(
            [GENGFU, "user", "add", name, "--role", "admin", "--data-dir", str(tmp_path / "data")], check=True,
            input=PASSWORD, capture_output=True, text=True, timeout=120, cwd=tmp_path, env={**os.environ},
        )  # fmt: skip
    service = Service(tmp_path / "data", mosquitto.port, GENGFU_APPROVAL__PERMISSIONS=LEDGER_AND_RULES)
    service.start()
    try:
        wait_until(service.is_ready, "the service is ready")
        pumps = [(f"gengfu/hq/pump/P-{number}/telemetry", b'{"running": true}') for number in (1, 2)]
        asyncio.run(send(mosquitto.port, pumps))
        yield service
    finally:
        service.kill()
        mosquitto.stop()


def test_ledger_and_rules_wait_for_the_second_of_two_and_then_hold(service: Service) -> None:
    ann, bo = Caller(service, "ann"), Caller(service, "bo")
    wait_until(lambda: ann.ask("GET", "/equipment/hq:P-2")[0] == 200, "both pumps were heard")
    _, made = ann.ask(
        "POST", "/tokens",
        {"name": "import", "sites": ["*"], "permissions": ["watch", "adopt_equipment", "edit_ledger", "manage_rules"]},
    )  # fmt: skip
    machine = Caller(service, token=made["secret"])
    change = {"rule": "pump.bearing_hot", "site": "hq", "changes": {"above": 91}, "version": 0}
    for asking, wanted, approving in (
        (ann, ("/equipment/hq:P-1/adopt", {"version": 1}), bo),
        (bo, ("/equipment/hq:P-2/adopt", {"version": 1}), ann),
        (ann, ("/equipment/hq:P-2/links", {"parent": "hq:P-1", "relation": "power"}), bo),
        (ann, ("/rules", change), bo),
        (machine, ("/rules", {**change, "version": 1, "changes": {"above": 92}}), bo),
        (bo, ("/rules/pump.bearing_hot/roll-back", {"site": "hq", "version": 2, "to": 1}), ann),
        (machine, ("/equipment/hq:P-2/links", {"parent": "hq:P-1", "relation": "network"}), bo),
    ):
        status, waiting = asking.ask("POST", *wanted)
        assert status == 202, (wanted, waiting)
        assert (waiting["state"], waiting["reason"]) == ("waiting", "approval.permissions")
        assert waiting["changes"], "the second person sees what it would change"
        assert asking.approve(waiting)[0] == 403
        if asking is machine:
            assert ann.approve(waiting)[1]["code"] == "same_person", "ann made its token"
        status, done = approving.approve(waiting)
        assert (status, done["state"], done["outcome"]) == (200, "approved", "done"), done
    assert [ann.ask("GET", f"/equipment/hq:P-{number}")[1]["adopted"] for number in (1, 2)] == [True, True]
    links = ann.ask("GET", "/equipment/hq:P-1/links")[1]
    assert [len(links[way]) for way in ("parents", "children")] == [0, 2]
    versions = ann.ask("GET", "/rules/pump.bearing_hot/versions?site=hq")[1]["items"]
    assert [(item["changes"], item["second_person_name"]["en"]) for item in versions] == [
        ({"above": 91}, "ann"), ({"above": 92}, "bo"), ({"above": 91}, "bo"),
    ]  # fmt: skip
    assert versions[1]["person"] == made["token"]["id"]
    status, waiting = ann.ask("DELETE", "/equipment/hq:P-2/links/power/hq:P-1")
    assert status == 202
    assert bo.approve(waiting)[1]["outcome"] == "done"
    status, problem = machine.ask("POST", "/rules", {**change, "version": 0})
    assert (status, problem["code"]) == (409, "stale_version"), "who comes too late hears it at once"
