"""Whatever becomes of history, a fire that a real broker delivers is an alarm: damaged files, InfluxDB away or mad."""

import json
import random
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service, wait_until

pytestmark = [pytest.mark.server, pytest.mark.timeout(120)]


def publish(mosquitto: Mosquitto, topic: str, payload: dict[str, object]) -> None:
    command = ["mosquitto_pub", "-p", str(mosquitto.port), "-q", "1", "-t", topic, "-m", json.dumps(payload)]
    subprocess.run(command, check=True, timeout=30)


def fire(mosquitto: Mosquitto, service: Service, address: str) -> None:
    """Send a fire and a sample; return when the alarm shows."""
    sample = {
        "flow": 40.5,
        "running": True,
        "seq": 10 + int(address),
    }  # with a number and no time: its memory is needed
    publish(mosquitto, "gengfu/hq/pump/P-1/telemetry", sample)
    event = {"type": "fire", "loop": "1", "address": address, "seq": 10 + int(address)}
    publish(mosquitto, "gengfu/hq/fire_panel/F-1/event", event)
    wait_until(lambda: f"1-{address}" in parts_of(service, "fire_panel.fire"), "the fire is an alarm")


def parts_of(service: Service, rule: str) -> set[str]:
    return {alarm["part"] for alarm in service.get("/api/v1/alarms")["items"] if alarm["rule"] == rule}


def is_raised(service: Service, rule: str) -> bool:
    return bool(parts_of(service, rule))


def junk(path: Path) -> None:
    """Random bytes behind the first page: the file opens, and is found damaged in use."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(7).randbytes(max(size - 4096, 8192)))


def no_database(path: Path) -> None:
    path.write_bytes(random.Random(8).randbytes(50_000))


def damaged_everywhere(folder: Path, damage: Callable[[Path], None]) -> None:
    for name in ("history.db", "sequences.db"):
        for suffix in ("-wal", "-shm"):
            (folder / f"{name}{suffix}").unlink(missing_ok=True)
        damage(folder / name)


@pytest.fixture(scope="module")
def used_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of a service that has stopped in order, copied by each test."""
    folder = tmp_path_factory.mktemp("used")
    broker = Mosquitto(folder / "broker", "").start()
    service = Service(folder / "data", broker.port).start_ready()
    try:
        fire(broker, service, "0")
        wait_until(lambda: service.metric("gengfu_messages_acknowledged_total") >= 2, "all is kept")
    finally:
        service.stop()
        broker.stop()
    return folder / "data"


@pytest.mark.parametrize("damage", [no_database, junk], ids=["random bytes", "junk pages"])
def test_a_damaged_history_is_replaced_and_told_and_fires_are_alarms(
    mosquitto: Mosquitto, used_folder: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(used_folder, folder)
    damaged_everywhere(folder, damage)
    service = Service(folder, mosquitto.port).start_ready()
    try:
        fire(mosquitto, service, "1")
        wait_until(lambda: is_raised(service, "system.damaged_file_kept"), "the platform says so itself")
        path = "/api/v1/equipment/hq:P-1/history?field=flow"
        wait_until(lambda: service.get(path)["buckets"], "a new history is written")
        assert list(folder.glob("history.db.damaged-2*"))
        assert list(folder.glob("sequences.db.damaged-2*"))
    finally:
        service.kill()


def test_damage_while_the_service_runs_costs_no_alarm(mosquitto: Mosquitto, used_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(used_folder, folder)
    service = Service(folder, mosquitto.port).start_ready()
    try:
        fire(mosquitto, service, "1")
        connection = sqlite3.connect(folder / "history.db")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        junk(folder / "history.db")
        fire(mosquitto, service, "2")
        wait_until(lambda: list(folder.glob("history.db.damaged-2*")), "the damage is found")
        fire(mosquitto, service, "3")
        wait_until(lambda: service.metric("gengfu_spool_readings") == 0, "the readings are in the new file")
    finally:
        service.kill()


class _Rubbish(BaseHTTPRequestHandler):
    """Answers everything with the same rubbish."""

    answer = (200, "application/json", b"{}")

    def _say(self) -> None:
        status, kind, body = self.answer
        length = int(self.headers.get("Content-Length", 0))
        self.rfile.read(length)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) + (7 if status == 206 else 0)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _say  # noqa: N815 - the names that http.server calls

    def log_message(self, *_what: object) -> None:
        """Say nothing."""


@pytest.fixture
def rubbish() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Rubbish)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_influxdb_that_is_away_or_answers_rubbish_at_the_start_costs_no_alarm_and_no_reading(
    mosquitto: Mosquitto, tmp_path: Path, rubbish: ThreadingHTTPServer
) -> None:
    """It is away at first, then a login page, an empty object, another width, half an answer."""
    address = f"http://127.0.0.1:{rubbish.server_port}"
    environment = {"GENGFU_HISTORY__STORE": "influxdb", "GENGFU_HISTORY__URL": address}
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "dirty-minutes.db").write_bytes(random.Random(9).randbytes(20_000))
    service = Service(folder, mosquitto.port, **environment).start()
    answers = [
        (200, "application/json", b"{}"),
        (200, "text/html", b"<html>Please log in</html>"),
        (200, "application/json", b'{"results":[{"series":[{"name":"m","columns":["a","b"],"values":[[1]]}]}]}'),
        (206, "application/json", b'{"results":[{"statement_id"'),
        (500, "application/json", b'{"code":"internal error","message":"engine: closed"}'),
    ]
    try:
        wait_until(lambda: is_answering(service), "the service answers")
        for number, answer in enumerate(answers):
            _Rubbish.answer = answer
            fire(mosquitto, service, str(number))
        wait_until(lambda: service.metric("gengfu_spool_readings") >= len(answers), "every sample waits on disk")
        assert service.metric("gengfu_history_refused_readings_total") == 0
        assert list(folder.glob("dirty-minutes.db.damaged-2*"))
    finally:
        service.kill()


def is_answering(service: Service) -> bool:
    try:
        return service.components()["alarms"] == "ready"
    except OSError:
        return False
