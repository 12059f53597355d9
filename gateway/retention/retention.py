"""Removes expired rows in many short transactions, so that an alarm never waits for longer than one of them.

Expired rows are selected on a reading connection; the transaction checks its rows once more. A row and its dependents
are removed in one transaction if they fit; otherwise the dependents are removed first. The audit row is written with
the first rows of a table: if a run is interrupted, no removal lacks one, and the next run continues.
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
from gateway.retention.expired_rows import Limits, Rule, fitting, limits, rules
from gateway.settings import RetentionSettings
from gateway.storage.database import Database
from gateway.storage.leadership import lease
from gateway.storage.queries.chunked_writes import ChunkedWrites, delete_some
from gateway.storage.queries.index_use import go_along_indexes
from gateway.storage.queries.statistics import try_to_refresh
from gateway.storage.transaction import Transaction

log = structlog.get_logger(__name__)

_PAGE: Final = 2_000
"""Keys per query."""
_MANY: Final = 1_000
"""Removed rows of a table after which the planner's statistics are outdated."""
_EVERY_S: Final = 6 * 3600.0
_AGAIN_S: Final = 60.0
"""Delay after a database error."""
_CAUSE: Final = Cause("system:retention", Via.CLOCK)


class Retention:
    """The retention job, run by the leader."""

    def __init__(
        self,
        database: Database,
        epoch: int,
        settings: RetentionSettings,
        clock: Clock,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stopwatch` returns seconds; it is used to size each transaction so that it is short."""
        self._database = database
        self._epoch = epoch
        self._settings = settings
        self._clock = clock
        self._stopwatch = stopwatch

    async def run(self) -> None:
        """Remove expired rows at the start and every six hours, until cancelled. Raises LeaseLost."""
        while True:
            try:
                await self.enforce()
            except lease.LeaseLost:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, records that stay must not end the watch
                log.error("expired records cannot be removed now; retrying in a minute", why=repr(error))
                await asyncio.sleep(_AGAIN_S)
            else:
                await asyncio.sleep(_EVERY_S)

    async def enforce(self) -> dict[str, int]:
        """Remove rows that are expired now. Returns the number of removed rows by table."""
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
            log.info("expired records removed", rows=removed)
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
        """Read by indexes, on a reading connection."""
        async with self._database.snapshot() as connection:
            await go_along_indexes(connection)
            yield connection

    async def _keys(self, rule: Rule) -> list[Any]:
        async with self._looking() as connection:
            return list(await connection.scalars(rule.over.limit(_PAGE)))

    async def _weights(self, rule: Rule, keys: Sequence[Any]) -> list[int]:
        """Number of rows to remove for each key, its own included."""
        weights = Counter(keys)
        async with self._looking() as connection:
            for dependent in rule.dependents:
                counted = select(dependent.refers, func.count()).where(dependent.of(keys)).group_by(dependent.refers)
                for key, number in await connection.execute(counted):
                    weights[key] += number
        return [weights[key] for key in keys]


async def _remove_chunk(connection: AsyncConnection, rule: Rule, keys: Sequence[Any], rows: int) -> int:
    """Remove at most this number of rows, dependents first. Returns the number of rows of the rule's own table."""
    still: Select[Any] = rule.over.where(rule.key.in_(keys))
    going = (await connection.scalars(still)).all()
    for dependent in rule.dependents:
        rows -= await delete_some(connection, dependent.table, dependent.of(going), rows)
        if rows <= 0:
            return 0  # the rest is selected again and removed next time
    gone = await connection.execute(delete(rule.table).where(rule.key.in_(going)))
    return int(gone.rowcount)


def _note(transaction: Transaction, rule: Rule, found: int, over: Limits, now: int) -> None:
    """One audit row per run and table: the number of expired rows, and the limits."""
    after = {"rows": found, "over_before": msgspec.structs.asdict(over)}
    row = audited(now, PLATFORM, _CAUSE, "retention.remove", rule.table.name, None, after)
    transaction.add_audit(row)
