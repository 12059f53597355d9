"""An owner that sleeps, or whose network is gone, is followed within the lease, and knows by itself that it is over."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import Database
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.leadership import lease
from gateway.storage.leadership.lease import LIFETIME_MS, holder_of
from gateway.storage.leadership.tenure import Tenure
from gateway.storage.postgres import connections as postgres
from gateway.supervision.lease_keeping import OVER, LeaseKeeper
from tests.builders.alarms import T0
from tests.servers.influxdb import InfluxDB
from tests.servers.mosquitto import Mosquitto
from tests.servers.postgres import Postgres
from tests.servers.service import Service, wait_until
from tests.servers.service_pair import Pair
from tests.servers.silent_network import SilentNetwork
from tests.servers.waiting import until_awaited
from tests.servers.wire import send

FOLLOWED_S: Final = 30.0
"""Generous: the lease lives for 6 s, and the machine may be busy."""
_MUCH: Final = "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"
"""More than any buffer between server and client takes."""


@pytest.fixture
def engine() -> str:
    """All of this file is about PostgreSQL: on SQLite nobody stands by."""
    return "postgres"


@pytest.fixture
async def other(database: Database) -> AsyncIterator[Database]:
    """The same database as another process sees it."""
    view = Database(database.url)
    yield view
    await view.close()


# -- kinds of hold -------------------------------------------------------------------------------------


async def idle(_connection: AsyncConnection) -> None:
    """Frozen between two statements."""
    await asyncio.Event().wait()


async def in_a_statement(connection: AsyncConnection) -> None:
    """Frozen while the server works on one."""
    await connection.execute(text("SELECT pg_sleep(3600)"))


async def with_unread_results(connection: AsyncConnection) -> None:
    """Frozen while results come: the server waits for ever until somebody reads them."""
    driver = (await connection.get_raw_connection()).driver_connection
    driver._transport.pause_reading()  # type: ignore[union-attr]
    await connection.execute(text(_MUCH))


Hold = Callable[[AsyncConnection], Coroutine[Any, Any, None]]
HOLDS: Final[dict[str, Hold]] = {
    "idle": idle, "in a statement": in_a_statement, "with unread results": with_unread_results
}  # fmt: skip


@contextlib.asynccontextmanager
async def held(database: Database, hold: Hold) -> AsyncIterator[None]:
    """The turn of the one writer is held, by a process that answers no more."""

    async def freeze() -> None:
        async with database.transaction() as connection:
            await hold(connection)

    frozen = asyncio.create_task(freeze())
    try:
        yield
    finally:
        frozen.cancel()
        await asyncio.gather(frozen, return_exceptions=True)


async def is_held(database: Database) -> bool:
    async with database.reading() as connection:
        statement = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = :key"
        return bool(await connection.scalar(text(statement), {"key": postgres._WRITERS_LOCK}))


@pytest.mark.server
@pytest.mark.parametrize("hold", HOLDS.values(), ids=HOLDS.keys())
async def test_whoever_takes_over_ends_the_sessions_of_an_owner_whose_lease_is_over_whatever_they_are_in(
    hold: Hold, database: Database, other: Database
) -> None:
    epoch = await lease.take(database, holder_of(database), T0)
    assert epoch is not None
    async with held(database, hold):
        await until_awaited(lambda: is_held(other), "the frozen owner is the one writer")
        assert await lease.take(other, holder_of(other), T0 + LIFETIME_MS - 1) is None
        assert await is_held(other), "nobody touches an owner whose lease is not over"
        async with asyncio.timeout(4):  # before any time-out of the server could have helped
            assert await lease.take(other, holder_of(other), T0 + LIFETIME_MS) == epoch + 1
        async with other.transaction() as connection:
            await lease.verify(connection, epoch + 1)


@pytest.mark.server
@pytest.mark.parametrize("hold", [in_a_statement, with_unread_results], ids=["in a statement", "with unread results"])
async def test_a_frozen_writer_that_owns_nothing_is_ended_by_whoever_has_waited_for_it_too_long(
    hold: Hold, database: Database, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "WRITER_WAIT_S", 0.2)
    monkeypatch.setitem(postgres._SESSION, "lock_timeout", "300ms")
    waiting = Database(database.url)
    async with held(database, hold):
        await until_awaited(lambda: is_held(other), "the frozen process is the one writer")
        with pytest.raises(DatabaseTrouble):
            async with waiting.transaction():
                pytest.fail("two writers")
        async with waiting.transaction() as connection:  # its next try
            assert await connection.scalar(text("SELECT 1")) == 1
    await waiting.close()


@pytest.mark.server
async def test_a_migration_that_takes_long_is_not_taken_for_a_frozen_writer(
    database: Database, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "WRITER_WAIT_S", 0.1)
    monkeypatch.setitem(postgres._SESSION, "lock_timeout", "200ms")
    migrating, waiting = Database(database.url, command_s=None), Database(database.url)
    async with migrating.transaction() as connection:
        with pytest.raises(DatabaseTrouble):
            async with waiting.transaction():
                pytest.fail("two writers")
        assert await connection.scalar(text("SELECT 1")) == 1
    for view in (migrating, waiting):
        await view.close()


@pytest.mark.server
async def test_the_lease_is_renewed_while_somebody_else_writes_for_long(database: Database, other: Database) -> None:
    epoch = await lease.take(database, holder_of(database), T0)
    assert epoch is not None
    async with other.transaction(), asyncio.timeout(4):
        await lease.renew(database, epoch, T0 + LIFETIME_MS)


# -- its own knowledge ---------------------------------------------------------------------------------


def test_a_lease_counts_from_before_it_was_asked_for() -> None:
    now = [100.0]
    tenure = Tenure(clock=lambda: now[0])
    assert tenure.is_over
    asked = tenure.now()
    now[0] += 3.0  # the answer was slow
    tenure.hold(asked)
    now[0] = asked + LIFETIME_MS / 1000 - 0.1
    assert not tenure.is_over
    now[0] = asked + LIFETIME_MS / 1000
    assert tenure.is_over


def test_on_sqlite_the_folders_lock_is_the_lease() -> None:
    assert not Tenure(ends=False, clock=lambda: 1e9).is_over


@pytest.mark.server
async def test_an_owner_that_wakes_says_so_before_it_has_asked_anybody(
    database: Database, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = [0.0]
    keeper = LeaseKeeper(database)
    keeper._tenure = Tenure(clock=lambda: time.monotonic() + slept[0])
    assert await keeper.take() == 1
    assert (keeper.state, keeper.holds()) == ("ready", True)
    slept[0] = 60.0
    assert (keeper.state, keeper.holds()) == (OVER, False)
    await keeper.renew()
    assert keeper.state == "ready", "nobody had taken it meanwhile"
    slept[0] = 120.0
    later = await lease.shared_clock(other, lambda: 0) + LIFETIME_MS
    assert await lease.take(other, holder_of(other), later) == 2

    async def renew_until_answered() -> None:
        while True:  # its sessions were ended: the first renewals may find only that
            await keeper.renew()
            assert (keeper.state.partition("; ")[0], keeper.holds()) == (OVER, False)

    with pytest.raises(lease.LeaseLost):
        await asyncio.wait_for(renew_until_answered(), FOLLOWED_S)
    assert (keeper.state.partition("; ")[0], keeper.holds()) == (OVER, False)


# -- real services -------------------------------------------------------------------------------------

_SLEEPS_WHILE_FROZEN = (
    "CREATE TABLE frozen (of integer)",
    "INSERT INTO frozen VALUES (1)",
    """CREATE FUNCTION sleep_while_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN IF EXISTS (SELECT 1 FROM frozen) THEN PERFORM pg_sleep(3600); END IF; RETURN NEW; END $$""",
    "CREATE TRIGGER sleeps BEFORE INSERT ON alarm FOR EACH ROW EXECUTE FUNCTION sleep_while_frozen()",
)
_SLEEPING = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND state = 'active'"


def press(mosquitto: Mosquitto, lift: str) -> None:
    """Somebody in a lift presses the alarm button."""
    asyncio.run(send(mosquitto.port, [(f"gengfu/hq/elevator/{lift}/telemetry", b'{"alarm_button": true}')]))


def take_overs(mosquitto: Mosquitto) -> int:
    """How often a client has taken the service's session at the broker away from another one."""
    return (mosquitto.folder / "mosquitto.log").read_text().count("Client gengfu already connected")


def alarms_of(pair: Pair, lift: str) -> list[tuple[Any, ...]]:
    return pair.rows(f"SELECT activations FROM alarm WHERE equipment = '{lift}'")


def watch_it_step_back(service: Service) -> None:
    """Look at it until it stands by: at no moment may it call itself the owner."""
    seen = list[str]()

    def stands_by() -> bool:
        with contextlib.suppress(OSError):
            seen.append(service.components()["leader"])
        return bool(seen) and seen[-1] == "standing by"

    wait_until(stands_by, "the old owner stands by")
    assert "ready" not in seen, seen


@pytest.fixture
def pair(tmp_path: Path, postgres: Postgres, influxdb: InfluxDB, mosquitto: Mosquitto) -> Iterator[Pair]:
    pair = Pair(tmp_path, postgres, influxdb, mosquitto)
    yield pair
    for service in pair.services:
        service.kill()
    postgres.drop(pair.name)


@pytest.mark.server
@pytest.mark.timeout(200)
def test_an_owner_frozen_in_a_statement_is_followed_and_when_it_wakes_it_takes_nothing_back(
    pair: Pair, mosquitto: Mosquitto
) -> None:
    owner, other = pair.start()
    for statement in _SLEEPS_WHILE_FROZEN:
        pair.rows(statement)
    press(mosquitto, "L-1")
    wait_until(lambda: pair.rows(_SLEEPING), "the owner's decision is in the middle of a statement")
    owner.pause()
    pair.rows("DELETE FROM frozen")
    wait_until(other.owns, "the other service has taken over", FOLLOWED_S)
    wait_until(lambda: alarms_of(pair, "L-1"), "the alarm that was not committed comes again")
    press(mosquitto, "L-2")
    wait_until(lambda: alarms_of(pair, "L-2"), "the new owner works")
    before = take_overs(mosquitto)
    owner.resume()
    watch_it_step_back(owner)
    press(mosquitto, "L-3")
    wait_until(lambda: alarms_of(pair, "L-3"), "the new owner still hears the broker")
    assert take_overs(mosquitto) == before
    assert [alarms_of(pair, lift) for lift in ("L-1", "L-2", "L-3")] == [[(1,)]] * 3


@pytest.mark.server
@pytest.mark.timeout(200)
def test_an_owner_whose_way_to_the_database_swallows_everything_is_followed_and_steps_back_by_itself(
    tmp_path: Path, postgres: Postgres, influxdb: InfluxDB, mosquitto: Mosquitto
) -> None:
    with SilentNetwork(postgres.port) as network:
        pair = Pair(tmp_path, postgres, influxdb, mosquitto, first_port=network.port)
        try:
            owner, other = pair.start()
            network.fall_silent()
            wait_until(lambda: not owner.is_ready(), "the cut-off owner says that it is none", FOLLOWED_S)
            wait_until(other.owns, "the other service has taken over", FOLLOWED_S)
            before = take_overs(mosquitto)
            press(mosquitto, "L-1")
            wait_until(lambda: alarms_of(pair, "L-1"), "the new owner works")
            network.speak()
            watch_it_step_back(owner)
            assert take_overs(mosquitto) == before
            assert alarms_of(pair, "L-1") == [(1,)]
        finally:
            for service in pair.services:
                service.kill()
            postgres.drop(pair.name)
