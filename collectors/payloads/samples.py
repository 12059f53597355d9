"""What every payload format shares: parsing JSON, checking fields against the contract, making a reading of a sample.

Nothing here raises on anything that a device sends: what cannot be read becomes a `Fault` with a reason, and what can
be read of the same message is kept.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import msgspec

from collectors.fields import Channel, Field, FieldType, Kind, fields_of
from collectors.reading import Quality, Reading, Value, to_milliseconds
from collectors.topics import Topic

MAX_PAYLOAD: Final = 4 * 1024 * 1024
"""Bytes. A larger message is no report of an equipment."""
MAX_FIELDS: Final = 256
"""Fields a sample; what is unknown beyond them is left out."""
MAX_TEXT: Final = 1024
"""Characters of a text value or of a field's name (64)."""
MAX_NAME: Final = 64
FUTURE_MS: Final = 5 * 60 * 1000
OLD_MS: Final = 7 * 24 * 3600 * 1000
_LAST_MS: Final = 4_102_444_800_000
"""2100-01-01: a time beyond it is no time."""
_LAST_SEQUENCE: Final = 2**53
"""From here on a float64 has no room for every whole number: two samples would become one."""
KEY_STEPS: Final = 1_000_000
"""Nanoseconds in a millisecond: room for a sequence number behind the time."""

_PYTHON_TYPE: Final[dict[FieldType, type]] = {
    FieldType.NUMBER: float,
    FieldType.BOOLEAN: bool,
    FieldType.TEXT: str,
}
_canonical = msgspec.json.Encoder(order="deterministic")


class Reason(StrEnum):
    """Why a message, a sample or a field was put aside."""

    BAD_TOPIC = "bad_topic"
    NO_MAPPING = "no_mapping"
    TOO_LARGE = "too_large"
    EMPTY = "empty"
    BAD_ENCODING = "bad_encoding"
    NOT_JSON = "not_json"
    NOT_OBJECT = "not_object"
    NO_FIELDS = "no_fields"
    DUPLICATE_KEY = "duplicate_key"
    TOO_MANY_FIELDS = "too_many_fields"
    BAD_FIELD = "bad_field"
    UNKNOWN_CHOICE = "unknown_choice"
    TOO_MANY_SAMPLES = "too_many_samples"
    BAD_TIME = "bad_time"
    REFUSED_BY_STORE = "refused_by_store"
    NOT_DECIDED = "not_decided"


class Fault(msgspec.Struct, frozen=True):
    """One thing that could not be read; `detail` says what was expected."""

    reason: Reason
    detail: str


class Decoded(msgspec.Struct, gc=False):
    """What a message holds: readings in the order of the message, and what had to be left out."""

    readings: list[Reading]
    faults: Sequence[Fault] = ()


def refused(reason: Reason, detail: str) -> Decoded:
    """Nothing could be read, for one reason."""
    return Decoded([], [Fault(reason, detail)])


def refused_by_size(payload: bytes) -> Decoded | None:
    """The answer to a message that is too large or empty; None where it may be read."""
    if len(payload) > MAX_PAYLOAD:
        return refused(Reason.TOO_LARGE, f"{len(payload)} bytes; at most {MAX_PAYLOAD} are read")
    if not payload:
        return refused(Reason.EMPTY, "the message has no payload")
    return None


def parse_json(payload: bytes, faults: list[Fault]) -> Any:
    """Parse JSON of any shape, NaN and infinity too (left out later, field by field)."""

    def take_last(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            faults.append(Fault(Reason.DUPLICATE_KEY, "a key stands twice in one object; the last one was taken"))
        return members

    try:
        # Every number is a float, as on the fast path; an endless one becomes infinite and is left out by itself.
        return json.loads(payload.decode("utf-8"), object_pairs_hook=take_last, parse_int=float)
    except UnicodeDecodeError as error:
        faults.append(Fault(Reason.NOT_JSON, f"not UTF-8: {error.reason}"))
    except RecursionError:
        faults.append(Fault(Reason.NOT_JSON, "nested too deeply"))
    except ValueError as error:
        faults.append(Fault(Reason.NOT_JSON, str(error)))
    return None


def make_reading(
    topic: Topic,
    sample: dict[str, Any],
    measured_at: int | None,
    sequence: int | None,
    received_at: int,
    arrival: int,
    faults: list[Fault],
    faults_before: int,
) -> Reading | None:
    """Make a reading of a sample's fields, as far as they can be kept.

    Args:
        topic: what it is about.
        sample: field -> value, whatever the values are.
        measured_at: epoch milliseconds; None where the sample does not say it.
        sequence: the device's own count, if it has one.
        received_at: epoch milliseconds of receipt.
        arrival: readings that came before; it keeps two samples without a time apart.
        faults: what is wrong is added here.
        faults_before: how many faults other samples of the message had: with more of them this one is partial.
    """
    quality = 0
    if measured_at is None:
        measured_at, quality = received_at, Quality.NO_TIME
    elif measured_at > received_at + FUTURE_MS:
        quality = Quality.FUTURE
    elif measured_at < received_at - OLD_MS:
        quality = Quality.OLD
    if _is_usual(topic, sample):
        fields, unknown = sample, False
    else:
        fields, unknown = _check_fields(sample, fields_of(topic.kind, topic.channel), faults)
    if not fields:
        faults.append(Fault(Reason.NO_FIELDS, "the sample has no field that can be read"))
        return None
    if unknown:
        quality |= Quality.UNKNOWN_FIELD
    if len(faults) > faults_before:
        quality |= Quality.PARTIAL
    is_event = topic.channel is Channel.EVENT
    has_time = not quality & Quality.NO_TIME
    # A counter may have started again: a number alone does not say which event it is.
    tie = sequence if sequence is not None and (has_time or not is_event) else 0 if has_time else arrival
    reading = Reading(
        topic,
        fields,
        measured_at,
        received_at,
        measured_at * KEY_STEPS + tie % KEY_STEPS,
        sequence,
        int(quality),
    )
    if is_event:
        reading.digest = digest(reading)
    return reading


def digest(reading: Reading) -> str:
    """Hash of topic and sample by which the second delivery of an event is known (128 bits, hex)."""
    content = _canonical.encode((str(reading.topic), reading.key, reading.seq, reading.fields))
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def place_in_time(reading: Reading, measured_at: int, key: int) -> None:
    """Give a sample that has a sequence number but no time the time at which it first came."""
    reading.measured_at, reading.key = measured_at, key
    if reading.digest:
        reading.digest = digest(reading)


def in_range(milliseconds: int) -> bool:
    """Whether it can be a time at all: from 1970 to 2100."""
    return 0 <= milliseconds <= _LAST_MS


def read_rfc3339(text: str) -> int | None:
    """Epoch milliseconds; None where the text is no RFC 3339 or has no zone."""
    try:
        moment = datetime.fromisoformat(text.upper())  # RFC 3339 permits t and z, Python does not
        return None if moment.tzinfo is None else to_milliseconds(moment)
    except (ValueError, OverflowError):
        return None


def read_sequence(seq: object, faults: list[Fault]) -> int | None:
    """A sequence number, or None and a fault."""
    if isinstance(seq, float) and abs(seq) < _LAST_SEQUENCE and seq.is_integer():
        return int(seq)
    faults.append(Fault(Reason.BAD_FIELD, "'seq' must be a whole number below 2^53"))
    return None


def _is_usual(topic: Topic, sample: dict[str, Any]) -> bool:
    """Whether all is known and of its type, and nothing is text: most samples are, and need no look at each field."""
    types = _usual_types(topic.kind, topic.channel, tuple(sample))
    return types == tuple(map(type, sample.values())) and math.isfinite(sum(sample.values()))


@lru_cache(maxsize=4096)
def _usual_types(kind: Kind, channel: Channel, names: tuple[str, ...]) -> tuple[type, ...] | None:
    known = fields_of(kind, channel)
    types = tuple(_PYTHON_TYPE[known[name].type] if name in known else str for name in names)
    return None if str in types or not types else types


def _check_fields(
    sample: dict[str, Any], known: Mapping[str, Field], faults: list[Fault]
) -> tuple[dict[str, Value], bool]:
    """Return the fields that can be kept, and whether some of them are not in the contract."""
    unknown, clean = False, True
    for name, value in sample.items():
        field = known.get(name)
        kind = type(value)
        if field is None:
            unknown = True
            clean = clean and kind in _FAST_TYPES and _is_plain(name, value)
        elif _PYTHON_TYPE[field.type] is not kind or kind is str or (kind is float and not math.isfinite(value)):
            clean = False
    if clean and len(sample) <= MAX_FIELDS:
        return sample, unknown
    return _sift_fields(sample, known, faults), unknown


_NAME: Final = re.compile(rf'[^\x00-\x20"\\\x7f\ud800-\udfff]{{1,{MAX_NAME}}}')
"""A field's name: no blanks, quotes, back-slashes or control characters; stores use it in paths."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_FAST_TYPES: Final = frozenset({float, bool, str})


def _is_plain(name: str, value: Value) -> bool:
    return (
        _NAME.fullmatch(name) is not None
        and (type(value) is not float or math.isfinite(value))
        and (type(value) is not str or _is_plain_text(value))
    )


def is_field_name(name: str) -> bool:
    """Whether a field may be called so."""
    return _NAME.fullmatch(name) is not None


def _is_plain_text(text: str) -> bool:
    """Short, no NUL, no lone surrogate (which no store could write)."""
    return len(text) <= MAX_TEXT and "\x00" not in text and (text.isascii() or not _SURROGATE.search(text))


def _sift_fields(sample: dict[str, Any], known: Mapping[str, Field], faults: list[Fault]) -> dict[str, Value]:
    """Keep what fits, field by field; say of each other one what was expected."""
    kept: dict[str, Value] = {}
    room = MAX_FIELDS - sum(name in known for name in sample)
    for name, value in sample.items():
        field = known.get(name)
        if field is None:
            room -= 1
            if room < 0:
                continue
        fitted = _fit(name, value, field)
        if fitted is None:
            faults.append(Fault(Reason.BAD_FIELD, _complaint(name, value, field)))
            continue
        kept[name] = fitted
        if field is not None and field.closed and fitted not in field.choices:
            permitted = ", ".join(field.choices)
            faults.append(Fault(Reason.UNKNOWN_CHOICE, f"{name}: {fitted} is not one of {permitted}; kept as it is"))
    if room < 0:
        faults.append(Fault(Reason.TOO_MANY_FIELDS, f"{-room} unknown fields beyond {MAX_FIELDS} were left out"))
    return kept


def _fit(name: str, value: object, field: Field | None) -> Value | None:
    """The value in the type in which it is kept; None where it does not fit."""
    if not isinstance(value, float | bool | str) or not _is_plain(name, value):
        return None
    return value if field is None else _fit_known(value, field)


def _fit_known(value: Value, field: Field) -> Value | None:
    if type(value) is _PYTHON_TYPE[field.type]:
        return value.strip().lower() if field.choices and isinstance(value, str) else value
    if field.type is FieldType.BOOLEAN:
        return _as_boolean(value)
    if field.type is FieldType.TEXT and isinstance(value, float):
        return f"{value:.15g}" if abs(value) < 1e15 else None  # floor 3 and card 12345678 come as numbers
    return None


def _as_boolean(value: Value) -> bool | None:
    """Many controllers know no booleans, and a lift whose `alarm_button` is "true" calls for help."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return bool(value) if value in (0.0, 1.0) else None


def _complaint(name: str, value: object, field: Field | None) -> str:
    shown = name if len(name) <= MAX_NAME and name.isprintable() else f"{name[:MAX_NAME]!r}…"
    expected = "a finite number, true or false, or plain text" if field is None else f"a {field.type}"
    return f"{shown}: expected {expected}, found {json_name(value)}"


def json_name(value: object) -> str:
    """What JSON calls it, for sentences: "an array"."""
    if isinstance(value, str):
        return "a text" if _is_plain_text(value) else "a text that is too long or has characters no store can keep"
    if isinstance(value, float) and not math.isfinite(value):
        return "a number that is not finite"
    names = {dict: "an object", list: "an array", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
