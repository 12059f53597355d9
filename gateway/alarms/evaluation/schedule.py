"""What the next ticks have to look at: delays that run, counts that stand, times that come. Pure."""

import heapq
from collections.abc import Collection, Iterator
from typing import Final

from gateway.alarms.evaluation.channel_state import ChannelState, RuleInstance
from gateway.alarms.key import Key
from gateway.alarms.rules.rule import RuleType

_MOST_CHECKS: Final = 1_000
"""Of what only the clock can show, in one tick: ten thousand equipments that start together hold up nobody."""
BY_CLOCK: Final = frozenset({RuleType.COUNT, RuleType.NO_DATA, RuleType.ABSENCE})
"""Types in which something changes with time alone."""


class Schedule:
    """A tick looks at what is noted here and at nothing else."""

    __slots__ = ("_due", "_numbered", "counting", "waiting")

    def __init__(self) -> None:
        # Stations with unsettled watches, and counts that stand.
        self.waiting: dict[ChannelState, None] = {}
        self.counting: dict[RuleInstance, ChannelState] = {}
        # (when, number, watch, station) of what only the clock can show.
        self._due: list[tuple[int, int, RuleInstance, ChannelState]] = []
        self._numbered = 0

    def unsettle(self, channel_state: ChannelState, key: Key) -> None:
        """A watch does not say what the newest sample says, or may not: it is asked again."""
        channel_state.unsettled.add(key)
        self.waiting[channel_state] = None

    def note(self, channel_state: ChannelState, instance: RuleInstance) -> None:
        """Have the ticks look at what changes with time alone."""
        if instance.rule.type is RuleType.COUNT:
            self.counting[instance] = channel_state
        elif instance.rule.type is RuleType.ABSENCE and not instance.reminded:
            instance.reminded = True
            self.remind(channel_state, instance, (instance.seen_at or 0) + instance.rule.after)

    def remind(self, channel_state: ChannelState, instance: RuleInstance, due: int) -> None:
        """Look at a watch at a time, epoch ms."""
        self._numbered += 1
        heapq.heappush(self._due, (due, self._numbered, instance, channel_state))

    def due(self, now: int) -> Iterator[tuple[int, RuleInstance, ChannelState]]:
        """What is due, with the time at which it was, and off the agenda with it; so many in a tick, no more."""
        for _ in range(_MOST_CHECKS):
            if not self._due or self._due[0][0] > now:
                return
            due, _, instance, channel_state = heapq.heappop(self._due)
            yield due, instance, channel_state

    def next_due(self, now: int) -> int | None:
        """When something may change by the clock alone, None while nothing waits."""
        due = [self._due[0][0]] if self._due else []
        if self.counting:
            due.append(max(now, min(instance.counted_until for instance in self.counting)))
        for channel_state in self.waiting:
            due += [moment for key in channel_state.unsettled for moment in channel_state.instances[key].waits_until()]
        return min(due, default=None)

    def forget(self, channel_states: Collection[ChannelState]) -> None:
        """Look at nothing of these any more."""
        gone = set(channel_states)
        for channel_state in gone:
            self.waiting.pop(channel_state, None)
        self.counting = {
            instance: channel_state for instance, channel_state in self.counting.items() if channel_state not in gone
        }
        self._due = [entry for entry in self._due if entry[3] not in gone]
        heapq.heapify(self._due)

    def clock_was_set(self, by: int) -> None:
        """What is due stays due in the same time from now, by a clock that shows `by` ms more."""
        self._due = [(due + by, number, instance, channel_state) for due, number, instance, channel_state in self._due]

    def strike(self, channel_state: ChannelState, instances: Collection[RuleInstance]) -> None:
        """Look at these watches no more."""
        for instance in instances:
            channel_state.unsettled.discard(instance.key)
            self.counting.pop(instance, None)
        if instances:
            self._due = [entry for entry in self._due if entry[2] not in instances]
            heapq.heapify(self._due)
