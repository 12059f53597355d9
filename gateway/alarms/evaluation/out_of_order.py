"""Samples out of order: from before the newest one, or from too long before it to change an alarm. Pure."""

from collections.abc import Mapping

from collectors.wire.reading import Quality, Reading
from gateway.alarms.evaluation.channel_state import SERIES, Station, Watch, ask, judged, time_of
from gateway.alarms.evaluation.outcomes import Alone, Outcome, keep
from gateway.alarms.evaluation.schedule import Agenda
from gateway.alarms.key import Key
from gateway.alarms.rules.rule import RuleType, is_breached, judge


class Disorder:
    """Decides what samples may still change that were measured before the newest one."""

    def __init__(self, agenda: Agenda, late_window_ms: int) -> None:
        self._agenda = agenda
        self._late_window_ms = late_window_ms

    def has_clock_stepped_back(self, station: Station, at: int, reading: Reading) -> bool:
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

    def take(self, station: Station, reading: Reading, at: int, outcome: Outcome) -> None:
        """A sample from before the newest one. What it says of fields that nobody has measured since is news."""
        behind = max(0, min(station.newest_at, reading.received_at) - at)
        if behind > self._late_window_ms:
            reading.quality |= Quality.LATE
            station.late_in_a_row += 1
            self._take_late(station, reading, outcome)
            return
        news = {name: value for name, value in reading.fields.items() if at >= station.measured_at(name)}
        if news:
            if not news.keys() <= station.values.keys():
                station.date_each_field()
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
            self._agenda.unsettle(station, watch.key)
            with Alone(watch.key, reading, outcome):
                newest = max(at, *map(station.measured_at, watch.inputs))
                breached = ask(watch, station.values, reading, at, newest)
                if breached is not None:
                    corrects = len(watch.inputs) > 1 or watch.rule.type in SERIES
                    when = newest if watch.rule.type in SERIES or (corrects and breached) else at
                    judgement = judged(watch, breached, when, reading.received_at, corrects=corrects)
                    told = reading.fields if watch.rule.type in SERIES else station.values
                    keep(watch, judgement, told, reading.received_at, outcome)
                    self._agenda.note(station, watch)
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
            with Alone(watch.key, reading, outcome):
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
                self._agenda.unsettle(station, watch.key)
                watch.settle_at = reading.received_at + self._late_window_ms
                judgement = judge(rule, watch.memory, breached, at, reading.received_at)
                keep(watch, judgement, values, reading.received_at, outcome)

    def _take_late(self, station: Station, reading: Reading, outcome: Outcome) -> None:
        """What comes too late changes no alarm, but it may still tell of somebody in danger; that is never let go."""
        watches = {watch.key: watch for name in reading.fields for watch in station.by_state.get(name, ())}
        values = {**station.values, **reading.fields}
        for watch in watches.values():
            with Alone(watch.key, reading, outcome):
                if watch.rule.life_safety and not watch.memory.active and is_breached(watch.rule, values, active=False):
                    self._agenda.unsettle(station, watch.key)
                    at = max(time_of(reading), watch.memory.known_at)
                    judgement = judge(watch.rule, watch.memory, True, at, reading.received_at)
                    keep(watch, judgement, values, reading.received_at, outcome)
