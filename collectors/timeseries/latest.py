"""Current values kept in memory: what a tile shows, whatever the order of arrival. The rule is `device_clocks`'."""

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

    Most readings have the same fields as the one before them and come in order: such a reading only takes that one's
    place. Values are merged when somebody looks.
    """

    def __init__(self) -> None:
        self._merged: dict[Who, Latest] = {}
        self._newest: dict[Who, Reading] = {}

    def absorb(self, readings: Iterable[Reading]) -> set[Who]:
        """Take readings in; return which equipment was heard."""
        heard: set[Who] = set()
        newest = self._newest
        for reading in readings:
            topic = reading.topic
            who = (topic.site, topic.equipment)
            heard.add(who)
            before = newest.get(who)
            if before is not None and not _replaces(reading, before):
                self._merge(who, before)
            newest[who] = reading
        return heard

    def note_received(self, who: Who, kind: str, received_at: int) -> None:
        """Something that is no value, an event, was received of an equipment at a time (epoch ms)."""
        known = self[who] if who in self else self._merged.setdefault(who, Latest(kind, 0, {}))
        known.heard_at = max(known.heard_at, received_at)

    def put(self, who: Who, latest: Latest) -> None:
        """Set what is known of an equipment from before."""
        self._merged[who] = latest

    def restore(self, who: Who, latest: Latest) -> None:
        """Add what was known of an equipment from before; what was heard since is newer."""
        if who not in self:
            self.put(who, latest)
            return
        known = self[who]
        if known.kind != latest.kind:
            return
        known.heard_at = max(known.heard_at, latest.heard_at)
        known.fields = {**latest.fields, **known.fields}

    def forget(self, equipment: Iterable[Who]) -> None:
        """Know no newest values of these any more, until they are heard again."""
        for who in equipment:
            self._merged.pop(who, None)
            self._newest.pop(who, None)

    def not_after(self, now: int) -> None:
        """The clock was set back: nothing is known from later than `now`, and what comes next is newer (epoch ms)."""
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
        if known is None or known.kind != reading.topic.kind.value:  # values of two kinds are never shown as one
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
    """Whether nothing of the earlier reading is still the newest."""
    return (
        rank_of(reading) >= rank_of(before)
        and reading.received_at >= before.received_at
        and reading.fields.keys() >= before.fields.keys()
        and is_life(reading)
    )
