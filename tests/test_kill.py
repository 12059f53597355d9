"""What the broker acknowledged is in the store exactly once, whatever dies: the service, or the broker.

The load is samples of pumps that run hot now and then, and fire events, each with a time of its own. A publisher that
is never killed keeps what the broker has acknowledged (PUBACK); that, and only that, must be found afterwards.
"""

import json
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.mosquitto import Mosquitto
from tests.service import Service, wait_until

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]

KILLS = 22
RESTARTS = 6
PUMPS = 20
HOT_EVERY = 40
"""Every fortieth sample of a pump begins ten hot ones: one activation."""
FIRE_EVERY = 150
RATE = 1_000
"""Messages a second: more would only lengthen the test."""


_PACKET_IDS = 65_000


class Load:
    """Publishes until told to stop; remembers every message that was acknowledged by the broker."""

    def __init__(self, port: int) -> None:
        self.samples: dict[tuple[str, int], dict[str, Any]] = {}
        self.fires: set[str] = set()
        # By packet id; a test sends fewer messages than there are ids.
        self._sent: dict[int, Callable[[], None]] = {}
        self._acknowledged: set[int] = set()
        self._stop = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="load", clean_session=False)
        self._client.max_inflight_messages_set(500)
        self._client.reconnect_delay_set(0.1, 0.5)
        self._client.on_publish = lambda _client, _data, mid, *_: self._acknowledged.add(mid)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._publish, name="load", daemon=True)
        self._thread.start()

    def abandon(self) -> None:
        self._stop.set()
        self._client.loop_stop()

    def stop(self) -> None:
        """Stop, and wait until the broker has acknowledged everything."""
        self._stop.set()
        self._thread.join()
        wait_until(lambda: self._acknowledged >= self._sent.keys(), "the broker has acknowledged everything", 60)
        for remember in self._sent.values():
            remember()
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self) -> None:
        began, number = time.monotonic(), 0
        start_ms = time.time_ns() // 1_000_000
        while not self._stop.is_set():
            if number > RATE * (time.monotonic() - began):
                self._stop.wait(0.005)
                continue
            self._publish_sample(number, start_ms)
            if number % FIRE_EVERY == 0:
                self._publish_fire(number, start_ms)
            number += 1
            if len(self._sent) >= _PACKET_IDS:
                self._stop.wait()  # a slow machine has had enough by now: ids must not come twice

    def _publish_sample(self, number: int, start_ms: int) -> None:
        pump, turn = f"P-{number % PUMPS}", number // PUMPS
        sample = self._sample(number, start_ms)
        info = self._client.publish(f"gengfu/kill/pump/{pump}/telemetry", json.dumps(sample), qos=1)

        def remember() -> None:
            self.samples[pump, turn] = sample

        self._sent[info.mid] = remember

    def _sample(self, number: int, start_ms: int) -> dict[str, Any]:
        turn = number // PUMPS
        return {"at": start_ms + turn, "seq": turn, "bearing_temperature": 97.0 if is_hot(turn) else 55.0}

    def _publish_fire(self, number: int, start_ms: int) -> None:
        address = str(number // FIRE_EVERY)
        event = {"at": start_ms + number, "type": "fire", "loop": "1", "address": address}
        info = self._client.publish("gengfu/kill/fire_panel/F-1/event", json.dumps(event), qos=1)
        self._sent[info.mid] = lambda: self.fires.add(address)


@contextmanager
def load_on(mosquitto: Mosquitto) -> Iterator[Load]:
    """A load that ends with its test, also with one that fails."""
    load = Load(mosquitto.port)
    try:
        yield load
    finally:
        load.abandon()


def is_hot(turn: int) -> bool:
    return turn % HOT_EVERY >= HOT_EVERY - 10


def expected_activations(turns: int) -> int:
    return sum(is_hot(turn) and not is_hot(turn - 1) for turn in range(turns))


@pytest.fixture
def service(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "data", mosquitto.port)
    yield service
    service.kill()


def test_kill_9_of_the_service_loses_nothing_and_doubles_nothing(service: Service, mosquitto: Mosquitto) -> None:
    rng = random.Random(22)
    service.start_ready()
    with load_on(mosquitto) as load:
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.05, 1.0))  # a random moment is the point of this test
            service.kill()
            service.start()
            if rng.random() < 0.7:  # the other kills hit the start itself
                wait_until(service.is_ready, "the service is ready")
        load.stop()
    check_everything_is_there_once(service, load)


def test_a_broker_that_stops_and_starts_under_load_loses_nothing_and_doubles_nothing(
    service: Service, mosquitto: Mosquitto
) -> None:
    rng = random.Random(6)
    service.start_ready()
    with load_on(mosquitto) as load:
        for _ in range(RESTARTS):
            time.sleep(rng.uniform(0.5, 1.5))
            mosquitto.stop()
            mosquitto.start()
            wait_until(service.is_ready, "the service is connected again")
        load.stop()
    check_everything_is_there_once(service, load)


def check_everything_is_there_once(service: Service, load: Load) -> None:
    wait_until(service.is_ready, "the service is ready")
    with closing(sqlite3.connect(service.folder / "history.db")) as history:
        wait_until(lambda: count(history, "reading") >= len(load.samples), "every sample is in the store", 120)
    wait_until_decided(service.folder, load)
    assert service.stop() == 0
    assert len(load.samples) > 1_000
    assert len(load.fires) > 10
    check_samples(service.folder, load)
    check_alarms(service.folder, load)


def wait_until_decided(folder: Path, load: Load) -> None:
    with closing(sqlite3.connect(folder / "gengfu.db")) as database:
        wait_until(lambda: count(database, "event") >= len(load.fires), "every event is in the database", 120)
        wait_until(lambda: not tickets_owed(database), "every alarm has its ticket", 60)


def count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def tickets_owed(database: sqlite3.Connection) -> int:
    """Alarms that want a ticket and are in none."""
    statement = "SELECT count(*) FROM alarm WHERE wants_ticket <> 'none' AND id NOT IN (SELECT alarm FROM ticket_alarm)"
    return int(database.execute(statement).fetchone()[0])


def check_samples(folder: Path, load: Load) -> None:
    with closing(sqlite3.connect(folder / "history.db")) as history:
        rows = history.execute(
            "SELECT equipment, key % 1000000, key / 1000000, fields FROM reading JOIN series ON series.id = series"
        ).fetchall()
    stored = Counter((equipment, turn) for equipment, turn, _, _ in rows)
    assert stored == Counter(load.samples.keys())
    for equipment, turn, at, fields in rows:
        sample = load.samples[equipment, turn]
        assert at == sample["at"]
        assert json.loads(fields) == {"bearing_temperature": sample["bearing_temperature"]}


def check_alarms(folder: Path, load: Load) -> None:
    turns = Counter(pump for pump, _ in load.samples)
    with closing(sqlite3.connect(folder / "gengfu.db")) as database:
        activations = Counter(
            equipment
            for (equipment,) in database.execute(
                "SELECT equipment FROM activation WHERE rule = 'pump.bearing_very_hot'"
            )
        )
        parts = Counter(
            part for (part,) in database.execute("SELECT part FROM activation WHERE rule = 'fire_panel.fire'")
        )
        events = Counter(json.loads(fields)["address"] for (fields,) in database.execute("SELECT fields FROM event"))
        tickets = Counter(key for (key,) in database.execute("SELECT open_key FROM ticket"))
        alarms = {key for (key,) in database.execute("SELECT open_key FROM alarm WHERE kind <> 'fire_panel'")}
        numbers = [number for (number,) in database.execute("SELECT number FROM ticket WHERE type = 'repair'")]
        joined = count(database, "ticket_activation")
    assert activations == Counter({pump: expected_activations(count) for pump, count in turns.items()})
    assert parts == Counter({f"1-{address}": 1 for address in load.fires})
    assert events == Counter(load.fires)
    assert {key for key in tickets if "/fire:" not in key} == alarms
    assert set(tickets.values()) == {1}
    assert len(tickets) == len(alarms) + 1, "all fire points of the panel are one emergency"
    assert len(set(numbers)) == len(numbers) == max(int(number[-4:]) for number in numbers), "no number left out"
    assert joined == sum(activations.values()) + sum(parts.values())
