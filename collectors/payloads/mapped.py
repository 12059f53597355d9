"""Reads messages of third-party devices by a mapping. Pure; like the native payload it never raises.

document --each--> records --when--> fields, time, seq --> reading (checked in samples.py like any other)
"""

import base64
import binascii
import itertools
import math
import re
from collections.abc import Container, Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from collectors.payloads.epochs import read_epoch
from collectors.payloads.faults import Fault, Reason
from collectors.payloads.field_values import json_name
from collectors.payloads.framing import Row, strip_frame
from collectors.payloads.json_pointer import MISSING, Steps, find, leaves, parse_pointer, write_pointer
from collectors.payloads.mapping import KEY, MessageMapping, Output, Scalar, Source, Template, TimeSource
from collectors.payloads.samples import (
    Decoded,
    in_range,
    make_reading,
    parse_json,
    read_rfc3339,
    read_sequence,
    refused,
    refused_by_size,
)
from collectors.payloads.spellings import alarm_state_of, boolean_of, number_of
from collectors.payloads.text_encoding import decode_text
from collectors.wire.fields import WIRE_KINDS, Channel, Field, FieldType, fields_of
from collectors.wire.names import MAX_NAME, code_of
from collectors.wire.reading import Quality, Reading, Value, to_milliseconds
from collectors.wire.topics import Names, Topic, channel_of, kind_of

_LEAVES_SHOWN: Final = 200
_WORD: Final = re.compile(r"[^\W_]+(?:_[^\W_]+)*")
_CONVERTED: Final = int(Quality.CONVERTED)
UNIT_UNKNOWN: Final = "_unit_unknown"
"""Suffix of the name of a number of unknown unit: the contract's own name would imply its unit."""


class _Trace(msgspec.Struct):
    """Faults, sentinels and quality collected while a message is read."""

    faults: list[Fault] = []
    sentinels: list[str] = []
    """Values that mean "no value"."""
    quality: int = 0


class MappedTopic(msgspec.Struct, frozen=True):
    """The route of one topic: its mapping, and the values of the pattern's placeholders."""

    mapping: MessageMapping
    bound: Mapping[str, str]

    def decode(self, payload: bytes, received_at: int, arrival: int = 0) -> Decoded:
        """Read a message; the arguments are those of `native.decode`."""
        unreadable = refused_by_size(payload)
        if unreadable is not None:
            return unreadable
        trace = _Trace()
        document, was_mended = _parse(payload, self.mapping.encoding, trace.faults)
        if trace.faults and document is None:
            return Decoded([], trace.faults)
        trace.quality = _CONVERTED if was_mended else 0
        readings: list[Reading] = []
        documents = document if isinstance(document, Row) else [document]
        for output, one in itertools.product(self.mapping.outputs, documents):
            for _, key, record in _records(one, output.each):
                names = self.bound if key is None else {**self.bound, KEY: key}
                reading = self._read(output, record, names, received_at, arrival + len(readings), trace)
                if reading is not None:
                    readings.append(reading)
        if not readings and not trace.faults:
            return refused(Reason.NO_FIELDS, self._nothing_found(trace))
        return Decoded(readings, trace.faults, (self.mapping.name, _shape_of(document)))

    def targets(self) -> list[tuple[Topic, frozenset[str]]]:
        """The equipment of the messages, as far as the topic alone determines it, each with its mapped fields."""
        found: dict[Topic, frozenset[str]] = {}
        for output in self.mapping.outputs:
            topic = self._topic(output, None, self.bound, [])
            if topic is not None:
                found[topic[0]] = found.get(topic[0], frozenset()) | frozenset(output.fields)
        return list(found.items())

    @property
    def site(self) -> str:
        """The site's code, "" if only the messages contain it."""
        name = _fill(self.mapping.outputs[0].site, None, self.bound)
        return code_of(name) if name else ""

    def left_out(self, payload: bytes) -> list[tuple[str, Any]]:
        """JSON pointers and values that the mapping does not use."""
        document, _ = _parse(payload, self.mapping.encoding, [])
        taken = {steps for output in self.mapping.outputs for steps in _taken(document, output)}
        return [
            (write_pointer(steps), value)
            for steps, value in leaves(document, _LEAVES_SHOWN)
            if not any(steps[:length] in taken for length in range(len(steps) + 1))
        ]

    def sentinels(self, payload: bytes) -> list[str]:
        """Values of a message that mean "no value"."""
        trace = _Trace()
        document, _ = _parse(payload, self.mapping.encoding, [])
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
        found = self._topic(output, record, names, faults)
        if found is None:
            return None
        topic, said = found
        measured_at = None if output.time is None else _read_time(output.time, record, faults)
        seq = MISSING if output.seq is None else find(record, output.seq)
        sequence = None if seq is MISSING or seq is None else read_sequence(seq, faults)
        if output.rest is not None and not output.are_units_known:
            sample = _without_guessed_units(sample, output, topic)
        reading = make_reading(
            topic, sample, measured_at, sequence, received_at, arrival, faults, faults_before, trace.quality
        )
        if reading is not None and said is not None:
            reading.site_name, reading.equipment_name = said.site, said.equipment
        return reading

    def _topic(
        self, output: Output, record: Any, names: Mapping[str, str], faults: list[Fault]
    ) -> tuple[Topic, Names | None] | None:
        parts = {}
        for role in ("site", "kind", "equipment", "channel"):
            text = _fill(getattr(output, role), record, names)
            if not text:
                faults.append(Fault(Reason.BAD_TOPIC, f"the message does not contain its {role}"))
                return None
            parts[role] = text
        equipment = self.mapping.names.get(parts["equipment"], parts["equipment"])
        kind, channel = kind_of(parts["kind"]), channel_of(parts["channel"])
        if kind is None or channel is None:
            said, permitted = (parts["kind"], WIRE_KINDS) if kind is None else (parts["channel"], tuple(Channel))
            faults.append(Fault(Reason.BAD_TOPIC, f"{said[:100]!r} is not one of {', '.join(permitted)}"))
            return None
        topic = Topic(code_of(parts["site"]), kind, code_of(equipment), channel)
        if (topic.site, topic.equipment) == (parts["site"], equipment):
            return topic, None
        site_name = "" if topic.site == parts["site"] else parts["site"][:MAX_NAME]
        return topic, Names(site_name, "" if topic.equipment == equipment else equipment[:MAX_NAME])

    def _nothing_found(self, trace: _Trace) -> str:
        wanted = [name for output in self.mapping.outputs for name in output.fields]
        text = f"mapping {self.mapping.name} finds none of its fields: {', '.join(dict.fromkeys(wanted)) or 'any'}"
        return "; ".join((text, *trace.sentinels[:3]))


def _shape_of(document: Any) -> object:
    """The names by which messages of the same structure are recognised: two levels of them."""
    if not isinstance(document, dict):
        return _names_of(document)
    return tuple(
        (name, _names_of(value)) if isinstance(value, dict | list) else name for name, value in document.items()
    )


def _names_of(value: Any) -> object:
    if isinstance(value, list):
        return _names_of(value[0]) if value else ()
    return tuple(value) if isinstance(value, dict) else ()


def _without_guessed_units(sample: dict[str, Any], output: Output, topic: Topic) -> dict[str, Any]:
    """Rename numbers that came by `rest` under a name for which the contract defines a unit: theirs is not known."""
    known = fields_of(topic.kind, topic.channel)
    return {
        f"{name}{UNIT_UNKNOWN}" if name not in output.fields and name in known and known[name].unit else name: value
        for name, value in sample.items()
    }


def _parse(payload: bytes, encoding: str, faults: list[Fault]) -> tuple[Any, bool]:
    """The document of a payload, and whether framing or encoding had to be removed."""
    try:
        if encoding == "text":
            return _parse_text(payload, faults)
        if encoding == "hex":
            payload = bytes.fromhex(payload.decode("ascii"))
        elif encoding == "base64":
            payload = base64.b64decode(payload.strip(), validate=True)
    except (ValueError, binascii.Error):
        faults.append(Fault(Reason.BAD_ENCODING, f"expected {encoding} text"))
        return None, False
    return parse_json(payload, faults)


def _parse_text(payload: bytes, faults: list[Fault]) -> tuple[str | None, bool]:
    decoded = decode_text(payload)
    if decoded is None:
        faults.append(Fault(Reason.BAD_ENCODING, "expected text in UTF-8 or GB 18030"))
        return None, False
    text, was_converted = decoded
    return strip_frame(text), was_converted or "\x00" in text


def _records(
    node: Any, each: tuple[Steps, ...], at: Steps = (), key: str | None = None
) -> Iterator[tuple[Steps, str | None, Any]]:
    """The parts of a message that are separate samples: pointer, name and content."""
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
    if not _are_fulfilled(output.when, record):
        return False
    for steps, words in output.unless.items():
        value = find(record, steps)
        if isinstance(value, str) and any(word in value.lower() for word in words):
            return False
    return True


def _are_fulfilled(conditions: Mapping[Steps, frozenset[Scalar]], record: Any) -> bool:
    for steps, wanted in conditions.items():
        value = find(record, steps)
        if value is MISSING or (wanted and not _is_one_of(value, wanted)):
            return False
    return True


def _is_one_of(value: Any, values: Container[Scalar]) -> bool:
    """Python's comparison: 1 and true are equal, as they are for most devices."""
    return isinstance(value, float | bool | str) and value in values


def _take_fields(output: Output, record: Any, trace: _Trace) -> dict[str, Any]:
    sample: dict[str, Any] = {}
    used = set(output.places)
    for name, source in output.fields.items():
        for each in (source, *source.alternatives):
            steps, value = _take_from(name, each, record, trace, used)
            if steps is None:
                continue
            used.add(steps)
            if value is not None:
                sample[name] = value
            break
    others = MISSING if output.rest is None else find(record, output.rest)
    if isinstance(others, dict):
        assert output.rest is not None  # noqa: S101 - others were found by it
        for name, value in others.items():
            known = name in sample or name in output.ignore or (*output.rest, name) in used
            if not known and isinstance(value, float | bool | str):
                sample[name] = value
    return sample


def _take_from(name: str, source: Source, record: Any, trace: _Trace, used: set[Steps]) -> tuple[Steps | None, Any]:
    """The pointer at which the message has a value, and the value; None without one. Records used pointers."""
    if source.when and not _are_fulfilled(source.when, record):
        return None, None
    for steps in source.pointers:
        value = find(record, steps)
        if value is MISSING or value is None:
            continue
        if source.about and not (isinstance(value, str) and any(word in value.lower() for word in source.about)):
            continue
        if _is_one_of(value, source.unless):
            if not isinstance(value, str):  # a word that is not for this field may still be reported as unused
                used.add(steps)
            trace.sentinels.append(f"{write_pointer(steps)} is {_shown(value)}, which means no value")
            continue
        converted = _alarm_said(name, value) if source.is_alarm_text else _convert(name, value, source)
        if converted is None:
            where = write_pointer(steps) or "the payload"
            detail = f"{name} ({where}): expected {_expected(source)}, found {_shown(value)}"
            trace.faults.append(Fault(Reason.BAD_FIELD, detail, field=name))
        return steps, converted
    return None, None


def _alarm_said(name: str, value: Any) -> bool | None:
    """The state of an alarm in a vendor's word, sentence or bit; None if it mentions none."""
    if isinstance(value, bool):
        return value
    if isinstance(value, float):
        return bool(value) if value in {0.0, 1.0} else None
    if not isinstance(value, str):
        return None
    word = boolean_of(value, Field(name, FieldType.BOOLEAN, trouble=True))
    return alarm_state_of(value) if word is None else word


def _convert(name: str, value: Any, source: Source) -> Any:
    if source.values:
        return source.values[value] if _is_one_of(value, source.values) else source.otherwise
    if source.any_word:
        return not source.any_word.isdisjoint(_WORD.findall(value)) if isinstance(value, str) else None
    if source.becomes is not None:
        value = _as_type(name, value, source.becomes)
    if source.bit is not None:
        whole = isinstance(value, float) and math.isfinite(value) and value.is_integer() and value >= 0
        return bool(int(value) >> source.bit & 1) if whole else None
    if source.scale != 1.0 or source.offset != 0.0:
        if isinstance(value, str):
            value = number_of(value)
        return float(f"{value * source.scale + source.offset:.12g}") if isinstance(value, float) else None
    return value


def _as_type(name: str, value: Any, wanted: FieldType) -> Value | None:
    if isinstance(value, str):
        if wanted is FieldType.NUMBER:
            return number_of(value)
        if wanted is FieldType.BOOLEAN:
            return boolean_of(value, Field(name, FieldType.BOOLEAN))
    if wanted is FieldType.BOOLEAN and isinstance(value, float):
        return bool(value) if value in {0.0, 1.0} else None
    if wanted is FieldType.TEXT and isinstance(value, float):
        return _number_text(value)
    fits = isinstance(value, float | bool | str) and type(value) is _PYTHON_TYPE[wanted]
    return value if fits else None


_PYTHON_TYPE: Final = {FieldType.NUMBER: float, FieldType.BOOLEAN: bool, FieldType.TEXT: str}
_EXACT: Final = 1e15


def _number_text(value: float) -> str | None:
    """The number as the device wrote it, if a float64 is exact enough."""
    return f"{value:.15g}" if abs(value) < _EXACT else None


def _expected(source: Source) -> str:
    if source.values:
        return "one of " + ", ".join(map(_shown, source.values))
    if source.any_word:
        return "a text"
    if source.is_alarm_text:
        return "words that say whether an alarm is on"
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
    """The text with its placeholders filled in; "" if the message lacks one of the values."""
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
    """Every pointer in a record that an output uses, except the rest."""
    sources = [each for source in output.fields.values() for each in (source, *source.alternatives)]
    return {steps for source in sources for steps in (*source.pointers, *source.when)} | output.places


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
