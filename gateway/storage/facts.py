"""Facts: what happened, written in the transaction in which it happened, read by whoever needs to know.

Each consumer keeps a cursor. It is woken by an event for speed and looks again each second for certainty,
so that a crash between the two loses nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import Database, DatabaseTrouble
from gateway.storage.postgres import tell_others
from gateway.storage.tables import fact, fact_cursor

_AT_ONCE: Final = 1_000
_LOOK_AGAIN_S: Final = 1.0
_RETRY_S: Final = 0.5

log = structlog.get_logger(__name__)


class NewFact(msgspec.Struct, frozen=True):
    """A fact to write. `kind` names the subject and what happened (`alarm.raised`), `thing` the id it is about."""

    at: int
    site: str
    kind: str
    thing: str
    body: dict[str, Any] = {}


class Fact(msgspec.Struct, frozen=True):
    """A fact as it was written."""

    id: int
    at: int
    site: str
    kind: str
    thing: str
    body: dict[str, Any]


Take = Callable[[AsyncConnection, Fact], Awaitable[None]]
"""What a consumer does with one fact, in its transaction."""
Check = Callable[[AsyncConnection], Awaitable[None]]
"""Raises when this process may no longer write."""


async def write_facts(connection: AsyncConnection, facts: Sequence[NewFact]) -> None:
    """Write facts in the order given, as part of the caller's transaction; the one writer's ids are in that order."""
    if not facts:
        return
    await connection.execute(insert(fact), [msgspec.structs.asdict(item) for item in facts])
    if connection.dialect.name == "postgresql":
        await tell_others(connection)


async def newest_fact(database: Database) -> int:
    """Id of the newest fact, 0 where there is none."""
    async with database.reading() as connection:
        return int(await connection.scalar(select(func.coalesce(func.max(fact.c.id), 0))) or 0)


async def facts_after(connection: AsyncConnection, cursor: int) -> list[Fact]:
    """The next facts, oldest first."""
    rows = await connection.execute(select(fact).where(fact.c.id > cursor).order_by(fact.c.id).limit(_AT_ONCE))
    return [Fact(**row) for row in rows.mappings()]


async def read_cursor(connection: AsyncConnection, consumer: str) -> int:
    """How far a consumer has read; 0 for one that never has."""
    cursor = await connection.scalar(select(fact_cursor.c.fact).where(fact_cursor.c.consumer == consumer))
    return int(cursor or 0)


async def move_cursor(connection: AsyncConnection, consumer: str, to: int) -> None:
    """Keep a consumer's place, in the transaction in which it did its work."""
    moved = await connection.execute(update(fact_cursor).where(fact_cursor.c.consumer == consumer).values(fact=to))
    if moved.rowcount == 0:
        await connection.execute(insert(fact_cursor).values(consumer=consumer, fact=to))


class Consumer:
    """Works off facts in order, each batch in one transaction with the consumer's place.

    `trouble` says why the database does not let it, "" while it does.
    """

    def __init__(self, database: Database, name: str, take: Take, check: Check) -> None:
        self.trouble = ""
        self._database = database
        self._name = name
        self._take = take
        self._check = check

    async def run(self) -> None:
        """Work until cancelled; what `check` raises (the lease is lost) ends it."""
        with self._database.waking(asyncio.Event()) as waker:
            while True:
                waker.clear()
                try:
                    more = await self._work_off()
                    self.trouble = ""
                except DatabaseTrouble as error:
                    if not self.trouble:
                        log.error("facts wait: the database does not take them", consumer=self._name, why=str(error))
                    self.trouble, more = str(error), False
                    await asyncio.sleep(_RETRY_S)
                if not more:
                    await wait_for_news(waker)

    async def _work_off(self) -> bool:
        async with self._database.reading() as connection:
            facts = await facts_after(connection, await read_cursor(connection, self._name))
        if not facts:
            return False
        async with self._database.transaction() as connection:
            await self._check(connection)
            for item in facts:
                await self._take(connection, item)
            await move_cursor(connection, self._name, facts[-1].id)
        return True


async def follow(database: Database, cursor: int) -> AsyncIterator[list[Fact]]:
    """Facts after `cursor` as they come, for a reader that keeps no place (the live feed)."""
    with database.waking(asyncio.Event()) as waker:
        while True:
            waker.clear()
            try:
                async with database.reading() as connection:
                    found = await facts_after(connection, cursor)
            except DatabaseTrouble as error:
                log.warning("facts cannot be read now", why=str(error))
                found = []
            if found:
                cursor = found[-1].id
                yield found
                continue
            await wait_for_news(waker)


async def wait_for_news(waker: asyncio.Event) -> None:
    """Wait for a commit, but never longer than a second: another process may have written."""
    # Not wait_for: in Python 3.11 it forgets a cancellation that comes together with the news.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_AGAIN_S):
            await waker.wait()
