"""Open alarms that are suppressed now, why and by whom: for figures and lists."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.alarms.key import Key
from gateway.alarms.lifecycle.transitions import key_of
from gateway.alarms.suppression.annunciation import suppressions_of
from gateway.alarms.suppression.reasons import Suppression
from gateway.storage.queries.index_use import beside_index
from gateway.storage.tables import alarm, alarm_is_open


class SuppressedAlarm(NamedTuple):
    """One open alarm and one of the reasons why it is not annunciated."""

    alarm: str
    key: Key
    priority: str
    suppression: Suppression


async def suppressed_alarms(connection: AsyncConnection, sites: Collection[str] | None = None) -> list[SuppressedAlarm]:
    """Every open alarm of some sites (None: of all) that is not annunciated, once for each reason, oldest first."""
    statement = select(alarm).where(alarm_is_open, alarm.c.annunciated.is_(False)).order_by(alarm.c.id)
    if sites is not None:
        statement = statement.where(beside_index(alarm.c.site.in_(sites)))
    rows = [dict(row) for row in (await connection.execute(statement)).mappings()]
    return [
        SuppressedAlarm(row["id"], key_of(row), row["priority"], item) for row in rows for item in suppressions_of(row)
    ]
