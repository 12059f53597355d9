"""The audit, newest first: who did what, when, from where, and what was before and after."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from sqlalchemy import Select, select

from collectors.reading import to_datetime, to_milliseconds
from gateway.api.bodies import AuditBody, Page
from gateway.api.problems import ProblemError
from gateway.api.routes import Call, Route
from gateway.api.session_routes import texts
from gateway.people.accounts import Accounts
from gateway.people.permissions import Act
from gateway.storage.tables import audit


class AuditQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    site: str | None = None
    actor: str | None = None
    """A person's id, or `system:` and the part that acted."""
    act: str | None = None
    thing: str | None = None
    start: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    end: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    cursor: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    limit: int = 100


async def list_audit(call: Call) -> Page[AuditBody]:
    """What belongs to no site is shown to those who may read the audit of all."""
    query: AuditQuery = call.query
    if not 1 <= query.limit <= 500:
        raise ProblemError("bad_query", "limit must be between 1 and 500")
    statement = _narrowed(query, call.sites(Act.READ_AUDIT)).order_by(audit.c.id.desc()).limit(query.limit + 1)
    async with call.services.database.reading() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    following = str(rows[query.limit - 1]["id"]) if len(rows) > query.limit else None
    return Page([_body(row, call.services.accounts) for row in rows[: query.limit]], following)


def _narrowed(query: AuditQuery, sites: frozenset[str] | None) -> Select[Any]:
    statement = select(audit)
    for name in ("site", "actor", "act", "thing"):
        wanted = getattr(query, name)
        if wanted is not None:
            statement = statement.where(audit.c[name] == wanted)
    if sites is not None:
        statement = statement.where(audit.c.site.in_(sites))
    if query.start is not None:
        statement = statement.where(audit.c.at >= to_milliseconds(query.start))
    if query.end is not None:
        statement = statement.where(audit.c.at < to_milliseconds(query.end))
    if query.cursor is not None:
        statement = statement.where(audit.c.id < query.cursor)
    return statement


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
        "GET", "/audit", Act.READ_AUDIT, list_audit, "Who changed what, newest first", Page[AuditBody],
        query=AuditQuery,
    ),
)  # fmt: skip
