"""Mappings: YAML that defines how a third-party device's messages become readings. Read and validated here.

An invalid file is rejected as a whole; the error names the file, the entry and what is permitted.
"""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import yaml

from collectors.payloads.json_pointer import Steps, parse_pointer
from collectors.payloads.topic_patterns import TopicPattern, parse_pattern
from collectors.wire.fields import WIRE_KINDS, Channel, FieldType, Kind, fields_of
from collectors.wire.reading import Value

Scalar: TypeAlias = float | bool | str
_Text = str | list[str]
_Member = TypeVar("_Member", bound=str)
ENCODINGS: Final = ("json", "text", "hex", "base64")
TIME_FORMATS: Final = ("rfc3339", "epoch_s", "epoch_ms", "local")
_PYTHON_TYPE: Final = {FieldType.NUMBER: float, FieldType.BOOLEAN: bool, FieldType.TEXT: str}
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_ALARM_TEXT: Final = "alarm"
_WIRE_UNITS: Final = "wire"
KEY: Final = "key"
"""Placeholder for the name of the current member of `each`."""


class MappingError(Exception):
    """An invalid mapping; the text is for the author of the mapping."""


class Defaults(msgspec.Struct, frozen=True):
    """Defaults of a mapping: the site, and the zone of times without one."""

    site: str = "default"
    zone: str = "UTC"


class _WrittenField(msgspec.Struct, forbid_unknown_fields=True, rename={"pointers": "from", "alternatives": "or"}):
    pointers: _Text
    type: str = ""
    scale: float = 1.0
    offset: float = 0.0
    values: dict[Scalar, Scalar] = {}
    otherwise: Scalar | None = None
    any_word: list[str] = []
    bit: int | None = None
    unless: list[Scalar] = []
    about: list[str] = []
    when: dict[str, list[Scalar]] = {}
    alternatives: list["_WrittenField"] = []


class _WrittenTime(msgspec.Struct, forbid_unknown_fields=True, rename={"pointers": "from"}):
    pointers: _Text
    format: _Text = "rfc3339"
    zone: str = ""


class _WrittenOutput(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    equipment: str
    channel: str = Channel.TELEMETRY.value
    each: _Text = []
    when: dict[str, list[Scalar]] = {}
    unless: dict[str, list[str]] = {}
    fields: dict[str, str | _WrittenField] = {}
    rest: str | None = None
    units: str = ""
    ignore: list[str] = []
    time: _WrittenTime | None = None
    seq: str | None = None


class _WrittenMapping(msgspec.Struct, forbid_unknown_fields=True):
    """A mapping as it is written in a file."""

    name: str
    topic: _Text
    readings: list[_WrittenOutput]
    about: str = ""
    payload: str = "json"
    site: str = ""
    names: dict[str, str] = {}
    beside: list[str] = []


class Source(msgspec.Struct, frozen=True):
    """The source of a field's value and its conversion."""

    pointers: tuple[Steps, ...]
    becomes: FieldType | None = None
    scale: float = 1.0
    offset: float = 0.0
    values: Mapping[Scalar, Value] = {}
    otherwise: Value | None = None
    any_word: frozenset[str] = frozenset()
    bit: int | None = None
    unless: frozenset[Scalar] = frozenset()
    is_alarm_text: bool = False
    """Its texts describe in words whether an alarm is active."""
    about: tuple[str, ...] = ()
    """Only texts with one of these words (in lower case) count; others are skipped."""
    when: Mapping[Steps, frozenset[Scalar]] = {}
    """It counts only if the record fulfils these conditions."""
    alternatives: tuple["Source", ...] = ()
    """Sources that are tried if this one has no value."""


class TimeSource(msgspec.Struct, frozen=True):
    """The source of the time of measurement. Formats and pointers are tried in order."""

    pointers: tuple[Steps, ...]
    formats: tuple[str, ...]
    zone: str


class Template(msgspec.Struct, frozen=True):
    """A text with placeholders: literal, placeholder, literal, placeholder, ..., literal."""

    pieces: tuple[str, ...]

    @property
    def placeholders(self) -> tuple[str, ...]:
        return self.pieces[1::2]

    @property
    def constant(self) -> str | None:
        """The text itself, if it has no placeholder."""
        return self.pieces[0] if len(self.pieces) == 1 else None


class Output(msgspec.Struct, frozen=True):
    """One type of reading that a message may hold."""

    site: Template
    kind: Template
    equipment: Template
    channel: Template
    each: tuple[Steps, ...]
    when: Mapping[Steps, frozenset[Scalar]]
    unless: Mapping[Steps, tuple[str, ...]]
    """Parts of texts (in lower case) that mark the values of a record as invalid: it was not decrypted."""
    fields: Mapping[str, Source]
    rest: Steps | None
    are_units_known: bool
    """Whether values that come by `rest` under a name of the wire contract also have the contract's unit."""
    ignore: frozenset[str]
    time: TimeSource | None
    seq: Steps | None
    places: frozenset[Steps]
    """Pointers it uses besides fields and the rest: conditions, time, sequence number, and parts of its topic."""


class MessageMapping(msgspec.Struct, frozen=True):
    """One validated mapping."""

    name: str
    about: str
    patterns: tuple[TopicPattern, ...]
    encoding: str
    names: Mapping[str, str]
    """Names in messages -> codes of equipment, where they differ."""
    outputs: tuple[Output, ...]
    beside: tuple[TopicPattern, ...] = ()
    """Topics under the same root that carry no readings: the gateway's housekeeping."""


def shipped_names() -> list[str]:
    """Names of the mapping files that are included in the product."""
    return sorted(name.removesuffix(".yaml") for name in _shipped_texts())


def load_mappings(wanted: Iterable[str | Path], defaults: Defaults = Defaults()) -> list[MessageMapping]:  # noqa: B008 - frozen
    """Read mapping files: names of shipped ones, or paths.

    Raises:
        MappingError: a file cannot be read, or holds an invalid mapping.
    """
    shipped = _shipped_texts()
    known = {entry["name"]: entry for name, text in shipped.items() for entry in _entries(text, name)}
    mappings: dict[str, MessageMapping] = {}
    taken: dict[str, str] = {}
    for name in dict.fromkeys(map(str, wanted)):
        file = f"{name}.yaml" if f"{name}.yaml" in shipped else name
        text = shipped[file] if file in shipped else _read(Path(name))
        for mapping in parse_mappings(text, file, defaults, known):
            if mapping.name in mappings:
                raise MappingError(f"{file}, mapping {mapping.name}: the name occurs twice")
            mappings[mapping.name] = mapping
            for pattern in mapping.patterns:
                other = taken.setdefault(pattern.subscription, mapping.name)
                if other != mapping.name:
                    raise MappingError(f"{file}, mapping {mapping.name}: {other} has the same topics {pattern.text}")
    return list(mappings.values())


def parse_mappings(
    text: str,
    file: str,
    defaults: Defaults = Defaults(),  # noqa: B008 - frozen
    known: Mapping[str, dict[str, Any]] | None = None,
) -> list[MessageMapping]:
    """Read one file's text.

    Args:
        text: YAML with one list under `mappings:`.
        file: name of the file, for errors.
        defaults: defaults of a mapping.
        known: entries that `like` may name.

    Raises:
        MappingError: it holds an invalid mapping.
    """
    return [_read_mapping(entry, file, defaults, known or {}) for entry in _entries(text, file)]


def _shipped_texts() -> dict[str, str]:
    folder = files("collectors.payloads") / "mappings"
    return {entry.name: entry.read_text(encoding="utf-8") for entry in folder.iterdir() if entry.name.endswith(".yaml")}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        names = ", ".join(shipped_names())
        raise MappingError(f"{path}: no such file; included mappings: {names}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise MappingError(f"{path}: cannot be read: {error}") from error


class _Loader(yaml.SafeLoader):
    """YAML in which only true and false are booleans, and 1e-3 is a number.

    Devices send ON, OFF, yes and no as these words.
    """


def _without_boolean_words() -> None:
    boolean = "tag:yaml.org,2002:bool"
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers.items()
    _Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in rules if tag != boolean] for first, rules in resolvers
    }
    _Loader.add_implicit_resolver(boolean, re.compile(r"(?:true|false)$"), list("tf"))
    exponent = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$")
    _Loader.add_implicit_resolver("tag:yaml.org,2002:float", exponent, list("-+0123456789"))


_without_boolean_words()


def _entries(text: str, file: str) -> list[dict[str, Any]]:
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader with fewer boolean words
    except yaml.YAMLError as error:
        raise MappingError(f"{file}: {' '.join(str(error).split())}") from error
    entries = document.get("mappings") if isinstance(document, dict) and set(document) == {"mappings"} else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "name" in entry for entry in entries):
        raise MappingError(f"{file}: expected one list under 'mappings:', each entry with a name")
    return entries


def _read_mapping(
    entry: dict[str, Any], file: str, defaults: Defaults, known: Mapping[str, dict[str, Any]]
) -> MessageMapping:
    place = f"{file}, mapping {entry['name']}"
    like = entry.get("like")
    if like is not None and like not in known:
        raise MappingError(f"{place}: like: there is no mapping {like!r}; known mappings: {', '.join(known)}")
    merged = {**known.get(like or "", {}), **entry}
    merged.pop("like", None)
    try:
        return _make(msgspec.convert(merged, _WrittenMapping), defaults)
    except (msgspec.ValidationError, ValueError) as error:
        raise MappingError(f"{place}: {error}") from error


def _make(written: _WrittenMapping, defaults: Defaults) -> MessageMapping:
    patterns = tuple(parse_pattern(text) for text in _list(written.topic))
    if not patterns or not written.readings:
        raise ValueError("a mapping has at least one topic and one entry under readings")
    bound = frozenset.intersection(*(pattern.names for pattern in patterns))
    outputs = []
    for number, output in enumerate(written.readings, 1):
        try:
            outputs.append(_make_output(output, _template(written.site or defaults.site), bound, defaults))
        except ValueError as error:
            raise ValueError(f"readings, number {number}: {error}") from error
    encoding = _permitted("payload", written.payload, ENCODINGS)
    beside = tuple(parse_pattern(text) for text in written.beside)
    return MessageMapping(written.name, written.about, patterns, encoding, written.names, tuple(outputs), beside)


def _make_output(written: _WrittenOutput, site: Template, bound: frozenset[str], defaults: Defaults) -> Output:
    kind, channel = _template(written.kind), _template(written.channel)
    time = None if written.time is None else _make_time(written.time, defaults)
    seq = None if written.seq is None else parse_pointer(written.seq)
    templates = (site, kind, _template(written.equipment), channel)
    output = Output(
        site=site,
        kind=kind,
        equipment=_template(written.equipment),
        channel=channel,
        each=tuple(parse_pointer(text) for text in _list(written.each)),
        when=_conditions(written.when),
        unless={parse_pointer(text): tuple(map(str.lower, words)) for text, words in written.unless.items()},
        fields={name: _named(name, field) for name, field in written.fields.items()},
        rest=None if written.rest is None else parse_pointer(written.rest),
        are_units_known=_permitted("units", written.units, ("", _WIRE_UNITS)) == _WIRE_UNITS,
        ignore=frozenset(written.ignore),
        time=time,
        seq=seq,
        places=frozenset(
            {
                *map(parse_pointer, (*written.when, *written.unless)),
                *(time.pointers if time is not None else ()),
                *(() if seq is None else (seq,)),
                *(parse_pointer(name) for each in templates for name in each.placeholders if name.startswith("/")),
            }
        ),
    )
    if not output.fields and output.rest is None:
        raise ValueError("it reads nothing: name fields, or with 'rest' an object whose values are all read")
    permitted = bound | ({KEY} if output.each else set())
    for template in templates:
        for name in template.placeholders:
            if not name.startswith("/") and name not in permitted:
                names = ", ".join(sorted(permitted)) or "none"
                raise ValueError(
                    f"{{{name}}} is not known; placeholders of the topic: {names}; or a JSON pointer {{/…}}"
                )
    if kind.constant is not None:
        _permitted("kind", kind.constant, WIRE_KINDS)
    if channel.constant is not None:
        _permitted("channel", channel.constant, tuple(Channel))
    if kind.constant is not None and channel.constant is not None:
        _check_types(output, Kind(kind.constant), Channel(channel.constant))
    return output


def _check_types(output: Output, kind: Kind, channel: Channel) -> None:
    """The type that the mapping gives a value must be the type of the field."""
    known = fields_of(kind, channel)
    for name, source in output.fields.items():
        if name not in known:
            continue
        wanted = known[name].type
        if any(_types_of(each) - {_PYTHON_TYPE[wanted]} for each in (source, *source.alternatives)):
            raise ValueError(f"field {name} of a {kind} is a {wanted}; here it becomes something else")


def _types_of(source: Source) -> set[type]:
    """The types of a source's values, as far as the mapping determines them."""
    becomes: set[type] = {type(value) for value in source.values.values()}
    if source.otherwise is not None:
        becomes.add(type(source.otherwise))
    if source.any_word or source.bit is not None or source.is_alarm_text:
        becomes.add(bool)
    if source.becomes is not None and not becomes:
        becomes.add(_PYTHON_TYPE[source.becomes])
    return becomes


def _conditions(written: Mapping[str, list[Scalar]]) -> dict[Steps, frozenset[Scalar]]:
    return {parse_pointer(text): frozenset(values) for text, values in written.items()}


def _named(name: str, field: str | _WrittenField) -> Source:
    try:
        return _make_source(_WrittenField(field) if isinstance(field, str) else field)
    except ValueError as error:
        raise ValueError(f"field {name}: {error}") from error


def _make_source(written: _WrittenField) -> Source:
    if not (math.isfinite(written.scale) and math.isfinite(written.offset)):
        raise ValueError("scale and offset must be finite numbers")
    if written.bit is not None and not 0 <= written.bit < 53:
        raise ValueError("bit must be from 0, the lowest, to 52")
    if sum((bool(written.values), bool(written.any_word), written.bit is not None)) > 1:
        raise ValueError("values, any_word and bit exclude each other")
    if written.otherwise is not None and not written.values:
        raise ValueError("otherwise is only permitted with values")
    if written.type == _ALARM_TEXT and (written.values or written.any_word or written.bit is not None):
        raise ValueError("type alarm reads whole sentences: values, any_word and bit are not permitted with it")
    permitted = (*tuple(FieldType), _ALARM_TEXT)
    is_alarm_text = bool(written.type) and _permitted("type", written.type, permitted) == _ALARM_TEXT
    type_ = FieldType(written.type) if written.type and not is_alarm_text else None
    pointers = tuple(parse_pointer(text) for text in _list(written.pointers))
    if not pointers:
        raise ValueError("from must have at least one JSON pointer")
    return Source(
        pointers,
        type_,
        written.scale,
        written.offset,
        written.values,
        written.otherwise,
        frozenset(written.any_word),
        written.bit,
        frozenset(written.unless),
        is_alarm_text,
        tuple(map(str.lower, written.about)),
        _conditions(written.when),
        tuple(map(_make_source, written.alternatives)),
    )


def _make_time(written: _WrittenTime, defaults: Defaults) -> TimeSource:
    zone = written.zone or defaults.zone
    try:
        ZoneInfo(zone)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"time: {zone!r} is not a time zone; write one like Asia/Shanghai") from error
    formats = tuple(_list(written.format))
    for text in formats:
        if "%" not in text:
            _permitted("time: format", text, (*TIME_FORMATS, "a pattern like %Y-%m-%d %H:%M:%S"))
            continue
        try:
            datetime.strptime(datetime(2026, 1, 2, 3, 4, 5).strftime(text), text)  # noqa: DTZ001, DTZ007 - a trial
        except (ValueError, re.error) as error:
            raise ValueError(f"time: {text!r} is not a valid pattern: {error}") from error
    return TimeSource(tuple(parse_pointer(text) for text in _list(written.pointers)), formats, zone)


def _template(text: str) -> Template:
    if not text:
        raise ValueError("site, kind, equipment and channel cannot be empty")
    template = Template(tuple(_PLACEHOLDER.split(text)))
    for name in template.placeholders:
        if name.startswith("/"):
            parse_pointer(name)
    return template if len(template.pieces) > 1 else Template((text,))


def _list(text: _Text) -> list[str]:
    return [text] if isinstance(text, str) else text


def _permitted(what: str, text: str, permitted: tuple[_Member, ...]) -> str:
    if text not in permitted:
        raise ValueError(f"{what} is {text!r}; permitted: {', '.join(permitted)}")
    return text
