"""The value that an alarm tells is one that was in breach, whatever kind of rule and whatever shows it first."""

import itertools
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.wire.reading import Reading, Value
from gateway.alarms.evaluation.outcomes import Decision
from gateway.alarms.rules.rule import Rule, RuleType
from gateway.storage.database import Database
from gateway.storage.tables import activation, alarm, ticket
from tests.builders.alarms import PUMP, PUMP_STATUS, T0, Clock, make_rule, only_row, open_desk, rows_of, sample
from tests.gateway.alarms.evaluation.test_evaluator import make_watches

SECOND: Final = 1_000
HOT = make_rule("hot", above=50.0, deadband=1.0, on_delay=10 * SECOND, off_delay=3 * SECOND)
FAULT = make_rule("fault", type=RuleType.STATE, field="drive_fault", values=frozenset({0.0}), inverted=True,
                  on_delay=4 * SECOND)  # fmt: skip
STARTS = make_rule("starts", type=RuleType.COUNT, field="mode", values=frozenset({"off"}), above=1.0, window=60_000)
OFFLINE = make_rule("offline", type=RuleType.NO_DATA, field="online", after=600_000, on_delay=5 * SECOND)


def hot(celsius: float, second: float) -> Reading:
    return sample(PUMP, {"bearing_temperature": celsius}, T0 + round(second * SECOND))


async def test_what_ends_when_its_delay_ends_raises_no_alarm_and_opens_no_ticket(database: Database) -> None:
    desk = await open_desk(database, HOT, clock=Clock(T0))
    for second in range(10):
        await desk.decide(hot(51.0, second))
    await desk.decide(hot(20.0, 10))
    desk.clock.now += 60 * SECOND
    await desk.alarms.tick()
    assert await rows_of(database, activation) == []
    assert await rows_of(database, ticket) == []


@pytest.mark.parametrize("by_clock", [False, True], ids=["a sample shows it", "the clock shows it"])
async def test_the_value_is_the_one_that_held_when_the_delay_ended(database: Database, by_clock: bool) -> None:
    desk = await open_desk(database, HOT, clock=Clock(T0))
    await desk.decide(hot(51.0, 0))
    await desk.decide(hot(64.0, 4))
    await desk.decide(hot(58.0, 9))
    if by_clock:
        desk.clock.now = T0 + 10 * SECOND
        await desk.alarms.tick()
    await desk.decide(hot(20.0, 11))
    assert (await only_row(database, activation))["value"] == 58.0
    assert (await only_row(database, alarm))["value"] == 58.0


async def test_after_a_restart_the_value_is_the_one_that_began_the_delay(database: Database) -> None:
    desk = await open_desk(database, HOT, clock=Clock(T0))
    await desk.decide(hot(51.0, 0))
    await desk.alarms.load()
    await desk.decide(hot(20.0, 12))
    assert (await only_row(database, activation))["value"] == 51.0


def decisions_of(rule: Rule, readings: list[Reading], until: int) -> list[Decision]:
    evaluator = make_watches(rule)
    found = [decision for reading in readings for decision in evaluator.take([reading]).decisions]
    return found + evaluator.tick(until).decisions


@pytest.mark.parametrize(
    ("rule", "topic", "steps", "value"),
    [
        (FAULT, PUMP, [(0, {"drive_fault": 7.0}), (3, {"drive_fault": 9.0}), (5, {"drive_fault": 0.0})], 9.0),
        (OFFLINE, PUMP_STATUS, [(0, {"online": False}), (6, {"online": True})], False),
        (STARTS, PUMP, [(0, {"mode": "off"}), (1, {"mode": "auto"}), (2, {"mode": "off"}), (3, {"mode": "auto"}),
                        (4, {"mode": "off"})], "off"),
    ],
)  # fmt: skip
def test_each_kind_of_rule_tells_what_was_in_breach(
    rule: Rule, topic: str, steps: list[tuple[int, dict[str, Value]]], value: Value
) -> None:
    readings = [sample(topic, fields, T0 + second * SECOND) for second, fields in steps]
    raised = [decision for decision in decisions_of(rule, readings, T0 + 7 * SECOND) if decision.change.raised]
    assert [decision.value for decision in raised[:1]] == [value]


def test_a_count_that_a_late_sample_completes_tells_that_sample() -> None:
    evaluator = make_watches(STARTS)
    order = [(0, "auto"), (1, "off"), (2, "auto"), (5, "auto"), (3, "off")]
    found = [
        decision
        for second, mode in order
        for decision in evaluator.take([sample(PUMP, {"mode": mode}, T0 + second * SECOND, T0 + 6 * SECOND)]).decisions
    ]
    assert [(decision.change.raised, decision.value) for decision in found] == [(True, "off")]


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.tuples(st.integers(1, 12), st.sampled_from([20.0, 49.5, 51.0, 64.0])), min_size=1, max_size=25),
    ticks=st.lists(st.integers(0, 200), max_size=10),
)
def test_every_alarm_tells_a_breach_and_lasts(values: list[tuple[int, float]], ticks: list[int]) -> None:
    """In order, with looks of the clock in between."""
    evaluator = make_watches(HOT)
    times = list(itertools.accumulate(step for step, _ in values))
    events: list[tuple[int, float | None]] = [(at, value) for at, (_, value) in zip(times, values, strict=True)]
    events += [(at, None) for at in ticks]
    decisions: list[Decision] = []
    for at, value in sorted(events, key=lambda event: (event[0], event[1] is None)):
        now = T0 + at * SECOND
        outcome = evaluator.tick(now) if value is None else evaluator.take([hot(value, at)])
        decisions += outcome.decisions
    began = [decision for decision in decisions if decision.change.raised]
    ended = [decision for decision in decisions if not decision.change.raised]
    assert all(isinstance(decision.value, float) and decision.value > 50.0 for decision in began)
    assert all(one.change.at < other.change.at for one, other in zip(began, ended, strict=False))
