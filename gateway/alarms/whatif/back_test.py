"""Back test: runs the readings of a period, in order, through the live rule evaluator. Pure.

`RuleEvaluator` receives each reading as it was measured, and a tick whenever one may change something. Each reading
counts as received when it was measured, or when it was really received if its clock was in doubt. So the result is that
of an ordered stream, which the live evaluator reaches as well once its window for late samples is over. Not known are
values from before the first reading, and how late each message was.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from collectors.wire.reading import Reading, Value
from gateway.alarms.evaluation.channel_state import time_of
from gateway.alarms.evaluation.evaluator import RuleEvaluator
from gateway.alarms.evaluation.outcomes import Decision, Outcome
from gateway.alarms.rules.rule import Change, Rule, RuleType

_LONGEST_PAUSE_MS: Final = 25_000
"""Longest time between two ticks for no-data rules: the evaluator treats a longer pause as its own downtime."""
_ANY_EQUIPMENT: Final = ("*",)
UNTESTABLE: Final = {RuleType.RESPONSE_TIMEOUT: "the history does not have response times of people"}
"""Rule types that cannot be tested on the history, and why."""


class Activation(NamedTuple):
    """The rule would have raised an alarm at `start` (epoch ms) that ends at `end`; None: active to the end."""

    start: int
    end: int | None
    part: str
    value: Value | None
    disproved: bool = False

    def lasts(self, until: int) -> int:
        """How long, in ms."""
        return (until if self.end is None else self.end) - self.start


class Trial:
    """Some rules on one equipment. Feed readings in order, then `finish`."""

    def __init__(self, rules: Sequence[Rule], late_window_ms: int) -> None:
        """Begin.

        Args:
            rules: of the equipment's kind; each is tested by itself, whatever its id and its patterns.
            late_window_ms: as for the live evaluator.
        """
        tried = [
            msgspec.structs.replace(rule, id=str(number), equipment=_ANY_EQUIPMENT, instead_of=())
            for number, rule in enumerate(rules)
        ]
        self._evaluator = RuleEvaluator(tried, {}, late_window_ms)
        self._activations: list[list[Activation]] = [[] for _ in tried]
        self._standing: dict[tuple[int, str], int] = {}
        self._watches_silence = any(rule.type is RuleType.NO_DATA for rule in tried)
        self._now = self._ticked_at = 0
        self.readings = 0
        self.failures: list[str] = []
        """The first failures: a rule that fails here fails in service too."""
        self.first_at: int | None = None

    def take(self, readings: Iterable[Reading]) -> None:
        """Judge these readings. Their time of receipt is set to the time of measurement."""
        for reading in readings:
            if not reading.digest:
                reading.measured_at = reading.received_at = time_of(reading)
            if self.first_at is None:
                self.first_at = reading.received_at
                self._tick(reading.received_at)
            self._let_pass(reading.received_at)
            self.readings += 1
            self._note(self._evaluator.take((reading,)))

    def finish(self, until: int) -> None:
        """Let the clock run to the end of the period, in epoch ms."""
        if self.first_at is not None:
            self._let_pass(until)
            self._tick(until)

    def activations(self, number: int = 0) -> list[Activation]:
        """What a rule, by its index, would have raised, in order."""
        return self._activations[number]

    def _let_pass(self, moment: int) -> None:
        """Run all ticks that may change something before this time."""
        while (due := self._next_tick()) is not None and due < moment:
            self._tick(max(due, self._now))
        self._now = max(self._now, moment)

    def _next_tick(self) -> int | None:
        due = self._evaluator.next_due()
        if not self._watches_silence:
            return due
        latest = self._ticked_at + _LONGEST_PAUSE_MS
        return latest if due is None else min(due, latest)

    def _tick(self, moment: int) -> None:
        self._now = self._ticked_at = moment
        self._note(self._evaluator.tick(moment))

    def _note(self, outcome: Outcome) -> None:
        for decision in outcome.decisions:
            self._follow(decision)
        for failure in outcome.failures[: 3 - len(self.failures)]:
            self.failures.append(str(failure.error) or type(failure.error).__name__)

    def _follow(self, decision: Decision) -> None:
        number, part, change = int(decision.key.rule), decision.key.part, decision.change
        found = self._activations[number]
        if change.raised:
            self._standing[number, part] = len(found)
            found.append(Activation(change.at, None, part, decision.value))
        elif (number, part) in self._standing:
            place = self._standing.pop((number, part))
            found[place] = _ended(found[place], change)


def _ended(activation: Activation, change: Change) -> Activation:
    return activation._replace(end=max(change.at, activation.start), disproved=change.disproved)


def spans_of(activations: Iterable[Activation], until: int) -> list[tuple[int, int]]:
    """When there was at least one alarm: (start, end), in order; parts that overlap are one."""
    spans: list[tuple[int, int]] = []
    for item in sorted(activations, key=lambda item: item.start):
        end = until if item.end is None else item.end
        if spans and item.start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((item.start, end))
    return spans


def number_shorter(activations: Iterable[Activation], than_ms: int, until: int) -> int:
    """How many lasted less than a time; an active one does not count."""
    return sum(item.end is not None and item.lasts(until) < than_ms for item in activations)
