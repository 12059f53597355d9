"""Deletes old data from the SQLite store, a number of rows in each transaction.

Rows are deleted by ranges: the samples of a series, then the minutes, hours and days of each of its fields, oldest
first. A transaction that deletes rows marks the minute at the limit dirty, so that even after an interruption no rollup
covers deleted samples, and no rollup of existing samples is missing.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Final, NamedTuple

from collectors.timeseries.rollups import MINUTE, STEPS
from collectors.timeseries.sqlite.rollups import TABLES, Mark, mark

_KEYS_PER_MS: Final = 1_000_000


class _Rows(NamedTuple):
    """A table, a prefix of its primary key, and the last column of the key, by which rows are ordered."""

    table: str
    prefix: str
    order: str


class _Range(NamedTuple):
    """Rows of a series from before an end."""

    series: int
    rows: _Rows
    prefix: tuple[int, ...]
    end: int


class Erased(NamedTuple):
    """The result of one transaction."""

    readings: int
    edges: set[Mark]
    is_last: bool


_READINGS: Final = _Rows("reading", "series = ?", "key")
_OF_FIELDS: Final = tuple(_Rows(table, "field = ? AND step = ?", "start") for table in TABLES)


class Erasure:
    """One run. Used only in the writer's thread; the caller wraps each call of `erase` in a transaction."""

    def __init__(self, connection: sqlite3.Connection, series: Iterable[int], moment: int) -> None:
        """Nothing is erased yet.

        Args:
            connection: of the writer.
            series: ids of the series.
            moment: epoch ms; samples measured before it are deleted.
        """
        self._connection = connection
        self._moment = moment
        self._ranges = self._all_ranges(list(series))
        self._range: _Range | None = None

    def erase(self, most: int) -> Erased:
        """Delete at most `most` rows. Checking an empty range counts as a row too: there may be a million of them."""
        readings, edges = 0, set[Mark]()
        while most > 0:
            self._range = self._range or next(self._ranges, None)
            if self._range is None:
                break
            gone = self._erase_some(self._range, most)
            if gone:
                edges.add((self._range.series, self._moment // MINUTE))
            if self._range.rows is _READINGS:
                readings += gone
            if gone < most:
                self._range = None
            most -= max(gone, 1)
        mark(self._connection, edges)
        return Erased(readings, edges, is_last=most > 0)

    def _all_ranges(self, series: list[int]) -> Iterator[_Range]:
        for identity in series:
            yield _Range(identity, _READINGS, (identity,), self._moment * _KEYS_PER_MS)
            fields = self._connection.execute("SELECT id FROM field WHERE series = ?", (identity,)).fetchall()
            for (field,), step, rows in product(fields, STEPS, _OF_FIELDS):
                yield _Range(identity, rows, (field, step), self._moment)

    def _erase_some(self, old: _Range, most: int) -> int:
        table, prefix, order = old.rows
        of_range = f"FROM {table} WHERE {prefix} AND {order} < ?"
        beyond = self._connection.execute(
            f"SELECT {order} {of_range} ORDER BY {order} LIMIT 1 OFFSET ?", (*old.prefix, old.end, most)
        ).fetchone()
        end = old.end if beyond is None else beyond[0]
        return self._connection.execute(f"DELETE {of_range}", (*old.prefix, end)).rowcount
