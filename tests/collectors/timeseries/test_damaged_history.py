"""A file of readings that is damaged, locked or not ours: history begins anew or waits, and nothing ends by it."""

import contextlib
import random
import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from collectors.disk.damaged_files import kept_aside
from collectors.timeseries.rollups import MINUTE
from collectors.timeseries.sqlite.store import SqliteStore
from collectors.timeseries.store import LatestValue, Series, StoreUnavailable
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading
from collectors.wire.topics import Topic
from tests.servers.waiting import until

T0 = 1_790_000_000_000 // MINUTE * MINUTE
S1 = Series("garden", "sensor", "S1", "telemetry")
PAGE = 4096


def reading(minute: int, equipment: str = "S1") -> Reading:
    topic = Topic("garden", Kind.SENSOR, equipment, Channel.TELEMETRY)
    at = T0 + minute * MINUTE
    return Reading(topic, {"level": float(minute), "note": f"minute {minute}"}, at, at, at * 1_000_000)


@contextlib.asynccontextmanager
async def opened(file: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(file)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A file with some history, closed in order."""
    path = tmp_path / "history.db"
    async with opened(path) as store:
        await store.write([reading(minute, f"S{minute % 5}") for minute in range(2_000)])
        while await store.roll_up():
            pass
    return path


def overwrite(path: Path, first: int, last: int) -> None:
    """Random bytes over pages first to last - 1."""
    with path.open("r+b") as target:
        target.seek(first * PAGE)
        target.write(random.Random(first).randbytes((last - first) * PAGE))


def pages(path: Path) -> int:
    return path.stat().st_size // PAGE


def change(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


def make_another_programs(path: Path) -> None:
    path.unlink()
    change(path, "CREATE TABLE reading (name TEXT)")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "random bytes from the beginning": lambda path: overwrite(path, 0, pages(path)),
    "no database at all": lambda path: path.write_bytes(b"this was a text once " * 500),
    "junk behind the first page": lambda path: overwrite(path, 1, pages(path)),
    "cut in the middle": lambda path: path.write_bytes(path.read_bytes()[: 3 * PAGE + 100]),
    "another application's id": lambda path: change(path, "PRAGMA application_id = 1196444487"),
    "a later version's schema": lambda path: change(path, "PRAGMA user_version = 99"),
    "another program's tables": make_another_programs,
    "newest values that cannot be read": lambda path: change(path, "UPDATE latest SET body = '{' || body"),
    "text that is none": lambda path: change(path, "UPDATE latest SET body = CAST(x'ff00fe' AS TEXT)"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_a_damaged_file_is_kept_under_a_dated_name_and_a_new_one_begun(
    file: Path, damage: Callable[[Path], object]
) -> None:
    damage(file)
    bytes_before = file.read_bytes()
    with capture_logs() as said:
        async with opened(file) as store:
            await written(store, reading(5_000))
            found = await store.history(S1, "level", T0, T0 + 10_000 * MINUTE)
            assert [bucket.mean for bucket in found.buckets] == [5_000.0]
    (kept,) = kept_aside(file.parent)
    assert kept.name.startswith("history.db.damaged-2")
    assert kept.read_bytes()[:16] == bytes_before[:16]
    assert any(line["log_level"] == "error" and line.get("kept_as") == str(kept) for line in said)


async def written(store: SqliteStore, one: Reading) -> None:
    """Write as the write buffer does: again, where the store was unavailable."""
    for _ in range(3):
        with contextlib.suppress(StoreUnavailable):
            await store.write([one])
            return
    raise AssertionError("the store does not take a reading in three tries")


Use = Callable[[SqliteStore], Awaitable[object]]
USES: dict[str, Use] = {
    "a look at a history": lambda store: store.history(S1, "level", T0, T0 + 10_000 * MINUTE, 100),
    "readings": lambda store: store.readings(S1, T0, T0 + 10_000 * MINUTE),
    "a write": lambda store: store.write([reading(minute) for minute in range(0, 2_000, 7)]),
    "rollups": lambda store: store.roll_up(),
    "erasing": lambda store: store.erase_before(T0 + 1_000 * MINUTE),
    "rollups that are due": lambda store: store.rollups_due(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
async def test_damage_that_shows_only_in_use_ends_nothing_either(file: Path, use: Use) -> None:
    async with opened(file) as store:
        change(file, "INSERT INTO dirty SELECT DISTINCT series, key / 60000000000 FROM reading")
        change(file, "PRAGMA wal_checkpoint(TRUNCATE)")
        overwrite(file, 1, pages(file))
        with contextlib.suppress(StoreUnavailable):
            await use(store)
        await written(store, reading(5_000))
        found = await store.history(S1, "level", T0 + 4_000 * MINUTE, T0 + 10_000 * MINUTE)
        assert [bucket.mean for bucket in found.buckets] == [5_000.0]
        assert len(kept_aside(file.parent)) == 1
        assert store.latest()["garden", "S2"].fields["level"] == LatestValue(1997.0, T0 + 1997 * MINUTE)
    async with opened(file) as store:
        assert store.latest()["garden", "S2"].fields["level"].value == 1997.0, "newest values are in the new file"


async def test_a_file_whose_log_is_missing_is_read_as_far_as_it_goes(file: Path) -> None:
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    async with opened(file) as store:
        assert (await store.history(S1, "level", T0, T0 + 10_000 * MINUTE)).buckets
    assert kept_aside(file.parent) == []


async def test_a_file_that_another_process_holds_is_waited_for_and_not_replaced(file: Path) -> None:
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    async with opened(file) as store:
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.write([reading(5_000)])
        with pytest.raises(StoreUnavailable):
            await store.history(S1, "level", T0, T0 + 10_000 * MINUTE)
        holder.close()
        await until(lambda: ("garden", "S3") in store.latest(), "the file is opened by itself", 30)
        await written(store, reading(5_000))
        assert sum(bucket.samples for bucket in (await store.history(S1, "level", T0, T0 + 10**9)).buckets) == 401
    assert kept_aside(file.parent) == []


async def test_a_place_that_cannot_be_written_to_ends_nothing(tmp_path: Path) -> None:
    """Neither the folder nor the file: a folder stands where the file should, which root cannot write to either."""
    path = tmp_path / "data" / "history.db"
    path.mkdir(parents=True)
    async with opened(path) as store:
        with pytest.raises(StoreUnavailable):
            await store.write([reading(1)])
        path.rmdir()
        await written(store, reading(1))
    (tmp_path / "file").write_text("no folder")
    async with opened(tmp_path / "file" / "history.db") as store:
        with pytest.raises(StoreUnavailable):
            await store.write([reading(1)])


async def test_a_file_that_may_only_be_read_is_not_replaced(file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path / "before.db")
    file.chmod(stat.S_IRUSR)
    async with opened(file) as store:
        with contextlib.suppress(StoreUnavailable):  # root may write all the same
            await store.write([reading(5_000)])
    assert kept_aside(file.parent) == []


async def test_a_file_that_was_removed_under_the_service_is_begun_anew(file: Path) -> None:
    async with opened(file) as store:
        for path in file.parent.glob("history.db*"):
            path.unlink()
        await written(store, reading(5_000))
    async with opened(file) as store:
        assert [bucket.mean for bucket in (await store.history(S1, "level", T0, T0 + 10**10)).buckets] == [5_000.0]
