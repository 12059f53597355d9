"""RuleEvaluator: the types of rule that need memory, several fields, or the clock alone."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest

from collectors.wire.fields import Channel
from collectors.wire.reading import Reading, Value
from gateway.alarms.evaluation.evaluator import RuleEvaluator
from gateway.alarms.evaluation.outcomes import Outcome
from gateway.alarms.key import Key
from gateway.alarms.rules.conditions import All, Limit, Membership, Not
from gateway.alarms.rules.rule import Change, Memory, Priority, Rule, RuleType
from tests.builders.alarms import PANEL, PUMP, PUMP_STATUS, T0, WINDOW_MS, fire_rule, make_rule, panel_event, sample
from tests.gateway.alarms.evaluation.test_evaluator import Told, make_watches, take, told

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
RUNS = Membership(field="running", values=frozenset({True}))
FLOWS = Limit(field="flow", above=1.0, deadband=0.5)


def both(**changes: Any) -> Rule:
    """Running without flow: stands in for dry running."""
    return make_rule("pump.both", type=RuleType.COMBINATION, when=All((RUNS, Not(FLOWS))), **changes)


def rate(**changes: Any) -> Rule:
    """More than 5 °C a minute over ten minutes."""
    return make_rule("pump.rising", type=RuleType.RATE, field="bearing_temperature", above=5.0, deadband=1.0,
                     window=10 * MINUTE, **changes)  # fmt: skip


def starts(**changes: Any) -> Rule:
    """More than three starts an hour."""
    return make_rule("pump.starts", type=RuleType.COUNT, field="starts", above=3.0, window=HOUR, **changes)


def no_data(**changes: Any) -> Rule:
    """Silent for five minutes and for three times its own interval."""
    given = {"field": "online", "after": 5 * MINUTE, "times": 3.0}
    return make_rule("pump.silent", type=RuleType.NO_DATA, **(given | changes))


def weekly(**changes: Any) -> Rule:
    """Must run every eight days."""
    return make_rule("pump.weekly", type=RuleType.ABSENCE, field="running", values=frozenset({True}), after=8 * DAY)


def pump(at: int, received_at: int | None = None, **fields: Value) -> Reading:
    return sample(PUMP, fields, at, received_at)


def online(value: bool, at: int, received_at: int | None = None) -> Reading:
    return sample(PUMP_STATUS, {"online": value}, at, received_at)


def ticks(instances: RuleEvaluator, start: int, end: int, every: int = 10 * SECOND) -> Iterator[Outcome]:
    for now in range(start, end, every):
        yield instances.tick(now)


def ticked(instances: RuleEvaluator, start: int, end: int, every: int = 10 * SECOND) -> list[Told]:
    return [item for outcome in ticks(instances, start, end, every) for item in told(outcome.decisions)]


def again(rule: Rule, memories: Mapping[Key, Memory]) -> RuleEvaluator:
    """A service that starts anew with what was written: through JSON and back."""
    kept = {key: msgspec.convert(msgspec.json.decode(msgspec.json.encode(memory)), Memory)
            for key, memory in memories.items()}  # fmt: skip
    return make_watches(rule, memories=kept)


# -- combinations --------------------------------------------------------------------------------------


def test_a_combination_is_asked_when_any_of_its_fields_leaves_its_band() -> None:
    instances = make_watches(both())
    assert take(instances, pump(T0, running=True, flow=9.0), pump(T0 + 1, flow=1.4)) == []
    assert take(instances, pump(T0 + 2, flow=0.5)) == [("pump.both", True, 2)]
    assert take(instances, pump(T0 + 3, flow=1.2)) == []  # the deadband holds it
    assert take(instances, pump(T0 + 4, running=False)) == [("pump.both", False, 4)]


def test_a_combination_waits_for_its_delay_also_where_it_is_of_life_safety() -> None:
    instances = make_watches(both(on_delay=30_000, priority=Priority.CRITICAL))
    assert take(instances, pump(T0, running=True, flow=0.0), pump(T0 + 20_000, flow=0.1)) == []
    assert told(instances.tick(T0 + 30_000).decisions) == [("pump.both", True, 30_000)]


def test_after_a_restart_a_combination_goes_by_what_was_known_and_is_asked_at_once() -> None:
    known = {"running": True, "flow": 0.0}
    instances = RuleEvaluator([both()], {}, WINDOW_MS, lambda _site, _equipment: known)
    assert take(instances, pump(T0, flow=0.0)) == [("pump.both", True, 0)]
    instances = RuleEvaluator([both()], {}, WINDOW_MS, lambda _site, _equipment: known)
    assert take(instances, pump(T0, running=True)) == [("pump.both", True, 0)]  # the same as before the start


def test_what_only_looked_so_because_a_sample_was_late_is_disproved() -> None:
    """Running from 10 on; that water flowed from 8 on comes later."""
    instances = make_watches(both())
    take(instances, pump(T0, running=False, flow=0.0))
    assert take(instances, pump(T0 + 10, running=True)) == [("pump.both", True, 10)]
    (ended,) = instances.take([pump(T0 + 8, T0 + 11, flow=9.0)]).decisions
    assert ended.change == Change(False, T0 + 10, disproved=True)


# -- rates ---------------------------------------------------------------------------------------------


def test_a_rate_looks_at_the_change_over_its_window_and_not_at_a_spike() -> None:
    instances = make_watches(rate())
    for minute in range(11):
        assert take(instances, pump(T0 + minute * MINUTE, bearing_temperature=40.0 + minute)) == []
    hot = [pump(T0 + minute * MINUTE, bearing_temperature=50.0 + 8 * (minute - 10)) for minute in range(11, 21)]
    (raised,) = take(instances, *hot)
    assert raised == ("pump.rising", True, 16 * MINUTE)  # 10 to 6 min before: 4 °C, since then 48 °C


def test_a_rate_needs_half_a_window_before_it_says_anything() -> None:
    instances = make_watches(rate())
    rising = [pump(T0 + n * 60_000, bearing_temperature=20.0 + 20 * n) for n in range(5)]
    assert take(instances, *rising, pump(T0 + 299_999, bearing_temperature=120.0)) == []
    assert take(instances, pump(T0 + 300_000, bearing_temperature=120.0)) == [("pump.rising", True, 300_000)]


def test_a_rate_does_not_depend_on_the_order_of_arrival() -> None:
    readings = [pump(T0 + n * 20 * SECOND, T0 + 6 * MINUTE, bearing_temperature=40.0 + 3 * n) for n in range(18)]
    for order in (readings, readings[::-1], readings[9:] + readings[:9]):
        instances = RuleEvaluator([rate()], {}, HOUR)
        decisions = instances.take([msgspec.structs.replace(item) for item in order]).decisions
        assert [item.change.raised for item in decisions] == [True]


# -- counts --------------------------------------------------------------------------------------------


def test_more_rises_of_a_counter_than_the_limit_are_an_alarm_until_they_leave_the_window() -> None:
    instances = make_watches(starts())
    readings = [pump(T0 + n * MINUTE, starts=100.0 + n) for n in range(5)]
    assert take(instances, *readings) == [("pump.starts", True, 4 * MINUTE)]
    assert ticked(instances, T0 + 4 * MINUTE, T0 + HOUR + 2 * MINUTE) == [("pump.starts", False, HOUR + MINUTE)]


def test_a_counter_that_was_set_back_counts_on_from_there() -> None:
    instances = make_watches(starts())
    values = [100.0, 101.0, 0.0, 1.0, 2.0, 3.0]
    readings = [pump(T0 + n * MINUTE, starts=value) for n, value in enumerate(values)]
    assert take(instances, *readings) == [("pump.starts", True, 5 * MINUTE)]


def test_a_count_of_becoming_a_value_counts_transitions_and_not_samples() -> None:
    rule = make_rule("pump.starts", type=RuleType.COUNT, field="running", values=frozenset({True}), above=1.0,
                     window=HOUR)  # fmt: skip
    instances = make_watches(rule)
    said = [True, True, False, True, True, False, True]  # the first was running when it was first heard
    assert take(instances, *(pump(T0 + n, running=value) for n, value in enumerate(said))) == [("pump.starts", True, 6)]


def test_a_count_goes_on_after_a_restart() -> None:
    before = make_watches(starts())
    memories = before.take([pump(T0 + n * MINUTE, starts=100.0 + n) for n in range(4)]).memories
    assert take(again(starts(), memories), pump(T0 + 4 * MINUTE, starts=104.0)) == [("pump.starts", True, 4 * MINUTE)]
    memories |= before.take([pump(T0 + 4 * MINUTE, starts=104.0)]).memories
    assert [raised for _, raised, _ in ticked(again(starts(), memories), T0 + 2 * HOUR, T0 + 2 * HOUR + 1)] == [False]


# -- no data -------------------------------------------------------------------------------------------


def speak(instances: RuleEvaluator, start: int, every: int, count: int) -> int:
    """Telemetry at an even pace, with ticks; when the last one was received."""
    for now in range(start, start + every * count, every):
        assert take(instances, pump(now, running=True)) == []
        assert ticked(instances, now, now + every) == []
    return start + every * (count - 1)


def test_who_falls_silent_is_told_of_after_the_time_of_the_rule_and_ends_it_by_speaking() -> None:
    instances = make_watches(no_data())
    last = speak(instances, T0, 10 * SECOND, 60)
    assert ticked(instances, last + 10 * SECOND, last + HOUR) == [("pump.silent", True, last + 5 * MINUTE - T0)]
    back = last + HOUR
    assert take(instances, pump(back, running=True)) == [("pump.silent", False, back - T0)]
    assert ticked(instances, back, back + HOUR) == [("pump.silent", True, back + 5 * MINUTE - T0)]


def test_who_speaks_seldom_has_three_of_its_own_intervals() -> None:
    instances = make_watches(no_data())
    last = speak(instances, T0, 10 * MINUTE, 6)
    ((_, raised, at),) = ticked(instances, last + 10 * MINUTE, last + 2 * HOUR)
    assert raised
    assert 25 * MINUTE < at + T0 - last <= 31 * MINUTE


def test_the_last_will_is_told_of_at_once_and_the_silence_after_it_is_the_same_alarm() -> None:
    instances = make_watches(no_data())
    last = speak(instances, T0, 10 * SECOND, 6)
    assert take(instances, online(False, last + 1)) == [("pump.silent", True, last + 1 - T0)]
    assert ticked(instances, last + 1, last + HOUR) == []
    assert take(instances, online(True, last + HOUR)) == []  # it is there, but says nothing yet
    assert take(instances, pump(last + HOUR + 1, running=True)) == [("pump.silent", False, last + HOUR + 1 - T0)]


def test_a_devices_clock_plays_no_part_in_its_silence() -> None:
    instances = make_watches(no_data())
    last = speak(instances, T0, 10 * SECOND, 6)
    assert take(instances, online(False, T0 - HOUR, last + 1)) == [("pump.silent", True, last + 1 - T0)]
    assert take(instances, online(True, T0 - 2 * HOUR, last + 2)) == [("pump.silent", False, last + 2 - T0)]


def test_who_was_silent_before_the_start_is_told_of_after_it() -> None:
    instances = make_watches(no_data())
    memories: dict[Key, Memory] = {}
    for now in range(T0, T0 + 10 * MINUTE, 10 * SECOND):
        memories |= instances.take([pump(now, running=True)]).memories
        memories |= instances.tick(now).memories
    start = T0 + DAY
    assert ticked(again(no_data(), memories), start, start + HOUR) == [("pump.silent", True, DAY + 5 * MINUTE)]


def test_nobody_is_silent_because_the_service_was_held_up() -> None:
    instances = make_watches(no_data())
    last = speak(instances, T0, 10 * SECOND, 60)
    held_up = last + 2 * HOUR
    assert ticked(instances, held_up, held_up + 4 * MINUTE) == []
    assert take(instances, pump(held_up + MINUTE, held_up + 4 * MINUTE, running=True)) == []


def test_an_alarm_for_the_last_will_ends_after_a_restart_where_no_telemetry_ever_came() -> None:
    memories = make_watches(no_data()).take([online(False, T0)]).memories
    assert take(again(no_data(), memories), online(True, T0 + 9)) == [("pump.silent", False, 9)]


def test_the_silence_of_events_is_another_channel() -> None:
    rule = fire_rule(
        type=RuleType.NO_DATA, match={}, per=(), field="online", after=5 * MINUTE, channel=Channel.EVENT,
        priority=Priority.HIGH,
    )  # fmt: skip
    instances = make_watches(rule)
    instances.take([panel_event(T0, type="test")])
    assert PANEL.endswith("event")
    assert ticked(instances, T0, T0 + 6 * MINUTE) == [("fire_panel.fire", True, 5 * MINUTE)]


# -- absence -------------------------------------------------------------------------------------------


def test_what_must_happen_every_week_and_does_not_is_an_alarm_until_it_does() -> None:
    instances = make_watches(weekly())
    take(instances, pump(T0, running=False))
    assert ticked(instances, T0, T0 + 9 * DAY, HOUR) == [("pump.weekly", True, 8 * DAY)]
    assert take(instances, pump(T0 + 9 * DAY, running=True)) == [("pump.weekly", False, 9 * DAY)]
    take(instances, pump(T0 + 9 * DAY + HOUR, running=False))
    assert ticked(instances, T0 + 9 * DAY + HOUR, T0 + 18 * DAY, HOUR) == [("pump.weekly", True, 17 * DAY + HOUR)]


def test_what_goes_on_happening_is_not_absent() -> None:
    instances = make_watches(weekly())
    take(instances, pump(T0, running=True))
    assert ticked(instances, T0, T0 + 30 * DAY, HOUR) == []


def test_when_it_last_happened_is_known_after_a_restart() -> None:
    before = make_watches(weekly())
    memories = before.take([pump(T0, running=False), pump(T0 + DAY, running=True)]).memories
    memories |= before.take([pump(T0 + DAY + HOUR, running=False)]).memories
    after = again(weekly(), memories)
    take(after, pump(T0 + 5 * DAY, running=False))
    assert ticked(after, T0 + 5 * DAY, T0 + 10 * DAY, HOUR) == [("pump.weekly", True, 9 * DAY + HOUR)]


# -- momentary events ----------------------------------------------------------------------------------


def test_a_momentary_event_is_raised_each_time_and_over_at_once() -> None:
    rule = fire_rule(match={"type": frozenset({"check_post"})}, momentary=True, priority=Priority.MEDIUM)
    instances = make_watches(rule)
    once = [("1-23", True, 0), ("1-23", False, 0)]
    assert take(instances, panel_event(T0, type="check_post")) == once
    assert [raised for _, raised, _ in take(instances, panel_event(T0 + 9, type="check_post"))] == [True, False]


# -- clocks --------------------------------------------------------------------------------------------

HOT = make_rule(on_delay=30_000)


@pytest.mark.parametrize("rule", [HOT, both(on_delay=30_000)])
def test_a_clock_that_is_set_right_has_not_let_the_delay_pass(rule: Rule) -> None:
    """An hour behind, then right: one second has passed and not an hour."""
    instances = make_watches(rule)
    bad: dict[str, Value] = {"bearing_temperature": 95.0, "running": True, "flow": 0.0}
    take(instances, pump(T0 - HOUR, T0, **bad))
    assert take(instances, pump(T0 + SECOND, **bad)) == []
    assert take(instances, pump(T0 + 31 * SECOND, **bad)) == [(rule.id, True, 30 * SECOND)]


def test_a_clock_that_is_set_back_does_not_let_a_delay_end_that_its_samples_deny() -> None:
    instances = make_watches(HOT)
    take(instances, pump(T0, bearing_temperature=95.0))
    for now in range(T0 + SECOND, T0 + 70 * SECOND, SECOND):
        assert take(instances, pump(now - HOUR, now, bearing_temperature=50.0)) == []
        assert told(instances.tick(now).decisions) == []


def test_a_part_that_always_lags_behind_begins_delays_of_its_own() -> None:
    """Two modules on one topic: the second one's samples are five seconds older."""
    instances = make_watches(HOT)
    found: list[Told] = []
    for now in range(T0, T0 + 40 * SECOND, SECOND):
        found += take(instances, pump(now, flow=3.0), pump(now - 5 * SECOND, now, bearing_temperature=95.0))
    assert found == [("pump.hot", True, 25 * SECOND)]
