"""Rows of a CSV file as readings of a mapping. A cell that cannot be read costs that cell, not its row."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from collectors.fields import FieldType
from simulators.mapping import Column, Mapping
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


class CsvError(ValueError):
    """A file that the mapping does not fit at all."""


class Row(msgspec.Struct, frozen=True):
    """One row: line in the file, time (None where it could not be read), fields, and what was left out."""

    line: int
    at_ms: int | None
    fields: dict[str, Value]
    problems: tuple[str, ...] = ()


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
    for name, column in mapping.columns.items():
        try:
            fields[column.field] = _value(cells.get(name), column, mapping.type_of(column.field))
        except ValueError as error:
            problems.append(f"{where}, column '{name}': {error}")
    at_ms = None
    try:
        at_ms = mapping.time.read(_text(cells.get(mapping.time.column)))
    except (ValueError, OverflowError):
        problems.append(f"{where}, column '{mapping.time.column}': no time of the form {mapping.time.format}")
    return Row(line, at_ms, {**mapping.constants, **fields} if fields else {}, tuple(problems))


def _check_header(path: Path, mapping: Mapping, header: list[str]) -> None:
    missing = [name for name in (mapping.time.column, *mapping.columns) if name not in header]
    if missing:
        raise CsvError(
            f"{path}: no column {', '.join(missing)}; the file has {', '.join(header)} "
            f"(separated by '{mapping.delimiter}')"
        )


def _value(cell: str | None, column: Column, type_: FieldType) -> Value:
    text = _text(cell)
    if type_ is FieldType.TEXT:
        return text
    if type_ is FieldType.BOOLEAN:
        return _boolean(text)
    return round(_number(text) * column.scale + column.offset, 9)  # 0.054711 bar is 0.0054711, not …000004


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
