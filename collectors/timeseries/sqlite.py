"""Readings in one SQLite file: a row a reading, its fields as JSON, found by series and time key.

One thread writes, others read (WAL). Rows go in hundreds to a statement: SQLite then works without the
interpreter's lock, and the loop that receives messages goes on meanwhile.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from collectors.reading import Reading
from collectors.timeseries.latest import LatestTable
from collectors.timeseries.store import (
    DEFAULT_POINTS,
    Bucket,
    Change,
    History,
    Latest,
    Refused,
    Series,
    StoreUnavailable,
)
from collectors.topics import Topic

_KEYS_PER_MS: Final = 1_000_000
_LAST_MS: Final = 2**63 // _KEYS_PER_MS
"""No key lies beyond it."""
_PORTIONS: Final = (2_000, 400, 80, 16, 4, 1)
"""Rows a statement: few different sizes, so that SQLite keeps the statements prepared; 10,000 values at the most."""
_READERS: Final = 2
_BUSY_S: Final = 1.0
"""Nobody else writes here; who holds the file longer than that is trouble, and is reported as such."""
Answer = TypeVar("Answer")

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
_ROW: Final = "(?,?,?,?,?)"
_INSERT: Final = "INSERT INTO reading (series, key, received_at, quality, fields) VALUES "
# The same sample again patches itself with itself; another sample of the same moment adds its fields.
_MERGE: Final = (
    " ON CONFLICT (series, key) DO UPDATE SET fields = json_patch(fields, excluded.fields)"
    " WHERE fields <> excluded.fields"
)
_encode = msgspec.json.encode


class SqliteStore:
    """The default store: nothing to install, durable with every batch (WAL, synchronous=FULL)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="history-write")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="history-read")
        self._series: dict[Series, int] = {}
        self._ids: dict[Topic, int] = {}
        self._latest = LatestTable()
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        await self._on(self._writer, self._open)

    async def close(self) -> None:
        if self._connection is not None:
            await self._on(self._writer, self._connection.close)
            self._connection = None
        self._writer.shutdown()
        self._readers.shutdown()

    async def write(self, readings: Sequence[Reading]) -> list[Refused]:
        heard = self._latest.absorb(readings)
        rows = [
            (
                reading.topic,
                reading.key,
                reading.received_at,
                reading.quality,
                _encode(reading.fields).decode(),
            )
            for reading in readings
        ]
        bodies = [(*who, _encode(self._latest[who]).decode()) for who in heard]
        await self._on(self._writer, self._write, rows, bodies)
        return []

    def latest(self) -> LatestTable:
        return self._latest

    async def history(self, series: Series, field: str, start: int, end: int, points: int = DEFAULT_POINTS) -> History:
        return await self._on(self._readers, self._history, series, field, start, end, points)

    async def erase_before(self, moment: int) -> int:
        return await self._on(self._writer, self._erase_before, moment)

    async def _on(self, pool: ThreadPoolExecutor, work: Callable[..., Answer], *arguments: object) -> Answer:
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work, *arguments)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error

    # -- in the writer's thread ------------------------------------------------------------------------

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, _BUSY_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -65536")
        connection.executescript(_SCHEMA)
        self._connection = connection
        self._series = {
            Series(*names): identity
            for identity, *names in connection.execute("SELECT id, site, kind, equipment, channel FROM series")
        }
        for site, equipment, body in connection.execute("SELECT site, equipment, body FROM latest"):
            self._latest.put((site, equipment), msgspec.json.decode(body, type=Latest))

    def _write(self, rows: list[tuple[Topic, int, int, int, str]], bodies: list[tuple[str, str, str]]) -> None:
        with self._transaction() as connection:
            ids = self._name_series({row[0] for row in rows})
            # By series: rows that stand together in the file are written together. The sort keeps each series' order.
            values = [(ids[topic], key, came, quality, fields) for topic, key, came, quality, fields in rows]
            values.sort(key=itemgetter(0))
            for part in _portions(values):
                statement = _INSERT + ",".join([_ROW] * len(part)) + _MERGE
                connection.execute(statement, list(chain.from_iterable(part)))
            connection.executemany("INSERT OR REPLACE INTO latest VALUES (?,?,?)", bodies)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        if connection is None:
            raise sqlite3.ProgrammingError("the store is not open")
        named_before = dict(self._series)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            self._series = named_before  # their rows go with the transaction
            self._ids.clear()
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _name_series(self, topics: set[Topic]) -> dict[Topic, int]:
        """The row ids of series, made where they are new."""
        for topic in topics - self._ids.keys():
            series = _series_of(topic)
            if series not in self._series:
                self._series[series] = self._add_series(series)
            self._ids[topic] = self._series[series]
        return self._ids

    def _add_series(self, series: Series) -> int:
        assert self._connection is not None  # noqa: S101 - only called inside a transaction
        cursor = self._connection.execute(
            "INSERT INTO series (site, kind, equipment, channel) VALUES (?,?,?,?) RETURNING id", series
        )
        return int(cursor.fetchone()[0])

    def _erase_before(self, moment: int) -> int:
        with self._transaction() as connection:
            erased = 0
            for identity in self._series.values():  # by series: the key's prefix, so that each is a range
                cursor = connection.execute(
                    "DELETE FROM reading WHERE series = ? AND key < ?", (identity, moment * _KEYS_PER_MS)
                )
                erased += cursor.rowcount
        return erased

    # -- in a reader's thread --------------------------------------------------------------------------

    def _history(self, series: Series, field: str, start: int, end: int, points: int) -> History:
        identity = self._series.get(series)
        start, end = max(start, 0), min(end, _LAST_MS)
        if identity is None or end <= start:
            return History(raw=True, buckets=[], changes=[])
        path = f'$."{field}"'
        scope = (path, identity, start * _KEYS_PER_MS, end * _KEYS_PER_MS)
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            found = connection.execute(_TYPE_SQL, scope).fetchone()
            if found is None:
                return History(raw=True, buckets=[], changes=[])
            if found[0] != "real":
                return _read_changes(connection, scope, points)
            return _read_raw(connection, scope, points) or _read_buckets(connection, scope, start, end, points)


# A field that the contract does not name may change its type: the first one in the range says what is asked for.
_SCOPE_SQL: Final = " FROM reading WHERE series = ?2 AND key >= ?3 AND key < ?4"
_TYPE_SQL: Final = (
    "SELECT type FROM (SELECT json_type(fields, ?1) AS type" + _SCOPE_SQL + ") WHERE type IS NOT NULL LIMIT 1"
)
_RAW_SQL: Final = (
    "SELECT key / 1000000, value FROM (SELECT key, fields ->> ?1 AS value" + _SCOPE_SQL + ")"
    " WHERE typeof(value) = 'real' ORDER BY key LIMIT ?5"
)
_BUCKET_SQL: Final = (
    "SELECT (key / 1000000 - ?5) * ?7 / (?6 - ?5) AS bucket, min(value), avg(value), max(value), count(value)"
    " FROM (SELECT key, fields ->> ?1 AS value"
    + _SCOPE_SQL
    + ") WHERE typeof(value) = 'real' GROUP BY bucket ORDER BY bucket"
)
_CHANGES_SQL: Final = (
    "SELECT key / 1000000, value FROM (SELECT key, value, lag(value) OVER (ORDER BY key) AS before"
    " FROM (SELECT key, fields -> ?1 AS value" + _SCOPE_SQL + ") WHERE value GLOB '[\"tf]*')"
    " WHERE before IS NOT value ORDER BY key DESC LIMIT ?5"
)
_Scope = tuple[str, int, int, int]
_Row = tuple[int, int, int, int, str]
"""Series, key, time of receipt, quality, fields."""


def _portions(rows: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
    first = 0
    for size in _PORTIONS:
        while len(rows) - first >= size:
            yield rows[first : first + size]
            first += size


def _series_of(topic: Topic) -> Series:
    return Series(topic.site, topic.kind.value, topic.equipment, topic.channel.value)


def _read_raw(connection: sqlite3.Connection, scope: _Scope, points: int) -> History | None:
    """Every sample, or None where there are more than `points`."""
    rows = connection.execute(_RAW_SQL, (*scope, points + 1)).fetchall()
    if len(rows) > points:
        return None
    return History(True, [Bucket(at, value, value, value, 1) for at, value in rows], [])


def _read_buckets(connection: sqlite3.Connection, scope: _Scope, start: int, end: int, points: int) -> History:
    rows = connection.execute(_BUCKET_SQL, (*scope, start, end, points))
    buckets = [Bucket(start + index * (end - start) // points, *figures) for index, *figures in rows]
    return History(False, buckets, [])


def _read_changes(connection: sqlite3.Connection, scope: _Scope, points: int) -> History:
    """The newest `points` changes, oldest first."""
    rows = connection.execute(_CHANGES_SQL, (*scope, points)).fetchall()
    changes = [Change(at, msgspec.json.decode(value)) for at, value in reversed(rows)]
    return History(False, [], changes)
