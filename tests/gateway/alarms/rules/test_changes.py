"""What a site may change in a rule, what it may not, and which change wins."""

from typing import Any

import pytest

from collectors.wire.fields import Kind
from gateway.alarms.rules.changes import OF_TYPE, check_changes, needs_two
from gateway.alarms.rules.files import RuleError, parse_rules, shipped_rules
from gateway.alarms.rules.rule import Rule, RuleType
from gateway.alarms.rules.rulebook import Override, Rulebook, RuleScope
from gateway.alarms.rules.tunable import settings_of
from tests.builders.changeable_rules import RULES, TEXT

SHIPPED = {rule.id: rule for rule in shipped_rules()}
OWN: dict[str, Any] = {
    "kind": "pump", "type": "limit", "field": "flow", "above": 30, "priority": "low", "source": "the pump's plate",
    "title": {"en": "Flow high", "zh-CN": "流量高"}, "advice": {"en": "Look.", "zh-CN": "查看。"},
}  # fmt: skip


def book(*changes: tuple[str, str, dict[str, Any]]) -> Rulebook:
    """Of ("HQ" or "HQ:P-1", rule, what is changed there)."""
    overrides = []
    for place, rule, changed in changes:
        site, _, code = place.partition(":")
        overrides.append(Override(RuleScope(rule, site, code), 1, changed))
    return Rulebook(RULES, overrides)


def held(rulebook: Rulebook, rule: str = "pump.hot", site: str = "HQ", equipment: str = "P-1") -> Rule:
    found = rulebook.in_force(rule, site, equipment)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("pump.hot", {"above": 90, "deadband": 1.5, "on_delay": "5s", "off_delay": "1min"}),
        ("pump.hot", {"while": {"running": True}}),
        ("pump.hot", {"enabled": False}),
        ("pump.hot", {"priority": "low", "ticket": "none", "playbook": ""}),
        ("pump.hot", {"title": {"en": "Hot", "zh-CN": "热"}, "advice": {"en": "Go.", "zh-CN": "去。"}}),
        ("pump.slow", {"on_delay": "0s"}),
        ("pump.fault", {"on_delay": "10s", "while": {"mode": "auto"}}),
        ("pump.dry", {"when": {"all": [{"field": "running", "in": [True]}, {"field": "flow", "below": 3}]}}),
        ("pump.rising", {"above": 4, "window": "10min"}),
        ("pump.starts", {"above": 20, "window": "30min", "deadband": 1}),
        ("pump.silent", {"after": "10min", "times": 4, "on_delay": "5s"}),
        ("pump.weekly", {"after": "14d"}),
        ("panel.missed", {"after": "10min"}),
        ("sensor.smoke", {"title": {"en": "Smoke in the store", "zh-CN": "仓库烟雾"}}),
        ("lift.trapped", {"on_delay": "30s"}),
        ("pump.hot", {"latching": True, "re_alarm": "30min", "despite_parent": True, "release_after": "30s"}),
    ],
)
def test_what_may_be_changed_comes_into_force(rule: str, changes: dict[str, Any]) -> None:
    rulebook = book(("HQ", rule, changes))
    assert rulebook.problems == []
    described = rulebook.described(rule, "HQ", "")
    assert described is not None
    assert described.written == {**rulebook.filed[rule].written, **{k: v for k, v in changes.items() if k != "enabled"}}
    assert rulebook.is_enabled(rule, "HQ", "") is changes.get("enabled", True)


@pytest.mark.parametrize(
    ("rule", "changes", "why"),
    [
        (
            "pump.hot",
            {"field": "flow"},
            "field: not to be changed in a rule of type limit; what may be",
        ),
        ("pump.hot", {"id": "other"}, "id: not to be changed"),
        ("pump.hot", {"kind": "sensor"}, "kind: not to be changed"),
        ("pump.hot", {"window": "5min"}, "window: not to be changed in a rule of type limit"),
        ("pump.fault", {"above": 3}, "above: not to be changed in a rule of type state"),
        ("fire.point", {"on_delay": "1s"}, "on_delay: not to be changed in a rule of type event"),
        ("fire.point", {"match": {"type": "test"}}, "match: not to be changed"),
        ("pump.hot", {"above": "hot"}, "above"),
        ("pump.hot", {"above": None}, "either 'above' or 'below'"),
        ("pump.hot", {"below": 3}, "either 'above' or 'below'"),
        ("pump.hot", {"deadband": -1}, "deadband"),
        ("pump.hot", {"on_delay": "soon"}, "write 5s, 500ms, 2min, 1h or 8d"),
        ("pump.hot", {"while": {"mode": False}}, "mode"),
        ("pump.hot", {"title": {"en": "Hot"}}, "title must be given in en and zh-CN"),
        ("pump.hot", {"enabled": "no"}, "enabled: true or false"),
        ("pump.hot", {"priority": "urgent"}, "priority"),
        ("pump.slow", {"priority": "critical"}, "a critical rule has no on_delay"),
        ("pump.dry", {"when": {"field": "flow"}}, "flow has one of"),
        ("pump.starts", {"above": 1000}, "from 0 to 100"),
        ("sensor.smoke", {"enabled": False}, "a critical rule cannot be disabled"),
        ("sensor.smoke", {"priority": "high"}, "stays critical"),
        ("sensor.smoke", {"on_delay": "1s"}, "life safety is never delayed"),
        ("lift.button", {"on_delay": "1s"}, "life safety is never delayed"),
        ("fire.point", {"enabled": False}, "a critical rule cannot be disabled"),
        ("fire.point", {"despite_parent": True}, "life safety is never suppressed"),
        ("pump.hot", {"suppressed_by": ["pump.slow"]}, "suppressed_by: not to be changed"),
        ("pump.hot", {"suppresses": ["power"]}, "suppresses: not to be changed"),
        ("pump.hot", {"re_alarm": "1s"}, "re_alarm must be 1min or more"),
        ("pump.hot", {"release_after": "2h"}, "release_after is at most 1h"),
        ("panel.prompt", {"latching": True}, "neither latches nor re-alarms"),
    ],
)
def test_what_may_not_be_changed_is_refused_by_name_and_the_file_holds(
    rule: str, changes: dict[str, Any], why: str
) -> None:
    rulebook = book(("HQ", rule, changes))
    (problem,) = rulebook.problems
    assert problem.startswith(rule)
    assert why in problem
    assert held(rulebook, rule) is rulebook.filed[rule]


def test_every_type_says_what_may_be_changed_in_it() -> None:
    assert set(OF_TYPE) == set(RuleType)


@pytest.mark.parametrize("identity", [rule.id for rule in SHIPPED.values() if rule.life_safety])
def test_no_shipped_rule_that_watches_over_lives_is_put_out_of_force_or_made_less(identity: str) -> None:
    for changes in ({"enabled": False}, {"priority": "high"}, {"priority": "low", "on_delay": "5s"}):
        with pytest.raises(RuleError):
            check_changes(SHIPPED[identity], changes)
    if SHIPPED[identity].type is not RuleType.COMBINATION:
        rulebook = Rulebook([SHIPPED[identity]], [Override(RuleScope(identity, "HQ", ""), 1, {"on_delay": "1s"})])
        assert rulebook.problems
        assert held(rulebook, identity).on_delay == 0


@pytest.mark.parametrize(
    ("rule", "changes", "before", "two"),
    [
        ("lift.trapped", {"on_delay": "2min"}, {}, True),
        ("lift.trapped", {}, {"on_delay": "30s"}, True),
        ("lift.trapped", {"on_delay": "2min"}, {"on_delay": "2min"}, False),
        ("lift.trapped", {"title": {"en": "Trapped", "zh-CN": "困人"}}, {}, False),
        ("sensor.smoke", {"ticket": "none"}, {}, True),
        ("sensor.smoke", {"re_alarm": "1h"}, {}, True),
        ("sensor.smoke", {}, {"latching": True}, True),
        ("pump.hot", {"above": 200, "enabled": False}, {}, False),
    ],
)
def test_two_people_look_at_what_decides_over_lives(
    rule: str, changes: dict[str, Any], before: dict[str, Any], two: bool
) -> None:
    filed = {item.id: item for item in RULES}[rule]
    assert bool(needs_two(filed, changes, before)) is two


def test_the_equipments_change_wins_over_the_sites_and_that_over_the_file_key_by_key() -> None:
    rulebook = book(("HQ", "pump.hot", {"above": 90, "deadband": 1}), ("HQ:P-1", "pump.hot", {"above": 95}))
    assert (held(rulebook).above, held(rulebook).deadband) == (95, 1)
    assert (held(rulebook, equipment="P-2").above, held(rulebook, equipment="P-2").deadband) == (90, 1)
    assert held(rulebook, site="B") is rulebook.filed["pump.hot"]


def test_one_equipment_keeps_a_rule_that_its_site_has_put_out_of_force() -> None:
    rulebook = book(("HQ", "pump.hot", {"enabled": False}), ("HQ:P-1", "pump.hot", {"enabled": True, "above": 70}))
    assert held(rulebook).above == 70
    assert rulebook.in_force("pump.hot", "HQ", "P-2") is None
    assert [rule.id for rule in rulebook.rules_for("HQ", Kind.PUMP, "P-2") if rule.id == "pump.hot"] == []


def test_what_a_site_changes_may_break_no_change_of_its_equipment() -> None:
    rulebook = book(
        ("HQ", "pump.slow", {"on_delay": "0s", "priority": "critical"}), ("HQ:P-1", "pump.slow", {"on_delay": "9s"})
    )
    (problem,) = rulebook.problems
    assert "HQ:P-1" in problem
    assert "life safety is never delayed" in problem


def test_a_rule_in_the_place_of_another_gives_it_back_when_it_is_out_of_force() -> None:
    text = (
        TEXT
        + """
  - {id: pump.special, kind: pump, type: limit, field: bearing_temperature, above: 60, instead_of: [pump.hot],
     equipment: [P-1], priority: low, source: x, title: {en: A, zh-CN: 甲}, advice: {en: B, zh-CN: 乙}}
"""
    )
    rules = parse_rules(text, "site.yaml")
    off = Rulebook(rules, [Override(RuleScope("pump.special", "HQ", ""), 1, {"enabled": False})])
    assert "pump.hot" not in {rule.id for rule in Rulebook(rules).rules_for("HQ", Kind.PUMP, "P-1")}
    assert "pump.hot" in {rule.id for rule in off.rules_for("HQ", Kind.PUMP, "P-1")}


def test_a_site_makes_a_rule_of_its_own_for_itself_alone() -> None:
    rulebook = book(("HQ", "pump.flow_high", OWN))
    assert held(rulebook, "pump.flow_high").above == 30
    assert "pump.flow_high" in {rule.id for rule in rulebook.rules_for("HQ", Kind.PUMP, "P-1")}
    assert "pump.flow_high" not in {rule.id for rule in rulebook.rules_for("B", Kind.PUMP, "P-1")}


@pytest.mark.parametrize(
    ("place", "changes", "why"),
    [
        ("HQ", {"above": 3}, "missing required field"),
        ("HQ", {**OWN, "instead_of": ["sensor.smoke"]}, "a critical rule cannot be replaced"),
        ("HQ", {**OWN, "id": "other"}, "leave it out"),
        ("HQ", {**OWN, "colour": "red"}, "colour"),
        ("HQ:P-1", OWN, "there is no rule pump.flow_high on this site"),
    ],
)
def test_a_rule_of_its_own_passes_the_same_checks_as_a_file(place: str, changes: dict[str, Any], why: str) -> None:
    (problem,) = book((place, "pump.flow_high", changes)).problems
    assert why in problem


def test_each_value_says_its_unit_and_who_gives_it() -> None:
    rulebook = book(("HQ", "pump.hot", {"above": 90}), ("HQ:P-1", "pump.hot", {"deadband": 1}))
    found = {item.key: tuple(item)[1:] for item in settings_of(rulebook, held(rulebook), "HQ", "P-1")}
    assert found["above"] == (90, "°C", "site", 80)
    assert found["deadband"] == (1, "°C", "equipment", 5)
    assert found["on_delay"] == (None, "", "nobody", None)
    assert found["priority"] == ("high", "", "file", "high")
    rising = rulebook.filed["pump.rising"]
    assert {item.key: item.unit for item in settings_of(rulebook, rising, "", "")}["above"] == "°C/min"
