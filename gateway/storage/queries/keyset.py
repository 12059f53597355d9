"""Statements for one page of rows in the order of an index, whatever a planner knows of the table: keyset pagination.

Pure: statements only; nothing is run here.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import Column, ColumnElement, Select, tuple_

_Columns: TypeAlias = Sequence[Column[Any]]


class Branch(NamedTuple):
    """Some rows of a list.

    `along` are the values of an index's first columns, which are followed there by those that order the page; `beside`
    is checked on each row, and must hold for nearly all of them.
    """

    along: Sequence[tuple[Column[Any], Any]] = ()
    beside: Sequence[ColumnElement[bool]] = ()


class Span(NamedTuple):
    """Values of the first column that orders a page: from `start`, before `end`; None: without that end."""

    start: Any = None
    end: Any = None


ALWAYS: Final = Span()


def of_branch(
    statement: Select[Any], branch: Branch, order: _Columns, after: Sequence[Any] | None, span: Span = ALWAYS
) -> Select[Any]:
    """Rows of a branch in the order of its index, the last first.

    The last column of `along` is bounded from both sides and not set equal, and rows are sorted by it too: of what is
    equal PostgreSQL knows that it does not matter for the order, and may walk along the list's key instead, through all
    other rows.
    """
    columns, values = [column for column, _ in branch.along[-1:]], [value for _, value in branch.along[-1:]]
    bounds = [column == value for column, value in branch.along[:-1]]
    bounds += [*_lower(columns, values, order, span), *_upper(columns, values, order, after, span)]
    return statement.where(*bounds, *branch.beside).order_by(*(column.desc() for column in (*columns, *order)))


def _lower(columns: _Columns, values: Sequence[Any], order: _Columns, span: Span) -> Iterator[ColumnElement[bool]]:
    if span.start is not None:
        columns, values = [*columns, order[0]], [*values, span.start]
    if columns:
        yield _together(columns) >= _given(values)


def _upper(
    columns: _Columns, values: Sequence[Any], order: _Columns, after: Sequence[Any] | None, span: Span
) -> Iterator[ColumnElement[bool]]:
    if after is not None and (span.end is None or after[0] < span.end):
        yield _together([*columns, *order]) < _given([*values, *after])
    elif span.end is not None:
        yield _together([*columns, order[0]]) < _given([*values, span.end])
    elif columns:
        yield _together(columns) <= _given(values)


def _together(columns: _Columns) -> ColumnElement[Any]:
    return columns[0] if len(columns) == 1 else tuple_(*columns)


def _given(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)
