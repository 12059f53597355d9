"""Whatever a source of life safety sends: its alarm, or "unreadable life-safety message"; never neither. No broker."""

import codecs
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.message_reader import MessageReader
from collectors.mqtt.message import Message
from collectors.payloads.faults import Reason
from collectors.payloads.format_by_topic import Decoder, decode_by
from collectors.payloads.mapping import Defaults, load_mappings, shipped_names
from collectors.payloads.spellings import alarm_state_of, sounds_like_alarm
from collectors.plausible import without_range
from collectors.wire.fields import WIRE_KINDS
from gateway.alarms.built_in.unmapped import UnmappedAlarms
from gateway.alarms.built_in.unreadable import UnreadableMessages
from gateway.alarms.evaluation.evaluator import RuleEvaluator
from gateway.alarms.rules.files import shipped_rules

NOW = 1_790_000_000_000
RULES = shipped_rules()
DECODER = Decoder(load_mappings(shipped_names(), Defaults("hq", "Asia/Shanghai")))


def raised_by(topic: str, payload: bytes, known: tuple[str, ...] = ()) -> set[str]:
    """Rules of life safety that raise an alarm for one message."""
    route = DECODER.route(topic)
    decoded = decode_by(route, payload, NOW)
    message = Message(topic, payload, 1, 1, NOW * 1_000_000)
    events = UnreadableMessages(RULES, lambda _site, _code: known).look(message, route, decoded)
    outcome = RuleEvaluator(RULES, {}, 60_000).take([*decoded.readings, *events])
    assert not outcome.failures
    return {item.rule.id for item in outcome.decisions if item.change.raised and item.rule.life_safety}


SPELLINGS = st.sampled_from(
    [True, 1, 1.0, "true", "TRUE", "on", "Yes", "1", " yes ", "是", "开", "有", "alarm", "报警"]
)
NO_SPELLINGS = (
    st.none()
    | st.integers(2)
    | st.floats(1.5)
    | st.text(max_size=8).filter(lambda text: not text.isascii() or len(text) > 4)
    | st.lists(st.booleans(), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.booleans(), max_size=2)
)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "gb18030"])


@st.composite
def framed(draw: st.DrawFn, text: str) -> bytes:
    """A document in some encoding, with something around it or a neighbour beside it."""
    around = draw(
        st.sampled_from(["{}", "{}\x00", "\x02{}\x03", " \r\n{}\r\n", '{{"note":1}}{}', '{{"note":1}}\n{}\n', "{},"])
    )
    encoding = draw(ENCODINGS)
    whole = around.format(text)
    if encoding == "utf-16":
        return codecs.BOM_UTF16_LE + whole.encode("utf-16-le")
    return whole.encode(encoding)


SOURCES = st.sampled_from(
    [
        ("gengfu/hq/sensor/S1/telemetry", "smoke"),
        ("gengfu/总部/Sensors/三楼 烟感/Telemetry", "smoke"),
        ("gengfu/hq/elevator/L1/telemetry", "alarm_button"),
        ("zigbee2mqtt/厨房烟感", "smoke"),
    ]
)


@given(st.data(), SOURCES, SPELLINGS | NO_SPELLINGS)
def test_a_signal_in_any_framing_encoding_and_spelling_is_an_alarm(
    data: st.DataObject, source: tuple[str, str], value: Any
) -> None:
    topic, field = source
    is_null_of_mapping = value is None and topic.startswith("zigbee")  # there it stands for "not known yet"
    says_no = isinstance(value, str) and alarm_state_of(value) is False
    if is_null_of_mapping or says_no or value in (False, "0"):
        return
    document = json.dumps({field: value, "note": "三楼"}, ensure_ascii=data.draw(st.booleans()))
    payload = data.draw(framed(document))
    raised = raised_by(topic, payload)
    assert raised, payload
    if isinstance(value, bool) or value == 1:
        assert not any(rule.endswith(".unreadable") for rule in raised), payload


@given(st.binary(min_size=1, max_size=60).filter(lambda payload: payload.strip(b"\x00 \t\r\n")))
def test_rubbish_of_a_source_of_life_safety_is_an_alarm(payload: bytes) -> None:
    topic = "gengfu/hq/fire_panel/P1/event"
    if decode_by(DECODER.route(topic), payload, NOW).readings or payload.strip() in (b"[]", b"{}"):
        return
    assert raised_by(topic, payload) == {"fire_panel.unreadable"}


@given(st.integers(1, 40))
def test_a_fire_that_is_cut_off_on_the_way_is_an_alarm(length: int) -> None:
    payload = b'{"type": "fire", "loop": "1", "address": "7"}'[:length]
    assert raised_by("gengfu/hq/fire_panel/P1/event", payload) == {"fire_panel.unreadable"}


PARTS = st.sampled_from(["hq", "b1", "fire_panel", "sensor", "smoke detector", "P1", "event", "telemetry", "房间"])


@given(st.lists(PARTS, min_size=1, max_size=6))
def test_a_fire_on_any_topic_under_the_root_is_an_alarm(parts: list[str]) -> None:
    assert raised_by("/".join(["gengfu", *parts]), b'{"type": "fire", "smoke": true, "active": true}')


@pytest.mark.parametrize(
    ("topic", "body", "rule"),
    [
        ("gengfu/hq/sensor/S1/event", {"smoke": True}, "sensor.unreadable"),  # a state, sent as an event
        ("gengfu/hq/sensor/S1/event", {"Smoke": "perhaps"}, "sensor.unreadable"),
        ("gengfu/hq/sensor/S1/status", {"smoke": "alarm", "online": True}, "sensor.unreadable"),
        ("gengfu/hq/sensor/S1/event", {"type": "烟雾报警"}, "sensor.unreadable"),
        ("gengfu/hq/elevator/L1/event", {"alarmButton": 1}, "elevator.unreadable"),
        ("gengfu/hq/elevator/L1/event", {"type": "sos"}, "elevator.unreadable"),
        ("gengfu/hq/elevator/L1/event", {"entrapment": True}, "elevator.unreadable"),
        ("gengfu/hq/elevator/L1/telemetry", {"smoke": True}, "elevator.unreadable"),
        ("gengfu/hq/fire_panel/P1/telemetry", {"type": "火警", "mains": True}, "fire_panel.unreadable"),  # and back
        ("gengfu/hq/fire_panel/P1/status", {"Type": "Fire"}, "fire_panel.unreadable"),
        ("gengfu/hq/fire_panel/P1/event", {"type": "fault", "smoke": True}, "fire_panel.unreadable"),
        ("gengfu/hq/pump/P1/telemetry", {"flow": 1, "smoke": "ON"}, "pump.unreadable"),  # of another kind
        ("gengfu/hq/patrol_reader/R1/event", {"panic": True}, "sensor.unreadable"),
        ("gengfu/hq/pump/b1/P1/telemetry", {"smoke": True}, "pump.unreadable"),
        ("json/hq/fire_panel/P1", {"type": "fire"}, "fire_panel.unreadable"),
    ],
)
def test_a_call_where_no_rule_looks_for_it_is_an_alarm(topic: str, body: dict[str, Any], rule: str) -> None:
    assert raised_by(topic, json.dumps(body).encode()) == {rule}


@pytest.mark.parametrize(
    ("topic", "body"),
    [
        ("gengfu/hq/sensor/S1/status", {"online": True, "smoke": False}),
        ("gengfu/hq/sensor/S1/event", {"smoke": "normal", "type": "fire alarm cleared"}),
        ("gengfu/hq/elevator/L1/event", {"type": "door_opened", "fire_recall_ready": 0}),
        ("gengfu/hq/pump/P1/telemetry", {"heat": 35.5, "gas": 12}),  # numbers of another kind's names
        ("gengfu/hq/pump/P1/telemetry", {"fire_valve_position": 1}),
        ("gengfu/hq/fire_panel/P1/telemetry", {"type": "IFP-2100"}),
        ("gengfu/hq/patrol_reader/R1/event", {"tag": "04A1", "text": "fire door"}),
    ],
)
def test_what_only_looks_like_a_call_disturbs_nobody(topic: str, body: dict[str, Any]) -> None:
    assert raised_by(topic, json.dumps(body).encode()) == set()


@pytest.mark.parametrize(
    ("topic", "payload", "known"),
    [
        ("gengfu/hq/pump/P1/telemetry", b"rubbish", ()),  # no rule of life safety on a pump
        (
            "gengfu/hq/sensor/T1/telemetry",
            b'{"temperature": tr',
            ("temperature", "humidity"),
        ),  # it never smelt anything
        ("gengfu/hq/sensor/T1/telemetry", b'{"temperature": "warm"}', ()),
        ("gengfu/hq/sensor/T1/telemetry", b'{"smoke": false, "temperature": {}}', ("smoke",)),  # its smoke is good
        ("gengfu/hq/sensor/S1/status", b"rubbish", ("smoke",)),  # whether it is online
        ("gengfu/hq/sensor/S1/telemetry", b"", ()),  # takes a retained message back
        ("gengfu/hq/fire_panel/P1/event", b"[]", ()),
        ("gengfu/hq/boiler/B1/telemetry", b'{"flow": 1}', ()),
        ("zigbee2mqtt/bridge/devices", b'[{"exposes": "smoke"}]', ()),  # housekeeping
        ("zigbee2mqtt/plug/extra", b'{"smoke": false, "fire": "none"}', ()),
    ],
)
def test_what_is_no_matter_of_life_safety_disturbs_nobody(topic: str, payload: bytes, known: tuple[str, ...]) -> None:
    assert raised_by(topic, payload, known) == set()


def test_the_same_rubbish_is_told_once_a_minute_and_other_rubbish_again() -> None:
    unreadable = UnreadableMessages(RULES, lambda _site, _code: ())
    route = DECODER.route("gengfu/hq/sensor/S1/telemetry")

    def told(payload: bytes, at_s: float) -> int:
        message = Message("gengfu/hq/sensor/S1/telemetry", payload, 1, 1, NOW * 1_000_000 + int(at_s * 1e9))
        return len(unreadable.look(message, route, decode_by(route, payload, NOW)))

    assert [told(b"a", 0), told(b"a", 30), told(b"b", 1), told(b"b", 3), told(b"a", 61)] == [1, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("smoke alarm with normal battery", True),  # Milesight GS524N
        ("testing alarm with low battery", False),
        ("critical liquid level alarm release", False),  # EM300-CL
        ("critical liquid level alert", True),
        ("water outage timeout alarm", True),  # EM300-DI
        ("leak", True),
        ("normal", False),
        ("无线烟感报警", True),  # 无线 is "wireless"
        ("报警解除", False),
        ("low battery", None),
    ],
)
def test_a_vendors_sentence_says_whether_the_alarm_is_on(text: str, state: bool | None) -> None:
    assert alarm_state_of(text) is state


@pytest.mark.parametrize(
    "name", ["smokeAlarm", "fire_status", "WaterLeak", "sos", "panicButton", "水浸", "烟雾浓度", "报警"]
)
def test_a_name_that_sounds_like_an_alarm_is_known(name: str) -> None:
    assert sounds_like_alarm(name)


@pytest.mark.parametrize("name", ["temperature", "linkquality", "battery_low", "firmware_version", "update", "湿度"])
def test_a_name_that_does_not_is_left_alone(name: str) -> None:
    assert not sounds_like_alarm(name)


def test_a_field_that_sounds_like_an_alarm_and_is_not_mapped_is_told_once() -> None:
    unmapped, topic = UnmappedAlarms(), "gengfu/hq/pump/P1/telemetry"
    route, payload = DECODER.route(topic), b'{"flow": 3, "seal_leak_status": 1}'
    decoded = decode_by(route, payload, NOW)
    found = [unmapped.look(Message(topic, payload, 1, 1, NOW), route, decoded) for _ in range(2)]
    assert [[(item.fields["equipment"], item.fields["field"]) for item in each] for each in found] == [
        [("hq:P1", "seal_leak_status")], [],
    ]  # fmt: skip


def test_every_number_of_the_wire_contract_has_a_plausible_range() -> None:
    assert without_range(WIRE_KINDS) == []


def test_a_packet_of_a_fire_panel_that_is_too_large_is_an_event_that_cannot_be_read() -> None:
    reader = MessageReader(DECODER, {}, 0, UnreadableMessages(RULES, lambda _site, _equipment: ()).look)
    message = Message("gengfu/hq/fire_panel/F1/event", b'{"type":"fire"}', 1, 1, NOW * 1_000_000, oversize=9_000_000)
    content = reader.read(message)
    reader.look_closer(message, content)
    assert [(item.fields["type"], item.fields["text"]) for item in content.readings] == [
        ("unreadable", '{"type":"fire"}')
    ]
    assert [fault.reason for fault in content.faults] == [Reason.TOO_LARGE]


def test_an_unreadable_device_keeps_the_name_that_people_know() -> None:
    reader = MessageReader(DECODER, {}, 0, UnreadableMessages(RULES, lambda _site, _equipment: ()).look)
    message = Message("gengfu/hq/fire_panel/消防主机/event", b'{"type":"fire"', 1, 1, NOW * 1_000_000)
    content = reader.read(message)
    reader.look_closer(message, content)
    assert [item.equipment_name for item in content.readings] == ["消防主机"]
