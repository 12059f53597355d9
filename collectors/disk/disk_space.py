"""Monitors the disk of the data folder, so that a full disk stops history and never an alarm.

    free space    > 3 reserves   everything is written
                  < 2 reserves   history pauses; readings are spooled and acknowledged from there
                  none left      alarms use the reserve `reserve.alarms`, the spool uses `reserve.readings`

Limits and decisions are in `disk_states`. Space that was released for alarms is left to them: readings are not written
into it. When there is space again, the reserves are restored and history continues.
"""

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from collectors.disk.disk_states import (
    READINGS_SHARE,
    DiskState,
    Found,
    Limits,
    decide,
    limits_of,
    missing_of_reserve,
)
from collectors.disk.reserve import Reserve

log = structlog.get_logger(__name__)

LOOK_S: Final = 1.0
_MEGABYTE: Final = 1024 * 1024
_ADVICE: Final = (
    "Free space on the disk of {folder}: move backups and old logs to another disk, and see with "
    "`du -xh {folder} | sort -h | tail` what takes the most. Never delete *.db, *.db-wal or *.spool."
)


class Space(NamedTuple):
    """Bytes of a disk: free, and in total."""

    free: int
    size: int


def measure(folder: Path) -> Space:
    """Raises OSError if the disk does not respond."""
    disk = os.statvfs(folder)
    return Space(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)


class DiskSpace:
    """The disk of one data folder. Its methods block for milliseconds; any thread may call them."""

    def __init__(self, folder: Path, reserve_bytes: int, measure: Callable[[Path], Space] = measure) -> None:
        self._folder = folder
        self._wanted = reserve_bytes
        self._measure = measure
        self._alarms = Reserve(folder / "reserve.alarms")
        self._readings = Reserve(folder / "reserve.readings")
        self._limits = Limits(0, 0, 0, 0)
        self._lock = threading.Lock()
        self.state = DiskState.NORMAL
        self._free = 0
        self._released_for_readings = 0
        """Bytes of the reserve for readings that were released and are not written yet."""

    def open(self) -> None:
        """Allocate the reserves, or release what the start needs. Never raises."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._look(self._restore, partial(self._act, database_full=False))  # a new folder has no reserve yet

    def look(self) -> None:
        """Measure free space and act on it. Never raises: the next call tries again."""
        self._look(partial(self._act, database_full=False), self._restore)

    def _look(self, *steps: Callable[[], None]) -> None:
        with self._lock:
            try:
                for step in steps:
                    step()
            except OSError as error:
                log.error("the disk of the data folder does not respond", folder=str(self._folder), why=str(error))

    # -- for alarms ------------------------------------------------------------------------------------

    def make_room(self, *, surely: bool = True) -> bool:
        """Release reserve for the database after a write failed for lack of space; return whether to retry at once.

        Args:
            surely: False for an error that may have other causes than a full disk; then free space is measured.
        """
        with self._lock:
            try:
                if not surely and self._found(database_full=False).free >= self._limits.floor:
                    return False
                self._act(database_full=True)
            except OSError as error:
                log.error("the reserve for alarms cannot be released", folder=str(self._folder), why=str(error))
                return False
            return self.state is DiskState.FREE_RESERVE

    @property
    def reserve_in_use(self) -> bool:
        """Whether the reserve for alarms is incomplete."""
        try:
            return self._alarms.left < self._limits.reserve
        except OSError:
            return True

    # -- for history -----------------------------------------------------------------------------------

    @property
    def history_stopped(self) -> bool:
        """Whether writing of history is stopped; measured on each call, because history can grow quickly."""
        with self._lock:
            try:
                self._decide(database_full=False)
            except OSError:
                return True
        return self.state is not DiskState.NORMAL

    def take_room_for_readings(self, size: int) -> bool:
        """Whether `size` bytes of readings may be written outside the space that was released for alarms."""
        with self._lock:
            try:
                free, for_alarms = self._measure(self._folder).free, self._limits.reserve - self._alarms.left
            except OSError:
                return False
            if free - size >= for_alarms:
                return True
            if self._released_for_readings < size:
                return False
            self._released_for_readings -= size
            return True

    def make_room_for_readings(self) -> bool:
        """Release a chunk of the reserve for readings; return whether there was any."""
        with self._lock:
            try:
                left = self._readings.left
                self._readings.shrink(left - self._limits.chunk // READINGS_SHARE)
                released = left - self._readings.left
            except OSError as error:
                log.error("the reserve for readings cannot be released", folder=str(self._folder), why=str(error))
                return False
            self._released_for_readings += released
        if released:
            log.warning("the disk is full: the spool uses a chunk of its reserve", bytes=released)
        return released > 0

    # -- for operators ---------------------------------------------------------------------------------

    @property
    def trouble(self) -> str:
        """The problem and its remedy, "" while there is space."""
        if self.state is DiskState.NORMAL:
            return ""
        free = f"{self._free // _MEGABYTE} MB are free"
        advice = _ADVICE.format(folder=self._folder)
        if self.state is DiskState.EXHAUSTED:
            return f"the disk is full and the reserve for alarms is used up ({free}): alarms may stop. {advice}"
        if self.reserve_in_use:
            return f"the disk is full, alarms are using their reserve ({free}), history is stopped. {advice}"
        return f"the disk is almost full ({free}): history is stopped, alarms continue. {advice}"

    # -- inside ----------------------------------------------------------------------------------------

    def _found(self, *, database_full: bool) -> Found:
        space = self._measure(self._folder)
        self._limits, self._free = limits_of(self._wanted, space.size), space.free
        return Found(space.free, self._alarms.left, database_full, self.state is not DiskState.NORMAL)

    def _decide(self, *, database_full: bool) -> Found:
        found = self._found(database_full=database_full)
        before, self.state = self.state, decide(found, self._limits)
        if (before is DiskState.NORMAL) is not (self.state is DiskState.NORMAL):
            if self.trouble:
                log.error("history is stopped", why=self.trouble)
            else:
                log.info("there is space on the disk again: history continues", bytes=found.free)
        return found

    def _act(self, *, database_full: bool) -> None:
        found = self._decide(database_full=database_full)
        if self.state is DiskState.FREE_RESERVE:
            self._alarms.shrink(found.reserve_left - self._limits.chunk)
            log.error(
                "the disk is full: a chunk of the reserve for alarms is released",
                bytes=min(found.reserve_left, self._limits.chunk), left=self._alarms.left,
            )  # fmt: skip

    def _restore(self) -> None:
        """Restore the reserves to full size, if there is space."""
        if self.state is DiskState.FREE_RESERVE:
            return
        found, limits = self._found(database_full=False), self._limits
        if found.reserve_left > limits.reserve:
            self._alarms.shrink(limits.reserve)
        elif missing_of_reserve(found, limits):
            self._alarms.enlarge(limits.reserve)
            log.info("the reserve for alarms is complete", bytes=limits.reserve)
        wanted = limits.reserve // READINGS_SHARE
        if self._readings.left < wanted and self._measure(self._folder).free >= limits.resume_above:
            self._readings.enlarge(wanted)
            self._released_for_readings = 0
        self._decide(database_full=False)
