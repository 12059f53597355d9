"""kill -9 in the middle of a flood of alarms: afterwards the same alarms and states as without it.

The same messages go through two brokers to two services on the default rules; one of them is killed again and again.
"""

import json
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from gateway.alarms.lifecycle.journal_replay import Replay, replay
from gateway.alarms.lifecycle.states import State
from tests.faults.test_kill import count, tickets_owed
from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service, wait_until

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]

PUMPS = 300
POINTS = 60
TURNS = 8
KILLS = 6
RULES = ("pump.bearing_very_hot", "fire_panel.fire")
_BEHIND_MS = 30_000
"""No message is from the future, however fast they come: its time of receipt would count instead."""
Message = tuple[str, dict[str, Any]]


class Ending(NamedTuple):
    """All that is left in the database when the flood is over, but for ids and times of the service's own clock."""

    alarms: list[tuple[Any, ...]]
    activations: list[tuple[Any, ...]]
    tickets: list[tuple[Any, ...]]


def flood(start_ms: int) -> list[Message]:
    """Pumps that go hot and cool, points that burn and do not, and the panel's reset now and then."""
    rng = random.Random(6)
    messages: list[Message] = []
    for turn in range(TURNS):
        of_turn = [
            (f"gengfu/flood/pump/P-{number}/telemetry", {"bearing_temperature": rng.choice((55.0, 97.0))})
            for number in range(PUMPS)
        ]
        of_turn += [
            ("gengfu/flood/fire_panel/F-1/event",
             {"type": "fire", "loop": "1", "address": str(number), "active": rng.random() < 0.7})
            for number in range(POINTS)
        ]  # fmt: skip
        rng.shuffle(of_turn)
        if turn % 3 == 2:
            of_turn.append(("gengfu/flood/fire_panel/F-1/event", {"type": "reset"}))
        messages += of_turn
    return [(topic, {"at": start_ms + number, "seq": number, **body}) for number, (topic, body) in enumerate(messages)]


@pytest.fixture
def services(start_mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> Iterator[tuple[Service, ...]]:
    brokers = [start_mosquitto(), start_mosquitto()]
    started = tuple(Service(tmp_path / f"data-{broker.port}", broker.port).start_ready() for broker in brokers)
    yield started
    for service in started:
        service.kill()


def test_kill_9_in_a_flood_leaves_the_same_alarms_and_states_as_no_kill(services: tuple[Service, ...]) -> None:
    messages = flood(time.time_ns() // 1_000_000 - _BEHIND_MS)
    calm, killed = services
    pour(calm, messages, 0)
    pour(killed, messages, KILLS)
    expected, found = (ending(service, messages) for service in services)
    assert len(expected.alarms) > PUMPS
    assert {row[3] for row in expected.alarms} >= {"unacknowledged", "returned_unacknowledged"}
    for left, right in zip(found, expected, strict=True):
        assert sorted(set(left) ^ set(right), key=str) == []
    assert found == expected


def pour(service: Service, messages: list[Message], kills: int) -> None:
    """Publish everything, and kill the service at random moments meanwhile."""
    rng = random.Random(kills)
    client = Client(CallbackAPIVersion.VERSION2, client_id="flood")
    client.connect("127.0.0.1", service.mqtt_port)
    client.loop_start()
    moments = sorted(rng.sample(range(len(messages)), kills))
    for number, (topic, body) in enumerate(messages):
        sent = client.publish(topic, json.dumps(body), qos=1)
        if number in moments:
            sent.wait_for_publish(30)
            time.sleep(rng.uniform(0, 0.3))  # a random moment is the point of this test
            service.kill()
            service.start()
            if rng.random() < 0.5:  # the other kills hit the start itself, or what came in meanwhile
                wait_until(service.is_ready, "the service is ready")
    sent.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


def ending(service: Service, messages: list[Message]) -> Ending:
    wait_until(service.is_ready, "the service is ready")
    events = sum(topic.endswith("/event") for topic, _ in messages)
    with closing(sqlite3.connect(service.folder / "gengfu.db")) as database:
        database.row_factory = sqlite3.Row
        with closing(sqlite3.connect(service.folder / "history.db")) as history:
            samples = len(messages) - events
            wait_until(lambda: count(history, "reading") >= samples, "every sample is in the store", 120)
        wait_until(lambda: count(database, "event") >= events, "every event is in the database", 120)
        wait_until(lambda: not tickets_owed(database), "every alarm has its ticket", 60)
        assert service.stop() == 0
        check_journals(database)
        return Ending(
            read(database, "SELECT equipment, part, rule, state, active, activations, raised_at, returned_at FROM alarm"
                           " WHERE rule IN (?, ?) ORDER BY 1, 2, 3"),
            read(database, "SELECT identity, ended_at, disproved FROM activation WHERE rule IN (?, ?) ORDER BY 1"),
            read(database, "SELECT DISTINCT ticket.open_key, ticket.state FROM ticket JOIN alarm"
                           " ON alarm.id = ticket.alarm WHERE rule IN (?, ?) ORDER BY 1"),
        )  # fmt: skip


def read(database: sqlite3.Connection, statement: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in database.execute(statement, RULES)]


def check_journals(database: sqlite3.Connection) -> None:
    """Every alarm is where its journal leads."""
    for row in database.execute("SELECT id, state, latching FROM alarm").fetchall():
        lines = database.execute(
            "SELECT event, before, after FROM journal WHERE subject = 'alarm' AND thing = ? ORDER BY id", (row["id"],)
        ).fetchall()
        assert replay(lines, latching=bool(row["latching"])) == Replay(State(row["state"]))
