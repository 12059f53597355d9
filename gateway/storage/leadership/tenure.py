"""How long this process holds the lease, by its own clock, which also runs while the machine is suspended.

A process that was stopped or has lost its network cannot be notified that its lease has expired. It computes this
itself: a lease counts from before its request, so it expires here no later than in the database.
"""

from collections.abc import Callable

from gateway.clocks import steady_s
from gateway.storage.leadership.lease import LIFETIME_MS

_LIFETIME_S = LIFETIME_MS / 1000


class Tenure:
    """The lease as its holder sees it; expired until it is taken."""

    def __init__(self, *, ends: bool = True, clock: Callable[[], float] = steady_s) -> None:
        """Begin without a lease.

        Args:
            ends: whether the lease expires when it is not renewed; on SQLite the folder's lock is the lease.
            clock: seconds; monotonic, also runs while the machine is suspended.
        """
        self._ends = ends
        self._clock = clock
        self._until = 0.0

    def now(self) -> float:
        """When a lease that is requested now begins, in seconds."""
        return self._clock()

    def hold(self, since: float) -> None:
        """The lease was taken or renewed; it was requested at `since`, a value of `now`."""
        self._until = since + _LIFETIME_S

    @property
    def is_over(self) -> bool:
        """Whether another process may be the leader by now, so that nothing may be decided here."""
        return self._ends and self._clock() >= self._until
