"""Events that look like one before: a real second delivery counts once, and no fire is taken for an old one."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from collectors.payloads.native import decode
from collectors.sequences import SequenceMemory
from collectors.wire.reading import Reading
from collectors.wire.topics import parse_topic
from gateway.storage.database import Database
from gateway.storage.tables import activation, alarm, event
from tests.builders.alarms import PANEL, T0, Desk, fire_rule, only_row, open_desk, rows_of

PANEL_TELEMETRY = PANEL.replace("/event", "/telemetry")


def said(topic: str, received_at: int, redelivered: bool = False, **fields: object) -> Reading:
    (reading,) = decode(parse_topic(topic), json.dumps(fields).encode(), received_at, arrival=received_at).readings
    reading.redelivered = redelivered
    return reading


async def hear(desk: Desk, memory: SequenceMemory, *readings: Reading) -> None:
    await memory.recognise(readings)
    await desk.decide(*readings)


def life_of_a_gateway(start: int) -> list[Reading]:
    """Telemetry 0 and 1, fire 2, reset 3, clear of any time of its own."""
    return [
        said(PANEL_TELEMETRY, start, seq=0, mains=True),
        said(PANEL_TELEMETRY, start + 1, seq=1, mains=True),
        said(PANEL, start + 2, seq=2, type="fire", loop="1", address="2"),
        said(PANEL, start + 3, seq=3, type="reset"),
    ]


@pytest.mark.parametrize("pause", [0, 5_000, 600_000], ids=["at once", "soon", "later"])
@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "in one batch"])
@pytest.mark.parametrize("engine", ["sqlite"])
async def test_a_second_fire_after_the_gateway_has_started_again_is_a_second_fire(
    database: Database, tmp_path: Path, pause: int, at_once: bool
) -> None:
    desk, memory = await open_desk(database, fire_rule()), SequenceMemory(tmp_path / "sequences.db")
    await memory.open()
    first, second = life_of_a_gateway(T0), life_of_a_gateway(T0 + 10 + pause)
    if at_once:
        await hear(desk, memory, *first, *second[:3])
    else:
        for reading in (*first, *second[:3]):
            await hear(desk, memory, reading)
    await memory.close()
    assert len(await rows_of(database, activation)) == 2
    assert (await only_row(database, alarm))["active"]


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_what_the_broker_delivers_again_ends_as_it_ended(database: Database, tmp_path: Path) -> None:
    desk, memory = await open_desk(database, fire_rule()), SequenceMemory(tmp_path / "sequences.db")
    await memory.open()
    messages = life_of_a_gateway(T0)[2:]
    again = [
        said(PANEL, T0 + 60_000, seq=2, type="fire", loop="1", address="2"),
        said(PANEL, T0 + 60_001, seq=3, type="reset"),
    ]
    for reading in again:
        reading.redelivered = True
    await hear(desk, memory, *messages, *again)
    await memory.close()
    assert not (await only_row(database, alarm))["active"]


@pytest.mark.parametrize("at", ["2000-01-01T00:00:10Z", "2098-01-01T00:00:10Z"])
@pytest.mark.parametrize("engine", ["sqlite"])
async def test_a_clock_that_cannot_be_right_does_not_make_two_fires_one(database: Database, at: str) -> None:
    desk = await open_desk(database, fire_rule())
    for start in (T0, T0 + 600_000):
        await desk.decide(said(PANEL, start, at=at, type="fire"))
        await desk.decide(said(PANEL, start + 9, at=at, type="reset"))
    assert len(await rows_of(database, activation)) == 2
    again = said(PANEL, T0 + 600_100, redelivered=True, at=at, type="fire")
    await desk.decide(again)
    assert len(await rows_of(database, activation)) == 2, "the broker says that it is the one before"


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_a_clock_of_whole_seconds_may_tell_of_a_fire_twice_in_one(database: Database) -> None:
    desk = await open_desk(database, fire_rule())
    for number, active in enumerate([True, False, True]):
        await desk.decide(said(PANEL, T0 + number, at=T0, type="fire", active=active))
    assert len(await rows_of(database, activation)) == 2
    assert (await only_row(database, alarm))["active"]
    assert len(await rows_of(database, event)) == 3


@pytest.mark.parametrize("later", [1, 60_000, 30 * 86_400_000])
async def test_with_a_time_that_can_be_believed_a_second_delivery_counts_once(database: Database, later: int) -> None:
    desk = await open_desk(database, fire_rule())
    fields: dict[str, Any] = {"at": T0 + 7, "type": "fire", "loop": "1"}
    await desk.decide(said(PANEL, T0 + 8, **fields), said(PANEL, T0 + 9, at=T0 + 9, type="reset"))
    await asyncio.gather(desk.decide(said(PANEL, T0 + 8 + later, **fields)))
    assert len(await rows_of(database, activation)) == 1
    assert len(await rows_of(database, event)) == 2
