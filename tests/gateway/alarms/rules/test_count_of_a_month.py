"""A count that looks back a month: the lift that fails again."""

from itertools import pairwise
from typing import Final

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from collectors.wire.reading import Value
from gateway.alarms.evaluation.evaluator import RuleEvaluator
from gateway.alarms.key import Key
from gateway.alarms.rules.files import shipped_rules
from gateway.alarms.rules.rule import FRESH, Memory, Point
from gateway.alarms.rules.series import MOST_COUNTED, add_point, count_of
from tests.builders.alarms import T0, WINDOW_MS, sample

DAY: Final = 86_400_000
LIFT: Final = "gengfu/HQ/elevator/L-1/telemetry"
RULE: Final = next(rule for rule in shipped_rules() if rule.id == "elevator.fails_again")
KEY: Final = Key("HQ", "L-1", "", RULE.id)


def mode(evaluator: RuleEvaluator, value: str, at: int) -> list[tuple[bool, int]]:
    found = evaluator.take([sample(LIFT, {"service_mode": value}, at)])
    return [(one.change.raised, one.change.at) for one in found.decisions]


def fail(evaluator: RuleEvaluator, at: int) -> list[tuple[bool, int]]:
    """The lift stops, and works again an hour later."""
    return mode(evaluator, "stopped", at) + mode(evaluator, "normal", at + DAY // 24)


def test_the_fourth_failure_within_thirty_days_is_the_alarm_and_the_first_that_leaves_them_ends_it() -> None:
    evaluator = RuleEvaluator([RULE], {}, WINDOW_MS)
    mode(evaluator, "normal", T0)
    days = (1, 5, 20, 32)  # the first has left the window when the fourth comes
    assert [fail(evaluator, T0 + day * DAY) for day in days] == [[], [], [], []]
    fifth = T0 + 33 * DAY
    assert fail(evaluator, fifth) == [(True, fifth)]
    ends = T0 + 35 * DAY
    evaluator.tick(fifth + DAY // 24)
    assert evaluator.next_due() == ends, "nobody looks before that"
    assert not evaluator.tick(ends - 1).decisions
    assert [(one.change.raised, one.change.at) for one in evaluator.tick(ends).decisions] == [(False, ends)]


def test_what_was_counted_is_remembered_over_restarts() -> None:
    memory, found = FRESH, []
    for day in (1, 2, 3, 4):
        evaluator = RuleEvaluator([RULE], {KEY: memory}, WINDOW_MS)
        mode(evaluator, "normal", T0 + day * DAY - 1)
        outcome = evaluator.take([sample(LIFT, {"service_mode": "stopped"}, T0 + day * DAY)])
        found += [one.change.raised for one in outcome.decisions]
        memory = msgspec.convert(msgspec.to_builtins(outcome.memories[KEY]), Memory)
    assert found == [True]


@given(st.lists(st.sampled_from(["stopped", "normal", "inspection", "unknown", "fire_recall"]), max_size=600))
def test_a_month_is_remembered_in_little_room_and_counted_exactly(values: list[Value]) -> None:
    points: list[Point] = []
    for number, value in enumerate(values):
        add_point(RULE, points, T0 + number * 60_000, value)
    became = sum(after == "stopped" != before for before, after in pairwise(values))
    assert len(points) <= 2 * MOST_COUNTED + 56
    counted = count_of(RULE, points, T0 + len(values) * 60_000)
    assert counted == became or MOST_COUNTED < counted < became
