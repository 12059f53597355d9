"""Current values in memory, as a tile shows them, in any order of arrival. The rule is in `device_clocks`."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from collectors.device_clocks import doubt_of, is_life, rank_of
from collectors.timeseries.store import Latest, LatestValue
from collectors.wire.reading import Quality, Reading

_RETAINED: Final = int(Quality.RETAINED)
Who = tuple[str, str]
"""(site, equipment)."""


class LatestTable(Mapping[Who, Latest]):
    """The newest values of all equipment.

    Most readings have the same fields as the one before them and arrive in order: such a reading only replaces it.
    Values are merged on access.
    """

    def __init__(self) -> None:
        self._merged: dict[Who, Latest] = {}
        self._newest: dict[Who, Reading] = {}

    def absorb(self, readings: Iterable[Reading]) -> set[Who]:
        """Add readings; return the equipment that they are from."""
        seen: set[Who] = set()
        newest = self._newest
        for reading in readings:
            topic = reading.topic
            who = (topic.site, topic.equipment)
            seen.add(who)
            before = newest.get(who)
            if before is not None and not _replaces(reading, before):
                self._merge(who, before)
            newest[who] = reading
        return seen

    def note_received(self, who: Who, kind: str, received_at: int) -> None:
        """Record that an event, which has no value, was received from an equipment at a time (epoch ms)."""
        known = self[who] if who in self else self._merged.setdefault(who, Latest(kind, 0, {}))
        known.heard_at = max(known.heard_at, received_at)

    def put(self, who: Who, latest: Latest) -> None:
        """Set the values of an equipment."""
        self._merged[who] = latest

    def restore(self, who: Who, latest: Latest) -> None:
        """Add earlier values of an equipment; values received since are newer."""
        if who not in self:
            self.put(who, latest)
            return
        known = self[who]
        if known.kind != latest.kind:
            return
        known.heard_at = max(known.heard_at, latest.heard_at)
        known.fields = {**latest.fields, **known.fields}

    def forget(self, equipment: Iterable[Who]) -> None:
        """Remove the values of these until they are received again."""
        for who in equipment:
            self._merged.pop(who, None)
            self._newest.pop(who, None)

    def not_after(self, now: int) -> None:
        """The clock was set back: limit all times to `now` (epoch ms), so that the next readings are newer."""
        for who in tuple(self):
            known = self[who]
            known.heard_at = min(known.heard_at, now)
            for name, (value, at) in known.fields.items():
                if at > now:
                    known.fields[name] = LatestValue(value, now)

    def __getitem__(self, who: Who) -> Latest:
        newest = self._newest.pop(who, None)
        if newest is not None:
            self._merge(who, newest)
        return self._merged[who]

    def __iter__(self) -> Iterator[Who]:
        return iter({**self._merged, **self._newest})

    def __len__(self) -> int:
        return len(self._merged.keys() | self._newest.keys())

    def _merge(self, who: Who, reading: Reading) -> None:
        known = self._merged.get(who)
        if known is None or known.kind != reading.topic.kind.value:  # values of two kinds are never mixed
            known = self._merged[who] = Latest(reading.topic.kind.value, 0, {})
        at, is_kept = rank_of(reading), bool(reading.quality & _RETAINED)
        is_current = False
        for name, value in reading.fields.items():
            before = known.fields.get(name)
            if before is None or (before.at <= at and not is_kept):
                known.fields[name] = LatestValue(value, at)
                is_current = True
        if is_current and is_life(reading) and reading.received_at >= known.heard_at:
            known.heard_at, known.clock = reading.received_at, doubt_of(reading)


def _replaces(reading: Reading, before: Reading) -> bool:
    """Whether no value of the earlier reading is still the newest."""
    return (
        rank_of(reading) >= rank_of(before)
        and reading.received_at >= before.received_at
        and reading.fields.keys() >= before.fields.keys()
        and is_life(reading)
    )
