"""Decides what stops when a disk fills up, and when the reserve is released. Pure."""

from enum import StrEnum
from typing import Final, NamedTuple

_SHARE: Final = 16
"""On a small disk the reserve is at most this fraction (1/n) of the disk."""
_STOP: Final = 2
_RESUME: Final = 3
"""Free space in multiples of the reserve; the deadband between the two keeps history from toggling."""
_FLOOR: Final = 16
READINGS_SHARE: Final = 4
"""The reserve for readings is this fraction (1/n) of the one for alarms."""
RESERVE_CHUNKS: Final = 4
"""Number of chunks in which the reserve is released: another program that keeps writing takes one, not all."""


class DiskState(StrEnum):
    """The required action."""

    NORMAL = "normal"
    STOP_HISTORY = "stop_history"
    """History, rollups and most of the quarantine pause; alarms and the spool continue."""
    FREE_RESERVE = "free_reserve"
    """Release a chunk of the reserve, then try again at once."""
    EXHAUSTED = "exhausted"
    """The reserve is used up: an administrator must free space."""


class Limits(NamedTuple):
    """Bytes."""

    reserve: int
    stop_below: int
    resume_above: int
    floor: int

    @property
    def chunk(self) -> int:
        """Bytes that are released at a time."""
        return -(-self.reserve // RESERVE_CHUNKS)


class Found(NamedTuple):
    """State of a disk in bytes; whether the database has just run out of space, and whether history is stopped."""

    free: int
    reserve_left: int
    database_full: bool = False
    is_stopped: bool = False


def limits_of(reserve: int, disk: int) -> Limits:
    """The limits for a reserve of so many bytes on a disk of so many."""
    kept = min(reserve, disk // _SHARE)
    return Limits(kept, _STOP * kept, _RESUME * kept, kept // _FLOOR)


def decide(found: Found, limits: Limits) -> DiskState:
    """The required action for a disk.

    When space is short but the database has not run out of it, only the first chunk is released: the others are
    kept for alarms.
    """
    if found.database_full:
        return DiskState.FREE_RESERVE if found.reserve_left else DiskState.EXHAUSTED
    if found.free < limits.floor and found.reserve_left >= limits.reserve:
        return DiskState.FREE_RESERVE
    if found.free < limits.floor and not found.reserve_left:
        return DiskState.EXHAUSTED
    short = limits.resume_above if found.is_stopped else limits.stop_below
    if found.free < short or found.reserve_left < limits.reserve:
        return DiskState.STOP_HISTORY
    return DiskState.NORMAL


def missing_of_reserve(found: Found, limits: Limits) -> int:
    """Bytes by which the reserve can be enlarged now: all that is missing, or 0."""
    missing = limits.reserve - found.reserve_left
    return missing if missing > 0 and found.free >= missing + limits.resume_above else 0
