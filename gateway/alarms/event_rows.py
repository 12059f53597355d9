"""Rows of events: finds those received before, and inserts new ones."""

from collections.abc import Container, Sequence
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from collectors.wire.reading import Reading
from gateway.alarms.evaluation.duplicate_events import FirstDelivery
from gateway.storage.queries.chunks import in_portions
from gateway.storage.tables import event


async def first_deliveries(connection: AsyncConnection, events: Sequence[Reading]) -> dict[str, FirstDelivery]:
    """The events already in the database, by digest."""
    known: dict[str, FirstDelivery] = {}
    columns = select(event.c.digest, event.c.quality, event.c.received_at)
    for part in in_portions([reading.digest for reading in events]):
        found = await connection.execute(columns.where(event.c.digest.in_(part)))
        known |= {digest: FirstDelivery(quality, received_at) for digest, quality, received_at in found}
    return known


async def keep_events(connection: AsyncConnection, events: Sequence[Reading], known: Container[str]) -> None:
    """Insert the events that are not `known`: a commit whose answer was lost is written again."""
    rows = [_event_row(reading) for reading in events if reading.digest not in known]
    if rows:
        await connection.execute(insert(event), rows)


def _event_row(reading: Reading) -> dict[str, Any]:
    topic = reading.topic
    return {
        "digest": reading.digest,
        "site": topic.site,
        "kind": topic.kind.value,
        "equipment": topic.equipment,
        "fields": reading.fields,
        "quality": reading.quality,
        "measured_at": reading.measured_at,
        "received_at": reading.received_at,
    }
