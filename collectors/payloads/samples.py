"""Shared by all payload formats: parsing JSON, checking fields against the contract, making a reading of a sample.

No payload of a device makes these functions raise: what cannot be read becomes a `Fault` with a reason, and the
readable rest of the same message is kept.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from operator import le
from typing import Any, Final

import msgspec

from collectors.payloads.faults import Fault, Reason
from collectors.payloads.field_values import PYTHON_TYPE, check_fields
from collectors.payloads.framing import parse_leniently
from collectors.payloads.text_encoding import decode_text
from collectors.plausible import usual_bounds
from collectors.wire.fields import Channel, Kind, fields_of
from collectors.wire.reading import Quality, Reading, to_milliseconds
from collectors.wire.topics import Topic

MAX_PAYLOAD: Final = 4 * 1024 * 1024
"""Bytes. No device sends a larger message."""
FUTURE_MS: Final = 5 * 60 * 1000
OLD_MS: Final = 7 * 24 * 3600 * 1000
_LAST_MS: Final = 4_102_444_800_000
"""2100-01-01: a later time is invalid."""
_LAST_SEQUENCE: Final = 2**53
"""Beyond it a float64 cannot represent every whole number: two samples would become one."""
KEY_STEPS: Final = 1_000_000
"""Nanoseconds in a millisecond: room for a sequence number behind the time."""

_NO_TIME, _FUTURE, _OLD, _PARTIAL = (
    int(flag) for flag in (Quality.NO_TIME, Quality.FUTURE, Quality.OLD, Quality.PARTIAL)
)
_canonical = msgspec.json.Encoder(order="deterministic")


class Decoded(msgspec.Struct, gc=False):
    """The content of a message: readings in the order of the message, and what had to be left out."""

    readings: list[Reading]
    faults: Sequence[Fault] = ()
    shape: object = None
    """Names by which messages of a mapping with the same structure are recognised; None for the wire contract."""
    left_out: Sequence[tuple[str, Any]] = ()
    """JSON pointers and values that no field takes, if they were searched for."""


def refused(reason: Reason, detail: str) -> Decoded:
    """Nothing could be read, for one reason."""
    return Decoded([], [Fault(reason, detail)])


def refused_by_size(payload: bytes) -> Decoded | None:
    """The result for a message that is too large or empty; None if it may be read."""
    if len(payload) > MAX_PAYLOAD:
        return refused(Reason.TOO_LARGE, f"{len(payload)} bytes; at most {MAX_PAYLOAD} are read")
    if not payload:
        return refused(Reason.EMPTY, "the message has no payload")
    return None


def parse_json(payload: bytes, faults: list[Fault]) -> tuple[Any, bool]:
    """Parse JSON of any shape, also NaN and infinity (left out later, field by field).

    Returns:
        The document, and whether framing or encoding had to be removed first; None if nothing can be read, with the
        reason among the faults.
    """
    found: list[Fault] = []

    def take_last(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            found.extend(_duplicates(pairs, members))
        return members

    try:
        # Every number is a float, as on the fast path; one that is too large becomes infinite and is left out.
        document = json.loads(payload.decode("utf-8"), object_pairs_hook=take_last, parse_int=float)
    except RecursionError:
        faults.append(Fault(Reason.NOT_JSON, "nested too deeply"))
        return None, False
    except ValueError:  # UnicodeDecodeError is one
        found.clear()
    else:
        faults += found
        return document, False
    decoded = decode_text(payload)
    if decoded is None:
        faults.append(Fault(Reason.NOT_JSON, "neither UTF-8 nor GB 18030"))
        return None, False
    try:
        document = parse_leniently(decoded[0], take_last)
    except RecursionError:
        faults.append(Fault(Reason.NOT_JSON, "nested too deeply"))
        return None, False
    except ValueError as error:
        encoding = "" if not decoded[1] else "not UTF-8; as GB 18030 or UTF-16: "
        faults.append(Fault(Reason.NOT_JSON, f"{encoding}{error}"))
        return None, False
    faults += found
    return document, True


def _duplicates(pairs: list[tuple[str, Any]], members: dict[str, Any]) -> list[Fault]:
    """One for each name that occurs twice in an object with different values, or only one if they are the same."""
    differing = dict.fromkeys(name for name, value in pairs if value != members[name])
    detail = "a key occurs twice in one object; the last one was taken"
    return [Fault(Reason.DUPLICATE_KEY, detail, field=name) for name in list(differing)[:8]] or [
        Fault(Reason.DUPLICATE_KEY, detail)
    ]


def make_reading(
    topic: Topic,
    sample: dict[str, Any],
    measured_at: int | None,
    sequence: int | None,
    received_at: int,
    arrival: int,
    faults: list[Fault],
    faults_before: int,
    quality: int = 0,
) -> Reading | None:
    """Make a reading of a sample's valid fields.

    Args:
        topic: its site, equipment and channel.
        sample: field -> value of any type.
        measured_at: epoch milliseconds; None if the sample has no time.
        sequence: the device's own count, if it has one.
        received_at: epoch milliseconds of receipt.
        arrival: number of readings before; it distinguishes two samples without a time.
        faults: faults are added here.
        faults_before: number of faults of other samples of the message: if there are more, this one is partial.
        quality: flags that are known before the fields are checked.
    """
    if measured_at is None:
        measured_at = received_at
        quality |= _NO_TIME
    elif measured_at > received_at + FUTURE_MS:
        quality |= _FUTURE
    elif measured_at < received_at - OLD_MS:
        quality |= _OLD
    if _is_usual(topic, sample):
        fields = sample
    else:
        fields, flags = check_fields(sample, topic.kind, topic.channel, faults)
        quality |= flags
    if not fields:
        faults.append(Fault(Reason.NO_FIELDS, "the sample has no field that can be read"))
        return None
    if len(faults) > faults_before:
        quality |= _PARTIAL
    is_event = topic.channel is Channel.EVENT
    has_time = not quality & _NO_TIME
    # A counter may have restarted: a number alone does not identify an event.
    tie = sequence if sequence is not None and (has_time or not is_event) else 0 if has_time else arrival
    reading = Reading(
        topic,
        fields,
        measured_at,
        received_at,
        measured_at * KEY_STEPS + tie % KEY_STEPS,
        sequence,
        quality,
    )
    if is_event:
        reading.digest = digest(reading)
    return reading


def digest(reading: Reading) -> str:
    """Hash of topic and sample, which identifies a redelivery of an event (128 bits, hex)."""
    content = _canonical.encode((str(reading.topic), reading.key, reading.seq, reading.fields))
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def place_in_time(reading: Reading, measured_at: int, key: int) -> None:
    """Give a sample with a sequence number but no time the time of its first receipt."""
    reading.measured_at, reading.key = measured_at, key
    if reading.digest:
        reading.digest = digest(reading)


def in_range(milliseconds: int) -> bool:
    """Whether it is a valid time: from 1970 to 2100."""
    return 0 <= milliseconds <= _LAST_MS


def read_rfc3339(text: str) -> int | None:
    """Epoch milliseconds; None if the text is not RFC 3339 or has no zone."""
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
    """Whether all fields are known, of the right type, plausible, and not text: most samples need no more checks."""
    usual = _usual(topic.kind, topic.channel, tuple(sample))
    if usual is None:
        return False
    types, lows, highs = usual
    values = sample.values()
    return types == tuple(map(type, values)) and all(map(le, lows, values)) and all(map(le, values, highs))


_Usual = tuple[tuple[type, ...], tuple[float, ...], tuple[float, ...]]


@lru_cache(maxsize=4096)
def _usual(kind: Kind, channel: Channel, names: tuple[str, ...]) -> _Usual | None:
    """Types and bounds of a sample with these fields; None if each field has to be checked."""
    known = fields_of(kind, channel)
    types = tuple(PYTHON_TYPE[known[name].type] if name in known else str for name in names)
    return None if str in types or not types else (types, *usual_bounds(kind, channel, names))
