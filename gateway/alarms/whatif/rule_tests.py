"""Tests rules on the stored history of an equipment, without delaying the service.

One test runs at a time, in a thread that sleeps as long as it works: Python runs one thread at a time, and alarms must
not wait for a test. Histories are read in chunks, and no test reads more than half a million readings.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

from sqlalchemy import select, tuple_

from collectors.timeseries.store import Series, Store
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading, to_datetime
from collectors.wire.topics import Topic
from gateway.alarms.rules.rule import Rule, RuleType
from gateway.alarms.whatif.back_test import UNTESTABLE, Activation, Trial
from gateway.alarms.whatif.proposals import Noise, Proposal, candidates, choose
from gateway.storage.database import Database
from gateway.storage.tables import event

MOST_READINGS: Final = 500_000
"""Of one test."""
LONGEST_MS: Final = 400 * 86_400_000
_CHUNK: Final = 500
_SLICE: Final = 50
"""Readings between two checks of the clock."""
_STRETCH_S: Final = 0.002
"""Longest work without a sleep."""
_STATUS_FIELD: Final = "online"
Answer = TypeVar("Answer")


class NotTestable(Exception):
    """The rule or period cannot be tested; the text says why, or what to test instead."""


class Busy(Exception):
    """Another test is running."""


class Asked(NamedTuple):
    """A rule, the equipment, and the period in epoch ms, end excluded."""

    rule: Rule
    site: str
    equipment: str
    start: int
    end: int


class Found(NamedTuple):
    """What the rule would have done. Times are epoch ms."""

    readings: int
    first_at: int | None
    """Time of the first reading, before which nothing is known. None if there is no reading."""
    until: int
    activations: list[Activation]
    failures: list[str]
    proposal: Proposal | None


class RuleTests:
    """Runs tests, one at a time."""

    def __init__(
        self,
        store: Store,
        database: Database,
        late_window_ms: int,
        most_readings: int = MOST_READINGS,
    ) -> None:
        """Create the thread.

        Args:
            store: of the readings.
            database: of the events.
            late_window_ms: as for the live evaluator.
            most_readings: of one test.
        """
        self._store = store
        self._database = database
        self._late_window_ms = late_window_ms
        self._most_readings = most_readings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rule-test")
        self._running = False

    def close(self) -> None:
        """Shut down the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def test(self, asked: Asked, now: int, *, propose: bool) -> Found:
        """Run a rule over a history.

        Raises:
            NotTestable: this rule, or this much, cannot be tested.
            Busy: try again in a moment.
            StoreUnavailable: the history cannot be read.
        """
        _require_testable(asked)
        if self._running:
            raise Busy
        self._running = True
        try:
            return await self._test(asked, min(asked.end, now), propose=propose)
        finally:
            self._running = False

    async def _test(self, asked: Asked, until: int, *, propose: bool) -> Found:
        noise = Noise(asked.rule)
        trial = await self._try([asked.rule], asked, until, noise)
        before = trial.activations()
        proposal = None
        others = candidates(asked.rule, noise.deadband()) if propose and before else []
        if others:
            tried = await self._try(others, asked, until)
            outcomes = [(rule, tried.activations(number)) for number, rule in enumerate(others)]
            proposal = choose(asked.rule, before, outcomes, until)
        return Found(trial.readings, trial.first_at, until, before, trial.failures, proposal)

    async def _try(self, rules: Sequence[Rule], asked: Asked, until: int, noise: Noise | None = None) -> Trial:
        """All rules over all readings."""
        trial = Trial(rules, self._late_window_ms)
        async for chunk in self._chunks(asked):
            if trial.readings + len(chunk) > self._most_readings:
                raise NotTestable(_too_much(asked, chunk[0].received_at, self._most_readings))
            if noise is not None:
                noise.take(chunk)
            await self._beside(_in_slices, chunk, trial.take)
        await self._beside(trial.finish, until)
        return trial

    async def _beside(self, work: Callable[..., Answer], *arguments: object) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    # -- what was sent ---------------------------------------------------------------------------------

    async def _chunks(self, asked: Asked) -> AsyncIterator[list[Reading]]:
        """Every reading that the rule may use, in order, in chunks."""
        if asked.rule.type is RuleType.EVENT:
            async for events in self._events(asked):
                yield events
            return
        channels = _channels_of(asked.rule)
        few: list[Reading] = []
        if Channel.EVENT in channels:  # the silence of a panel that only sends events
            few += await self._all_of(self._events(asked), asked)
        if Channel.STATUS in channels:
            few += await self._all_of(self._samples(asked, Channel.STATUS), asked)
        few.sort(key=lambda item: item.received_at)
        if Channel.TELEMETRY in channels:
            async for samples in self._samples(asked, Channel.TELEMETRY):
                before = [item for item in few if item.received_at <= samples[-1].measured_at]
                few = few[len(before) :]
                yield sorted([*before, *samples], key=lambda item: item.measured_at) if before else samples
        if few:
            yield few

    async def _all_of(self, chunks: AsyncIterator[list[Reading]], asked: Asked) -> list[Reading]:
        """All readings of chunks; for channels with few of them."""
        found: list[Reading] = []
        async for chunk in chunks:
            found += chunk
            if len(found) > self._most_readings:
                raise NotTestable(_too_much(asked, chunk[0].received_at, self._most_readings))
        return found

    async def _samples(self, asked: Asked, channel: Channel) -> AsyncIterator[list[Reading]]:
        series = Series(asked.site, asked.rule.kind.value, asked.equipment, channel.value)
        after = -1
        while chunk := await self._store.readings(series, asked.start, asked.end, after, _CHUNK):
            after = chunk[-1].key
            yield chunk

    async def _events(self, asked: Asked) -> AsyncIterator[list[Reading]]:
        """Events in the order of arrival, by which they count."""
        place = (asked.start, "")
        of_equipment = (event.c.site == asked.site, event.c.equipment == asked.equipment)
        in_time = (event.c.kind == asked.rule.kind.value, event.c.received_at < asked.end)
        order = tuple_(event.c.received_at, event.c.digest)
        while True:
            async with self._database.reading() as connection:
                statement = select(event).where(*of_equipment, *in_time, order > place)
                found = await connection.execute(statement.order_by(event.c.received_at, event.c.digest).limit(_CHUNK))
                rows = [dict(row) for row in found.mappings()]
            if not rows:
                return
            place = (rows[-1]["received_at"], rows[-1]["digest"])
            yield [_event(row) for row in rows]


def _require_testable(asked: Asked) -> None:
    why = UNTESTABLE.get(asked.rule.type)
    if why:
        raise NotTestable(f"a rule of type {asked.rule.type} cannot be tested: {why}")
    if asked.end - asked.start > LONGEST_MS:
        raise NotTestable(f"at most {LONGEST_MS // 86_400_000} days in one test; choose a shorter time")


def _too_much(asked: Asked, reached: int, most: int) -> str:
    return (
        f"more than {most:,} readings; they reach from {to_datetime(asked.start):%Y-%m-%d %H:%M} to "
        f"{to_datetime(reached):%Y-%m-%d %H:%M} UTC. Choose a period no longer than that"
    )


def _channels_of(rule: Rule) -> set[Channel]:
    if rule.type is RuleType.NO_DATA:
        return {Channel.STATUS, rule.channel}
    return {Channel.STATUS if rule.field == _STATUS_FIELD else Channel.TELEMETRY}


def _event(row: dict[str, object]) -> Reading:
    """The reading of a row."""
    topic = Topic(str(row["site"]), Kind(str(row["kind"])), str(row["equipment"]), Channel.EVENT)
    measured_at = int(str(row["measured_at"]))
    return Reading(
        topic,
        row["fields"],  # type: ignore[arg-type]  # a JSON column holds what was put in
        measured_at,
        int(str(row["received_at"])),
        measured_at * 1_000_000,
        quality=int(str(row["quality"])),
        digest=str(row["digest"]),
    )


def _in_slices(readings: Sequence[Reading], take: Callable[[Sequence[Reading]], None]) -> None:
    """Work for a short time, then sleep as long, so that other threads get the interpreter."""
    began = time.perf_counter()
    for part in _slices(readings):
        take(part)
        spent = time.perf_counter() - began
        if spent >= _STRETCH_S:
            time.sleep(spent)
            began = time.perf_counter()


def _slices(readings: Sequence[Reading]) -> Iterator[Sequence[Reading]]:
    for first in range(0, len(readings), _SLICE):
        yield readings[first : first + _SLICE]
