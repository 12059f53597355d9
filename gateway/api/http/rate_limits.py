"""How many requests one login, or one address without a login, may make. Pure; times are seconds."""

from typing import Final

import msgspec

_MOST_KEPT: Final = 20_000


class Pace(msgspec.Struct, frozen=True):
    """`burst` requests at once, then `per_second`."""

    burst: float
    per_second: float


class Paces(msgspec.Struct, frozen=True):
    """For callers with a login, and for addresses without one."""

    login: Pace
    address: Pace


PACES: Final = Paces(login=Pace(300, 30), address=Pace(150, 15))
"""A page sends a few requests a second at most; a whole site may share one address."""


class RateLimits:
    """Leaky buckets by name."""

    def __init__(self) -> None:
        self._filled: dict[str, tuple[float, float]] = {}
        """Name -> requests in the bucket, and when that was."""

    def wait(self, name: str, pace: Pace, now: float) -> float:
        """Count a request. Returns 0, or the seconds to wait until the next one is accepted; then it is not counted."""
        count, at = self._filled.pop(name, (0.0, now))
        left = max(0.0, count - max(0.0, now - at) * pace.per_second)
        over = left + 1 - pace.burst
        self._filled[name] = (left if over > 0 else left + 1, now)
        if len(self._filled) > _MOST_KEPT:
            del self._filled[next(iter(self._filled))]
        return max(0.0, over / pace.per_second)
