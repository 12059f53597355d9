"""Timed checks: delays that end, counts that leave their window, silence and absence. Pure."""

from typing import Final

from gateway.alarms.evaluation.channel_state import ChannelState, RuleInstance
from gateway.alarms.evaluation.no_data_checks import check_silence
from gateway.alarms.evaluation.outcomes import Alone, Outcome, keep
from gateway.alarms.evaluation.schedule import Schedule
from gateway.alarms.rules.rule import is_breached, judge, judge_in_order, mature
from gateway.alarms.rules.series import counted_until, is_series_breached

_SOONEST_MS: Final = 1_000
"""Between two ticks: timed checks run once a second."""
_LISTENING_MS: Final = 30_000
"""If two ticks are further apart the service was blocked, and messages of that time are not received yet."""


class ClockChecks:
    """Runs the due checks of the schedule at each tick."""

    def __init__(self, schedule: Schedule, late_window_ms: int) -> None:
        self._schedule = schedule
        self._late_window_ms = late_window_ms
        self._ticked_at = 0
        self._listening_since = 0

    def next_due(self) -> int | None:
        """When the next tick may change something, at least a second after the last one; None: nothing is pending."""
        due = self._schedule.next_due(self._ticked_at)
        return None if due is None else max(self._ticked_at + _SOONEST_MS, due)

    def clock_was_set(self, by: int) -> None:
        """Shift times after a step of `by` ms."""
        self._ticked_at += by
        self._listening_since += by

    def tick(self, now: int, *, is_behind: bool = False) -> Outcome:
        """Let delays end by the clock, and detect silence and absence; see `progress` for the arguments."""
        schedule, outcome = self._schedule, Outcome([], {}, [])
        if not 0 <= now - self._ticked_at <= _LISTENING_MS:
            self._listening_since = now
        self._ticked_at = now
        for channel_state in tuple(schedule.waiting):
            for key in tuple(channel_state.unsettled):
                with Alone(key, None, outcome):
                    self._settle(channel_state, channel_state.instances[key], now, is_behind, outcome)
            if not channel_state.unsettled:
                del schedule.waiting[channel_state]
        for instance, channel_state in tuple(schedule.counting.items()):
            if now < instance.counted_until:
                continue
            with Alone(instance.key, None, outcome):
                self._count_again(channel_state, instance, now, outcome)
        for due, instance, channel_state in schedule.due(now):
            with Alone(instance.key, None, outcome):
                if instance.silence is None:
                    self._check_absence(channel_state, instance, now, outcome)
                elif due == instance.silence.due_at:
                    check_silence(
                        schedule, channel_state, instance, instance.silence, now, self._listening_since, outcome
                    )
        return outcome

    def _settle(
        self, channel_state: ChannelState, instance: RuleInstance, now: int, is_behind: bool, outcome: Outcome
    ) -> None:
        """End a delay, or compare an alarm raised by a sample out of order with the newest values."""
        rule, memory = instance.rule, instance.memory
        if instance.silence is not None:
            judgement = judge_in_order(rule, memory, instance.silence.is_breached, now)
        elif instance.settle_at and now >= instance.settle_at:
            instance.settle_at = 0
            breached = is_breached(rule, channel_state.values, memory.active)
            if breached is not False or not memory.active:
                return
            judgement = judge(rule, memory, breached, channel_state.newest_at, now, corrects=True)
        elif not rule.life_safety and channel_state.is_clock_in_doubt(now, self._late_window_ms):
            return
        else:
            # While we are behind, a sample that contradicts it may be waiting; but not for ever.
            patience = self._late_window_ms if is_behind and not rule.life_safety else 0
            judgement = mature(rule, memory, now)
            if not judgement.changes or now - max(instance.waits_until()) < patience:
                return
        keep(instance, judgement, channel_state.values, now, outcome)
        if instance.memory.pending_since is None:
            channel_state.unsettled.discard(instance.key)

    def _count_again(self, channel_state: ChannelState, instance: RuleInstance, now: int, outcome: Outcome) -> None:
        """Evaluate an active count again as samples leave the window."""
        if not instance.memory.active:
            del self._schedule.counting[instance]
            return
        at = max(channel_state.newest_at + now - channel_state.received_at, instance.memory.known_at + 1)
        if is_series_breached(instance.rule, instance.points, at, active=True) is False:
            keep(instance, judge(instance.rule, instance.memory, False, at, now), channel_state.values, now, outcome)
        else:
            instance.counted_until = now + max(1, counted_until(instance.rule, instance.points, at) - at)

    def _check_absence(self, channel_state: ChannelState, instance: RuleInstance, now: int, outcome: Outcome) -> None:
        due = (now if instance.happening or instance.seen_at is None else instance.seen_at) + instance.rule.after
        if due <= now:
            keep(
                instance, judge_in_order(instance.rule, instance.memory, True, now), channel_state.values, now, outcome
            )
            due = now + instance.rule.after
        self._schedule.remind(channel_state, instance, due)
