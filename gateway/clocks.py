"""What time it is for the service: the wall's, or that of the data in tests and studies.

The wall's time is for what is agreed with the world outside: the lease, logins, retries. What is decided and recorded
goes by the service's clock; see `docs/decisions/0013-a-clock-that-follows-the-data.md`.
"""

import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias

Clock: TypeAlias = Callable[[], int]
"""Now, in epoch milliseconds."""


_LEAST_STEP_MS: Final = 1_000
"""Time servers move a clock that is nearly right by far less at once."""


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
    """Seconds by a clock that nobody sets, and that goes on while the machine sleeps."""
    return steady_ms() / 1000


def steady_ms() -> int:
    """Milliseconds by a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class ClockSteps:
    """By how much a clock is set, found by comparison with one that nobody sets."""

    def __init__(self, clock: Clock = wall_ms, steady: Clock = steady_ms) -> None:
        self._clock = clock
        self._steady = steady
        self._apart = clock() - steady()

    def __call__(self) -> int:
        """Milliseconds by which it was set since this was last asked; 0 where that is less than a second."""
        step = self._clock() - self._steady() - self._apart
        if abs(step) < _LEAST_STEP_MS:
            return 0
        self._apart += step
        return step


class DataClock:
    """The newest time of measurement in the data; stands still while nothing comes, and never goes back.

    Before the first data it is 1970.
    """

    def __init__(self) -> None:
        self._newest_ms = 0

    def __call__(self) -> int:
        return self._newest_ms

    def see(self, measured_at: int) -> None:
        """Something was measured then."""
        self._newest_ms = max(self._newest_ms, measured_at)


def steps_of(clock: Clock) -> Clock:
    """What says by how much this clock is set; that of the data is never set."""
    return (lambda: 0) if isinstance(clock, DataClock) else ClockSteps(clock)


def name_of(clock: Clock) -> ClockName:
    """Which one it is."""
    return ClockName.DATA if isinstance(clock, DataClock) else ClockName.WALL


def claim_folder(folder: Path, name: ClockName) -> None:
    """Keep times of one clock in one folder: a record with both could be believed by nobody.

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
