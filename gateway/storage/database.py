"""The only access to the database: transactions that wake the consumers of facts after commit, and plain reads.

One transaction writes at a time, on either database: SQLite's file has one writer (BEGIN IMMEDIATE), and on PostgreSQL
an advisory lock ensures it among all processes. Commits are durable on disk. Consumers of facts are woken after the
commit, never before.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any, Final, Protocol

import structlog
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from gateway.storage.database_errors import DatabaseTrouble, sort_sqlite
from gateway.storage.disk_full import MakeRoom, RoomMaker
from gateway.storage.postgres import connections as postgres
from gateway.storage.transaction import Transaction
from gateway.storage.trouble_words import in_plain_words

log = structlog.get_logger(__name__)

COMMAND_S: Final = 30.0
"""A longer statement means that the server is gone or that a lock is never released."""
UNQUEUED_S: Final = 2.0
"""How long a statement of the lease may take: three of them must fail before the lease is over."""
_LISTEN_AGAIN_S: Final = 1.0


class Companion(Protocol):
    """Takes part in the next transaction of a task. If it raises, that transaction is rolled back."""

    async def begin(self, transaction: Transaction) -> None:
        """Runs before anything else in the transaction."""
        ...

    async def end(self, transaction: Transaction) -> None:
        """Runs after everything else in the transaction, before the commit; everything recorded is written."""
        ...


_companions: Final[ContextVar[list[Companion]]] = ContextVar("companions")


class Database:
    """Owns the engine. After each commit, ours or another process's, every `waking` event is set."""

    def __init__(self, url: str, command_s: float | None = COMMAND_S, make_room: MakeRoom | None = None) -> None:
        """Describe the database; no connection is made yet.

        Args:
            url: SQLAlchemy address with an asynchronous driver.
            command_s: how long a statement may take on PostgreSQL; None for a migration, which has no limit.
            make_room: called when SQLite finds the disk full, so that a retry succeeds.
        """
        self.url = url
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        self.session_name = postgres.new_session_name()
        """`application_name` of all sessions of this process at PostgreSQL."""
        self._unqueued: AsyncEngine | None = None
        self._room = RoomMaker(make_room)
        if self.is_sqlite:
            self.engine = create_async_engine(url)
            _prepare_sqlite(self.engine)
            event.listen(self.engine.sync_engine, "handle_error", self._room.note)
        else:
            self.engine = postgres.make_engine(url, command_s, self.session_name)
            self._unqueued = postgres.make_engine(url, UNQUEUED_S, self.session_name, pool_size=1)
        self._one_writer = asyncio.Lock()
        self._wakers: set[asyncio.Event] = set()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Write: all of it or nothing. Wakes the consumers of facts after commit."""
        transaction = Transaction(self.engine)
        async with self._one_writer, transaction, transaction.begin():  # our writers queue here, not on connections
            if not self.is_sqlite:
                await postgres.wait_for_turn(transaction)
            companions = _take_companions()
            for companion in companions:
                await companion.begin(transaction)
            yield transaction
            for companion in companions:
                await transaction.flush()
                await companion.end(transaction)
            await transaction.flush()
        self._wake()

    @contextlib.asynccontextmanager
    async def unqueued(self) -> AsyncIterator[AsyncConnection]:
        """Statements that wait for no writer and for no free connection, each by itself and within `UNQUEUED_S`.

        For the lease: whatever else is slow, it is renewed in time. On SQLite, where a file has one writer, this is a
        transaction like any other.
        """
        if self._unqueued is None:
            async with self.transaction() as connection:
                yield connection
            return
        async with self._unqueued.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")

    @contextlib.contextmanager
    def accompanied(self, companion: Companion) -> Iterator[None]:
        """Add a companion to the first transaction of this task inside the block, after those of outer blocks."""
        token = _companions.set([*_companions.get([]), companion])
        try:
            yield
        finally:
            _companions.reset(token)

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Read, each statement by itself."""
        async with self.engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """Read several statements as of one moment, which no writer waits for."""
        async with self.engine.connect() as connection:
            if not self.is_sqlite:
                yield await connection.execution_options(isolation_level="REPEATABLE READ")
                return
            plain = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await plain.exec_driver_sql("BEGIN")  # not IMMEDIATE: it takes no write lock
            try:
                yield plain
            finally:
                await plain.exec_driver_sql("ROLLBACK")

    @contextlib.contextmanager
    def waking(self, waker: asyncio.Event) -> Any:
        """Set `waker` after each commit, while the block lasts."""
        self._wakers.add(waker)
        try:
            yield waker
        finally:
            self._wakers.discard(waker)

    async def follow_other_commits(self) -> None:
        """Wake the consumers when another process has committed facts, until cancelled."""
        if self.is_sqlite:  # there is no other process
            await asyncio.Event().wait()
        is_listening = True
        while True:
            try:
                await postgres.listen(self.engine, self._wake)
                is_listening = True
            except DatabaseTrouble as error:
                if is_listening:
                    log.warning("not notified of commits of other processes; polling each second",
                                why=in_plain_words(error), detail=str(error))  # fmt: skip
                is_listening = False
            await asyncio.sleep(_LISTEN_AGAIN_S)

    def _wake(self) -> None:
        for waker in self._wakers:
            waker.set()

    def take_made_room(self) -> bool:
        """Whether space was freed on disk since the last call, so that a failed write may be retried at once."""
        return self._room.take()

    async def close(self) -> None:
        await self.engine.dispose()
        if self._unqueued is not None:
            await self._unqueued.dispose()


def _take_companions() -> list[Companion]:
    """Those of the next transaction; the one after it has none."""
    waiting = _companions.get([])
    taken = list(waiting)
    waiting.clear()
    return taken


def _prepare_sqlite(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # BEGIN is ours, see below
        cursor = connection.cursor()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "busy_timeout = 10000",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        # A transaction that starts as a reader and then writes can fail in the middle; this one cannot.
        # Read from the option, not the connection: SQLite's driver does not report autocommit.
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine.sync_engine, "handle_error", sort_sqlite, retval=True)

    @event.listens_for(engine.sync_engine, "invalidate")
    def _roll_back(connection: Any, _entry: ConnectionPoolEntry, _error: BaseException | None) -> None:
        # A cancelled task's connection is closed, but what it had begun would lock the file until it is collected.
        # It is discarded in any case, so errors here do not matter.
        with contextlib.suppress(Exception):
            connection.rollback()
