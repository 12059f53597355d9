"""One door to the database: transactions that tell of their facts after commit, and plain reads.

On SQLite writers queue here (the file has one), every transaction starts with BEGIN IMMEDIATE and commits with
fsync. Who waits for facts is woken after commit, never before.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry


class Database:
    """Owns the engine. `committed` is set after each transaction that wrote a fact; consumers wait on a `Waker`."""

    def __init__(self, url: str) -> None:
        self.engine: AsyncEngine = create_async_engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._one_writer = asyncio.Lock()
        self._wakers: set[asyncio.Event] = set()
        if self.is_sqlite:
            _prepare_sqlite(self.engine)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Write: all of it or nothing. Wakes the consumers of facts after commit."""
        async with contextlib.AsyncExitStack() as stack:
            if self.is_sqlite:
                await stack.enter_async_context(self._one_writer)
            connection = await stack.enter_async_context(self.engine.begin())
            yield connection
        for waker in self._wakers:
            waker.set()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Read, each statement by itself."""
        async with self.engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")

    @contextlib.contextmanager
    def waking(self, waker: asyncio.Event) -> Any:
        """Set `waker` after each commit, while the block lasts."""
        self._wakers.add(waker)
        try:
            yield waker
        finally:
            self._wakers.discard(waker)

    async def close(self) -> None:
        await self.engine.dispose()


DatabaseTrouble = (OperationalError, InterfaceError, OSError)
"""What a database that is away, locked or full raises; trying again may help."""


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
        # The option is asked, not the connection: SQLite's driver never says that it commits by itself.
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    @event.listens_for(engine.sync_engine, "invalidate")
    def _roll_back(connection: Any, _entry: ConnectionPoolEntry, _error: BaseException | None) -> None:
        # A cancelled task's connection is closed, but what it had begun would lock the file until it is collected.
        # It is thrown away in any case: whatever goes wrong here changes nothing more.
        with contextlib.suppress(Exception):
            connection.rollback()
