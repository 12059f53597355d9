"""Removes what is over, a portion a transaction, so that an alarm never waits behind it for longer than one portion.

Which rows those are is looked up beside the writer; the transaction looks at the portion's own rows once more. The
audit row stands in the transaction of a table's first portion: whatever interrupts a run, nothing went without one.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import Select, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clocks import Clock
from gateway.equipment.ledger import PLATFORM
from gateway.people.audit import Cause, Via, audited, write_records
from gateway.retention.rules import Limits, Rule, limits, rules
from gateway.settings import RetentionSettings
from gateway.storage import lease
from gateway.storage.database import Database

log = structlog.get_logger(__name__)

PORTION: Final = 200
"""Rows; with what goes with them a transaction of some milliseconds."""
_BREATH_S: Final = 0.02
_EVERY_S: Final = 6 * 3600.0
_AGAIN_S: Final = 60.0
"""After a database in trouble."""
_CAUSE: Final = Cause("system:retention", Via.CLOCK)


class Retention:
    """The job, as the owner of the alarms runs it."""

    def __init__(self, database: Database, epoch: int, settings: RetentionSettings, clock: Clock) -> None:
        self._database = database
        self._epoch = epoch
        self._settings = settings
        self._clock = clock

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
        if removed:
            log.info("old records removed", rows=removed)
        return removed

    async def _remove(self, rule: Rule, over: Limits, now: int) -> int:
        async with self._database.reading() as connection:
            found = await connection.scalar(select(func.count()).select_from(rule.over.order_by(None).subquery()))
        removed = 0
        while found:
            async with self._database.reading() as connection:
                keys = (await connection.scalars(rule.over.limit(PORTION))).all()
            if not keys:
                break
            async with self._database.transaction() as connection:
                await lease.verify(connection, self._epoch)
                if not removed:
                    await _note(connection, rule, found, over, now)
                removed += await _remove_portion(connection, rule, keys)
            await asyncio.sleep(_BREATH_S)
        return removed


async def _remove_portion(connection: AsyncConnection, rule: Rule, keys: Sequence[Any]) -> int:
    still: Select[Any] = rule.over.where(rule.key.in_(keys))
    going = (await connection.scalars(still)).all()
    for table, condition, column in rule.with_it:
        statement = delete(table).where(column.in_(going))
        await connection.execute(statement if condition is None else statement.where(condition))
    gone = await connection.execute(delete(rule.table).where(rule.key.in_(going)))
    return int(gone.rowcount)


async def _note(connection: AsyncConnection, rule: Rule, found: int, over: Limits, now: int) -> None:
    """One audit row for a run and table: how many rows are over, and what counts as that."""
    after = {"rows": found, "over_before": msgspec.structs.asdict(over)}
    row = audited(now, PLATFORM, _CAUSE, "retention.remove", rule.table.name, None, after)
    await write_records(connection, (), [row])
