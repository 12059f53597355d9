"""Open alarms that no rule can end any more: their rule was removed or no longer applies to the equipment."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.alarms.evaluation.watched_equipment import is_watched
from gateway.alarms.lifecycle.rows import alarms_by_id
from gateway.alarms.lifecycle.transitions import Row
from gateway.alarms.rules.rulebook import Rulebook
from gateway.storage.tables import alarm, alarm_is_open

_LOOKED_AT = ("id", "site", "kind", "equipment", "part", "rule")


async def unwatched_alarms(connection: AsyncConnection, rulebook: Rulebook) -> list[Row]:
    """Their rows, in the order in which they were raised."""
    active = select(*(alarm.c[name] for name in _LOOKED_AT)).where(alarm.c.active, alarm_is_open)
    found = (await connection.execute(active)).mappings()
    identities = sorted(row["id"] for row in found if not is_watched(dict(row), rulebook))
    return list((await alarms_by_id(connection, identities)).values())
