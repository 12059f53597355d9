"""Applies the rules to readings as they come. Pure but for its memory, which it is given and hands back.

Thousands of readings a second pass here and almost none changes anything, so every limit keeps the band of values
in which nothing would change, and states are looked at only when a value differs from the one before.
"""

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from collectors.fields import Channel, Kind
from collectors.reading import Quality, Reading, Value
from collectors.topics import Topic
from gateway.alarms.rules import (
    FRESH,
    Change,
    Judgement,
    Memory,
    Rule,
    RuleType,
    is_breached,
    is_match,
    judge,
    judge_event,
    mature,
    part_of,
    quiet_band,
)

_ZONE_LENGTH: Final = 128
_DOUBTFUL_CLOCK: Final = int(Quality.FUTURE | Quality.OLD | Quality.NO_TIME)


class Key(NamedTuple):
    """What an alarm is about: there is at most one open alarm for each."""

    site: str
    equipment: str
    part: str
    rule: str

    def __str__(self) -> str:
        return "/".join(self)


class Decision(NamedTuple):
    """A condition that began or ended, and the sample that shows it."""

    key: Key
    rule: Rule
    kind: Kind
    change: Change
    value: Value | None
    received_at: int
    digest: str = ""
    """Of the event that shows it; "" where telemetry or the clock does."""
    zone: str = ""
    """Where in the building, as the event says it."""


class Failure(NamedTuple):
    """A rule that could not be applied: what it was about, the error, and the reading, None where the clock asked."""

    key: Key
    error: Exception
    reading: Reading | None


class Outcome(NamedTuple):
    """What follows from some readings: decisions in order, the memories that have to be kept, and what went wrong."""

    decisions: list[Decision]
    memories: dict[Key, Memory]
    failures: list[Failure]

    def __bool__(self) -> bool:
        return bool(self.decisions or self.memories)


def no_rule(topic: Topic) -> Key:
    """The key of what is about an equipment and no single rule."""
    return Key(topic.site, topic.equipment, "", "")


class _Alone:
    """One rule that fails is told of, and keeps no other rule from being applied."""

    __slots__ = ("_key", "_outcome", "_reading")

    def __init__(self, key: Key, reading: Reading | None, outcome: Outcome) -> None:
        self._key = key
        self._reading = reading
        self._outcome = outcome

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        self._outcome.failures.append(Failure(self._key, error, self._reading))
        return True


class _Watch:
    """One rule on one part of one equipment."""

    __slots__ = ("high", "key", "kind", "low", "memory", "rule")

    def __init__(self, key: Key, kind: Kind, rule: Rule, memory: Memory) -> None:
        self.key = key
        self.kind = kind
        self.rule = rule
        self.memory = memory
        # Empty until the first judgement: after a start every rule looks once at what it finds.
        self.low, self.high = 1.0, 0.0


class _Station:
    """All that watches one channel of one equipment."""

    __slots__ = ("behind_since", "by_event", "by_limit", "by_state", "newest_at", "unsettled", "values", "watches")

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.newest_at = 0
        # When a run of samples from before the newest one began to come in, 0 while there is none.
        self.behind_since = 0
        self.watches: dict[Key, _Watch] = {}
        self.by_limit: dict[str, list[_Watch]] = {}
        self.by_state: dict[str, list[_Watch]] = {}
        self.by_event: list[Rule] = []
        # Watches that do not say what the newest sample says: they wait for a delay to end, or for a further sample.
        self.unsettled: set[Key] = set()


Recall = Callable[[str, str], Mapping[str, Value]]
"""(site, equipment) -> the values that are known from before the start."""


def is_watched(alarm: Mapping[str, Any], rules: Iterable[Rule]) -> bool:
    """Whether some rule could still end this open alarm: its own, for this equipment and with parts as it has."""
    applying = [rule for rule in rules if rule.kind.value == alarm["kind"] and _is_for(rule, alarm["equipment"])]
    replaced = {identity for rule in applying for identity in rule.instead_of}
    return any(
        rule.id == alarm["rule"]
        and rule.id not in replaced
        and bool(alarm["part"]) <= bool(rule.per or rule.per_otherwise)
        for rule in applying
    )


def nothing_known(_site: str, _equipment: str) -> Mapping[str, Value]:
    """Where no values are kept from before the start."""
    return {}


class Watches:
    """Every rule on every equipment that has been heard."""

    def __init__(
        self,
        rules: Iterable[Rule],
        memories: Mapping[Key, Memory],
        late_window_ms: int,
        recall: Recall | None = None,
    ) -> None:
        self._rules = list(rules)
        self._memories = dict(memories)
        self._late_window_ms = late_window_ms
        self._recall_values = recall or nothing_known
        self._stations: dict[Topic, _Station] = {}
        self._standing: dict[tuple[str, str, str], list[Key]] = {}
        self._recall()

    def take(self, readings: Iterable[Reading]) -> Outcome:
        """Judge readings, in the order of their arrival; marks those that came too late to count."""
        outcome = Outcome([], {}, [])
        for reading in readings:
            try:
                station = self._stations.get(reading.topic)
                if station is None:
                    station = self._add_station(reading.topic)
                if reading.digest:
                    self._take_event(station, reading, outcome)
                elif station.by_limit or station.by_state:
                    self._take_state(station, reading, outcome)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the next reading is judged
                outcome.failures.append(Failure(no_rule(reading.topic), error, reading))
        return outcome

    def tick(self, now: int) -> Outcome:
        """Let delays end by the clock."""
        outcome = Outcome([], {}, [])
        for station in self._stations.values():
            for key in tuple(station.unsettled):
                watch = station.watches[key]
                with _Alone(key, None, outcome):
                    judgement = mature(watch.rule, watch.memory, now)
                    if judgement.changes:
                        self._keep(watch, judgement, station.values, now, outcome)
                        station.unsettled.discard(key)
        return outcome

    def take_back(self, key: Key, memory: Memory) -> None:
        """Forget what could not be written: the next sample, or the clock, decides again from what is on record."""
        self._memories[key] = memory
        for topic, station in self._stations.items():
            watch = station.watches.get(key) if (topic.site, topic.equipment) == key[:2] else None
            if watch is not None:
                watch.memory = memory
                watch.low, watch.high = 1.0, 0.0
                station.unsettled.add(key)

    # -- periodic state --------------------------------------------------------------------------------

    def _take_state(self, station: _Station, reading: Reading, outcome: Outcome) -> None:
        if reading.quality & Quality.RETAINED:
            return  # nobody knows how old it is
        at = _time_of(reading)
        fields, values = reading.fields, station.values
        if at < station.newest_at:
            if not self._has_clock_stepped_back(station, reading.received_at):
                self._take_disordered(station, reading, at, outcome)
                return
            at = max(reading.received_at, station.newest_at)
        else:
            station.behind_since = 0
        station.newest_at = at
        touched: list[_Watch] | None = None
        by_limit, by_state = station.by_limit, station.by_state
        for name, value in fields.items():
            if name in by_limit and value.__class__ is float:
                for watch in by_limit[name]:
                    if not watch.low <= value <= watch.high:
                        touched = [watch] if touched is None else [*touched, watch]
            if name in by_state and values.get(name) != value:
                touched = [*(touched or ()), *by_state[name]]
        values.update(fields)
        if touched is not None or station.unsettled:
            self._judge(station, touched or (), values, at, reading, outcome)

    def _has_clock_stepped_back(self, station: _Station, received_at: int) -> bool:
        """Whether for a whole window nothing but samples of the past has come: then the clock was set back.

        Until its time has caught up, such a device's samples count by their order of arrival.
        """
        if not station.behind_since or received_at < station.behind_since:
            station.behind_since = received_at
        return received_at - station.behind_since >= self._late_window_ms > 0

    def _take_disordered(self, station: _Station, reading: Reading, at: int, outcome: Outcome) -> None:
        """A sample from before the newest one: what holds now stands, but an alarm of then is not lost.

        It may raise a rule that has no delay, and end that again where the newest values are no breach either; the
        next sample in order has the last word. It begins no delay: what was measured after it is not known any more.
        """
        behind = max(0, min(station.newest_at, reading.received_at) - at)
        if behind > self._late_window_ms:
            reading.quality |= Quality.LATE
            self._take_late(station, reading, outcome)
            return
        watches = [watch for name in reading.fields for table in (station.by_limit, station.by_state)
                   for watch in table.get(name, ())]  # fmt: skip
        values = {**station.values, **reading.fields}
        for watch in watches:
            with _Alone(watch.key, reading, outcome):
                rule, active = watch.rule, watch.memory.active
                breached = is_breached(rule, values, active)
                if breached is None or breached is active or (rule.off_delay if active else rule.on_delay):
                    continue
                if active and is_breached(rule, station.values, active) is not False:
                    continue
                station.unsettled.add(watch.key)
                judgement = judge(rule, watch.memory, breached, at, reading.received_at)
                self._keep(watch, judgement, values, reading.received_at, outcome)

    def _take_late(self, station: _Station, reading: Reading, outcome: Outcome) -> None:
        """What comes too late changes no alarm, but it may still tell of somebody in danger; that is never let go."""
        watches = {watch.key: watch for name in reading.fields for watch in station.by_state.get(name, ())}
        values = {**station.values, **reading.fields}
        for watch in watches.values():
            with _Alone(watch.key, reading, outcome):
                if watch.rule.life_safety and not watch.memory.active and is_breached(watch.rule, values, active=False):
                    station.unsettled.add(watch.key)
                    at = max(_time_of(reading), watch.memory.known_at)
                    judgement = judge(watch.rule, watch.memory, True, at, reading.received_at)
                    self._keep(watch, judgement, values, reading.received_at, outcome)

    def _judge(
        self,
        station: _Station,
        touched: Iterable[_Watch],
        values: Mapping[str, Value],
        at: int,
        reading: Reading,
        outcome: Outcome,
    ) -> None:
        waiting = (station.watches[key] for key in station.unsettled)
        watches = {watch.key: watch for watch in (*touched, *(w for w in waiting if w.rule.field in reading.fields))}
        for watch in watches.values():
            waits = watch.key in station.unsettled
            station.unsettled.add(watch.key)  # and so it stays where the rule fails: the next sample asks it again
            with _Alone(watch.key, reading, outcome):
                breached = is_breached(watch.rule, values, watch.memory.active)
                if breached is not None:
                    judgement = judge(watch.rule, watch.memory, breached, at, reading.received_at)
                    self._keep(watch, judgement, values, reading.received_at, outcome)
                    waits = judgement.memory.active is not breached
                if not waits:
                    station.unsettled.discard(watch.key)

    def _keep(
        self,
        watch: _Watch,
        judgement: Judgement,
        values: Mapping[str, Value],
        received_at: int,
        outcome: Outcome,
        digest: str = "",
        zone: str = "",
    ) -> None:
        memory, changes = judgement
        band = quiet_band(watch.rule, memory, values) if watch.rule.type is RuleType.LIMIT else None
        if memory != watch.memory:  # from here on nothing fails: what is remembered is decided too
            watch.memory = outcome.memories[watch.key] = self._memories[watch.key] = memory
        if band is not None:
            watch.low, watch.high = band
        value = values.get(watch.rule.field)
        outcome.decisions.extend(
            Decision(watch.key, watch.rule, watch.kind, change, value, received_at, digest, zone) for change in changes
        )

    # -- events ----------------------------------------------------------------------------------------

    def _take_event(self, station: _Station, reading: Reading, outcome: Outcome) -> None:
        fields = reading.fields
        if reading.quality & Quality.RETAINED:
            return  # a broker repeats it at every start: nobody knows how old it is
        if reading.topic.kind is Kind.FIRE_PANEL and fields.get("type") == "reset":
            for watch in tuple(station.watches.values()):
                with _Alone(watch.key, reading, outcome):
                    self._judge_event(watch, False, reading, outcome)
            return
        active = fields.get("active", True) is not False
        for rule in station.by_event:
            with _Alone(no_rule(reading.topic)._replace(rule=rule.id), reading, outcome):
                if is_match(rule, fields):
                    key = Key(reading.topic.site, reading.topic.equipment, part_of(rule, fields), rule.id)
                    watch = station.watches.get(key) or self._add_watch(station, key, reading.topic.kind, rule)
                    self._judge_event(watch, active, reading, outcome)

    def _judge_event(self, watch: _Watch, active: bool, reading: Reading, outcome: Outcome) -> None:
        judgement = judge_event(watch.rule, watch.memory, active, _time_of(reading))
        text = {watch.rule.field: reading.fields.get("text", reading.fields.get("device_type", ""))}
        zone = str(reading.fields.get("zone", ""))[:_ZONE_LENGTH]
        self._keep(watch, judgement, text, reading.received_at, outcome, reading.digest, zone)

    # -- getting to know equipment ---------------------------------------------------------------------

    def _recall(self) -> None:
        """Go on where the service stopped: delays that ran run on, a reset finds the parts that stand."""
        rules = {rule.id: rule for rule in self._rules}
        for key, memory in self._memories.items():
            if memory.active:
                self._standing.setdefault((key.site, key.equipment, key.rule), []).append(key)
            rule = rules.get(key.rule)
            if memory.pending_since is not None and rule is not None:
                channel = Channel.STATUS if rule.field in _STATUS_FIELDS else Channel.TELEMETRY
                topic = Topic(key.site, rule.kind, key.equipment, channel)
                if topic not in self._stations:
                    self._add_station(topic)

    def _add_station(self, topic: Topic) -> _Station:
        station = self._stations[topic] = _Station()
        rules = [rule for rule in self._rules if rule.kind is topic.kind and _is_for(rule, topic.equipment)]
        station.values = _condition_values(rules, self._recall_values(topic.site, topic.equipment))
        replaced = {identity for rule in rules for identity in rule.instead_of}
        for rule in rules:
            if rule.id not in replaced:
                self._add_rule(station, topic, rule)
        return station

    def _add_rule(self, station: _Station, topic: Topic, rule: Rule) -> None:
        if rule.type is RuleType.EVENT:
            if topic.channel is Channel.EVENT:
                station.by_event.append(rule)
                for key in self._standing.get((topic.site, topic.equipment, rule.id), ()):
                    self._add_watch(station, key, topic.kind, rule)
            return
        if (rule.field in _STATUS_FIELDS) is not (topic.channel is Channel.STATUS) or topic.channel is Channel.EVENT:
            return
        watch = self._add_watch(station, Key(topic.site, topic.equipment, "", rule.id), topic.kind, rule)
        (station.by_limit if rule.type is RuleType.LIMIT else station.by_state).setdefault(rule.field, []).append(watch)
        for name in rule.condition:
            station.by_state.setdefault(name, []).append(watch)

    def _add_watch(self, station: _Station, key: Key, kind: Kind, rule: Rule) -> _Watch:
        watch = station.watches[key] = _Watch(key, kind, rule, self._memories.get(key, FRESH))
        if watch.memory.pending_since is not None:
            station.unsettled.add(key)
        return watch


def _time_of(reading: Reading) -> int:
    """When it was measured, where that can be true: not with a doubtful clock, and never later than it came."""
    at, received_at = reading.measured_at, reading.received_at
    return received_at if at > received_at or reading.quality & _DOUBTFUL_CLOCK else at


_STATUS_FIELDS: Final = frozenset({"online"})


def _condition_values(rules: Iterable[Rule], known: Mapping[str, Value]) -> dict[str, Value]:
    """Of the values from before the start those that conditions ask for; all others are looked at when they come."""
    return {name: known[name] for rule in rules for name in rule.condition if name in known}


def _is_for(rule: Rule, code: str) -> bool:
    return any(fnmatchcase(code, pattern) for pattern in rule.equipment)
