"""Messages of third-party devices, read by a mapping. Pure, and like the native payload it never raises.

document --each--> records --when--> fields, time, seq --> reading (checked in samples.py like any other)
"""

import base64
import binascii
import hashlib
import math
import re
from collections.abc import Container, Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from collectors.fields import Channel, FieldType, Kind
from collectors.payloads.epochs import read_epoch
from collectors.payloads.json_pointer import MISSING, Steps, find, leaves, parse_pointer, write_pointer
from collectors.payloads.mapping import KEY, MessageMapping, Output, Scalar, Source, Template, TimeSource
from collectors.payloads.samples import (
    Decoded,
    Fault,
    Reason,
    in_range,
    json_name,
    make_reading,
    parse_json,
    read_rfc3339,
    read_sequence,
    refused,
    refused_by_size,
)
from collectors.reading import Reading, Value, to_milliseconds
from collectors.topics import Topic

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NOT_PERMITTED: Final = re.compile(r"[^A-Za-z0-9_.-]")
_HASH_DIGITS: Final = 6
_NAME_LENGTH: Final = 64
_LEAVES_SHOWN: Final = 200
_WORD: Final = re.compile(r"[^\W_]+(?:_[^\W_]+)*")
_TRUE: Final = frozenset({"true", "on", "yes", "1"})
_FALSE: Final = frozenset({"false", "off", "no", "0"})


class _Trace(msgspec.Struct):
    """What is noted while a message is read."""

    faults: list[Fault] = []
    sentinels: list[str] = []
    """Values that stand for "no value"."""


class MappedTopic(msgspec.Struct, frozen=True):
    """The route of one topic: its mapping, and what the pattern's placeholders stand for."""

    mapping: MessageMapping
    bound: Mapping[str, str]

    def decode(self, payload: bytes, received_at: int, arrival: int = 0) -> Decoded:
        """Read a message; the arguments are those of `native.decode`."""
        unreadable = refused_by_size(payload)
        if unreadable is not None:
            return unreadable
        trace = _Trace()
        document = _parse(payload, self.mapping.encoding, trace.faults)
        if trace.faults and document is None:
            return Decoded([], trace.faults)
        readings: list[Reading] = []
        for output in self.mapping.outputs:
            for _, key, record in _records(document, output.each):
                names = self.bound if key is None else {**self.bound, KEY: key}
                reading = self._read(output, record, names, received_at, arrival + len(readings), trace)
                if reading is not None:
                    readings.append(reading)
        if not readings and not trace.faults:
            return refused(Reason.NO_FIELDS, self._nothing_found(trace))
        return Decoded(readings, trace.faults)

    def left_out(self, payload: bytes) -> list[str]:
        """JSON pointers of what no part of the mapping looks at; for people who write mappings."""
        document = _parse(payload, self.mapping.encoding, [])
        taken = {steps for output in self.mapping.outputs for steps in _taken(document, output)}
        return [
            write_pointer(steps)
            for steps, _ in leaves(document, _LEAVES_SHOWN)
            if not any(steps[:length] in taken for length in range(len(steps) + 1))
        ]

    def sentinels(self, payload: bytes) -> list[str]:
        """Values of a message that stand for "no value"."""
        trace = _Trace()
        document = _parse(payload, self.mapping.encoding, [])
        for output in self.mapping.outputs:
            for _, _, record in _records(document, output.each):
                if _applies(output, record):
                    _take_fields(output, record, trace)
        return trace.sentinels

    def _read(
        self, output: Output, record: Any, names: Mapping[str, str], received_at: int, arrival: int, trace: _Trace
    ) -> Reading | None:
        if not _applies(output, record):
            return None
        faults = trace.faults
        faults_before = len(faults)
        sample = _take_fields(output, record, trace)
        if not sample:
            return None
        topic = self._topic(output, record, names, faults)
        if topic is None:
            return None
        measured_at = None if output.time is None else _read_time(output.time, record, faults)
        seq = MISSING if output.seq is None else find(record, output.seq)
        sequence = None if seq is MISSING or seq is None else read_sequence(seq, faults)
        return make_reading(topic, sample, measured_at, sequence, received_at, arrival, faults, faults_before)

    def _topic(self, output: Output, record: Any, names: Mapping[str, str], faults: list[Fault]) -> Topic | None:
        parts = {}
        for role in ("site", "kind", "equipment", "channel"):
            text = _fill(getattr(output, role), record, names)
            if not text:
                faults.append(Fault(Reason.BAD_TOPIC, f"the message does not say its {role}"))
                return None
            parts[role] = text
        equipment = self.mapping.names.get(parts["equipment"], parts["equipment"])
        try:
            kind, channel = Kind(parts["kind"]), Channel(parts["channel"])
        except ValueError as error:
            faults.append(Fault(Reason.BAD_TOPIC, f"{str(error)[:100]}; permitted: {', '.join((*Kind, *Channel))}"))
            return None
        return Topic(permitted_name(parts["site"]), kind, permitted_name(equipment), channel)

    def _nothing_found(self, trace: _Trace) -> str:
        wanted = [name for output in self.mapping.outputs for name in output.fields]
        text = f"mapping {self.mapping.name} finds none of its fields: {', '.join(dict.fromkeys(wanted)) or 'any'}"
        return "; ".join((text, *trace.sentinels[:3]))


def permitted_name(text: str) -> str:
    """A name as our topics permit it.

    Other characters become _, and then six digits of a hash follow: two devices never become one.
    """
    if _NAME.fullmatch(text):
        return text
    digits = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_HASH_DIGITS // 2).hexdigest()
    return f"{_NOT_PERMITTED.sub('_', text)[: _NAME_LENGTH - _HASH_DIGITS - 1]}-{digits}"


def _parse(payload: bytes, encoding: str, faults: list[Fault]) -> Any:
    try:
        if encoding == "text":
            return payload.decode("utf-8").strip()
        if encoding == "hex":
            payload = bytes.fromhex(payload.decode("ascii"))
        elif encoding == "base64":
            payload = base64.b64decode(payload.strip(), validate=True)
    except (ValueError, binascii.Error):
        faults.append(Fault(Reason.BAD_ENCODING, f"expected {'UTF-8' if encoding == 'text' else encoding} text"))
        return None
    return parse_json(payload, faults)


def _records(
    node: Any, each: tuple[Steps, ...], at: Steps = (), key: str | None = None
) -> Iterator[tuple[Steps, str | None, Any]]:
    """The parts of a message that are samples of their own: where, under which name, and what."""
    if not each:
        yield at, key, node
        return
    steps, *further = each
    found, at = find(node, steps), at + steps
    if isinstance(found, dict):
        for name, child in found.items():
            yield from _records(child, tuple(further), (*at, name), name)
    elif isinstance(found, list):
        for number, child in enumerate(found):
            yield from _records(child, tuple(further), (*at, str(number)), key)


def _applies(output: Output, record: Any) -> bool:
    for steps, wanted in output.when.items():
        value = find(record, steps)
        if value is MISSING or (wanted and not _is_one_of(value, wanted)):
            return False
    return True


def _is_one_of(value: Any, values: Container[Scalar]) -> bool:
    """As Python compares: 1 and true are the same here, and so they are to most devices."""
    return isinstance(value, float | bool | str) and value in values


def _take_fields(output: Output, record: Any, trace: _Trace) -> dict[str, Any]:
    sample: dict[str, Any] = {}
    for name, source in output.fields.items():
        value = _take(name, source, record, trace)
        if value is not None:
            sample[name] = value
    others = MISSING if output.rest is None else find(record, output.rest)
    if isinstance(others, dict):
        assert output.rest is not None  # noqa: S101 - others were found by it
        spoken_for = _pointers(output)
        for name, value in others.items():
            known = name in sample or name in output.ignore or (*output.rest, name) in spoken_for
            if not known and isinstance(value, float | bool | str):
                sample[name] = value
    return sample


def _take(name: str, source: Source, record: Any, trace: _Trace) -> Any:
    """The field's value; None where the message has none or it cannot be understood."""
    for steps in source.pointers:
        value = find(record, steps)
        if value is MISSING or value is None:
            continue
        if _is_one_of(value, source.unless):
            trace.sentinels.append(f"{write_pointer(steps)} is {_shown(value)}, which stands for no value")
            continue
        converted = _convert(value, source)
        if converted is None:
            where = write_pointer(steps) or "the payload"
            expected = _expected(source)
            trace.faults.append(
                Fault(Reason.BAD_FIELD, f"{name} ({where}): expected {expected}, found {_shown(value)}")
            )
        return converted
    return None


def _convert(value: Any, source: Source) -> Any:
    if source.values:
        return source.values[value] if _is_one_of(value, source.values) else source.otherwise
    if source.any_word:
        return not source.any_word.isdisjoint(_WORD.findall(value)) if isinstance(value, str) else None
    if source.becomes is not None:
        value = _as_type(value, source.becomes)
    if source.bit is not None:
        whole = isinstance(value, float) and math.isfinite(value) and value.is_integer() and value >= 0
        return bool(int(value) >> source.bit & 1) if whole else None
    if source.scale != 1.0 or source.offset != 0.0:
        return float(f"{value * source.scale + source.offset:.12g}") if isinstance(value, float) else None
    return value


def _as_type(value: Any, wanted: FieldType) -> Value | None:
    if wanted is FieldType.NUMBER and isinstance(value, str):
        try:
            return float(value) if "_" not in value else None
        except ValueError:
            return None
    if wanted is FieldType.BOOLEAN and isinstance(value, str):
        word = value.strip().lower()
        return True if word in _TRUE else False if word in _FALSE else None
    if wanted is FieldType.BOOLEAN and isinstance(value, float):
        return bool(value) if value in {0.0, 1.0} else None
    if wanted is FieldType.TEXT and isinstance(value, float):
        return _number_text(value)
    fits = isinstance(value, float | bool | str) and type(value) is _PYTHON_TYPE[wanted]
    return value if fits else None


_PYTHON_TYPE: Final = {FieldType.NUMBER: float, FieldType.BOOLEAN: bool, FieldType.TEXT: str}
_EXACT: Final = 1e15


def _number_text(value: float) -> str | None:
    """As the device wrote it, where float64 still knows."""
    return f"{value:.15g}" if abs(value) < _EXACT else None


def _expected(source: Source) -> str:
    if source.values:
        return "one of " + ", ".join(map(_shown, source.values))
    if source.any_word:
        return "a text"
    if source.bit is not None:
        return "a whole number"
    return f"a {source.becomes}" if source.becomes is not None else "a number"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.15g}"
    return repr(value[:50]) if isinstance(value, str) else json_name(value)


def _fill(template: Template, record: Any, names: Mapping[str, str]) -> str:
    """The text with its placeholders filled in; "" where the message does not have what one stands for."""
    filled = []
    for number, piece in enumerate(template.pieces):
        if number % 2 == 0:
            filled.append(piece)
            continue
        found = find(record, parse_pointer(piece)) if piece.startswith("/") else names.get(piece, "")
        text = found if isinstance(found, str) else _number_text(found) if isinstance(found, float) else None
        if not text:
            return ""
        filled.append(text)
    return "".join(filled)


def _read_time(source: TimeSource, record: Any, faults: list[Fault]) -> int | None:
    there = False
    for steps in source.pointers:
        value = find(record, steps)
        if value is MISSING or value is None:
            continue
        there = True
        for form in source.formats:
            milliseconds = _milliseconds(value, form, source.zone)
            if milliseconds is not None and in_range(milliseconds):
                return milliseconds
    if there:
        places = ", ".join(map(write_pointer, source.pointers))
        faults.append(Fault(Reason.BAD_TIME, f"{places}: expected a time as {' or '.join(source.formats)}"))
    return None


def _milliseconds(value: Any, form: str, zone: str) -> int | None:
    try:
        if form in {"epoch_s", "epoch_ms"}:
            number = float(value) if isinstance(value, str | float) else math.nan
            return read_epoch(round(number * (1000 if form == "epoch_s" else 1)))[0] if math.isfinite(number) else None
        if not isinstance(value, str):
            return None
        if form == "rfc3339":
            return read_rfc3339(value)
        moment = datetime.fromisoformat(value) if form == "local" else datetime.strptime(value, form)  # noqa: DTZ007 - its zone follows
        return to_milliseconds(moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone)))
    except (ValueError, OverflowError):
        return None


def _pointers(output: Output) -> set[Steps]:
    """Every place in a record at which an output looks, beside the rest."""
    places = {steps for source in output.fields.values() for steps in source.pointers} | set(output.when)
    if output.time is not None:
        places |= set(output.time.pointers)
    if output.seq is not None:
        places.add(output.seq)
    for template in (output.site, output.kind, output.equipment, output.channel):
        places |= {parse_pointer(name) for name in template.placeholders if name.startswith("/")}
    return places


def _taken(document: Any, output: Output) -> Iterator[Steps]:
    looked_at = _pointers(output)
    for at, _, record in _records(document, output.each):
        if not _applies(output, record):
            continue
        yield from (at + steps for steps in looked_at)
        others = MISSING if output.rest is None else find(record, output.rest)
        if isinstance(others, dict) and output.rest is not None:
            scalars = (name for name, value in others.items() if isinstance(value, float | bool | str))
            yield from ((*at, *output.rest, name) for name in scalars)
