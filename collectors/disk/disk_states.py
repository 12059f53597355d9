"""What a disk that fills up means: which writing stops first, and when the reserve is released. A pure decision."""

from enum import StrEnum
from typing import Final, NamedTuple

_SHARE: Final = 16
"""On a small disk the reserve is at most this part of the whole."""
_STOP: Final = 2
_RESUME: Final = 3
"""Reserves' worth of free space; the gap between the two keeps history from stopping and starting in turns."""
_FLOOR: Final = 16
READINGS_SHARE: Final = 4
"""The reserve for readings is this part of the one for alarms."""
PORTIONS: Final = 4
"""The reserve is released in so many portions: another program that writes on takes one of them, not all."""


class DiskState(StrEnum):
    """What is to be done."""

    NORMAL = "normal"
    STOP_HISTORY = "stop_history"
    """History, rollups and most of the quarantine pause; alarms and readings that wait go on."""
    FREE_RESERVE = "free_reserve"
    """Release a portion of the reserve, then try again at once."""
    EXHAUSTED = "exhausted"
    """Nothing is left to release: only people can help."""


class Limits(NamedTuple):
    """Bytes."""

    reserve: int
    stop_below: int
    resume_above: int
    floor: int

    @property
    def portion(self) -> int:
        """What is released at a time."""
        return -(-self.reserve // PORTIONS)


class Found(NamedTuple):
    """How a disk is found, in bytes; whether the database was just refused room, and whether history is stopped."""

    free: int
    reserve_left: int
    database_full: bool = False
    is_stopped: bool = False


def limits_of(reserve: int, disk: int) -> Limits:
    """The limits for a reserve of so many bytes on a disk of so many."""
    kept = min(reserve, disk // _SHARE)
    return Limits(kept, _STOP * kept, _RESUME * kept, kept // _FLOOR)


def decide(found: Found, limits: Limits) -> DiskState:
    """What is to be done about a disk.

    When space is short but the database has not been refused any, only the first portion is released: the others are
    kept for the moment at which an alarm needs them.
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
    """Bytes by which the reserve can be enlarged now, all that is missing or nothing."""
    missing = limits.reserve - found.reserve_left
    return missing if missing > 0 and found.free >= missing + limits.resume_above else 0
