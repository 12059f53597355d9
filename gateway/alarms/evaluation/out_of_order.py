"""Samples out of order: older than the newest one, or too old to change an alarm. Pure."""

from collections.abc import Mapping

from collectors.wire.reading import Quality, Reading
from gateway.alarms.evaluation.channel_state import SERIES, ChannelState, RuleInstance, evaluate, judged, time_of
from gateway.alarms.evaluation.outcomes import Alone, Outcome, keep
from gateway.alarms.evaluation.schedule import Schedule
from gateway.alarms.key import Key
from gateway.alarms.rules.rule import RuleType, is_breached, judge


class OutOfOrderSamples:
    """Decides what a sample measured before the newest one may still change."""

    def __init__(self, schedule: Schedule, late_window_ms: int) -> None:
        self._schedule = schedule
        self._late_window_ms = late_window_ms

    def has_clock_stepped_back(self, channel_state: ChannelState, at: int, reading: Reading) -> bool:
        """Whether only older samples have arrived for a whole window: then the clock was set back.

        Until its time has caught up, such a device's samples count in the order of arrival. A part of it that always
        reports later than the others, with its own fields, does not count as set back.
        """
        if all(at >= channel_state.measured_at(name) for name in reading.fields):
            return False
        received_at = reading.received_at
        if not channel_state.behind_since or received_at < channel_state.behind_since:
            channel_state.behind_since = received_at
        return received_at - channel_state.behind_since >= self._late_window_ms > 0

    def take(self, channel_state: ChannelState, reading: Reading, at: int, outcome: Outcome) -> None:
        """Take a sample older than the newest one. Its values count as new for fields not measured since."""
        behind = max(0, min(channel_state.newest_at, reading.received_at) - at)
        if behind > self._late_window_ms:
            reading.quality |= Quality.LATE
            channel_state.late_in_a_row += 1
            self._take_late(channel_state, reading, outcome)
            return
        news = {name: value for name, value in reading.fields.items() if at >= channel_state.measured_at(name)}
        if news:
            if not news.keys() <= channel_state.values.keys():
                channel_state.date_each_field()
            channel_state.values.update(news)
            channel_state.times.update(dict.fromkeys(news, at))
            self._correct(channel_state, channel_state.watching(news), at, reading, outcome)
        past = reading.fields.keys() - news.keys()
        if past:
            self._take_past(channel_state, channel_state.watching(past), at, reading, outcome)

    def _correct(
        self,
        channel_state: ChannelState,
        instances: Mapping[Key, RuleInstance],
        at: int,
        reading: Reading,
        outcome: Outcome,
    ) -> None:
        """Evaluate the rules that use the new values; a rule of several fields at the time of the newest of them."""
        for instance in instances.values():
            waits = instance.key in channel_state.unsettled
            self._schedule.unsettle(channel_state, instance.key)
            with Alone(instance.key, reading, outcome):
                newest = max(at, *map(channel_state.measured_at, instance.inputs))
                breached = evaluate(instance, channel_state.values, reading, at, newest)
                if breached is not None:
                    corrects = len(instance.inputs) > 1 or instance.rule.type in SERIES
                    when = newest if instance.rule.type in SERIES or (corrects and breached) else at
                    judgement = judged(instance, breached, when, reading.received_at, corrects=corrects)
                    shown = reading.fields if instance.rule.type in SERIES else channel_state.values
                    keep(instance, judgement, shown, reading.received_at, outcome)
                    self._schedule.note(channel_state, instance)
                    waits = judgement.memory.active is not breached
                if not waits:
                    channel_state.unsettled.discard(instance.key)

    def _take_past(
        self,
        channel_state: ChannelState,
        instances: Mapping[Key, RuleInstance],
        at: int,
        reading: Reading,
        outcome: Outcome,
    ) -> None:
        """Evaluate past values: the current state stays, but a past alarm is not lost.

        They may raise a rule without delay, and end that again if the newest values are no breach either; the next
        sample in order, or the end of the window, decides. They begin no delay: what was measured after them is no
        longer known. Nor do they raise a combination: the other fields' values at that time are not known.
        """
        values = {**channel_state.values, **reading.fields}
        for instance in instances.values():
            with Alone(instance.key, reading, outcome):
                rule, active = instance.rule, instance.memory.active
                if rule.type in SERIES:
                    self._correct(channel_state, {instance.key: instance}, at, reading, outcome)
                    continue
                if rule.type not in (RuleType.LIMIT, RuleType.STATE):
                    continue
                breached = is_breached(rule, values, active)
                if breached is None or breached is active or (rule.off_delay if active else rule.on_delay):
                    continue
                if active and is_breached(rule, channel_state.values, active) is not False:
                    continue
                self._schedule.unsettle(channel_state, instance.key)
                instance.settle_at = reading.received_at + self._late_window_ms
                judgement = judge(rule, instance.memory, breached, at, reading.received_at)
                keep(instance, judgement, values, reading.received_at, outcome)

    def _take_late(self, channel_state: ChannelState, reading: Reading, outcome: Outcome) -> None:
        """Take a sample that is too late to change an alarm: it may still raise one of life safety."""
        instances = {
            instance.key: instance for name in reading.fields for instance in channel_state.by_state.get(name, ())
        }
        values = {**channel_state.values, **reading.fields}
        for instance in instances.values():
            with Alone(instance.key, reading, outcome):
                if (
                    instance.rule.life_safety
                    and not instance.memory.active
                    and is_breached(instance.rule, values, active=False)
                ):
                    self._schedule.unsettle(channel_state, instance.key)
                    at = max(time_of(reading), instance.memory.known_at)
                    judgement = judge(instance.rule, instance.memory, True, at, reading.received_at)
                    keep(instance, judgement, values, reading.received_at, outcome)
