"""Messages that could not be read: kept for the administrator, the newest ten thousand of them."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import delete, func, insert, select

from collectors.collector import Quarantined
from gateway.storage.database import Database, DatabaseTrouble
from gateway.storage.tables import quarantine

log = structlog.get_logger(__name__)

KEPT: Final = 10_000
"""Rows: at 8 KiB each at most 80 MB."""
_RETRY_S: Final = 0.5


async def keep_quarantined(database: Database, messages: Sequence[Quarantined]) -> None:
    """Keep messages put aside, and forget the oldest beyond the limit; waits while the database is in trouble."""
    rows = [_as_row(message) for message in messages[-KEPT:]]
    while True:
        try:
            async with database.transaction() as connection:
                await connection.execute(insert(quarantine), rows)
                newest = await connection.scalar(select(func.max(quarantine.c.id)))
                await connection.execute(delete(quarantine).where(quarantine.c.id <= newest - KEPT))
        except DatabaseTrouble as error:
            log.error("quarantine waits: the database does not take it", why=str(error))
            await asyncio.sleep(_RETRY_S)
        else:
            return


def _as_row(message: Quarantined) -> dict[str, Any]:
    """With texts that every database takes: no NUL, no half letters."""
    row = msgspec.structs.asdict(message)
    for name in ("topic", "detail"):
        row[name] = row[name].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return row


async def newest_quarantined(database: Database, before: int | None, limit: int) -> list[dict[str, Any]]:
    """Rows, newest first; those before the id `before` where it is given."""
    statement = select(quarantine).order_by(quarantine.c.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(quarantine.c.id < before)
    async with database.reading() as connection:
        return [dict(row) for row in (await connection.execute(statement)).mappings()]
