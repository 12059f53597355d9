"""Remembers when a sample without a time was first received, so that its redelivery is the same sample.

It handles only samples with `seq` and without `at`. The memory is one small SQLite file, written before the sample is
processed further. Entries expire after an hour, and at once when a device restarts its counter, on any of its
channels. Events are not looked up in it, except the taps of a guard's round: a repeated number says nothing about a
fire. Redelivered messages arrive in order, so the final state is correct without it.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
import structlog

from collectors.disk.damaged_files import is_damage, keep_aside
from collectors.payloads.samples import place_in_time
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Quality, Reading
from collectors.wire.topics import ROOT, Topic

log = structlog.get_logger(__name__)

_RETRY_S: Final = 0.5
_TRIES: Final = 4
REMEMBERED_MS: Final = 3600 * 1000
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS seen (sample BLOB PRIMARY KEY, received_at INTEGER NOT NULL, key INTEGER NOT NULL,"
    " topic TEXT NOT NULL, seq INTEGER NOT NULL)"
    " WITHOUT ROWID"
)
_FORGET_OLD: Final = (
    "DELETE FROM seen WHERE sample IN (SELECT sample FROM seen WHERE received_at < ? ORDER BY received_at LIMIT ?)"
)
_REMEMBER: Final = (  # an expired row that is not removed yet counts as absent
    "INSERT INTO seen VALUES (?1,?2,?3,?4,?5) ON CONFLICT (sample) DO UPDATE"
    " SET received_at = excluded.received_at, key = excluded.key WHERE received_at < ?6"
)
_FORGOTTEN_AT_ONCE: Final = 100
_FORGET: Final = "DELETE FROM seen WHERE topic = ?1 AND EXISTS (SELECT 1 FROM seen WHERE topic = ?1 AND seq > ?2)"
"""`topic` holds the common part of a device's topics: it has one counter for all channels."""
_FIRST_NUMBERS: Final = 1
"""A counter begins at 0 or 1: after higher numbers, one of these means that the device has restarted."""
_encode = msgspec.json.Encoder(order="deterministic").encode


_TAP_FIELDS: Final = frozenset({"tag", "checkpoint"})


def needs_memory(reading: Reading) -> bool:
    """Whether a redelivery of this reading can be recognised by its sequence number only."""
    if reading.seq is None or not reading.quality & Quality.NO_TIME:
        return False
    return reading.topic.channel is not Channel.EVENT or _is_tap(reading)


def _is_tap(reading: Reading) -> bool:
    return reading.topic.kind is Kind.PATROL_READER and not _TAP_FIELDS.isdisjoint(reading.fields)


def _device_of(topic: Topic) -> str:
    return f"{ROOT}/{topic.site}/{topic.kind}/{topic.equipment}"


class SequenceMemory:
    """First times of receipt, by sample."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sequences")
        self._connection: sqlite3.Connection | None = None
        self._tries = _TRIES

    async def open(self) -> None:
        """Open the file; a file that cannot be used now is tried again with the next readings that need it."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._opened)
        except (sqlite3.Error, OSError) as error:
            log.error("the sequence memory cannot be opened; trying again", file=str(self._path), why=str(error))

    async def close(self) -> None:
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    async def recognise(self, readings: Sequence[Reading]) -> None:
        """Give redelivered readings the time of their first receipt.

        A damaged file is replaced. After any other error it is tried again for two seconds; then readings are treated
        as new, and later ones do not wait until an attempt has succeeded.
        """
        doubtful = [reading for reading in readings if needs_memory(reading)]
        if not doubtful:
            return
        why = ""
        for again in reversed(range(self._tries)):
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._recognise, doubtful)
            except (sqlite3.Error, OSError) as error:
                why = str(error)
                log.warning("sequence numbers cannot be remembered; trying again", file=str(self._path), why=why)
                if again:
                    await asyncio.sleep(_RETRY_S)
            else:
                self._tries = _TRIES
                return
        self._tries = 1
        # Alarms of all equipment wait for this: a sample that counts twice does less harm.
        log.error(
            "sequence numbers cannot be remembered: a redelivery may count twice",
            file=str(self._path), readings=len(doubtful), why=why,
        )  # fmt: skip

    def _opened(self) -> sqlite3.Connection:
        """The connection; a damaged file is replaced by a new one. Raises sqlite3.Error, OSError."""
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._connection = self._connect()
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                keep_aside(self._path, str(error))
                self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(_SCHEMA)
            connection.execute("CREATE INDEX IF NOT EXISTS seen_age ON seen (received_at)")
            connection.execute("CREATE INDEX IF NOT EXISTS seen_topic ON seen (topic, seq)")
        except BaseException:
            connection.close()
            raise
        return connection

    def _recognise(self, readings: list[Reading]) -> None:
        try:
            self._place(self._opened(), readings)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            if self._connection is not None:
                with contextlib.suppress(sqlite3.Error):  # a damaged file may not even close properly
                    self._connection.close()
                self._connection = None
                keep_aside(self._path, str(error))
            self._place(self._opened(), readings)

    @staticmethod
    def _place(memory: sqlite3.Connection, readings: list[Reading]) -> None:
        with memory as connection:
            newest = max(reading.received_at for reading in readings)
            oldest = newest - REMEMBERED_MS
            # Twice as many as may arrive, so that the table never grows; not all at once: alarms wait for this.
            connection.execute(_FORGET_OLD, (oldest, _FORGOTTEN_AT_ONCE + 2 * len(readings)))
            for reading in readings:
                device = _device_of(reading.topic)
                if reading.seq is not None and reading.seq <= _FIRST_NUMBERS and not reading.redelivered:
                    connection.execute(_FORGET, (device, _FIRST_NUMBERS))
                sample = _encode((str(reading.topic), reading.seq, reading.fields))
                row = (sample, reading.received_at, reading.key, device, reading.seq)
                connection.execute(_REMEMBER, (*row, oldest))
                first = connection.execute("SELECT received_at, key FROM seen WHERE sample = ?", (sample,)).fetchone()
                place_in_time(reading, *first)
