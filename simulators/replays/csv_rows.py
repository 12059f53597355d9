"""Rows of a CSV file as readings of a mapping. A cell that cannot be read is left out, not its row."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from collectors.wire.fields import Channel, FieldType, Kind, fields_of
from collectors.wire.topics import TopicError
from simulators.addresses import check_address
from simulators.replays.mapping import Column, Mapping, TimeColumn
from simulators.samples import Value

_BOOLEANS: Final = {
    "1": True,
    "1.0": True,
    "true": True,
    "yes": True,
    "0": False,
    "0.0": False,
    "false": False,
    "no": False,
}


_STATUS: Final = frozenset(fields_of(Kind.SENSOR, Channel.STATUS))
"""The same for every kind."""


class CsvError(ValueError):
    """A file to which the mapping does not apply."""


class Row(msgspec.Struct, frozen=True):
    """One row: line in the file, time (None if it could not be read), its equipment, and what was left out.

    `fields` are telemetry, `status` is sent as status. A row that is an interval ends at `until_ms`, and
    `afterwards` is telemetry that applies from then on; `until_ms` is None if it has not ended.
    """

    line: int
    at_ms: int | None
    equipment: str
    fields: dict[str, Value]
    problems: tuple[str, ...] = ()
    status: dict[str, Value] = {}
    until_ms: int | None = None
    afterwards: dict[str, Value] = {}


def count_rows(path: Path) -> int:
    """Lines that hold data; for a progress bar."""
    with path.open("rb") as file:
        return max(0, sum(1 for line in file if line.strip()) - 1)


def read_rows(path: Path, mapping: Mapping) -> Iterator[Row]:
    """Read row by row; the file may be larger than memory.

    Raises:
        CsvError: cannot be read, or lacks a column of the mapping.
    """
    try:
        with path.open(encoding=mapping.encoding, newline="") as file:
            reader = csv.DictReader(file, delimiter=mapping.delimiter)
            _check_header(path, mapping, list(reader.fieldnames or ()))
            for cells in reader:
                yield convert(cells, mapping, f"{path.name}, line {reader.line_num}", reader.line_num)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CsvError(f"{path}: cannot be read: {error}") from error


def convert(cells: dict[str, str | None], mapping: Mapping, where: str, line: int) -> Row:
    """One row's cells as fields in the units of the wire contract."""
    fields: dict[str, Value] = {}
    problems: list[str] = []
    status: dict[str, Value] = {}
    for name, column in mapping.fields:
        try:
            value = _value(cells.get(name), column, mapping.type_of(column.field))
            (status if column.field in _STATUS else fields)[column.field] = value
        except ValueError as error:
            problems.append(f"{where}, column '{name}': {error}")
    at_ms = _time(cells, mapping.time, where, problems)
    until_ms = _end(cells, mapping, at_ms, where, problems)
    equipment = _equipment(cells, mapping, where, problems)
    constants = mapping.constants if fields else {}
    afterwards = {} if mapping.until is None else {**constants, **mapping.until.afterwards}
    return Row(line, at_ms, equipment, {**constants, **fields}, tuple(problems), status, until_ms, afterwards)


def _time(cells: dict[str, str | None], column: TimeColumn, where: str, problems: list[str]) -> int | None:
    try:
        return column.read(_text(cells.get(column.column)))
    except (ValueError, OverflowError):
        problems.append(f"{where}, column '{column.column}': not a time of the format {column.format}")
        return None


def _end(
    cells: dict[str, str | None], mapping: Mapping, at_ms: int | None, where: str, problems: list[str]
) -> int | None:
    """The end of the row's interval; None if it is not an interval, or if the cell is empty or unreadable."""
    if mapping.until is None or not (cells.get(mapping.until.column) or "").strip():
        return None
    end = _time(cells, mapping.until, where, problems)
    if end is not None and at_ms is not None and end < at_ms:
        problems.append(f"{where}, column '{mapping.until.column}': ends before it starts")
        return None
    return end if at_ms is not None else None


def _equipment(cells: dict[str, str | None], mapping: Mapping, where: str, problems: list[str]) -> str:
    """The equipment of the row; "" if it cannot be read."""
    if isinstance(mapping.equipment, str):
        return mapping.equipment
    code = mapping.equipment.prefix + (cells.get(mapping.equipment.column) or "").strip()
    try:
        check_address(mapping.site, mapping.kind, code)
    except TopicError as error:
        problems.append(f"{where}, column '{mapping.equipment.column}': {error}")
        return ""
    return code


def _check_header(path: Path, mapping: Mapping, header: list[str]) -> None:
    missing = [name for name in mapping.columns_needed if name not in header]
    if missing:
        raise CsvError(
            f"{path}: no column {', '.join(missing)}; the file has {', '.join(header)} "
            f"(separated by '{mapping.delimiter}')"
        )


def _value(cell: str | None, column: Column, type_: FieldType) -> Value:
    if column.values:
        return _named(cell, column)
    text = _text(cell)
    if type_ is FieldType.TEXT:
        return text
    if type_ is FieldType.BOOLEAN:
        return _boolean(text)
    return round(_number(text) * column.scale + column.offset, 9)  # 0.054711 bar is 0.0054711, not …000004


def _named(cell: str | None, column: Column) -> Value:
    text = (cell or "").strip()
    if text not in column.values:
        raise ValueError(f"'{text}' is none of {', '.join(repr(name) for name in column.values)}")
    return column.values[text]


def _text(cell: str | None) -> str:
    text = (cell or "").strip()
    if not text:
        raise ValueError("empty")
    return text


def _boolean(text: str) -> bool:
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise ValueError(f"'{text}' is neither true nor false")
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"'{text}' is no number") from None
    if not math.isfinite(value):
        raise ValueError(f"'{text}' is no finite number")
    return value
