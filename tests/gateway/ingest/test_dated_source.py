"""On the data's clock the same data give the same alarms, activations and tickets, however they come to be judged."""

import asyncio
import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from collectors.mqtt.message import Message
from collectors.payloads.format_by_topic import Decoder, decode_by
from gateway.alarms.rules.rule import Rule, RuleType
from gateway.clocks import DataClock
from gateway.ingest.dated_source import DataTime, DatedSource, judged_before
from gateway.storage.database import Database
from gateway.storage.tables import activation, alarm, ticket
from tests.builders.alarms import (
    PANEL,
    PUMP,
    T0,
    Clock,
    Desk,
    caught_up,
    fire_rule,
    make_rule,
    open_desk,
    rows_of,
    sqlite_address,
)

RULES: Final[list[Rule]] = [
    make_rule("pump.hot", on_delay=10_000),
    make_rule("pump.very_hot", above=90.0, deadband=2.0, off_delay=3_000),
    make_rule("pump.off", type=RuleType.STATE, field="mode", values=frozenset({"off"}), on_delay=5_000),
    make_rule("pump.goes_off", type=RuleType.COUNT, field="mode", values=frozenset({"off"}), above=1.0, window=20_000),
    make_rule("pump.silent", type=RuleType.NO_DATA, field="online", after=12_000),
    fire_rule(),
]
Step = tuple[int, str, str]
"""After how many ms it is measured, which pump, and what it says."""
STEPS = st.tuples(
    st.sampled_from([0, 1_000, 5_000, 10_000, 20_000, 4_000_000]),
    st.sampled_from(["P-1", "P-2"]),
    st.sampled_from(["60", "84", "95", "off", "auto", "fire", "clear"]),
)


def messages(steps: Sequence[Step]) -> list[Message]:
    found: list[Message] = []
    at = T0
    for number, (after, pump, says) in enumerate(steps):
        at += after
        topic, body = PUMP.replace("P-1", pump), {"at": at, "mode": says}
        if says in {"fire", "clear"}:
            topic = PANEL
            body = {"at": at, "type": "fire", "loop": "1", "address": "2", "active": says == "fire", "text": number}
        elif says.isdecimal():
            body = {"at": at, "bearing_temperature": float(says)}
        found.append(Message(topic, json.dumps(body).encode(), number, 1, number))
    return found


class DeskClock(DataClock, Clock):
    """The data's clock on a desk, which takes its lease by `now`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = T0


class Cut:
    """A source that hands its messages out in batches of given sizes."""

    def __init__(self, given_messages: Sequence[Message], sizes: Sequence[int]) -> None:
        self._left = list(given_messages)
        self._sizes = itertools.chain(sizes, itertools.repeat(1))

    async def next_batch(self, most: int) -> list[Message]:
        size = next(self._sizes)
        batch, self._left = self._left[:size], self._left[size:]
        return batch

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Nobody asks."""


class Study:
    """The owner's side on the data's clock, without a broker: ticks come whenever they are asked for."""

    def __init__(self, desk: Desk, clock: DataClock, source: Cut) -> None:
        self._desk = desk
        self._source = DatedSource(source, Decoder(), clock)
        self._time = DataTime(clock, lambda: caught_up(desk), desk.alarms.tick)
        desk.alarms._progress = judged_before

    async def run(self, ticks: Sequence[bool]) -> None:
        """Judge all, with ticks at some of the moments at which one may come."""
        moments = itertools.chain(ticks, itertools.repeat(False))
        while batch := await self._source.next_batch(4_000):
            await self._tick_where(moments)
            decoder = Decoder()
            contents = [decode_by(decoder.route(m.topic), m.payload, m.received_ns // 1_000_000) for m in batch]
            readings = [reading for content in contents for reading in content.readings]
            await self._time.reach(readings)
            await self._tick_where(moments)
            await self._desk.alarms.decide(readings)
            await self._tick_where(moments)
        await self._desk.alarms.tick()
        await caught_up(self._desk)

    async def _tick_where(self, moments: Any) -> None:
        if next(moments):
            await self._desk.alarms.tick()
            await self._desk.tickets.tick()


async def outcome(file: Path, steps: Sequence[Step], sizes: Sequence[int], ticks: Sequence[bool]) -> dict[str, Any]:
    database, clock = Database(sqlite_address(file)), DeskClock()
    try:
        desk = await open_desk(database, *RULES, clock=clock)
        await Study(desk, clock, Cut(messages(steps), sizes)).run(ticks)
        names = ("equipment", "part", "rule")
        return {
            "alarms": sorted(
                tuple(row[name] for name in (*names, "state", "raised_at", "returned_at", "activations", "value"))
                for row in await rows_of(database, alarm)
            ),
            "activations": sorted(
                tuple(row[name] for name in (*names, "started_at", "ended_at", "damped", "disproved", "value"))
                for row in await rows_of(database, activation)
            ),
            "tickets": sorted(
                (row["number"], row["type"], row["open_key"], row["opened_at"])
                for row in await rows_of(database, ticket)
            ),
        }
    finally:
        await database.close()


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(STEPS, min_size=2, max_size=9),
    sizes=st.lists(st.integers(1, 9), max_size=4),
    ticks=st.lists(st.booleans(), max_size=27),
)
# the message that denies the delay waits behind one that is an hour later
@example(steps=[(0, "P-1", "84"), (10_000, "P-2", "60"), (0, "P-1", "60")], sizes=[3], ticks=[True] * 9)
@example(steps=[(0, "P-1", "84"), (1_000, "P-1", "60"), (4_000_000, "P-2", "60")], sizes=[3], ticks=[True] * 9)
@example(steps=[(0, "P-1", "off"), (1_000, "P-1", "auto")] * 3 + [(20_000, "P-2", "60")], sizes=[7], ticks=[True] * 21)
def test_alarms_activations_and_tickets_are_those_of_sample_by_sample_for_any_batches_and_ticks(
    migrated_file: Path, tmp_path: Path, steps: list[Step], sizes: list[int], ticks: list[bool]
) -> None:
    found: list[dict[str, Any]] = []
    for number, (cut, when) in enumerate([([], []), (sizes, ticks)]):
        file = tmp_path / f"{number}.db"
        for old in tmp_path.glob(f"{file.name}*"):
            old.unlink()
        shutil.copy(migrated_file, file)
        found.append(asyncio.run(outcome(file, steps, cut, when)))
    assert found[1] == found[0]


async def test_the_clock_never_passes_the_oldest_message_that_is_not_decided() -> None:
    clock = DataClock()
    steps = [(0, "P-1", "60"), (0, "P-2", "60"), (5_000, "P-1", "60"), (4_000_000, "P-1", "60")]
    source = DatedSource(Cut(messages(steps), [4]), Decoder(), clock)
    sizes: list[int] = []
    while batch := await source.next_batch(100):
        assert clock() == 0, "to take messages moves no clock"
        assert len({one.received_ns for one in batch}) == 1, "a batch has one date"
        sizes.append(len(batch))
    assert sizes == [2, 1, 1]
