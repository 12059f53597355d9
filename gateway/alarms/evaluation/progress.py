"""Progress of judging: the clock ends no delay while received messages are not judged yet. Pure.

A pending delay is ended by a sample, by its time of measurement, or by the clock if no sample arrives. While messages
wait, here or at the broker, it is not known that none arrives: a tick ahead of them would raise an alarm that the next
message disproves, and the same messages would give different alarms on a busy machine.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

_LATE_MS: Final = 1_000
"""A message that has waited longer than this means that we are behind."""
_HELD_UP_MS: Final = 3_000
"""Longer than this between two ticks, this process was blocked: nothing was read meanwhile."""
_CALM_MS: Final = 2_000
"""How long it counts as behind after the last sign: the broker may still hold back messages."""


class Progress(NamedTuple):
    """What has been judged at a point in time."""

    until: int
    """Everything received before this time (epoch ms) is judged."""
    is_behind: bool
    """Whether older messages wait, or may wait."""


ProgressOf = Callable[[int], Progress]
"""Now, in epoch ms -> progress of judging."""


def keeping_up(now: int) -> Progress:
    """Everything is judged as it arrives."""
    return Progress(now, is_behind=False)


class Backlog:
    """Checks for waiting messages, once a tick."""

    def __init__(self, oldest_ms: Callable[[], int], is_connected: Callable[[], bool]) -> None:
        """Observe one source of messages.

        Args:
            oldest_ms: when the oldest message not judged yet was received, in epoch ms; 0: there is none.
            is_connected: whether messages can arrive at all.
        """
        self._oldest_ms = oldest_ms
        self._is_connected = is_connected
        self._looked_at = 0
        self._behind_at = 0

    def look(self, now: int) -> Progress:
        """Progress of judging at a time in epoch ms."""
        oldest = self._oldest_ms() or now
        held_up = now - self._looked_at > _HELD_UP_MS
        self._looked_at = now
        if held_up or now - oldest > _LATE_MS or not self._is_connected():
            self._behind_at = now
        return Progress(min(now, oldest), is_behind=now - self._behind_at <= _CALM_MS)
