"""What only the clock can show: delays that end, counts that leave their window, what has not happened. Pure."""

from typing import Final

from gateway.alarms.evaluation.channel_state import Station, Watch
from gateway.alarms.evaluation.no_data_checks import check_silence
from gateway.alarms.evaluation.outcomes import Alone, Outcome, keep
from gateway.alarms.evaluation.schedule import Agenda
from gateway.alarms.rules.rule import is_breached, judge, judge_in_order, mature
from gateway.alarms.rules.series import counted_until, is_series_breached

_SOONEST_MS: Final = 1_000
"""Between two ticks: what counts down is looked at once a second."""
_LISTENING_MS: Final = 30_000
"""Between two ticks that are further apart the service was held up, and whoever spoke then was not heard yet."""


class ClockChecks:
    """Looks at the agenda whenever the clock is told."""

    def __init__(self, agenda: Agenda, late_window_ms: int) -> None:
        self._agenda = agenda
        self._late_window_ms = late_window_ms
        self._ticked_at = 0
        self._listening_since = 0

    def next_due(self) -> int | None:
        """When the next tick may change something, a second after the last one or later; None while nothing waits."""
        due = self._agenda.next_due(self._ticked_at)
        return None if due is None else max(self._ticked_at + _SOONEST_MS, due)

    def clock_was_set(self, by: int) -> None:
        """Go on by another clock, `by` ms later than the one before."""
        self._ticked_at += by
        self._listening_since += by

    def tick(self, now: int, *, is_behind: bool = False) -> Outcome:
        """Let delays end by the clock, and notice what has not come or not happened; see `progress` for both."""
        agenda, outcome = self._agenda, Outcome([], {}, [])
        if not 0 <= now - self._ticked_at <= _LISTENING_MS:
            self._listening_since = now
        self._ticked_at = now
        for station in tuple(agenda.waiting):
            for key in tuple(station.unsettled):
                with Alone(key, None, outcome):
                    self._settle(station, station.watches[key], now, is_behind, outcome)
            if not station.unsettled:
                del agenda.waiting[station]
        for watch, station in tuple(agenda.counting.items()):
            if now < watch.counted_until:
                continue
            with Alone(watch.key, None, outcome):
                self._count_again(station, watch, now, outcome)
        for due, watch, station in agenda.due(now):
            with Alone(watch.key, None, outcome):
                if watch.silence is None:
                    self._check_absence(station, watch, now, outcome)
                elif due == watch.silence.due_at:
                    check_silence(agenda, station, watch, watch.silence, now, self._listening_since, outcome)
        return outcome

    def _settle(self, station: Station, watch: Watch, now: int, is_behind: bool, outcome: Outcome) -> None:
        """Let a delay end, or have the newest values say what becomes of what disorder has raised."""
        rule, memory = watch.rule, watch.memory
        if watch.silence is not None:
            judgement = judge_in_order(rule, memory, watch.silence.is_breached, now)
        elif watch.settle_at and now >= watch.settle_at:
            watch.settle_at = 0
            breached = is_breached(rule, station.values, memory.active)
            if breached is not False or not memory.active:
                return
            judgement = judge(rule, memory, breached, station.newest_at, now, corrects=True)
        elif not rule.life_safety and station.is_clock_in_doubt(now, self._late_window_ms):
            return
        else:
            # While we are behind, a sample that denies it may be waiting; but not for ever.
            patience = self._late_window_ms if is_behind and not rule.life_safety else 0
            judgement = mature(rule, memory, now)
            if not judgement.changes or now - max(watch.waits_until()) < patience:
                return
        keep(watch, judgement, station.values, now, outcome)
        if watch.memory.pending_since is None:
            station.unsettled.discard(watch.key)

    def _count_again(self, station: Station, watch: Watch, now: int, outcome: Outcome) -> None:
        """What was counted leaves the window as time goes by."""
        if not watch.memory.active:
            del self._agenda.counting[watch]
            return
        at = max(station.newest_at + now - station.received_at, watch.memory.known_at + 1)
        if is_series_breached(watch.rule, watch.points, at, active=True) is False:
            keep(watch, judge(watch.rule, watch.memory, False, at, now), station.values, now, outcome)
        else:
            watch.counted_until = now + max(1, counted_until(watch.rule, watch.points, at) - at)

    def _check_absence(self, station: Station, watch: Watch, now: int, outcome: Outcome) -> None:
        due = (now if watch.happening or watch.seen_at is None else watch.seen_at) + watch.rule.after
        if due <= now:
            keep(watch, judge_in_order(watch.rule, watch.memory, True, now), station.values, now, outcome)
            due = now + watch.rule.after
        self._agenda.remind(station, watch, due)
