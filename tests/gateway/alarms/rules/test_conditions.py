"""Combinations: and, or, not over fields, deadbands that hold the alarm, and the bands that need no judgement."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.wire.reading import Value
from gateway.alarms.rules.conditions import All, Condition, Either, Imbalance, Limit, Membership, Not, is_fulfilled
from gateway.alarms.rules.rule import (
    Memory,
    Rule,
    RuleType,
    inputs_of,
    is_breached,
    looked_at_when_differing,
    quiet_bands,
)
from tests.builders.alarms import make_rule

ENTRAPMENT = All(
    (
        Membership(field="occupied", values=frozenset({True})),
        Membership(field="moving", values=frozenset({False})),
        Not(
            All(
                (
                    Membership(field="door", values=frozenset({"open", "opening"})),
                    Membership(field="in_door_zone", values=frozenset({True})),
                )
            )
        ),
    )
)
TRAPPED: dict[str, Value] = {"occupied": True, "moving": False, "door": "closed", "in_door_zone": True}
CURRENTS = ("current_a", "current_b", "current_c")
BALANCE = Imbalance(fields=CURRENTS, above=10.0, deadband=2.0)
OVER = Limit(field="discharge_pressure", than="setpoint", above=0.15, deadband=0.02)


def combination(when: Condition, **changes: Any) -> Rule:
    return make_rule("pump.both", type=RuleType.COMBINATION, when=when, **changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"occupied": False}, False),
        ({"moving": True}, False),
        ({"door": "open"}, False),
        ({"door": "open", "in_door_zone": False}, True),  # open, but between floors: nobody can get out
        ({"in_door_zone": False}, True),
    ],
)
def test_somebody_is_trapped_who_is_in_a_stopped_car_with_no_open_door_at_a_floor(
    changes: dict[str, Value], expected: bool
) -> None:
    assert is_breached(combination(ENTRAPMENT), {**TRAPPED, **changes}, active=False) is expected


def test_a_field_that_was_never_reported_fulfils_nothing() -> None:
    rule = combination(ENTRAPMENT)
    assert is_breached(rule, {}, active=False) is None
    assert is_breached(rule, {"moving": False, "door": "closed"}, active=False) is False  # is anybody inside?
    assert is_breached(rule, {"occupied": True, "moving": False}, active=False) is True  # no door is known to be open


@pytest.mark.parametrize(
    ("condition", "values", "hold", "expected"),
    [
        (OVER, {"discharge_pressure": 0.60, "setpoint": 0.45}, 0, False),
        (OVER, {"discharge_pressure": 0.61, "setpoint": 0.45}, 0, True),
        (OVER, {"discharge_pressure": 0.59, "setpoint": 0.45}, 1, True),  # inside the deadband
        (OVER, {"discharge_pressure": 0.57, "setpoint": 0.45}, 1, False),
        (OVER, {"discharge_pressure": 0.61}, 0, False),
        (BALANCE, {"current_a": 10.0, "current_b": 10.0, "current_c": 12.0}, 0, True),  # 12.5 % from 10.67
        (BALANCE, {"current_a": 10.0, "current_b": 10.0, "current_c": 11.0}, 0, False),
        (BALANCE, {"current_a": 10.0, "current_b": 10.0, "current_c": 11.4}, 1, True),  # 8.9 %, held down to 8 %
        (BALANCE, {"current_a": 0.0, "current_b": 0.0, "current_c": 0.0}, 0, False),  # it stands still
        (BALANCE, {"current_a": 10.0, "current_b": 0.0}, 0, False),  # two phases of three
        (Not(Limit(field="flow", above=5.0, deadband=1.0)), {"flow": 5.5}, 0, False),
        (Not(Limit(field="flow", above=5.0, deadband=1.0)), {"flow": 5.5}, 1, True),  # only 6 ends it
        (Either((OVER, BALANCE)), {"discharge_pressure": 0.9, "setpoint": 0.4}, 0, True),
    ],
)
def test_leaves_compare_with_limits_other_fields_and_each_other(
    condition: Condition, values: dict[str, Value], hold: int, expected: bool
) -> None:
    assert is_fulfilled(condition, values, hold) is expected


def test_a_rule_names_each_field_once_and_knows_which_ones_need_a_look_at_each_change() -> None:
    rule = combination(All((OVER, BALANCE, Membership(field="running", values=frozenset({True})), OVER)))
    assert inputs_of(rule) == ("discharge_pressure", "setpoint", *CURRENTS, "running")
    assert looked_at_when_differing(rule) == {"setpoint", "running"}
    assert set(quiet_bands(rule, Memory(), {})) == {"discharge_pressure", *CURRENTS}


# -- the fast path -------------------------------------------------------------------------------------

NUMBERS = st.floats(0, 20) | st.sampled_from([0.0, 5.0, 7.0, 10.0, 12.0])
LEAVES = st.one_of(
    st.builds(
        Limit, field=st.sampled_from(["a", "b", "c"]), above=st.sampled_from([5.0, 10.0]),
        deadband=st.sampled_from([0.0, 2.0]), than=st.sampled_from(["", "b", "d"]),
    ),
    st.builds(
        Limit, field=st.sampled_from(["a", "b", "c"]), below=st.sampled_from([5.0, 10.0]),
        deadband=st.sampled_from([0.0, 2.0]), than=st.sampled_from(["", "b", "d"]),
    ),
    st.builds(
        Imbalance, fields=st.just(("a", "b", "c")), above=st.sampled_from([10.0, 60.0]),
        deadband=st.sampled_from([0.0, 5.0]),
    ),
    st.just(Membership(field="on", values=frozenset({True}))),
)  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda children: st.one_of(
        st.builds(All, st.lists(children, min_size=1, max_size=3).map(tuple)),
        st.builds(Either, st.lists(children, min_size=1, max_size=3).map(tuple)),
        st.builds(Not, children),
    ),
    max_leaves=5,
)


@given(
    tree=TREES, active=st.booleans(),
    before=st.fixed_dictionaries({}, optional=dict.fromkeys("abcd", NUMBERS) | {"on": st.booleans()}),
    change=st.fixed_dictionaries({}, optional=dict.fromkeys("abc", NUMBERS)),
)  # fmt: skip
@settings(max_examples=1_000, deadline=None)
def test_what_stays_in_its_bands_and_differs_in_nothing_else_changes_no_answer(
    tree: Condition, active: bool, before: dict[str, Value], change: dict[str, Value]
) -> None:
    rule, memory = combination(tree), Memory(active=active)
    quiet, differing = quiet_bands(rule, memory, before), looked_at_when_differing(rule)
    for name, value in change.items():
        low, high = quiet.get(name, (float("-inf"), float("inf")))
        assert isinstance(value, float)
        if not low <= value <= high or (name in differing and before.get(name) != value):
            return
    answer = is_breached(rule, before, active)
    assert is_breached(rule, {**before, **change}, active) is answer or answer is None
