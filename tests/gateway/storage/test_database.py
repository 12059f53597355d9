"""The door to the database: reads that wait for nobody, writes that leave nothing behind when they are cancelled."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import Database
from gateway.storage.tables import site
from tests.builders.alarms import T0, rows_of


@pytest.fixture
async def other(database: Database) -> AsyncIterator[Database]:
    """The same database as another process sees it."""
    view = Database(database.url)
    yield view
    await view.close()


async def add(connection: AsyncConnection, code: str) -> None:
    await connection.execute(insert(site).values(code=code, name={}, time_zone="UTC", created_at=T0))


async def test_a_read_does_not_wait_for_a_writer_and_sees_what_was_committed(database: Database) -> None:
    async with database.transaction() as connection:
        await add(connection, "A")
    async with database.transaction() as connection:
        await add(connection, "B")
        seen = await asyncio.wait_for(rows_of(database, site), 5)  # a lock would be waited for ten seconds
    assert [row["code"] for row in seen] == ["A"]


async def test_a_read_keeps_no_lock_from_a_writer(database: Database, other: Database) -> None:
    async with database.reading() as connection, asyncio.timeout(5):
        await connection.execute(select(site))
        async with other.transaction() as writing:
            await add(writing, "A")
    assert len(await rows_of(database, site)) == 1


async def test_a_cancelled_transaction_leaves_neither_rows_nor_a_lock(database: Database, other: Database) -> None:
    """Cancelled at each turn of the loop, between and in the midst of statements; the errors are kept meanwhile,
    as a task group keeps them, so that no garbage collection comes to help."""

    async def write() -> None:
        async with database.transaction() as connection:
            for number in range(1_000):
                await connection.execute(select(site))
                await add(connection, f"A{number}")

    kept: list[object] = []
    for turns in range(60):
        task = asyncio.create_task(write())
        for _ in range(turns):
            await asyncio.sleep(0.000_1)
        task.cancel()
        kept += await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(5), other.transaction() as connection:  # a lock would be waited for ten seconds
            assert await connection.scalar(select(func.count()).select_from(site)) == 0
    assert {type(item) for item in kept} == {asyncio.CancelledError}


async def test_consumers_are_woken_after_commit_and_not_by_what_failed(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as connection:
            await add(connection, "A")
            raise LookupError

    with database.waking(asyncio.Event()) as waker:
        with pytest.raises(LookupError):
            await fail()
        assert not waker.is_set()
        async with database.transaction() as connection:
            await add(connection, "A")
            assert not waker.is_set()
        assert waker.is_set()
        waker.clear()
    async with database.transaction() as connection:
        await add(connection, "B")
    assert not waker.is_set()  # it waits no more
