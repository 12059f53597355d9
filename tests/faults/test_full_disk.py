"""A full disk stops history, never an alarm: the real service on a small disk of its own, with a real broker."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service, wait_until

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]

READINGS = 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        why = f"a small disk cannot be mounted here (needs root and CAP_SYS_ADMIN): {mounted.stderr.strip()}"
        if os.environ.get("CI") == "true" and os.getuid() == 0:
            pytest.fail(why)
        pytest.skip(why)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """What another program does: write until there is no more room."""
    path = disk / "other-program.log"
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    return path


def publish(mosquitto: Mosquitto, topic: str, *payloads: dict[str, object]) -> None:
    command = ["mosquitto_pub", "-p", str(mosquitto.port), "-q", "1", "-t", topic, "-l"]
    lines = "".join(json.dumps(payload) + "\n" for payload in payloads)
    subprocess.run(command, input=lines, text=True, check=True, timeout=30)


def flows(first: int) -> list[dict[str, object]]:
    at = 1_790_000_000_000
    return [
        {"flow": float(number), "at": at + 1000 * number, "seq": number} for number in range(first, first + READINGS)
    ]


def kept(service: Service) -> set[float]:
    path = "/api/v1/equipment/hq:P-1/history?field=flow&start=2026-09-21T00:00:00Z&end=2026-09-23T00:00:00Z&points=5000"
    return {bucket["mean"] for bucket in service.get(path)["buckets"]}


def alarms_of(service: Service, rule: str) -> set[str]:
    return {alarm["part"] for alarm in service.get("/api/v1/alarms")["items"] if alarm["rule"] == rule}


def has_returned(service: Service, rule: str) -> bool:
    alarms = [alarm for alarm in service.get("/api/v1/alarms")["items"] if alarm["rule"] == rule]
    return all(alarm["state"] == "returned_unacknowledged" for alarm in alarms)


def fire(mosquitto: Mosquitto, address: str) -> None:
    publish(
        mosquitto,
        "gengfu/hq/fire_panel/F-1/event",
        {"type": "fire", "loop": "1", "address": address, "seq": int(address)},
    )


def test_on_a_full_disk_a_fire_is_an_alarm_before_space_is_free_and_no_reading_is_lost(
    mosquitto: Mosquitto, small_disk: Path
) -> None:
    service = Service(small_disk / "data", mosquitto.port)
    service.log = small_disk.parent / "service.log"
    service.start_ready()
    try:
        publish(mosquitto, "gengfu/hq/pump/P-1/telemetry", *flows(0))
        wait_until(lambda: len(kept(service)) == READINGS, "history is written")
        filler = fill(small_disk)
        for number in range(1, 4):
            publish(mosquitto, "gengfu/hq/pump/P-1/telemetry", *flows(READINGS * number))
            fill(small_disk)
            fire(mosquitto, str(number))
            wait_until(
                lambda wanted=f"1-{number}": wanted in alarms_of(service, "fire_panel.fire"), "a fire is an alarm"
            )
        messages = 4 * READINGS + 3
        wait_until(lambda: service.metric("gengfu_messages_acknowledged_total") >= messages, "all is acknowledged")
        wait_until(lambda: alarms_of(service, "system.history_stopped"), "the platform says that history is stopped")
        wait_until(lambda: alarms_of(service, "system.alarm_reserve_in_use"), "and that alarms use their reserve")
        said = " ".join(service.components().values())
        assert "history is stopped" in said
        assert "du -xh" in said
        assert len(kept(service)) == READINGS, "history has waited"
        filler.unlink()
        wait_until(lambda: kept(service) == {float(n) for n in range(4 * READINGS)}, "every reading is in the history")
        wait_until(service.is_ready, "all is well again")
        wait_until(lambda: has_returned(service, "system.alarm_reserve_in_use"), "the reserve is whole")
        wait_until(lambda: has_returned(service, "system.history_stopped"), "history goes on")
        assert (small_disk / "data" / "reserve.alarms").stat().st_size == 4 * 1024 * 1024
        assert "sqlite3." not in " ".join(service.components().values())
    finally:
        service.kill()
