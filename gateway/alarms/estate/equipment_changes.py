"""Updates alarms, and the tables that belong to them, when equipment is retired or renamed.

The functions run in any process, in the transaction that changes the ledger. The leader calls them once more when it
loads the change: it may have decided something in between.
"""

from typing import Final

from sqlalchemy import ColumnElement, Table, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.alarms.key import Key, Scope
from gateway.alarms.lifecycle.rows import open_alarms_at, save
from gateway.alarms.lifecycle.transitions import Written, end_for_retired, key_of, note_on
from gateway.people.audit.entry import Cause, Via
from gateway.storage.tables import (
    alarm,
    alarm_is_open,
    maintenance_window,
    out_of_service,
    rule_memory,
    rule_version,
    shelf,
    window_is_open,
)
from gateway.storage.transaction import Transaction

_KEPT: Final = (rule_memory, shelf, out_of_service)
"""Tables with the current state of an equipment."""
RETIRED_MEANWHILE: Final = Cause("system:equipment", Via.FACT, why="equipment retired")
RENAMED_MEANWHILE: Final = Cause("system:equipment", Via.FACT, why="equipment renamed")


async def end_alarms(
    transaction: Transaction, place: Scope, why: str, cause: Cause, now: int, *, spare_life_safety: bool = False
) -> None:
    """End every open alarm of an equipment, and forget delays, shelves and outages.

    Args:
        transaction: of the change.
        place: the equipment.
        why: for the journal.
        cause: who did it.
        now: epoch ms.
        spare_life_safety: leave those of life safety: they were raised after it was retired.
    """
    written, spared = Written(), set()
    for row in await open_alarms_at(transaction, {place}):
        if spare_life_safety and row["life_safety"]:
            spared.add((row["part"], row["rule"]))
        else:
            end_for_retired(row, written, cause, now, why)
    await save(transaction, written)
    for table in (shelf, out_of_service):
        await transaction.execute(delete(table).where(*_at(table, place)))
    await _forget_memories_but(transaction, place, spared)


async def _forget_memories_but(connection: AsyncConnection, place: Scope, spared: set[tuple[str, str]]) -> None:
    """Delete the rule memories of an equipment, except these (part, rule)."""
    columns = rule_memory.c
    its_own = _at(rule_memory, place)
    for part, rule in (await connection.execute(select(columns.part, columns.rule).where(*its_own))).all():
        if (part, rule) not in spared:
            await connection.execute(delete(rule_memory).where(*its_own, columns.part == part, columns.rule == rule))


async def move_alarms(transaction: Transaction, place: Scope, code: str, cause: Cause, now: int) -> None:
    """Move open alarms, delays, shelves, outages and maintenance windows of an equipment to another code."""
    written = Written()
    taken = {key_of(row) for row in await open_alarms_at(transaction, {Scope(place.site, code)})}
    for row in await open_alarms_at(transaction, {place}):
        key = key_of(row)._replace(equipment=code)
        if key in taken:  # decided under the new code already, before the leader loaded the rename
            end_for_retired(row, written, cause, now, f"continues as the alarm of {code}")
            continue
        await _rekey(transaction, row["id"], key)
        note_on(row, "equipment_renamed", written, cause, now, f"{place.equipment} -> {code}")
        row.update(equipment=code, open_key=str(key), version=row["version"] + 1)
    await save(transaction, written)
    for table in _KEPT:
        await _move(transaction, table, place, code)
    await transaction.execute(
        update(maintenance_window).where(window_is_open, *_at(maintenance_window, place)).values(equipment=code)
    )


async def _rekey(connection: AsyncConnection, identity: str, key: Key) -> None:
    where = alarm.c.id == identity
    await connection.execute(update(alarm).where(where).values(equipment=key.equipment, open_key=str(key)))


async def _move(connection: AsyncConnection, table: Table, place: Scope, code: str) -> None:
    """Move the rows of a table; a row that exists under the new code is newer and stays."""
    names = [column.name for column in table.primary_key if column.name not in {"site", "equipment"}]
    rest = [table.c[name] for name in names]
    new = await connection.execute(select(*rest).where(*_at(table, Scope(place.site, code))))
    taken = {tuple(row) for row in new}
    for row in (await connection.execute(select(*rest).where(*_at(table, place)))).all():
        one = [*_at(table, place), *(column == value for column, value in zip(rest, row, strict=True))]
        if tuple(row) in taken:
            await connection.execute(delete(table).where(*one))
        else:
            await connection.execute(update(table).where(*one).values(equipment=code))


async def copy_rule_changes(connection: AsyncConnection, place: Scope, code: str, cause: Cause, now: int) -> None:
    """Copy the rule changes of an equipment to its new code, as a version there."""
    columns = rule_version.c
    holding = select(rule_version).where(*_at(rule_version, place), columns.superseded_by.is_(None))
    for row in (await connection.execute(holding)).mappings().all():
        there = [columns.rule == row["rule"], *_at(rule_version, Scope(place.site, code))]
        newest = int(await connection.scalar(select(func.coalesce(func.max(columns.version), 0)).where(*there)) or 0)
        values = {
            "rule": row["rule"], "site": place.site, "equipment": code, "version": newest + 1,
            "changes": row["changes"], "equals": None, "person": cause.actor, "second_person": row["second_person"],
            "at": now, "note": f"taken over from {place.equipment}",
        }  # fmt: skip
        identity = await connection.scalar(insert(rule_version).values(**values).returning(columns.id))
        await connection.execute(
            update(rule_version).where(*there, columns.version == newest).values(superseded_by=identity)
        )


async def has_open_alarms(connection: AsyncConnection, place: Scope, *, only_life_safety: bool = False) -> bool:
    """Whether an equipment has open alarms, or open alarms of life safety."""
    wanted = [alarm.c.life_safety] if only_life_safety else []
    statement = select(alarm.c.id).where(alarm_is_open, *_at(alarm, place), *wanted).limit(1)
    return await connection.scalar(statement) is not None


async def forget_memories(connection: AsyncConnection, place: Scope) -> None:
    """Delete the rule memories of an equipment: it starts fresh."""
    await connection.execute(delete(rule_memory).where(*_at(rule_memory, place)))


def _at(table: Table, place: Scope) -> list[ColumnElement[bool]]:
    return [table.c.site == place.site, table.c.equipment == place.equipment]
