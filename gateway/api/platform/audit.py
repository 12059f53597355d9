"""The audit, newest first: who did what, when, from where, and what was before and after."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from sqlalchemy import select

from collectors.wire.reading import to_datetime, to_milliseconds
from gateway.api.http.bodies import Page, texts
from gateway.api.http.pages import rows_of_page
from gateway.api.http.route import Call, Route
from gateway.api.platform.bodies import AuditBody
from gateway.people.accounts import Accounts
from gateway.people.permissions import Permission
from gateway.storage.queries.index_use import beside_index
from gateway.storage.queries.keyset import Branch, Span
from gateway.storage.tables import audit


class AuditQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    site: str | None = None
    actor: str | None = None
    """A person's id, or `system:` and the component that acted."""
    act: str | None = None
    thing: str | None = None
    start: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    end: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    cursor: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    limit: int = 100


async def list_audit(call: Call) -> Page[AuditBody]:
    """Rows without a site are shown to people who may read the audit of all sites."""
    query: AuditQuery = call.query
    after = None if query.cursor is None else await _place_before(call, query.cursor)
    start, end = (None if moment is None else to_milliseconds(moment) for moment in (query.start, query.end))
    branches, order = _branches(query, call.sites(Permission.READ_AUDIT)), (audit.c.at, audit.c.id)
    rows = await rows_of_page(call, select(audit), order, after, query.limit, branches, Span(start, end))
    following = str(rows[query.limit - 1]["id"]) if len(rows) > query.limit else None
    return Page([_body(row, call.services.accounts) for row in rows[: query.limit]], following)


async def _place_before(call: Call, cursor: int) -> tuple[int, int]:
    """Time and id of the last row of the page before."""
    statement = select(audit.c.at).where(audit.c.id >= cursor).order_by(audit.c.id).limit(1)
    async with call.services.database.reading() as connection:
        at = await connection.scalar(statement)
    return (_NEVER if at is None else int(at), cursor)


def _branches(query: AuditQuery, sites: frozenset[str] | None) -> list[Branch]:
    """By the index of the most selective filter; the other filters are checked on the rows found."""
    wanted = {name: value for name in _NARROWEST_FIRST if (value := getattr(query, name)) is not None}
    leading = next(iter(wanted), None)
    if leading is None and sites is not None:
        return [Branch([(audit.c.site, site)]) for site in sorted(sites)]
    beside = [beside_index(audit.c[name] == value) for name, value in wanted.items() if name != leading]
    if sites is not None:
        beside.append(beside_index(audit.c.site.in_(sites)))
    return [Branch([] if leading is None else [(audit.c[leading], wanted[leading])], beside)]


_NARROWEST_FIRST = ("thing", "actor", "act", "site")
_NEVER = 2**62
"""Later than any time."""


def _body(row: Any, accounts: Accounts) -> AuditBody:
    return AuditBody(
        id=row["id"],
        at=to_datetime(row["at"]),
        site=row["site"],
        actor=row["actor"],
        actor_name=texts(accounts.name_of(row["actor"])),
        role=row["role"].split(",") if row["role"] else [],
        via=row["via"],
        origin=row["origin"],
        act=row["act"],
        thing=row["thing"],
        before=row["before"],
        after=row["after"],
        cause=row["cause"],
        seq=row["seq"],
        hash=row["hash"],
    )


ROUTES = (
    Route(
        "GET", "/audit", Permission.READ_AUDIT, list_audit, "The audit, newest first", Page[AuditBody],
        query=AuditQuery,
    ),
)  # fmt: skip
