"""Third-party messages: what a mapping makes of them, and that nothing a device sends can stop it."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.payloads.faults import Fault, Reason
from collectors.payloads.format_by_topic import Decoder
from collectors.payloads.mapped import MappedTopic
from collectors.payloads.mapping import Defaults, load_mappings, parse_mappings, shipped_names
from collectors.payloads.samples import Decoded
from collectors.wire.names import code_of
from collectors.wire.reading import Quality
from collectors.wire.topics import Topic, parse_topic

NOW = 1_790_000_000_000
"""2026-09-21T14:13:20Z."""
DEFAULTS = Defaults("garden", "Asia/Shanghai")
SHIPPED = Decoder(load_mappings(shipped_names(), DEFAULTS))


def decoder(readings: str, topic: str = "x/{equipment}", more: str = "") -> Decoder:
    """A mapping with one entry under readings, given as YAML in flow style."""
    text = f"mappings:\n- name: test\n  topic: {json.dumps(topic)}\n  {more}\n  readings: [{readings}]\n"
    return Decoder(parse_mappings(text, "test.yaml", DEFAULTS))


def read(made: Decoder, payload: Any, topic: str = "x/A1") -> Decoded:
    route = made.route(topic)
    assert isinstance(route, MappedTopic), route
    return route.decode(payload if isinstance(payload, bytes) else json.dumps(payload).encode(), NOW)


def fields(made: Decoder, payload: Any, topic: str = "x/A1") -> dict[str, Any]:
    decoded = read(made, payload, topic)
    assert not decoded.faults, decoded.faults
    (reading,) = decoded.readings
    return reading.fields


def reasons(decoded: Decoded) -> list[Reason]:
    return [fault.reason for fault in decoded.faults]


def sensor(field: str, more: str = "") -> Decoder:
    return decoder(f"{{kind: sensor, equipment: '{{equipment}}', fields: {{{field}}} {more}}}")


# -- which decoder ---------------------------------------------------------------------------------------


def test_our_own_topics_are_native_whatever_mappings_there_are() -> None:
    assert SHIPPED.route("gengfu/hq/pump/P-1/telemetry") == parse_topic("gengfu/hq/pump/P-1/telemetry")
    wrong = SHIPPED.route("gengfu/hq/pump/P-1/nonsense")
    assert isinstance(wrong, Fault)
    assert wrong.reason is Reason.BAD_TOPIC


def test_without_mappings_only_our_own_topics_are_subscribed_to() -> None:
    plain = Decoder()
    assert plain.subscriptions == ["gengfu/#"]
    route = plain.route("zigbee2mqtt/door")
    assert isinstance(route, Fault)
    assert route.reason is Reason.NO_MAPPING


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        ("a/b/c", "literal"),
        ("a/b/z", "first"),  # the first level that differs decides
        ("a/z/c", "last"),
        ("a/z/z", "both"),
        ("a/z", "rest"),
        ("a/b/c/d", "rest"),
        ("a", None),
        ("b/b/c", None),
        ("/a/b/c", None),  # another topic: its first level is empty
    ],
)
def test_the_most_specific_pattern_wins(topic: str, name: str | None) -> None:
    patterns = {"rest": "a/{rest}", "both": "a/{x}/{any}", "last": "a/{x}/c", "first": "a/b/{x}", "literal": "a/b/c"}
    text = "mappings:\n" + "".join(
        f"- {{name: {key}, topic: '{pattern}', readings: [{{kind: sensor, equipment: E, rest: ''}}]}}\n"
        for key, pattern in patterns.items()
    )
    route = Decoder(parse_mappings(text, "test.yaml")).route(topic)
    assert (route.mapping.name if isinstance(route, MappedTopic) else None) == name


def test_placeholders_of_the_topic_may_stand_anywhere() -> None:
    made = decoder(
        "{kind: '{k}', equipment: 'unit-{n}', channel: '{c}', rest: ''}", "plant/{s}/{k}/{any}/{n}/{c}/{rest}",
        "site: '{s}'",
    )  # fmt: skip
    decoded = read(made, {"running": True}, "plant/hq/pump/x/7/telemetry/a/b")
    assert str(decoded.readings[0].topic) == "gengfu/hq/pump/unit-7/telemetry"
    assert made.subscriptions[1] == "plant/#"
    assert reasons(read(made, {"running": True}, "plant/hq/boiler/x/7/telemetry/a")) == [Reason.BAD_TOPIC]
    assert reasons(read(made, {"running": True}, "plant/hq/pump/x//telemetry/a")) == [Reason.BAD_TOPIC]
    assert reasons(read(decoder("{kind: sensor, equipment: '{e}', rest: ''}", "y/{e}"), {"a": 1}, "y/")) == [
        Reason.BAD_TOPIC
    ]


def test_a_code_may_stand_in_the_payload() -> None:
    made = decoder("{kind: sensor, equipment: '{/meter/id}', fields: {temperature: /t}}", "meters")
    assert read(made, {"meter": {"id": 76406477}, "t": 4}, "meters").readings[0].topic.equipment == "76406477"
    assert reasons(read(made, {"meter": {}, "t": 4}, "meters")) == [Reason.BAD_TOPIC]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Door_1.a-b", "Door_1.a-b"),
        ("Device A", "Device_A-9066c1"),
        ("水表", "__-0ba4a4"),
        ("x" * 65, None),
    ],
)
def test_a_name_that_is_not_permitted_is_made_so_and_stays_its_own(name: str, code: str | None) -> None:
    made = code_of(name)
    if code is not None and name.isascii():
        assert made == code
    parse_topic(f"gengfu/s/sensor/{made}/telemetry")


@given(st.text(max_size=80), st.text(max_size=80))
def test_two_names_never_become_one_by_their_odd_characters(first: str, second: str) -> None:
    for name in (first, second):
        if name:
            parse_topic(f"gengfu/s/sensor/{code_of(name)}/telemetry")
    if first != second:
        assert code_of(first) != code_of(second)


def test_names_may_be_given_codes() -> None:
    made = decoder("{kind: sensor, equipment: '{equipment}', rest: ''}", more="names: {Device A: DEV-A}")
    assert read(made, {"a": 1}, "x/Device A").readings[0].topic.equipment == "DEV-A"


# -- fields ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "payload", "kept"),
    [
        ("temperature: /a/0/b~1c~0", {"a": [{"b/c~": 7}]}, 7.0),  # RFC 6901, escapes too
        ("temperature: {from: [/no, /yes]}", {"yes": 1}, 1.0),  # the first that is there
        ("temperature: {from: [/no, /yes]}", {"no": None, "yes": 1}, 1.0),  # null is not there
        ("pressure: {from: /kPa, scale: 0.001}", {"kPa": 612}, 0.612),  # without 0.6120000000000001
        ("temperature: {from: /F, scale: 0.5555555556, offset: -17.7777778}", {"F": 212}, pytest.approx(100, abs=1e-4)),
        ("battery: {from: /b, type: number}", {"b": "80.00"}, 80.0),
        ("leak: {from: /w, type: boolean}", {"w": "ON"}, True),
        ("leak: {from: /w, type: boolean}", {"w": 0}, False),
        ("leak: {from: /w, values: {ON: true, OFF: false}}", {"w": "OFF"}, False),  # YAML's bare OFF is the word
        ("leak: {from: /w, values: {wet: true}, otherwise: false}", {"w": "whatever"}, False),
        ("leak: {from: /w, values: {true: true, false: false}}", {"w": 1}, True),  # 1 is true
        ("smoke: {from: /z, bit: 0}", {"z": 33}, True),
        ("smoke: {from: /z, bit: 1}", {"z": 33}, False),
        ("leak: {from: /s, any_word: [LEAK, BURST]}", {"s": "DRY BURST"}, True),
        ("leak: {from: /s, any_word: [LEAK, BURST]}", {"s": "NO_LEAK"}, False),  # a word is a word
        ("mine: {from: /n, type: text}", {"n": 12345678}, "12345678"),
    ],
)
def test_a_field_becomes_what_the_mapping_says(field: str, payload: Any, kept: Any) -> None:
    (value,) = fields(sensor(field), payload).values()
    assert value == kept


@pytest.mark.parametrize(
    ("field", "payload", "complaint"),
    [
        ("temperature: /t", {"t": "warm"}, "temperature: expected a number, found a text"),  # native's own check
        ("temperature: {from: /t, type: number}", {"t": "warm"}, "temperature (/t): expected a number, found 'warm'"),
        ("temperature: {from: /t, type: number}", {"t": "1_000"}, "expected a number"),
        ("temperature: {from: /t, type: number}", {"t": "NaN"}, "expected a number"),
        ("temperature: {from: /t, scale: 2}", {"t": True}, "found true"),
        ("temperature: {from: /t, scale: 1e300}", {"t": 1e300}, "not finite"),
        ("leak: {from: /w, values: {wet: true}}", {"w": "dry"}, "expected one of 'wet', found 'dry'"),
        ("leak: {from: /w, values: {wet: true}}", {"w": {}}, "found an object"),
        ("smoke: {from: /z, bit: 0}", {"z": 0.5}, "expected a whole number"),
        ("leak: {from: /s, any_word: [LEAK]}", {"s": 1}, "expected a text"),
    ],
)
def test_what_cannot_be_understood_is_named_and_the_rest_kept(field: str, payload: Any, complaint: str) -> None:
    decoded = read(sensor(f"{field}, humidity: /h"), {**payload, "h": 50})
    (reading,) = decoded.readings
    assert reading.fields == {"humidity": 50.0}
    assert Quality.PARTIAL in Quality(reading.quality)
    assert reasons(decoded) == [Reason.BAD_FIELD]
    assert complaint in decoded.faults[0].detail


def test_127_degrees_means_that_there_is_no_sensor() -> None:
    made = sensor("temperature: {from: /t, unless: [127]}, humidity: /h")
    assert fields(made, {"t": 127, "h": 40}) == {"humidity": 40.0}
    alone = read(made, {"t": 127})
    assert reasons(alone) == [Reason.NO_FIELDS]
    assert alone.faults[0].detail.endswith("temperature, humidity; /t is 127, which means no value")


def test_a_message_without_any_of_the_fields_says_which_were_looked_for() -> None:
    (fault,) = read(sensor("temperature: /t, humidity: /h"), {"x": 1}).faults
    assert (fault.reason, fault.detail) == (
        Reason.NO_FIELDS, "mapping test finds none of its fields: temperature, humidity",
    )  # fmt: skip


def test_rest_takes_what_is_plain_and_not_spoken_for() -> None:
    made = decoder(
        "{kind: sensor, equipment: '{equipment}', rest: /v, ignore: [junk], fields: {temperature: {from: /v/t}},"
        " time: {from: /v/ts, format: epoch_s}}"
    )
    payload = {"v": {"t": 20, "humidity": 50, "mood": "good", "junk": 1, "deep": {"x": 1}, "ts": NOW / 1000}}
    assert fields(made, payload) == {"temperature": 20.0, "humidity_unit_unknown": 50.0, "mood": "good"}


def test_a_part_is_read_only_when_its_condition_holds() -> None:
    made = decoder(
        "{kind: sensor, equipment: E, when: {/id: [temp, 3]}, fields: {temperature: /v}},"
        "{kind: sensor, equipment: E, when: {/id: [hum], /v: []}, fields: {humidity: /v}}"
    )
    assert fields(made, {"id": "temp", "v": 20}) == {"temperature": 20.0}
    assert fields(made, {"id": 3, "v": 20}) == {"temperature": 20.0}
    assert fields(made, {"id": "hum", "v": 20}) == {"humidity": 20.0}
    assert reasons(read(made, {"id": ["temp"], "v": 20})) == [Reason.NO_FIELDS]


# -- time and order ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "value", "at"),
    [
        ("rfc3339", "2026-09-21T14:13:20Z", NOW),
        ("rfc3339", "2026-09-21T22:13:20+08:00", NOW),
        ("epoch_s", NOW / 1000, NOW),
        ("epoch_s", str(NOW // 1000), NOW),
        ("epoch_ms", NOW, NOW),
        ("local", "2026-09-21T22:13:20", NOW),  # the zone is that of the settings
        ("local", "2026-09-21T14:13:20+00:00", NOW),  # unless the device says one
        ("'%d.%m.%Y %H:%M:%S'", "21.09.2026 22:13:20", NOW),
        ("[rfc3339, epoch_s, epoch_ms]", NOW, NOW),  # a number of milliseconds is no number of seconds
        ("[rfc3339, epoch_s, epoch_ms]", NOW / 1000, NOW),
    ],
)
def test_a_time_is_read_in_its_format(form: str, value: Any, at: int) -> None:
    made = sensor("temperature: /t", f", time: {{from: /at, format: {form}}}")
    (reading,) = read(made, {"t": 1, "at": value}).readings
    assert (reading.measured_at, reading.quality) == (at, 0)


@pytest.mark.parametrize("value", ["1111-11-11T11:11:11Z", "yesterday", True, [], 1e300, -1, "2026-09-21T14:13:20"])
def test_a_time_that_is_none_is_named_and_receipt_stands_in(value: Any) -> None:
    made = sensor("temperature: /t", ", time: {from: /at, format: [rfc3339, epoch_ms]}")
    decoded = read(made, {"t": 1, "at": value})
    assert reasons(decoded) == [Reason.BAD_TIME]
    assert (decoded.readings[0].measured_at, decoded.readings[0].quality) == (NOW, Quality.NO_TIME | Quality.PARTIAL)


def test_a_sequence_number_makes_the_key() -> None:
    (reading,) = read(sensor("temperature: /t", ", seq: /n"), {"t": 1, "n": 7}).readings
    assert (reading.seq, reading.key % 1_000_000) == (7, 7)
    assert reasons(read(sensor("temperature: /t", ", seq: /n"), {"t": 1, "n": "7"})) == [Reason.BAD_FIELD]


# -- many in one -----------------------------------------------------------------------------------------------


def test_an_array_of_samples_and_a_member_for_each_device() -> None:
    array = decoder("{kind: sensor, equipment: '{equipment}', each: /log, fields: {temperature: /1}}")
    assert [reading.fields["temperature"] for reading in read(array, {"log": [[0, 1], [0, 2]]}).readings] == [1.0, 2.0]
    keys = [reading.key for reading in read(array, {"log": [[0, 1], [0, 2]]}).readings]
    assert len(set(keys)) == 2, "samples without a time stay two"
    members = decoder("{kind: sensor, equipment: '{key}', each: ['', /list], fields: {temperature: ''}}")
    decoded = read(members, {"A": {"list": [1, 2]}, "B": {"list": []}, "C": 5, "D": {"list": [3]}})
    assert [(reading.topic.equipment, reading.fields["temperature"]) for reading in decoded.readings] == [
        ("A", 1.0), ("A", 2.0), ("D", 3.0),
    ]  # fmt: skip


def test_ten_thousand_samples_are_read() -> None:
    array = decoder("{kind: sensor, equipment: '{equipment}', each: '', fields: {temperature: /t}}")
    assert len(read(array, [{"t": number} for number in range(10_000)]).readings) == 10_000


@pytest.mark.parametrize(
    ("encoding", "payload", "reason"),
    [
        ("hex", b'{"t": 5}'.hex().encode(), None),
        ("base64", base64.b64encode(b'{"t": 5}'), None),
        ("hex", b"xyz", Reason.BAD_ENCODING),
        ("base64", b"123", Reason.BAD_ENCODING),
        ("base64", b"AAAA", Reason.NOT_JSON),
        ("hex", b"\xff", Reason.BAD_ENCODING),
        ("json", b"\xff", Reason.NOT_JSON),
        ("json", b"", Reason.EMPTY),
        ("json", b" " * (4 * 1024 * 1024 + 1), Reason.TOO_LARGE),
        ("json", b"null", Reason.NO_FIELDS),
        ("json", b"[" * 100_000, Reason.NOT_JSON),
        ("json", b'{"t": 5, "t": 5}', Reason.DUPLICATE_KEY),
    ],
)
def test_payloads_come_in_several_wrappings(encoding: str, payload: bytes, reason: Reason | None) -> None:
    entry = "{kind: sensor, equipment: '{equipment}', fields: {temperature: /t}}"
    decoded = read(decoder(entry, more=f"payload: {encoding}"), payload)
    assert reasons(decoded) == ([] if reason is None else [reason])
    if reason in {None, Reason.DUPLICATE_KEY}:
        assert decoded.readings[0].fields == {"temperature": 5.0}


def test_a_plain_word_is_a_payload_too() -> None:
    entry = (
        "{kind: sensor, equipment: '{equipment}', channel: status, fields: {online: {from: '', values: {up: true}}}}"
    )
    made = decoder(entry, more="payload: text")
    assert fields(made, b"up\n") == {"online": True}
    assert reasons(read(made, b"\xff")) == [Reason.BAD_ENCODING]


def test_what_nobody_looks_at_is_listed_for_who_writes_the_mapping() -> None:
    made = decoder("{kind: sensor, equipment: '{key}', each: /d, fields: {temperature: /t}}")
    route = made.route("x/A")
    assert isinstance(route, MappedTopic)
    assert route.left_out(b'{"d": {"A": {"t": 1, "u": 2}}, "n/o": [true]}') == [("/d/A/u", 2.0), ("/n~1o/0", True)]


# -- nothing stops it --------------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
WORDS = st.sampled_from(
    ["params", "ts", "object", "time", "rxInfo", "rssi", "Time", "PN532", "UID", "ZbReceived", "ZoneStatusChange",
     "TempUnit", "values", "temperature", "battery", "smoke", "state", "last_seen", "method", "NotifyStatus", "fCnt",
     "switch:0", "current_status", "timestamp", "seq"]
)  # fmt: skip
TREES = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=6),
    max_leaves=25,
)
TOPICS = st.sampled_from(
    ["zigbee2mqtt/x", "zigbee2mqtt/x/availability", "tele/x/SENSOR", "tele/x/y/SENSOR", "tele/x/LWT", "x/online",
     "/x/y/tele/SENSOR", "x/events/rpc", "application/1/device/x/event/up", "wmbusmeters/x", "v1/gateway/telemetry",
     "json/a/sensor/x", "json/a/b/c", "json//pump/\ud800"]
)  # fmt: skip
STRANGE = decoder(
    "{kind: '{/kind}', equipment: '{key}-{/id}', each: ['', /temperature], when: {/state: []}, rest: '',"
    " fields: {leak: {from: ['', /smoke], values: {ON: true}}, smoke: {from: /smoke, bit: 3},"
    " x: {from: /battery, type: text}, y: {from: /battery, type: boolean}},"
    " time: {from: [/ts, /time], format: [local, epoch_s, '%Y %j']}, seq: /seq}"
)


def assert_answered(decoded: Decoded) -> None:
    assert decoded.readings or decoded.faults, "a message never vanishes without a word"
    for reading in decoded.readings:
        assert reading.fields
        assert isinstance(reading.topic, Topic)
        parse_topic(str(reading.topic))
        assert 0 <= reading.key < 2**63


@given(st.binary(max_size=300), TOPICS)
def test_any_bytes_are_answered(payload: bytes, topic: str) -> None:
    assert_answered(read(SHIPPED, payload, topic))


@given(TREES, TOPICS)
def test_any_json_is_answered(document: object, topic: str) -> None:
    payload = json.dumps(document).encode()
    assert_answered(read(SHIPPED, payload, topic))
    assert_answered(read(STRANGE, payload))
    for made, name in ((SHIPPED, topic), (STRANGE, "x/A1")):
        route = made.route(name)
        assert isinstance(route, MappedTopic)
        route.left_out(payload)
        route.sentinels(payload)
