"""The lease: one owner on one database; and one process in one data folder."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.storage.database import Database
from gateway.storage.leadership import lease
from gateway.storage.leadership.lease import (
    LIFETIME_MS,
    FolderInUse,
    LeaseLost,
    lock_folder,
    release,
    renew,
    take,
    verify,
)
from tests.builders.alarms import T0


@pytest.fixture
async def other(database: Database) -> AsyncIterator[Database]:
    """The same database as another process sees it."""
    view = Database(database.url)
    yield view
    await view.close()


async def check(database: Database, epoch: int) -> None:
    async with database.transaction() as connection:
        await verify(connection, epoch)


async def test_of_two_holders_only_the_first_owns(database: Database, other: Database) -> None:
    assert await take(database, "a", T0) == 1
    assert await take(other, "b", T0 + LIFETIME_MS - 1) is None
    await check(other, 1)


async def test_at_the_same_moment_one_of_two_wins(database: Database, other: Database) -> None:
    found = await asyncio.gather(take(database, "a", T0), take(other, "b", T0))
    assert sorted(found, key=str) == [1, None]


async def test_a_lease_that_ended_goes_to_the_next_with_a_new_epoch(database: Database, other: Database) -> None:
    assert await take(database, "a", T0) == 1
    assert await take(other, "b", T0 + LIFETIME_MS) == 2
    with pytest.raises(LeaseLost, match="epoch 1 is over, 2 has begun"):
        await check(database, 1)
    with pytest.raises(LeaseLost):
        await renew(database, 1, T0 + LIFETIME_MS)
    await check(other, 2)


async def test_who_renews_in_time_keeps_it(database: Database, other: Database) -> None:
    epoch = await take(database, "a", T0)
    assert epoch is not None
    await renew(database, epoch, T0 + 4_000)
    assert await take(other, "b", T0 + LIFETIME_MS) is None
    assert await take(other, "b", T0 + 4_000 + LIFETIME_MS) == 2


async def test_who_releases_it_makes_room_at_once(database: Database, other: Database) -> None:
    assert await take(database, "a", T0) == 1
    await release(database, 1)
    assert await take(other, "b", T0 + 1) == 2
    await release(database, 1)  # late, by the one before: must not take it from the new owner
    await check(other, 2)
    assert await take(database, "a", T0 + 2) is None


async def test_who_takes_its_own_lease_again_begins_a_new_epoch(database: Database) -> None:
    """The same host and process number after a crash: what the one before left in flight must not be written."""
    assert await take(database, "a", T0) == 1
    assert await take(database, "a", T0 + 1) == 2
    with pytest.raises(LeaseLost):
        await check(database, 1)


async def test_without_a_lease_nobody_may_write(database: Database) -> None:
    with pytest.raises(LeaseLost):
        await check(database, 1)


_HOLD = """
import sys
from pathlib import Path
from gateway.storage.leadership.lease import FolderInUse, lock_folder
try:
    with lock_folder(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
except FolderInUse as error:
    print(error, flush=True)
"""


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_process_in_a_folder_is_refused_and_told_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with start(folder) as holder:
        assert first_line(holder) == "held"
        with start(folder) as second:
            line = first_line(second)
            second.communicate()
        assert f"another gengfu (process {holder.pid}) works in {folder}" in line
        assert "stop it, or choose another folder (storage.data_dir)" in line
        holder.kill()  # as a crash: the lock goes with the process
        holder.communicate()
    with lock_folder(folder):
        assert int((folder / "gengfu.lock").read_text()) > 0


def test_a_folder_is_free_again_after_an_orderly_end(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(FolderInUse), lock_folder(tmp_path):
        pytest.fail("two in one folder")
    with lock_folder(tmp_path):
        pass
    assert lease.OWNER == "alarms"


async def test_a_lease_from_before_the_clock_was_set_back_keeps_nobody_out(database: Database, other: Database) -> None:
    """Its owner is gone, and it would end an hour from now."""
    assert await take(database, "a", T0) == 1
    assert await take(other, "b", T0 - 3_600_000) == 2
    with pytest.raises(LeaseLost):
        await check(database, 1)
