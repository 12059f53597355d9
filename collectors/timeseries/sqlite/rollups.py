"""Rollups in the SQLite store: the marks of dirty minutes, and figures and stretches of minutes, hours and days.

A minute is marked in the transaction that writes to it. A mark is removed in the transaction that stores its minute,
hour and day, so after a crash there may be a mark too many, never one too few.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from operator import itemgetter
from typing import Final, NamedTuple

from collectors.timeseries import stretches
from collectors.timeseries.rollups import DAY, HOUR, MINUTE, STEPS
from collectors.timeseries.store import Change
from collectors.timeseries.stretches import Stretch

KEYS_PER_MINUTE: Final = MINUTE * 1_000_000
Mark = tuple[int, int]
"""Series, and a minute counted from 1970."""
Rollup = tuple[int, str, int, float, float, float, int]
"""Series, field, start, least, total, most, samples."""
Kept = tuple[int, str, int, int, bytes]
"""Series, field, step, start, stretch."""


class Found(NamedTuple):
    """Aggregates of some minutes: figures of each minute, stretches of each minute, hour and day."""

    figures: list[Rollup]
    stretches: list[Kept]


_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS field (
    id INTEGER PRIMARY KEY, series INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (series, name)
);
CREATE TABLE IF NOT EXISTS rollup (
    field INTEGER NOT NULL, step INTEGER NOT NULL, start INTEGER NOT NULL,
    least REAL NOT NULL, total REAL NOT NULL, most REAL NOT NULL, samples INTEGER NOT NULL,
    PRIMARY KEY (field, step, start)
) WITHOUT ROWID;
CREATE TABLE stretch (
    field INTEGER NOT NULL, step INTEGER NOT NULL, start INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (field, step, start)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dirty (
    series INTEGER NOT NULL, minute INTEGER NOT NULL, PRIMARY KEY (series, minute)
) WITHOUT ROWID;
"""
_ALL_SQL: Final = "INSERT OR IGNORE INTO dirty SELECT DISTINCT series, key / 60000000000 FROM reading"
_ADD_UP_SQL: Final = (
    "SELECT series, one.key, reading.key / 60000000000 * 60000 AS minute,"
    " min(one.value), sum(one.value), max(one.value), count(*)"
    " FROM reading, json_each(reading.fields) AS one"
    " WHERE series = ? AND reading.key >= ? AND reading.key < ? AND one.type = 'real' GROUP BY minute, one.key"
)
# The first value of a field in each minute, and every one that differs from the one before it.
_CHANGES_SQL: Final = (
    "SELECT name, minute, key / 1000000, type, value FROM ("
    "SELECT one.key AS name, reading.key / 60000000000 * 60000 AS minute, reading.key AS key, one.type AS type,"
    " one.value AS value, lag(one.type || one.value) OVER ("
    "PARTITION BY one.key, reading.key / 60000000000 ORDER BY reading.key) AS before"
    " FROM reading, json_each(reading.fields) AS one"
    " WHERE series = ? AND reading.key >= ? AND reading.key < ? AND one.type IN ('text', 'true', 'false'))"
    " WHERE before IS NOT type || value ORDER BY name, key"
)
_STRETCHES_SQL: Final = (
    "SELECT name, start, body FROM stretch JOIN field ON field.id = stretch.field"
    " WHERE field.series = ? AND step = ? AND start >= ? AND start < ?"
)
_OF_SERIES: Final = "field IN (SELECT id FROM field WHERE series = ?1)"
_JOIN_SQL: Final = (
    "INSERT OR REPLACE INTO rollup SELECT field, ?2, start / ?2 * ?2, min(least), sum(total), max(most), sum(samples)"
    f" FROM rollup WHERE {_OF_SERIES} AND step = ?3 AND start >= ?4 AND start < ?5 GROUP BY field, start / ?2"
)
_REMOVE_SQL: Final = f"DELETE FROM {{}} WHERE {_OF_SERIES} AND step = ?2 AND start >= ?3 AND start < ?4"
TABLES: Final = ("rollup", "stretch")


def make_tables(connection: sqlite3.Connection) -> None:
    """Create missing tables; in a file that had no rollups or stretches, every minute is marked dirty."""
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'stretch'").fetchone() is None:
        connection.executescript(f"BEGIN; {_SCHEMA} {_ALL_SQL}; COMMIT;")


def mark(connection: sqlite3.Connection, marks: Iterable[Mark]) -> None:
    connection.executemany("INSERT OR IGNORE INTO dirty VALUES (?,?)", marks)


def some_marks(connection: sqlite3.Connection, now: int, most: int) -> list[Mark]:
    """The next minutes to aggregate, neighbours together; the current one is still being written to."""
    statement = "SELECT series, minute FROM dirty WHERE minute <> ? LIMIT ?"
    return connection.execute(statement, (now // MINUTE, most)).fetchall()


def number_of_marks(connection: sqlite3.Connection) -> int:
    """How many minutes are dirty, the current one included."""
    (found,) = connection.execute("SELECT count(*) FROM dirty").fetchone()
    return int(found)


def dirty_minutes(connection: sqlite3.Connection, series: int, start: int, end: int) -> list[int]:
    """The starts (epoch ms) of the dirty minutes in a range."""
    statement = "SELECT minute * 60000 FROM dirty WHERE series = ? AND minute >= ? AND minute * 60000 < ?"
    return [at for (at,) in connection.execute(statement, (series, start // MINUTE, end))]


def add_up(connection: sqlite3.Connection, marks: list[Mark]) -> Found:
    """The figures of the marked minutes, and the stretches of these minutes and of their hours and days."""
    figures: list[Rollup] = []
    for series, first, last in _runs(marks):
        scope = (series, first * KEYS_PER_MINUTE, last * KEYS_PER_MINUTE)
        figures += connection.execute(_ADD_UP_SQL, scope).fetchall()
    minutes = {at: found for scope in _runs(marks) for at, found in _stretches_of_minutes(connection, *scope)}
    hours = _joined(connection, marks, minutes, MINUTE, HOUR)
    days = _joined(connection, marks, hours, HOUR, DAY)
    kept = [
        (series, name, step, start, stretches.encode(stretch))
        for step, found in ((MINUTE, minutes), (HOUR, hours), (DAY, days))
        for (series, name, start), stretch in found.items()
    ]
    return Found(figures, kept)


_At = tuple[int, str, int]
"""Series, field, start."""


def _stretches_of_minutes(
    connection: sqlite3.Connection, series: int, first: int, last: int
) -> Iterator[tuple[_At, Stretch]]:
    rows = connection.execute(_CHANGES_SQL, (series, first * KEYS_PER_MINUTE, last * KEYS_PER_MINUTE))
    for (name, minute), changes in groupby(rows, itemgetter(0, 1)):
        found = [Change(at, value if kept_as == "text" else bool(value)) for _, _, at, kept_as, value in changes]
        yield (series, name, minute), stretches.short(stretches.of_changes(found))


def _joined(
    connection: sqlite3.Connection, marks: list[Mark], new: dict[_At, Stretch], finer: int, step: int
) -> dict[_At, Stretch]:
    """The stretches of a step around the marked minutes: from new ones, and from existing ones beside them."""
    touched = {(series, minute * MINUTE // finer * finer) for series, minute in marks}
    parts: dict[tuple[int, str], list[tuple[int, Stretch]]] = defaultdict(list)
    for (series, name, start), stretch in new.items():
        parts[series, name].append((start, stretch))
    for series, first, last in _runs(_around(marks, step)):
        for name, start, body in connection.execute(_STRETCHES_SQL, (series, finer, first * step, last * step)):
            if (series, start) not in touched:
                parts[series, name].append((start, stretches.decode(body)))
    return {
        (*field, start): stretch
        for field, some in parts.items()
        for start, stretch in stretches.joined(sorted(some, key=itemgetter(0)), step).items()
    }


def put(connection: sqlite3.Connection, marks: list[Mark], done: list[Mark], found: Found) -> None:
    """Store minutes, then their hours and days, and remove the marks that are done."""
    for step in STEPS:
        for series, first, last in _runs(_around(marks, step)):
            for table in TABLES:
                connection.execute(_REMOVE_SQL.format(table), (series, step, first * step, last * step))
    names = {(series, name) for series, name, *_ in chain(*found)}
    connection.executemany("INSERT OR IGNORE INTO field (series, name) VALUES (?,?)", names)
    find = "SELECT id FROM field WHERE series = ? AND name = ?"
    ids = {who: connection.execute(find, who).fetchone()[0] for who in names}
    rows = [(ids[series, name], MINUTE, *rest) for series, name, *rest in found.figures]
    connection.executemany("INSERT OR REPLACE INTO rollup VALUES (?,?,?,?,?,?,?)", rows)
    for step, finer in ((HOUR, MINUTE), (DAY, HOUR)):
        for series, first, last in _runs(_around(marks, step)):
            connection.execute(_JOIN_SQL, (series, step, finer, first * step, last * step))
    kept = [(ids[series, name], *rest) for series, name, *rest in found.stretches]
    connection.executemany("INSERT OR REPLACE INTO stretch VALUES (?,?,?,?)", kept)
    connection.executemany("DELETE FROM dirty WHERE series = ? AND minute = ?", done)


def _around(marks: list[Mark], step: int) -> list[Mark]:
    """The steps around minutes, in order, each once; counted from 1970 too."""
    return sorted({(series, minute * MINUTE // step) for series, minute in marks})


def _runs(marks: Iterable[Mark]) -> Iterator[tuple[int, int, int]]:
    """Neighbours as (series, first, end)."""
    for (series, _), run in groupby(enumerate(marks), lambda each: (each[1][0], each[1][1] - each[0])):
        members = [minute for _, (_, minute) in run]
        yield series, members[0], members[-1] + 1
