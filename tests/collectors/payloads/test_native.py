"""The native payload: whatever the bytes, `decode` answers, keeps what is good and names what is not."""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collectors.payloads import field_values, native, samples
from collectors.payloads.faults import Reason
from collectors.payloads.native import decode
from collectors.payloads.samples import Decoded
from collectors.wire.fields import FIELDS, Channel, Field, FieldType, Kind
from collectors.wire.reading import Quality, Reading, Value
from collectors.wire.topics import Topic

NOW = 1_790_000_000_000
MINUTE, DAY = 60_000, 24 * 3600_000
SENSOR = Topic("garden", Kind.SENSOR, "S1", Channel.TELEMETRY)
LIFT = Topic("garden", Kind.ELEVATOR, "L1", Channel.TELEMETRY)
PANEL = Topic("garden", Kind.FIRE_PANEL, "F1", Channel.EVENT)
READER = Topic("garden", Kind.PATROL_READER, "P1", Channel.EVENT)
TOPICS = [SENSOR, LIFT, PANEL, READER, Topic("garden", Kind.PUMP, "P1", Channel.STATUS)]


def read(text: str | bytes, topic: Topic = SENSOR) -> Decoded:
    return decode(topic, text.encode() if isinstance(text, str) else text, NOW)


def only(text: str | bytes, topic: Topic = SENSOR) -> Reading:
    """The one reading of a message in which nothing is wrong."""
    decoded = read(text, topic)
    assert not decoded.faults
    (reading,) = decoded.readings
    return reading


def reasons(decoded: Decoded) -> list[Reason]:
    return [fault.reason for fault in decoded.faults]


def shape_of(decoded: Decoded) -> object:
    """All that a decoded message says, comparable."""
    return (
        [msgspec.structs.astuple(reading) for reading in decoded.readings],
        [(fault.reason, fault.detail) for fault in decoded.faults],
    )


# -- each kind's fields --------------------------------------------------------------------------------


def sample_value(field: Field) -> Value:
    if field.type is FieldType.NUMBER:
        return 3.5  # plausible for every one of them
    if field.type is FieldType.BOOLEAN:
        return True
    return field.choices[-1] if field.choices else "3A 层"


@pytest.mark.parametrize(("kind", "channel"), FIELDS)
def test_every_field_of_the_contract_is_read_without_doubt(kind: Kind, channel: Channel) -> None:
    fields = {name: sample_value(field) for name, field in FIELDS[kind, channel].items()}
    topic = Topic("garden", kind, "X1", channel)
    reading = only(json.dumps({"at": NOW, "seq": 7, **fields}), topic)
    assert reading.fields == fields
    assert {name: type(value) for name, value in reading.fields.items()} == {
        name: type(value) for name, value in fields.items()
    }
    assert reading == Reading(
        topic, fields, NOW, NOW, NOW * 1_000_000 + 7, seq=7, quality=Quality.GOOD, digest=reading.digest
    )
    assert bool(reading.digest) is (channel is Channel.EVENT)


@pytest.mark.parametrize(
    ("topic", "name", "sent", "kept"),
    [
        (SENSOR, "temperature", "21", 21.0),  # a whole number is a float from here on
        (SENSOR, "temperature", "-0", 0.0),
        (SENSOR, "temperature", "1e2", 100.0),
        (
            SENSOR,
            "temperature",
            "123456789012345678901234567890",
            123456789012345678901234567890.0,
        ),  # over 64 bits
        (SENSOR, "leak", "1", True),  # many controllers know no booleans
        (SENSOR, "leak", "0", False),
        (SENSOR, "leak", "0.0", False),
        (SENSOR, "leak", '"true"', True),  # so says who writes every value as text
        (SENSOR, "leak", '" False "', False),  # and who writes Python's words
        (LIFT, "floor", "3", "3"),  # a floor that came as a number
        (LIFT, "floor", "-1", "-1"),
        (LIFT, "floor", "2.5", "2.5"),
        (READER, "card", "12345678", "12345678"),  # every digit: it is a person's card
        (READER, "card", "100000001", "100000001"),  # the neighbour's card is another one
        (READER, "card", "999999999999999", "999999999999999"),  # the longest that float64 and text both hold
        (LIFT, "door", '"OPEN"', "open"),  # words of closed sets come in any case
        (LIFT, "door", '"ajar"', "ajar"),  # a word outside the set is kept as it is
        (LIFT, "door", '" Open "', "open"),  # and blanks around one do not matter
        (LIFT, "floor", '"Lobby"', "Lobby"),  # free text keeps its case
        (PANEL, "text", '"三楼走廊烟感报警"', "三楼走廊烟感报警"),
        (
            PANEL,
            "text",
            '"\\u4e09\\ud83d\\udd25"',
            "三🔥",
        ),  # escapes, also of characters outside the first plane
        (PANEL, "text", '""', ""),
        (PANEL, "loop", f'"{"a" * 1024}"', "a" * 1024),  # the longest text
    ],
)
def test_a_value_is_kept_in_the_type_of_its_field(topic: Topic, name: str, sent: str, kept: Value) -> None:
    value = only(f'{{"at":{NOW},"{name}":{sent}}}', topic).fields[name]
    assert value == kept
    assert type(value) is type(kept)


@pytest.mark.parametrize(
    ("topic", "name", "sent", "complaint"),
    [
        (SENSOR, "temperature", '"21,5"', "temperature: expected a number, found a text"),  # 21.5 or 215: no guessing
        (SENSOR, "temperature", "true", "expected a number, found a boolean"),
        (SENSOR, "temperature", "null", "expected a number, found null"),
        (SENSOR, "temperature", "NaN", "found a number that is not finite"),
        (SENSOR, "temperature", "-Infinity", "found a number that is not finite"),
        (SENSOR, "temperature", "1e999", "found a number that is not finite"),
        (
            SENSOR,
            "temperature",
            "9" * 5000,
            "found a number that is not finite",
        ),  # more digits than Python reads
        (SENSOR, "temperature", "{}", "found an object"),
        (SENSOR, "temperature", "[1]", "found an array"),
        (SENSOR, "leak", "2", "leak: expected a boolean, found a number"),
        (SENSOR, "leak", '"open"', "expected a boolean, found a text"),  # of a valve, or of a contact?
        (SENSOR, "leak", '""', "expected a boolean, found a text"),
        (LIFT, "floor", "true", "floor: expected a text, found a boolean"),
        (READER, "card", "1e15", "card: expected a text, found a number"),  # digits may be lost already
        (PANEL, "text", f'"{"a" * 1025}"', "too long or has characters no store can keep"),
        (PANEL, "text", '"a\\u0000b"', "too long or has characters no store can keep"),  # NUL
        (PANEL, "text", '"\\ud800"', "too long or has characters no store can keep"),  # half a character
        (SENSOR, "odd", "[]", "odd: expected a finite number, true or false, or plain text, found an array"),
        (SENSOR, "two words", "1", "two words: expected"),  # names stand in paths of stores
        (SENSOR, 'a\\"b', "1", "expected"),
        (SENSOR, "a\\\\b", "1", "expected"),
        (SENSOR, "\\u0000", "1", "expected"),
        (SENSOR, "\\ud800", "1", "expected"),
        (SENSOR, "", "1", "expected"),
        (SENSOR, "n" * 65, "1", "expected"),
    ],
)
def test_a_field_that_does_not_fit_is_left_out_and_the_others_survive(
    topic: Topic, name: str, sent: str, complaint: str
) -> None:
    good = {LIFT: "alarm_button", PANEL: "active", READER: "extra"}.get(topic, "smoke")
    decoded = read(f'{{"at":{NOW},"{name}":{sent},"{good}":true}}', topic)
    (reading,) = decoded.readings
    assert reading.fields == {good: True}
    assert Quality.PARTIAL in Quality(reading.quality)
    assert reasons(decoded) == [Reason.BAD_FIELD]
    assert complaint in decoded.faults[0].detail


def test_a_lift_that_talks_nonsense_about_its_door_still_calls_for_help() -> None:
    decoded = read('{"door":{"left":NaN},"speed":"fast","alarm_button":1}', LIFT)
    assert decoded.readings[0].fields == {"alarm_button": True}
    assert reasons(decoded) == [Reason.BAD_FIELD, Reason.BAD_FIELD]


def test_a_bad_sample_does_not_take_its_neighbours_along() -> None:
    decoded = read('[{"leak":true},7,{"leak":[]},{},{"leak":false}]')
    assert [reading.fields for reading in decoded.readings] == [{"leak": True}, {"leak": False}]
    assert [reading.quality & Quality.PARTIAL for reading in decoded.readings] == [0, 0]
    assert reasons(decoded) == [Reason.NOT_OBJECT, Reason.BAD_FIELD, Reason.NO_FIELDS, Reason.NO_FIELDS]


# -- what cannot be read at all ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"[]", Reason.EMPTY),
        (b" " * (4 * 1024 * 1024 + 1), Reason.TOO_LARGE),
        (b"offline", Reason.NOT_JSON),
        (b'{"leak":tru', Reason.NOT_JSON),  # cut off on the way
        (b'{"leak":true}x', Reason.NOT_JSON),
        (b"\xff\xfe", Reason.NOT_JSON),
        (b"[" * 100_000, Reason.NOT_JSON),
        (b'{"a":' * 100_000, Reason.NOT_JSON),
        (b"\x00", Reason.NOT_JSON),
        (b"null", Reason.NOT_OBJECT),
        (b"true", Reason.NOT_OBJECT),
        (b'"leak"', Reason.NOT_OBJECT),
        (b"42", Reason.NOT_OBJECT),
        (b"[[1]]", Reason.NOT_OBJECT),
        (b"{}", Reason.NO_FIELDS),
        (b'{"at":1790000000000,"seq":1}', Reason.NO_FIELDS),
    ],
)
def test_a_message_that_cannot_be_read_yields_one_reason_and_no_reading(payload: bytes, reason: Reason) -> None:
    decoded = read(payload)
    assert decoded.readings == []
    assert reasons(decoded) == [reason]
    assert decoded.faults[0].detail


def test_a_key_that_stands_twice_is_reported_and_its_last_value_taken() -> None:
    decoded = read('{"leak":true,"smoke":true,"leak":false}')
    assert decoded.readings[0].fields == {"leak": False, "smoke": True}
    assert reasons(decoded) == [Reason.DUPLICATE_KEY]


def test_of_many_unknown_fields_some_are_kept_and_the_known_ones_all() -> None:
    unknown = {f"x{number}": 1 for number in range(10_000)}
    decoded = read(json.dumps({**unknown, "leak": True, "temperature": 20}))
    (reading,) = decoded.readings
    assert len(reading.fields) == field_values.MAX_FIELDS
    assert reading.fields["leak"] is True
    assert reading.fields["temperature"] == 20.0
    assert Quality(reading.quality) == Quality.NO_TIME | Quality.PARTIAL | Quality.UNKNOWN_FIELD
    assert reasons(decoded) == [Reason.TOO_MANY_FIELDS]
    assert "9746 unknown fields" in decoded.faults[0].detail


def test_a_megabyte_of_text_is_left_out() -> None:
    decoded = read(json.dumps({"leak": True, "log": "x" * 2**20}))
    assert decoded.readings[0].fields == {"leak": True}
    assert reasons(decoded) == [Reason.BAD_FIELD]
    assert len(decoded.faults[0].detail) < 200


def test_a_device_that_buffered_ten_thousand_samples_loses_none() -> None:
    samples = [{"at": NOW - number, "seq": number, "level": number} for number in range(10_000)]
    decoded = read(json.dumps(samples))
    assert not decoded.faults
    assert [reading.measured_at for reading in decoded.readings] == [NOW - number for number in range(10_000)]
    assert [reading.fields["level"] for reading in decoded.readings] == list(range(10_000))


# -- time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "milliseconds"),
    [
        ("1789999999999", 1_789_999_999_999),
        ("1789999999999.9", 1_789_999_999_999),  # parts of a millisecond are cut off
        ('"2026-09-21T14:13:20Z"', NOW),
        ('"2026-09-21t14:13:20z"', NOW),  # RFC 3339 permits lower case
        ('"2026-09-21 14:13:20Z"', NOW),  # and a blank
        ('"2026-09-21T22:13:20+08:00"', NOW),
        ('"2026-09-21T14:13:19.999Z"', NOW - 1),
        ('"2026-09-21T14:13:19.9990004Z"', NOW - 1),
    ],
)
def test_a_time_is_read_to_the_millisecond(at: str, milliseconds: int) -> None:
    reading = only(f'{{"at":{at},"leak":true}}')
    assert reading.measured_at == milliseconds
    assert reading.key == milliseconds * 1_000_000
    assert reading.quality == Quality.GOOD


DAY_BEFORE = datetime(2026, 9, 20)  # noqa: DTZ001 - wall clock; the test gives it its zones


@given(st.datetimes(DAY_BEFORE, DAY_BEFORE + timedelta(days=1)), st.integers(-14 * 60, 14 * 60))
def test_any_rfc_3339_time_is_the_moment_it_names(wall: datetime, offset: int) -> None:
    moment = wall.replace(tzinfo=UTC)
    written = (wall + timedelta(minutes=offset)).isoformat(timespec="microseconds")
    sign, (hours, minutes) = "-" if offset < 0 else "+", divmod(abs(offset), 60)
    reading = only(f'{{"at":"{written}{sign}{hours:02}:{minutes:02}","leak":true}}')
    exact = (moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1)
    assert abs(reading.measured_at - exact) <= 0.51


@pytest.mark.parametrize(
    "at",
    [
        '"2026-09-21T14:13:20"',  # whose noon? without a zone it is no time
        '"yesterday"',
        '""',
        '"\\ud800"',
        '"2026-13-01T00:00:00Z"',
        '"0001-01-01T00:00:00+23:59"',  # before year 1 in UTC
        "-1",
        "4102444800001",  # after 2100
        "1e300",
        "1" + "0" * 400,  # no float64 holds it
        "9" * 5000,
        "NaN",
        "Infinity",
        "true",
        "[]",
        "{}",
    ],
)
def test_a_time_that_cannot_be_read_gives_way_to_the_time_of_receipt(at: str) -> None:
    decoded = read(f'{{"at":{at},"leak":true}}')
    (reading,) = decoded.readings
    assert reading.measured_at == NOW
    assert Quality(reading.quality) == Quality.NO_TIME | Quality.PARTIAL
    assert reasons(decoded) == [Reason.BAD_TIME]


@pytest.mark.parametrize(
    ("sample", "quality"),
    [
        ({"at": NOW}, Quality.GOOD),
        ({}, Quality.NO_TIME),
        ({"at": None}, Quality.NO_TIME),  # null is "I do not know", no mistake
        ({"at": NOW + 5 * MINUTE}, Quality.GOOD),  # exactly five minutes ahead is still good
        ({"at": NOW + 5 * MINUTE + 1}, Quality.FUTURE),
        ({"at": NOW - 7 * DAY}, Quality.GOOD),  # exactly seven days old is still good
        ({"at": NOW - 7 * DAY - 1}, Quality.OLD),
        ({"at": 0}, Quality.OLD),  # a clock that starts in 1970
        ({"at": NOW, "colour": "red"}, Quality.UNKNOWN_FIELD),
        ({"at": NOW, "smoke": "red"}, Quality.PARTIAL),
        ({"at": NOW, "colour": []}, Quality.PARTIAL | Quality.UNKNOWN_FIELD),
        ({"at": NOW + 6 * MINUTE, "colour": 1}, Quality.FUTURE | Quality.UNKNOWN_FIELD),
    ],
)
def test_what_is_doubtful_about_a_sample_is_flagged(sample: dict[str, object], quality: Quality) -> None:
    (reading,) = read(json.dumps({**sample, "leak": True})).readings
    assert Quality(reading.quality) == quality
    assert reading.fields["leak"] is True


def test_quality_flags_have_names_for_people() -> None:
    assert (Quality.NO_TIME | Quality.UNKNOWN_FIELD).names() == ["no_time", "unknown_field"]
    assert Quality.GOOD.names() == []


# -- the same sample again -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seq", "kept"),
    [
        ("0", 0),
        ("7.0", 7),
        ("-3", -3),
        ("null", None),
        (str(2**53 - 1), 2**53 - 1),  # the last one of which float64 holds every neighbour
    ],
)
def test_a_sequence_number_is_a_whole_number(seq: str, kept: int | None) -> None:
    reading = only(f'{{"at":{NOW},"seq":{seq},"leak":true}}')
    assert reading.seq == kept
    assert reading.key == NOW * 1_000_000 + (kept or 0) % 1_000_000


@pytest.mark.parametrize("seq", ["1.5", '"7"', "true", "[]", "NaN", "1e300", str(2**53), "1" + "0" * 400, "9" * 5000])
@pytest.mark.parametrize("topic", [SENSOR, PANEL])
def test_a_sequence_number_that_is_none_is_left_out(topic: Topic, seq: str) -> None:
    decoded = decode(topic, f'{{"at":{NOW},"seq":{seq},"active":true}}'.encode(), NOW)
    (reading,) = decoded.readings
    assert reading.seq is None
    assert reading.quality & Quality.PARTIAL
    assert reasons(decoded) == [Reason.BAD_FIELD]


def test_samples_of_one_millisecond_that_carry_a_sequence_number_are_kept_apart() -> None:
    decoded = read(json.dumps([{"at": NOW, "seq": number, "leak": True} for number in range(3)]))
    assert [reading.key - NOW * 1_000_000 for reading in decoded.readings] == [0, 1, 2]


def test_samples_without_a_time_are_kept_apart_by_their_arrival() -> None:
    first = decode(SENSOR, b'[{"leak":7},{"leak":true},{"leak":false}]', NOW, arrival=0)
    second = decode(SENSOR, b'{"leak":true}', NOW, arrival=len(first.readings))
    keys = [reading.key for reading in first.readings + second.readings]
    assert len(set(keys)) == 3, "a bad sample before a good one must not give two messages one key"


@given(st.integers(0, 10**12), st.integers(0, 10**6), st.sampled_from([{"at": NOW}, {"at": NOW, "seq": 5}]))
def test_the_second_delivery_of_an_event_has_the_key_and_digest_of_the_first(
    later: int, arrival: int, identity: dict[str, int]
) -> None:
    payload = json.dumps({**identity, "type": "fire", "loop": 1, "address": "17"}).encode()
    (first,) = decode(PANEL, payload, NOW, 0).readings
    (second,) = decode(PANEL, payload, NOW + later, arrival).readings
    assert (second.key, second.digest) == (first.key, first.digest)
    assert len(first.digest) == 32


@pytest.mark.parametrize(
    "other",
    [
        {"type": "fire", "loop": "1", "address": "18"},  # the next detector
        {"type": "fire", "loop": "1", "address": "17", "active": False},  # its end
        {"type": "fire", "loop": "1", "address": "17", "seq": 2},  # the next message
        {"type": "fire", "loop": "1", "address": "17", "at": NOW + 1},  # a millisecond later
    ],
)
def test_another_event_has_another_digest(other: dict[str, object]) -> None:
    one = only(json.dumps({"at": NOW, "type": "fire", "loop": "1", "address": "17"}), PANEL)
    assert only(json.dumps({"at": NOW, **other}), PANEL).digest != one.digest


def test_one_event_of_two_panels_is_two_events() -> None:
    other = Topic("garden", Kind.FIRE_PANEL, "F2", Channel.EVENT)
    text = f'{{"at":{NOW},"type":"fire"}}'
    assert only(text, PANEL).digest != only(text, other).digest


def test_the_order_of_an_events_keys_does_not_matter() -> None:
    one = only(f'{{"at":{NOW},"type":"fire","loop":"1"}}', PANEL)
    assert only(f'{{"loop":"1","type":"fire","at":{NOW}}}', PANEL).digest == one.digest


# -- laws ----------------------------------------------------------------------------------------------

NUMBERS = st.floats() | st.integers() | st.sampled_from([10**400, -(10**30), 2**63, 2**64, 1e308, 5e-324])
WORDS = st.text(st.characters(exclude_categories=()), max_size=20)  # lone surrogates too
NAMES = WORDS | st.sampled_from(["at", "seq", "leak", "type", "alarm_button", "floor", "speed", "card", "online"])
SCALARS = st.none() | st.booleans() | NUMBERS | WORDS
TREES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES, inner, max_size=8),
    max_leaves=20,
)
SAMPLES = st.dictionaries(NAMES, SCALARS | TREES, max_size=12)


def assert_kept_is_clean(decoded: Decoded) -> None:
    """What leaves the decoder can be written by every store and sent to every browser."""
    for reading in decoded.readings:
        assert reading.fields
        for name, value in reading.fields.items():
            assert 0 < len(name) <= field_values.MAX_NAME
            assert type(value) in {float, bool, str}
            assert not isinstance(value, float) or math.isfinite(value)
        assert 0 <= reading.key < 2**63
        assert msgspec.json.decode(msgspec.json.encode(reading), type=Reading) == reading
    for fault in decoded.faults:
        msgspec.json.encode(fault)
    assert decoded.readings or decoded.faults, "a message never vanishes without a word"


@given(st.binary(max_size=300), st.sampled_from(TOPICS))
def test_any_bytes_are_answered(payload: bytes, topic: Topic) -> None:
    assert_kept_is_clean(decode(topic, payload, NOW))


@given(SAMPLES | st.lists(SAMPLES, max_size=5) | TREES, st.sampled_from(TOPICS), st.booleans())
@example([{"at": 10**400, "leak": True}], SENSOR, False)  # stopped the loop of ingest: no float64 holds it
@example({"seq": 10**400, "leak": True}, SENSOR, False)
@example({"seq": 1e300, "type": "fire"}, PANEL, True)  # more than 64 bits: the digest could not be taken
def test_any_json_is_answered(document: object, topic: Topic, ascii_only: bool) -> None:
    payload = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert_kept_is_clean(decode(topic, payload, NOW))


@given(st.lists(st.tuples(NAMES, SCALARS), max_size=12), st.sampled_from(TOPICS))
def test_any_object_with_repeated_keys_is_answered(members: list[tuple[str, object]], topic: Topic) -> None:
    text = ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in members)
    assert_kept_is_clean(decode(topic, f"{{{text}}}".encode(), NOW))


def kept_by(parse: Callable[[bytes, list[samples.Fault]], Any], topic: Topic, payload: bytes) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_parse", parse)
        return shape_of(decode(topic, payload, NOW))


@given(SAMPLES | st.lists(SAMPLES, max_size=5), st.sampled_from(TOPICS))
@example({"seq": 2**53 + 1, "leak": True}, SENSOR)  # the fast path has only float64
@example({"at": 2**53 + 1, "leak": True}, SENSOR)
def test_the_fast_path_keeps_what_the_slow_path_keeps(document: object, topic: Topic) -> None:
    payload = json.dumps(document).encode()
    as_it_is = shape_of(decode(topic, payload, NOW))
    assert kept_by(samples.parse_json, topic, payload) == as_it_is


def test_of_an_array_that_is_too_long_the_first_samples_are_read() -> None:
    payload = b"[" + b",".join([b'{"at":1,"flow":1}'] * (native.MAX_SAMPLES + 5)) + b"]"
    decoded = native.decode(Topic("garden", Kind.PUMP, "P1", Channel.TELEMETRY), payload, NOW)
    assert len(decoded.readings) == native.MAX_SAMPLES
    assert [fault.reason for fault in decoded.faults] == [Reason.TOO_MANY_SAMPLES]


@pytest.mark.parametrize("word", ["alarm", "pre_alarm", "预警"])
def test_an_event_of_unknown_type_is_kept_and_counted(word: str) -> None:
    payload = json.dumps({"at": NOW, "type": word, "loop": "1"}).encode()
    decoded = native.decode(PANEL, payload, NOW)
    assert decoded.readings[0].fields["type"] == word
    assert [fault.reason for fault in decoded.faults] == [Reason.UNKNOWN_CHOICE]
