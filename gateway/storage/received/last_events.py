"""When each equipment sent its last event, for processes that did not receive it, and after a start."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from sqlalchemy import func, select

from collectors.wire.fields import Channel, Kind, fields_of
from gateway.storage.database import Database
from gateway.storage.tables import equipment, event

_SEND_EVENTS: Final = sorted(kind.value for kind in Kind if fields_of(kind, Channel.EVENT))


class LastEvent(NamedTuple):
    """Of one equipment, and when it was received (epoch ms)."""

    site: str
    code: str
    kind: str
    received_at: int


async def last_events(database: Database) -> Iterable[LastEvent]:
    """The last event of each equipment of a kind that sends events; one look into an index for each."""
    newest = (
        select(func.max(event.c.received_at))
        .where(event.c.site == equipment.c.site, event.c.equipment == equipment.c.code)
        .scalar_subquery()
    )
    statement = select(equipment.c.site, equipment.c.code, equipment.c.kind, newest)
    async with database.reading() as connection:
        rows = await connection.execute(statement.where(equipment.c.kind.in_(_SEND_EVENTS)))
        return [LastEvent(*row) for row in rows if row[3] is not None]


async def newest_event_at(database: Database) -> int:
    """When the newest event of all was received, in epoch ms; 0 where there is none."""
    async with database.reading() as connection:
        return int(await connection.scalar(select(func.max(event.c.received_at))) or 0)
