"""The native payload: UTF-8 JSON, one object or an array of objects, as the wire contract defines it.

`decode` never raises. What it cannot read becomes a `Fault` with a reason; the readable rest of the same
message is kept, because a lift with a faulty door sensor may still be calling for help.
"""

import math
from typing import Any, Final

import msgspec

from collectors.payloads.epochs import read_epoch
from collectors.payloads.faults import Fault, Reason
from collectors.payloads.field_values import json_name
from collectors.payloads.samples import (
    Decoded,
    in_range,
    make_reading,
    parse_json,
    read_rfc3339,
    read_sequence,
    refused_by_size,
)
from collectors.wire.reading import Quality, Reading, Value
from collectors.wire.topics import Topic

_Sample = dict[str, Value]
_CONVERTED: Final = int(Quality.CONVERTED)
_OTHER_UNIT: Final = int(Quality.OTHER_UNIT)
_fast = msgspec.json.Decoder(_Sample | list[_Sample])
MAX_SAMPLES: Final = 10_000
"""Samples in a message; more would delay all messages after it."""


def decode(topic: Topic, payload: bytes, received_at: int, arrival: int = 0) -> Decoded:
    """Read a message.

    Args:
        topic: its parsed topic.
        payload: the bytes as received.
        received_at: epoch milliseconds of receipt.
        arrival: number of readings before this message; it distinguishes two samples without a time.
    """
    unreadable = refused_by_size(payload)
    if unreadable is not None:
        return unreadable
    faults: list[Fault] = []
    document, quality = _parse(payload, faults)
    if faults and document is None:
        return Decoded([], faults)
    samples = document if isinstance(document, list) else [document]
    readings: list[Reading] = []
    for sample in samples[:MAX_SAMPLES]:
        reading = _read_sample(topic, sample, received_at, arrival + len(readings), faults, quality)
        if reading is not None:
            readings.append(reading)
    if not samples:
        faults.append(Fault(Reason.EMPTY, "the array has no samples"))
    if len(samples) > MAX_SAMPLES:
        faults.insert(0, Fault(Reason.TOO_MANY_SAMPLES, f"{len(samples)} samples; the first {MAX_SAMPLES} were read"))
    return Decoded(readings, faults)


def _parse(payload: bytes, faults: list[Fault]) -> tuple[Any, int]:
    """Parse fast what has the contract's shape; anything else slowly, so that its valid part is kept."""
    try:
        document = _fast.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _parse_slowly(payload, faults)
    keys = len(document) if isinstance(document, dict) else sum(map(len, document))
    return (document, 0) if payload.count(b'":') <= keys else _parse_slowly(payload, faults)


def _parse_slowly(payload: bytes, faults: list[Fault]) -> tuple[Any, int]:
    document, was_mended = parse_json(payload, faults)
    return document, _CONVERTED if was_mended else 0


def _read_sample(
    topic: Topic, sample: Any, received_at: int, arrival: int, faults: list[Fault], quality: int
) -> Reading | None:
    if type(sample) is not dict:
        faults.append(Fault(Reason.NOT_OBJECT, f"expected an object, found {json_name(sample)}"))
        return None
    faults_before = len(faults)
    at, seq = sample.pop("at", None), sample.pop("seq", None)
    measured_at, is_other_unit = (None, False) if at is None else _read_time(at, faults)
    sequence = None if seq is None else read_sequence(seq, faults)
    if is_other_unit:
        quality |= _OTHER_UNIT
    return make_reading(topic, sample, measured_at, sequence, received_at, arrival, faults, faults_before, quality)


def _read_time(at: object, faults: list[Fault]) -> tuple[int | None, bool]:
    """Epoch milliseconds, and whether they were given in another unit; None and a fault if it is not a time."""
    is_other_unit, milliseconds = False, None
    if isinstance(at, str):
        milliseconds = read_rfc3339(at.strip())
    elif isinstance(at, float) and math.isfinite(at):
        milliseconds, is_other_unit = read_epoch(at)
    if milliseconds is not None and in_range(milliseconds):
        return milliseconds, is_other_unit
    faults.append(Fault(Reason.BAD_TIME, "'at' must be RFC 3339 with a zone, or epoch milliseconds"))
    return None, False
