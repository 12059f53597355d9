"""RuleEvaluator: many rules on many readings, with the fast path, disorder, doubtful clocks and restarts."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.wire.fields import Kind
from collectors.wire.reading import Quality, Reading, Value
from gateway.alarms.evaluation.evaluator import RuleEvaluator
from gateway.alarms.evaluation.outcomes import Decision
from gateway.alarms.key import Key
from gateway.alarms.rules.rule import Change, Memory, Priority, Rule, RuleType
from tests.builders.alarms import (
    PANEL,
    PUMP,
    PUMP_STATUS,
    SMOKE,
    T0,
    WINDOW_MS,
    bearing,
    fire_rule,
    make_rule,
    panel_event,
    sample,
    smoke_rule,
)

OFFLINE = make_rule("pump.offline", type=RuleType.STATE, field="online", values=frozenset({False}), on_delay=30_000)
LOW = make_rule("pump.low", field="discharge_pressure", below=0.2, deadband=0.02, condition={"running": True})


def make_watches(*rules: Rule, memories: Mapping[Key, Memory] | None = None) -> RuleEvaluator:
    return RuleEvaluator(rules, memories or {}, WINDOW_MS)


Told = tuple[str, bool, int]


def told(decisions: Iterable[Decision]) -> list[Told]:
    """(rule, or part where there is one; raised; at - T0)."""
    return [(item.key.part or item.key.rule, item.change.raised, item.change.at - T0) for item in decisions]


def take(instances: RuleEvaluator, *readings: Reading) -> list[Told]:
    return told(instances.take(readings).decisions)


def test_a_decision_says_what_where_when_and_by_which_value() -> None:
    (decision,) = make_watches(make_rule()).take([bearing(91.5, T0, T0 + 40)]).decisions
    assert str(decision.key) == "HQ/P-1//pump.hot"
    assert decision.change == Change(raised=True, at=T0)
    assert (decision.value, decision.received_at, decision.kind) == (91.5, T0 + 40, "pump")


def test_what_changes_nothing_leaves_no_memory_to_write() -> None:
    instances = make_watches(make_rule(), LOW)
    assert instances.take([bearing(90, T0)])
    assert not instances.take([bearing(91, T0 + 1), bearing(76, T0 + 2)])


def test_a_rule_looks_only_at_the_equipment_that_its_patterns_name() -> None:
    instances = make_watches(make_rule(equipment=("FIRE-*", "P-9")))
    hot: dict[str, Value] = {"bearing_temperature": 99.0}
    assert take(instances, sample(PUMP, hot, T0)) == []
    assert take(instances, sample(PUMP.replace("P-1", "FIRE-2"), hot, T0)) == [("pump.hot", True, 0)]


def test_while_is_judged_again_when_only_its_own_field_changes() -> None:
    instances = make_watches(LOW)
    assert take(instances, sample(PUMP, {"discharge_pressure": 0.1, "running": False}, T0)) == []
    assert take(instances, sample(PUMP, {"running": True}, T0 + 1)) == [("pump.low", True, 1)]
    assert take(instances, sample(PUMP, {"discharge_pressure": 0.1}, T0 + 2)) == []
    assert take(instances, sample(PUMP, {"running": False}, T0 + 3)) == [("pump.low", False, 3)]
    assert take(instances, sample(PUMP, {"discharge_pressure": 0.05}, T0 + 4)) == []


def test_a_breach_stands_through_samples_that_do_not_speak_of_it() -> None:
    instances = make_watches(make_rule(on_delay=10_000))
    assert take(instances, bearing(90, T0), sample(PUMP, {"flow": 3.0}, T0 + 5_000)) == []
    assert take(instances, bearing(90, T0 + 12_000)) == [("pump.hot", True, 10_000)]


def test_the_clock_ends_a_delay_when_no_sample_does() -> None:
    instances = make_watches(OFFLINE)
    take(instances, sample(PUMP_STATUS, {"online": False}, T0, T0 + 200))
    assert not instances.tick(T0 + 200 + 29_999)
    assert told(instances.tick(T0 + 200 + 30_000).decisions) == [("pump.offline", True, 30_000)]
    assert not instances.tick(T0 + 200 + 60_000)


def test_a_pending_delay_survives_a_restart() -> None:
    before = make_watches(OFFLINE)
    memories = before.take([sample(PUMP_STATUS, {"online": False}, T0)]).memories
    after = make_watches(OFFLINE, memories=memories)
    assert told(after.tick(T0 + 30_000).decisions) == [("pump.offline", True, 30_000)]


def test_online_said_just_before_the_clock_said_offline_ends_the_alarm() -> None:
    """The one retained `online` was on its way when the delay ended; no other will come for days."""
    instances = make_watches(OFFLINE)
    take(instances, sample(PUMP_STATUS, {"online": False}, T0))
    instances.tick(T0 + 30_000)
    online = sample(PUMP_STATUS, {"online": True}, T0 + 29_900, T0 + 30_100)
    assert take(instances, online) == [("pump.offline", False, 30_000)]


def test_two_states_in_one_millisecond_the_alarm_wins_and_the_next_sample_settles_it() -> None:
    instances = make_watches(smoke_rule())
    both = [sample(SMOKE, {"smoke": value}, T0) for value in (True, False)]
    assert take(instances, *both) == [("sensor.smoke", True, 0)]
    assert take(instances, sample(SMOKE, {"smoke": False}, T0 + 1_000)) == [("sensor.smoke", False, 1_000)]


# -- disorder ------------------------------------------------------------------------------------------


def test_a_sample_later_than_the_window_is_marked_and_changes_nothing() -> None:
    instances = make_watches(make_rule(), smoke_rule())
    take(instances, bearing(50, T0 + WINDOW_MS + 1))
    late = bearing(99, T0, T0 + WINDOW_MS + 2)
    assert not instances.take([late])
    assert late.quality & Quality.LATE


def test_a_disordered_sample_inside_the_window_still_raises() -> None:
    instances = make_watches(make_rule())
    take(instances, bearing(50, T0 + WINDOW_MS))
    disordered = bearing(99, T0, T0 + WINDOW_MS)
    assert take(instances, disordered) == [("pump.hot", True, 0)]
    assert not disordered.quality & Quality.LATE
    assert take(instances, bearing(50, T0 + WINDOW_MS + 1)) == [("pump.hot", False, WINDOW_MS + 1)]


def test_a_state_that_a_disordered_sample_raised_ends_with_the_next_sample_in_order() -> None:
    instances = make_watches(smoke_rule())
    take(instances, sample(SMOKE, {"smoke": False}, T0 + 100))
    assert take(instances, sample(SMOKE, {"smoke": True}, T0 + 50)) == [("sensor.smoke", True, 50)]
    assert take(instances, sample(SMOKE, {"smoke": False}, T0 + 200)) == [("sensor.smoke", False, 200)]


def test_a_disordered_all_clear_does_not_end_what_the_newest_sample_says() -> None:
    instances = make_watches(smoke_rule())
    take(instances, *(sample(SMOKE, {"smoke": True}, T0 + at) for at in (0, 200)))
    assert take(instances, sample(SMOKE, {"smoke": False}, T0 + 100)) == []


def test_each_activation_of_a_disordered_backlog_counts() -> None:
    """Live first, then what was buffered, in its own order: two breaches in it are two activations."""
    instances = make_watches(make_rule(), smoke_rule())
    assert take(instances, bearing(50, T0 + 1_000)) == []
    backlog = [bearing(celsius, T0 + at) for at, celsius in [(10, 90), (20, 90), (30, 50), (40, 90), (50, 50)]]
    assert take(instances, *backlog) == [
        ("pump.hot", True, 10), ("pump.hot", False, 30), ("pump.hot", True, 40), ("pump.hot", False, 50),
    ]  # fmt: skip
    assert take(instances, bearing(50, T0 + 2_000)) == []


def test_a_disordered_spike_begins_no_delay() -> None:
    """What was measured after it is not known any more, so nobody can say that it lasted."""
    instances = make_watches(make_rule(on_delay=10_000))
    take(instances, bearing(50, T0 + 20_000))
    assert take(instances, bearing(99, T0 + 1_000)) == []
    assert take(instances, bearing(50, T0 + 21_000)) == []
    assert not instances.tick(T0 + 100_000)


def test_a_disordered_all_clear_does_not_end_a_delay_that_runs() -> None:
    instances = make_watches(OFFLINE)
    take(instances, sample(PUMP_STATUS, {"online": False}, T0 + 1_000))
    take(instances, sample(PUMP_STATUS, {"online": True}, T0))
    assert told(instances.tick(T0 + 31_000).decisions) == [("pump.offline", True, 31_000)]


@pytest.mark.parametrize("doubt", [Quality.FUTURE, Quality.OLD, Quality.NO_TIME])
def test_where_the_devices_clock_is_doubtful_the_time_of_receipt_counts(doubt: Quality) -> None:
    instances = make_watches(make_rule())
    said = T0 + 10**9 if doubt is Quality.FUTURE else T0 - 10**9
    hot = sample(PUMP, {"bearing_temperature": 99.0}, said, T0, int(doubt))
    assert take(instances, hot) == [("pump.hot", True, 0)]
    assert take(instances, bearing(50, T0 + 1)) == [("pump.hot", False, 1)]


def test_a_clock_that_was_ahead_and_is_set_right_hides_nothing() -> None:
    """Four minutes ahead is not yet FUTURE; nothing is measured after it was received."""
    instances, ahead = make_watches(smoke_rule()), 240_000
    take(instances, sample(SMOKE, {"smoke": True}, T0 + ahead, T0))
    assert take(instances, sample(SMOKE, {"smoke": False}, T0 + ahead + 1_000, T0 + 1_000)) == [
        ("sensor.smoke", False, 1_000)
    ]
    assert take(instances, sample(SMOKE, {"smoke": True}, T0 + 2_000)) == [("sensor.smoke", True, 2_000)]


# -- events --------------------------------------------------------------------------------------------


def test_a_second_detector_is_a_second_part() -> None:
    instances = make_watches(fire_rule())
    assert take(instances, panel_event(T0), panel_event(T0 + 1, address="24")) == [
        ("1-23", True, 0), ("1-24", True, 1),
    ]  # fmt: skip
    assert take(instances, panel_event(T0 + 2)) == []
    assert take(instances, panel_event(T0 + 3, active=False)) == [("1-23", False, 3)]


def test_reset_ends_all_parts_of_this_panel_and_of_no_other() -> None:
    other = panel_event(T0)
    other.topic = type(other.topic)("HQ", other.topic.kind, "FP-2", other.topic.channel)
    instances = make_watches(fire_rule())
    take(instances, panel_event(T0), panel_event(T0, address="24"), other)
    reset = panel_event(T0 + 5, type="reset", loop=None, address=None)
    assert take(instances, reset) == [("1-23", False, 5), ("1-24", False, 5)]
    assert take(instances, panel_event(T0 + 6)) == [("1-23", True, 6)]


def test_reset_finds_the_parts_that_stand_after_a_restart() -> None:
    before = make_watches(fire_rule())
    memories = before.take([panel_event(T0), panel_event(T0, address="24")]).memories
    after = make_watches(fire_rule(), memories=memories)
    reset = panel_event(T0 + 5, type="reset", loop=None, address=None)
    assert take(after, reset) == [("1-23", False, 5), ("1-24", False, 5)]


def test_a_fire_is_believed_however_late_a_fault_only_in_order() -> None:
    fault = fire_rule(priority=Priority.HIGH, match={"type": frozenset({"fault"})})
    for rule, kind, expected in [(fire_rule(), "fire", [("1-23", True, 0)]), (fault, "fault", [])]:
        instances = make_watches(rule)
        take(instances, panel_event(T0 + 1, type=kind), panel_event(T0 + 2, type=kind, active=False))
        hour_late = panel_event(T0, T0 + 3_600_000, type=kind)
        assert take(instances, hour_late) == expected


# -- laws ----------------------------------------------------------------------------------------------

RULES = (
    make_rule(),
    make_rule("pump.warm", above=70.0, deadband=1.0, on_delay=10, off_delay=7),
    LOW,
    make_rule("pump.fault", type=RuleType.STATE, field="drive_fault", values=frozenset({0.0}), inverted=True),
    make_rule("pump.mode", type=RuleType.STATE, field="mode", values=frozenset({"off"}), on_delay=5),
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "bearing_temperature": st.sampled_from([60.0, 69.0, 72.0, 78.0, 90.0]),
        "discharge_pressure": st.sampled_from([0.1, 0.21, 0.5]),
        "running": st.booleans(),
        "drive_fault": st.sampled_from([0.0, 3.0]),
        "mode": st.sampled_from(["auto", "off"]),
    },
).filter(bool)


@st.composite
def streams(draw: st.DrawFn, most_behind: int = 30) -> list[Reading]:
    """Readings in the order of arrival, at different times; up to `most_behind` out of order."""
    times = draw(st.lists(st.integers(1, 300), min_size=1, max_size=25, unique=True))
    delays = [draw(st.integers(0, most_behind)) for _ in times]
    arrivals = sorted(zip(times, delays, strict=True), key=lambda pair: (sum(pair), pair))
    return [sample(PUMP, draw(FIELDS), T0 + at, T0 + at + delay) for at, delay in arrivals]


def copies(readings: Sequence[Reading]) -> list[Reading]:
    return [sample(PUMP, item.fields, item.measured_at, item.received_at) for item in readings]


def run(instances: RuleEvaluator, batches: Iterable[Sequence[Reading]]) -> tuple[list[Told], dict[Key, Memory]]:
    decisions: list[Decision] = []
    memories: dict[Key, Memory] = {}
    for batch in batches:
        outcome = instances.take(batch)
        decisions += outcome.decisions
        memories |= outcome.memories
    return told(decisions), memories


@given(readings=streams(), cuts=st.sets(st.integers(0, 25)))
@settings(max_examples=200, deadline=None)
def test_batches_are_only_packing(readings: list[Reading], cuts: set[int]) -> None:
    edges = sorted({0, len(readings), *(cut for cut in cuts if cut < len(readings))})
    batches = [readings[start:end] for start, end in pairwise(edges)]
    assert run(make_watches(*RULES), batches) == run(make_watches(*RULES), [copies(readings)])


@given(readings=streams(most_behind=0))
@settings(max_examples=200, deadline=None)
def test_a_stream_that_comes_again_after_a_restart_changes_nothing(readings: list[Reading]) -> None:
    """The law holds for samples in order, each with a time of its own; the tests below say what holds else."""
    _, memories = run(make_watches(*RULES), [readings])
    again, kept = run(make_watches(*RULES, memories=memories), [copies(readings)])
    assert again == []
    standing = {key: memory.active for key, memory in memories.items()}
    assert {key: memory.active for key, memory in (memories | kept).items()} == standing


def test_disorder_after_a_restart() -> None:
    """What only a disordered sample raised is ended by the newer sample when that comes again: late, never hidden."""
    stream = [sample(SMOKE, {"smoke": False}, T0 + 9), sample(SMOKE, {"smoke": True}, T0 + 5)]
    first, memories = run(make_watches(smoke_rule()), [stream])
    assert first == [("sensor.smoke", True, 5)]
    again, _ = run(make_watches(smoke_rule(), memories=memories), [stream])
    assert again == [("sensor.smoke", False, 9)]


def test_equal_times_after_a_restart() -> None:
    """Within one millisecond the alarm wins, so a breach and an end of one moment can raise once more, never hide."""
    rule = make_rule()
    stream = [bearing(90, T0), bearing(90, T0 + 5), bearing(50, T0 + 5)]
    first, memories = run(make_watches(rule), [stream])
    assert first == [("pump.hot", True, 0), ("pump.hot", False, 5)]
    again, _ = run(make_watches(rule, memories=memories), [copies(stream)])
    assert again == [("pump.hot", True, 5)]


def test_a_fire_that_comes_again_is_told_again_here_and_known_by_its_digest_in_alarms() -> None:
    stream = [panel_event(T0), panel_event(T0 + 1, active=False)]
    instances = make_watches(fire_rule())
    memories = instances.take(stream).memories
    assert take(make_watches(fire_rule(), memories=memories), *stream)[0] == ("1-23", True, 0)


@given(readings=streams(most_behind=0))
@settings(max_examples=200, deadline=None)
def test_after_samples_in_order_every_undelayed_rule_says_what_the_newest_values_say(
    readings: list[Reading],
) -> None:
    """What the fast path skips must never matter: each rule is compared with its plain reading of the values."""
    plain = (RULES[3], smoke_rule(kind=Kind.PUMP, field="running"))
    instances = make_watches(*plain)
    values: dict[str, Value] = {}
    standing: set[str] = set()
    for reading in readings:
        values |= reading.fields
        for decision in instances.take([reading]).decisions:
            (standing.add if decision.change.raised else standing.discard)(decision.key.rule)
        expected = {"pump.fault"} if values.get("drive_fault", 0.0) != 0.0 else set()
        expected |= {"sensor.smoke"} if values.get("running") is True else set()
        assert standing == expected


@given(readings=streams())
@settings(max_examples=200, deadline=None)
def test_one_sample_in_order_puts_right_whatever_disorder_did(readings: list[Reading]) -> None:
    instances = make_watches(*RULES)
    _, memories = run(instances, [readings])
    good: dict[str, Value] = {
        "bearing_temperature": 60.0, "discharge_pressure": 0.5, "running": True, "drive_fault": 0.0, "mode": "auto",
    }  # fmt: skip
    for step in (1_000, 2_000):  # the second one ends the delays
        memories |= instances.take([sample(PUMP, good, T0 + step)]).memories
    assert not any(memory.active for memory in memories.values())


def test_events_never_reach_the_rules_of_another_channel() -> None:
    assert take(make_watches(make_rule()), panel_event(T0)) == []
    assert PANEL.endswith("/event")


# -- clocks that lie, brokers that repeat ----------------------------------------------------------------


def smoke(value: bool, at: int, received_at: int, quality: int = 0) -> Reading:
    return sample(SMOKE, {"smoke": value}, at, received_at, quality)


def test_somebody_in_danger_is_heard_however_late_the_sample_is() -> None:
    instances = make_watches(smoke_rule())
    take(instances, smoke(False, T0, T0))
    late = smoke(True, T0 - 3_600_000, T0 + 1)
    assert [raised for _, raised, _ in take(instances, late)] == [True]
    assert late.quality & Quality.LATE
    assert [raised for _, raised, _ in take(instances, smoke(False, T0 + 2, T0 + 2))] == [False]


def test_a_clock_that_was_set_back_silences_its_rules_for_one_window_at_most() -> None:
    instances = make_watches(make_rule())
    take(instances, bearing(60, T0))
    hour = 3_600_000
    silent = [bearing(91, T0 - hour + after, T0 + after) for after in range(1_000, WINDOW_MS, 1_000)]
    assert take(instances, *silent) == []
    after = WINDOW_MS + 1_000
    told_at = T0 + after
    assert take(instances, bearing(91, told_at - hour, told_at)) == [("pump.hot", True, after)]
    assert take(instances, bearing(60, told_at + 1 - hour, told_at + 1)) == [("pump.hot", False, after + 1)]


def test_late_samples_between_samples_in_order_do_not_look_like_a_clock_set_back() -> None:
    instances = make_watches(make_rule())
    hour = 3_600_000
    for after in range(0, 3 * WINDOW_MS, 10_000):
        assert take(instances, bearing(60, T0 + after), bearing(91, T0 + after - hour, T0 + after)) == []


def test_what_a_broker_kept_without_a_time_clears_nothing_and_raises_only_life_safety() -> None:
    old = int(Quality.RETAINED | Quality.NO_TIME)
    instances = make_watches(smoke_rule(), fire_rule(), make_rule())
    assert take(instances, sample(PUMP, {"bearing_temperature": 99.0}, T0, quality=old)) == []
    assert take(instances, smoke(True, T0, T0, old)) == [("sensor.smoke", True, 0)]
    assert take(instances, smoke(False, T0 + 2, T0 + 2, old)) == []
    fire = panel_event(T0, type="fire", loop="1", address="1")
    fire.quality |= old
    assert take(instances, fire) == [("1-1", True, 0)]


def test_conditions_go_by_what_was_known_before_the_start() -> None:
    known = RuleEvaluator([LOW], {}, WINDOW_MS, lambda _site, _equipment: {"running": False, "discharge_pressure": 0.1})
    assert take(known, sample(PUMP, {"discharge_pressure": 0.1}, T0)) == []
    assert [raised for _, raised, _ in take(known, sample(PUMP, {"running": True}, T0 + 1))] == [True]
