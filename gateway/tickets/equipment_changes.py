"""Open tickets of equipment that is retired or renamed: they stay open and record the change."""

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.people.audit.entry import Cause
from gateway.storage.queries.index_use import beside_index
from gateway.storage.records import JournalRow, NewFact
from gateway.storage.tables import ticket, ticket_is_open
from gateway.storage.transaction import Transaction


async def note_on_tickets(
    transaction: Transaction, site: str, code: str, event: str, note: str, cause: Cause, now: int
) -> None:
    """Write a line into the journal of every open ticket of an equipment."""
    numbers = [row["number"] for row in await _open_tickets(transaction, site, code)]
    _note(transaction, numbers, site, event, note, cause, now)


async def move_tickets(transaction: Transaction, site: str, code: str, new: str, cause: Cause, now: int) -> None:
    """Move open tickets of an equipment to its new code."""
    rows = await _open_tickets(transaction, site, code)
    was, will_be = f"{site}/{code}/", f"{site}/{new}/"
    for row in rows:
        key = row["open_key"]
        moved = will_be + key.removeprefix(was) if key and key.startswith(was) else key
        await transaction.execute(
            update(ticket)
            .where(ticket.c.number == row["number"])
            .values(equipment=new, open_key=moved, version=row["version"] + 1)
        )
    _note(transaction, [row["number"] for row in rows], site, "equipment_renamed", f"{code} -> {new}", cause, now)


async def _open_tickets(connection: AsyncConnection, site: str, code: str) -> list[dict[str, Any]]:
    here = beside_index(ticket.c.site == site), beside_index(ticket.c.equipment == code)
    statement = select(ticket).where(ticket_is_open, *here).order_by(ticket.c.id).with_for_update()
    return [dict(row) for row in (await connection.execute(statement)).mappings()]


def _note(
    transaction: Transaction, numbers: list[str], site: str, event: str, note: str, cause: Cause, now: int
) -> None:
    lines = [JournalRow("ticket", number, now, event, "", "", cause.actor, note) for number in numbers]
    transaction.add_journal(*lines)
    transaction.add_facts(*(NewFact(now, site, f"ticket.{event}", number) for number in numbers))
