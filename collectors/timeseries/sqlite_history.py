"""A field's history out of the SQLite file: samples while there are few, rollups, or changes."""

import sqlite3
from typing import Final

import msgspec

from collectors.timeseries import sqlite_rollups
from collectors.timeseries.rollups import SAMPLES, Figures, Piece, buckets, pieces
from collectors.timeseries.store import Bucket, Change, History

_SCOPE_SQL: Final = " FROM reading WHERE series = ?2 AND key >= ?3 AND key < ?4"
_VALUES_SQL: Final = "(SELECT key, fields ->> ?1 AS value" + _SCOPE_SQL + ") WHERE typeof(value) = 'real'"
_TYPE_SQL: Final = (
    "SELECT type FROM (SELECT json_type(fields, ?1) AS type" + _SCOPE_SQL + ") WHERE type IS NOT NULL LIMIT 1"
)
_RAW_SQL: Final = f"SELECT key / 1000000, value FROM {_VALUES_SQL} ORDER BY key LIMIT ?5"
_BUCKET_SQL: Final = (
    "SELECT (key / 1000000 - ?5) * ?7 / (?6 - ?5) AS bucket, min(value), avg(value), max(value), count(value)"
    f" FROM {_VALUES_SQL} GROUP BY bucket ORDER BY bucket"
)
_SAMPLES_SQL: Final = (
    "SELECT key / 1000000 / ?5 * ?5 AS bucket, min(value), total(value), max(value), count(value)"
    f" FROM {_VALUES_SQL} GROUP BY bucket"
)
_ROLLUPS_SQL: Final = (
    "SELECT start / ?5 * ?5 AS bucket, min(least), total(total), max(most), sum(samples)"
    " FROM rollup WHERE field = ?1 AND step = ?2 AND start >= ?3 AND start < ?4 GROUP BY bucket"
)
_CHANGES_SQL: Final = (
    "SELECT key / 1000000, value FROM (SELECT key, value, lag(value) OVER (ORDER BY key) AS before"
    " FROM (SELECT key, fields -> ?1 AS value" + _SCOPE_SQL + ") WHERE value GLOB '[\"tf]*')"
    " WHERE before IS NOT value ORDER BY key DESC LIMIT ?5"
)
_KEYS_PER_MS: Final = 1_000_000


class Asked:
    """One field of one series in a range."""

    def __init__(self, connection: sqlite3.Connection, series: int, field: str, start: int, end: int) -> None:
        self._connection = connection
        self._series, self._field, self._start, self._end = series, field, start, end
        self._scope = self._scope_of(start, end)

    def _scope_of(self, start: int, end: int) -> tuple[str, int, int, int]:
        return f'$."{self._field}"', self._series, start * _KEYS_PER_MS, end * _KEYS_PER_MS

    def first_type(self) -> str | None:
        """What the first value in the range is: a field that the contract does not name may change its type."""
        found = self._connection.execute(_TYPE_SQL, self._scope).fetchone()
        return str(found[0]) if found else None

    def samples(self, points: int) -> History | None:
        """Every sample, or None where there are more than `points`."""
        rows = self._connection.execute(_RAW_SQL, (*self._scope, points + 1)).fetchall()
        if len(rows) > points:
            return None
        return History(True, [Bucket(at, value, value, value, 1) for at, value in rows], [])

    def plain_buckets(self, points: int) -> History:
        """Equal buckets over the range, out of the samples."""
        start, end = self._start, self._end
        rows = self._connection.execute(_BUCKET_SQL, (*self._scope, start, end, points))
        # Rounded up: the first millisecond that the division in the statement puts into this bucket.
        found = [Bucket(start + -(-index * (end - start) // points), *figures) for index, *figures in rows]
        return History(False, found, [])

    def buckets_of_rollups(self, step: int, width: int) -> list[Bucket]:
        """Buckets at multiples of `width`, out of rollups where they hold and samples where not."""
        dirty = sqlite_rollups.dirty_minutes(self._connection, self._series, self._start, self._end)
        statement = "SELECT id FROM field WHERE series = ? AND name = ?"
        found = self._connection.execute(statement, (self._series, self._field)).fetchone()
        field = found[0] if found else -1  # not in any rollup yet
        figures: list[Figures] = []
        for piece in pieces(self._start, self._end, step, dirty):
            figures += self._figures(piece, field, width)
        return buckets(figures, self._start, width)

    def _figures(self, piece: Piece, field: int, width: int) -> list[Figures]:
        if piece.step == SAMPLES:
            rows = self._connection.execute(_SAMPLES_SQL, (*self._scope_of(piece.start, piece.end), width))
        else:
            rows = self._connection.execute(_ROLLUPS_SQL, (field, *piece, width))
        return [Figures(*row) for row in rows]

    def changes(self, points: int) -> History:
        """The newest `points` changes, oldest first."""
        rows = self._connection.execute(_CHANGES_SQL, (*self._scope, points)).fetchall()
        found = [Change(at, msgspec.json.decode(value)) for at, value in reversed(rows)]
        return History(False, [], found)
