"""Proposes deadband and on-delay from what a rule would have done. Pure.

The deadband comes from the noise around the limit: six standard deviations of the change from one sample to the next,
by the median of the absolute differences, which is robust to single jumps. The delay comes from guidance by the kind
of signal (EEMUA 191, ISA-18.2), and only steps up to it are tested. Each candidate runs through the evaluator over the
same readings, and is proposed only if it raises fewer alarms and hides none that lasted longer than its delay. Chatter
around the limit is one long alarm with the wider deadband, so a delay cannot hide it in parts. Life safety never gets a
delay.
"""

import math
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final, NamedTuple

import msgspec

from collectors.wire.fields import Channel, fields_of
from collectors.wire.reading import Reading
from gateway.alarms.rules.rule import Rule, RuleType
from gateway.alarms.whatif.back_test import Activation

_DELAY_MS: Final = {"m³/h": 15_000, "m": 60_000, "MPa": 15_000, "°C": 60_000}
"""Unit -> on-delay as a starting value: flow, level, pressure, temperature (as ISA-18.2 is quoted; text not read)."""
_OTHER_DELAY_MS: Final = 15_000
_STEPS: Final = (0.25, 0.5, 1.0)
"""Fractions of the guidance that are tested."""
_CAN_WAIT: Final = frozenset({RuleType.LIMIT, RuleType.STATE, RuleType.COMBINATION, RuleType.RATE})
_MOST_KEPT: Final = 8_192
_FEWEST: Final = 30
"""Differences from which noise is estimated."""
_MAD_TO_SIGMA: Final = 1.4826
_NOISE_WIDTH: Final = 6.0
"""Standard deviations from the lowest to the highest value of noise, except for three in a thousand."""


class Proposal(NamedTuple):
    """A rule that would have raised fewer alarms, and how many."""

    rule: Rule
    activations: int


class Noise:
    """How a number scatters from one sample to the next, near a limit. Keeps at most 8,192 samples, evenly chosen."""

    def __init__(self, rule: Rule) -> None:
        self._field = rule.field if rule.type is RuleType.LIMIT else ""
        self._limit = rule.above if rule.above < math.inf else rule.below
        self._last: float | None = None
        self._every, self._count = 1, 0
        self._kept: list[tuple[float, float]] = []

    def take(self, readings: Iterable[Reading]) -> None:
        """Add these readings."""
        for reading in readings:
            value = reading.fields.get(self._field)
            if isinstance(value, float):
                if self._last is not None:
                    self._keep(value, value - self._last)
                self._last = value

    def _keep(self, value: float, difference: float) -> None:
        self._count += 1
        if self._count % self._every:
            return
        self._kept.append((value, difference))
        if len(self._kept) > _MOST_KEPT:
            self._kept = self._kept[::2]
            self._every *= 2

    def deadband(self) -> float | None:
        """The deadband that noise alone does not cross; None if there are too few samples, or no noise."""
        if len(self._kept) < _FEWEST:
            return None
        near = sorted(self._kept, key=lambda pair: abs(pair[0] - self._limit))[: max(_FEWEST, len(self._kept) // 4)]
        middle = median(difference for _, difference in near)
        scatter = median(abs(difference - middle) for _, difference in near) * _MAD_TO_SIGMA / math.sqrt(2)
        usual = median(value for value, _ in self._kept)
        # At most half of the distance to the usual value: beyond that the alarm might never end.
        width = min(_NOISE_WIDTH * scatter, abs(usual - self._limit) / 2)
        return _rounded_up(width) if width > 0 else None


def starting_delay(rule: Rule) -> int:
    """The guidance for the kind of signal, in ms; 0 if a rule must not be delayed or has its own time."""
    if rule.life_safety or rule.type not in _CAN_WAIT:
        return 0
    known = fields_of(rule.kind, Channel.TELEMETRY).get(rule.field)
    return _DELAY_MS.get(known.unit, _OTHER_DELAY_MS) if known else _OTHER_DELAY_MS


def candidates(rule: Rule, deadband: float | None) -> list[Rule]:
    """The rule with other deadbands and delays, never smaller than its own; not the rule itself."""
    longest = starting_delay(rule)
    delays = [rule.on_delay, *(round(longest * step) for step in _STEPS if longest * step > rule.on_delay)]
    wider = rule.type is RuleType.LIMIT and deadband is not None and deadband > rule.deadband
    deadbands = [rule.deadband, deadband] if wider and deadband is not None else [rule.deadband]
    tried = [msgspec.structs.replace(rule, deadband=band, on_delay=delay) for band in deadbands for delay in delays]
    return [candidate for candidate in tried if candidate != rule]


def choose(
    rule: Rule, before: Sequence[Activation], tried: Sequence[tuple[Rule, Sequence[Activation]]], until: int
) -> Proposal | None:
    """The candidate with the fewest alarms, among those the one with the shortest delay; None if none is better.

    Args:
        rule: the current rule.
        before: what it would have raised.
        tried: candidates, and what each would have raised over the same readings.
        until: end of the period, epoch ms.
    """
    kept = [before, *(found for other, found in tried if other.on_delay == rule.on_delay)]
    good = [
        (len(found), other.on_delay, other.deadband, other)
        for other, found in tried
        if len(found) < len(before) and not any(_hides(known, found, other.on_delay, until) for known in kept)
    ]
    if not good:
        return None
    count, _, _, best = min(good, key=lambda item: item[:3])
    return Proposal(best, count)


def _hides(before: Sequence[Activation], after: Sequence[Activation], delay: int, until: int) -> bool:
    """Whether an alarm that lasted longer than the delay would not have been raised at any time of it."""
    return any(item.lasts(until) > delay and not any(_meet(item, other, until) for other in after) for item in before)


def _meet(one: Activation, other: Activation, until: int) -> bool:
    if one.part != other.part:
        return False
    return one.start <= other.start + other.lasts(until) and other.start <= one.start + one.lasts(until)


def _rounded_up(value: float) -> float:
    """Round up to two digits."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / step) * step:.6g}")
