"""Reads a field's history from the SQLite file: samples if there are few, rollups, or changes."""

import sqlite3
from typing import Final

import msgspec

from collectors.timeseries.rollups import DAY, SAMPLES, Figures, Piece, buckets, pieces
from collectors.timeseries.sqlite import rollups as sqlite_rollups
from collectors.timeseries.store import Bucket, Change, History
from collectors.timeseries.stretches import BESIDE, Block, decode, newest, of_changes, refined, too_coarse

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
_STRETCHES_SQL: Final = (
    "SELECT start, body FROM stretch WHERE field = ? AND step = ? AND start >= ? AND start < ? ORDER BY start"
)
_FIRST_SQL: Final = (
    "SELECT min(start) FROM (SELECT min(start) AS start FROM {} UNION ALL SELECT min(start) FROM {})"
).format(*(f"{table} WHERE field = ?1 AND step = ?2 AND start >= ?3 AND start < ?4" for table in ("rollup", "stretch")))
_KEYS_PER_MS: Final = 1_000_000


class Asked:
    """One field of one series in a range."""

    def __init__(self, connection: sqlite3.Connection, series: int, field: str, start: int, end: int) -> None:
        self._connection = connection
        self._series, self._field, self._start, self._end = series, field, start, end
        self._scope = self._scope_of(start, end)
        self._dirty = sqlite_rollups.dirty_minutes(connection, series, start, end)
        self._days = pieces(start, end, DAY, self._dirty)
        """The range cut for the coarsest valid rollups."""
        found = connection.execute("SELECT id FROM field WHERE series = ? AND name = ?", (series, field)).fetchone()
        self._field_id = found[0] if found else -1  # not in any rollup yet

    def _scope_of(self, start: int, end: int) -> tuple[str, int, int, int]:
        return f'$."{self._field}"', self._series, start * _KEYS_PER_MS, end * _KEYS_PER_MS

    def first_type(self) -> str | None:
        """The type of the first value in the range: a field that the contract does not define may change its type.

        Rollups locate that value, so that a year of other fields is not read when this one was never sent.
        """
        for piece in self._days:
            start, end = self._first_known(piece)
            found = self._connection.execute(_TYPE_SQL, self._scope_of(start, end)).fetchone()
            if found:
                return str(found[0])
        return None

    def _first_known(self, piece: Piece) -> tuple[int, int]:
        """The range of the first sample in a piece, as closely as its rollups know; empty if they have none."""
        if piece.step == SAMPLES:
            return piece.start, piece.end
        (start,) = self._connection.execute(_FIRST_SQL, (self._field_id, *piece)).fetchone()
        return (0, 0) if start is None else (start, start + piece.step)

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
        figures: list[Figures] = []
        for piece in pieces(self._start, self._end, step, self._dirty):
            figures += self._figures(piece, width)
        return buckets(figures, self._start, width)

    def _figures(self, piece: Piece, width: int) -> list[Figures]:
        if piece.step == SAMPLES:
            rows = self._connection.execute(_SAMPLES_SQL, (*self._scope_of(piece.start, piece.end), width))
        else:
            rows = self._connection.execute(_ROLLUPS_SQL, (self._field_id, *piece, width))
        return [Figures(*row) for row in rows]

    def changes(self, points: int) -> History:
        """The newest `points` changes, oldest first."""
        blocks = self._blocks(self._days, points)
        while wanted := too_coarse(blocks, points):
            blocks = refined(blocks, wanted, self._blocks(wanted, points))
        return newest(blocks, points)

    def _blocks(self, cut: list[Piece], points: int) -> list[Block]:
        return [block for piece in cut for block in self._blocks_of(piece, points)]

    def _blocks_of(self, piece: Piece, points: int) -> list[Block]:
        if piece.step != SAMPLES:
            rows = self._connection.execute(_STRETCHES_SQL, (self._field_id, *piece))
            return [Block(piece.step, start, decode(body)) for start, body in rows]
        scope = self._scope_of(piece.start, piece.end)
        rows = self._connection.execute(_CHANGES_SQL, (*scope, points + BESIDE))
        found = [Change(at, msgspec.json.decode(value)) for at, value in rows]
        return [Block(SAMPLES, piece.start, of_changes(found[::-1]))] if found else []
