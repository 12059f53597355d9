"""How the columns of a CSV file become the telemetry of one equipment: names, scales, time format, as data.

mapping = load_mapping("skab")                    # or a path to a YAML file of the same form
mapping = mapping.aimed_at(site="demo", equipment="P-9")
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from collectors.fields import Channel, FieldType, Kind, fields_of
from collectors.topics import Topic, TopicError
from simulators.addresses import check_address
from simulators.samples import Value
from simulators.yaml_files import entry_error, find_file, read_yaml

REPLAYS: Final = Path(__file__).parent / "replays"


class TimeColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row's time. `format` is strptime's, or `epoch_s`, `epoch_ms`; `zone` where the text names none."""

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


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column. value = cell * scale + offset.

    `unit` says in words what the column holds and what it becomes. A field that the wire contract does not
    name must be declared `unknown: true`, so that a slip of the pen is not taken for a new field.
    """

    field: str
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    unknown: bool = False


class Mapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole mapping. `constants` are sent with every row."""

    site: str
    kind: Kind
    equipment: str
    delimiter: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] = ","
    encoding: Literal["utf-8", "utf-8-sig", "gb18030", "latin-1"] = "utf-8-sig"
    time: TimeColumn
    columns: Annotated[dict[str, Column], msgspec.Meta(min_length=1)]
    constants: dict[str, Value] = {}
    about: str = ""

    def aimed_at(self, *, site: str | None = None, equipment: str | None = None) -> "Mapping":
        """The same mapping for another equipment.

        Raises:
            TopicError: the name may not stand in a topic.
        """
        aimed = msgspec.structs.replace(self, site=site or self.site, equipment=equipment or self.equipment)
        check_address(aimed.site, aimed.kind, aimed.equipment)
        return aimed

    @property
    def topic(self) -> str:
        """Where the rows are sent."""
        return str(Topic(self.site, self.kind, self.equipment, Channel.TELEMETRY))

    def type_of(self, field: str) -> FieldType:
        """As the wire contract has it; a field that it does not name is a number."""
        known = fields_of(self.kind, Channel.TELEMETRY).get(field)
        return known.type if known else FieldType.NUMBER


def load_mapping(name: str | Path) -> Mapping:
    """Read a mapping by path, or by the name of one that comes with Gengfu.

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
        check_address(mapping.site, mapping.kind, mapping.equipment)
    except TopicError as error:
        problems.append(("$.equipment", str(error)))
    try:
        ZoneInfo(mapping.time.zone)
    except (ZoneInfoNotFoundError, ValueError):
        problems.append(("$.time.zone", f"unknown time zone '{mapping.time.zone}'"))
    return problems


def _field_problems(mapping: Mapping) -> list[tuple[str, str]]:
    known = fields_of(mapping.kind, Channel.TELEMETRY)
    permitted = ", ".join(known)
    return [
        (
            f"$.columns.{name}.field",
            f"{mapping.kind} has no field '{column.field}'; say `unknown: true`, or use {permitted}",
        )
        for name, column in mapping.columns.items()
        if column.field not in known and not column.unknown
    ]


def _constant_problems(mapping: Mapping) -> list[tuple[str, str]]:
    types = {FieldType.NUMBER: (int, float), FieldType.BOOLEAN: (bool,), FieldType.TEXT: (str,)}
    known = fields_of(mapping.kind, Channel.TELEMETRY)
    return [
        ("$.constants", f"'{name}' must be a {known[name].type}")
        for name, value in mapping.constants.items()
        if name in known and type(value) not in types[known[name].type]
    ]
