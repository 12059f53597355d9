"""Rules: breaches, deadbands, delays by time of measurement, and the band that needs no judgement."""

import math
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from collectors.wire.reading import Value
from gateway.alarms.rules.rule import (
    FRESH,
    Change,
    Judgement,
    Memory,
    Priority,
    Rule,
    RuleType,
    is_breached,
    is_match,
    judge,
    judge_event,
    mature,
    part_of,
    quiet_band,
)
from tests.builders.alarms import fire_rule, make_rule, smoke_rule

LOW = make_rule(field="discharge_pressure", below=0.2, deadband=0.02, condition={"running": True})
FAULT = make_rule(type=RuleType.STATE, field="drive_fault", values=frozenset({0.0}), inverted=True)


@pytest.mark.parametrize(
    ("rule", "values", "active", "expected"),
    [
        (make_rule(), {"bearing_temperature": 80.0}, False, False),  # at the limit is not beyond it
        (make_rule(), {"bearing_temperature": 80.1}, False, True),
        (make_rule(), {"bearing_temperature": 75.1}, True, True),  # inside the deadband it still stands
        (make_rule(), {"bearing_temperature": 75.0}, True, False),  # beyond the deadband it is over
        (make_rule(), {"bearing_temperature": 79.0}, False, False),  # the deadband raises nothing
        (make_rule(), {"flow": 99.0}, False, None),  # the field was never reported
        (make_rule(), {"bearing_temperature": "hot"}, False, None),  # no number, no answer
        (make_rule(), {"bearing_temperature": True}, False, None),  # a boolean is no number either
        (LOW, {"discharge_pressure": 0.1, "running": True}, False, True),
        (LOW, {"discharge_pressure": 0.1, "running": False}, False, False),  # `while` is not fulfilled
        (LOW, {"discharge_pressure": 0.1}, False, True),  # never reported counts as fulfilled: the safe side
        (LOW, {"discharge_pressure": 0.21, "running": True}, True, True),
        (LOW, {"discharge_pressure": 0.22, "running": True}, True, False),
        (LOW, {"discharge_pressure": 0.1, "running": False}, True, False),  # a stopped pump ends the alarm
        (smoke_rule(), {"smoke": True}, False, True),
        (smoke_rule(), {"smoke": False}, True, False),
        (FAULT, {"drive_fault": 0.0}, False, False),  # `not_in`: the only value that is no alarm
        (FAULT, {"drive_fault": 17.0}, False, True),
    ],
)
def test_a_rule_says_breached_or_not_or_that_it_cannot_tell(
    rule: Rule, values: dict[str, Value], active: bool, expected: bool | None
) -> None:
    assert is_breached(rule, values, active) is expected


def test_an_event_is_a_rules_own_only_with_every_field_that_it_names() -> None:
    rule = fire_rule(match={"type": frozenset({"fire", "supervisory"}), "device_type": frozenset({"smoke"})})
    assert is_match(rule, {"type": "fire", "device_type": "smoke", "zone": "3"})
    assert not is_match(rule, {"type": "fire", "device_type": "heat"})
    assert not is_match(rule, {"type": "fire"})


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"loop": "1", "address": "23"}, "1-23"),
        ({"address": "23"}, "-23"),  # a panel without loops: never taken for loop 23
        ({}, ""),  # a panel that says only "fire"
    ],
)
def test_the_part_is_named_by_the_fields_of_per(fields: dict[str, Value], part: str) -> None:
    assert part_of(fire_rule(), fields) == part


# -- sequences -----------------------------------------------------------------------------------------

Step = tuple[int, float]


def play(rule: Rule, steps: list[Step], memory: Memory = FRESH) -> tuple[list[Change], Memory]:
    """Give samples (time, value), each received when it was measured."""
    changes: list[Change] = []
    for at, value in steps:
        breached = is_breached(rule, {rule.field: float(value)}, memory.active)
        assert breached is not None
        memory, changed = judge(rule, memory, breached, at, at)
        changes += changed
    return changes, memory


def raised(at: int) -> Change:
    return Change(raised=True, at=at)


def returned(at: int) -> Change:
    return Change(raised=False, at=at)


def disproved(at: int) -> Change:
    return Change(raised=False, at=at, disproved=True)


ON = {"on_delay": 10}
OFF = {"off_delay": 10}


@pytest.mark.parametrize(
    ("delays", "steps", "expected"),
    [
        ({}, [(1, 90), (2, 70)], [raised(1), returned(2)]),
        ({}, [(1, 90), (2, 90), (3, 78)], [raised(1)]),  # steady, then inside the deadband
        (ON, [(1, 90), (10, 90)], []),  # one millisecond short
        (ON, [(1, 90), (11, 90)], [raised(11)]),
        (ON, [(1, 90), (50, 90)], [raised(11)]),  # raised for when the delay ended, not for when it was seen
        (ON, [(1, 90), (10, 90), (11, 70)], []),  # over at the moment at which the delay ends: it did not outlast it
        (OFF, [(1, 90), (5, 70), (15, 90)], [raised(1)]),  # likewise back at that moment: it never was over for so long
        (ON, [(1, 90), (50, 70)], [raised(11), returned(50)]),  # a value holds until the next one comes
        (ON, [(1, 90), (8, 70), (9, 90), (18, 90)], []),  # the interruption begins the delay anew
        (ON, [(1, 90), (8, 70), (9, 90), (19, 90)], [raised(19)]),
        (OFF, [(1, 90), (5, 70), (14, 70)], [raised(1)]),
        (OFF, [(1, 90), (5, 70), (15, 70)], [raised(1), returned(15)]),
        (OFF, [(1, 90), (5, 70), (9, 90), (30, 90)], [raised(1)]),  # one alarm, not two
        (ON | OFF, [(1, 90), (40, 70), (60, 70)], [raised(11), returned(50)]),
        (ON, [(1, 90), (1, 90), (1, 90)], []),  # the same moment again is no time
    ],
)
def test_delays_go_by_the_time_of_measurement(
    delays: dict[str, int], steps: list[Step], expected: list[Change]
) -> None:
    assert play(make_rule(**delays), steps)[0] == expected


def test_what_was_measured_before_the_last_change_changes_nothing() -> None:
    rule = make_rule()
    _, memory = play(rule, [(100, 90)])
    for at, value in [
        (99, 70.0),
        (100, 70.0),
        (50, 90.0),
    ]:  # earlier, at the same moment, breached and earlier
        assert play(rule, [(at, value)], memory) == ([], memory)
    _, memory = play(rule, [(200, 70)], memory)
    assert play(rule, [(150, 90)], memory) == ([], memory)  # it cannot raise what has returned since


def test_a_sample_that_the_clock_overtook_ends_what_the_clock_raised() -> None:
    """Breach at 0, delay 10: the clock raises; a sample measured at 9 was on its way and says that it is over."""
    rule = make_rule(on_delay=10)
    _, memory = play(rule, [(0, 90)])
    memory, changes = mature(rule, memory, 10)
    assert changes == (raised(10),)
    changes, memory = play(rule, [(9, 70)], memory)
    assert changes == [disproved(10)]
    assert not memory.active


def test_what_is_over_when_its_delay_ends_is_disproved_where_the_clock_was_faster() -> None:
    rule = make_rule(on_delay=10)
    _, memory = play(rule, [(0, 90)])
    memory, changes = mature(rule, memory, 10)
    assert changes == (raised(10),)
    assert play(rule, [(10, 70)], memory)[0] == [disproved(10)]


def test_a_change_is_never_dated_before_the_one_it_follows() -> None:
    """As above, but the sample is older still and an off-delay runs from it."""
    rule = make_rule(on_delay=10, off_delay=5)
    _, memory = play(rule, [(0, 90)])
    memory, _ = mature(rule, memory, 10)
    assert play(rule, [(3, 70), (30, 70)], memory)[0] == [disproved(10)]


def test_after_a_quiet_time_the_clock_ends_a_delay_by_its_own_length() -> None:
    """The device's clock is an hour behind: only the time since receipt counts."""
    rule, hour = make_rule(on_delay=10), 3_600_000
    memory, _ = judge(rule, FRESH, True, 5, hour + 5)
    assert mature(rule, memory, hour + 14) == Judgement(memory)
    assert mature(rule, memory, hour + 15).changes == (raised(15),)


@given(
    delay=st.integers(1, 50), passed=st.integers(0, 200), since=st.integers(0, 1000), lag=st.integers(-90, 90),
    active=st.booleans(),
)  # fmt: skip
def test_clock_and_later_sample_decide_alike(delay: int, passed: int, since: int, lag: int, active: bool) -> None:
    rule = make_rule(on_delay=delay, off_delay=delay)
    memory = Memory(active, 0, 0, since, since + lag)
    by_clock = mature(rule, memory, since + lag + passed)
    by_sample = judge(rule, memory, not active, since + passed, since + lag + passed)
    assert by_clock.changes == by_sample.changes
    if by_clock.changes:  # the sample is a witness besides, so what is older than it counts no more
        witnessed = msgspec.structs.replace(by_clock.memory, known_at=since + passed)
        assert by_sample.memory == witnessed


def expected_changes(rule: Rule, breaches: dict[int, bool], end: int) -> list[Change]:
    """What holds at each millisecond, worked out one by one."""
    holds, since, active, found = False, 0, False, []
    for now in range(end + 1):
        if breaches.get(now, holds) is not holds:  # the sample of a moment comes before the end of a delay
            holds, since = breaches[now], now
        delay = rule.off_delay if active else rule.on_delay
        if holds is not active and now - since >= delay:
            active = holds
            found.append(Change(active, now))
    return found


@given(
    breaches=st.dictionaries(st.integers(0, 60), st.booleans(), max_size=12),
    on_delay=st.integers(0, 12), off_delay=st.integers(0, 12),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_a_value_holds_until_the_next_one(breaches: dict[int, bool], on_delay: int, off_delay: int) -> None:
    rule = make_rule(on_delay=on_delay, off_delay=off_delay)
    memory, changes = FRESH, []
    for at in sorted(breaches):
        memory, changed = judge(rule, memory, breaches[at], at, at)
        changes += changed
    changes += mature(rule, memory, 90).changes
    assert changes == expected_changes(rule, breaches, 90)


@given(
    samples=st.lists(st.tuples(st.integers(0, 200), st.booleans()), max_size=40),
    on_delay=st.sampled_from([0, 5, 20]), off_delay=st.sampled_from([0, 5, 20]),
)  # fmt: skip
@settings(deadline=None)
def test_raised_and_returned_alternate_in_whatever_order_samples_come(
    samples: list[tuple[int, bool]], on_delay: int, off_delay: int
) -> None:
    rule = make_rule(on_delay=on_delay, off_delay=off_delay)
    memory, changes = FRESH, []
    for at, breached in samples:
        memory, changed = judge(rule, memory, breached, at, at)
        changes += changed
    assert [change.raised for change in changes] == [number % 2 == 0 for number in range(len(changes))]
    assert all(earlier.at <= later.at for earlier, later in pairwise(changes))


@given(values=st.lists(st.floats(60, 100), max_size=60), above=st.booleans())
@settings(deadline=None)
def test_a_limit_with_deadband_never_chatters(values: list[float], above: bool) -> None:
    rule = make_rule() if above else make_rule(below=80.0)
    changes, _ = play(rule, list(enumerate(values, 1)))
    assert [change.raised for change in changes] == [number % 2 == 0 for number in range(len(changes))]
    for change in changes:
        value = values[change.at - 1]
        beyond = value - 80 if above else 80 - value
        assert beyond > 0 if change.raised else beyond <= -rule.deadband


# -- the fast path -------------------------------------------------------------------------------------

LIMITS = st.sampled_from([-20.0, 0.0, 0.2, 82.0, 1e9])
NEAR = st.builds(
    lambda limit, deadband, towards: math.nextafter(limit + deadband, towards) if towards else limit + deadband,
    LIMITS,
    st.sampled_from([0.0, 0.02, -0.02, 5.0, -5.0]),
    st.sampled_from([0.0, math.inf, -math.inf]),
)
"""On the edges of limit and deadband, and one step beside them."""


@st.composite
def limit_rules(draw: st.DrawFn) -> Rule:
    side = draw(st.sampled_from(["above", "below"]))
    return make_rule(
        **{side: draw(LIMITS)},
        deadband=draw(st.sampled_from([0.0, 0.02, 5.0])),
        condition=draw(st.sampled_from([{}, {"running": True}])),
        on_delay=draw(st.sampled_from([0, 10])),
        off_delay=draw(st.sampled_from([0, 10])),
    )


MEMORIES = st.builds(
    lambda active, pending: Memory(active, 100, 100, pending, pending),
    st.booleans(), st.sampled_from([None, None, 200]),
)  # fmt: skip


@given(
    rule=limit_rules(), memory=MEMORIES, value=NEAR | st.floats(allow_nan=False, allow_infinity=False),
    running=st.sampled_from([None, True, False]),
)  # fmt: skip
@settings(max_examples=1_000, deadline=None)
def test_in_the_quiet_band_judging_changes_nothing_and_beyond_it_something_would(
    rule: Rule, memory: Memory, value: float, running: bool | None
) -> None:
    others: dict[str, Any] = {} if running is None else {"running": running}
    low, high = quiet_band(rule, memory, {rule.field: 0.0, **others})
    breached = is_breached(rule, {rule.field: value, **others}, memory.active)
    assert breached is not None
    if low <= value <= high:
        assert judge(rule, memory, breached, 300, 300) == Judgement(memory)
    elif memory.pending_since is None:
        assert breached is not memory.active, "the band is narrower than it need be"


# -- events --------------------------------------------------------------------------------------------

FAULT_EVENT = fire_rule(priority=Priority.HIGH)


@pytest.mark.parametrize(
    ("rule", "memory", "active", "at", "expected"),
    [
        (FAULT_EVENT, FRESH, True, 10, (raised(10),)),
        (FAULT_EVENT, Memory(True, 10), True, 20, ()),  # it stands already
        (FAULT_EVENT, Memory(True, 10), False, 10, (returned(10),)),  # whole seconds: both in the same one
        (FAULT_EVENT, Memory(True, 10), False, 9, ()),  # ended before it began: an old one
        (FAULT_EVENT, Memory(False, 10), True, 9, ()),  # disordered: the end is known already
        (fire_rule(), Memory(False, 10), True, 9, (raised(9),)),  # life safety is believed however late
        (fire_rule(), Memory(True, 10), False, 9, (returned(10),)),  # and ended in the order of arrival
    ],
)
def test_events_have_no_delay_and_life_safety_is_believed_however_late(
    rule: Rule, memory: Memory, active: bool, at: int, expected: tuple[Change, ...]
) -> None:
    judgement = judge_event(rule, memory, active, at)
    assert judgement.changes == expected
    assert judgement.memory.active is (active if expected else memory.active)


def test_a_late_fire_does_not_turn_back_the_time_of_what_is_known() -> None:
    memory, _ = judge_event(fire_rule(), Memory(False, 10), True, 4)
    assert judge_event(fire_rule(), memory, False, 7).changes == (returned(10),)
    assert judge_event(fire_rule(), memory, False, 11).changes == (returned(11),)


def test_after_a_clock_went_back_a_reset_counts_and_the_next_fire_is_heard() -> None:
    memory = FRESH
    heard = []
    for active, at in [(True, 1_000), (False, 1_001), (True, 400), (False, 401), (True, 402)]:
        memory, changes = judge_event(fire_rule(), memory, active, at)
        heard += [change.raised for change in changes]
    assert heard == [True, False, True, False, True]


def test_a_conventional_panel_has_its_zones_as_parts() -> None:
    rule = fire_rule(per=("loop", "address"), per_otherwise=("zone",))
    assert part_of(rule, {"zone": "1"}) != part_of(rule, {"zone": "2"})
    assert part_of(rule, {"zone": "3F", "loop": "1", "address": "23"}) == "1-23"
    long = [part_of(rule, {"loop": "1", "address": "x" * 500 + end}) for end in "ab"]
    assert len(set(long)) == 2
    assert max(map(len, long)) <= 128


@given(events=st.lists(st.tuples(st.booleans(), st.integers(0, 50)), max_size=30))
def test_events_too_alternate(events: list[tuple[bool, int]]) -> None:
    memory, changes = FRESH, []
    for active, at in events:
        memory, changed = judge_event(fire_rule(), memory, active, at)
        changes += changed
    assume(changes)
    assert [change.raised for change in changes] == [number % 2 == 0 for number in range(len(changes))]
