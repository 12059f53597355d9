"""Notices an equipment that sends more than it may, and keeps its flow small until it is quiet again. Pure.

Nobody else is to feel it: of its telemetry the newest sample of each second passes, the rest is counted and
acknowledged. What may matter passes always: events, its status, every change of a text or a boolean, and of each number
that a rule of life safety looks at. It is no babbling when old samples come in a heap: an equipment that was cut off,
or a broker that was, sends what it has kept.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple

from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Quality, Reading, Value
from collectors.wire.topics import Topic

TURN_MS: Final = 1_000
"""How often rates are looked at, and of how long the newest sample passes."""
SUSTAINED_MS: Final = 5_000
"""Above the limit for so long: a burst is not babbling."""
QUIET_MS: Final = 10_000
"""Below half of it for so long: it is over."""
GRACE_MS: Final = 60_000
"""After a connection begins the broker sends what it has kept; nobody is judged by that."""
_MOST_FORMS: Final = 16
"""Sets of fields by which samples of one equipment are told apart; what comes in further ones passes."""
_NO_TIME: Final = int(Quality.NO_TIME)

Protected = Mapping[Kind, Collection[str]]
"""Kind -> the fields that rules of life safety look at."""


class Speaker(NamedTuple):
    """Who babbles, or does so no more."""

    site: str
    equipment: str
    kind: str


class Babble(NamedTuple):
    """An equipment began to babble, or ended; by how many messages a second that showed."""

    who: Speaker
    began: bool
    rate: int


Tell = Callable[[Babble, int], Reading]
"""Makes an event of it, at a time (epoch ms)."""


class _Loud:
    """What is known of one equipment above the limit."""

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
        # How far apart its samples of this turn were measured, and how many said so.
        self.oldest, self.newest, self.timed = 0, 0, 0
        self.passed: dict[str, Value] = {}
        self.passed_at: dict[tuple[str, ...], int] = {}
        self.held: dict[tuple[str, ...], Reading] = {}


class Babbling:
    """Counts every message by its topic, and knows more of those only that are above the limit."""

    def __init__(
        self,
        limit: float,
        protected: Protected,
        tell: Tell,
        standing: Iterable[Speaker] = (),
        *,
        now: int = 0,
        grace_ms: int = GRACE_MS,
    ) -> None:
        """Begin with those of whom it is on record that they babble.

        Args:
            limit: messages a second.
            protected: what is never sampled.
            tell: makes an event of what is found.
            standing: who babbled when the service stopped.
            now: epoch ms.
            grace_ms: see `GRACE_MS`.
        """
        self.sampled = 0
        """Readings left out since the start."""
        self._limit = limit
        self._tell = tell
        self._protected = {kind: frozenset(fields) for kind, fields in protected.items()}
        self._counts: Counter[str] = Counter()
        self._loud = {who: _Loud(now, babbles=True) for who in standing}
        self._turned_at = now
        self._grace_ms = grace_ms
        self._connection = -1
        self._judged_from = now

    @property
    def restless(self) -> bool:
        """Whether somebody is above the limit, so that time alone has something to change."""
        return bool(self._loud)

    def count(self, topics: Iterable[str], connection: int, now: int) -> None:
        """Take note of messages by their topics, whether they can be read or not; and on which connection they came."""
        if connection != self._connection:
            self._connection, self._judged_from = connection, now + self._grace_ms
        self._counts.update(topics)

    def sift(self, readings: list[Reading], now: int) -> list[Reading]:
        """What of the readings goes on; all of them while nobody is loud."""
        if not self._loud:
            return readings
        kept: list[Reading] = []
        for reading in readings:
            topic = reading.topic
            loud = self._loud.get(Speaker(topic.site, topic.equipment, topic.kind.value))
            if loud is None or topic.channel is not Channel.TELEMETRY:
                kept.append(reading)
            else:
                self._take_note(loud, reading)
                kept += self._passing(loud, reading, now) if loud.babbles else (reading,)
        return kept

    def turn(self, now: int, speaker_of: Callable[[str], Topic | None]) -> list[Reading]:
        """Once a second: what was held back and is due, and events of who began or ended.

        Args:
            now: epoch ms.
            speaker_of: a topic's text -> whose it is, None where nobody's.
        """
        passed = now - self._turned_at
        if passed < 0:
            self._clock_was_set(passed)
            return []
        if passed < TURN_MS:
            return []
        self._turned_at = now
        rates = self._rates(passed, speaker_of)
        babbles: list[Babble] = []
        for who in {**rates, **self._loud}:
            babbles += self._judge(who, rates.get(who, 0.0), now)
        return self._due(now) + [self._tell(babble, now) for babble in babbles]

    def _clock_was_set(self, by: int) -> None:
        """The clock was set back: what waits for a time waits no longer than before."""
        self._turned_at += by
        self._judged_from += by
        for loud in self._loud.values():
            loud.over_since += by
            loud.quiet_since += by
            loud.passed_at = {form: at + by for form, at in loud.passed_at.items()}

    def _rates(self, passed: int, speaker_of: Callable[[str], Topic | None]) -> dict[Speaker, float]:
        """Messages a second of everybody loud, or above half the limit."""
        counts, self._counts = self._counts, Counter()
        totals: Counter[Speaker] = Counter()
        least = self._limit * passed / 1000 / len(Channel) / 2
        for text, number in counts.items():
            if number >= least or self._loud:
                topic = speaker_of(text)
                if topic is not None:
                    totals[Speaker(topic.site, topic.equipment, topic.kind.value)] += number
        return {who: number * 1000 / passed for who, number in totals.items()}

    def _judge(self, who: Speaker, rate: float, now: int) -> list[Babble]:
        loud = self._loud.get(who)
        if loud is None:
            if rate > self._limit and now >= self._judged_from:
                self._loud[who] = _Loud(now)
            return []
        of_old = self._is_of_old(loud)
        if loud.babbles:
            if rate > self._limit / 2:
                loud.quiet_since = now
            elif now - loud.quiet_since >= QUIET_MS:
                loud.babbles, loud.ended = False, True
                return [Babble(who, began=False, rate=round(rate))]
        elif rate <= self._limit or of_old:
            del self._loud[who]
        elif now - loud.over_since >= SUSTAINED_MS:
            loud.babbles, loud.quiet_since = True, now
            return [Babble(who, began=True, rate=round(rate))]
        return []

    def _take_note(self, loud: _Loud, reading: Reading) -> None:
        if reading.quality & _NO_TIME:
            return
        at = reading.measured_at
        loud.oldest, loud.newest = (min(loud.oldest, at), max(loud.newest, at)) if loud.timed else (at, at)
        loud.timed += 1

    def _is_of_old(self, loud: _Loud) -> bool:
        """Whether its samples were measured at a pace that is permitted: then they have only been kept somewhere."""
        samples, span = loud.timed, loud.newest - loud.oldest
        loud.timed = 0
        return samples > 1 and samples * 1000 <= self._limit * span

    def _passing(self, loud: _Loud, reading: Reading, now: int) -> list[Reading]:
        fields, passed = reading.fields, loud.passed
        form = tuple(fields)
        before = loud.held.pop(form, None)
        is_news = self._is_news(reading, passed) or (form not in loud.passed_at and len(loud.passed_at) >= _MOST_FORMS)
        if is_news or now - loud.passed_at.get(form, 0) >= TURN_MS:
            self.sampled += before is not None
            passed.update(fields)
            if len(loud.passed_at) < _MOST_FORMS or form in loud.passed_at:
                loud.passed_at[form] = now
            return [reading]
        self.sampled += before is not None
        loud.held[form] = reading
        return []

    def _is_news(self, reading: Reading, passed: Mapping[str, Value]) -> bool:
        protected = self._protected.get(reading.topic.kind, frozenset())
        return any(
            (value.__class__ is not float or name in protected) and passed.get(name) != value
            for name, value in reading.fields.items()
        )

    def _due(self, now: int) -> list[Reading]:
        """The newest of a second that has passed, and all that is held of who is quiet again."""
        due: list[Reading] = []
        for who, loud in tuple(self._loud.items()):
            for form in tuple(loud.held):
                if not loud.babbles or now - loud.passed_at.get(form, 0) >= TURN_MS:
                    reading = loud.held.pop(form)
                    loud.passed.update(reading.fields)
                    loud.passed_at[form] = now
                    due.append(reading)
            if loud.ended:
                del self._loud[who]
        return due
