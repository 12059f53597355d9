"""What the broker acknowledged is in the store exactly once, whatever dies: the service, or the broker.

What the broker has acknowledged to the load (`tests/faults/load.py`), and only that, must be found afterwards.
"""

import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.load import ACTIVATIONS_OWED, WANTS_TICKET, Load, expected_activations, load_on
from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service, wait_until

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]

KILLS = 22
RESTARTS = 6


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
        wait_until(lambda: not count(database, ACTIVATIONS_OWED), "every activation has its ticket", 60)


def count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def tickets_owed(database: sqlite3.Connection) -> int:
    """Alarms that want a ticket and are in none."""
    statement = f"SELECT count(*) FROM alarm WHERE {WANTS_TICKET} AND id NOT IN (SELECT alarm FROM ticket_alarm)"
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
        alarms = {
            key
            for (key,) in database.execute(f"SELECT open_key FROM alarm WHERE {WANTS_TICKET} AND kind <> 'fire_panel'")
        }
        numbers = [number for (number,) in database.execute("SELECT number FROM ticket WHERE type = 'repair'")]
        told = Counter(rule for (rule,) in database.execute("SELECT rule FROM activation WHERE NOT damped"))
        owed = count(database, ACTIVATIONS_OWED)
    assert activations == Counter({pump: expected_activations(count) for pump, count in turns.items()})
    assert parts == Counter({f"1-{address}": 1 for address in load.fires})
    assert events == Counter(load.fires)
    assert {key for key in tickets if "/fire:" not in key} == alarms
    assert set(tickets.values()) == {1}
    assert len(tickets) == len(alarms) + 1, "all fire points of the panel are one emergency"
    assert len(set(numbers)) == len(numbers) == max(int(number[-4:]) for number in numbers), "no number left out"
    assert owed == 0
    assert told["fire_panel.fire"] == len(load.fires), "life safety is never damped"
    assert told["pump.bearing_very_hot"] >= len(turns)
