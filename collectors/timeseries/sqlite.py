"""Readings in one SQLite file: a row a reading, its fields as JSON, found by series and time key.

One thread writes, others read (WAL). Rows go in hundreds to a statement: SQLite then works without the
interpreter's lock, and the loop that receives messages goes on meanwhile.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import structlog

from collectors.fields import Channel, Kind
from collectors.reading import Reading, Value
from collectors.timeseries import sqlite_rollups
from collectors.timeseries.latest import LatestTable, Who
from collectors.timeseries.rollups import MINUTE, choose
from collectors.timeseries.sqlite_history import Asked
from collectors.timeseries.sqlite_rollups import KEYS_PER_MINUTE, Found, Mark
from collectors.timeseries.store import DEFAULT_POINTS, PORTION, History, Latest, Refused, Series, StoreUnavailable
from collectors.topics import Topic

log = structlog.get_logger(__name__)

_KEYS_PER_MS: Final = 1_000_000
_LAST_MS: Final = 2**63 // _KEYS_PER_MS
"""No key lies beyond it."""
_PORTIONS: Final = (2_000, 400, 80, 16, 4, 1)
"""Rows a statement: few different sizes, so that SQLite keeps the statements prepared; 10,000 values at the most."""
_BUSY_S: Final = 1.0
"""Nobody else writes here; who holds the file longer than that is trouble, and is reported as such."""
_READERS: Final = 3
"""One of them may be adding up rollups."""
_ROLL_UP_EVERY_S: Final = 2.0
_REST: Final = 3.0
"""Rest after a portion of rollups, as a multiple of the time it took."""
_MARKS_REMEMBERED: Final = 200_000
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
_READINGS_SQL: Final = (
    "SELECT key, received_at, quality, fields FROM reading WHERE series = ? AND key >= ? AND key < ?"
    " ORDER BY key LIMIT ?"
)
_encode = msgspec.json.encode
_decode_fields: Final = msgspec.json.Decoder(dict[str, Value]).decode


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
        self._background: asyncio.Task[None] | None = None
        self._rolling = asyncio.Lock()
        self._marked: set[Mark] = set()
        """Dirty minutes that are surely in the file."""
        self._again: set[Mark] = set()
        """Minutes that were written to since a portion of dirty ones was taken."""

    async def open(self) -> None:
        await self._on(self._writer, self._open)
        self._background = asyncio.create_task(self._keep_rolling_up(), name="sqlite.rollups")

    async def close(self) -> None:
        if self._background is not None:
            self._background.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._background
            self._background = None
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

    def foresee(self, readings: Sequence[Reading]) -> None:
        self._latest.absorb(readings)

    def latest(self) -> LatestTable:
        return self._latest

    def clock_was_set(self, now: int) -> None:
        self._latest.not_after(now)

    async def refresh_latest(self) -> set[Who]:
        return set()  # nobody else writes into this file

    async def history(self, series: Series, field: str, start: int, end: int, points: int = DEFAULT_POINTS) -> History:
        return await self._on(self._readers, self._history, series, field, start, end, points)

    async def readings(
        self, series: Series, start: int, end: int, after: int = -1, most: int = PORTION
    ) -> list[Reading]:
        return await self._on(self._readers, self._readings, series, start, end, after, most)

    async def erase_before(self, moment: int) -> int:
        async with self._rolling:  # or a pass would put down again what it had read before
            return await self._on(self._writer, self._erase_before, moment)

    async def roll_up(self) -> int:
        """Make rollups of a portion of the minutes that were written to and are over; return how many minutes.

        Adding up is done beside the writer's thread; the writer only puts down what comes out of it.
        """
        async with self._rolling:  # one pass at a time: each begins by forgetting what was written before it
            marks = await self._on(self._writer, self._take_marks, time.time_ns() // _KEYS_PER_MS)
            if marks:
                found = await self._on(self._readers, self._add_up, marks)
                await self._on(self._writer, self._put_rollups, marks, found)
        return len(marks)

    async def rollups_due(self) -> int:
        return await self._on(self._readers, self._count_marks)

    async def _keep_rolling_up(self) -> None:
        while True:
            await asyncio.sleep(_ROLL_UP_EVERY_S)
            began = time.monotonic()
            try:
                while await self.roll_up():
                    spent = time.monotonic() - began
                    await asyncio.sleep(spent * _REST)  # a long backlog must not starve what comes in
                    began = time.monotonic()
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not end rollups for good
                log.warning("rollups wait; histories are drawn from samples", why=repr(error))

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
        sqlite_rollups.make_tables(connection)
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
            marks = {(row[0], row[1] // KEYS_PER_MINUTE) for row in values}
            sqlite_rollups.mark(connection, marks - self._marked)
        self._again |= marks
        if len(self._marked) > _MARKS_REMEMBERED:
            self._marked.clear()
        self._marked |= marks

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._opened()
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
        edges: set[Mark] = set()
        with self._transaction() as connection:
            erased = 0
            for identity in self._series.values():  # by series: the key's prefix, so that each is a range
                cursor = connection.execute(
                    "DELETE FROM reading WHERE series = ? AND key < ?", (identity, moment * _KEYS_PER_MS)
                )
                erased += cursor.rowcount
                edges.add((identity, moment // MINUTE))  # each has an hour and a day that the moment may cut
            sqlite_rollups.erase_before(connection, moment, edges)
        self._again |= edges
        self._marked |= edges
        return erased

    def _take_marks(self, now: int) -> list[Mark]:
        self._again.clear()
        return sqlite_rollups.some_marks(self._opened(), now)

    def _put_rollups(self, marks: list[Mark], found: Found) -> None:
        done = [mark for mark in marks if mark not in self._again]
        with self._transaction() as connection:
            sqlite_rollups.put(connection, marks, done, found)
        self._marked.difference_update(done)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError("the store is not open")
        return self._connection

    # -- in a reader's thread --------------------------------------------------------------------------

    def _history(self, series: Series, field: str, start: int, end: int, points: int) -> History:
        identity = self._series.get(series)
        start, end = max(start, 0), min(end, _LAST_MS)
        if identity is None or end <= start:
            return History(raw=True, buckets=[], changes=[])
        grid = choose(start, end, points)
        with self._reading() as connection:
            asked = Asked(connection, identity, field, start, end)
            first = asked.first_type()
            if first is None:
                return History(raw=True, buckets=[], changes=[])
            if first != "real":
                return asked.changes(points)
            drawn = asked.buckets_of_rollups(*grid) if grid else None
            if drawn and sum(bucket.samples for bucket in drawn) > points:
                return History(False, drawn, [])
            return asked.samples(points) or asked.plain_buckets(points)

    def _readings(self, series: Series, start: int, end: int, after: int, most: int) -> list[Reading]:
        identity = self._series.get(series)
        if identity is None:
            return []
        first, last = max(start * _KEYS_PER_MS, after + 1), min(end, _LAST_MS) * _KEYS_PER_MS
        with self._reading() as connection:
            rows = connection.execute(_READINGS_SQL, (identity, first, last, most)).fetchall()
        topic = _topic_of(series)
        return [
            Reading(topic, _decode_fields(fields), key // _KEYS_PER_MS, came, key, quality=quality)
            for key, came, quality, fields in rows
        ]

    def _add_up(self, marks: list[Mark]) -> Found:
        with self._reading() as connection:
            return sqlite_rollups.add_up(connection, marks)

    def _count_marks(self) -> int:
        with self._reading() as connection:
            return sqlite_rollups.number_of_marks(connection)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One state of the file for several statements."""
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            yield connection


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


def _topic_of(series: Series) -> Topic:
    return Topic(series.site, Kind(series.kind), series.equipment, Channel(series.channel))
