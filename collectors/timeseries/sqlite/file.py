"""Opens the SQLite file of readings, creates it if it is missing, and checks that it belongs to this program."""

import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

from collectors.disk.damaged_files import ForeignFile
from collectors.timeseries.sqlite import rollups as sqlite_rollups

BUSY_S: Final = 1.0
"""There is no other writer; a lock that is held for longer is reported as an error."""
_APPLICATION: Final = 0x47464853
"""The letters GFHS in the application id of the file (sqlite.org/fileformat.html): it holds readings of Gengfu."""
_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, site TEXT NOT NULL, kind TEXT NOT NULL, equipment TEXT NOT NULL, channel TEXT NOT NULL,
    UNIQUE (site, kind, equipment, channel)
);
CREATE TABLE IF NOT EXISTS reading (
    series INTEGER NOT NULL, key INTEGER NOT NULL, received_at INTEGER NOT NULL, quality INTEGER NOT NULL,
    fields TEXT NOT NULL, PRIMARY KEY (series, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS latest (
    site TEXT NOT NULL, equipment TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (site, equipment)
) WITHOUT ROWID;
"""
_COLUMNS: Final = {
    "series": "id, site, kind, equipment, channel",
    "reading": "series, key, received_at, quality, fields",
    "latest": "site, equipment, body",
    "field": "id, series, name",
    "rollup": "field, step, start, least, total, most, samples",
    "stretch": "field, step, start, body",
    "dirty": "series, minute",
}


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The one connection that writes.

    Raises:
        sqlite3.Error: the file cannot be used now, or never: see `damaged_files.is_damage`.
        OSError: the folder cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _check(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -65536")
        connection.executescript(_SCHEMA)
        sqlite_rollups.make_tables(connection)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        for table, columns in _COLUMNS.items():
            connection.execute(f"SELECT {columns} FROM {table} LIMIT 1").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection for reading; it never creates the file."""
    return sqlite3.connect(f"file:{quote(str(path))}?mode=rw", isolation_level=None, uri=True)


def _check(connection: sqlite3.Connection) -> None:
    """Check the marks; older files have none. Raises ForeignFile."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application not in {0, _APPLICATION}:
        raise ForeignFile(f"it belongs to another program (application id {application:#x})")
    if version > _VERSION:
        raise ForeignFile(f"a later version of this program made it (schema {version}, known is {_VERSION})")
