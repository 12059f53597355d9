"""What a rule knows of one field over a window: slopes that one wrong sample does not move, counters that jump."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alarms.rules.rule import Point, Rule, RuleType
from gateway.alarms.rules.series import FEWEST_IN_RATE, add_point, count_of, is_series_breached, rate_of, rises_of
from tests.builders.alarms import make_rule

MINUTE, HOUR = 60_000, 3_600_000
STARTS = make_rule(type=RuleType.COUNT, field="starts", above=3.0, window=HOUR)
RISING = make_rule(type=RuleType.RATE, field="bearing_temperature", above=5.0, window=MINUTE)


def points_of(rule: Rule, values: list[float], every: int = MINUTE) -> list[Point]:
    points: list[Point] = []
    for number, value in enumerate(values):
        add_point(rule, points, number * every, value)
    return points


def counted(values: list[float]) -> float:
    points = points_of(STARTS, values)
    return count_of(STARTS, points, points[-1][0])


@pytest.mark.parametrize(
    ("values", "events"),
    [
        ([5000, 0, 5000], 0),
        ([5000, 0, 5001], 1),
        ([5000, 0, 0, 5000, 5002], 2),
        ([5000, 100, 0, 5000], 0),
        ([5000, 0, 1, 5000], 0),
        ([5000, 0, 4990, 4991], 1),
        ([5000, 4999, 5000, 4999, 5000], 0),
        ([100, 5000, 100], 0),
        ([100, 5000, 101, 102], 2),
        ([5000, 0, 1, 900, 2, 3], 3),
        ([100, 101, 0, 1, 2, 3], 4),  # set back: counted on from there
        ([5000, 0, 1, 2, 3, 4], 4),
        ([3, 0, 1, 2, 3, 4], 4),
        ([7, 8, 9], 2),
    ],
)
def test_a_counter_that_jumps_and_returns_has_counted_nothing(values: list[float], events: float) -> None:
    assert counted([float(value) for value in values]) == events


def test_a_counter_that_returns_after_its_window_has_counted_nothing() -> None:
    points = points_of(STARTS, [5000.0, *[0.0, 1.0, 0.0] * 50, 5000.0, 5001.0], every=2 * MINUTE)
    assert count_of(STARTS, points, points[-1][0]) == 1


@given(st.lists(st.integers(0, 3).map(float), max_size=30), st.integers(0, 30), st.sampled_from([0.0, 1e6]))
def test_one_wrong_value_of_a_counter_adds_no_event(steps: list[float], place: int, wrong: float) -> None:
    counter = [1000.0]
    for step in steps:
        counter.append(counter[-1] + step)
    jumping = [*counter[: place % len(counter) + 1], wrong, *counter[place % len(counter) + 1 :]]
    real, found = sum(rise for _, rise in rises_of(list(enumerate(counter)))), rises_of(list(enumerate(jumping)))
    assert real == counter[-1] - counter[0]
    if jumping[-1] != wrong:
        assert sum(rise for _, rise in found) == real


@given(st.lists(st.floats(-0.2, 0.2), min_size=20, max_size=60), st.integers(0, 59), st.floats(-1000, 1000))
def test_one_wrong_sample_never_makes_a_rate(noise: list[float], place: int, wrong: float) -> None:
    """Whatever it says, wherever it stands, the newest included: no more than a minute of noise is a change."""
    values = [20.0 + one for one in noise]
    values[place % len(values)] = wrong
    points: list[Point] = []
    for number, value in enumerate(values):
        add_point(RISING, points, number * 1000, value)
        assert is_series_breached(RISING, points, number * 1000, active=False) is not True


@given(st.floats(-50, 50), st.integers(FEWEST_IN_RATE, 60))
def test_the_rate_of_an_even_change_is_that_change(per_minute: float, count: int) -> None:
    points: list[Point] = [(number * 1000, 20 + per_minute * number / 60) for number in range(count)]
    found = rate_of(points, (count - 1) * 1000)
    assert found == pytest.approx(per_minute, abs=1e-6)


def test_a_rate_says_nothing_of_fewer_than_five_samples_nor_of_less_than_half_a_window() -> None:
    few = points_of(RISING, [20.0, 30.0, 40.0, 50.0], every=15_000)
    assert is_series_breached(RISING, few, few[-1][0], active=False) is None
    short = points_of(RISING, [20.0 + n for n in range(29)], every=1_000)
    assert is_series_breached(RISING, short, short[-1][0], active=False) is None
