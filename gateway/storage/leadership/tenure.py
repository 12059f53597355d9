"""Until when a process owns the alarms by its own clock, which also runs while the machine sleeps.

A process that was stopped, or whose network is gone, cannot be told that its lease is over. It knows by itself: a lease
counts from before it was asked for, so it is over here no later than at the database.
"""

from collections.abc import Callable

from gateway.clocks import steady_s
from gateway.storage.leadership.lease import LIFETIME_MS

_LIFETIME_S = LIFETIME_MS / 1000


class Tenure:
    """The lease as its holder sees it; over from the start, until it is taken."""

    def __init__(self, *, ends: bool = True, clock: Callable[[], float] = steady_s) -> None:
        """Begin without a lease.

        Args:
            ends: whether the lease is over when it is not renewed; on SQLite the folder's lock is the lease.
            clock: seconds, never set, never standing still.
        """
        self._ends = ends
        self._clock = clock
        self._until = 0.0

    def now(self) -> float:
        """When a lease that is asked for now begins, in seconds."""
        return self._clock()

    def hold(self, since: float) -> None:
        """The lease was taken or renewed; it was asked for at `since`, a moment of `now`."""
        self._until = since + _LIFETIME_S

    @property
    def is_over(self) -> bool:
        """Whether another process may own the alarms by now, so that nothing may be done in their name."""
        return self._ends and self._clock() >= self._until
