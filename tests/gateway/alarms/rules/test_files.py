"""Rule files: the shipped ones load, what cannot work is refused and the text says why."""

import re
from pathlib import Path

import pytest

from collectors.wire.fields import WIRE_KINDS, Channel, Kind, fields_of
from collectors.wire.reading import Value
from gateway.alarms.evaluation.doubtful import DOUBTFUL
from gateway.alarms.rules.conditions import Either, Limit, Not
from gateway.alarms.rules.files import LANGUAGES, RuleError, load_rules, parse_rules, shipped_rules
from gateway.alarms.rules.rule import Priority, Rule, RuleType, TicketWish, inputs_of, is_match
from gateway.equipment.topology import Relation
from tests.paths import DOCS

GOOD = """
rules:
  - id: site.hot
    kind: pump
    type: limit
    field: bearing_temperature
    above: 82
    priority: high
    source: site value
    title: {en: Hot, zh-CN: 热}
    advice: {en: Look., zh-CN: 查看。}
"""
STATE = GOOD.replace("type: limit", "type: state").replace("above: 82", "in: [1]").replace(
    "field: bearing_temperature", "field: drive_fault"
)  # fmt: skip
EVENT = GOOD.replace("kind: pump", "kind: fire_panel").replace("type: limit", "type: event").replace(
    "above: 82", "match: {type: fire}"
).replace("    field: bearing_temperature\n", "")  # fmt: skip
BODY = "    field: bearing_temperature\n    above: 82\n"


def of_type(kind: str, body: str) -> str:
    """The good rule as another type; `body` in YAML's flow style, without its braces."""
    lines = "".join(f"    {line.strip()}\n" for line in body.split(";"))
    return GOOD.replace("type: limit", f"type: {kind}").replace(BODY, lines)


def when(text: str) -> str:
    return of_type("combination", f"when: {text}")


def read(text: str) -> Rule:
    (rule,) = parse_rules(text, "site.yaml")
    return rule


def test_a_rule_is_read_as_it_is_written() -> None:
    rule = read(
        GOOD.replace("above: 82", "above: 82\n    deadband: 2\n    on_delay: 1.5 min\n    while: {running: true}")
    )
    assert (rule.id, rule.kind, rule.type, rule.priority) == (
        "site.hot",
        Kind.PUMP,
        RuleType.LIMIT,
        Priority.HIGH,
    )
    assert (rule.above, rule.deadband, rule.on_delay, rule.off_delay) == (82.0, 2.0, 90_000, 0)
    assert rule.condition == {"running": True}
    assert rule.ticket is TicketWish.NONE


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [("0s", 0), ("500ms", 500), ("5s", 5_000), ("2min", 120_000), ("1h", 3_600_000), (" 0.5 s ", 500)],
)
def test_durations_carry_their_unit(written: str, milliseconds: int) -> None:
    assert read(GOOD + f"    off_delay: {written!r}\n").off_delay == milliseconds


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rules: [", "site.yaml"),  # no YAML
        ("- id: x", "one list under 'rules:'"),  # no mapping at the top
        ("rules: {}", "one list under 'rules:'"),
        (GOOD + "more: 1\n", "one list under 'rules:'"),  # a second key at the top
        ("rules: [5]", "rule 1"),  # no mapping
        (GOOD.replace("above: 82", "abov: 82"), "abov"),  # a misspelt key would be a rule without a limit
        (GOOD.replace("kind: pump", "kind: boiler"), "boiler"),
        (GOOD.replace("priority: high", "priority: urgent"), "urgent"),
        (GOOD.replace("    source: site value\n", ""), "source"),
        (GOOD.replace(", zh-CN: 热", ""), "title must be given in en and zh-CN"),
        (GOOD.replace("zh-CN: 查看。", "zh-CN: ' '"), "advice must be given"),
        (GOOD + "    below: 3\n", "either 'above' or 'below'"),
        (GOOD.replace("    above: 82\n", ""), "either 'above' or 'below'"),
        (GOOD.replace("above: 82", "above: .nan"), "finite"),  # nothing is ever beyond it
        (GOOD.replace("above: 82", "above: .inf"), "finite"),
        (GOOD + "    deadband: -1\n", "deadband"),
        (GOOD + "    re_alarm: 30s\n", "1min or more"),  # who has acknowledged would only acknowledge
        (GOOD + "    deadband: .nan\n", "deadband"),
        (GOOD + f"    playbook: {'p' * 65}\n", "at most 64 characters"),
        (GOOD.replace("    field: bearing_temperature\n", ""), "names its 'field'"),
        (GOOD.replace("bearing_temperature", "running"), "running is a boolean"),
        (GOOD + "    on_delay: 5\n", "on_delay"),  # five what?
        (GOOD + "    on_delay: soon\n", "no duration"),
        (GOOD + "    on_delay: -5s\n", "no duration"),
        (GOOD + "    while: {running: 'yes'}\n", "running is a boolean"),  # could never be fulfilled
        (GOOD.replace("priority: high", "priority: critical\n    on_delay: 1s"), "life safety is never delayed"),
        (GOOD.replace("id: site.hot", "id: ''"), "id must have"),
        (GOOD.replace("id: site.hot", f"id: {'x' * 129}"), "id must have"),  # more than its column holds
        (GOOD + GOOD.replace("rules:\n", ""), "is used twice"),
        (STATE.replace("in: [1]", "in: []"), "either 'in' or 'not_in'"),
        (STATE + "    not_in: [0]\n", "either 'in' or 'not_in'"),
        (STATE.replace("drive_fault", "mode").replace("[1]", "[manual, off]"), "need quotes"),  # bare off is false
        (STATE.replace("drive_fault", "mode").replace("[1]", "[manuel]"), "one of auto, manual, off"),
        (STATE.replace("in: [1]", "in: ['1']"), "drive_fault is a number"),
        (EVENT.replace("    match: {type: fire}\n", ""), "the events that it applies to"),
        (EVENT.replace("{type: fire}", "{typ: fire}"), "have no typ"),
        (EVENT.replace("{type: fire}", "{type: fier}"), "one of fire, supervisory"),
        (EVENT + "    per: [loops]\n", "have no loops"),
        (EVENT + "    on_delay: 5s\n", "an event has no delay"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(RuleError) as refused:
        parse_rules(text, "site.yaml")
    assert "site.yaml" in str(refused.value)
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (of_type("combination", "on_delay: 5s"), "under 'when'"),
        (when("{field: flow, above: 1}") + "    field: flow\n", "under 'when'"),
        (when("{}"), "exactly one of 'all', 'any', 'not'"),
        (when("{all: [], any: []}"), "exactly one of"),
        (when("{all: []}"), "at least one condition"),
        (when("{field: flow}"), "one of 'in', 'not_in', 'above' and 'below'"),
        (when("{field: flow, above: 1, below: 0}"), "one of 'in', 'not_in', 'above' and 'below'"),
        (when("{field: mode, in: [off]}"), "need quotes"),  # bare off is false
        (when("{field: flow, abov: 1}"), "abov"),
        (when("{field: flow, above: .nan}"), "finite"),
        (when("{field: running, above: 1}"), "running is a boolean"),
        (when("{field: flow, than: mode, above: 1}"), "mode is a text"),
        (when("{imbalance_of: [current_a], above: 10}"), "two fields or more"),
        (when("{imbalance_of: [current_a, current_b], above: 1, deadband: 2}"), "more than its deadband"),
        (when("{field: online, in: [false]}"), "uses telemetry only"),
        (GOOD + "    when: {field: flow, above: 1}\n", "a rule of type limit has no when"),
        (GOOD + "    times: 3\n", "has no times"),
        (of_type("rate", "field: flow; above: 5"), "'window'"),
        (of_type("rate", "field: running; above: 5; window: 5min"), "running is a boolean"),
        (of_type("count", "field: starts; above: 15"), "'window'"),
        (of_type("count", "field: starts; above: 101; window: 1h"), "from 0 to 100"),
        (of_type("count", "field: running; above: 3; window: 1h"), "no counter"),
        (of_type("count", "field: starts; above: 3; window: 1h; on_delay: 1s"), "no delay"),
        (of_type("no_data", "times: 3"), "has 'after'"),
        (of_type("no_data", "after: 5min; times: 1"), "more than 1"),
        (of_type("no_data", "after: 5min; channel: status"), "telemetry or event"),
        (of_type("absence", "field: running; after: 8d"), "'in', the values that must occur"),
        (of_type("absence", "field: running; in: [true]"), "within which it must happen"),
        (of_type("response_timeout", "after: 3min"), "has 'of'"),
        (EVENT + "    times: 2\n", "a rule of type event has no times"),
    ],
)
def test_what_no_other_type_could_do_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(RuleError) as refused:
        parse_rules(text, "site.yaml")
    assert complaint in str(refused.value)


CAUSE = GOOD.replace("id: site.hot", "id: site.cause")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GOOD + "    suppressed_by: [site.cold]\n", "there is no rule site.cold"),
        (GOOD + "    suppressed_by: [site.hot]\n", "forms a loop: site.hot -> site.hot"),
        (GOOD + "    suppressed_by: [elevator.fault]\n", "a rule for elevator"),
        (GOOD + "    suppressed_by: [pump.hot]\n", "there is no rule pump.hot"),
        (EVENT + "    suppressed_by: [fire_panel.check_post]\n", "returns at once"),
        (GOOD + "    release_after: 5s\n", "release_after is only for a rule that suppresses others"),
        (GOOD + "    suppresses: [power]\n    release_after: 2h\n", "at most 1h"),
        (GOOD + "    suppresses: [water]\n", "water"),
        (GOOD.replace("priority: high", "priority: critical\n    suppressed_by: [pump.leak]"), "never suppressed"),
        (GOOD.replace("priority: high", "priority: critical\n    despite_parent: true"), "never suppressed"),
        (EVENT + "    momentary: true\n    suppresses: [power]\n", "suppresses nothing"),
        (
            GOOD + "    suppressed_by: [site.cause]\n"
            + CAUSE.replace("rules:\n", "") + "    suppressed_by: [site.hot]\n",
            "forms a loop: site.hot -> site.cause -> site.hot",
        ),
    ],
)  # fmt: skip
def test_what_cannot_suppress_or_be_suppressed_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(RuleError) as refused:
        load_rules([path])
    assert complaint in str(refused.value)


def test_a_cause_is_read_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    text = CAUSE + "    suppresses: [power, network]\n    release_after: 1min\n"
    path.write_text(text + GOOD.replace("rules:\n", "") + "    suppressed_by: [site.cause]\n", "utf-8")
    rules = {rule.id: rule for rule in load_rules([path])}
    assert (rules["site.cause"].suppresses, rules["site.cause"].release_after) == (frozenset(Relation), 60_000)
    assert rules["site.hot"].suppressed_by == ("site.cause",)


def test_a_combination_is_read_with_all_its_parts() -> None:
    rule = read(
        when("{any: [{field: flow, above: 1}, {not: {field: flow, than: setpoint, below: -1, deadband: 0.5}}]}")
        + "    on_delay: 5s\n"
    )
    assert rule.when == Either(
        (Limit(field="flow", above=1.0), Not(Limit(field="flow", than="setpoint", below=-1.0, deadband=0.5)))
    )
    assert read(of_type("absence", "field: running; in: [true]; after: 8d")).after == 8 * 86_400_000


def test_only_a_combination_may_be_critical_and_wait() -> None:
    critical = when("{field: flow, above: 1}").replace("priority: high", "priority: critical\n    on_delay: 1min")
    assert read(critical).life_safety


def test_a_rule_for_an_answer_names_a_rule_that_is_there(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(of_type("response_timeout", "of: fire_panel.nothing; after: 3min"), encoding="utf-8")
    with pytest.raises(RuleError, match=r"there is no rule fire_panel\.nothing"):
        load_rules([own])


def test_every_example_in_the_page_about_alarms_is_a_rule_that_works() -> None:
    text = (DOCS / "alarms.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    types: set[RuleType] = set()
    for example in examples:
        body = "".join(f"    {line}\n" for line in example.splitlines())
        whole = GOOD.replace("    type: limit\n", "").replace(BODY, body)
        kinds = ("fire_panel", "sensor", "pump")
        found = {rule.type for kind in kinds for rule in _accepted(whole.replace("kind: pump", f"kind: {kind}"))}
        assert found, example
        types |= found
    assert types == set(RuleType)
    assert len(examples) == len(RuleType) + 2, "one a type, and two of causes"


def _accepted(text: str) -> list[Rule]:
    try:
        return parse_rules(text, "alarms.md")
    except RuleError:
        return []


def test_a_complaint_names_file_rule_and_id() -> None:
    second = GOOD.replace("rules:\n", "").replace("site.hot", "site.cold").replace("above", "beside")
    with pytest.raises(RuleError, match=r"^site\.yaml, rule 2 \(site\.cold\): .*beside"):
        parse_rules(GOOD + second, "site.yaml")


def test_a_field_outside_the_contract_may_have_any_value() -> None:
    assert read(STATE.replace("drive_fault", "vendor_flag").replace("[1]", "[odd, 3, true]")).values == {
        "odd",
        3.0,
        True,
    }


def test_a_later_file_replaces_a_rule_by_its_id_and_adds_others(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(GOOD.replace("site.hot", "pump.bearing_hot").replace("82", "60"), encoding="utf-8")
    more = tmp_path / "more.yaml"
    more.write_text(GOOD, encoding="utf-8")
    rules = {rule.id: rule for rule in load_rules([own, more])}
    assert set(rules) == {rule.id for rule in shipped_rules()} | {"site.hot"}
    assert rules["pump.bearing_hot"].above == 60.0


def test_a_file_that_is_not_there_is_an_error_not_an_empty_list(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match=r"none\.yaml: No such file"):
        load_rules([tmp_path / "none.yaml"])


SHIPPED = shipped_rules()


def test_every_kind_has_shipped_rules_and_every_id_stands_once() -> None:
    assert {rule.kind for rule in SHIPPED} == set(Kind)
    assert len({rule.id for rule in SHIPPED}) == len(SHIPPED)
    assert all(rule.id.startswith(f"{rule.kind}.") for rule in SHIPPED)


def test_every_kind_has_an_alarm_for_its_silence() -> None:
    offline = [rule for rule in SHIPPED if rule.type is RuleType.NO_DATA]
    assert {rule.kind for rule in offline} == set(WIRE_KINDS)


@pytest.mark.parametrize("rule", SHIPPED, ids=lambda rule: rule.id)
def test_a_shipped_rule_is_complete(rule: Rule) -> None:
    for texts in (rule.title, rule.advice):
        assert set(texts) == set(LANGUAGES)
        assert all(text.strip() for text in texts.values())
        assert any("\u4e00" <= letter <= "\u9fff" for letter in texts["zh-CN"])
    assert rule.source.strip()
    fields = fields_of(rule.kind, Channel.TELEMETRY) | fields_of(rule.kind, Channel.STATUS)
    named = set(inputs_of(rule))
    assert named <= {*fields, DOUBTFUL}


@pytest.mark.parametrize("rule", [rule for rule in SHIPPED if rule.life_safety], ids=lambda rule: rule.id)
def test_life_safety_never_waits_and_always_opens_an_emergency(rule: Rule) -> None:
    assert rule.on_delay == 0 or rule.type is RuleType.COMBINATION
    assert rule.ticket is TicketWish.EMERGENCY
    assert rule.playbook


def test_fire_smoke_gas_calls_for_help_and_what_cannot_be_read_of_them_are_life_safety() -> None:
    assert {rule.id for rule in SHIPPED if rule.life_safety} == {
        "fire_panel.unreadable", "elevator.unreadable", "sensor.unreadable", "pump.unreadable", "sensor.gas",
        "sensor.carbon_monoxide",
        "sensor.heat", "sensor.panic", "fire_panel.fire", "sensor.smoke", "elevator.alarm_button",
        "elevator.entrapment_fault", "elevator.entrapment",
    }  # fmt: skip


@pytest.mark.parametrize("fields", [{"type": "fire_alarm"}, {"loop": "1"}, {"type": "火警"}])
def test_an_event_that_cannot_be_told_from_a_fire_is_looked_at(fields: dict[str, Value]) -> None:
    matching = [rule.id for rule in SHIPPED if rule.type is RuleType.EVENT and is_match(rule, fields)]
    assert matching == ["fire_panel.unrecognised"]


def test_a_known_event_raises_its_own_alarm_only() -> None:
    matching = [rule.id for rule in SHIPPED if rule.type is RuleType.EVENT and is_match(rule, {"type": "fire"})]
    assert matching == ["fire_panel.fire"]
