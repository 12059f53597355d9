"""What only the SQLite store can meet: a file from before there were rollups, and writes while rollups are made."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collectors.fields import Channel, Kind
from collectors.reading import Reading, Value
from collectors.timeseries.rollups import MINUTE
from collectors.timeseries.sqlite import SqliteStore
from collectors.timeseries.store import Change, History, Series
from collectors.topics import Topic

T0 = 1_790_000_000_000 // MINUTE * MINUTE
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
