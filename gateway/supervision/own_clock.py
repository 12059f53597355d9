"""Whether this machine's clock is right: the kernel's synchronisation state, jumps, and the clocks of other machines.

Rules evaluate by time of measurement, and a late sample changes no alarm: with a wrong clock alarms are missed. An
unknown value is left out.
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
"""adjtimex(2): the clock is not synchronised, or not for so long that its error may exceed 16 s."""
_JUMP_S: Final = 2.0
_FEWEST_DEVICES: Final = 10
"""With fewer the devices may be wrong: they share an installer or a gateway."""
_MOST_DEVICES: Final = 5_000
_COMPARED_AT_ONCE: Final = 20
"""Readings of a batch: enough to cover every device within minutes, at negligible cost."""
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
    """Whether a program synchronises the clock with a time server; None if the kernel does not report it.

    The query changes nothing and needs no privileges. In a container it reports the host's clock.
    """
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    state = _Timex()
    return None if adjtimex(ctypes.byref(state)) == -1 else not state.status & _STA_UNSYNC


def _boot_s() -> float:
    """Seconds of a monotonic clock that includes suspend: waking with the right time is no jump."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class OwnClock:
    """Checks the clock against the kernel, a monotonic clock and other machines."""

    def __init__(
        self,
        wall: Clock,
        steady: Callable[[], float] = _boot_s,
        kernel: Callable[[], bool | None] = kernel_says_synchronised,
    ) -> None:
        """Compare `wall` (epoch ms) with a monotonic clock (`steady`, s); `kernel` reports synchronisation."""
        self._wall = wall
        self._steady = steady
        self._kernel = kernel
        self._apart_ms = self._apart()
        self._recent: dict[tuple[str, str], tuple[float, int]] = {}

    def note(self, readings: Sequence[Reading]) -> None:
        """Compare the clocks of some of the devices that have just reported."""
        now = self._steady()
        for reading in readings[:_COMPARED_AT_ONCE]:
            who = (reading.topic.site, reading.topic.equipment)
            is_news = not (reading.quality & _UNDATED or reading.redelivered)
            if is_news and (who in self._recent or len(self._recent) < _MOST_DEVICES):
                self._recent[who] = (now, reading.measured_at - reading.received_at)

    def findings(self) -> dict[str, Value]:
        """The fields that are known now."""
        found: dict[str, Value] = {"clock_jumped": self._has_jumped()}
        kept = self._kernel()
        if kept is not None:
            found["clock_synchronised"] = kept
        apart = self._apart_from_devices()
        if apart is not None:
            found["devices_clock_apart"] = apart
        return found

    async def apart_from(self, database: Database) -> dict[str, Value]:
        """Seconds between our clock and PostgreSQL's, beyond the query's duration; empty for SQLite."""
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
        """Seconds, the median of recent reports: one wrong device proves nothing, a majority does."""
        oldest = self._steady() - _COMPARED_FOR_S
        self._recent = {who: entry for who, entry in self._recent.items() if entry[0] >= oldest}
        if len(self._recent) < _FEWEST_DEVICES:
            return None
        return round(abs(statistics.median(ahead for _, ahead in self._recent.values())) / 1000, 1)
