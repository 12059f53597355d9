"""One page of a list, newest first, read by an index however long the list is (keyset pagination).

A list with a filter that no single index can sort is built from branches: conditions, each with its own index. Of each
branch only as many keys are read as fit on one page.
"""

from collections.abc import Callable, Collection, Sequence
from heapq import nlargest
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, ColumnElement, Select, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call
from gateway.storage.queries.index_use import beside_index
from gateway.storage.queries.keyset import ALWAYS, Branch, Span, of_branch

Row = Any


EVERYTHING: Final[Sequence[Branch]] = (Branch(),)
"""The one branch of a list without a filter."""
_BRANCHES_AT_ONCE: Final = 100
"""SQLite accepts at most 500 terms in one compound statement."""


class Location(NamedTuple):
    """A place of a list: a site, and the code of an equipment there or "" for all of the site."""

    site: str
    equipment: str


CodesOf = Callable[[str, str], Sequence[str]]
"""(site, code) -> all codes under which there are rows of an equipment: `Ledger.codes_of`."""


def places(
    allowed: Collection[str] | None, site: str | None, equipment: str | None, codes_of: CodesOf
) -> list[Location] | None:
    """The places of a list; None for everywhere, empty if there is nothing to see.

    Args:
        allowed: sites that the person may see, None for all.
        site: the requested site, if any.
        equipment: the requested equipment, `{site}:{code}`, if any; it takes precedence over `site`.
        codes_of: under which codes there are rows of it.
    """
    code = ""
    if equipment:
        site, _, code = equipment.partition(":")
        if not (site and code):
            return []
    if not site:
        return None if allowed is None else [Location(one, "") for one in sorted(allowed)]
    codes = codes_of(site, code) if code else [""]
    return [Location(site, one) for one in codes] if allowed is None or site in allowed else []


def at_place(table: Any, place: Location) -> list[tuple[Column[Any], Any]]:
    """The leading conditions of a branch for a place, for an index on `site` or `site, equipment`."""
    found = [(table.c.site, place.site)]
    return [*found, (table.c.equipment, place.equipment)] if place.equipment else found


def branches_of(
    table: Any,
    looked_at: Sequence[Location] | None,
    along: Sequence[tuple[Column[Any], Any]] = (),
    beside: Sequence[ColumnElement[bool]] = (),
) -> list[Branch]:
    """One branch per place; one for everything if no place is named."""
    if looked_at is None:
        return [Branch(along, beside)]
    return [Branch([*at_place(table, place), *along], beside) for place in looked_at]


def checked_beside(table: Any, looked_at: Sequence[Location] | None) -> list[ColumnElement[bool]]:
    """Conditions for rows of some places; for a small set that is read by another index."""
    if looked_at is None:
        return []
    found: list[ColumnElement[bool]] = [beside_index(table.c.site.in_([place.site for place in looked_at]))]
    if looked_at and looked_at[0].equipment:
        found.append(beside_index(table.c.equipment.in_([place.equipment for place in looked_at])))
    return found


async def page_of(
    call: Call,
    statement: Select[Any],
    key: Column[Any],
    cursor: Any,
    limit: int,
    branches: Sequence[Branch] = EVERYTHING,
) -> tuple[list[Row], Any]:
    """One page, newest first, and the cursor of the next.

    Args:
        call: the request.
        statement: the columns of a row; its own conditions apply beside those of the branches.
        key: a unique column that sorts by age.
        cursor: the key of the last row of the page before; empty or None for the first page.
        limit: rows of a page, 1 to 500; a ProblemError for another number.
        branches: which rows, see above.
    """
    rows = await rows_of_page(call, statement, (key,), (cursor,) if cursor else None, limit, branches)
    return rows[:limit], rows[limit - 1][key.name] if len(rows) > limit else None


async def rows_of_page(
    call: Call,
    statement: Select[Any],
    order: Sequence[Column[Any]],
    after: Sequence[Any] | None,
    limit: int,
    branches: Sequence[Branch],
    span: Span = ALWAYS,
) -> list[Row]:
    """The rows of a page, and one more if there are more.

    Args:
        call: the request.
        statement: the columns of a row.
        order: columns by which rows are sorted; the last one is unique.
        after: values of these columns of the last row before the page.
        limit: rows of a page, 1 to 500; a ProblemError for another number.
        branches: which rows.
        span: range of the first column of `order`.
    """
    if not 1 <= limit <= 500:
        raise ProblemError("bad_query", "limit must be between 1 and 500")
    async with call.services.database.reading() as connection:
        if len(branches) == 1:
            wanted = of_branch(statement, branches[0], order, after, span)
        else:
            chosen = [of_branch(select(*order), one, order, after, span).limit(limit + 1) for one in branches]
            keys = await _newest_keys(connection, chosen, limit + 1)
            wanted = statement.where(order[-1].in_(keys)).order_by(*(column.desc() for column in order))
        return list((await connection.execute(wanted.limit(limit + 1))).mappings())


async def _newest_keys(connection: AsyncConnection, chosen: Sequence[Select[Any]], many: int) -> list[Any]:
    """The unique key of the newest rows of all branches; a row may be in several."""
    found: set[tuple[Any, ...]] = set()
    for first in range(0, len(chosen), _BRANCHES_AT_ONCE):
        parts = [select(one.subquery()) for one in chosen[first : first + _BRANCHES_AT_ONCE]]
        found.update(tuple(row) for row in await connection.execute(union_all(*parts)))
    return [values[-1] for values in nlargest(many, found)]
