"""Applies the rules to readings as they come. Pure but for its memory, which it is given and hands back.

Thousands of readings a second pass here and almost none changes anything, so every limit keeps the band of values
in which nothing would change, and states are looked at only when a value differs from the one before. What only the
clock can show stands on the agenda, and what waits for a delay in a list of its own: a tick looks at no others.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from collectors.wire.fields import Kind
from collectors.wire.reading import Quality, Reading, Value
from collectors.wire.topics import Topic
from gateway.alarms.evaluation.channel_state import MOST_VALUES, Station, Watch, ask, judged, time_of
from gateway.alarms.evaluation.doubtful import IMPLAUSIBLE, judged_part
from gateway.alarms.evaluation.no_data_checks import hear, take_online
from gateway.alarms.evaluation.out_of_order import Disorder
from gateway.alarms.evaluation.outcomes import Alone, Failure, Outcome, keep, no_rule
from gateway.alarms.evaluation.retained_messages import take_kept
from gateway.alarms.evaluation.rule_reload import Replanned, take_up
from gateway.alarms.evaluation.schedule import BY_CLOCK, Agenda
from gateway.alarms.evaluation.timers import ClockChecks
from gateway.alarms.evaluation.unknown_equipment import UnknownEquipment
from gateway.alarms.evaluation.watched_equipment import KnownEquipment, Recall, nothing_known
from gateway.alarms.key import Key
from gateway.alarms.rules.rule import (
    Judgement,
    Memory,
    Rule,
    RuleType,
    is_match,
    judge_event,
    judge_reset,
    mature_before,
    part_of,
)
from gateway.alarms.rules.rulebook import Rulebook

_ZONE_LENGTH: Final = 128
_RETAINED: Final = int(Quality.RETAINED)
_REPEATED: Final = int(Quality.REPEATED)


class Watches:
    """Every rule on every equipment that has been heard."""

    def __init__(
        self,
        rules: Rulebook | Iterable[Rule],
        memories: Mapping[Key, Memory],
        late_window_ms: int,
        recall: Recall = nothing_known,
        unknown: UnknownEquipment | None = None,
    ) -> None:
        self._late_window_ms = late_window_ms
        self._agenda = Agenda()
        rulebook = rules if isinstance(rules, Rulebook) else Rulebook(rules)
        self._known = KnownEquipment(rulebook, memories, recall, self._agenda, unknown)
        self._stations = self._known.stations
        self._disorder = Disorder(self._agenda, late_window_ms)
        self._clock_checks = ClockChecks(self._agenda, late_window_ms)

    def take(self, readings: Iterable[Reading]) -> Outcome:
        """Judge readings, in the order of their arrival; marks those that came too late to count."""
        outcome = Outcome([], {}, [])
        for reading in readings:
            try:
                station = self._stations.get(reading.topic)
                if station is None:
                    station = self._add_station(reading.topic, outcome)
                elif station.is_unknown:
                    self._known.unknown.hear(reading.topic)
                if reading.quality & _RETAINED:
                    take_kept(self._known, station, reading, outcome)
                    continue
                silence = station.silence
                if (
                    silence is not None
                    and not reading.quality & _REPEATED
                    and (silence.heard_at or station.begins_silence)
                ):
                    if reading.received_at - silence.heard_at > silence.longest:
                        hear(self._agenda, self._stations, silence, reading, outcome)
                    silence.heard_at = reading.received_at
                if reading.digest:
                    self._take_event(station, reading, outcome)
                elif station.by_limit or station.by_state or station.by_series:
                    if reading.quality & IMPLAUSIBLE or station.doubtful:
                        part = judged_part(station, reading)
                        self._take_state(station, part, outcome)
                        reading.quality = part.quality
                    else:
                        self._take_state(station, reading, outcome)
                if station.online_of is not None:
                    take_online(self._agenda, station, station.online_of, reading, outcome)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the next reading is judged
                outcome.failures.append(Failure(no_rule(reading.topic), error, reading))
        return outcome

    def _add_station(self, topic: Topic, outcome: Outcome) -> Station:
        station = self._known.add_station(topic)
        if station.is_unknown:
            outcome.memories.update(self._known.make_room(topic))
        return station

    def tick(self, now: int, *, is_behind: bool = False) -> Outcome:
        """Let delays end by the clock, and notice what has not come or not happened.

        Args:
            now: epoch ms up to which all that has come is judged.
            is_behind: whether more may wait that would deny a delay.
        """
        return self._clock_checks.tick(now, is_behind=is_behind)

    def clock_was_set(self, by: int) -> None:
        """Go on by a service's clock that was set, `by` ms later (earlier, where negative) than it would show."""
        self._known.clock_was_set(by)
        self._agenda.clock_was_set(by)
        self._clock_checks.clock_was_set(by)

    def go_by(self, rulebook: Rulebook) -> None:
        """Use other rules for equipment that is heard from now on."""
        self._known.rulebook = rulebook

    def take_up(self, rulebook: Rulebook, changes: Iterable[Replanned], now: int) -> Outcome:
        """Go by another rulebook from now on."""
        return take_up(self._known, self._agenda, rulebook, changes, now)

    def forget(self, is_gone: Callable[[str, str, Kind], bool], standing: Collection[Key] = ()) -> None:
        """Know nothing any more of equipment of which (site, code, kind) says so, but for alarms that stand."""
        self._known.forget(is_gone, standing)

    def rename(self, site: str, code: str, new: str) -> None:
        """Let what is known of an equipment go on under its new code."""
        self._known.rename(site, code, new)

    def next_due(self) -> int | None:
        """When the next tick may change something, a second after the last one or later; None while nothing waits."""
        return self._clock_checks.next_due()

    def take_back(self, key: Key, memory: Memory) -> None:
        """Forget what could not be written: the next sample, or the clock, decides again from what is on record."""
        for topic, station in self._stations.items():
            watch = station.watches.get(key) if (topic.site, topic.equipment) == key[:2] else None
            if watch is not None:
                watch.memory = memory
                for guard in watch.guards.values():
                    guard.low, guard.high = 1.0, 0.0
                self._agenda.unsettle(station, key)

    # -- periodic state --------------------------------------------------------------------------------

    def _take_state(self, station: Station, reading: Reading, outcome: Outcome) -> None:
        at = time_of(reading)
        fields, values = reading.fields, station.values
        if at < station.newest_at:
            if not self._disorder.has_clock_stepped_back(station, at, reading):
                self._disorder.take(station, reading, at, outcome)
                return
            at = max(reading.received_at, station.newest_at)
            station.begin_delays_anew(at)
        else:
            station.behind_since = station.late_in_a_row = 0
            if station.unsettled:
                station.allow_for_a_jump(at, reading.received_at, self._late_window_ms)
        station.newest_at, station.received_at = at, reading.received_at
        touched = self._touched(station, fields)
        before = {**values} if station.unsettled else values
        values.update(fields)
        if len(values) > MOST_VALUES:
            station.forget_unasked()
            values = station.values
        if len(fields) == len(values):
            station.complete_at = at
        else:
            station.times.update(dict.fromkeys(fields, at))
        if touched or station.unsettled:
            self._judge(station, touched, values, before, at, reading, outcome)

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

    def _judge(
        self,
        station: Station,
        touched: Iterable[Watch],
        values: Mapping[str, Value],
        before: Mapping[str, Value],
        at: int,
        reading: Reading,
        outcome: Outcome,
    ) -> None:
        waiting = (station.watches[key] for key in station.unsettled)
        asked = (watch for watch in waiting if any(name in reading.fields for name in watch.inputs))
        watches = {watch.key: watch for watch in (*touched, *asked)}
        for watch in watches.values():
            waits = watch.key in station.unsettled
            self._agenda.unsettle(station, watch.key)  # it stays so where the rule fails: the next sample asks it again
            with Alone(watch.key, reading, outcome):
                held = (at, before.get(watch.rule.field))
                if watch.memory.pending_since is not None and watch.rule.type is not RuleType.ABSENCE:
                    over = mature_before(watch.rule, watch.memory, at)
                    if over.changes:
                        keep(watch, over, values, reading.received_at, outcome, before=held)
                breached = ask(watch, values, reading, at, at)
                if breached is not None:
                    watch.settle_at = 0
                    judgement = judged(watch, breached, at, reading.received_at)
                    keep(watch, judgement, values, reading.received_at, outcome, before=held)
                    if watch.rule.type in BY_CLOCK:
                        self._agenda.note(station, watch)
                    waits = judgement.memory.active is not breached
                if not waits:
                    station.unsettled.discard(watch.key)

    # -- events ----------------------------------------------------------------------------------------

    def _take_event(self, station: Station, reading: Reading, outcome: Outcome) -> None:
        fields = reading.fields
        if reading.topic.kind is Kind.FIRE_PANEL and fields.get("type") == "reset":
            for watch in tuple(station.watches.values()):
                with Alone(watch.key, reading, outcome):
                    judgement = judge_reset(watch.rule, watch.memory, time_of(reading))
                    self._keep_event(watch, judgement, reading, outcome)
            return
        active = fields.get("active", True) is not False
        for rule in station.by_event:
            with Alone(no_rule(reading.topic)._replace(rule=rule.id), reading, outcome):
                if is_match(rule, fields):
                    key = Key(reading.topic.site, reading.topic.equipment, part_of(rule, fields), rule.id)
                    watch = station.watches.get(key) or self._known.add_watch(station, key, reading.topic.kind, rule)
                    judgement = judge_event(watch.rule, watch.memory, active, time_of(reading))
                    self._keep_event(watch, judgement, reading, outcome)

    def _keep_event(self, watch: Watch, judgement: Judgement, reading: Reading, outcome: Outcome) -> None:
        text = {watch.rule.field: reading.fields.get("text", reading.fields.get("device_type", ""))}
        zone = str(reading.fields.get("zone", ""))[:_ZONE_LENGTH]
        keep(watch, judgement, text, reading.received_at, outcome, reading.digest, zone)
