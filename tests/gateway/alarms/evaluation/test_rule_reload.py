"""Rules that are changed while the service runs: what goes on, what is judged anew, what ends."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.wire.reading import Reading, Value
from gateway.alarms.evaluation.evaluator import RuleEvaluator
from gateway.alarms.evaluation.outcomes import Outcome
from gateway.alarms.evaluation.rule_reload import Replanned
from gateway.alarms.rules.rule import Memory, RuleType, looks_alike
from gateway.alarms.rules.rulebook import Override, Place, Rulebook
from tests.builders.alarms import PUMP, PUMP_STATUS, T0, WINDOW_MS, bearing, panel_event, sample
from tests.builders.changeable_rules import RULES

Told = list[tuple[str, bool, int]]
NOTE = "rule changed: version 1 for HQ"


def told(outcome: Outcome) -> Told:
    assert not outcome.failures
    return [(item.key.rule, item.change.raised, item.change.at - T0) for item in outcome.decisions]


class Service:
    """RuleEvaluator with what a site changes in them."""

    def __init__(self, *rules: str, changes: Mapping[str, dict[str, Any]] | None = None) -> None:
        self.files = [rule for rule in RULES if rule.id in rules]
        self.rulebook = Rulebook(self.files, _overrides(changes or {}))
        self.instances = RuleEvaluator(self.rulebook, {}, WINDOW_MS)
        self.standing: set[str] = set()

    def take(self, *readings: Reading) -> Told:
        return self._note(self.instances.take(readings))

    def tick(self, now: int) -> Told:
        return self._note(self.instances.tick(T0 + now))

    def change(self, now: int, changes: Mapping[str, dict[str, Any]]) -> Outcome:
        self.rulebook = self.rulebook.with_overrides(_overrides(changes))
        assert self.rulebook.problems == []
        places = [Replanned(Place(rule, "HQ", ""), NOTE) for rule in changes]
        outcome = self.instances.take_up(self.rulebook, places, T0 + now)
        self._note(outcome)
        return outcome

    def _note(self, outcome: Outcome) -> Told:
        for rule, raised, _ in told(outcome):
            (self.standing.add if raised else self.standing.discard)(rule)
        return told(outcome)


def _overrides(changes: Mapping[str, dict[str, Any]]) -> list[Override]:
    return [Override(Place(rule, "HQ", ""), 1, changed) for rule, changed in changes.items()]


def test_an_alarm_whose_new_limit_is_not_breached_returns_and_says_why() -> None:
    service = Service("pump.hot")
    service.take(bearing(90, T0))
    outcome = service.change(5_000, {"pump.hot": {"above": 92}})
    assert told(outcome) == [("pump.hot", False, 5_000)]
    assert outcome.decisions[0].note == NOTE


def test_also_within_the_deadband_of_the_new_limit_it_is_judged_as_if_it_had_never_stood() -> None:
    service = Service("pump.hot")
    service.take(bearing(90, T0))
    assert told(service.change(5_000, {"pump.hot": {"above": 91, "deadband": 5}})) == [("pump.hot", False, 5_000)]


def test_a_new_breach_is_raised_at_once_and_by_the_values_of_the_last_sample() -> None:
    service = Service("pump.hot")
    service.take(bearing(75, T0))
    outcome = service.change(5_000, {"pump.hot": {"above": 70}})
    assert told(outcome) == [("pump.hot", True, 5_000)]
    assert (outcome.decisions[0].value, outcome.decisions[0].rule.above) == (75, 70)
    assert service.take(bearing(60, T0 + 6_000)) == [("pump.hot", False, 6_000)]


def test_a_new_breach_waits_for_its_delay_from_the_newest_sample_on() -> None:
    service = Service("pump.slow")
    service.take(bearing(65, T0))
    assert told(service.change(5_000, {"pump.slow": {"above": 60}})) == []
    assert service.tick(9_999) == []
    assert service.tick(10_000) == [("pump.slow", True, 10_000)]


def test_there_and_back_without_a_sample_between_are_two_alarms_at_two_times() -> None:
    service = Service("pump.hot")
    service.take(bearing(90, T0))
    service.change(0, {"pump.hot": {"above": 92}})
    service.change(0, {"pump.hot": {}})
    assert service.standing == {"pump.hot"}
    assert told(service.change(0, {"pump.hot": {"above": 92}})) == [("pump.hot", False, 3)]


def test_a_delay_that_runs_goes_on_where_another_rule_or_only_the_text_is_changed() -> None:
    service = Service("pump.slow", "pump.hot")
    service.take(bearing(75, T0))
    service.change(3_000, {"pump.hot": {"above": 99}})
    service.change(4_000, {"pump.slow": {"title": {"en": "Slow", "zh-CN": "慢"}}})
    (outcome,) = [service.instances.tick(T0 + 10_000)]
    assert told(outcome) == [("pump.slow", True, 10_000)]
    assert outcome.decisions[0].rule.title["en"] == "Slow"


def test_a_delay_that_is_made_shorter_than_it_has_run_is_over() -> None:
    service = Service("pump.slow")
    service.take(bearing(75, T0))
    service.change(6_000, {"pump.slow": {"on_delay": "5s"}})
    assert service.tick(6_000) == [("pump.slow", True, 5_000)]


def test_a_rule_out_of_force_decides_nothing_and_is_remembered_for_nothing() -> None:
    service = Service("pump.slow", "pump.hot")
    service.take(bearing(75, T0))
    outcome = service.change(3_000, {"pump.slow": {"enabled": False}})
    assert list(outcome.memories.values()) == [Memory(changed_at=T0 + 3_000)]
    assert service.tick(60_000) == []
    assert service.take(bearing(90, T0 + 61_000)) == [("pump.hot", True, 61_000)]
    service.change(62_000, {"pump.slow": {"enabled": True}})
    assert service.tick(70_999) == []
    assert service.tick(71_000) == [("pump.slow", True, 71_000)]


def test_a_point_in_alarm_stays_and_can_still_be_reset_when_its_rule_gets_another_text() -> None:
    service = Service("fire.point")
    service.take(panel_event(T0, loop="1", address="23"))
    service.change(1_000, {"fire.point": {"title": {"en": "Fire!", "zh-CN": "火警！"}}})
    assert service.take(panel_event(T0 + 2_000, type="reset")) == [("fire.point", False, 2_000)]


def test_equipment_that_is_silent_is_judged_by_the_new_time() -> None:
    service = Service("pump.silent")
    service.take(sample(PUMP_STATUS, {"online": True}, T0), bearing(20, T0))
    for second in range(0, 70, 10):
        service.tick(second * 1_000)
    assert service.standing == {"pump.silent"}
    assert told(service.change(80_000, {"pump.silent": {"after": "2min"}})) == [("pump.silent", False, 80_000)]
    assert [service.tick(second * 1_000) for second in range(90, 130, 10)][-1] == [("pump.silent", True, 120_000)]


def test_what_must_happen_in_another_time_is_looked_for_then() -> None:
    service = Service("pump.weekly")
    service.take(sample(PUMP, {"running": True}, T0), sample(PUMP, {"running": False}, T0 + 1_000))
    service.change(2_000, {"pump.weekly": {"after": "10s"}})
    assert service.tick(10_000) == []
    assert service.tick(11_000) == [("pump.weekly", True, 11_000)]
    assert told(service.change(12_000, {"pump.weekly": {"after": "1d"}})) == [("pump.weekly", False, 12_000)]


def test_the_equipment_of_other_sites_and_kinds_is_not_touched() -> None:
    service = Service("pump.hot")
    service.take(bearing(90, T0), sample(PUMP.replace("HQ", "B"), {"bearing_temperature": 90.0}, T0))
    outcome = service.change(1_000, {"pump.hot": {"above": 95}})
    assert [item.key.site for item in outcome.decisions] == ["HQ"]


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "bearing_temperature": st.sampled_from([60.0, 68.0, 72.0, 78.0, 82.0, 90.0]),
        "discharge_pressure": st.sampled_from([0.1, 0.22, 0.3, 0.5]),
        "running": st.booleans(),
        "flow": st.sampled_from([0.0, 2.0, 9.0]),
        "mode": st.sampled_from(["auto", "off"]),
    },
).filter(bool)
LIMITS: dict[str, list[dict[str, Any]]] = {
    "pump.hot": [{"above": 70}, {"above": 85, "deadband": 8}, {"deadband": 0}, {"while": {"running": True}}],
    "pump.slow": [{"above": 65}, {"above": 75}, {"above": 75, "on_delay": "0s"}],
    "pump.low": [{"below": 0.25}, {"below": 0.05}, {"while": {}}],
    "pump.fault": [{"while": {"running": True}}],
    "pump.dry": [{"when": {"all": [{"field": "running", "in": [True]}, {"field": "flow", "below": 5}]}}],
}
HARMLESS: list[dict[str, Any]] = [
    {}, {"title": {"en": "C", "zh-CN": "丙"}}, {"priority": "low"}, {"on_delay": "3s"}, {"off_delay": "7s"},
]  # fmt: skip
CHANGES = st.fixed_dictionaries(
    {}, optional={rule: st.sampled_from([*limits, *HARMLESS, {"enabled": False}]) for rule, limits in LIMITS.items()}
)
Samples = Sequence[tuple[int, dict[str, Value]]]


def stream(samples: Samples) -> list[Reading]:
    """Samples so many ms after one another."""
    at, found = 0, []
    for after, fields in samples:
        at += after
        found.append(sample(PUMP, fields, T0 + at))
    return found


def settle(service: Service, last: int) -> set[str]:
    for after in range(0, 90_000, 1_000):
        service.tick(last + after)
    return service.standing


@given(samples=st.lists(st.tuples(st.integers(1, 9_000), FIELDS), min_size=1, max_size=12), changes=CHANGES)
@settings(max_examples=300, deadline=None)
def test_rules_changed_live_give_the_state_of_a_fresh_start_with_them_over_the_same_values(
    samples: Samples, changes: dict[str, dict[str, Any]]
) -> None:
    """A rule that looks at the same as before goes on as if nothing had been changed."""
    readings = stream(samples)
    last = readings[-1].received_at - T0
    values: dict[str, Value] = {}
    for reading in readings:
        values.update(reading.fields)
    live, untouched, fresh = Service(*LIMITS), Service(*LIMITS), Service(*LIMITS, changes=changes)
    live.take(*readings)
    untouched.take(*readings)
    fresh.take(sample(PUMP, values, T0 + last))
    live.change(last + 500, changes)
    stands = {rule: settle(one, last + 500) for rule, one in (("live", live), ("as was", untouched), ("fresh", fresh))}
    for rule in LIMITS:
        now = live.rulebook.in_force(rule, "HQ", "P-1")
        if now is None:
            continue  # its alarm is ended with the others that no rule watches any more
        like = "as was" if looks_alike(live.rulebook.filed[rule], now) else "fresh"
        assert (rule in stands["live"]) is (rule in stands[like]), (rule, like)


@given(samples=st.lists(st.tuples(st.integers(1, 9_000), FIELDS), min_size=2, max_size=12), changes=CHANGES)
@settings(max_examples=150, deadline=None)
def test_whatever_is_changed_between_samples_each_rule_is_raised_and_returned_in_turn_at_rising_times(
    samples: Samples, changes: dict[str, dict[str, Any]]
) -> None:
    service, found = Service(*LIMITS), list[tuple[str, bool, int]]()
    enabled = {rule: changed for rule, changed in changes.items() if changed.get("enabled", True)}
    for number, reading in enumerate(stream(samples)):
        found += service.take(reading)
        change = enabled if number % 2 else {rule: {} for rule in enabled}
        found += told(service.change(reading.received_at - T0 + 1, change))
    for rule in LIMITS:
        mine = [(raised, at) for name, raised, at in found if name == rule]
        assert [raised for raised, _ in mine] == [number % 2 == 0 for number in range(len(mine))]
        assert _rise(at for _, at in mine)


def _rise(times: Iterable[int]) -> bool:
    found = list(times)
    return found == sorted(found)


def test_every_type_of_rule_takes_a_change_of_each_value_while_it_runs() -> None:
    """None fails, whatever the equipment has said before."""
    service = Service(*(rule.id for rule in RULES))
    said: dict[str, Value] = {"bearing_temperature": 90.0, "running": True, "flow": 0.0, "mode": "off"}
    service.take(sample(PUMP, said, T0), sample(PUMP_STATUS, {"online": True}, T0), panel_event(T0))
    service.tick(30_000)
    changes: dict[str, dict[str, Any]] = {
        "pump.rising": {"window": "1min", "above": 1}, "pump.starts": {"above": 0, "window": "1h"},
        "pump.silent": {"after": "2s", "times": 3}, "pump.weekly": {"after": "1h"}, "pump.dry": {"on_delay": "1s"},
        "panel.missed": {"after": "1min"},
    }  # fmt: skip
    outcome = service.change(31_000, changes)
    assert not outcome.failures
    assert {rule.type for rule in RULES if rule.id in changes} > {RuleType.RATE, RuleType.COUNT, RuleType.ABSENCE}
