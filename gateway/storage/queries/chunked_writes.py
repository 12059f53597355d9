"""Long deletions in many short transactions, so that an alarm never waits for the end of one (see `collectors.chunks`).

What is left after a crash between two of them is what a new run begins with: each transaction leaves nothing half done.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from collectors.chunks import FIRST, next_chunk
from gateway.storage.database import Database
from gateway.storage.queries.index_use import go_along_indexes
from gateway.storage.transaction import Transaction

_MOST_ROWS: Final = 1_000
"""Keys of a chunk are one IN list: both databases limit what a statement may hold."""
Clock = Callable[[], float]
"""Seconds that only ever rise."""


class ChunkedWrites:
    """Transactions of a long deletion, one after the other; `rows` is how many rows the next one may take."""

    def __init__(self, database: Database, clock: Clock = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._chunk = FIRST

    @property
    def rows(self) -> int:
        return self._chunk.rows

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """The next transaction, after a pause. It is timed from when it has the write lock to after its commit."""
        await asyncio.sleep(self._chunk.pause_s)
        async with self._database.transaction() as transaction:
            began = self._clock()
            await go_along_indexes(transaction)
            yield transaction
        self._chunk = next_chunk(self._chunk, self._clock() - began, _MOST_ROWS)


async def delete_some(connection: AsyncConnection, table: Table, condition: ColumnElement[bool], most: int) -> int:
    """Delete at most so many rows that fulfil a condition; how many it were."""
    columns = list(table.primary_key.columns)
    found = select(*columns).where(condition).limit(most)
    key: Any = columns[0] if len(columns) == 1 else tuple_(*columns)
    gone = await connection.execute(delete(table).where(key.in_(found)))
    return int(gone.rowcount)


async def delete_in_chunks(
    database: Database,
    table: Table,
    condition: ColumnElement[bool],
    check: Callable[[AsyncConnection], Awaitable[None]] | None = None,
    clock: Clock = time.monotonic,
) -> int:
    """Delete all rows that fulfil a condition; how many it were. `check` may refuse a transaction by raising."""
    writes = ChunkedWrites(database, clock)
    removed = 0
    while True:
        wanted = writes.rows
        async with writes.transaction() as connection:
            if check is not None:
                await check(connection)
            gone = await delete_some(connection, table, condition, wanted)
        removed += gone
        if gone < wanted:
            return removed
