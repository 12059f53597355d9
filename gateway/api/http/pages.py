"""One page of a list, newest first, found along an index however long the list is (keyset pagination).

A list that is narrowed in a way for which one index has no order is made of branches: conditions, each of which has its
index. Of each branch only as many keys are read as one page has room for.
"""

from collections.abc import Collection, Sequence
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
"""The one branch of a list that is not narrowed."""
_BRANCHES_AT_ONCE: Final = 100
"""SQLite takes at most 500 parts in one compound statement."""


class Place(NamedTuple):
    """Where a list looks: a site, and the code of an equipment there or "" for all of the site."""

    site: str
    equipment: str


def places(allowed: Collection[str] | None, site: str | None, equipment: str | None) -> list[Place] | None:
    """The places that a list is about; None for everywhere, none where there is nothing to see.

    Args:
        allowed: sites that the person may see, None for all.
        site: the site that is asked for, if any.
        equipment: the equipment that is asked for, `{site}:{code}`, if any; it goes before `site`.
    """
    code = ""
    if equipment:
        site, _, code = equipment.partition(":")
        if not (site and code):
            return []
    if not site:
        return None if allowed is None else [Place(one, "") for one in sorted(allowed)]
    return [Place(site, code)] if allowed is None or site in allowed else []


def at_place(table: Any, place: Place) -> list[tuple[Column[Any], Any]]:
    """A place as the beginning of a branch, for an index that begins with `site` or `site, equipment`."""
    found = [(table.c.site, place.site)]
    return [*found, (table.c.equipment, place.equipment)] if place.equipment else found


def branches_of(
    table: Any,
    looked_at: Sequence[Place] | None,
    along: Sequence[tuple[Column[Any], Any]] = (),
    beside: Sequence[ColumnElement[bool]] = (),
) -> list[Branch]:
    """One branch a place; one for everything where no place is named."""
    if looked_at is None:
        return [Branch(along, beside)]
    return [Branch([*at_place(table, place), *along], beside) for place in looked_at]


def checked_beside(table: Any, looked_at: Sequence[Place] | None) -> list[ColumnElement[bool]]:
    """Conditions for rows of some places that are few already, and found along an index of something else."""
    if looked_at is None:
        return []
    found: list[ColumnElement[bool]] = [beside_index(table.c.site.in_([place.site for place in looked_at]))]
    if looked_at and looked_at[0].equipment:
        found.append(beside_index(table.c.equipment == looked_at[0].equipment))
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
        statement: what a row has; its own conditions hold beside those of the branches.
        key: a unique column that sorts by age.
        cursor: the key of the last row of the page before; empty or None at the beginning.
        limit: rows of a page, 1 to 500; a ProblemError where it is another number.
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
    """The rows of a page, and one more where there are more.

    Args:
        call: the request.
        statement: what a row has.
        order: columns by which rows are sorted, the last of them unique by itself.
        after: values of these columns of the last row before the page.
        limit: rows of a page, 1 to 500; a ProblemError where it is another number.
        branches: which rows.
        span: between which values of the first column of `order`.
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
