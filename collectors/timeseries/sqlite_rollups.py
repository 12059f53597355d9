"""Rollups in the SQLite store: which minutes were written to, and the figures of minutes, hours and days.

A minute is marked in the transaction that writes to it. A mark goes in the transaction that puts down its minute, its
hour and its day, so after a crash there is a mark too many at the worst.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from collectors.timeseries.rollups import DAY, HOUR, MINUTE

KEYS_PER_MINUTE: Final = MINUTE * 1_000_000
_PORTION: Final = 1_000
"""Minutes at a time."""
Mark = tuple[int, int]
"""Series, and a minute counted from 1970."""
Rollup = tuple[int, str, int, float, float, float, int]
"""Series, field, start, least, total, most, samples."""

_SCHEMA: Final = """
CREATE TABLE field (id INTEGER PRIMARY KEY, series INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (series, name));
CREATE TABLE rollup (
    field INTEGER NOT NULL, step INTEGER NOT NULL, start INTEGER NOT NULL,
    least REAL NOT NULL, total REAL NOT NULL, most REAL NOT NULL, samples INTEGER NOT NULL,
    PRIMARY KEY (field, step, start)
) WITHOUT ROWID;
CREATE TABLE dirty (series INTEGER NOT NULL, minute INTEGER NOT NULL, PRIMARY KEY (series, minute)) WITHOUT ROWID;
"""
_ALL_SQL: Final = "INSERT INTO dirty SELECT DISTINCT series, key / 60000000000 FROM reading"
_ADD_UP_SQL: Final = (
    "SELECT series, one.key, reading.key / 60000000000 * 60000 AS minute,"
    " min(one.value), sum(one.value), max(one.value), count(*)"
    " FROM reading, json_each(reading.fields) AS one"
    " WHERE series = ? AND reading.key >= ? AND reading.key < ? AND one.type = 'real' GROUP BY minute, one.key"
)
_OF_SERIES: Final = "field IN (SELECT id FROM field WHERE series = ?1)"
_JOIN_SQL: Final = (
    "INSERT OR REPLACE INTO rollup SELECT field, ?2, start / ?2 * ?2, min(least), sum(total), max(most), sum(samples)"
    f" FROM rollup WHERE {_OF_SERIES} AND step = ?3 AND start >= ?4 AND start < ?5 GROUP BY field, start / ?2"
)
_REMOVE_SQL: Final = f"DELETE FROM rollup WHERE {_OF_SERIES} AND step = ?2 AND start >= ?3 AND start < ?4"


def make_tables(connection: sqlite3.Connection) -> None:
    """Make what is missing; in a file from before there were rollups every minute is dirty."""
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'dirty'").fetchone() is None:
        connection.executescript(f"BEGIN; {_SCHEMA} {_ALL_SQL}; COMMIT;")


def mark(connection: sqlite3.Connection, marks: Iterable[Mark]) -> None:
    connection.executemany("INSERT OR IGNORE INTO dirty VALUES (?,?)", marks)


def some_marks(connection: sqlite3.Connection, now: int) -> list[Mark]:
    """A portion of the minutes to add up, neighbours together; the current one is still being written to."""
    statement = "SELECT series, minute FROM dirty WHERE minute <> ? LIMIT ?"
    return connection.execute(statement, (now // MINUTE, _PORTION)).fetchall()


def dirty_minutes(connection: sqlite3.Connection, series: int, start: int, end: int) -> list[int]:
    """The starts (epoch ms) of the dirty minutes in a range."""
    statement = "SELECT minute * 60000 FROM dirty WHERE series = ? AND minute >= ? AND minute * 60000 < ?"
    return [at for (at,) in connection.execute(statement, (series, start // MINUTE, end))]


def add_up(connection: sqlite3.Connection, marks: list[Mark]) -> list[Rollup]:
    """The figures of the marked minutes."""
    found: list[Rollup] = []
    for series, first, last in _runs(marks):
        scope = (series, first * KEYS_PER_MINUTE, last * KEYS_PER_MINUTE)
        found += connection.execute(_ADD_UP_SQL, scope).fetchall()
    return found


def put(connection: sqlite3.Connection, marks: list[Mark], done: list[Mark], figures: list[Rollup]) -> None:
    """Put down minutes, then the hours and days around them, and take away the marks that are done."""
    for series, first, last in _runs(marks):
        connection.execute(_REMOVE_SQL, (series, MINUTE, first * MINUTE, last * MINUTE))
    names = {(series, name) for series, name, *_ in figures}
    connection.executemany("INSERT OR IGNORE INTO field (series, name) VALUES (?,?)", names)
    find = "SELECT id FROM field WHERE series = ? AND name = ?"
    ids = {who: connection.execute(find, who).fetchone()[0] for who in names}
    rows = [(ids[series, name], MINUTE, *rest) for series, name, *rest in figures]
    connection.executemany("INSERT OR REPLACE INTO rollup VALUES (?,?,?,?,?,?,?)", rows)
    for step, finer in ((HOUR, MINUTE), (DAY, HOUR)):
        minutes = step // MINUTE
        for series, first, last in _runs(sorted({(series, minute // minutes) for series, minute in marks})):
            connection.execute(_REMOVE_SQL, (series, step, first * step, last * step))
            connection.execute(_JOIN_SQL, (series, step, finer, first * step, last * step))
    connection.executemany("DELETE FROM dirty WHERE series = ? AND minute = ?", done)


def erase_before(connection: sqlite3.Connection, moment: int, edges: set[Mark]) -> None:
    """Forget the rollups that begin before a moment; those that the moment cuts are made anew."""
    for (identity,) in connection.execute("SELECT id FROM field").fetchall():
        for step in (MINUTE, HOUR, DAY):
            connection.execute(
                "DELETE FROM rollup WHERE field = ? AND step = ? AND start < ?", (identity, step, moment)
            )
    mark(connection, edges)


def _runs(marks: Iterable[Mark]) -> Iterator[tuple[int, int, int]]:
    """Neighbours as (series, first, end)."""
    for (series, _), run in groupby(enumerate(marks), lambda each: (each[1][0], each[1][1] - each[0])):
        members = [minute for _, (_, minute) in run]
        yield series, members[0], members[-1] + 1
