"""A back-test says what the live engine would have done, and a proposal keeps its promises."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.wire.reading import Reading
from gateway.alarms.evaluation.evaluator import RuleEvaluator
from gateway.alarms.rules.files import shipped_rules
from gateway.alarms.rules.rule import Priority, Rule, RuleType
from gateway.alarms.whatif.back_test import Activation, Trial, number_shorter, spans_of
from gateway.alarms.whatif.proposals import Noise, candidates, choose, starting_delay
from tests.builders.alarms import PUMP, PUMP_STATUS, T0, WINDOW_MS, bearing, fire_rule, make_rule, panel_event, sample

HOUR = 3_600_000


def outcome(rule: Rule, readings: Sequence[Reading], until: int) -> list[Activation]:
    trial = Trial([rule], WINDOW_MS)
    trial.take(msgspec.structs.replace(reading) for reading in readings)
    trial.finish(until)
    assert not trial.failures
    return trial.activations()


def times(activations: Sequence[Activation]) -> list[tuple[int, int | None]]:
    return [(one.start - T0, None if one.end is None else one.end - T0) for one in activations]


def live(rule: Rule, readings: Sequence[Reading], until: int) -> list[tuple[bool, int]]:
    """What the engine decides when readings come as they were measured and a tick comes each second."""
    evaluator, now, told = RuleEvaluator([rule], {}, WINDOW_MS), readings[0].received_at, []
    pending = list(readings)
    while now <= until:
        while pending and pending[0].received_at <= now:
            told += evaluator.take([msgspec.structs.replace(pending.pop(0))]).decisions
        told += evaluator.tick(now).decisions
        now += 1000
    return [(decision.change.raised, decision.change.at - T0) for decision in told]


RULES = [
    make_rule(),
    make_rule(on_delay=5_000, off_delay=7_000),
    make_rule("rate", type=RuleType.RATE, field="bearing_temperature", above=20.0, deadband=2.0, window=20_000),
    make_rule("count", type=RuleType.COUNT, field="bearing_temperature", above=30.0, window=30_000),
    make_rule("silent", type=RuleType.NO_DATA, field="online", after=20_000),
    make_rule("absent", type=RuleType.ABSENCE, field="bearing_temperature", values=frozenset({90.0}), after=40_000),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
@settings(max_examples=60, deadline=None)
@given(
    samples=st.lists(st.tuples(st.integers(1, 60), st.sampled_from([60.0, 76.0, 81.0, 90.0])), min_size=1, max_size=30)
)
def test_it_tells_what_the_live_engine_tells_with_a_tick_each_second(
    rule: Rule, samples: list[tuple[int, float]]
) -> None:
    at, readings = T0, []
    for gap, value in samples:
        at += gap * 1000
        readings.append(bearing(value, at))
    until = at + 60_000
    told = [
        moment
        for one in outcome(rule, readings, until)
        for moment in ((True, one.start - T0), *(() if one.end is None else ((False, one.end - T0),)))
    ]
    assert told == live(rule, readings, until)


def test_an_alarm_that_stands_at_the_end_has_no_end() -> None:
    readings = [bearing(value, T0 + at * 1000) for at, value in enumerate([60, 85, 60, 85, 85])]
    assert times(outcome(make_rule(), readings, T0 + HOUR)) == [(1_000, 2_000), (3_000, None)]


def test_silence_is_found_where_the_history_has_a_hole() -> None:
    rule = make_rule("silent", type=RuleType.NO_DATA, field="online", after=300_000)
    readings = [bearing(60, T0 + at) for at in (0, 10_000, 2 * HOUR, 2 * HOUR + 10_000)]
    assert times(outcome(rule, readings, T0 + 2 * HOUR + 20_000)) == [(310_000, 2 * HOUR)]


def test_a_last_will_in_the_history_is_no_data_at_once() -> None:
    rule = make_rule("silent", type=RuleType.NO_DATA, field="online", after=300_000)
    readings = [bearing(60, T0), sample(PUMP_STATUS, {"online": False}, T0 + 5_000), bearing(60, T0 + 9_000)]
    assert times(outcome(rule, readings, T0 + 10_000)) == [(5_000, None)]


def test_each_detector_is_an_alarm_of_its_own_and_time_in_alarm_counts_once() -> None:
    events = [
        panel_event(T0, address="1"), panel_event(T0 + 10_000, address="2"),
        panel_event(T0 + 20_000, type="reset", loop=None, address=None),
    ]  # fmt: skip
    found = outcome(fire_rule(), events, T0 + HOUR)
    assert [(one.part, one.start - T0, one.end and one.end - T0) for one in found] == [
        ("1-1", 0, 20_000), ("1-2", 10_000, 20_000),
    ]  # fmt: skip
    assert spans_of(found, T0 + HOUR) == [(T0, T0 + 20_000)]


def test_a_rule_is_tried_on_equipment_that_its_patterns_do_not_name() -> None:
    rule = make_rule(equipment=("FP-*",), instead_of=("pump.other",))
    assert times(outcome(rule, [bearing(85, T0)], T0 + 1000)) == [(0, None)]


def test_what_still_stands_is_not_short() -> None:
    found = [Activation(0, 500, "", None), Activation(1_000, 60_000, "", None), Activation(70_000, None, "", None)]
    assert number_shorter(found, 10_000, 70_001) == 1


def test_a_reading_of_a_doubtful_clock_counts_when_it_came() -> None:
    ahead = sample(PUMP, {"bearing_temperature": 85.0}, T0 + HOUR, T0 + 1_000, quality=2)
    assert times(outcome(make_rule(), [bearing(60, T0), ahead], T0 + 5_000)) == [(1_000, None)]


# -- proposals -----------------------------------------------------------------------------------------


def proposed(rule: Rule, readings: Sequence[Reading], until: int) -> Any:
    noise = Noise(rule)
    noise.take(readings)
    before = outcome(rule, readings, until)
    others = candidates(rule, noise.deadband())
    trial = Trial(others, WINDOW_MS)
    trial.take(msgspec.structs.replace(reading) for reading in readings)
    trial.finish(until)
    return before, choose(rule, before, [(other, trial.activations(n)) for n, other in enumerate(others)], until)


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(st.sampled_from([60.0, 74.0, 76.0, 79.0, 80.5, 81.0, 83.0, 90.0]), min_size=2, max_size=120),
    step=st.sampled_from([1_000, 5_000, 20_000]),
    deadband=st.sampled_from([0.0, 1.0, 5.0]),
    on_delay=st.sampled_from([0, 5_000]),
)
def test_a_proposal_never_raises_more_and_never_hides_what_lasted_longer_than_its_delay(
    values: list[float], step: int, deadband: float, on_delay: int
) -> None:
    rule = make_rule(deadband=deadband, on_delay=on_delay)
    readings = [bearing(value, T0 + number * step) for number, value in enumerate(values)]
    until = readings[-1].measured_at + step
    before, proposal = proposed(rule, readings, until)
    if proposal is None:
        return
    after = outcome(proposal.rule, readings, until)
    assert len(after) == proposal.activations < len(before)
    assert proposal.rule.deadband >= deadband
    assert proposal.rule.on_delay >= on_delay
    spans = spans_of(after, until)
    for one in before:
        if one.lasts(until) > proposal.rule.on_delay:
            assert any(start <= one.start + one.lasts(until) and one.start <= end for start, end in spans)


def test_noise_around_the_limit_gets_a_deadband_that_ends_the_chatter() -> None:
    noisy = [80.0 + 0.4 * (-1) ** (number // 2) + 0.01 * (number % 7) for number in range(400)]
    readings = [bearing(value, T0 + number * 1000) for number, value in enumerate([70.0] * 800 + noisy)]
    before, proposal = proposed(make_rule(deadband=0.0), readings, T0 + 1_200_000)
    assert len(before) > 50
    assert proposal.activations == 1
    assert 0.4 < proposal.rule.deadband < 5


def test_flickers_get_a_delay_no_longer_than_the_guidance() -> None:
    readings = [bearing(85.0 if number % 60 < 8 else 60.0, T0 + number * 1000) for number in range(1_200)]
    before, proposal = proposed(make_rule(), readings, T0 + 1_200_000)
    assert (len(before), proposal.activations) == (20, 0)
    assert proposal.rule.on_delay == 15_000  # a quarter of the minute for temperatures is enough


@pytest.mark.parametrize("rule", [rule for rule in shipped_rules() if rule.life_safety], ids=lambda rule: rule.id)
def test_life_safety_is_never_given_a_delay(rule: Rule) -> None:
    assert starting_delay(rule) == 0
    assert all(other.on_delay == rule.on_delay for other in candidates(rule, 3.0))


def test_rules_with_a_time_of_their_own_are_given_no_delay() -> None:
    for rule in RULES[3:]:
        assert candidates(rule, 3.0) == []
    assert candidates(make_rule(priority=Priority.CRITICAL, deadband=9.0), 3.0) == []
