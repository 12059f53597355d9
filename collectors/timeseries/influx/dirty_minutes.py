"""The marks of minutes written to since their rollups were made: a local SQLite file for a remote store.

A mark is durable before its readings are sent, so after a crash there may be a mark too many, never one too few.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import structlog

from collectors.disk.damaged_files import is_damage, keep_aside
from collectors.disk.trouble_words import words_for_file
from collectors.timeseries.store import Series, StoreUnavailable

log = structlog.get_logger(__name__)

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS dirty (site TEXT, kind TEXT, equipment TEXT, channel TEXT, minute INTEGER,"
    " PRIMARY KEY (site, kind, equipment, channel, minute)) WITHOUT ROWID"
)
_IS_SERIES: Final = "site = ? AND kind = ? AND equipment = ? AND channel = ?"
_REMEMBERED: Final = 200_000
Answer = TypeVar("Answer")


class Mark(NamedTuple):
    """A minute (its start, epoch ms) of a series."""

    series: Series
    minute: int


class DirtyMinutes:
    """The marks, and which of them were set again since they were taken."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dirty-minutes")
        self._connection: sqlite3.Connection | None = None
        self.lost_marks = False
        """Whether marks were lost with a damaged file: unknown minutes may be without rollups."""
        self._known: set[Mark] = set()
        self._again: set[Mark] = set()

    async def open(self) -> None:
        """Open the file; a file that cannot be used now is tried again when it is needed."""
        try:
            await self._on(self._opened)
        except StoreUnavailable as error:
            log.error("the file of minutes without rollups cannot be opened; trying again", why=str(error))

    async def close(self) -> None:
        if self._connection is not None:
            await self._on(self._close)
        self._thread.shutdown()

    async def mark(self, marks: set[Mark]) -> None:
        """Return when the marks are durable. Most are already: a minute is marked once and written to often."""
        self._again |= marks
        new = marks - self._known
        if new:
            await self._on(self._add, new)
            if len(self._known) > _REMEMBERED:
                self._known.clear()
            self._known |= new

    def settle(self) -> set[Mark]:
        """The marks that were set since the last call."""
        again, self._again = self._again, set()
        return again

    async def some(self, most: int, now: int) -> list[Mark]:
        """Up to `most` marks whose minute is over, neighbours together."""
        return await self._on(self._some, most, now)

    async def of(self, series: Series, start: int, end: int) -> list[int]:
        """The dirty minutes of a series in a range."""
        return await self._on(self._of, series, start, end)

    async def number(self) -> int:
        """How many marks there are."""
        return await self._on(self._number)

    async def clear(self, marks: Iterable[Mark]) -> None:
        """Remove marks whose rollups are made, except those that were set again meanwhile."""
        done = [mark for mark in marks if mark not in self._again]
        self._known.difference_update(done)
        await self._on(self._remove, done)

    async def _on(self, work: Callable[..., Answer], *arguments: object) -> Answer:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._done, work, arguments)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"{self._path}: {words_for_file(error)}") from error

    def _done(self, work: Callable[..., Answer], arguments: tuple[object, ...]) -> Answer:
        """Run it, with a new file if the old one turns out to be damaged."""
        try:
            return work(*arguments)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._close()
            keep_aside(self._path, str(error))
            self._known.clear()
            self.lost_marks = True
            return work(*arguments)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_SCHEMA)
                connection.execute("SELECT site, kind, equipment, channel, minute FROM dirty LIMIT 1").fetchone()
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):  # a damaged file may not even close properly
                self._connection.close()
            self._connection = None

    def _add(self, marks: set[Mark]) -> None:
        with self._opened() as connection:
            rows = [(*mark.series, mark.minute) for mark in marks]
            connection.executemany("INSERT OR IGNORE INTO dirty VALUES (?,?,?,?,?)", rows)

    def _remove(self, marks: list[Mark]) -> None:
        with self._opened() as connection:
            rows = [(*mark.series, mark.minute) for mark in marks]
            connection.executemany(f"DELETE FROM dirty WHERE {_IS_SERIES} AND minute = ?", rows)

    def _some(self, most: int, now: int) -> list[Mark]:
        is_over = "minute + 60000 <= ?1 OR minute > ?1"  # one in the future is not the current one either
        rows = self._opened().execute(f"SELECT * FROM dirty WHERE {is_over} LIMIT ?2", (now, most))
        return [Mark(Series(*names), minute) for *names, minute in rows]

    def _number(self) -> int:
        (found,) = self._opened().execute("SELECT count(*) FROM dirty").fetchone()
        return int(found)

    def _of(self, series: Series, start: int, end: int) -> list[int]:
        statement = f"SELECT minute FROM dirty WHERE {_IS_SERIES} AND minute > ? AND minute < ?"
        return [minute for (minute,) in self._opened().execute(statement, (*series, start - 60_000, end))]
