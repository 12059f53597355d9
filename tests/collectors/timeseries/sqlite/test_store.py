"""What only the SQLite store can meet: a file from before there were rollups, and writes while rollups are made."""

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from collectors.chunks import FIRST
from collectors.timeseries.rollups import MINUTE
from collectors.timeseries.sqlite.erasure import Erasure
from collectors.timeseries.sqlite.store import SqliteStore
from collectors.timeseries.store import Change, History, Series
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading, Value
from collectors.wire.topics import Topic

T0 = 1_700_000_000_000 // MINUTE * MINUTE
"""With the year that a test writes it is over: no rollup is made of the minute in which the test runs."""
S1 = Series("garden", "sensor", "S1", "telemetry")
TOPIC = Topic("garden", Kind.SENSOR, "S1", Channel.TELEMETRY)


def reading(at: int, level: float, **others: Value) -> Reading:
    return Reading(TOPIC, {"level": level, **others}, T0 + at, T0 + at, (T0 + at) * 1_000_000)


@contextlib.asynccontextmanager
async def opened(file: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(file)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def roll_up_all(store: SqliteStore) -> int:
    minutes = 0
    while done := await store.roll_up():
        minutes += done
    return minutes


@pytest.mark.parametrize(
    "missing",
    [("dirty", "rollup", "stretch", "field"), ("stretch",)],
    ids=["before there were rollups", "before there were stretches"],
)
async def test_in_an_older_file_all_rollups_are_made(tmp_path: Path, missing: tuple[str, ...]) -> None:
    file = tmp_path / "history.db"
    async with opened(file) as store:
        await store.write([reading(minute * MINUTE, float(minute), leak=minute >= 50) for minute in range(200)])
        await roll_up_all(store)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.executescript(";".join(f"DROP TABLE {table}" for table in missing))
    async with opened(file) as store:
        assert await roll_up_all(store) == 200
        found = await store.history(S1, "level", T0, T0 + 200 * MINUTE, 100)
        assert sum(bucket.samples for bucket in found.buckets) == 200
        found = await store.history(S1, "leak", T0, T0 + 200 * MINUTE, 100)
        assert found.changes == [Change(T0, False), Change(T0 + 50 * MINUTE, True)]


async def test_a_clean_year_is_read_from_rollups_only(tmp_path: Path) -> None:
    """Told apart by damage: the samples are taken away behind the store's back, and the picture stays."""
    file = tmp_path / "history.db"
    hours = 365 * 24

    async def look(store: SqliteStore, field: str) -> History:
        return await store.history(S1, field, T0, T0 + hours * 60 * MINUTE, 500)

    async with opened(file) as store:
        await store.write(
            [
                reading(hour * 60 * MINUTE, float(hour), leak=hour // 100 % 2 == 0, mode=f"{hour}")
                for hour in range(hours)
            ]
        )
        await roll_up_all(store)
        before = [await look(store, field) for field in ("level", "leak", "mode")]
        assert [len(found.changes) for found in before] == [0, 88, 500]
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
            day = 24 * 60 * MINUTE * 1_000_000
            inside = (T0 * 1_000_000 + day, (T0 * 1_000_000) + 364 * day)
            gone = '{"level":0.0,"leak":true,"mode":"gone"}'
            connection.execute("UPDATE reading SET fields = ? WHERE key > ? AND key < ?", (gone, *inside))
        assert [await look(store, field) for field in ("level", "leak", "mode")] == before


async def test_what_is_written_while_rollups_are_made_is_in_the_next_ones(tmp_path: Path) -> None:
    """Many writers and many passes at once, all on the same few minutes; in the end nothing is stale."""
    minutes = 150
    async with opened(tmp_path / "history.db") as store:

        async def write(turn: int) -> None:
            for step in range(20):
                at = (step * 7 + turn) % minutes * MINUTE + turn * 100 + step
                await store.write([reading(at, float(turn + step))])
                await asyncio.sleep(0)

        async def roll() -> None:
            for _ in range(15):
                await store.roll_up()

        await asyncio.gather(*(write(turn) for turn in range(10)), roll(), roll())
        through_edges = await store.history(S1, "level", T0, T0 + minutes * MINUTE, 100)
        await roll_up_all(store)
        found = await store.history(S1, "level", T0, T0 + minutes * MINUTE, 100)
        assert sum(bucket.samples for bucket in found.buckets) == 200
        assert [bucket[:2] + bucket[3:] for bucket in found.buckets] == [b[:2] + b[3:] for b in through_edges.buckets]


# -- erasing while others write ------------------------------------------------------------------------


def slow() -> Callable[[], float]:
    """A stopwatch by which every transaction takes ten seconds: one row, then, at a time."""
    return itertools.count(0.0, 10.0).__next__


async def test_readings_are_written_between_two_transactions_of_erasing(tmp_path: Path) -> None:
    old, number = FIRST.rows + 20, 0
    store = SqliteStore(tmp_path / "history.db", slow())
    await store.open()
    await store.write([reading(at, float(at)) for at in range(old)])
    erasing = asyncio.create_task(store.erase_before(T0 + old))
    while not erasing.done():
        await store.write([reading(old + number, float(number))])
        number += 1
    assert await erasing == old
    assert number >= 20, "the erasing took a transaction a row, and let the writer in after each"
    left = await store.readings(S1, T0, T0 + old + number)
    assert [one.measured_at for one in left] == [T0 + old + at for at in range(number)]
    await store.close()


@pytest.mark.parametrize("transactions", [0, 1, 3, 20, 40])
async def test_what_a_kill_while_erasing_leaves_goes_with_the_next_run_and_what_is_kept_is_drawn_whole(
    tmp_path: Path, transactions: int
) -> None:
    """Before the next run too: a history that begins where the past ends has nothing of it and misses nothing."""
    minutes, erased = 200, 90 * MINUTE + 7
    file = tmp_path / "history.db"
    kept = [at for at in range(0, minutes * MINUTE, MINUTE // 2) if at >= erased]

    async def whole(store: SqliteStore) -> None:
        found = await store.history(S1, "level", T0 + erased, T0 + minutes * MINUTE, 100)
        assert sum(bucket.samples for bucket in found.buckets) == len(kept)

    async with opened(file) as store:
        await store.write([reading(at, float(at), leak=at % 3 == 0) for at in range(0, minutes * MINUTE, MINUTE // 2)])
        await roll_up_all(store)
    store = SqliteStore(file)
    await store.open()
    erasure = Erasure(store._opened(), store._series.values(), T0 + erased)
    for _ in range(transactions):
        store._erase(erasure, 7)
    await store.close()
    async with opened(file) as store:
        await whole(store)
        if transactions % 2:  # rollups go on in between, as they do while it works
            await roll_up_all(store)
        await store.erase_before(T0 + erased)
        await whole(store)
        await roll_up_all(store)
        await whole(store)
        left = await store.readings(S1, 0, T0 + minutes * MINUTE)
        assert [one.measured_at - T0 for one in left] == kept
        everything = await store.history(S1, "level", T0 - 86_400_000, T0 + minutes * MINUTE, 100)
        assert sum(bucket.samples for bucket in everything.buckets) == len(kept)


async def test_the_log_of_the_file_does_not_grow_with_what_is_erased(tmp_path: Path) -> None:
    file, rows = tmp_path / "history.db", 40_000
    async with opened(file) as store:
        for first in range(0, rows, 10_000):
            await store.write([reading(at, float(at), text="x" * 100) for at in range(first, first + 10_000)])
        await store.erase_before(T0 + rows)
        log = file.with_name("history.db-wal").stat().st_size
        assert log < file.stat().st_size


async def test_a_pass_of_rollups_takes_as_many_minutes_as_the_stopwatch_allows(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "history.db", slow())
    await store.open()
    await store.write([reading(minute * MINUTE, 1.0) for minute in range(FIRST.rows + 3)])
    passes = []
    while done := await store.roll_up():
        passes.append(done)
    assert passes == [FIRST.rows, 1, 1, 1]
    await store.close()
