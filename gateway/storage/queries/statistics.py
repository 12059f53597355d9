"""Keeps what the databases know about their tables' contents fresh: by it they choose how to find rows.

The queries of the alarm path do not depend on it (`index_use.py`); reports and searches are faster with it.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import Database
from gateway.storage.tables import metadata

log = structlog.get_logger(__name__)

_EVERY_S: Final = 6 * 3_600.0
_ROWS_LOOKED_AT: Final = 400
"""Of each index; SQLite recommends 100 to 1,000 for a look that takes a moment however large the table is."""
_BREATH_S: Final = 0.02


async def keep_statistics_fresh(database: Database) -> None:
    """Look at the start and every six hours, until cancelled. PostgreSQL also does so after many changes."""
    while True:
        await try_to_refresh(database, metadata.tables)
        await asyncio.sleep(_EVERY_S)


async def try_to_refresh(database: Database, tables: Iterable[str]) -> None:
    """Refresh what is known of some tables. Where that fails it is logged: nothing else ends with it."""
    try:
        await refresh_statistics(database, tables)
    except Exception as error:  # noqa: BLE001 - whatever it is, no alarm waits for statistics or ends with them
        log.warning("statistics of the database are not refreshed now", why=repr(error))


async def refresh_statistics(database: Database, tables: Iterable[str] = tuple(metadata.tables)) -> None:
    """Look at tables one at a time, so that on SQLite a writer waits for at most one.

    `PRAGMA optimize` would do nothing here: before SQLite 3.46 it leaves out what its own connection has not queried.
    """
    for table in tables:
        async with database.reading() as connection:
            await analyse(connection, table)
        await asyncio.sleep(_BREATH_S)


async def analyse(connection: AsyncConnection, table: str) -> None:
    """Refresh what is known of one table."""
    if connection.dialect.name == "sqlite":
        await connection.exec_driver_sql(f"PRAGMA analysis_limit = {_ROWS_LOOKED_AT}")
    await connection.exec_driver_sql(f'ANALYZE "{table}"')
