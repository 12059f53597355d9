"""Readings in one SQLite file: one row for each reading, its fields as JSON, keyed by series and time key.

One thread writes, others read (WAL). A statement inserts hundreds of rows: SQLite then works without the interpreter's
lock, and the loop that receives messages continues meanwhile.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import structlog

from collectors.chunks import FIRST, next_chunk
from collectors.disk.damaged_files import is_damage, keep_aside
from collectors.disk.trouble_words import words_for_file
from collectors.timeseries.latest import LatestTable, Who
from collectors.timeseries.rollups import choose
from collectors.timeseries.sqlite import rollups as sqlite_rollups
from collectors.timeseries.sqlite.erasure import Erased, Erasure
from collectors.timeseries.sqlite.file import open_for_reading, open_for_writing
from collectors.timeseries.sqlite.history import Asked
from collectors.timeseries.sqlite.rollups import KEYS_PER_MINUTE, Found, Mark
from collectors.timeseries.store import CHUNK_ROWS, DEFAULT_POINTS, History, Latest, Refused, Series, StoreUnavailable
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading, Value
from collectors.wire.topics import Topic

log = structlog.get_logger(__name__)

_KEYS_PER_MS: Final = 1_000_000
_LAST_MS: Final = 2**63 // _KEYS_PER_MS
"""Limit of time keys."""
_ROWS_PER_STATEMENT: Final = (2_000, 400, 80, 16, 4, 1)
"""Rows in a statement: few different sizes, so that SQLite keeps the statements prepared; at most 10,000 values."""
_READERS: Final = 3
"""One of them may be adding up rollups."""
_ROLL_UP_EVERY_S: Final = 2.0
_REST: Final = 3.0
"""Rest after a chunk of rollups, as a multiple of the time it took."""
_MOST_MINUTES: Final = 1_000
"""Minutes of one pass of rollups."""
_MARKS_REMEMBERED: Final = 200_000
Answer = TypeVar("Answer")

_ROW: Final = "(?,?,?,?,?)"
_INSERT: Final = "INSERT INTO reading (series, key, received_at, quality, fields) VALUES "
# The same sample again changes nothing; another sample of the same moment adds its fields.
_MERGE: Final = (
    " ON CONFLICT (series, key) DO UPDATE SET fields = json_patch(fields, excluded.fields)"
    " WHERE fields <> excluded.fields"
)
_READINGS_SQL: Final = (
    "SELECT key, received_at, quality, fields FROM reading WHERE series = ? AND key >= ? AND key < ?"
    " ORDER BY key LIMIT ?"
)
_LATEST_SQL: Final = "INSERT OR REPLACE INTO latest VALUES (?,?,?)"
_encode = msgspec.json.encode
_decode_fields: Final = msgspec.json.Decoder(dict[str, Value]).decode


class SqliteStore:
    """The default store: nothing to install, durable with every batch (WAL, synchronous=FULL)."""

    def __init__(
        self, path: Path, stopwatch: Callable[[], float] = time.monotonic, is_paused: Callable[[], bool] = lambda: False
    ) -> None:
        """Nothing is opened yet.

        Args:
            path: of the file.
            stopwatch: gives seconds; by it each transaction of erasing and of rollups is sized so that it is short.
            is_paused: whether rollups and deletion are paused because the disk is almost full.
        """
        self._path = path
        self._stopwatch = stopwatch
        self._is_paused = is_paused
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="history-write")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="history-read")
        self._series: dict[Series, int] = {}
        self._ids: dict[Topic, int] = {}
        self._latest = LatestTable()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        """Device and inode of the file that is open."""
        self._files_begun = 0
        """Number of files that were opened: damage found in one does not concern the next."""
        self._restored: list[tuple[Who, Latest]] = []
        """Newest values from a file that was just opened, until the loop takes them."""
        self._background: asyncio.Task[None] | None = None
        self._rolling = asyncio.Lock()
        self._rolled = FIRST
        """Its rows are the minutes of the next pass of rollups."""
        self._marked: set[Mark] = set()
        """Dirty minutes that are known to be in the file."""
        self._again: set[Mark] = set()
        """Minutes that were written to since a chunk of dirty ones was taken."""

    async def open(self) -> None:
        try:
            await self._on(self._writer, self._opened)
        except StoreUnavailable as error:  # alarms do not wait for history: the next access tries again
            log.error("the file of readings cannot be opened; trying again", why=str(error))
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
        seen = self._latest.absorb(readings)
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
        bodies = [(*who, _encode(self._latest[who]).decode()) for who in seen]
        await self._on(self._writer, self._write, rows, bodies)
        return []

    def update_latest(self, readings: Sequence[Reading]) -> None:
        self._latest.absorb(readings)

    def note_received(self, equipment: Who, kind: str, received_at: int) -> None:
        self._latest.note_received(equipment, kind, received_at)

    def latest(self) -> LatestTable:
        return self._latest

    def forget_latest(self, equipment: Iterable[Who]) -> None:
        self._latest.forget(equipment)

    def clock_was_set(self, now: int) -> None:
        self._latest.not_after(now)

    async def refresh_latest(self) -> set[Who]:
        return set()  # this file has no other writer

    async def history(self, series: Series, field: str, start: int, end: int, points: int = DEFAULT_POINTS) -> History:
        return await self._on(self._readers, self._history, series, field, start, end, points)

    async def readings(
        self, series: Series, start: int, end: int, after: int = -1, most: int = CHUNK_ROWS
    ) -> list[Reading]:
        return await self._on(self._readers, self._readings, series, start, end, after, most)

    async def erase_before(self, moment: int) -> int:
        """Delete in many short transactions: a write waits for one of them at most.

        Some readings from before `moment` may still exist while it runs, and after a crash until the next run.
        """
        erasure: Erasure | None = None
        chunk, erased = FIRST, 0
        while True:
            await asyncio.sleep(chunk.pause_s)
            if self._is_paused():
                raise StoreUnavailable("the disk is almost full: deletion is paused until there is space again")
            async with self._rolling:  # or a pass would put down again what it had read before
                erasure = erasure or await self._on(self._writer, self._begin_erasure, moment)
                found, took = await self._on(self._writer, self._erase, erasure, chunk.rows)
            erased += found.readings
            if found.is_last:
                return erased
            chunk = next_chunk(chunk, took)

    async def roll_up(self) -> int:
        """Make rollups of some dirty minutes that are over; return how many minutes.

        Aggregation runs in a reader's thread; the writer only stores the result. The number of minutes in one pass
        depends on how long the last one held the writer.
        """
        async with self._rolling:  # one pass at a time: each begins by forgetting what was written before it
            most = self._rolled.rows
            marks = await self._on(self._writer, self._take_marks, time.time_ns() // _KEYS_PER_MS, most)
            if marks:
                found = await self._on(self._readers, self._add_up, marks)
                took = await self._on(self._writer, self._put_rollups, marks, found)
                if len(marks) == most:  # fewer minutes do not show the cost of a full pass
                    self._rolled = next_chunk(self._rolled, took, _MOST_MINUTES)
        return len(marks)

    async def rollups_due(self) -> int:
        return await self._on(self._readers, self._count_marks)

    def rollups_refused(self) -> int:
        return 0

    async def _keep_rolling_up(self) -> None:
        trouble = ""
        while True:
            await asyncio.sleep(_ROLL_UP_EVERY_S)
            began = time.monotonic()
            try:
                while not self._is_paused() and await self.roll_up():
                    spent = time.monotonic() - began
                    await asyncio.sleep(spent * _REST)  # a long backlog must not starve incoming readings
                    began = time.monotonic()
            except Exception as error:  # noqa: BLE001 - no error may stop rollups for good
                if repr(error) != trouble:
                    log.warning("rollups are delayed; histories are drawn from samples", why=repr(error))
                trouble = repr(error)
            else:
                trouble = ""

    async def _on(self, pool: ThreadPoolExecutor, work: Callable[..., Answer], *arguments: object) -> Answer:
        """Work in a thread. Raises StoreUnavailable for any error of the file; a damaged file is replaced."""
        begun = self._files_begun
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(pool, work, *arguments)
        except (sqlite3.Error, OSError, msgspec.MsgspecError, UnicodeError) as error:
            if is_damage(error):
                bodies = [(*who, _encode(latest).decode()) for who, latest in self._latest.items()]
                await loop.run_in_executor(self._writer, self._replace_file, begun, str(error), bodies)
            raise StoreUnavailable(f"{self._path}: {words_for_file(error)}") from error
        finally:
            restored, self._restored = self._restored, []
            for who, latest in restored:
                self._latest.restore(who, latest)

    # -- in the writer's thread ------------------------------------------------------------------------

    def _opened(self) -> sqlite3.Connection:
        """The connection; it is opened now if that failed before or the file was replaced."""
        if self._connection is not None and _identity_of(self._path) != self._file:
            self._let_go()  # SQLite would go on writing into a file that has no name
        if self._connection is None:
            connection = open_for_writing(self._path)
            self._files_begun += 1
            try:
                self._load(connection)
            except BaseException:
                connection.close()
                raise
            self._connection, self._file = connection, _identity_of(self._path)
        return self._connection

    def _let_go(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):  # a damaged file may not even close properly
                self._connection.close()
        self._connection = None
        self._series, self._ids = {}, {}
        self._marked.clear()
        self._again.clear()

    def _load(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute("SELECT id, site, kind, equipment, channel FROM series")
        self._series = {Series(*names): identity for identity, *names in rows}
        self._restored = [
            ((site, equipment), msgspec.json.decode(body, type=Latest))
            for site, equipment, body in connection.execute("SELECT site, equipment, body FROM latest")
        ]

    def _replace_file(self, begun: int, why: str, bodies: list[tuple[str, str, str]]) -> None:
        """Rename a damaged file and create a new one, unless that was done since the damage was found.

        The newest values are still in memory, and are written to the new file at once.
        """
        if begun != self._files_begun and self._connection is not None:
            return
        self._let_go()
        try:
            keep_aside(self._path, why)
            self._opened().executemany(_LATEST_SQL, bodies)
        except (OSError, sqlite3.Error) as error:
            log.error("no new file of readings can be created; trying again", file=str(self._path), why=str(error))

    def _write(self, rows: list[tuple[Topic, int, int, int, str]], bodies: list[tuple[str, str, str]]) -> None:
        with self._transaction() as connection:
            ids = self._name_series({row[0] for row in rows})
            # By series: rows that are adjacent in the file are written together. The sort keeps each series' order.
            values = [(ids[topic], key, came, quality, fields) for topic, key, came, quality, fields in rows]
            values.sort(key=itemgetter(0))
            for part in _statement_rows(values):
                statement = _INSERT + ",".join([_ROW] * len(part)) + _MERGE
                connection.execute(statement, list(chain.from_iterable(part)))
            connection.executemany(_LATEST_SQL, bodies)
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
            self._series = named_before  # their rows are rolled back too
            self._ids.clear()
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _name_series(self, topics: set[Topic]) -> dict[Topic, int]:
        """The row ids of series, added if they are new."""
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

    def _begin_erasure(self, moment: int) -> Erasure:
        return Erasure(self._opened(), self._series.values(), moment)

    def _erase(self, erasure: Erasure, most: int) -> tuple[Erased, float]:
        """The result of one transaction, and for how many seconds it held the writer."""
        began = self._stopwatch()
        with self._transaction():
            erased = erasure.erase(most)
        self._again |= erased.edges
        self._marked |= erased.edges
        return erased, self._stopwatch() - began

    def _take_marks(self, now: int, most: int) -> list[Mark]:
        self._again.clear()
        return sqlite_rollups.some_marks(self._opened(), now, most)

    def _put_rollups(self, marks: list[Mark], found: Found) -> float:
        """Store rollups; return for how many seconds that held the writer."""
        began = self._stopwatch()
        done = [mark for mark in marks if mark not in self._again]
        with self._transaction() as connection:
            sqlite_rollups.put(connection, marks, done, found)
        self._marked.difference_update(done)
        return self._stopwatch() - began

    # -- in a reader's thread --------------------------------------------------------------------------

    def _history(self, series: Series, field: str, start: int, end: int, points: int) -> History:
        identity = self._known(series)
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
        identity = self._known(series)
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

    def _known(self, series: Series) -> int | None:
        """The row id of a series; None if it was never written."""
        self._require_open()
        return self._series.get(series)

    def _require_open(self) -> None:
        if self._connection is None:  # an empty history would be a wrong answer
            raise sqlite3.ProgrammingError("the file is not open")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A snapshot of the file for several statements."""
        self._require_open()
        with contextlib.closing(open_for_reading(self._path)) as connection:
            connection.execute("BEGIN")
            yield connection


_Row = tuple[int, int, int, int, str]
"""Series, key, time of receipt, quality, fields."""


def _statement_rows(rows: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
    first = 0
    for size in _ROWS_PER_STATEMENT:
        while len(rows) - first >= size:
            yield rows[first : first + size]
            first += size


def _identity_of(path: Path) -> tuple[int, int] | None:
    """Device and inode; None if there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _series_of(topic: Topic) -> Series:
    return Series(topic.site, topic.kind.value, topic.equipment, topic.channel.value)


def _topic_of(series: Series) -> Topic:
    return Topic(series.site, Kind(series.kind), series.equipment, Channel(series.channel))
