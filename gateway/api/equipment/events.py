"""Events and taps, newest first, as fire panels and patrol readers reported them."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from sqlalchemy import select

from collectors.wire.fields import Kind
from collectors.wire.reading import Quality, to_datetime, to_milliseconds
from gateway.api.equipment.bodies import EventBody
from gateway.api.http.bodies import Page
from gateway.api.http.pages import CodesOf, branches_of, checked_beside, places, rows_of_page
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, Route
from gateway.people.permissions import Permission
from gateway.storage.queries.index_use import beside_index
from gateway.storage.queries.keyset import Branch, Span
from gateway.storage.tables import event

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
_LAST_MOMENT = 2**53
"""Epoch ms; the upper bound of a cursor."""


class EventQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    site: str | None = None
    kind: Kind | None = None
    equipment: str | None = None
    """`{site}:{code}`."""
    start: Moment | None = None
    """Received at this time or later."""
    end: Moment | None = None
    """Received before this time."""
    cursor: str = ""
    limit: int = 100


async def list_events(call: Call) -> Page[EventBody]:
    """In the order of receipt; events of the same moment by their id."""
    query: EventQuery = call.query
    after = _after(query.cursor) if query.cursor else None
    start, end = (None if moment is None else to_milliseconds(moment) for moment in (query.start, query.end))
    branches = _branches(query, call.sites(Permission.WATCH), call.services.ledger.codes_of)
    order = (event.c.received_at, event.c.digest)
    rows = await rows_of_page(call, select(event), order, after, query.limit, branches, Span(start, end))
    following = _cursor(rows[query.limit - 1]) if len(rows) > query.limit else None
    return Page([_body(row) for row in rows[: query.limit]], following)


def _branches(query: EventQuery, sites: frozenset[str] | None, codes_of: CodesOf) -> list[Branch]:
    """By the index of the place, and by that of the kind if no equipment is named (equipment has one kind)."""
    looked_at = places(sites, query.site, query.equipment, codes_of)
    if query.kind is None:
        return branches_of(event, looked_at)
    kind = query.kind.value
    if query.equipment:
        return branches_of(event, looked_at, (), [beside_index(event.c.kind == kind)])
    return branches_of(event, looked_at, [(event.c.kind, kind)], checked_beside(event, looked_at))


def _cursor(row: Any) -> str:
    return f"{row['received_at']}-{row['digest']}"


def _after(cursor: str) -> tuple[int, str]:
    received_at, _, digest = cursor.partition("-")
    if not (received_at.isdecimal() and received_at.isascii() and int(received_at) <= _LAST_MOMENT and digest):
        raise ProblemError("bad_query", "cursor must be the `next` of the page before")
    return int(received_at), digest


def _body(row: Any) -> EventBody:
    return EventBody(
        id=row["digest"],
        site=row["site"],
        kind=Kind(row["kind"]),
        equipment=f"{row['site']}:{row['equipment']}",
        measured_at=to_datetime(row["measured_at"]),
        received_at=to_datetime(row["received_at"]),
        fields=row["fields"],
        quality=Quality(row["quality"]).names(),
    )


ROUTES = (
    Route(
        "GET", "/events", Permission.WATCH, list_events, "Events and taps, newest first", Page[EventBody],
        query=EventQuery,
    ),
)  # fmt: skip
