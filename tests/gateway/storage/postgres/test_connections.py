"""PostgreSQL as the service's memory: which errors pass, one writer among processes, news from other processes."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from gateway.storage.database import Database
from gateway.storage.database_errors import DatabaseTrouble, is_refusal
from gateway.storage.leadership import lease
from gateway.storage.outbox import outbox as facts
from gateway.storage.outbox.outbox import follow, newest_fact
from gateway.storage.postgres import connections as postgres
from gateway.storage.records import NewFact
from gateway.storage.tables import fact, site
from gateway.storage.transaction import Transaction
from tests.builders.alarms import T0, rows_of
from tests.servers.postgres import Postgres
from tests.servers.waiting import until

pytestmark = pytest.mark.server


@pytest.fixture
def engine() -> str:
    """All of this file is about the one of the two."""
    return "postgres"


@pytest.fixture
async def other(database: Database) -> AsyncIterator[Database]:
    """The same database as another process sees it."""
    view = Database(database.url)
    yield view
    await view.close()


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """One that may be stopped."""
    server = Postgres().start()
    yield server
    server.close()


def new_site(code: str, **changes: object) -> dict[str, object]:
    return {"code": code, "name": {}, "time_zone": "UTC", "created_at": T0, **changes}


def tell(transaction: Transaction, thing: str) -> None:
    transaction.add_facts(NewFact(T0, "HQ", "alarm.raised", thing))


async def end_sessions(database: Database) -> None:
    """What an administrator, or a server that goes down, does to every connection but the asking one."""
    async with database.reading() as connection:
        others = "pid <> pg_backend_pid() AND datname = current_database() AND application_name LIKE 'gengfu %'"
        await connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))


# -- errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        new_site("x" * 65),  # longer than its column
        new_site("a\x00b"),  # no letter of PostgreSQL's
        new_site("\ud800"),  # half a letter
        new_site("A", created_at=2**63),
        new_site("A", name={"en": float("nan")}),
    ],
    ids=["too long", "nul", "surrogate", "too large", "nan"],
)
async def test_what_a_column_can_never_hold_is_no_trouble_that_passes(
    database: Database, row: dict[str, object]
) -> None:
    async with database.transaction() as connection:
        with pytest.raises(DataError) as refused:
            await connection.execute(insert(site), row)
        await connection.rollback()
    assert not isinstance(refused.value, DatabaseTrouble)


async def test_a_conflict_of_keys_is_no_trouble_that_passes(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(insert(site), new_site("A"))
        with pytest.raises(IntegrityError):
            await connection.execute(insert(site), new_site("A"))
        await connection.rollback()


async def test_a_session_that_was_ended_is_trouble_that_passes(database: Database, other: Database) -> None:
    async def write() -> None:
        async with database.transaction() as connection:
            await connection.execute(insert(site), new_site("A"))
            await end_sessions(other)
            await connection.execute(select(site))

    with pytest.raises(DatabaseTrouble):
        await write()
    async with database.transaction() as connection:
        await connection.execute(insert(site), new_site("B"))
    assert [row["code"] for row in await rows_of(database, site)] == ["B"]


async def test_a_server_that_is_away_is_trouble_and_its_return_costs_nobody_a_request(own_postgres: Postgres) -> None:
    database = Database(own_postgres.create("mine"))
    async with database.reading() as first, database.reading() as second:
        assert [await first.scalar(text("SELECT 1")), await second.scalar(text("SELECT 1"))] == [1, 1]
    own_postgres.stop()
    with pytest.raises(DatabaseTrouble):
        async with database.reading() as connection:
            await connection.scalar(text("SELECT 1"))
    own_postgres.start()
    async with database.reading() as first, database.reading() as second:
        assert [await first.scalar(text("SELECT 1")), await second.scalar(text("SELECT 1"))] == [1, 1]
    await database.close()


@pytest.mark.parametrize(
    ("user", "name"), [("gengfu", "nowhere"), ("nobody", "postgres")], ids=["no such database", "no such user"]
)
async def test_a_refusal_is_known_from_a_server_that_is_away(postgres: Postgres, user: str, name: str) -> None:
    refusing = Database(postgres.url(name).replace("gengfu@", f"{user}@"))
    with pytest.raises(DBAPIError) as refused:
        async with refusing.reading() as connection:
            await connection.scalar(text("SELECT 1"))
    assert is_refusal(refused.value)
    assert isinstance(
        refused.value, DatabaseTrouble
    )  # while it runs it goes on trying: somebody is changing a password
    await refusing.close()


# -- one writer ----------------------------------------------------------------------------------------


async def test_one_process_writes_at_a_time_so_that_facts_are_numbered_in_the_order_of_their_commits(
    database: Database, other: Database
) -> None:
    async def write_late() -> None:
        async with other.transaction() as transaction:
            tell(transaction, "late")

    async with database.transaction() as transaction:
        late = asyncio.create_task(write_late())
        done, _ = await asyncio.wait([late], timeout=0.3)
        assert not done  # it waits, although nothing is locked that it writes
        tell(transaction, "early")
    await late
    assert [row["thing"] for row in await rows_of(database, fact)] == ["early", "late"]


async def test_a_writer_that_waits_too_long_meets_trouble_that_passes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres._SESSION, "lock_timeout", "100ms")
    impatient = Database(database.url)
    async with database.transaction() as connection:
        await connection.execute(insert(site), new_site("A"))
        with pytest.raises(DatabaseTrouble):
            async with impatient.transaction():
                pytest.fail("two writers")
    async with impatient.transaction() as connection:
        await connection.execute(insert(site), new_site("B"))
    await impatient.close()


async def test_an_owner_that_sleeps_in_the_middle_of_a_decision_neither_holds_the_lease_nor_writes(
    database: Database, other: Database
) -> None:
    epoch = await lease.take(database, "a", T0)
    assert epoch is not None

    async def decide() -> None:
        async with database.transaction() as connection:
            await lease.verify(connection, epoch)
            await connection.execute(insert(site), new_site("A"))
            assert await lease.take(other, "b", T0 + lease.LIFETIME_MS) == epoch + 1  # waits until we are cut off

    with pytest.raises(DatabaseTrouble):
        await decide()
    assert await rows_of(database, site) == []
    with pytest.raises(lease.LeaseLost):
        async with database.transaction() as connection:
            await lease.verify(connection, epoch)


async def test_the_lease_is_measured_by_the_databases_clock(database: Database) -> None:
    def wrong_clock() -> int:
        return T0

    assert await lease.shared_clock(database, wrong_clock) > T0 + 1_000_000


# -- news ----------------------------------------------------------------------------------------------


async def test_another_processs_facts_come_at_once_and_again_after_the_connection_broke(
    database: Database, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "_LOOK_AGAIN_S", 3_600.0)  # only news wakes
    heard: list[str] = []

    async def listen() -> None:
        async for told in follow(database, await newest_fact(database)):
            heard.extend(item.thing for item in told)

    tasks = [asyncio.create_task(database.follow_other_commits()), asyncio.create_task(listen())]
    await until(lambda: database._wakers, "it follows")
    async with other.transaction() as transaction:
        tell(transaction, "a")
    await until(lambda: heard == ["a"], "the fact of the other process")
    await end_sessions(other)
    async with other.transaction() as transaction:
        tell(transaction, "b")
    await until(lambda: heard == ["a", "b"], "the fact that was told while nobody listened")
    async with other.transaction() as transaction:
        tell(transaction, "c")
    await until(lambda: heard == ["a", "b", "c"], "the fact after that")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
