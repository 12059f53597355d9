"""Reads and measures a period's activations without blocking the event loop: in chunks, and in a thread."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, CompoundSelect, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.alarms.lifecycle.states import Event
from gateway.alarms.performance.duty_positions import DutyPositions
from gateway.alarms.performance.kpis import Activation, Figures, measure
from gateway.storage.database import Database
from gateway.storage.queries.index_use import after, beside_index, text_of
from gateway.storage.tables import activation, alarm, journal

_CHUNK: Final = 2_000
"""Rows that the event loop processes at once: some milliseconds."""
_COLUMNS: Final = (
    "site", "equipment", "part", "rule", "priority", "started_at", "ended_at", "acknowledged_at", "received_at",
)  # fmt: skip

_Key: TypeAlias = tuple[str, str, str, str]


class Measured(NamedTuple):
    """Figures by position, activations left out, and the most re-alarms of one alarm by position."""

    figures: list[Figures]
    drills: int
    disproved: int
    re_alarms: dict[str, int]


async def measured(
    database: Database, start: int, end: int, sites: Collection[str] | None, duty: DutyPositions
) -> Measured:
    """The figures of [start, end), in epoch ms, on the given sites (None: on all)."""
    known: list[Activation] = []
    keys: dict[_Key, str] = {}
    async with database.snapshot() as connection:
        statement = _statement(start, end, sites).execution_options(yield_per=_CHUNK)
        async with connection.stream(statement) as found:
            async for chunk in found.partitions():
                known += await asyncio.to_thread(_activations, chunk, keys, duty)
        drills, disproved = await _left_out(connection, start, end, sites)
        re_alarms = await _re_alarms(connection, start, end, sites, duty)
    figures = await asyncio.to_thread(measure, known, start, end)
    return Measured(figures, drills, disproved, re_alarms)


def _statement(start: int, end: int, sites: Collection[str] | None) -> CompoundSelect[Any]:
    """Activations that began in the period, or were active in it: each by its own index."""
    of_period = select(*(activation.c[name] for name in _COLUMNS)).where(
        ~activation.c.drill, ~activation.c.disproved, *_on_sites(activation, sites)
    )
    earlier = activation.c.started_at + 0 < start
    began = of_period.where(activation.c.started_at >= start, activation.c.started_at < end)
    still = of_period.where(activation.c.ended_at.is_(None), earlier)
    later = of_period.where(after(activation.c.ended_at, end - 1), earlier)
    return union_all(began, still, later)


def _on_sites(table: Any, sites: Collection[str] | None) -> list[ColumnElement[bool]]:
    return [] if sites is None else [beside_index(table.c.site.in_(sites))]


def _activations(rows: Sequence[Any], keys: dict[_Key, str], duty: DutyPositions) -> list[Activation]:
    """Rows as activations; `keys` interns each key's text."""
    known: list[Activation] = []
    for site, equipment, part, rule, *rest in rows:
        of = (site, equipment, part, rule)
        key = keys.get(of) or keys.setdefault(of, "/".join(of))
        known.append(Activation(key, duty.of(site), *rest))
    return known


async def _left_out(
    connection: AsyncConnection, start: int, end: int, sites: Collection[str] | None
) -> tuple[int, int]:
    """Number of drills, and of disproved activations, in the period."""
    counted = [
        select(func.count()).where(
            activation.c.started_at >= start, activation.c.started_at < end, flag,
            *_on_sites(activation, sites),
        )
        for flag in (activation.c.drill, activation.c.disproved)
    ]  # fmt: skip
    drills, disproved = [int(await connection.scalar(statement) or 0) for statement in counted]
    return drills, disproved


async def _re_alarms(
    connection: AsyncConnection, start: int, end: int, sites: Collection[str] | None, duty: DutyPositions
) -> dict[str, int]:
    """Position -> the most re-alarms of one alarm."""
    statement = (
        select(alarm.c.site, func.count().label("times"))
        .select_from(journal.join(alarm, alarm.c.id == journal.c.thing))
        .where(
            journal.c.event == text_of(Event.RE_ALARMED.value), journal.c.at >= start, journal.c.at < end,
            *_on_sites(alarm, sites),
        )
        .group_by(alarm.c.id, alarm.c.site)
    )  # fmt: skip
    most: dict[str, int] = {}
    for site, times in await connection.execute(statement):
        position = duty.of(site)
        most[position] = max(most.get(position, 0), times)
    return most
