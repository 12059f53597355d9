"""Detects equipment that exceeds the message rate limit, and samples its telemetry until it is quiet again. Pure.

Other equipment must not be affected: of its telemetry the newest sample of each second passes, the rest is counted and
acknowledged. What may matter always passes: events, status, every change of a text or a boolean, and of each number
that a rule of life safety evaluates. A burst of old samples is not babbling: equipment or a broker that was
disconnected sends what it has stored.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple

from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Quality, Reading, Value
from collectors.wire.topics import Topic

TURN_MS: Final = 1_000
"""How often rates are computed, and the period of which the newest sample passes."""
SUSTAINED_MS: Final = 5_000
"""How long a rate must be above the limit: a burst is not babbling."""
QUIET_MS: Final = 10_000
"""How long a rate must be below half the limit for babbling to end."""
GRACE_MS: Final = 60_000
"""After a connection begins the broker sends stored messages; they do not count as babbling."""
_MOST_FORMS: Final = 16
"""Sets of fields by which samples of one equipment are distinguished; samples with further sets pass."""
_NO_TIME: Final = int(Quality.NO_TIME)

Protected = Mapping[Kind, Collection[str]]
"""Kind -> the fields that rules of life safety evaluate."""


class Sender(NamedTuple):
    """The equipment that babbles or has ended to."""

    site: str
    equipment: str
    kind: str


class Babble(NamedTuple):
    """An equipment began or ended babbling, at a rate in messages a second."""

    who: Sender
    began: bool
    rate: int


MakeEvent = Callable[[Babble, int], Reading]
"""Makes an event of a change, at a time (epoch ms)."""


class _OverLimit:
    """State of one equipment above the limit."""

    __slots__ = (
        "babbles",
        "ended",
        "held",
        "newest",
        "oldest",
        "over_since",
        "passed",
        "passed_at",
        "quiet_since",
        "timed",
    )

    def __init__(self, now: int, *, babbles: bool = False) -> None:
        self.over_since = now
        self.quiet_since = now
        self.babbles = babbles
        self.ended = False
        # Times of measurement of this turn's samples: first, last, and how many had one.
        self.oldest, self.newest, self.timed = 0, 0, 0
        self.passed: dict[str, Value] = {}
        self.passed_at: dict[tuple[str, ...], int] = {}
        self.held: dict[tuple[str, ...], Reading] = {}


class Babbling:
    """Counts every message by its topic, and keeps state only for equipment above the limit."""

    def __init__(
        self,
        limit: float,
        protected: Protected,
        make_event: MakeEvent,
        babbling: Iterable[Sender] = (),
        *,
        now: int = 0,
        grace_ms: int = GRACE_MS,
    ) -> None:
        """Begin with the equipment that is on record as babbling.

        Args:
            limit: messages a second.
            protected: what is never sampled.
            make_event: makes an event of each change.
            babbling: equipment that was babbling when the service stopped.
            now: epoch ms.
            grace_ms: see `GRACE_MS`.
        """
        self.sampled = 0
        """Readings dropped by sampling since the start."""
        self._limit = limit
        self._make_event = make_event
        self._protected = {kind: frozenset(fields) for kind, fields in protected.items()}
        self._counts: Counter[str] = Counter()
        self._over_limit = {who: _OverLimit(now, babbles=True) for who in babbling}
        self._turned_at = now
        self._grace_ms = grace_ms
        self._connection = -1
        self._judged_from = now

    @property
    def restless(self) -> bool:
        """Whether any equipment is above the limit, so that `turn` must be called even without messages."""
        return bool(self._over_limit)

    def count(self, topics: Iterable[str], connection: int, now: int) -> None:
        """Count messages by their topics, readable or not, and note the connection on which they arrived."""
        if connection != self._connection:
            self._connection, self._judged_from = connection, now + self._grace_ms
        self._counts.update(topics)

    def sift(self, readings: list[Reading], now: int) -> list[Reading]:
        """The readings that pass; all of them while no equipment is above the limit."""
        if not self._over_limit:
            return readings
        kept: list[Reading] = []
        for reading in readings:
            topic = reading.topic
            over = self._over_limit.get(Sender(topic.site, topic.equipment, topic.kind.value))
            if over is None or topic.channel is not Channel.TELEMETRY:
                kept.append(reading)
            else:
                self._note_times(over, reading)
                kept += self._passing(over, reading, now) if over.babbles else (reading,)
        return kept

    def turn(self, now: int, sender_of: Callable[[str], Topic | None]) -> list[Reading]:
        """Once a second: readings that were held back and are due, and events of equipment that began or ended.

        Args:
            now: epoch ms.
            sender_of: a topic's text -> its equipment, None if unknown.
        """
        passed = now - self._turned_at
        if passed < 0:
            self._clock_was_set(passed)
            return []
        if passed < TURN_MS:
            return []
        self._turned_at = now
        rates = self._rates(passed, sender_of)
        babbles: list[Babble] = []
        for who in {**rates, **self._over_limit}:
            babbles += self._judge(who, rates.get(who, 0.0), now)
        return self._due(now) + [self._make_event(babble, now) for babble in babbles]

    def _clock_was_set(self, by: int) -> None:
        """The clock was set back: shift all times, so that nothing waits longer than before."""
        self._turned_at += by
        self._judged_from += by
        for over in self._over_limit.values():
            over.over_since += by
            over.quiet_since += by
            over.passed_at = {form: at + by for form, at in over.passed_at.items()}

    def _rates(self, passed: int, sender_of: Callable[[str], Topic | None]) -> dict[Sender, float]:
        """Messages a second of all equipment that is tracked, or above half the limit."""
        counts, self._counts = self._counts, Counter()
        totals: Counter[Sender] = Counter()
        least = self._limit * passed / 1000 / len(Channel) / 2
        for text, number in counts.items():
            if number >= least or self._over_limit:
                topic = sender_of(text)
                if topic is not None:
                    totals[Sender(topic.site, topic.equipment, topic.kind.value)] += number
        return {who: number * 1000 / passed for who, number in totals.items()}

    def _judge(self, who: Sender, rate: float, now: int) -> list[Babble]:
        over = self._over_limit.get(who)
        if over is None:
            if rate > self._limit and now >= self._judged_from:
                self._over_limit[who] = _OverLimit(now)
            return []
        of_old = self._is_of_old(over)
        if over.babbles:
            if rate > self._limit / 2:
                over.quiet_since = now
            elif now - over.quiet_since >= QUIET_MS:
                over.babbles, over.ended = False, True
                return [Babble(who, began=False, rate=round(rate))]
        elif rate <= self._limit or of_old:
            del self._over_limit[who]
        elif now - over.over_since >= SUSTAINED_MS:
            over.babbles, over.quiet_since = True, now
            return [Babble(who, began=True, rate=round(rate))]
        return []

    def _note_times(self, over: _OverLimit, reading: Reading) -> None:
        if reading.quality & _NO_TIME:
            return
        at = reading.measured_at
        over.oldest, over.newest = (min(over.oldest, at), max(over.newest, at)) if over.timed else (at, at)
        over.timed += 1

    def _is_of_old(self, over: _OverLimit) -> bool:
        """Whether its samples were measured at a permitted rate: then they were only stored somewhere."""
        samples, span = over.timed, over.newest - over.oldest
        over.timed = 0
        return samples > 1 and samples * 1000 <= self._limit * span

    def _passing(self, over: _OverLimit, reading: Reading, now: int) -> list[Reading]:
        fields, passed = reading.fields, over.passed
        form = tuple(fields)
        before = over.held.pop(form, None)
        is_news = self._is_news(reading, passed) or (form not in over.passed_at and len(over.passed_at) >= _MOST_FORMS)
        if is_news or now - over.passed_at.get(form, 0) >= TURN_MS:
            self.sampled += before is not None
            passed.update(fields)
            if len(over.passed_at) < _MOST_FORMS or form in over.passed_at:
                over.passed_at[form] = now
            return [reading]
        self.sampled += before is not None
        over.held[form] = reading
        return []

    def _is_news(self, reading: Reading, passed: Mapping[str, Value]) -> bool:
        protected = self._protected.get(reading.topic.kind, frozenset())
        return any(
            (value.__class__ is not float or name in protected) and passed.get(name) != value
            for name, value in reading.fields.items()
        )

    def _due(self, now: int) -> list[Reading]:
        """The newest sample of each second that has passed, and all held samples of equipment that is quiet again."""
        due: list[Reading] = []
        for who, over in tuple(self._over_limit.items()):
            for form in tuple(over.held):
                if not over.babbles or now - over.passed_at.get(form, 0) >= TURN_MS:
                    reading = over.held.pop(form)
                    over.passed.update(reading.fields)
                    over.passed_at[form] = now
                    due.append(reading)
            if over.ended:
                del self._over_limit[who]
        return due
