"""Remembers at what time a sample without a time first came, so that its second delivery is the same sample.

Only samples with `seq` and without `at` come here. The memory is one small SQLite file, written before the sample
goes any further. It forgets after an hour, and at once where a device counts from the beginning again, on whichever of
its channels. Events are not looked up in it, but for the taps of a guard's round: a number that came before says
nothing about a fire. Messages that come again come in their order, so what they say in the end is right all the same.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
import structlog

from collectors.fields import Channel, Kind
from collectors.payloads.samples import place_in_time
from collectors.reading import Quality, Reading
from collectors.topics import ROOT, Topic

log = structlog.get_logger(__name__)

_RETRY_S: Final = 0.5
_TRIES: Final = 4
REMEMBERED_MS: Final = 3600 * 1000
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS seen (sample BLOB PRIMARY KEY, received_at INTEGER NOT NULL, key INTEGER NOT NULL,"
    " topic TEXT NOT NULL, seq INTEGER NOT NULL)"
    " WITHOUT ROWID"
)
_FORGET: Final = "DELETE FROM seen WHERE topic = ?1 AND EXISTS (SELECT 1 FROM seen WHERE topic = ?1 AND seq > ?2)"
"""`topic` holds what the channels of a device have in common: it has one counter for all of them."""
_FIRST_NUMBERS: Final = 1
"""A counter begins at 0 or 1: after higher numbers, one of these says that the device has started again."""
_encode = msgspec.json.Encoder(order="deterministic").encode


_TAP_FIELDS: Final = frozenset({"tag", "checkpoint"})


def needs_memory(reading: Reading) -> bool:
    """Whether a second delivery of this reading is known by its sequence number, and by nothing else."""
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

    async def open(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open)

    async def close(self) -> None:
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    async def recognise(self, readings: Sequence[Reading]) -> None:
        """Give readings that came before the time at which they first came.

        A file in trouble is tried again for two seconds; after that readings go on as if they came for the first time.
        """
        doubtful = [reading for reading in readings if needs_memory(reading)]
        why = ""
        for _ in range(_TRIES if doubtful else 0):
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._recognise, doubtful)
            except sqlite3.Error as error:
                why = str(error)
                log.warning("sequence numbers cannot be remembered; trying again", file=str(self._path), why=why)
                await asyncio.sleep(_RETRY_S)
            else:
                return
        if doubtful:  # alarms of all equipment wait behind this: a sample that counts twice is the lesser evil
            log.error(
                "sequence numbers cannot be remembered: a second delivery may count twice",
                file=str(self._path), readings=len(doubtful), why=why,
            )  # fmt: skip

    def _open(self) -> None:
        """Open the file, or a new one in place of one that is damaged."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connect()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            aside = self._path.with_suffix(".damaged")
            self._path.replace(aside)
            log.error("the sequence memory is damaged and begins anew", old_file=str(aside), why=str(error))
            self._connect()

    def _connect(self) -> None:
        connection = sqlite3.connect(self._path, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(_SCHEMA)
        connection.execute("CREATE INDEX IF NOT EXISTS seen_age ON seen (received_at)")
        connection.execute("CREATE INDEX IF NOT EXISTS seen_topic ON seen (topic, seq)")
        self._connection = connection

    def _recognise(self, readings: list[Reading]) -> None:
        assert self._connection is not None  # noqa: S101 - opened before the first message
        with self._connection as connection:
            newest = max(reading.received_at for reading in readings)
            connection.execute("DELETE FROM seen WHERE received_at < ?", (newest - REMEMBERED_MS,))
            for reading in readings:
                device = _device_of(reading.topic)
                if reading.seq is not None and reading.seq <= _FIRST_NUMBERS and not reading.redelivered:
                    connection.execute(_FORGET, (device, _FIRST_NUMBERS))
                sample = _encode((str(reading.topic), reading.seq, reading.fields))
                row = (sample, reading.received_at, reading.key, device, reading.seq)
                connection.execute("INSERT OR IGNORE INTO seen VALUES (?,?,?,?,?)", row)
                first = connection.execute("SELECT received_at, key FROM seen WHERE sample = ?", (sample,)).fetchone()
                place_in_time(reading, *first)
