"""Detects floods and their groups from the tables, so restarts change nothing and every process sees the same.

Only annunciated activations count: not suppressed, shelved or damped ones, and no drills.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.alarms.key import CLOCKS_DIFFER_MS
from gateway.alarms.performance.duty_positions import DutyPositions
from gateway.alarms.performance.flood import FLOOD_ENDS, WINDOW_MS, since
from gateway.alarms.performance.flood_groups import Group, OpenAlarm, grouped
from gateway.alarms.performance.kpis import HOUR_MS
from gateway.storage.database import Database
from gateway.storage.queries.chunks import in_portions
from gateway.storage.queries.index_use import after
from gateway.storage.tables import activation, alarm, alarm_is_open, equipment_link

_LOOK_BACK_MS: Final = 6 * HOUR_MS
_MOST_LOOKED_AT: Final = 5_000
"""The newest activations; a flood of more than these began earlier than reported."""


class Flood(msgspec.Struct, frozen=True, kw_only=True):
    """A current flood at a duty position."""

    position: str
    since: int
    activations: dict[str, int]
    """Site -> its activations in the last ten minutes; the position's are their sum."""
    groups: dict[str, list[Group]]
    """Site -> its groups, for each site with activations in the flood."""


async def floods_now(database: Database, duty: DutyPositions, now: int) -> list[Flood]:
    """The current floods, by position's name."""
    async with database.reading() as connection:
        times = await _times(connection, duty, now)
        found = [(position, began, of) for position, of in sorted(times.items()) if (began := since(_all(of), now))]
        return [
            Flood(
                position=position,
                since=began,
                activations={
                    site: sum(at > now - WINDOW_MS for at in times_of) for site, times_of in sorted(of.items())
                },
                groups=await _groups(connection, sorted(of), began - WINDOW_MS),
            )
            for position, began, of in found
        ]


async def _times(connection: AsyncConnection, duty: DutyPositions, now: int) -> dict[str, dict[str, list[int]]]:
    """Position -> site -> times of annunciation; empty if the last ten minutes have too few for any flood."""
    annunciated = (
        select(activation.c.site, activation.c.started_at)
        .join(alarm, alarm.c.id == activation.c.alarm)
        .where(
            ~activation.c.drill,
            ~activation.c.disproved,
            ~activation.c.damped,
            alarm.c.annunciated,
            activation.c.started_at <= now + CLOCKS_DIFFER_MS,  # later ones are from before the clock was set back
        )
        .order_by(activation.c.started_at.desc())
        .limit(_MOST_LOOKED_AT)
    )
    recent = (await connection.execute(annunciated.where(after(activation.c.started_at, now - WINDOW_MS)))).all()
    if len(recent) < FLOOD_ENDS:
        return {}
    times: dict[str, dict[str, list[int]]] = {}
    for site, at in await connection.execute(annunciated.where(after(activation.c.started_at, now - _LOOK_BACK_MS))):
        times.setdefault(duty.of(site), {}).setdefault(site, []).append(at)
    return times


def _all(times: dict[str, list[int]]) -> list[int]:
    return sorted(at for of_site in times.values() for at in of_site)


async def _groups(connection: AsyncConnection, sites: Sequence[str], raised_after: int) -> dict[str, list[Group]]:
    columns = [alarm.c[name] for name in OpenAlarm._fields]
    alarms: dict[str, list[OpenAlarm]] = {site: [] for site in sites}
    parents: dict[tuple[str, str], list[str]] = {}
    for part in in_portions(sites):
        links = select(equipment_link.c.site, equipment_link.c.child, equipment_link.c.parent)
        for site, child, parent in await connection.execute(links.where(equipment_link.c.site.in_(part))):
            parents.setdefault((site, child), []).append(parent)
        standing = select(*columns).where(
            alarm_is_open, alarm.c.annunciated, alarm.c.site.in_(part), alarm.c.raised_at > raised_after
        )
        for row in await connection.execute(standing):
            alarms[row.site].append(OpenAlarm(*row))
    return {site: grouped(of_site, parents) for site, of_site in alarms.items()}
