"""How far judging has come: the clock ends no delay on account of what has arrived and is not judged yet. Pure.

A delay that waits is ended by a sample, by its time of measurement, or by the clock where no sample comes. While
messages wait, here or at the broker, nobody knows yet that none comes: a tick that ran ahead of them would raise an
alarm that the next message disproves, and the same messages would give other alarms on a busy machine.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

_LATE_MS: Final = 1_000
"""A message that has waited for so long says that we are behind."""
_HELD_UP_MS: Final = 3_000
"""So long without a look at it, and this process was held up: nothing was read meanwhile."""
_CALM_MS: Final = 2_000
"""After the last sign of it: the broker may still have messages that were held back."""


class Progress(NamedTuple):
    """What has been judged at a moment."""

    until: int
    """All that was received before this time (epoch ms) is judged."""
    is_behind: bool
    """Whether more is waiting, or may be, than came just now."""


Asked = Callable[[int], Progress]
"""Now, in epoch ms -> how far judging has come."""


def keeping_up(now: int) -> Progress:
    """Where everything is judged as it comes."""
    return Progress(now, is_behind=False)


class Backlog:
    """Looks at what waits, once a tick."""

    def __init__(self, oldest_ms: Callable[[], int], is_connected: Callable[[], bool]) -> None:
        """RuleInstance a way of messages.

        Args:
            oldest_ms: when the oldest message was received that is not judged yet, in epoch ms; 0: none is.
            is_connected: whether messages can come at all.
        """
        self._oldest_ms = oldest_ms
        self._is_connected = is_connected
        self._looked_at = 0
        self._behind_at = 0

    def look(self, now: int) -> Progress:
        """How far judging has come, at a time in epoch ms."""
        oldest = self._oldest_ms() or now
        held_up = now - self._looked_at > _HELD_UP_MS
        self._looked_at = now
        if held_up or now - oldest > _LATE_MS or not self._is_connected():
            self._behind_at = now
        return Progress(min(now, oldest), is_behind=now - self._behind_at <= _CALM_MS)
