"""What a transaction records: written once before the commit, in order, and not at all where the transaction fails."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import Database
from gateway.storage.outbox.outbox import Fact, follow
from gateway.storage.records import AuditRow, JournalRow, NewFact
from gateway.storage.tables import audit, fact, journal, site
from gateway.storage.transaction import Transaction, TransactionOver
from tests.builders.alarms import T0, rows_of
from tests.servers.waiting import until

TABLES = (journal, audit, fact)


@pytest.fixture
async def other(database: Database) -> AsyncIterator[Database]:
    """The same database as another process sees it."""
    view = Database(database.url)
    yield view
    await view.close()


def line(thing: str, at: Any = T0) -> JournalRow:
    return JournalRow("alarm", thing, at, "commented", "", "", "p-1")


def change(thing: str, at: Any = T0) -> AuditRow:
    return AuditRow(at, "HQ", "p-1", "", "web", "", "alarm.comment", thing, None, {"state": "无"}, "")


def news(thing: str, at: Any = T0) -> NewFact:
    return NewFact(at, "HQ", "alarm.raised", thing, {"actor": "p-1"})


def record(transaction: Transaction, *things: str) -> None:
    for thing in things:
        transaction.add_journal(line(thing))
        transaction.add_audit(change(thing))
        transaction.add_facts(news(thing))


async def enter(connection: AsyncConnection, code: str = "A") -> None:
    await connection.execute(insert(site).values(code=code, name={}, time_zone="UTC", created_at=T0))


async def recorded(database: Database) -> list[list[str]]:
    return [[row["thing"] for row in await rows_of(database, table)] for table in TABLES]


async def counted(connection: AsyncConnection) -> list[int]:
    return [await connection.scalar(select(func.count()).select_from(table)) or 0 for table in TABLES]


class Watch:
    """A companion that notes how many rows it sees at the end, records one itself, and may refuse the transaction."""

    def __init__(self, thing: str, error: Exception | None = None) -> None:
        self.seen: list[int] = []
        self._thing = thing
        self._error = error

    async def begin(self, transaction: Transaction) -> None:
        record(transaction, f"{self._thing} begins")

    async def end(self, transaction: Transaction) -> None:
        self.seen = await counted(transaction)
        record(transaction, self._thing)
        if self._error is not None:
            raise self._error


async def test_rows_of_several_calls_are_written_in_the_order_in_which_they_were_added(database: Database) -> None:
    things = [f"{number:02}" for number in range(30)]
    async with database.transaction() as transaction:
        record(transaction, *things[:10])
        await enter(transaction)
        transaction.add_facts(*map(news, things[10:]))
        transaction.add_audit(*map(change, things[10:]))
        transaction.add_journal(*map(line, things[10:]))
    assert await recorded(database) == [things] * 3
    for table in TABLES:
        assert [row["id"] for row in await rows_of(database, table)] == list(range(1, 31))


async def test_they_are_written_once_behind_every_statement_of_the_change(database: Database) -> None:
    statements: list[str] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(" ".join(statement.split()[:3]))

    async with database.transaction() as transaction:
        record(transaction, "a", "b")
        await enter(transaction)
        record(transaction, "c")
    own = [statement for statement in statements if statement.startswith("INSERT")]
    assert own == ["INSERT INTO site", "INSERT INTO journal", "INSERT INTO audit", "INSERT INTO fact"]
    statements.clear()
    async with database.transaction() as transaction:
        await enter(transaction, "B")
    assert [statement for statement in statements if "INSERT" in statement or "notify" in statement] == [
        "INSERT INTO site"
    ]


async def test_nothing_that_was_recorded_stays_when_the_change_fails(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as transaction:
            record(transaction, "a")
            await transaction.flush()
            record(transaction, "b")
            await enter(transaction)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await recorded(database) == [[], [], []]
    record_again = ["c"]
    async with database.transaction() as transaction:
        record(transaction, *record_again)
    assert await recorded(database) == [record_again] * 3


@pytest.mark.parametrize("which", ["journal", "audit", "facts"])
async def test_nothing_of_the_change_stays_when_a_row_cannot_be_written(database: Database, which: str) -> None:
    async def write() -> None:
        async with database.transaction() as transaction:
            await enter(transaction)
            record(transaction, "a")
            bad = {"journal": line, "audit": change, "facts": news}[which]("b", None)
            getattr(transaction, f"add_{which}")(bad)

    with database.waking(asyncio.Event()) as waker:
        with pytest.raises(IntegrityError):
            await write()
        assert not waker.is_set()
    assert await recorded(database) == [[], [], []]
    assert await rows_of(database, site) == []


async def test_a_statement_sees_what_was_recorded_after_a_flush_and_it_is_not_written_twice(database: Database) -> None:
    async with database.transaction() as transaction:
        record(transaction, "a", "b")
        assert await counted(transaction) == [0, 0, 0]
        await transaction.flush()
        assert await counted(transaction) == [2, 2, 2]
        await transaction.flush()
        record(transaction, "c")
    assert await recorded(database) == [["a", "b", "c"]] * 3


async def test_a_companion_sees_what_was_recorded_before_it_and_its_own_rows_come_after(database: Database) -> None:
    first, second = Watch("first"), Watch("second")
    with database.accompanied(first), database.accompanied(second):
        async with database.transaction() as transaction:
            record(transaction, "change")
    assert (first.seen, second.seen) == ([3] * 3, [4] * 3)
    assert await recorded(database) == [["first begins", "second begins", "change", "first", "second"]] * 3


async def test_a_companion_that_refuses_undoes_what_was_written_for_it_to_see(database: Database) -> None:
    watch = Watch("refuses", LookupError())

    async def write() -> None:
        async with database.transaction() as transaction:
            await enter(transaction)
            record(transaction, "change")

    with pytest.raises(LookupError), database.accompanied(watch):
        await write()
    assert watch.seen == [2] * 3
    assert await recorded(database) == [[], [], []]
    assert await rows_of(database, site) == []


async def test_who_follows_facts_reads_them_after_the_commit_and_not_before(
    database: Database, other: Database
) -> None:
    """In the writing process and, on PostgreSQL, in another one that is notified."""
    heard: dict[Database, list[str]] = {}

    async def listen(view: Database) -> None:
        found: Sequence[Fact]
        async for found in follow(view, 0):
            heard.setdefault(view, []).extend(item.thing for item in found)

    tasks = [asyncio.create_task(work) for work in (listen(database), listen(other), other.follow_other_commits())]
    await until(lambda: database._wakers and other._wakers, "both follow")
    async with database.transaction() as transaction:
        record(transaction, "a", "b")
        await transaction.flush()
        async with other.reading() as connection:
            assert await counted(connection) == [0, 0, 0]
        assert heard == {}
    await until(lambda: heard == {database: ["a", "b"], other: ["a", "b"]}, "the facts in both processes")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_is_recorded_after_the_end_is_refused_instead_of_being_lost(database: Database) -> None:
    async with database.transaction() as transaction:
        record(transaction, "a")
    for add, row in (
        (transaction.add_journal, line("b")),
        (transaction.add_audit, change("b")),
        (transaction.add_facts, news("b")),
    ):
        with pytest.raises(TransactionOver):
            add(row)
    assert await recorded(database) == [["a"]] * 3
