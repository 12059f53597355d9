"""gengfu doctor: what becomes of a message is told truly, and in words that help."""

import base64
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from collectors.payloads.faults import Reason
from gateway.cli.doctor import _ADVICE, _QUALITY, read_payload
from gateway.cli.main import cli


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ask(topic: str, payload: str, *options: str) -> Result:
    return CliRunner().invoke(cli, ["doctor", "--message", topic, payload, *options])


def test_a_native_message_is_shown_with_units_quality_and_rules() -> None:
    result = ask(
        "gengfu/hq/pump/P-1/telemetry",
        '{"bearing_temperature": 97.5, "mode": "AUTO", "colour": "red", "running": true, "seq": 4}',
    )
    assert result.exit_code == 0
    for line in (
        "Decoder  native: the topic is of the wire contract",
        "Reading 1 of 1: gengfu/hq/pump/P-1/telemetry",
        "bearing_temperature  97.5 °C",
        'mode                 "auto"',
        'colour               "red"   (unknown field)',
        "sequence number 4",
        "quality no_time: no time in the message",
        "quality unknown_field",
        "pump.bearing_very_hot (high): raises ",
        "pump.bearing_hot (",
        "when it stays so for ",
    ):
        assert line in result.output, line
    assert "counts twice" not in result.output


def test_a_mapped_message_says_which_mapping_and_what_it_left_out() -> None:
    result = ask(
        "zigbee2mqtt/leak1", '{"water_leak": true, "battery": "80.00", "linkquality": 3}', "--mapping", "zigbee2mqtt"
    )
    assert result.exit_code == 0
    assert "mapping zigbee2mqtt (Zigbee sensors" in result.output
    assert "from the topic: equipment = leak1" in result.output
    assert "gengfu/default/sensor/leak1/telemetry" in result.output
    assert "battery      80 %" in result.output
    assert "linkquality  3   (unknown field)" in result.output
    assert 'sensor.leak (high): raises "Water leak" at once and opens a ticket (repair)' in result.output
    assert "sensor.battery_low (low): evaluates battery and raises no alarm" in result.output


def test_an_event_raises_at_once_and_one_that_no_rule_knows_says_so() -> None:
    fire = ask("gengfu/hq/fire_panel/F1/event", '{"type": "fire", "loop": 1, "address": 23}')
    assert 'raises "' in fire.output
    assert "at once and opens a ticket (emergency)" in fire.output
    tap = ask(
        "tele/gate/SENSOR", '{"Time": "2026-01-02T22:07:10", "PN532": {"UID": "94D8FC5F"}}', "--mapping", "tasmota"
    )
    assert tap.exit_code == 0
    assert "measured at 2026-01-02T14:07:10+00:00" in tap.output
    assert "none uses it" in tap.output


def test_a_topic_that_nothing_takes_gets_the_shipped_mapping_that_would() -> None:
    result = ask("zigbee2mqtt/leak1", '{"water_leak": true}')
    assert result.exit_code == 1
    assert "no_mapping: no mapping reads this topic" in result.output
    assert 'collect.mappings = ["zigbee2mqtt"]' in result.output
    assert "the service does not subscribe to this topic" in result.output


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ('{"flow_temperature_c": 127}', "/flow_temperature_c is 127, which means no value"),
        ("{", "not_json"),
        ("hex:ff00", "not_json: neither UTF-8 nor GB 18030"),
        ("", "empty: the message has no payload"),
        ("base64:e30=", "no_fields: mapping wmbusmeters finds none of its fields"),
    ],
)
def test_what_cannot_be_read_ends_with_1_and_says_why(payload: str, words: str) -> None:
    result = ask("wmbusmeters/main", payload, "--mapping", "wmbusmeters")
    assert result.exit_code == 1
    assert words in result.output
    assert "is quarantined" in result.output


def test_a_message_that_is_readable_in_part_is_readable() -> None:
    result = ask("gengfu/hq/sensor/S1/telemetry", '[{"leak": true}, {"leak": "open"}]')
    assert result.exit_code == 0
    assert "bad_field: leak: expected a boolean, found a text" in result.output
    assert _ADVICE[Reason.BAD_FIELD] in result.output


def test_the_mappings_of_the_settings_are_in_use(tmp_path: Path) -> None:
    (tmp_path / "gengfu.toml").write_text('[collect]\nmappings = ["zigbee2mqtt"]\nsite = "tower"\n', encoding="utf-8")
    assert "gengfu/tower/sensor/a/telemetry" in ask("zigbee2mqtt/a", '{"smoke": true}').output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a", "hex:zz"), "hex: non-hexadecimal"),
        (("a", "base64:1"), "base64: "),
        (("a", "@nowhere.json"), "nowhere.json"),
        (("a", "x", "--mapping", "nowhere"), "nowhere: no such file; included mappings"),
    ],
)
def test_what_is_typed_wrong_is_said_in_one_sentence(arguments: tuple[str, ...], words: str) -> None:
    result = ask(*arguments)
    assert result.exit_code == 1
    assert words in result.output
    assert "Traceback" not in result.output


def test_a_payload_may_be_typed_in_four_ways(tmp_path: Path) -> None:
    (tmp_path / "p.bin").write_bytes(b"\x00\xff")
    for text in ("@p.bin", "hex:00 ff", f"base64:{base64.b64encode(bytes([0, 255])).decode()}"):
        assert read_payload(text) == b"\x00\xff"
    assert read_payload('{"a": "度"}') == '{"a": "度"}'.encode()


def test_every_reason_has_its_advice_and_every_flag_its_words() -> None:
    assert set(_ADVICE) == set(Reason)
    assert all(flag in _QUALITY for flag in type(next(iter(_QUALITY))) if flag.value)
