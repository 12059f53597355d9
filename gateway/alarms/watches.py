"""Applies the rules to readings as they come. Pure but for its memory, which it is given and hands back.

Thousands of readings a second pass here and almost none changes anything, so every limit keeps the band of values
in which nothing would change, and states are looked at only when a value differs from the one before. What only the
clock can show stands in a heap of due times, and what waits for a delay in a list of its own: a tick
looks at no others.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    is_for,
    is_match,
    judge,
    judge_event,
    mature,
    part_of,
    quiet_bands,
)
from gateway.alarms.series import is_series_breached
from gateway.alarms.silence import Silence
from gateway.alarms.stations import SERIES, Guard, Key, Plan, Station, Watch, ask, time_of, with_habits

_ZONE_LENGTH: Final = 128
_RETAINED: Final = int(Quality.RETAINED)
_LISTENING_MS: Final = 30_000
"""Between two ticks that are further apart the service was held up, and whoever spoke then was not heard yet."""
_MOST_CHECKS: Final = 1_000
"""Of what only the clock can show, in one tick: ten thousand equipments that start together hold up nobody."""
_BY_CLOCK: Final = frozenset({RuleType.COUNT, RuleType.NO_DATA, RuleType.ABSENCE})


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


Recall = Callable[[str, str], Mapping[str, Value]]
"""(site, equipment) -> the values that are known from before the start."""


def is_watched(alarm: Mapping[str, Any], rules: Iterable[Rule]) -> bool:
    """Whether some rule could still end this open alarm: its own, for this equipment and with parts as it has."""
    applying = [rule for rule in rules if rule.kind.value == alarm["kind"] and is_for(rule, alarm["equipment"])]
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
        self._plans = {rule.id: Plan(rule) for rule in self._rules}
        self._memories = dict(memories)
        self._late_window_ms = late_window_ms
        self._recall_values = recall or nothing_known
        self._stations: dict[Topic, Station] = {}
        self._standing: dict[tuple[str, str, str], list[Key]] = {}
        # Stations with unsettled watches, and counts that stand: each tick looks at these.
        self._waiting: dict[Station, None] = {}
        self._counting: dict[Watch, Station] = {}
        # (when, number, watch, station) of what only the clock can show.
        self._due: list[tuple[int, int, Watch, Station]] = []
        self._numbered = 0
        self._ticked_at = 0
        self._listening_since = 0
        self._recall()

    def take(self, readings: Iterable[Reading]) -> Outcome:
        """Judge readings, in the order of their arrival; marks those that came too late to count."""
        outcome = Outcome([], {}, [])
        for reading in readings:
            try:
                station = self._stations.get(reading.topic)
                if station is None:
                    station = self._add_station(reading.topic)
                if reading.quality & _RETAINED:
                    continue  # a broker repeats it at every start: nobody knows how old it is
                silence = station.silence
                if silence is not None:
                    if reading.received_at - silence.heard_at > silence.longest:
                        self._hear(silence, reading, outcome)
                    silence.heard_at = reading.received_at
                if reading.digest:
                    self._take_event(station, reading, outcome)
                elif station.by_limit or station.by_state or station.by_series:
                    self._take_state(station, reading, outcome)
                if station.online_of is not None:
                    self._take_online(station, station.online_of, reading, outcome)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the next reading is judged
                outcome.failures.append(Failure(no_rule(reading.topic), error, reading))
        return outcome

    def tick(self, now: int) -> Outcome:
        """Let delays end by the clock, and notice what has not come or not happened."""
        outcome = Outcome([], {}, [])
        if not 0 <= now - self._ticked_at <= _LISTENING_MS:
            self._listening_since = now
        self._ticked_at = now
        for station in tuple(self._waiting):
            for key in tuple(station.unsettled):
                with _Alone(key, None, outcome):
                    self._settle(station, station.watches[key], now, outcome)
            if not station.unsettled:
                del self._waiting[station]
        for watch, station in tuple(self._counting.items()):
            with _Alone(watch.key, None, outcome):
                self._count_again(station, watch, now, outcome)
        for _ in range(_MOST_CHECKS):
            if not self._due or self._due[0][0] > now:
                break
            due, _, watch, station = heapq.heappop(self._due)
            with _Alone(watch.key, None, outcome):
                if watch.silence is None:
                    self._check_absence(station, watch, now, outcome)
                elif due == watch.silence.due_at:
                    self._check_silence(station, watch, watch.silence, now, outcome)
        return outcome

    def take_back(self, key: Key, memory: Memory) -> None:
        """Forget what could not be written: the next sample, or the clock, decides again from what is on record."""
        self._memories[key] = memory
        for topic, station in self._stations.items():
            watch = station.watches.get(key) if (topic.site, topic.equipment) == key[:2] else None
            if watch is not None:
                watch.memory = memory
                for guard in watch.guards.values():
                    guard.low, guard.high = 1.0, 0.0
                self._unsettle(station, key)

    def _unsettle(self, station: Station, key: Key) -> None:
        station.unsettled.add(key)
        self._waiting[station] = None

    # -- the clock -------------------------------------------------------------------------------------

    def _settle(self, station: Station, watch: Watch, now: int, outcome: Outcome) -> None:
        """Let a delay end, or have the newest values say what becomes of what disorder has raised."""
        rule, memory = watch.rule, watch.memory
        if watch.silence is not None:
            judgement = judge(rule, memory, watch.silence.is_breached, now, now)
        elif watch.settle_at and now >= watch.settle_at:
            watch.settle_at = 0
            breached = is_breached(rule, station.values, memory.active)
            if breached is not False or not memory.active:
                return
            judgement = judge(rule, memory, breached, station.newest_at, now, corrects=True)
        elif not rule.life_safety and station.is_clock_in_doubt(now, self._late_window_ms):
            return
        else:
            judgement = mature(rule, memory, now)
            if not judgement.changes:
                return
        self._keep(watch, judgement, station.values, now, outcome)
        if watch.memory.pending_since is None:
            station.unsettled.discard(watch.key)

    def _count_again(self, station: Station, watch: Watch, now: int, outcome: Outcome) -> None:
        """What was counted leaves the window as time goes by."""
        if not watch.memory.active:
            del self._counting[watch]
            return
        at = max(station.newest_at + now - station.received_at, watch.memory.known_at + 1)
        if is_series_breached(watch.rule, watch.points, at, active=True) is False:
            self._keep(watch, judge(watch.rule, watch.memory, False, at, now), station.values, now, outcome)

    def _set_clock(self, station: Station, watch: Watch) -> None:
        """Have the ticks look at what changes with time alone."""
        if watch.rule.type is RuleType.COUNT:
            self._counting[watch] = station
        elif watch.rule.type is RuleType.ABSENCE and not watch.reminded:
            watch.reminded = True
            self._remind(station, watch, (watch.seen_at or 0) + watch.rule.after)

    def _remind(self, station: Station, watch: Watch, due: int) -> None:
        self._numbered += 1
        heapq.heappush(self._due, (due, self._numbered, watch, station))

    def _check_absence(self, station: Station, watch: Watch, now: int, outcome: Outcome) -> None:
        due = (now if watch.happening or watch.seen_at is None else watch.seen_at) + watch.rule.after
        if due <= now:
            self._keep(watch, judge(watch.rule, watch.memory, True, now, now), station.values, now, outcome)
            due = now + watch.rule.after
        self._remind(station, watch, due)

    # -- silence ---------------------------------------------------------------------------------------

    def _check_silence(self, station: Station, watch: Watch, silence: Silence, now: int, outcome: Outcome) -> None:
        silence.check(now, self._listening_since)
        if silence.silent:
            self._judge_silence(station, watch, silence, now, outcome)
        else:
            self._keep(watch, Judgement(watch.memory), {}, now, outcome)
            self._remind(station, watch, silence.due_at)

    def _hear(self, silence: Silence, reading: Reading, outcome: Outcome) -> None:
        was_silent, received_at = silence.silent, reading.received_at
        if not silence.hear(received_at):
            return
        topic = reading.topic
        station = self._stations[_status_of(topic)]
        watch = station.watches[Key(topic.site, topic.equipment, "", silence.rule.id)]
        self._remind(station, watch, silence.due_at)
        if was_silent:
            self._judge_silence(station, watch, silence, received_at, outcome)

    def _take_online(self, station: Station, watch: Watch, reading: Reading, outcome: Outcome) -> None:
        """The status counts in the order of its arrival: the broker itself sends the last will."""
        online = reading.fields.get("online")
        if watch.silence is not None and isinstance(online, bool):
            watch.silence.online = online
            self._judge_silence(station, watch, watch.silence, reading.received_at, outcome)

    def _judge_silence(self, station: Station, watch: Watch, silence: Silence, now: int, outcome: Outcome) -> None:
        said: dict[str, Value] = {} if silence.online else {"online": False}
        self._unsettle(station, watch.key)
        judgement = judge(watch.rule, watch.memory, silence.is_breached, now, now)
        self._keep(watch, judgement, said, now, outcome)
        if watch.memory.pending_since is None:
            station.unsettled.discard(watch.key)

    # -- periodic state --------------------------------------------------------------------------------

    def _take_state(self, station: Station, reading: Reading, outcome: Outcome) -> None:
        at = time_of(reading)
        fields, values = reading.fields, station.values
        if at < station.newest_at:
            if not self._has_clock_stepped_back(station, at, reading):
                self._take_disordered(station, reading, at, outcome)
                return
            at = max(reading.received_at, station.newest_at)
            station.begin_delays_anew(at)
        else:
            station.behind_since = station.late_in_a_row = 0
            if station.unsettled:
                station.allow_for_a_jump(at, reading.received_at, self._late_window_ms)
        station.newest_at, station.received_at = at, reading.received_at
        touched = self._touched(station, fields)
        values.update(fields)
        if len(fields) == len(values):
            station.complete_at = at
        else:
            station.times.update(dict.fromkeys(fields, at))
        if touched or station.unsettled:
            self._judge(station, touched, values, at, reading, outcome)

    def _touched(self, station: Station, fields: Mapping[str, Value]) -> Sequence[Watch]:
        """The watches for which the fields may change something."""
        touched: Sequence[Watch] = ()
        values = station.values
        by_limit, by_state = station.by_limit, station.by_state
        for name, value in fields.items():
            if name in by_limit and value.__class__ is float:
                for guard in by_limit[name]:
                    if not guard.low <= value <= guard.high:
                        touched = (*touched, guard.watch)
            if name in by_state and values.get(name) != value:
                touched = (*touched, *by_state[name])
        if station.by_series or station.recalled:
            touched = (*touched, *self._always_asked(station, fields))
        return touched

    def _always_asked(self, station: Station, fields: Mapping[str, Value]) -> list[Watch]:
        """Rates look at each sample, and all look at a value that was known from before the start only."""
        asked = [watch for name in station.by_series.keys() & fields.keys() for watch in station.by_series[name]]
        asked += [watch for name in station.recalled & fields.keys() for watch in station.by_state.get(name, ())]
        station.recalled -= fields.keys()
        return asked

    def _has_clock_stepped_back(self, station: Station, at: int, reading: Reading) -> bool:
        """Whether for a whole window nothing but samples of the past has come: then the clock was set back.

        Until its time has caught up, such a device's samples count by their order of arrival. A part of it that always
        speaks later than the others, about fields of its own, is not set back.
        """
        if all(at >= station.measured_at(name) for name in reading.fields):
            return False
        received_at = reading.received_at
        if not station.behind_since or received_at < station.behind_since:
            station.behind_since = received_at
        return received_at - station.behind_since >= self._late_window_ms > 0

    def _take_disordered(self, station: Station, reading: Reading, at: int, outcome: Outcome) -> None:
        """A sample from before the newest one. What it says of fields that nobody has measured since is news."""
        behind = max(0, min(station.newest_at, reading.received_at) - at)
        if behind > self._late_window_ms:
            reading.quality |= Quality.LATE
            station.late_in_a_row += 1
            self._take_late(station, reading, outcome)
            return
        news = {name: value for name, value in reading.fields.items() if at >= station.measured_at(name)}
        if news:
            station.values.update(news)
            station.times.update(dict.fromkeys(news, at))
            self._correct(station, station.watching(news), at, reading, outcome)
        past = reading.fields.keys() - news.keys()
        if past:
            self._take_past(station, station.watching(past), at, reading, outcome)

    def _correct(
        self, station: Station, watches: Mapping[Key, Watch], at: int, reading: Reading, outcome: Outcome
    ) -> None:
        """Ask what looks at the news. A rule of several fields is asked about the time of the newest of them."""
        for watch in watches.values():
            waits = watch.key in station.unsettled
            self._unsettle(station, watch.key)
            with _Alone(watch.key, reading, outcome):
                newest = max(at, *map(station.measured_at, watch.inputs))
                breached = ask(watch, station.values, reading, at, newest)
                if breached is not None:
                    corrects = len(watch.inputs) > 1 or watch.rule.type in SERIES
                    when = newest if watch.rule.type in SERIES or (corrects and breached) else at
                    judgement = judge(watch.rule, watch.memory, breached, when, reading.received_at, corrects=corrects)
                    self._keep(watch, judgement, station.values, reading.received_at, outcome)
                    self._set_clock(station, watch)
                    waits = judgement.memory.active is not breached
                if not waits:
                    station.unsettled.discard(watch.key)

    def _take_past(
        self, station: Station, watches: Mapping[Key, Watch], at: int, reading: Reading, outcome: Outcome
    ) -> None:
        """What holds now stands, but an alarm of then is not lost.

        It may raise a rule that has no delay, and end that again where the newest values are no breach either; the
        next sample in order, or else the end of the window, has the last word. It begins no delay: what was measured
        after it is not known any more. Nor does it raise a combination: what the other fields said then is not known.
        """
        values = {**station.values, **reading.fields}
        for watch in watches.values():
            with _Alone(watch.key, reading, outcome):
                rule, active = watch.rule, watch.memory.active
                if rule.type in SERIES:
                    self._correct(station, {watch.key: watch}, at, reading, outcome)
                    continue
                if rule.type not in (RuleType.LIMIT, RuleType.STATE):
                    continue
                breached = is_breached(rule, values, active)
                if breached is None or breached is active or (rule.off_delay if active else rule.on_delay):
                    continue
                if active and is_breached(rule, station.values, active) is not False:
                    continue
                self._unsettle(station, watch.key)
                watch.settle_at = reading.received_at + self._late_window_ms
                judgement = judge(rule, watch.memory, breached, at, reading.received_at)
                self._keep(watch, judgement, values, reading.received_at, outcome)

    def _take_late(self, station: Station, reading: Reading, outcome: Outcome) -> None:
        """What comes too late changes no alarm, but it may still tell of somebody in danger; that is never let go."""
        watches = {watch.key: watch for name in reading.fields for watch in station.by_state.get(name, ())}
        values = {**station.values, **reading.fields}
        for watch in watches.values():
            with _Alone(watch.key, reading, outcome):
                if watch.rule.life_safety and not watch.memory.active and is_breached(watch.rule, values, active=False):
                    self._unsettle(station, watch.key)
                    at = max(time_of(reading), watch.memory.known_at)
                    judgement = judge(watch.rule, watch.memory, True, at, reading.received_at)
                    self._keep(watch, judgement, values, reading.received_at, outcome)

    def _judge(
        self,
        station: Station,
        touched: Iterable[Watch],
        values: Mapping[str, Value],
        at: int,
        reading: Reading,
        outcome: Outcome,
    ) -> None:
        waiting = (station.watches[key] for key in station.unsettled)
        asked = (watch for watch in waiting if any(name in reading.fields for name in watch.inputs))
        watches = {watch.key: watch for watch in (*touched, *asked)}
        for watch in watches.values():
            waits = watch.key in station.unsettled
            self._unsettle(station, watch.key)  # and so it stays where the rule fails: the next sample asks it again
            with _Alone(watch.key, reading, outcome):
                breached = ask(watch, values, reading, at, at)
                if breached is not None:
                    watch.settle_at = 0
                    judgement = judge(watch.rule, watch.memory, breached, at, reading.received_at)
                    self._keep(watch, judgement, values, reading.received_at, outcome)
                    if watch.rule.type in _BY_CLOCK:
                        self._set_clock(station, watch)
                    waits = judgement.memory.active is not breached
                if not waits:
                    station.unsettled.discard(watch.key)

    def _keep(
        self,
        watch: Watch,
        judgement: Judgement,
        values: Mapping[str, Value],
        received_at: int,
        outcome: Outcome,
        digest: str = "",
        zone: str = "",
    ) -> None:
        memory, changes = with_habits(watch, judgement.memory), judgement.changes
        quiet = quiet_bands(watch.rule, memory, values) if watch.guards else {}
        if memory != watch.memory:  # from here on nothing fails: what is remembered is decided too
            watch.memory = outcome.memories[watch.key] = self._memories[watch.key] = memory
        for name, band in quiet.items():
            watch.guards[name].low, watch.guards[name].high = band
        value = values.get(watch.rule.field)
        outcome.decisions.extend(
            Decision(watch.key, watch.rule, watch.kind, change, value, received_at, digest, zone) for change in changes
        )

    # -- events ----------------------------------------------------------------------------------------

    def _take_event(self, station: Station, reading: Reading, outcome: Outcome) -> None:
        fields = reading.fields
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

    def _judge_event(self, watch: Watch, active: bool, reading: Reading, outcome: Outcome) -> None:
        judgement = judge_event(watch.rule, watch.memory, active, time_of(reading))
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
            if rule is not None and (memory.pending_since is not None or rule.type in _BY_CLOCK):
                channel = Channel.STATUS if rule.field in _STATUS_FIELDS else Channel.TELEMETRY
                topic = Topic(key.site, rule.kind, key.equipment, channel)
                if topic not in self._stations:
                    self._add_station(topic)

    def _add_station(self, topic: Topic) -> Station:
        station = self._stations[topic] = Station()
        rules = [rule for rule in self._rules if rule.kind is topic.kind and is_for(rule, topic.equipment)]
        known = self._recall_values(topic.site, topic.equipment)
        station.recalled = {
            name for rule in rules if rule.when is not None for name in self._plans[rule.id].inputs if name in known
        }
        # Also what conditions ask for; all else is looked at when it comes.
        asked = station.recalled.union(*(rule.condition for rule in rules))
        station.values = {name: known[name] for name in asked if name in known}
        replaced = {identity for rule in rules for identity in rule.instead_of}
        for rule in rules:
            if rule.id not in replaced:
                self._add_rule(station, topic, rule)
        return station

    def _add_rule(self, station: Station, topic: Topic, rule: Rule) -> None:
        if rule.type is RuleType.NO_DATA:
            self._add_silence(station, topic, rule)
            return
        if rule.type is RuleType.EVENT:
            if topic.channel is Channel.EVENT:
                station.by_event.append(rule)
                for key in self._standing.get((topic.site, topic.equipment, rule.id), ()):
                    self._add_watch(station, key, topic.kind, rule)
            return
        if topic.channel is Channel.EVENT or rule.type is RuleType.UNANSWERED:
            return
        if (rule.field in _STATUS_FIELDS) is not (topic.channel is Channel.STATUS):
            return
        watch = self._add_watch(station, Key(topic.site, topic.equipment, "", rule.id), topic.kind, rule)
        plan = self._plans[rule.id]
        for name in plan.inputs:
            if rule.type is RuleType.RATE:
                station.by_series.setdefault(name, []).append(watch)
            elif name in plan.differing:
                station.by_state.setdefault(name, []).append(watch)
        for name in plan.guarded:
            guard = watch.guards[name] = Guard(watch)
            station.by_limit.setdefault(name, []).append(guard)

    def _add_silence(self, station: Station, topic: Topic, rule: Rule) -> None:
        """Who is silent on one channel and offline on another has one alarm; it stands with the status."""
        key = Key(topic.site, topic.equipment, "", rule.id)
        if topic.channel is Channel.STATUS:
            watch = station.online_of = self._add_watch(station, key, topic.kind, rule)
            watch.silence = silence = Silence(rule, watch.memory)
            if silence.interval and not silence.silent:
                self._remind(station, watch, silence.due_at)
        elif topic.channel is rule.channel:
            status = _status_of(topic)
            station.silence = (self._stations.get(status) or self._add_station(status)).watches[key].silence

    def _add_watch(self, station: Station, key: Key, kind: Kind, rule: Rule) -> Watch:
        watch = station.watches[key] = Watch(key, kind, self._plans[rule.id], self._memories.get(key, FRESH))
        if watch.memory.pending_since is not None:
            self._unsettle(station, key)
        if rule.type is RuleType.COUNT and watch.memory.active:
            self._counting[watch] = station
        if rule.type is RuleType.ABSENCE and watch.seen_at is not None:
            self._set_clock(station, watch)
        return watch


def _status_of(topic: Topic) -> Topic:
    return Topic(topic.site, topic.kind, topic.equipment, Channel.STATUS)


_STATUS_FIELDS: Final = frozenset({"online"})
