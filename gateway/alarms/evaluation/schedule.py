"""What the next ticks must check: pending delays, active counts, due times. Pure."""

import heapq
from collections.abc import Collection, Iterator
from typing import Final

from gateway.alarms.evaluation.channel_state import ChannelState, RuleInstance
from gateway.alarms.key import Key
from gateway.alarms.rules.rule import RuleType

_MOST_CHECKS: Final = 1_000
"""Timed checks in one tick, so that ten thousand devices that start together do not block the rest."""
BY_CLOCK: Final = frozenset({RuleType.COUNT, RuleType.NO_DATA, RuleType.ABSENCE})
"""Rule types whose state changes with time alone."""


class Schedule:
    """A tick checks only the entries of this schedule."""

    __slots__ = ("_due", "_numbered", "counting", "waiting")

    def __init__(self) -> None:
        # Channels with unsettled instances, and active counts.
        self.waiting: dict[ChannelState, None] = {}
        self.counting: dict[RuleInstance, ChannelState] = {}
        # (when, number, instance, channel) of timed checks.
        self._due: list[tuple[int, int, RuleInstance, ChannelState]] = []
        self._numbered = 0

    def unsettle(self, channel_state: ChannelState, key: Key) -> None:
        """Mark an instance whose state may differ from the newest sample: it is evaluated again."""
        channel_state.unsettled.add(key)
        self.waiting[channel_state] = None

    def note(self, channel_state: ChannelState, instance: RuleInstance) -> None:
        """Schedule an instance whose state changes with time alone."""
        if instance.rule.type is RuleType.COUNT:
            self.counting[instance] = channel_state
        elif instance.rule.type is RuleType.ABSENCE and not instance.reminded:
            instance.reminded = True
            self.remind(channel_state, instance, (instance.seen_at or 0) + instance.rule.after)

    def remind(self, channel_state: ChannelState, instance: RuleInstance, due: int) -> None:
        """Check an instance at a time, epoch ms."""
        self._numbered += 1
        heapq.heappush(self._due, (due, self._numbered, instance, channel_state))

    def due(self, now: int) -> Iterator[tuple[int, RuleInstance, ChannelState]]:
        """Remove and yield the due checks with their due times, at most `_MOST_CHECKS` in a tick."""
        for _ in range(_MOST_CHECKS):
            if not self._due or self._due[0][0] > now:
                return
            due, _, instance, channel_state = heapq.heappop(self._due)
            yield due, instance, channel_state

    def next_due(self, now: int) -> int | None:
        """When something may change by the clock alone, None while nothing is pending."""
        due = [self._due[0][0]] if self._due else []
        if self.counting:
            due.append(max(now, min(instance.counted_until for instance in self.counting)))
        for channel_state in self.waiting:
            due += [moment for key in channel_state.unsettled for moment in channel_state.instances[key].waits_until()]
        return min(due, default=None)

    def forget(self, channel_states: Collection[ChannelState]) -> None:
        """Drop all checks of these channels."""
        gone = set(channel_states)
        for channel_state in gone:
            self.waiting.pop(channel_state, None)
        self.counting = {
            instance: channel_state for instance, channel_state in self.counting.items() if channel_state not in gone
        }
        self._due = [entry for entry in self._due if entry[3] not in gone]
        heapq.heapify(self._due)

    def clock_was_set(self, by: int) -> None:
        """Shift the due times after a step of `by` ms."""
        self._due = [(due + by, number, instance, channel_state) for due, number, instance, channel_state in self._due]

    def remove(self, channel_state: ChannelState, instances: Collection[RuleInstance]) -> None:
        """Drop all checks of these instances."""
        for instance in instances:
            channel_state.unsettled.discard(instance.key)
            self.counting.pop(instance, None)
        if instances:
            self._due = [entry for entry in self._due if entry[2] not in instances]
            heapq.heapify(self._due)
