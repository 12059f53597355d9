"""How long an equipment may be silent: by its rule, and by its own habit. Pure; all times are of receipt, in epoch ms.

Its own interval is the longest time between two messages that was seen lately: it grows at once and shrinks by a tenth
at each check. A silence that was told of teaches nothing.
"""

import math
from typing import Final

from gateway.alarms.rules.rule import Memory, Rule

_DAY_MS: Final = 86_400_000
"""An equipment whose interval nobody knows is given a day to send its second message."""
_SHRINKING: Final = 0.9


class Silence:
    """What is known of one equipment's habit to speak on one channel."""

    __slots__ = ("due_at", "heard_at", "interval", "longest", "online", "rule", "silent")

    def __init__(self, rule: Rule, memory: Memory) -> None:
        self.rule = rule
        self.interval = memory.interval
        self.heard_at = 0
        # The longest gap since the last check; below every gap where the next message has to be looked at.
        self.longest = -math.inf
        # After a start nobody knows why the alarm stands: who used to speak is silent, who never did is offline.
        self.silent = memory.active and bool(memory.interval)
        self.online = not memory.active or self.silent
        self.due_at = 0

    @property
    def is_breached(self) -> bool:
        """One alarm for both: its last will says that it is gone, or it is silent for too long."""
        return self.silent or not self.online

    @property
    def limit(self) -> int:
        """How long it may be silent, in ms."""
        if not self.rule.times:
            return self.rule.after
        return max(self.rule.after, round(self.rule.times * self.interval) if self.interval else _DAY_MS)

    def hear(self, received_at: int) -> bool:
        """Take a message into account; whether the next check has to be set anew."""
        gap = received_at - self.heard_at
        is_first, was_silent = not self.heard_at, self.silent
        self.heard_at = received_at
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
        """Look whether it has been silent for too long, and when to look again.

        Args:
            now: epoch ms.
            listening_since: since when this service hears: nobody is silent because we were deaf.
        """
        if self.longest > 0:
            self.interval = round(max(self.longest, _SHRINKING * self.interval))
            self.longest = 0
        since = max(self.heard_at, listening_since)
        self.silent = now - since >= self.limit
        if self.silent:
            self.longest = -math.inf
        self.due_at = since + self.limit

    def clock_was_set(self, by: int) -> None:
        """Go on by a clock that shows `by` ms more: no silence has passed with that."""
        self.heard_at += by if self.heard_at else 0
        self.due_at += by if self.due_at else 0

    def noted(self, memory: Memory) -> int:
        """The interval to keep: a new one only where it has doubled or halved, so that little is written."""
        is_near = memory.interval / 2 < self.interval < memory.interval * 2
        return memory.interval if is_near else self.interval
