"""Applies the rules to readings as they arrive. Pure except for its memory, which is passed in and returned.

Thousands of readings a second pass here and almost none changes anything. So every limit keeps the band of values in
which nothing would change, and states are evaluated only when a value differs from the one before. A tick looks only at
the schedule of timed checks and at the list of pending delays.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from collectors.wire.fields import Kind
from collectors.wire.reading import Quality, Reading, Value
from collectors.wire.topics import Topic
from gateway.alarms.evaluation.channel_state import MOST_VALUES, ChannelState, RuleInstance, evaluate, judged, time_of
from gateway.alarms.evaluation.doubtful import IMPLAUSIBLE, judged_part
from gateway.alarms.evaluation.no_data_checks import receive, take_online
from gateway.alarms.evaluation.out_of_order import OutOfOrderSamples
from gateway.alarms.evaluation.outcomes import Alone, Failure, Outcome, keep, no_rule
from gateway.alarms.evaluation.retained_messages import take_retained
from gateway.alarms.evaluation.rule_reload import Replanned, take_up
from gateway.alarms.evaluation.schedule import BY_CLOCK, Schedule
from gateway.alarms.evaluation.timers import ClockChecks
from gateway.alarms.evaluation.unknown_equipment import UnknownEquipment
from gateway.alarms.evaluation.watched_equipment import Recall, WatchedEquipment, nothing_known
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


class RuleEvaluator:
    """All rules on all equipment that has sent a message."""

    def __init__(
        self,
        rules: Rulebook | Iterable[Rule],
        memories: Mapping[Key, Memory],
        late_window_ms: int,
        recall: Recall = nothing_known,
        unknown: UnknownEquipment | None = None,
    ) -> None:
        self._late_window_ms = late_window_ms
        self._schedule = Schedule()
        rulebook = rules if isinstance(rules, Rulebook) else Rulebook(rules)
        self._known = WatchedEquipment(rulebook, memories, recall, self._schedule, unknown)
        self._channel_states = self._known.channel_states
        self._out_of_order = OutOfOrderSamples(self._schedule, late_window_ms)
        self._clock_checks = ClockChecks(self._schedule, late_window_ms)

    def take(self, readings: Iterable[Reading]) -> Outcome:
        """Judge readings in the order of arrival; marks those that arrived too late to count."""
        outcome = Outcome([], {}, [])
        for reading in readings:
            try:
                channel_state = self._channel_states.get(reading.topic)
                if channel_state is None:
                    channel_state = self._add_channel(reading.topic, outcome)
                elif channel_state.is_unknown:
                    self._known.unknown.receive(reading.topic)
                if reading.quality & _RETAINED:
                    take_retained(self._known, channel_state, reading, outcome)
                    continue
                silence = channel_state.silence
                if (
                    silence is not None
                    and not reading.quality & _REPEATED
                    and (silence.last_received_at or channel_state.begins_silence)
                ):
                    if reading.received_at - silence.last_received_at > silence.longest:
                        receive(self._schedule, self._channel_states, silence, reading, outcome)
                    silence.last_received_at = reading.received_at
                if reading.digest:
                    self._take_event(channel_state, reading, outcome)
                elif channel_state.by_limit or channel_state.by_state or channel_state.by_series:
                    if reading.quality & IMPLAUSIBLE or channel_state.doubtful:
                        part = judged_part(channel_state, reading)
                        self._take_state(channel_state, part, outcome)
                        reading.quality = part.quality
                    else:
                        self._take_state(channel_state, reading, outcome)
                if channel_state.online_of is not None:
                    take_online(self._schedule, channel_state, channel_state.online_of, reading, outcome)
            except Exception as error:  # noqa: BLE001 - any error is reported, and the next reading is judged
                outcome.failures.append(Failure(no_rule(reading.topic), error, reading))
        return outcome

    def _add_channel(self, topic: Topic, outcome: Outcome) -> ChannelState:
        channel_state = self._known.add_channel(topic)
        if channel_state.is_unknown:
            outcome.memories.update(self._known.make_room(topic))
        return channel_state

    def tick(self, now: int, *, is_behind: bool = False) -> Outcome:
        """Let delays end by the clock, and detect silence and absence.

        Args:
            now: epoch ms up to which everything received is judged.
            is_behind: whether messages may be waiting that contradict a delay.
        """
        return self._clock_checks.tick(now, is_behind=is_behind)

    def clock_was_set(self, by: int) -> None:
        """Shift all times after the service's clock was set by `by` ms (negative: back)."""
        self._known.clock_was_set(by)
        self._schedule.clock_was_set(by)
        self._clock_checks.clock_was_set(by)

    def go_by(self, rulebook: Rulebook) -> None:
        """Use other rules for equipment whose first message is yet to come."""
        self._known.rulebook = rulebook

    def take_up(self, rulebook: Rulebook, changes: Iterable[Replanned], now: int) -> Outcome:
        """Apply another rulebook from now on."""
        return take_up(self._known, self._schedule, rulebook, changes, now)

    def forget(self, is_gone: Callable[[str, str, Kind], bool], standing: Collection[Key] = ()) -> None:
        """Forget equipment for which `is_gone(site, code, kind)` is true, except the memory of `standing` alarms."""
        self._known.forget(is_gone, standing)

    def rename(self, site: str, code: str, new: str) -> None:
        """Move the state of an equipment to its new code."""
        self._known.rename(site, code, new)

    def next_due(self) -> int | None:
        """When the next tick may change something, at least a second after the last one; None: nothing is pending."""
        return self._clock_checks.next_due()

    def take_back(self, key: Key, memory: Memory) -> None:
        """Restore the recorded memory after a failed write: the next sample or tick decides again."""
        for topic, channel_state in self._channel_states.items():
            instance = channel_state.instances.get(key) if (topic.site, topic.equipment) == key[:2] else None
            if instance is not None:
                instance.memory = memory
                for quiet in instance.bands_by_field.values():
                    quiet.low, quiet.high = 1.0, 0.0
                self._schedule.unsettle(channel_state, key)

    # -- periodic state --------------------------------------------------------------------------------

    def _take_state(self, channel_state: ChannelState, reading: Reading, outcome: Outcome) -> None:
        at = time_of(reading)
        fields, values = reading.fields, channel_state.values
        if at < channel_state.newest_at:
            if not self._out_of_order.has_clock_stepped_back(channel_state, at, reading):
                self._out_of_order.take(channel_state, reading, at, outcome)
                return
            at = max(reading.received_at, channel_state.newest_at)
            channel_state.begin_delays_anew(at)
        else:
            channel_state.behind_since = channel_state.late_in_a_row = 0
            if channel_state.unsettled:
                channel_state.allow_for_a_jump(at, reading.received_at, self._late_window_ms)
        channel_state.newest_at, channel_state.received_at = at, reading.received_at
        touched = self._touched(channel_state, fields)
        before = {**values} if channel_state.unsettled else values
        values.update(fields)
        if len(values) > MOST_VALUES:
            channel_state.forget_unused_fields()
            values = channel_state.values
        if len(fields) == len(values):
            channel_state.complete_at = at
        else:
            channel_state.times.update(dict.fromkeys(fields, at))
        if touched or channel_state.unsettled:
            self._judge(channel_state, touched, values, before, at, reading, outcome)

    def _touched(self, channel_state: ChannelState, fields: Mapping[str, Value]) -> Sequence[RuleInstance]:
        """The rule instances whose state the fields may change."""
        touched: Sequence[RuleInstance] = ()
        values = channel_state.values
        by_limit, by_state = channel_state.by_limit, channel_state.by_state
        for name, value in fields.items():
            if name in by_limit and value.__class__ is float:
                for quiet in by_limit[name]:
                    if not quiet.low <= value <= quiet.high:
                        touched = (*touched, quiet.instance)
            if name in by_state and values.get(name) != value:
                touched = (*touched, *by_state[name])
        if channel_state.by_series or channel_state.recalled:
            touched = (*touched, *self._always_evaluated(channel_state, fields))
        return touched

    def _always_evaluated(self, channel_state: ChannelState, fields: Mapping[str, Value]) -> list[RuleInstance]:
        """Instances to evaluate for every sample: rates, and all that use a value known only from before the start."""
        found = [
            instance
            for name in channel_state.by_series.keys() & fields.keys()
            for instance in channel_state.by_series[name]
        ]
        found += [
            instance
            for name in channel_state.recalled & fields.keys()
            for instance in channel_state.by_state.get(name, ())
        ]
        channel_state.recalled -= fields.keys()
        return found

    def _judge(
        self,
        channel_state: ChannelState,
        touched: Iterable[RuleInstance],
        values: Mapping[str, Value],
        before: Mapping[str, Value],
        at: int,
        reading: Reading,
        outcome: Outcome,
    ) -> None:
        waiting = (channel_state.instances[key] for key in channel_state.unsettled)
        concerned = (instance for instance in waiting if any(name in reading.fields for name in instance.inputs))
        instances = {instance.key: instance for instance in (*touched, *concerned)}
        for instance in instances.values():
            waits = instance.key in channel_state.unsettled
            self._schedule.unsettle(
                channel_state, instance.key
            )  # stays so if the rule fails: the next sample evaluates it again
            with Alone(instance.key, reading, outcome):
                held = (at, before.get(instance.rule.field))
                if instance.memory.pending_since is not None and instance.rule.type is not RuleType.ABSENCE:
                    over = mature_before(instance.rule, instance.memory, at)
                    if over.changes:
                        keep(instance, over, values, reading.received_at, outcome, before=held)
                breached = evaluate(instance, values, reading, at, at)
                if breached is not None:
                    instance.settle_at = 0
                    judgement = judged(instance, breached, at, reading.received_at)
                    keep(instance, judgement, values, reading.received_at, outcome, before=held)
                    if instance.rule.type in BY_CLOCK:
                        self._schedule.note(channel_state, instance)
                    waits = judgement.memory.active is not breached
                if not waits:
                    channel_state.unsettled.discard(instance.key)

    # -- events ----------------------------------------------------------------------------------------

    def _take_event(self, channel_state: ChannelState, reading: Reading, outcome: Outcome) -> None:
        fields = reading.fields
        if reading.topic.kind is Kind.FIRE_PANEL and fields.get("type") == "reset":
            for instance in tuple(channel_state.instances.values()):
                with Alone(instance.key, reading, outcome):
                    judgement = judge_reset(instance.rule, instance.memory, time_of(reading))
                    self._keep_event(instance, judgement, reading, outcome)
            return
        active = fields.get("active", True) is not False
        for rule in channel_state.by_event:
            with Alone(no_rule(reading.topic)._replace(rule=rule.id), reading, outcome):
                if is_match(rule, fields):
                    key = Key(reading.topic.site, reading.topic.equipment, part_of(rule, fields), rule.id)
                    instance = channel_state.instances.get(key) or self._known.add_instance(
                        channel_state, key, reading.topic.kind, rule
                    )
                    judgement = judge_event(instance.rule, instance.memory, active, time_of(reading))
                    self._keep_event(instance, judgement, reading, outcome)

    def _keep_event(self, instance: RuleInstance, judgement: Judgement, reading: Reading, outcome: Outcome) -> None:
        text = {instance.rule.field: reading.fields.get("text", reading.fields.get("device_type", ""))}
        zone = str(reading.fields.get("zone", ""))[:_ZONE_LENGTH]
        keep(instance, judgement, text, reading.received_at, outcome, reading.digest, zone)
