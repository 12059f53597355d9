"""Whether this machine's clock can be believed: what the kernel says of it, whether it jumps, what others' clocks say.

Rules judge by time of measurement, and what comes "too late" changes no alarm: a wrong clock makes a deaf watchman.
Where something cannot be known nothing is said.
"""

import ctypes
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final

from collectors.wire.reading import Quality, Reading, Value
from gateway.clocks import Clock
from gateway.storage.database import Database
from gateway.storage.leadership.lease import shared_clock

_STA_UNSYNC: Final = 0x40
"""adjtimex(2): nobody keeps the clock, or nobody has for so long that its error may be above 16 s."""
_JUMP_S: Final = 2.0
_FEWEST_DEVICES: Final = 10
"""Below that it may be the devices: they share an installer, or a gateway."""
_MOST_DEVICES: Final = 5_000
_COMPARED_AT_ONCE: Final = 20
"""Readings of a batch: enough to hear of every device within minutes, and few enough to cost nothing."""
_COMPARED_FOR_S: Final = 300.0
_UNDATED: Final = int(Quality.NO_TIME | Quality.RETAINED)


class _Timex(ctypes.Structure):
    """The beginning of `struct timex`, and room for the rest of it."""

    _fields_ = (
        ("modes", ctypes.c_int),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def kernel_says_synchronised() -> bool | None:
    """Whether some program keeps the clock by a time server; None where the kernel does not say.

    Asking changes nothing and needs no rights. In a container it is the host's clock, and the host's answer.
    """
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    asked = _Timex()
    return None if adjtimex(ctypes.byref(asked)) == -1 else not asked.status & _STA_UNSYNC


def _boot_s() -> float:
    """Seconds that nobody sets; a machine that sleeps and wakes with the right time has not jumped."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class OwnClock:
    """Looks at the clock from all sides."""

    def __init__(
        self,
        wall: Clock,
        steady: Callable[[], float] = _boot_s,
        kernel: Callable[[], bool | None] = kernel_says_synchronised,
    ) -> None:
        """Compare `wall` (epoch ms) with a clock that nobody sets (`steady`, s); `kernel` says whether it is kept."""
        self._wall = wall
        self._steady = steady
        self._kernel = kernel
        self._apart_ms = self._apart()
        self._heard: dict[tuple[str, str], tuple[float, int]] = {}

    def note(self, readings: Sequence[Reading]) -> None:
        """Compare the clocks of some of the devices that have just spoken."""
        now = self._steady()
        for reading in readings[:_COMPARED_AT_ONCE]:
            who = (reading.topic.site, reading.topic.equipment)
            is_news = not (reading.quality & _UNDATED or reading.redelivered)
            if is_news and (who in self._heard or len(self._heard) < _MOST_DEVICES):
                self._heard[who] = (now, reading.measured_at - reading.received_at)

    def findings(self) -> dict[str, Value]:
        """What can be known now."""
        found: dict[str, Value] = {"clock_jumped": self._has_jumped()}
        kept = self._kernel()
        if kept is not None:
            found["clock_synchronised"] = kept
        apart = self._apart_from_devices()
        if apart is not None:
            found["devices_clock_apart"] = apart
        return found

    async def apart_from(self, database: Database) -> dict[str, Value]:
        """Seconds between our clock and PostgreSQL's beyond what asking has taken; nothing for a file of our own."""
        if database.is_sqlite:
            return {}
        before = self._wall()
        theirs = await shared_clock(database, self._wall)
        after = self._wall()
        return {"database_clock_apart": round(max(before - theirs, theirs - after, 0) / 1000, 1)}

    def _apart(self) -> float:
        return self._wall() - 1000 * self._steady()

    def _has_jumped(self) -> bool:
        before, self._apart_ms = self._apart_ms, self._apart()
        return abs(self._apart_ms - before) > 1000 * _JUMP_S

    def _apart_from_devices(self) -> float | None:
        """Seconds, the median of those heard lately: one wrong device says nothing of us, most of them do."""
        oldest = self._steady() - _COMPARED_FOR_S
        self._heard = {who: entry for who, entry in self._heard.items() if entry[0] >= oldest}
        if len(self._heard) < _FEWEST_DEVICES:
            return None
        return round(abs(statistics.median(ahead for _, ahead in self._heard.values())) / 1000, 1)
