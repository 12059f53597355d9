"""What a rule knows of one field over a window of time: how fast it changes, how often something happened. Pure.

Points are kept in order of measurement, so that it does not matter in which order they came.
"""

from bisect import bisect_right
from itertools import pairwise
from typing import Final

from collectors.reading import Value
from gateway.alarms.rules import Point, Rule, RuleType

MOST_COUNTED: Final = 100
"""The highest limit of a count."""
_MOST_POINTS: Final = 2 * MOST_COUNTED + 56
_SLOTS: Final = 60
"""Of each sixtieth of a window a rate keeps the first sample, and the newest of all."""
_MINUTE: Final = 60_000


def add_point(rule: Rule, points: list[Point], at: int, value: Value) -> None:
    """Put a sample in its place; what is older than the window goes, but the last one before it."""
    if rule.type is RuleType.RATE and not isinstance(value, float):
        return
    place = bisect_right(points, at, key=lambda point: point[0])
    before = points[place - 1] if place else None
    if before is not None and (before[0] == at or (rule.type is RuleType.COUNT and before[1] == value)):
        return
    points.insert(place, (at, value))
    if rule.type is RuleType.RATE:
        _thin(points, place, max(1, rule.window // _SLOTS))
    start = bisect_right(points, points[-1][0] - rule.window, key=lambda point: point[0])
    del points[: max(start - 1, len(points) - _MOST_POINTS, 0)]


def _thin(points: list[Point], place: int, width: int) -> None:
    """Leave the first point of each slot, and the last of all."""
    for number in (place + 1, place, place - 1):
        if 0 < number < len(points) - 1 and points[number][0] // width == points[number - 1][0] // width:
            del points[number]


def is_series_breached(rule: Rule, points: list[Point], now: int, active: bool) -> bool | None:
    """Whether the points are in alarm; None where too little is known.

    Args:
        rule: of a rate or a count.
        points: in order of time.
        now: epoch ms of measurement; a count looks back from here.
        active: whether the condition stands: then it ends only beyond the deadband.
    """
    amount = rate_of(points, rule.window) if rule.type is RuleType.RATE else float(count_of(rule, points, now))
    if amount is None:
        return None
    slack = rule.deadband if active else 0.0
    return amount > rule.above - slack or amount < rule.below + slack


def rate_of(points: list[Point], window: int) -> float | None:
    """Change a minute between the first and the last sample of the window; None below half a window."""
    if not points:
        return None
    last_at, last = points[-1]
    first_at, first = next(point for point in points if point[0] >= last_at - window)
    if last_at - first_at < max(1, window / 2) or not isinstance(first, float) or not isinstance(last, float):
        return None
    return (last - first) / (last_at - first_at) * _MINUTE


def count_of(rule: Rule, points: list[Point], now: int) -> float:
    """How often the field took one of the values, or by how much the counter rose, within the window."""
    total = 0.0
    for (_, before), (at, value) in pairwise(points):
        if at <= now - rule.window:
            continue
        if rule.values:
            total += value in rule.values and before not in rule.values
        elif isinstance(before, float) and isinstance(value, float):
            total += max(0.0, value - before)  # a counter that falls was set back
    return total
