"""The quarantine: messages that could not be read, and topics without a decoder."""

from typing import Annotated

import msgspec

from collectors.wire.reading import to_datetime
from gateway.api.equipment.bodies import payload_text
from gateway.api.http.bodies import Page
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, Route
from gateway.api.platform.quarantine_bodies import QuarantineBody, QuarantineSummaryBody, UnreadTopicBody
from gateway.people.permissions import Permission
from gateway.storage.received.quarantine import newest_quarantined, summary_since
from gateway.storage.received.unread_topics import unread_topics

_SUMMARY_MS = 24 * 3600 * 1000


class QuarantineQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cursor: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    limit: int = 100


async def list_quarantine(call: Call) -> Page[QuarantineBody]:
    query: QuarantineQuery = call.query
    if not 1 <= query.limit <= 500:
        raise ProblemError("bad_query", "limit must be between 1 and 500")
    sites = call.sites(Permission.READ_QUARANTINE)
    rows = await newest_quarantined(call.services.database, query.cursor, query.limit + 1, sites)
    following = str(rows[query.limit - 1]["id"]) if len(rows) > query.limit else None
    return Page([_quarantine_body(row) for row in rows[: query.limit]], following)


async def summarise_quarantine(call: Call) -> Page[QuarantineSummaryBody]:
    since = call.services.wall() - _SUMMARY_MS
    found = await summary_since(call.services.database, since, call.sites(Permission.WATCH))
    items = [
        QuarantineSummaryBody(item.site, item.messages, to_datetime(item.received_at), item.topic, item.reason)
        for item in found
    ]
    return Page(items, None)


async def list_unread_topics(call: Call) -> Page[UnreadTopicBody]:
    rows = await unread_topics(call.services.database)
    return Page([_unread_body(row) for row in rows], None)


def _unread_body(row: dict[str, object]) -> UnreadTopicBody:
    text, encoding = payload_text(bytes(row["sample"]))  # type: ignore[call-overload]  # bytes or memoryview
    return UnreadTopicBody(
        topic=str(row["topic"]),
        reason=str(row["reason"]),
        detail=str(row["detail"]),
        first_at=to_datetime(int(str(row["first_at"]))),
        last_at=to_datetime(int(str(row["last_at"]))),
        messages=int(str(row["messages"])),
        sample=text,
        encoding=encoding,
    )


def _quarantine_body(row: dict[str, object]) -> QuarantineBody:
    payload = bytes(row["payload"])  # type: ignore[call-overload]  # bytes or memoryview, by the driver
    text, encoding = payload_text(payload)
    return QuarantineBody(
        id=int(str(row["id"])),
        received_at=to_datetime(int(str(row["received_at"]))),
        topic=str(row["topic"]),
        reason=str(row["reason"]),
        detail=str(row["detail"]),
        payload=text,
        encoding=encoding,
        size=int(str(row["size"])),
        site=str(row["site"]),
    )


ROUTES = (
    Route(
        "GET", "/quarantine", Permission.READ_QUARANTINE, list_quarantine, "Messages that could not be read",
        Page[QuarantineBody], query=QuarantineQuery,
    ),
    Route(
        "GET", "/quarantine/summary", Permission.WATCH, summarise_quarantine,
        "Number of unreadable messages of each site in the last 24 hours", Page[QuarantineSummaryBody],
    ),
    Route(
        "GET", "/quarantine/unread-topics", Permission.READ_QUARANTINE, list_unread_topics,
        "Published topics without a decoder, the newest message first", Page[UnreadTopicBody],
    ),
)  # fmt: skip
