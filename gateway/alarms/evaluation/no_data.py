"""How long an equipment may be silent, by its rule and its own interval. Pure; times are of receipt, in epoch ms.

The interval is the longest recent time between two messages: it grows at once and shrinks by a tenth at each check. A
silence that raised an alarm does not change it.
"""

import math
from typing import Final

from gateway.alarms.rules.rule import Memory, Rule

_DAY_MS: Final = 86_400_000
"""Equipment whose interval is unknown has a day to send its second message."""
_SHRINKING: Final = 0.9


class Silence:
    """Reporting interval and silence of one equipment on one channel."""

    __slots__ = ("due_at", "interval", "last_received_at", "longest", "online", "rule", "silent")

    def __init__(self, rule: Rule, memory: Memory) -> None:
        self.rule = rule
        self.interval = memory.interval
        self.last_received_at = 0
        # The longest gap since the last check; minus infinity where the next message must be evaluated.
        self.longest = -math.inf
        # After a start the reason of an active alarm is unknown: silent if it has an interval, else offline.
        self.silent = memory.active and bool(memory.interval)
        self.online = not memory.active or self.silent
        self.due_at = 0

    @property
    def is_breached(self) -> bool:
        """One alarm for both: its last will reports it offline, or it has been silent for too long."""
        return self.silent or not self.online

    @property
    def limit(self) -> int:
        """How long it may be silent, in ms."""
        if not self.rule.times:
            return self.rule.after
        return max(self.rule.after, round(self.rule.times * self.interval) if self.interval else _DAY_MS)

    def receive(self, received_at: int) -> bool:
        """Take a message into account. Returns whether the next check must be rescheduled."""
        gap = received_at - self.last_received_at
        is_first, was_silent = not self.last_received_at, self.silent
        self.last_received_at = received_at
        self.silent = False
        self.longest = 0 if is_first or was_silent else max(gap, 0)
        learns = not self.interval and self.longest > 0
        if learns:
            self.interval = round(self.longest)
        if is_first or was_silent or learns:
            self.due_at = received_at + self.limit
            return True
        return False

    def check(self, now: int, listening_since: int) -> None:
        """Check whether it has been silent for too long, and when to check again.

        Args:
            now: epoch ms.
            listening_since: since when this service receives messages; earlier silence does not count.
        """
        if self.longest > 0:
            self.interval = round(max(self.longest, _SHRINKING * self.interval))
            self.longest = 0
        since = max(self.last_received_at, listening_since)
        self.silent = now - since >= self.limit
        if self.silent:
            self.longest = -math.inf
        self.due_at = since + self.limit

    def clock_was_set(self, by: int) -> None:
        """Shift times after a step of `by` ms: the step is not silence."""
        self.last_received_at += by if self.last_received_at else 0
        self.due_at += by if self.due_at else 0

    def noted(self, memory: Memory) -> int:
        """The interval to store: a new one only if it has doubled or halved, to limit writes."""
        is_near = memory.interval / 2 < self.interval < memory.interval * 2
        return memory.interval if is_near else self.interval
