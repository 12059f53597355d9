"""What the next ticks have to look at: delays that run, counts that stand, times that come. Pure."""

import heapq
from collections.abc import Collection, Iterator
from typing import Final

from gateway.alarms.evaluation.channel_state import Station, Watch
from gateway.alarms.key import Key
from gateway.alarms.rules.rule import RuleType

_MOST_CHECKS: Final = 1_000
"""Of what only the clock can show, in one tick: ten thousand equipments that start together hold up nobody."""
BY_CLOCK: Final = frozenset({RuleType.COUNT, RuleType.NO_DATA, RuleType.ABSENCE})
"""Types in which something changes with time alone."""


class Agenda:
    """A tick looks at what is noted here and at nothing else."""

    __slots__ = ("_due", "_numbered", "counting", "waiting")

    def __init__(self) -> None:
        # Stations with unsettled watches, and counts that stand.
        self.waiting: dict[Station, None] = {}
        self.counting: dict[Watch, Station] = {}
        # (when, number, watch, station) of what only the clock can show.
        self._due: list[tuple[int, int, Watch, Station]] = []
        self._numbered = 0

    def unsettle(self, station: Station, key: Key) -> None:
        """A watch does not say what the newest sample says, or may not: it is asked again."""
        station.unsettled.add(key)
        self.waiting[station] = None

    def note(self, station: Station, watch: Watch) -> None:
        """Have the ticks look at what changes with time alone."""
        if watch.rule.type is RuleType.COUNT:
            self.counting[watch] = station
        elif watch.rule.type is RuleType.ABSENCE and not watch.reminded:
            watch.reminded = True
            self.remind(station, watch, (watch.seen_at or 0) + watch.rule.after)

    def remind(self, station: Station, watch: Watch, due: int) -> None:
        """Look at a watch at a time, epoch ms."""
        self._numbered += 1
        heapq.heappush(self._due, (due, self._numbered, watch, station))

    def due(self, now: int) -> Iterator[tuple[int, Watch, Station]]:
        """What is due, with the time at which it was, and off the agenda with it; so many in a tick, no more."""
        for _ in range(_MOST_CHECKS):
            if not self._due or self._due[0][0] > now:
                return
            due, _, watch, station = heapq.heappop(self._due)
            yield due, watch, station

    def next_due(self, now: int) -> int | None:
        """When something may change by the clock alone, None while nothing waits."""
        due = [self._due[0][0]] if self._due else []
        if self.counting:
            due.append(max(now, min(watch.counted_until for watch in self.counting)))
        for station in self.waiting:
            due += [moment for key in station.unsettled for moment in station.watches[key].waits_until()]
        return min(due, default=None)

    def forget(self, stations: Collection[Station]) -> None:
        """Look at nothing of these any more."""
        gone = set(stations)
        for station in gone:
            self.waiting.pop(station, None)
        self.counting = {watch: station for watch, station in self.counting.items() if station not in gone}
        self._due = [entry for entry in self._due if entry[3] not in gone]
        heapq.heapify(self._due)

    def clock_was_set(self, by: int) -> None:
        """What is due stays due in the same time from now, by a clock that shows `by` ms more."""
        self._due = [(due + by, number, watch, station) for due, number, watch, station in self._due]

    def strike(self, station: Station, watches: Collection[Watch]) -> None:
        """Look at these watches no more."""
        for watch in watches:
            station.unsettled.discard(watch.key)
            self.counting.pop(watch, None)
        if watches:
            self._due = [entry for entry in self._due if entry[2] not in watches]
            heapq.heapify(self._due)
