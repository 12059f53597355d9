"""Brings a database to the schema of this version; a SQLite file is copied beside itself first."""

import sqlite3
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from gateway.storage.database import Database

log = structlog.get_logger(__name__)
_FOLDER = Path(__file__).with_name("migrations")


async def migrate(database: Database, *, backup: bool = True) -> str | None:
    """Bring the schema up to date.

    Returns:
        Where the copy from before is, or None when nothing had to be done or there was nothing to copy.
    """
    async with database.engine.connect() as connection:
        current = await connection.run_sync(_revision)
    if current == newest_revision():
        return None
    copy = _back_up(database, current) if backup and current is not None and database.is_sqlite else None
    async with database.transaction() as connection:
        await connection.run_sync(_upgrade)
    log.info("database migrated", before=current or "empty", after=newest_revision(), backup=copy)
    return copy


def newest_revision() -> str:
    """The revision that this version of the program needs."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("path_separator", "os")
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _back_up(database: Database, revision: str) -> str:
    source = Path(database.engine.url.database or "")
    target = source.with_name(f"{source.name}.before-{revision}.backup")
    with sqlite3.connect(source) as reading, sqlite3.connect(target) as writing:
        reading.backup(writing)
    reading.close()
    writing.close()
    return str(target)
