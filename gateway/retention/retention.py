"""Removes what is over in many short transactions, so that an alarm never waits behind it for longer than one of them.

Which rows those are is looked up beside the writer; the transaction looks at its own rows once more. A row goes in one
transaction with all that goes with it, as long as that is not more than a transaction takes; else what goes with it is
gone before. The audit row is written with the first rows of a table: whatever interrupts a run, nothing went without
one, and the next run goes on.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import Select, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clocks import Clock
from gateway.equipment.ledger import PLATFORM
from gateway.people.audit.entry import Cause, Via, audited
from gateway.retention.rules import Limits, Rule, fitting, limits, rules
from gateway.settings import RetentionSettings
from gateway.storage.database import Database
from gateway.storage.leadership import lease
from gateway.storage.queries.chunked_writes import ChunkedWrites, delete_some
from gateway.storage.queries.index_use import go_along_indexes
from gateway.storage.queries.statistics import try_to_refresh
from gateway.storage.transaction import Transaction

log = structlog.get_logger(__name__)

_PAGE: Final = 2_000
"""Keys that are looked up at once."""
_MANY: Final = 1_000
"""Rows of a table. Where so many went at once, what the planner knows of it is no longer true."""
_EVERY_S: Final = 6 * 3600.0
_AGAIN_S: Final = 60.0
"""After a database in trouble."""
_CAUSE: Final = Cause("system:retention", Via.CLOCK)


class Retention:
    """The job, as the owner of the alarms runs it."""

    def __init__(
        self,
        database: Database,
        epoch: int,
        settings: RetentionSettings,
        clock: Clock,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stopwatch` gives seconds; by it each transaction is sized so that it is short."""
        self._database = database
        self._epoch = epoch
        self._settings = settings
        self._clock = clock
        self._stopwatch = stopwatch

    async def run(self) -> None:
        """Remove what is over at the start and every six hours, until cancelled. Raises LeaseLost."""
        while True:
            try:
                await self.enforce()
            except lease.LeaseLost:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, records that stay must not end the watch
                log.error("old records are not removed now; tried again in a minute", why=repr(error))
                await asyncio.sleep(_AGAIN_S)
            else:
                await asyncio.sleep(_EVERY_S)

    async def enforce(self) -> dict[str, int]:
        """Remove what is over now; how many rows of each table went."""
        now = self._clock()
        over = limits(self._settings, now)
        removed = {}
        for rule in rules(over):
            rows = await self._remove(rule, over, now)
            if rows:
                removed[rule.table.name] = rows
            if rows >= _MANY:
                await try_to_refresh(self._database, rule.tables)
        if removed:
            log.info("old records removed", rows=removed)
        return removed

    async def _remove(self, rule: Rule, over: Limits, now: int) -> int:
        async with self._looking() as connection:
            found = await connection.scalar(select(func.count()).select_from(rule.over.subquery()))
        removed, noted = 0, False
        writes = ChunkedWrites(self._database, self._stopwatch)
        keys: list[Any] = []
        while found:
            if not keys:
                keys = await self._keys(rule)
            if not keys:
                break
            number = fitting(await self._weights(rule, keys[: writes.rows]), writes.rows)
            async with writes.transaction() as transaction:
                await lease.verify(transaction, self._epoch)
                if not noted:
                    _note(transaction, rule, found, over, now)
                removed += await _remove_chunk(transaction, rule, keys[:number], writes.rows)
            noted = True
            keys = keys[number:]
        return removed

    @contextlib.asynccontextmanager
    async def _looking(self) -> AsyncIterator[AsyncConnection]:
        """Read along indexes, beside the writer."""
        async with self._database.snapshot() as connection:
            await go_along_indexes(connection)
            yield connection

    async def _keys(self, rule: Rule) -> list[Any]:
        async with self._looking() as connection:
            return list(await connection.scalars(rule.over.limit(_PAGE)))

    async def _weights(self, rule: Rule, keys: Sequence[Any]) -> list[int]:
        """Rows that go with each key, its own included."""
        weights = Counter(keys)
        async with self._looking() as connection:
            for dependent in rule.dependents:
                counted = select(dependent.refers, func.count()).where(dependent.of(keys)).group_by(dependent.refers)
                for key, number in await connection.execute(counted):
                    weights[key] += number
        return [weights[key] for key in keys]


async def _remove_chunk(connection: AsyncConnection, rule: Rule, keys: Sequence[Any], rows: int) -> int:
    """Remove so many rows at the most, dependents first; how many of the rule's own table it were."""
    still: Select[Any] = rule.over.where(rule.key.in_(keys))
    going = (await connection.scalars(still)).all()
    for dependent in rule.dependents:
        rows -= await delete_some(connection, dependent.table, dependent.of(going), rows)
        if rows <= 0:
            return 0  # the rest is found again, and goes next time
    gone = await connection.execute(delete(rule.table).where(rule.key.in_(going)))
    return int(gone.rowcount)


def _note(transaction: Transaction, rule: Rule, found: int, over: Limits, now: int) -> None:
    """One audit row for a run and table: how many rows are over, and what counts as that."""
    after = {"rows": found, "over_before": msgspec.structs.asdict(over)}
    row = audited(now, PLATFORM, _CAUSE, "retention.remove", rule.table.name, None, after)
    transaction.add_audit(row)
