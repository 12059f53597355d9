"""Mapping files: what cannot work is refused with the file, the entry and what is permitted."""

from pathlib import Path

import pytest

from collectors.payloads.mapping import Defaults, MappingError, load_mappings, parse_mappings, shipped_names

FAMILIES = ["chirpstack", "json", "shelly_gen2", "tasmota", "thingsboard_gateway", "wmbusmeters", "zigbee2mqtt"]


def test_these_families_ship_and_all_of_them_can_be_used_at_once() -> None:
    assert shipped_names() == FAMILIES
    mappings = load_mappings(FAMILIES, Defaults("hq", "UTC"))
    assert all(mapping.about for mapping in mappings)
    assert {output.site.constant for mapping in mappings for output in mapping.outputs} == {"hq", None}
    assert load_mappings([]) == []


def entry(**changes: str) -> str:
    parts = {
        "name": "m",
        "topic": "a/{equipment}",
        "readings": "[{kind: sensor, equipment: '{equipment}', fields: {leak: /w}}]",
        **changes,
    }
    lines = [f"{name}: {value}" for name, value in parts.items() if value]
    return "mappings:\n  - " + "\n    ".join(lines)


def of(text: str) -> str:
    return f"[{{kind: sensor, equipment: E, {text}}}]"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nonsense", "expected one list under 'mappings:'"),
        ("mappings: [{topic: a}]", "each entry with a name"),
        ("mappings: [", "mine.yaml: "),
        (entry(colour="red"), "mapping m: Object contains unknown field `colour`"),
        (entry(topic=""), "missing required field `topic`"),
        (entry(topic="'a/+/b'"), "no + or #"),
        (entry(topic="'a/x{equipment}/b'"), "a placeholder is a whole level"),
        (entry(topic="'a/{rest}/b'"), "{rest} matches all further levels"),
        (entry(topic="'a/{x}/{x}'"), "{x} occurs twice"),
        (entry(topic="'{rest}'"), "at least one level"),
        (entry(topic="'gengfu/a/{equipment}'"), "read by the wire contract"),
        (entry(topic="a/b"), "{equipment} is not known; placeholders of the topic: none"),
        (entry(topic="['a/{equipment}', 'b/{other}']"), "{equipment} is not known"),
        (entry(payload="xml"), "payload is 'xml'; permitted: json, text, hex, base64"),
        (entry(readings="[]"), "at least one topic and one entry under readings"),
        (entry(readings="[{kind: boiler, equipment: E, rest: ''}]"), "kind is 'boiler'; permitted: elevator, pump"),
        (entry(readings=of("channel: x, rest: ''")), "channel is 'x'; permitted: telemetry, event, status"),
        (entry(readings=of("each: a, rest: ''")), "'a' is not a JSON pointer"),
        (entry(readings=of("fields: {leak: /a~2}")), "field leak: '/a~2' is not a JSON pointer"),
        (entry(readings=of("channel: telemetry")), "it reads nothing"),
        (
            entry(readings=of("fields: {leak: {from: /w, type: int}}")),
            "type is 'int'; permitted: number, boolean, text",
        ),
        (entry(readings=of("fields: {leak: {from: []}}")), "at least one JSON pointer"),
        (entry(readings=of("fields: {leak: {from: /w, scale: .nan}}")), "finite numbers"),
        (entry(readings=of("fields: {leak: {from: /w, bit: 64}}")), "bit must be from 0"),
        (entry(readings=of("fields: {leak: {from: /w, bit: 1, any_word: [a]}}")), "exclude each other"),
        (entry(readings=of("fields: {leak: {from: /w, otherwise: true}}")), "otherwise is only permitted with values"),
        (entry(readings=of("fields: {leak: {from: /w, values: {wet: 'yes'}}}")), "field leak of a sensor is a boolean"),
        (entry(readings=of("fields: {leak: {from: /w, type: number}}")), "field leak of a sensor is a boolean"),
        (entry(readings=of("rest: '', time: {from: /t, format: iso}")), "permitted: rfc3339, epoch_s, epoch_ms, local"),
        (entry(readings=of("rest: '', time: {from: /t, format: '%Q'}")), "is not a valid pattern"),
        (entry(readings=of("rest: '', time: {from: /t, zone: Mars}")), "'Mars' is not a time zone"),
        (entry(like="nothing"), "like: there is no mapping 'nothing'"),
    ],
)
def test_what_cannot_work_is_refused_by_name(text: str, complaint: str) -> None:
    with pytest.raises(MappingError) as refused:
        parse_mappings(text, "mine.yaml")
    assert str(refused.value).startswith("mine.yaml")
    assert complaint in str(refused.value)


def write(folder: Path, text: str, name: str = "mine.yaml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_a_mapping_may_be_like_a_shipped_one_with_other_topics_and_site(tmp_path: Path) -> None:
    file = write(tmp_path, "mappings: [{name: tower, like: zigbee2mqtt, topic: 'z/tower/{equipment}', site: tower}]")
    (mapping,) = load_mappings([file])
    assert [pattern.subscription for pattern in mapping.patterns] == ["z/tower/+"]
    assert mapping.outputs[0].site.constant == "tower"
    assert "smoke" in mapping.outputs[0].fields


def test_two_mappings_never_take_the_same_topics(tmp_path: Path) -> None:
    file = write(tmp_path, entry(topic="zigbee2mqtt/{equipment}"))
    with pytest.raises(MappingError, match="zigbee2mqtt has the same topics"):
        load_mappings(["zigbee2mqtt", file])
    again = write(tmp_path, entry(topic="b/{equipment}"), "again.yaml")
    with pytest.raises(MappingError, match="the name occurs twice"):
        load_mappings([write(tmp_path, entry(), "first.yaml"), again])


def test_a_file_that_is_not_there_names_those_that_ship(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="no such file; included mappings: chirpstack, json"):
        load_mappings([tmp_path / "nowhere.yaml"])
    (tmp_path / "latin.yaml").write_bytes(b"\xff")
    with pytest.raises(MappingError, match="cannot be read"):
        load_mappings([tmp_path / "latin.yaml"])
