"""`gengfu simulate` and `gengfu replay` as processes, against a real Mosquitto and the real service."""

import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import subscribe
from playwright.async_api import Browser, expect

from gateway.clocks import wall_ms
from tests.pages.test_control_room import browser, open_page, require_page
from tests.servers.mosquitto import Mosquitto
from tests.servers.service import GENGFU, Service, wait_until

pytestmark = pytest.mark.server
__all__ = ["browser"]  # a fixture

SCENARIO = """\
estate: garden
timeline:
  - {at: 2s, equipment: L-2, fault: trapped, for: 10min}
  - {at: 2s, equipment: F-1, fault: device_offline, for: 10min}
"""
MAPPING = """\
site: study
kind: sensor
equipment: {column: room, prefix: S-}
time: {column: when, format: "%Y-%m-%d %H:%M:%S"}
columns:
  celsius: {field: temperature}
  there: {field: online, values: {"yes": true, "no": false}}
"""
ROWS = """\
room,when,celsius,there
1,2013-12-16 10:00:00,21,yes
2,2013-12-16 10:00:00,21,yes
1,2013-12-16 10:01:00,70,yes
2,2013-12-16 10:01:00,70,yes
2,2013-12-16 10:01:05,21,yes
1,2013-12-16 10:02:00,21,yes
"""


@contextmanager
def simulating(mosquitto: Mosquitto, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [GENGFU, "simulate", "--mqtt-port", str(mosquitto.port), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(15)


@contextmanager
def serving(service: Service) -> Iterator[Service]:
    service.start_ready()
    try:
        yield service
    finally:
        service.stop()


def alarms(service: Service) -> dict[tuple[str, str], dict[str, Any]]:
    items = service.get("/api/v1/alarms?limit=500")["items"]
    return {(item["equipment"].partition(":")[2], item["rule"]): item for item in items}


def test_a_scenario_becomes_alarms_and_tickets_and_a_dropped_connection_its_last_will(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SCENARIO, "utf-8")
    wanted = {("L-2", "elevator.alarm_button"), ("F-1", "fire_panel.offline")}
    with (
        serving(Service(tmp_path / "data", mosquitto.port)) as service,
        simulating(mosquitto, "--scenario", str(path), "--connections", "each"),
    ):
        wait_until(lambda: set(alarms(service)) >= wanted, "both alarms")
        tickets = wait_until(
            lambda: found if len(found := service.get("/api/v1/tickets")["items"]) >= 2 else None, "both tickets"
        )
        assert set(alarms(service)) == wanted
        assert sorted(ticket["type"] for ticket in tickets) == ["emergency", "repair"]
        # the broker's own words: what the simulator says carries a time
        status = "gengfu/garden/fire_panel/F-1/status"
        assert subscribe.simple(status, port=mosquitto.port).payload == b'{"online":false}'


def test_the_simulator_says_what_does_not_go_together(mosquitto: Mosquitto) -> None:
    with simulating(mosquitto, "--estate", "demo", "--equipment", "5") as process:
        assert process.wait(30) == 1
        assert process.stdout is not None
        assert b"exclude each other" in process.stdout.read()


def lease_ends_at(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "gengfu.db")) as connection:
        return int(connection.execute("SELECT expires_at FROM lease").fetchone()[0])


def replay_rows(mosquitto: Mosquitto, folder: Path, rows: str = ROWS) -> None:
    (folder / "rooms.yaml").write_text(MAPPING, "utf-8")
    (folder / "rooms.csv").write_text(rows, "utf-8")
    command = [GENGFU, "replay", str(folder / "rooms.csv"), "--map", str(folder / "rooms.yaml"), "--keep-times"]
    subprocess.run([*command, "--speed", "0", "--mqtt-port", str(mosquitto.port)], check=True, timeout=60)


def test_on_the_datas_clock_delays_act_in_the_datas_time(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """All rows come within a second; room 1 is hot for 59 s of the data, room 2 for 5 s, and the rule waits 10 s."""
    service = Service(tmp_path / "data", mosquitto.port, "--clock", "data")
    with serving(service):
        assert service.get("/healthz") == {"status": "alive", "clock": "data"}
        replay_rows(mosquitto, tmp_path)
        found = wait_until(lambda: alarms(service), "the alarm of room 1")
        assert set(found) == {("S-1", "sensor.too_hot")}
        alarm = found["S-1", "sensor.too_hot"]
        assert alarm["raised_at"] == "2013-12-16T10:01:10Z"
        assert alarm["active"] is False
        (ticket,) = wait_until(lambda: service.get("/api/v1/tickets")["items"], "its ticket")
        assert ticket["number"] == "R-STUDY-20131216-0001"
        assert lease_ends_at(tmp_path / "data") > wall_ms(), "the lease is agreed by the wall"
    with serving(service):  # a restart goes on where the data had come to
        version = alarms(service)["S-1", "sensor.too_hot"]["version"]
        path = f"/api/v1/alarms/{alarm['id']}/acknowledge"
        status, body = service.post(path, {"version": version})
        assert (status, body["acknowledged_at"][:16]) == (200, "2013-12-16T10:02")


HOT_S = (5, 10, 11, 59, 600)
"""How long a room is hot, one after the other; the rule waits 10 s, and what is over just then has not outlasted it."""


def hot_rooms(rooms: int, hours: int) -> list[tuple[datetime, int, int]]:
    """(since when, room, for how many seconds): each room once an hour, a few of them at the same time."""
    begin = datetime(2013, 12, 16, 10, tzinfo=UTC)
    return [
        (begin + timedelta(hours=hour, seconds=5 * room), room, HOT_S[(room + hour) % len(HOT_S)])
        for hour in range(hours)
        for room in range(rooms)
    ]


def as_rows(spells: list[tuple[datetime, int, int]]) -> str:
    said = [(since, room, 70) for since, room, _ in spells]
    said += [(since + timedelta(seconds=lasts), room, 21) for since, room, lasts in spells]
    lines = [f"{room},{at:%Y-%m-%d %H:%M:%S},{celsius}," for at, room, celsius in sorted(said)]
    return "\n".join(["room,when,celsius,there", *lines, ""])


def test_a_replay_as_fast_as_possible_raises_exactly_what_an_independent_count_says(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Hundreds of messages within seconds that are a day of the data, while ticks come each half second."""
    spells = hot_rooms(rooms=10, hours=20)
    outlasted = sorted(
        (f"study:S-{room}", f"{since + timedelta(seconds=10):%Y-%m-%dT%H:%M:%SZ}")
        for since, room, lasts in spells
        if lasts > 10
    )
    with serving(Service(tmp_path / "data", mosquitto.port, "--clock", "data")) as service:
        wait_until(lambda: service.metric("gengfu_watchdog_age_seconds") < 60, "beats come through before any data")
        assert alarms(service) == {}, "nothing is raised in 1970"
        replay_rows(mosquitto, tmp_path, as_rows(spells))
        wait_until(lambda: service.metric("gengfu_messages_acknowledged_total") == 2 * len(spells), "all is judged")
        found = every(service, "activations")
        assert sorted((row["equipment"], row["started_at"]) for row in found) == outlasted
        assert {row["rule"] for row in found} == {"sensor.too_hot"}
        tickets = wait_until(lambda: every(service, "tickets"), "the tickets")
        firsts = dict(reversed(outlasted))
        assert {row["equipment"]: row["opened_at"][:13] for row in tickets} == {
            equipment: at[:13] for equipment, at in firsts.items()
        }, "opened in the hour of the data in which the first alarm came"


def every(service: Service, name: str) -> list[dict[str, Any]]:
    """All items of a list, page by page."""
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = service.get(f"/api/v1/{name}?limit=500&cursor={cursor}")
        items += page["items"]
        if not page["next"]:
            return items
        cursor = page["next"]


def test_a_folder_keeps_the_times_of_one_clock(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with serving(Service(tmp_path / "data", mosquitto.port, "--clock", "data")):
        pass
    command = [GENGFU, "serve", "--mqtt-port", str(mosquitto.port), "--data-dir", str(tmp_path / "data")]
    refused = subprocess.run(command, check=False, capture_output=True, timeout=60, text=True)
    assert refused.returncode == 1
    assert "holds times of the data clock" in refused.stderr


@pytest.mark.parametrize(("language", "title"), [("en-US", "Recorded data, not the building"), ("zh-CN", "回放数据")])
async def test_every_page_says_that_the_clock_runs_on_data(
    mosquitto: Mosquitto, tmp_path: Path, browser: Browser, language: str, title: str
) -> None:
    require_page()
    with serving(Service(tmp_path / "data", mosquitto.port, "--clock", "data")) as service:
        page, complaints = await open_page(browser, f"http://127.0.0.1:{service.http_port}", language)
        await expect(page.get_by_test_id("clock-banner")).to_contain_text(title)
        assert complaints == []


async def test_on_the_walls_clock_no_page_says_so(mosquitto: Mosquitto, tmp_path: Path, browser: Browser) -> None:
    require_page()
    with serving(Service(tmp_path / "data", mosquitto.port)) as service:
        page, _ = await open_page(browser, f"http://127.0.0.1:{service.http_port}")
        async with page.expect_response("**/healthz"):
            await page.reload()
        await expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "live")
        await expect(page.get_by_test_id("clock-banner")).to_have_count(0)
