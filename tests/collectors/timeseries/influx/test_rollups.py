"""Rollups that several processes keep in one InfluxDB: whoever is overtaken by whom, they end as the samples say."""

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from collectors.timeseries.influx.access import Access
from collectors.timeseries.influx.http import InfluxHttp
from collectors.timeseries.influx.rollups import _is_same
from collectors.timeseries.influx.store import InfluxStore
from collectors.timeseries.rollups import DAY, HOUR, MINUTE
from collectors.timeseries.store import Change, Series, StoreUnavailable
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading, Value
from collectors.wire.topics import Topic
from tests.servers.influxdb import InfluxDB

T0 = 1_790_000_000_000 // DAY * DAY
S1 = Series("garden", "sensor", "S1", "telemetry")
TOPIC = Topic("garden", Kind.SENSOR, "S1", Channel.TELEMETRY)
_databases = itertools.count()
Opener = Callable[[str], Awaitable[InfluxStore]]


def reading(at: int, **fields: Value) -> Reading:
    return Reading(TOPIC, fields, T0 + at, T0 + at, (T0 + at) * 1_000_000)


@pytest.fixture
async def process(influxdb: InfluxDB, tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens the store of one process more, with its own memory of dirty minutes; all on one database."""
    database = f"r{next(_databases)}"
    async with contextlib.AsyncExitStack() as stack:

        async def open_one(name: str) -> InfluxStore:
            store = InfluxStore(Access(influxdb.url, database), tmp_path / f"{name}.db")
            await store.open()
            stack.push_async_callback(store.close)
            assert store._background is not None
            store._background.cancel()  # the tests say when it sums up
            return store

        yield open_one


async def roll_up_all(store: InfluxStore) -> None:
    """Until nothing is left to do; what was just written may have to wait for a second round."""
    await store.roll_up()
    while await store.roll_up():
        pass


class Held:
    """A server whose next rollups of one step are held back on their way."""

    def __init__(self, server: InfluxHttp, suffix: str) -> None:
        self.reached, self.let_go = asyncio.Event(), asyncio.Event()
        self._suffix, self._write = f"sensor{suffix},", server.write
        server.write = self  # type: ignore[method-assign]  # stands in the way

    async def rolling_up(self, store: InfluxStore) -> asyncio.Task[int]:
        """A pass of the store that has read, and whose writing is held back."""
        assert await store.roll_up() == 0, "what was just written waits for the next pass"
        rolling = asyncio.create_task(store.roll_up())
        async with asyncio.timeout(20):
            await self.reached.wait()
        return rolling

    async def __call__(self, lines: Sequence[str]) -> None:
        if lines[0].startswith(self._suffix) and not self.reached.is_set():
            self.reached.set()
            await self.let_go.wait()
        await self._write(lines)


async def sums(store: InfluxStore, days: int = 2) -> tuple[int, float]:
    """Number and total of the levels, from rollups."""
    found = (await store.history(S1, "level", T0, T0 + days * DAY, 100)).buckets
    return sum(bucket.samples for bucket in found), sum(bucket.mean * bucket.samples for bucket in found)


@pytest.mark.server
@pytest.mark.parametrize("suffix", ["_1m", "_1h", "_1d"])
@pytest.mark.parametrize("late", [30_000, 5 * MINUTE], ids=["the same minute", "another minute of the hour"])
async def test_a_process_that_is_overtaken_while_it_sums_up_leaves_no_stale_rollup(
    process: Opener, suffix: str, late: int
) -> None:
    slow, quick, reader = await process("slow"), await process("quick"), await process("reader")
    many = [reading(HOUR + minute * MINUTE, level=1.0, leak=True) for minute in range(10, 60)]
    await slow.write([reading(0, level=1.0, leak=True), *many])
    held = Held(slow._server(), suffix)
    rolling = await held.rolling_up(slow)
    await quick.write([reading(late, level=9.0, leak=False)])
    await roll_up_all(quick)
    held.let_go.set()
    await rolling
    await roll_up_all(slow)
    assert await sums(reader) == (52, 60.0)
    found = await reader.history(S1, "leak", T0, T0 + 2 * DAY)
    assert found.changes == [
        Change(T0, True),
        Change(T0 + late, False),
        Change(T0 + HOUR + 10 * MINUTE, True),
    ]


@pytest.mark.server
async def test_a_process_that_sums_up_while_another_erases_brings_nothing_back(process: Opener) -> None:
    slow, other, reader = await process("slow"), await process("other"), await process("reader")
    await slow.write([reading(minute * MINUTE, level=1.0, leak=minute < 5) for minute in range(10)])
    held = Held(slow._server(), "_1m")
    rolling = await held.rolling_up(slow)
    await other.erase_before(T0 + 7 * MINUTE)
    await roll_up_all(other)
    held.let_go.set()
    await rolling
    await roll_up_all(slow)
    assert await sums(reader) == (3, 3.0)
    found = await reader.history(S1, "leak", T0, T0 + 2 * DAY)
    assert found.changes == [Change(T0 + 7 * MINUTE, False)]


@pytest.mark.server
@pytest.mark.parametrize("seed", range(4))
async def test_processes_that_write_and_sum_up_at_once_end_with_the_rollups_of_all_samples(
    process: Opener, seed: int
) -> None:
    rng = random.Random(seed)
    stores = [await process(f"collector-{number}") for number in range(3)]
    samples = {rng.randrange(0, 3 * HOUR) for _ in range(300)}
    shares = {store: rng.sample(sorted(samples), 100) for store in stores}

    async def work(store: InfluxStore) -> None:
        for first in range(0, 100, 10):
            await store.write([reading(at, level=1.0, leak=at % 3 == 0) for at in shares[store][first : first + 10]])
            await store.roll_up()

    await asyncio.gather(*(work(store) for store in stores))
    for store in stores:
        await roll_up_all(store)
    kept = sorted(set().union(*shares.values()))
    reader = await process("reader")
    assert await sums(reader) == (len(kept), float(len(kept)))
    leaks = [(at, at % 3 == 0) for at in kept]
    changed = [one for before, one in zip([(0, None), *leaks], leaks, strict=False) if before[1] != one[1]]
    found = await reader.history(S1, "leak", T0, T0 + 2 * DAY)
    assert found.changes == [Change(T0 + at, value) for at, value in changed]


@pytest.mark.server
async def test_what_another_process_wrote_just_now_shows_before_it_is_summed_up(process: Opener) -> None:
    writer, reader = await process("writer"), await process("reader")
    now = time.time_ns() // 1_000_000 - T0
    await writer.write([reading(now - 60_000, level=1.0, leak=False), reading(now, level=1.0, leak=True)])
    assert await sums(reader, days=1 + now // DAY) == (2, 2.0)
    found = await reader.history(S1, "leak", T0, T0 + now + MINUTE)
    assert [change.value for change in found.changes] == [False, True]


@pytest.mark.server
async def test_after_a_pass_that_failed_the_server_is_given_time_to_end_what_it_had_begun(
    process: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await process("one")
    await store.write([reading(0, level=1.0)])

    async def fail(*_: Any) -> None:
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(store._server(), "write", fail)
        assert await store.roll_up() == 0, "what was just written waits for the next pass"
        with pytest.raises(StoreUnavailable):
            await store.roll_up()
    assert await store.roll_up() == 0
    assert await sums(store) == (1, 1.0), "from the sample"
    store._rest_until = 0.0
    assert await store.roll_up() == 1, "the mark was kept"


NUMBERS = {"level least": -5.0, "level total": 1e-17, "level most": 5.0, "level samples": 4}


@pytest.mark.parametrize(
    ("others", "is_same"),
    [
        ({"level total": 0.0}, True),  # added up in another order
        ({"level total": 1e-6}, False),
        ({"level least": -5.000000001}, False),  # a sample is what it is
        ({"level samples": 5}, False),
        ({"leak changes": "[]"}, False),  # one field more
    ],
)
def test_rollups_are_the_same_but_for_the_rounding_of_their_totals(others: dict[str, Any], is_same: bool) -> None:
    assert _is_same(NUMBERS, {**NUMBERS, **others}) is is_same


@pytest.mark.server
async def test_rollups_that_cannot_be_read_are_put_off_and_hold_up_no_other_equipment(process: Opener) -> None:
    """Somebody else's program has written into the rollups of one equipment."""
    ours = await process("a")
    await ours.write([reading(0, level=1.0), reading(MINUTE, colour="red")])
    other = Topic("garden", Kind.SENSOR, "S2", TOPIC.channel)
    at = T0 + 5 * MINUTE
    await ours.write([Reading(other, {"level": 7.0}, at, at, at * 1_000_000)])
    head = "sensor_1m,channel=telemetry,equipment=S1,site=garden"
    await ours._server().write([f'{head} colour\\ text\\ changes="no JSON" {(T0 + 10 * MINUTE) * 10**6}'])
    await roll_up_all(ours)
    (found,) = await ours._server().ask("SELECT * FROM sensor_1d WHERE equipment = 'S2'")
    assert found, "the other equipment's day is there"
    assert await ours.rollups_due() > 0, "the first one's minutes wait"
    history = await ours.history(S1, "level", T0, T0 + 3_600_000)
    assert [bucket.mean for bucket in history.buckets] == [1.0], "and its history is exact"


@pytest.mark.server
async def test_minutes_of_the_last_day_are_found_again_when_the_file_of_marks_was_damaged(
    process: Opener, tmp_path: Path
) -> None:
    ours = await process("a")
    now = time.time_ns() // 10**6 - 10 * MINUTE
    await ours.write([Reading(TOPIC, {"level": 1.0}, now, now, now * 1_000_000)])
    await ours._dirty.close()
    (tmp_path / "a.db").write_bytes(b"junk" * 5_000)
    later = await process("a")
    await roll_up_all(later)
    (found,) = await later._server().ask("SELECT * FROM sensor_1d")
    assert found
