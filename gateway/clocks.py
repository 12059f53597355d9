"""The service's clock: the wall clock, or that of the data in tests and studies.

The lease, logins and retries always use the wall clock. Decisions and records use the service's clock; see
`docs/decisions/0013-a-clock-that-follows-the-data.md`.
"""

import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias

Clock: TypeAlias = Callable[[], int]
"""Now, in epoch milliseconds."""


_LEAST_STEP_MS: Final = 1_000
"""Time synchronisation corrects a nearly right clock by far smaller steps."""


class ClockName(StrEnum):
    """Which clock a service runs on."""

    WALL = "wall"
    DATA = "data"


class FolderOfOtherClock(Exception):
    """The data folder holds times of the other clock; the text says what to do."""


def wall_ms() -> int:
    """The wall's time in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def steady_s() -> float:
    """Seconds of a monotonic clock that includes suspend."""
    return steady_ms() / 1000


def steady_ms() -> int:
    """Milliseconds of a monotonic clock that includes suspend."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class ClockSteps:
    """Steps of a clock, found by comparison with a monotonic clock."""

    def __init__(self, clock: Clock = wall_ms, steady: Clock = steady_ms) -> None:
        self._clock = clock
        self._steady = steady
        self._apart = clock() - steady()

    def __call__(self) -> int:
        """Milliseconds by which it was set since the last call; 0 for less than a second."""
        step = self._clock() - self._steady() - self._apart
        if abs(step) < _LEAST_STEP_MS:
            return 0
        self._apart += step
        return step


class DataClock:
    """The newest time of measurement in the data; stops while no data arrive, and never goes back.

    It is 1970 before the first data.
    """

    def __init__(self) -> None:
        self._newest_ms = 0

    def __call__(self) -> int:
        return self._newest_ms

    def see(self, measured_at: int) -> None:
        """Advance to a time of measurement."""
        self._newest_ms = max(self._newest_ms, measured_at)


def steps_of(clock: Clock) -> Clock:
    """A function that returns the steps of this clock; the data's clock has none."""
    return (lambda: 0) if isinstance(clock, DataClock) else ClockSteps(clock)


def name_of(clock: Clock) -> ClockName:
    """The name of a clock."""
    return ClockName.DATA if isinstance(clock, DataClock) else ClockName.WALL


def claim_folder(folder: Path, name: ClockName) -> None:
    """Keep times of one clock in one folder: a record with both would be useless.

    Raises:
        FolderOfOtherClock: the folder was used with the other one.
    """
    mark = folder / "clock"
    used = ClockName.DATA if mark.exists() else ClockName.WALL if (folder / "gengfu.db").exists() else name
    if used is not name:
        raise FolderOfOtherClock(
            f"{folder.resolve()} holds times of the {used} clock, and this service would run on the {name} clock; "
            "choose another folder (--data-dir)"
        )
    if name is ClockName.DATA:
        mark.write_text(f"{name}\n", encoding="ascii")
