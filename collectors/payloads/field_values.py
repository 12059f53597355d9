"""Checks the fields of one sample against the contract: valid ones are kept, each other one becomes a fault.

A value in another spelling than the contract's, with only one meaning, is read and flagged as converted.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from collectors.payloads.faults import Fault, Reason
from collectors.payloads.spellings import boolean_of, choice_of, number_of
from collectors.plausible import implausible_in, ranges_of
from collectors.wire.fields import Channel, Field, FieldType, Kind, fields_of
from collectors.wire.reading import Quality, Value

MAX_FIELDS: Final = 256
"""Fields in a sample; unknown ones beyond the limit are left out."""
MAX_TEXT: Final = 1024
"""Characters of a text value or of a field's name (64)."""
MAX_NAME: Final = 64
PYTHON_TYPE: Final[dict[FieldType, type]] = {
    FieldType.NUMBER: float,
    FieldType.BOOLEAN: bool,
    FieldType.TEXT: str,
}
_UNKNOWN_FIELD, _CONVERTED, _IMPLAUSIBLE = (
    int(flag) for flag in (Quality.UNKNOWN_FIELD, Quality.CONVERTED, Quality.IMPLAUSIBLE)
)
_NAME: Final = re.compile(rf'[^\x00-\x20"\\\x7f\ud800-\udfff]{{1,{MAX_NAME}}}')
"""A field's name: no blanks, quotes, back-slashes or control characters; stores use it in paths."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_FAST_TYPES: Final = frozenset({float, bool, str})
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS: Final = re.compile(r"[\s.-]+")


def check_fields(
    sample: dict[str, Any], kind: Kind, channel: Channel, faults: list[Fault]
) -> tuple[dict[str, Value], int]:
    """Return the fields that can be kept, and flags of quality (`Quality`)."""
    known = fields_of(kind, channel)
    ranges = ranges_of(kind, channel)
    flags, clean = 0, len(sample) <= MAX_FIELDS
    for name, value in sample.items():
        field = known.get(name)
        type_ = type(value)
        if field is None:
            flags |= _UNKNOWN_FIELD
            clean = clean and type_ in _FAST_TYPES and name.islower() and _is_plain(name, value)
        elif PYTHON_TYPE[field.type] is not type_:
            clean = False
        elif type_ is str:
            clean = clean and (value in field.choices if field.choices else _is_plain_text(value))
        elif type_ is float:
            found = ranges.get(name)
            if found is None:
                clean = clean and math.isfinite(value)
            elif not found.low <= value <= found.high or value in found.sentinels:
                flags |= _IMPLAUSIBLE
                clean = clean and math.isfinite(value)
    if clean:
        return sample, flags
    return _sift_fields(sample, kind, channel, faults)


def is_field_name(name: str) -> bool:
    """Whether a text is a valid name of a field."""
    return _NAME.fullmatch(name) is not None


def _is_plain(name: str, value: Value) -> bool:
    return (
        _NAME.fullmatch(name) is not None
        and (type(value) is not float or math.isfinite(value))
        and (type(value) is not str or _is_plain_text(value))
    )


def _is_plain_text(text: str) -> bool:
    """Short, no NUL, no lone surrogate (which no store could write)."""
    return len(text) <= MAX_TEXT and "\x00" not in text and (text.isascii() or not _SURROGATE.search(text))


def _sift_fields(
    sample: dict[str, Any], kind: Kind, channel: Channel, faults: list[Fault]
) -> tuple[dict[str, Value], int]:
    """Keep valid fields, one by one; add a fault with the expected type for each other one."""
    known = fields_of(kind, channel)
    kept: dict[str, Value] = {}
    flags = 0
    room = MAX_FIELDS - sum(name in known for name in sample)
    for said, value in sample.items():
        name = said if said in known else known_name(said, known, sample)
        field = known.get(name)
        if field is None:
            flags |= _UNKNOWN_FIELD
            room -= 1
            if room < 0:
                continue
        fitted = _fit(name, value, field)
        if fitted is None:
            faults.append(Fault(Reason.BAD_FIELD, _complaint(said, value, field), field=name[:MAX_NAME]))
            continue
        kept[name] = fitted
        if field is not None and (name != said or fitted != value or type(fitted) is not type(value)):
            flags |= _CONVERTED
        if field is not None and field.closed and fitted not in field.choices:
            permitted = ", ".join(field.choices)
            faults.append(Fault(Reason.UNKNOWN_CHOICE, f"{name}: {fitted} is not one of {permitted}; kept as it is"))
    if room < 0:
        faults.append(Fault(Reason.TOO_MANY_FIELDS, f"{-room} unknown fields beyond {MAX_FIELDS} were left out"))
    if channel is Channel.TELEMETRY and implausible_in(kind, kept):
        flags |= _IMPLAUSIBLE
    return kept, flags


def known_name(said: str, known: Mapping[str, Field], sample: Mapping[str, Any]) -> str:
    """The field that a name means in another spelling: `Smoke`, `alarmButton`, `alarm-button`."""
    if len(said) > MAX_NAME:
        return said
    name = _SEPARATORS.sub("_", _HUMP.sub("_", said.strip())).lower()
    return name if name in known and name not in sample else said


def _fit(name: str, value: object, field: Field | None) -> Value | None:
    """The value in the type in which it is stored; None if it does not fit."""
    if not isinstance(value, float | bool | str) or not _is_plain(name, value):
        return None
    return value if field is None else _fit_known(value, field)


def _fit_known(value: Value, field: Field) -> Value | None:
    if field.type is FieldType.TEXT:
        return _as_text(value, field)
    if type(value) is PYTHON_TYPE[field.type]:
        return value
    if isinstance(value, str):
        if field.type is FieldType.BOOLEAN:
            return boolean_of(value, field)
        number = number_of(value, field.unit)
        return number if number is not None and math.isfinite(number) else None
    return bool(value) if field.type is FieldType.BOOLEAN and value in (0.0, 1.0) else None


def _as_text(value: Value, field: Field) -> str | None:
    if isinstance(value, str):
        return choice_of(value, field) if field.choices else value
    if isinstance(value, bool) or abs(value) >= 1e15:
        return None
    return f"{value:.15g}"  # floor 3 and card 12345678 are sent as numbers


def _complaint(name: str, value: object, field: Field | None) -> str:
    shown = name if len(name) <= MAX_NAME and name.isprintable() else f"{name[:MAX_NAME]!r}…"
    expected = "a finite number, true or false, or plain text" if field is None else f"a {field.type}"
    return f"{shown}: expected {expected}, found {json_name(value)}"


def json_name(value: object) -> str:
    """The JSON type with its article, for sentences: "an array"."""
    if isinstance(value, str):
        return "a text" if _is_plain_text(value) else "a text that is too long or has characters no store can keep"
    if isinstance(value, float) and not math.isfinite(value):
        return "a number that is not finite"
    names = {dict: "an object", list: "an array", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
