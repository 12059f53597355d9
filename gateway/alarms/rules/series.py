"""Rates and counts of one field over a time window. Pure.

Points are kept in order of measurement, so the order of arrival does not matter.
"""

import math
from bisect import bisect_left, bisect_right
from itertools import pairwise
from operator import itemgetter
from typing import Final

from collectors.wire.reading import Value
from gateway.alarms.rules.deadband import is_beyond, upper_edge
from gateway.alarms.rules.rule import Point, Rule, RuleType

MOST_COUNTED: Final = 100
"""The highest limit of a count."""
_MOST_POINTS: Final = 2 * MOST_COUNTED + 56
_SLOTS: Final = 60
"""A rate keeps the first sample of each sixtieth of its window, and the newest of all."""
_MINUTE: Final = 60_000
FEWEST_IN_RATE: Final = 5
"""Samples in a window: with fewer, the first three and the last three would be nearly the same."""
_time_of = itemgetter(0)


def add_point(rule: Rule, points: list[Point], at: int, value: Value) -> None:
    """Insert a sample; points older than the window are dropped, except the last one before it.

    If a counter has fallen, the value before the fall is kept too: its return is detected by that value.
    """
    if rule.type is RuleType.RATE and not isinstance(value, float):
        return
    place = bisect_right(points, at, key=_time_of)
    before = points[place - 1] if place else None
    if before is not None and (before[0] == at or (rule.type is RuleType.COUNT and _is_same(rule, before[1], value))):
        return
    points.insert(place, (at, value))
    if rule.type is RuleType.RATE:
        _thin(points, place, max(1, rule.window // _SLOTS))
    start = bisect_right(points, points[-1][0] - rule.window, key=_time_of)
    first = max(start - 1, len(points) - _MOST_POINTS, 0)
    if first:
        points[:first] = [] if rule.type is RuleType.RATE or rule.values else _highest_before(points, first)


def _is_same(rule: Rule, before: Value, value: Value) -> bool:
    """Whether the second of two values changes nothing for a count: only changes that it counts are kept."""
    return before == value or bool(rule.values and (before in rule.values) is (value in rule.values))


def _highest_before(points: list[Point], first: int) -> list[Point]:
    """The highest number among the dropped points, if it is above the first point that is kept."""
    numbers = [(value, at) for at, value in points[:first] if isinstance(value, float)]
    kept = points[first][1]
    if not numbers or not isinstance(kept, float) or max(numbers)[0] <= kept:
        return []
    value, at = max(numbers)
    return [(at, value)]


def _thin(points: list[Point], place: int, width: int) -> None:
    """Keep the first point of each slot, and the last of all."""
    for number in (place + 1, place, place - 1):
        if 0 < number < len(points) - 1 and points[number][0] // width == points[number - 1][0] // width:
            del points[number]


def is_series_breached(rule: Rule, points: list[Point], now: int, active: bool) -> bool | None:
    """Whether the points are in alarm; None if there are too few.

    Args:
        rule: of a rate or a count.
        points: in order of time.
        now: epoch ms of measurement; a count looks back from here.
        active: whether the condition is active: then it ends only beyond the deadband.
    """
    amount = rate_of(points, rule.window) if rule.type is RuleType.RATE else float(count_of(rule, points, now))
    if amount is None:
        return None
    return is_beyond(amount, rule.above, rule.below, rule.deadband, active)


def rate_of(points: list[Point], window: int) -> float | None:
    """Change per minute between the beginning and the end of the window, each the median of three samples.

    One wrong sample, even the newest, changes neither median by more than its neighbours differ.

    Returns:
        None with fewer than `FEWEST_IN_RATE` samples in the window, or where these span less than half of it.
    """
    if len(points) < FEWEST_IN_RATE:
        return None
    last_at = points[-1][0]
    start = bisect_left(points, last_at - window, key=_time_of)
    if len(points) - start < FEWEST_IN_RATE or last_at - points[start][0] < max(1, window / 2):
        return None
    span = points[-2][0] - points[start + 1][0]
    return (_median(points[-3:]) - _median(points[start : start + 3])) / span * _MINUTE


def _median(points: list[Point]) -> float:
    return sorted(float(value) for _, value in points)[1]


def count_of(rule: Rule, points: list[Point], now: int) -> float:
    """How often the field took one of the values, or by how much the counter rose, within the window."""
    begin = now - rule.window
    return float(sum(amount for at, amount in _counted(rule, points) if at > begin))


def counted_until(rule: Rule, points: list[Point], now: int) -> int:
    """When an active count ends as samples leave the window, unless more arrive (epoch ms of measurement)."""
    begin, least = now - rule.window, upper_edge(rule.above, rule.deadband, 1)
    inside = [(at, amount) for at, amount in _counted(rule, points) if at > begin]
    left = float(sum(amount for _, amount in inside))
    for at, amount in inside:
        left -= amount
        if left <= least:
            return at + rule.window
    return now + rule.window


def _counted(rule: Rule, points: list[Point]) -> list[tuple[int, float]]:
    """The counted changes: when, and by how much."""
    if not rule.values:
        return rises_of(points)
    return [
        (at, 1.0) for (_, before), (at, value) in pairwise(points) if value in rule.values and before not in rule.values
    ]


def rises_of(points: list[Point]) -> list[tuple[int, float]]:
    """When a counter rose, and by how much.

    A counter that falls was reset and continues from there. But one step up by more than half of the fall is its
    return: then the lower values were wrong, and only the part above the former value counts. In the same way a step up
    that the next fall reverts does not count.
    """
    rises: list[tuple[int, float]] = []
    before, step = math.nan, 0.0  # the value, and how far it rose in the step that led to it
    top, low, rises_at_top = math.nan, math.nan, 0
    for at, value in points:
        if not isinstance(value, float) or value == before:
            continue
        rise = value - before
        if rise < 0 and step + rise >= 0 and step:
            step += rise
            rises[-1] = (rises[-1][0], step)
        elif rise < 0:
            if step or math.isnan(top):
                top, rises_at_top = before, len(rises)
            low, step = value, 0.0
        elif rise > (top - low) / 2:
            rises[rises_at_top:] = [(at, max(0.0, value - top))]
            top, step = math.nan, rises[-1][1]
        elif rise > 0:
            rises.append((at, rise))
            step = rise
        before = value
    return rises
