"""Mappings from the columns of a CSV file to reports of equipment: names, scales, words, time format, as data.

mapping = load_mapping("skab")                    # or a path to a YAML file of the same form
mapping = mapping.aimed_at(site="demo", equipment="P-9")
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from collectors.wire.fields import Channel, Field, FieldType, Kind, fields_of
from collectors.wire.topics import Topic, TopicError
from simulators.addresses import check_address
from simulators.samples import Value
from simulators.yaml_input.files import entry_error, find_file, read_yaml

REPLAYS: Final = Path(__file__).parent
_PYTHON_TYPES: Final = {FieldType.NUMBER: (int, float), FieldType.BOOLEAN: (bool,), FieldType.TEXT: (str,)}


class TimeColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row's time. `format` is strptime's, or `epoch_s`, `epoch_ms`; `zone` if the text has none."""

    column: str
    format: str
    zone: str = "UTC"

    def read(self, text: str) -> int:
        """Epoch milliseconds.

        Raises:
            ValueError: not of the format.
        """
        if self.format in {"epoch_s", "epoch_ms"}:
            return round(float(text) * (1000 if self.format == "epoch_s" else 1))
        moment = datetime.strptime(text, self.format)  # noqa: DTZ007 - the zone follows
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=ZoneInfo(self.zone))
        return round(moment.timestamp() * 1000)


class EndColumn(TimeColumn, frozen=True, forbid_unknown_fields=True):
    """The end of an interval, and the telemetry that applies `afterwards`; an empty cell: it has not ended."""

    afterwards: Annotated[dict[str, Value], msgspec.Meta(min_length=1)] = msgspec.field(default_factory=dict)


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column. value = cell * scale + offset; with `values` the cell's text is looked up instead.

    `unit` describes the content of the column and of the field. A field that the wire contract does not
    define must be declared `unknown: true`, so that a typing error does not become a new field.
    """

    field: str
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    unknown: bool = False
    values: dict[str, Value] = {}


class EquipmentColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For rows that name their own equipment: its code is a prefix and the cell."""

    column: str
    prefix: str = ""


class Mapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole mapping. A column may make several fields; `constants` are sent with every row.

    With `until` a row is an interval: its fields apply from `time` until then.

    The field `online` is sent as status, all others as telemetry.
    """

    site: str
    kind: Kind
    equipment: str | EquipmentColumn
    delimiter: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] = ","
    encoding: Literal["utf-8", "utf-8-sig", "gb18030", "latin-1"] = "utf-8-sig"
    time: TimeColumn
    columns: Annotated[dict[str, Column | tuple[Column, ...]], msgspec.Meta(min_length=1)]
    constants: dict[str, Value] = {}
    until: EndColumn | None = None
    about: str = ""

    def aimed_at(self, *, site: str | None = None, equipment: str | None = None) -> "Mapping":
        """The same mapping for another equipment.

        Raises:
            TopicError: the name is invalid in a topic.
        """
        aimed = msgspec.structs.replace(self, site=site or self.site, equipment=equipment or self.equipment)
        check_address(aimed.site, aimed.kind, aimed.example)
        return aimed

    @property
    def example(self) -> str:
        """The code, or an example of one from its column."""
        return self.equipment if isinstance(self.equipment, str) else f"{self.equipment.prefix}1"

    def topic(self, equipment: str, channel: Channel = Channel.TELEMETRY) -> str:
        """The topic of the rows of an equipment."""
        return str(Topic(self.site, self.kind, equipment, channel))

    @property
    def fields(self) -> list[tuple[str, Column]]:
        """(name of the column, its field), in the order of the file."""
        return [
            (name, column)
            for name, columns in self.columns.items()
            for column in (columns if isinstance(columns, tuple) else (columns,))
        ]

    @property
    def columns_needed(self) -> list[str]:
        """The columns that a file must have."""
        own = [] if isinstance(self.equipment, str) else [self.equipment.column]
        ends = [] if self.until is None else [self.until.column]
        return [self.time.column, *ends, *own, *self.columns]

    def type_of(self, field: str) -> FieldType:
        """The type in the wire contract; a field that it does not define is a number."""
        known = _known_fields(self.kind).get(field)
        return known.type if known else FieldType.NUMBER


def _known_fields(kind: Kind) -> dict[str, Field]:
    return {**fields_of(kind, Channel.TELEMETRY), **fields_of(kind, Channel.STATUS)}


def load_mapping(name: str | Path) -> Mapping:
    """Read a mapping by path, or by the name of an included one.

    Raises:
        YamlFileError: not found, malformed, an unknown field that is not declared so, or an unknown zone.
    """
    path = find_file(name, REPLAYS)
    mapping = read_yaml(path, Mapping)
    for where, problem in _problems(mapping):
        raise entry_error(path, where, problem)
    return mapping


def _problems(mapping: Mapping) -> list[tuple[str, str]]:
    problems = [*_field_problems(mapping), *_constant_problems(mapping)]
    try:
        check_address(mapping.site, mapping.kind, mapping.example)
    except TopicError as error:
        problems.append(("$.equipment", str(error)))
    for key, column in (("time", mapping.time), ("until", mapping.until)):
        try:
            ZoneInfo("UTC" if column is None else column.zone)
        except (ZoneInfoNotFoundError, ValueError):
            problems.append((f"$.{key}.zone", f"unknown time zone '{column.zone if column else ''}'"))
    return problems


def _field_problems(mapping: Mapping) -> list[tuple[str, str]]:
    known = _known_fields(mapping.kind)
    permitted = ", ".join(known)
    return [
        (
            f"$.columns.{name}.field",
            f"{mapping.kind} has no field '{column.field}'; set `unknown: true`, or use {permitted}",
        )
        for name, column in mapping.fields
        if column.field not in known and not column.unknown
    ] + [
        (f"$.columns.{name}.values", f"'{value}' is no {mapping.type_of(column.field)}, as {column.field} must be")
        for name, column in mapping.fields
        for value in column.values.values()
        if type(value) not in _PYTHON_TYPES[mapping.type_of(column.field)]
    ]


def _constant_problems(mapping: Mapping) -> list[tuple[str, str]]:
    known = fields_of(mapping.kind, Channel.TELEMETRY)
    given = {"$.constants": mapping.constants, "$.until.afterwards": mapping.until.afterwards if mapping.until else {}}
    return [
        (where, f"'{name}' must be a {known[name].type}")
        for where, constants in given.items()
        for name, value in constants.items()
        if name in known and type(value) not in _PYTHON_TYPES[known[name].type]
    ]
