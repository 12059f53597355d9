"""Messages that could not be read: kept for the administrator, the newest of them, within a limit of rows and bytes."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import bindparam, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from collectors.collector import Quarantined
from gateway.storage.database import Database, DatabaseTrouble
from gateway.storage.tables import quarantine

log = structlog.get_logger(__name__)

KEPT: Final = 10_000
"""Rows."""
KEPT_BYTES: Final = 32 * 1024 * 1024
"""Of payloads, topics and details together (text counted by characters)."""
_MEASURED_EVERY: Final = 1024 * 1024
"""Bytes that may come before the rest is measured again."""
_RETRY_S: Final = 0.5


class Quarantine:
    """Keeps what was put aside, and forgets the oldest beyond the limits."""

    def __init__(self, database: Database, registry: CollectorRegistry) -> None:
        self._database = database
        self._forgotten = Counter(
            "gengfu_quarantine_forgotten", "Entries of the quarantine that made room for newer ones", registry=registry
        )
        self._unmeasured = _MEASURED_EVERY  # so that the first time all is measured

    async def keep(self, messages: Sequence[Quarantined]) -> None:
        """Keep messages; count the oldest, which make room for them. Waits while the database is in trouble."""
        newest = messages[-KEPT:]
        rows = [msgspec.structs.asdict(message) for message in newest]
        self._unmeasured += sum(_size(message) for message in newest)
        while True:
            try:
                async with self._database.transaction() as connection:
                    await connection.execute(insert(quarantine), rows)
                    forgotten = await self._make_room(connection)
            except DatabaseTrouble as error:
                log.error("quarantine waits: the database does not take it", why=str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                if self._unmeasured >= _MEASURED_EVERY:
                    self._unmeasured = 0
                self._forgotten.inc(forgotten + len(messages) - len(newest))
                return

    async def _make_room(self, connection: AsyncConnection) -> int:
        newest = await connection.scalar(select(func.max(quarantine.c.id)))
        last = newest - KEPT
        if self._unmeasured >= _MEASURED_EVERY:  # it looks at every row: not each time, alarms wait behind it
            last = max(last, await connection.scalar(_LAST_BEYOND_BYTES, {"most": KEPT_BYTES}) or 0)
        deleted = await connection.execute(delete(quarantine).where(quarantine.c.id <= last))
        return int(deleted.rowcount)


def _size(message: Quarantined) -> int:
    return len(message.payload) + len(message.topic) + len(message.detail)


_measured = select(
    quarantine.c.id,
    func.sum(func.length(quarantine.c.payload) + func.length(quarantine.c.topic) + func.length(quarantine.c.detail))
    .over(order_by=quarantine.c.id.desc())
    .label("bytes"),
).subquery()
_LAST_BEYOND_BYTES: Final = select(func.max(_measured.c.id)).where(_measured.c.bytes > bindparam("most"))


async def newest_quarantined(database: Database, before: int | None, limit: int) -> list[dict[str, Any]]:
    """Rows, newest first; those before the id `before` where it is given."""
    statement = select(quarantine).order_by(quarantine.c.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(quarantine.c.id < before)
    async with database.reading() as connection:
        return [dict(row) for row in (await connection.execute(statement)).mappings()]
