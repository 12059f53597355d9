"""Migrates a database to the schema of this version, after making a copy.

A SQLite file is copied next to itself. A PostgreSQL database is dumped with `pg_dump` into the data folder; if that
fails, nothing is changed until somebody confirms that there is a backup.
"""

import asyncio
import sqlite3
from pathlib import Path
from typing import Final

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection

from gateway.storage.database import Database
from gateway.storage.database_errors import DatabaseTrouble, is_refusal
from gateway.storage.postgres.programs import ProgramFailed, dump
from gateway.storage.queries.statistics import analyse
from gateway.storage.tables import metadata
from gateway.storage.trouble_words import in_plain_words

log = structlog.get_logger(__name__)
_FOLDER = Path(__file__).with_name("migrations")
_RETRY_S: Final = 1.0


class DatabaseRefused(Exception):
    """The database server rejects the login: retrying does not help."""


class NoBackup(Exception):
    """A PostgreSQL database could not be copied, so it was not changed."""


async def migrate_when_there(database: Database, folder: Path) -> None:
    """Migrate as soon as the database is available: PostgreSQL may start after the service.

    Raises:
        DatabaseRefused: it does not know this user, password or database.
        NoBackup: it must be changed and cannot be copied.
    """
    while True:
        try:
            await migrate(database, folder)
        except DatabaseTrouble as error:
            if database.is_sqlite:
                raise
            if is_refusal(error):
                why = str(error.__cause__).partition("\n")[0]
                raise DatabaseRefused(f"PostgreSQL does not let us in: {why}; see storage.database_url") from error
            log.warning("waiting for the database", why=in_plain_words(error), detail=str(error).partition("\n")[0])
            await asyncio.sleep(_RETRY_S)
        else:
            return


async def migrate(database: Database, folder: Path, *, backup: bool = True) -> str | None:
    """Bring the schema up to date.

    Args:
        database: which one.
        folder: where the copy of a PostgreSQL is put.
        backup: whether it is copied first, where there is something to copy.

    Returns:
        Where the copy from before is, or None when nothing had to be done or there was nothing to copy.

    Raises:
        NoBackup: it must be changed and cannot be copied.
    """
    async with database.engine.connect() as connection:
        current = await connection.run_sync(_revision)
    if current == newest_revision():
        return None
    copy = await _back_up(database.engine.url, current, folder) if backup and current is not None else None
    patient = Database(database.url, command_s=None)
    try:
        async with patient.transaction() as connection:
            await connection.run_sync(_upgrade)
            for table in metadata.tables:  # new indexes and columns, of which nothing is known yet
                await analyse(connection, table)
    finally:
        await patient.close()
    log.info("database migrated", before=current or "empty", after=newest_revision(), backup=copy)
    return copy


async def is_current(database: Database) -> bool:
    """Whether the schema is the one of this version."""
    return await revision_of(database) == newest_revision()


async def revision_of(database: Database) -> str | None:
    """The revision of the schema that is there; None where there is none."""
    async with database.engine.connect() as connection:
        return await connection.run_sync(_revision)


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


async def _back_up(url: URL, revision: str, folder: Path) -> str:
    if url.get_backend_name() == "sqlite":
        return _copy_file(Path(url.database or ""), revision)
    target = folder / f"{url.database}.before-{revision}.dump"
    await _dump(url, target)
    return str(target)


def _copy_file(source: Path, revision: str) -> str:
    target = source.with_name(f"{source.name}.before-{revision}.backup")
    with sqlite3.connect(source) as reading, sqlite3.connect(target) as writing:
        reading.backup(writing)
    reading.close()
    writing.close()
    return str(target)


async def _dump(url: URL, target: Path) -> None:
    try:
        await dump(url, target)
    except ProgramFailed as error:
        raise NoBackup(f"{error}. {_NO_BACKUP}") from error


_NO_BACKUP: Final = (
    "The database is of an older version and was not changed, because it could not be copied first. "
    "Copy it yourself, then run gengfu migrate --without-backup."
)
