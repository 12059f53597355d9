"""A power cut against the real service and a real Mosquitto: one cause, a trapped person, and a kill in between."""

from pathlib import Path
from typing import Any

import pytest

from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service, wait_until
from tests.simulators.test_commands import alarms, serving, simulating

pytestmark = pytest.mark.server

CUT = """\
estate: garden
timeline:
  - {at: 1s, equipment: [M-1, "L-*", F-1], fault: power_cut, for: 1h}
  - {at: 2s, equipment: L-2, fault: trapped, for: 1h}
"""
SOON = """\
rules:
  - id: sensor.mains_lost
    kind: sensor
    type: state
    field: mains
    in: [false]
    suppresses: [power]
    release_after: 2s
    priority: high
    ticket: repair
    title: {en: Power cut, zh-CN: 市电停电}
    advice: {en: Look., zh-CN: 查看。}
    source: a test does not wait for a minute
"""
FED = ("L-1", "L-2", "L-3", "F-1")
CHILDREN = {(code, "fire_panel.mains_lost" if code == "F-1" else "elevator.mains_lost") for code in FED}
EARLIER = ("F-1", "fire_panel.offline")
"""A simulator that ends says that its panel is gone: an alarm with a ticket, shortly before the cut."""
TRAPPED = ("L-2", "elevator.alarm_button")


def quiet(service: Service) -> set[tuple[str, str]]:
    return {which for which, alarm in alarms(service).items() if not alarm["annunciated"]}


def link(service: Service) -> None:
    """Wait until everything is heard, then say what the meter feeds."""
    heard = {f"garden:{code}" for code in (*FED, "M-1")}
    wait_until(lambda: heard <= {item["id"] for item in service.get("/api/v1/equipment")["items"]}, "all is heard")
    for code in FED:
        status, links = service.post(
            f"/api/v1/equipment/garden:{code}/links", {"parent": "garden:M-1", "relation": "power"}
        )
        assert status == 200, links


def tickets(service: Service) -> set[tuple[str, str]]:
    return {(item["equipment"], item["type"]) for item in service.get("/api/v1/tickets?limit=500")["items"]}


def under(service: Service, cause: dict[str, Any]) -> int:
    items = service.get(f"/api/v1/alarms?under={cause['id']}")["items"]
    assert service.get(f"/api/v1/alarms/{cause['id']}")["caused"] == len(items)
    return len(items)


def test_a_power_cut_is_one_alarm_and_the_trapped_person_another_also_over_a_kill(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "cut.yaml").write_text(CUT, "utf-8")
    (tmp_path / "soon.yaml").write_text(SOON, "utf-8")
    with serving(Service(tmp_path / "data", mosquitto.port, "--rules", str(tmp_path / "soon.yaml"))) as service:
        with simulating(mosquitto, "--connections", "shared", "--scenario", "calm"):
            link(service)
        with simulating(mosquitto, "--connections", "shared", "--scenario", str(tmp_path / "cut.yaml")):
            wait_until(lambda: TRAPPED in alarms(service), "somebody presses the button")
            wait_until(lambda: quiet(service) >= CHILDREN, "what the meter feeds is quiet")
            wait_until(
                lambda: tickets(service) >= {("garden:L-2", "emergency"), ("garden:M-1", "repair")}, "both tickets"
            )
            before = alarms(service)
            cause = before["M-1", "sensor.mains_lost"]
            assert quiet(service) == CHILDREN | {EARLIER}
            assert under(service, cause) == len(CHILDREN) + 1
            service.kill()
            service.start_ready()
            assert {key: alarms(service)[key]["suppressions"] for key in CHILDREN} == {
                key: before[key]["suppressions"] for key in CHILDREN
            }
            repaired = {place for place, kind in tickets(service) if kind == "repair"}
            assert not repaired & {"garden:L-1", "garden:L-2", "garden:L-3"}
        with simulating(mosquitto, "--connections", "shared", "--scenario", "calm"):
            wait_until(lambda: not quiet(service), "what the power cut explained comes back")
            wait_until(lambda: not any(alarms(service)[key]["active"] for key in CHILDREN), "all have power again")
        assert under(service, cause) == 0
        assert alarms(service)[TRAPPED]["annunciated"] is True
