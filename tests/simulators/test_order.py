"""Order and time: after the window what stands is what would stand had every sample come in order and once.

The law is for rules that remember nothing of the order itself: limits without deadband, sets, combinations, each with
and without delays. Deadbands, rates and counts look at what was before; tests of their own say what holds for them.
"""

from collections.abc import Sequence
from itertools import count

from hypothesis import example, given, settings
from hypothesis import strategies as st

from collectors.wire.reading import Reading, Value
from gateway.alarms.rules.conditions import All, Either, Imbalance, Limit, Membership, Not
from gateway.alarms.rules.rule import Change, Rule, RuleType
from tests.builders.alarms import PUMP, PUMP_STATUS, T0, WINDOW_MS, make_rule, sample
from tests.gateway.alarms.evaluation.test_evaluator import make_watches

OFF = Membership(field="mode", values=frozenset({"off"}))
LESS = Limit(field="discharge_pressure", than="setpoint", below=-0.1)
UNBALANCED = Imbalance(fields=("current_a", "current_b"), above=10.0)


def every_way(identity: str, **given: object) -> list[Rule]:
    """A rule at once, with an on-delay, with an off-delay and with both."""
    delays: list[dict[str, object]] = [{}, {"on_delay": 7}, {"off_delay": 9}, {"on_delay": 5, "off_delay": 3}]
    return [make_rule(f"{identity}.{number}", **(given | delay)) for number, delay in enumerate(delays)]


RULES = [
    *every_way("hot", deadband=0.0),
    *every_way("low", field="discharge_pressure", below=0.2, deadband=0.0, condition={"running": True}),
    *every_way("fault", type=RuleType.STATE, field="drive_fault", values=frozenset({0.0}), inverted=True),
    *every_way("both", type=RuleType.COMBINATION, when=All((OFF, Not(LESS)))),
    *every_way("any", type=RuleType.COMBINATION, when=Either((Not(OFF), LESS, UNBALANCED))),
]
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "bearing_temperature": st.sampled_from([60.0, 90.0]),
        "discharge_pressure": st.sampled_from([0.1, 0.35, 0.5]),
        "setpoint": st.sampled_from([0.3, 0.5]),
        "running": st.booleans(),
        "drive_fault": st.sampled_from([0.0, 3.0]),
        "mode": st.sampled_from(["auto", "off"]),
        "current_a": st.sampled_from([10.0, 10.5, 14.0]),
        "current_b": st.sampled_from([10.0, 10.5]),
    },
).filter(bool)
Samples = Sequence[tuple[int, int, dict[str, Value]]]
"""(measured, received, fields), in the order of arrival; ms after T0."""


@st.composite
def arrivals(draw: st.DrawFn) -> Samples:
    """Samples of different times, each up to 200 ms late, some of them twice."""
    times = draw(st.lists(st.integers(1, 300), min_size=1, max_size=20, unique=True))
    samples = [(at, at + draw(st.integers(0, 200)), draw(FIELDS)) for at in times]
    again = draw(st.lists(st.sampled_from(samples), max_size=5))
    samples += [(at, received + draw(st.integers(0, 100)), fields) for at, received, fields in again]
    return sorted(samples, key=lambda item: item[1])


def reading(at: int, received_at: int, fields: dict[str, Value]) -> Reading:
    return sample(PUMP, fields, T0 + at, T0 + received_at)


def standing(readings: Sequence[Reading]) -> set[str]:
    """The rules that stand when the window and all delays are over."""
    evaluator, found = make_watches(*RULES), set[str]()
    steps = [evaluator.take([item]) for item in readings]
    steps += [evaluator.tick(T0 + 1_000 + after) for after in range(0, 3 * WINDOW_MS, WINDOW_MS // 4)]
    for outcome in steps:
        assert not outcome.failures
        for decision in outcome.decisions:
            (found.add if decision.change.raised else found.discard)(decision.key.rule)
    return found


@example(
    samples=[
        (137, 137, {"discharge_pressure": 0.1}),
        (84, 138, {"bearing_temperature": 90.0}),
        (136, 138, {"bearing_temperature": 60.0}),
    ]
)
@given(samples=arrivals())
@settings(max_examples=400, deadline=None)
def test_after_the_window_it_is_as_if_all_had_come_in_order_and_once(samples: Samples) -> None:
    shuffled = standing([reading(*item) for item in samples])
    in_order = {at: fields for at, _, fields in samples}
    assert shuffled == standing([reading(at, at, in_order[at]) for at in sorted(in_order)])


@given(samples=arrivals())
@settings(max_examples=200, deadline=None)
def test_in_whatever_order_samples_come_every_rule_is_raised_and_returned_in_turn(samples: Samples) -> None:
    evaluator, told = make_watches(*RULES), dict[str, list[tuple[bool, int]]]()
    for item in samples:
        for decision in evaluator.take([reading(*item)]).decisions:
            told.setdefault(decision.key.rule, []).append((decision.change.raised, decision.change.at))
    for changes in told.values():
        assert [raised for raised, _ in changes] == [number % 2 == 0 for number in range(len(changes))]
        assert [at for _, at in changes] == sorted(at for _, at in changes)


@given(lag=st.integers(-86_400_000, 3_000_000), jump=st.integers(-86_400_000, 86_400_000), hot=st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_jump_of_a_devices_clock_neither_raises_nor_clears_what_its_values_do_not(
    lag: int, jump: int, hot: bool
) -> None:
    """Steady values, one a second; in the middle the clock jumps, the jump is at least as long as the window."""
    if abs(jump) <= WINDOW_MS:
        jump += WINDOW_MS if jump >= 0 else -WINDOW_MS
    rules = [make_rule(), make_rule("slow", on_delay=600_000, off_delay=600_000)]
    evaluator, told = make_watches(*rules), []
    for second in count():
        now = T0 + second * 1_000
        at = now + lag + (jump if second >= 60 else 0)
        value = 95.0 if hot else 50.0
        told += evaluator.take([sample(PUMP, {"bearing_temperature": value}, at, now)]).decisions
        told += evaluator.tick(now).decisions
        if second > 300:
            break
    assert [(item.key.rule, item.change.raised) for item in told] == ([("pump.hot", True)] if hot else [])


def test_the_status_of_an_equipment_has_an_order_of_its_own() -> None:
    offline = make_rule("pump.offline", type=RuleType.STATE, field="online", values=frozenset({False}))
    evaluator = make_watches(offline, make_rule())
    evaluator.take([sample(PUMP, {"bearing_temperature": 50.0}, T0 + 500)])
    (decision,) = evaluator.take([sample(PUMP_STATUS, {"online": False}, T0)]).decisions
    assert decision.change == Change(True, T0)
