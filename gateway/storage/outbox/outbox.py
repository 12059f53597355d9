"""The outbox of facts: a fact is written in the transaction of the change it describes and read by consumers.

Each consumer keeps an offset. An event wakes it after a commit, and it polls each second, so that a crash between the
two loses nothing. A fact that a consumer cannot process becomes a dead letter, and the consumer continues.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any, Final

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import Database
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.outbox.isolate_failure import isolate_failure, reason_of
from gateway.storage.queries.index_use import after
from gateway.storage.tables import consumer_offset, dead_letter, fact
from gateway.storage.transaction import Transaction
from gateway.storage.trouble_words import in_plain_words

_AT_ONCE: Final = 1_000
_LOOK_AGAIN_S: Final = 1.0
_RETRY_S: Final = 0.5
_GATHER_S: Final = 0.02
_LOOK_FOR_PLACE_S: Final = 0.005
"""Delay of consumers after a commit: the live feed goes first, and facts that arrive together form one batch."""
SHOWN_MS: Final = 24 * 3_600_000
"""How long a consumer reports its dead letters."""

log = structlog.get_logger(__name__)


class Fact(msgspec.Struct, frozen=True):
    """A fact as it was written."""

    id: int
    at: int
    site: str
    kind: str
    thing: str
    body: dict[str, Any]


Take = Callable[[Transaction, Sequence[Fact]], Awaitable[None]]
"""What a consumer does with facts, oldest first, in its transaction."""
Check = Callable[[AsyncConnection], Awaitable[None]]
"""Raises LeaseLost when this process may no longer write."""


class OutboxMetrics:
    """What the consumers count, for `/metrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.dead_letters = Counter(
            "gengfu_dead_letters", "Facts that a consumer could not process", ["consumer"], registry=registry
        )


async def newest_fact(database: Database) -> int:
    """Id of the newest fact, 0 where there is none."""
    async with database.reading() as connection:
        return int(await connection.scalar(select(func.coalesce(func.max(fact.c.id), 0))) or 0)


async def facts_after(connection: AsyncConnection, cursor: int) -> list[Fact]:
    """The next facts, oldest first."""
    rows = await connection.execute(select(fact).where(after(fact.c.id, cursor)).order_by(fact.c.id).limit(_AT_ONCE))
    return [Fact(**row) for row in rows.mappings()]


async def read_cursor(connection: AsyncConnection, consumer: str) -> int:
    """How far a consumer has read; 0 for one that never has."""
    cursor = await connection.scalar(select(consumer_offset.c.fact).where(consumer_offset.c.consumer == consumer))
    return int(cursor or 0)


async def move_cursor(connection: AsyncConnection, consumer: str, to: int) -> None:
    """Store a consumer's offset, in the transaction in which it did its work."""
    moved = await connection.execute(
        update(consumer_offset).where(consumer_offset.c.consumer == consumer).values(fact=to)
    )
    if moved.rowcount == 0:
        await connection.execute(insert(consumer_offset).values(consumer=consumer, fact=to))


class Consumer:
    """Processes facts in order, each batch in one transaction with the consumer's offset.

    Facts of other kinds are skipped without writing; that offset is stored when the consumer is idle.
    `trouble` is the reason why the database rejects the work, "" while there is none.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        kinds: Collection[str],
        take: Take,
        check: Check,
        metrics: OutboxMetrics,
        clock: Callable[[], int],
    ) -> None:
        self.trouble = ""
        self._database = database
        self._name = name
        self._kinds = frozenset(kinds)
        self._take = take
        self._check = check
        self._dead_letters_total = metrics.dead_letters.labels(name)
        self._clock = clock
        self._dead_letters_at: deque[int] = deque()
        self._kept_place = 0
        self.place = 0
        """The last fact that was processed or skipped."""

    @property
    def notice(self) -> str:
        """A notice for people while the work continues, "" for none."""
        while self._dead_letters_at and self._dead_letters_at[0] <= self._clock() - SHOWN_MS:
            self._dead_letters_at.popleft()
        count = len(self._dead_letters_at)
        return f"{count} dead letters in the last 24 h, see the log" if count else ""

    async def run(self) -> None:
        """Work until cancelled; what `check` raises (the lease is lost) ends it."""
        with self._database.waking(asyncio.Event()) as waker:
            recalled = idle = False
            while True:
                waker.clear()
                try:
                    if not recalled:
                        await self._recall()
                        recalled = True
                    more = await self._process_next()
                    if idle and not more:
                        await self._keep_place()
                    self.trouble = ""
                except DatabaseTrouble as error:
                    if not self.trouble:
                        log.error("facts are pending: the database rejects writes", consumer=self._name,
                                  why=in_plain_words(error), detail=str(error))  # fmt: skip
                    self.trouble, more = in_plain_words(error), False
                    await asyncio.sleep(_RETRY_S)
                idle = not more and not await wait_for_news(waker)
                if not idle:
                    await asyncio.sleep(_GATHER_S)

    async def catch_up(self) -> None:
        """Return when every fact that is committed by now is processed or skipped."""
        while True:
            with contextlib.suppress(*DatabaseTrouble):  # `run` logs it and retries
                if self.place >= await newest_fact(self._database):
                    return
            await asyncio.sleep(_LOOK_FOR_PLACE_S)

    async def _recall(self) -> None:
        """Continue at the stored offset, with the dead letters from before the restart."""
        letter = dead_letter.c
        statement = select(letter.at).where(letter.consumer == self._name, letter.at > self._clock() - SHOWN_MS)
        async with self._database.reading() as connection:
            self._dead_letters_at = deque(await connection.scalars(statement.order_by(letter.at)))
            self.place = self._kept_place = await read_cursor(connection, self._name)

    async def _process_next(self) -> bool:
        async with self._database.reading() as connection:
            facts = await facts_after(connection, self.place)
        if not facts:
            return False
        own = [item for item in facts if item.kind in self._kinds]
        if own:
            await isolate_failure(own, self._process, self._reject)
        self.place = facts[-1].id
        if self.place - self._kept_place >= _AT_ONCE:
            await self._keep_place()
        return True

    async def _keep_place(self) -> None:
        if self.place == self._kept_place:
            return
        async with self._database.transaction() as connection:
            await self._check(connection)
            await move_cursor(connection, self._name, self.place)
        self._kept_place = self.place

    async def _process(self, facts: Sequence[Fact]) -> None:
        async with self._database.transaction() as transaction:
            await self._check(transaction)
            await self._take(transaction, facts)
            await move_cursor(transaction, self._name, facts[-1].id)
        self.place = self._kept_place = facts[-1].id

    async def _reject(self, item: Fact, error: Exception) -> None:
        """Store a fact that cannot be processed as a dead letter, and skip it."""
        now, why = self._clock(), reason_of(error)
        row = {"consumer": self._name, "fact": item.id, "at": now, "site": item.site, "kind": item.kind,
               "thing": item.thing, "body": item.body, "error": why}  # fmt: skip
        async with self._database.transaction() as connection:
            await self._check(connection)
            await connection.execute(insert(dead_letter).values(row))
            await move_cursor(connection, self._name, item.id)
        self.place = self._kept_place = item.id
        self._dead_letters_at.append(now)
        self._dead_letters_total.inc()
        log.error(
            "a fact became a dead letter: handle its subject by hand, then report this line",
            consumer=self._name, fact=item.id, kind=item.kind, thing=item.thing, why=why,
        )  # fmt: skip


async def follow(database: Database, cursor: int) -> AsyncIterator[list[Fact]]:
    """Facts after `cursor` as they are committed, for a reader that stores no offset (the live feed)."""
    with database.waking(asyncio.Event()) as waker:
        while True:
            waker.clear()
            try:
                async with database.reading() as connection:
                    found = await facts_after(connection, cursor)
            except DatabaseTrouble as error:
                log.warning("facts cannot be read now", why=in_plain_words(error), detail=str(error))
                found = []
            if found:
                cursor = found[-1].id
                yield found
                continue
            await wait_for_news(waker)


async def wait_for_news(waker: asyncio.Event) -> bool:
    """Wait for a commit, but never longer than a second: another process may have written. Returns whether one came."""
    # Not wait_for: in Python 3.11 it loses a cancellation that arrives together with the event.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_AGAIN_S):
            await waker.wait()
    return waker.is_set()
