"""Attachments of tickets: add once per id, list, find; remove files without a row."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.people.audit.entry import Cause, audited
from gateway.storage.database import Database
from gateway.storage.leadership import lease
from gateway.storage.queries.chunks import in_portions
from gateway.storage.records import JournalRow, NewFact
from gateway.storage.tables import attachment, ticket
from gateway.storage.transaction import Transaction
from gateway.tickets.attachments.files import AttachmentFiles, Checked
from gateway.tickets.attachments.types import Refused
from gateway.tickets.tickets import NoSuchTicket

log = structlog.get_logger(__name__)

Row = dict[str, Any]
MOST: Final = 200
"""Attachments of one ticket."""
_EVERY_S: Final = 3600.0


class NewAttachment(msgspec.Struct, frozen=True):
    """A file to attach. `id` is the client's, or ours; `position`: whether a photo kept its position."""

    id: str
    ticket: str
    name: str
    position: bool


async def add(
    database: Database, files: AttachmentFiles, new: NewAttachment, checked: Checked, cause: Cause, now: int
) -> Row:
    """Store a file and its row. An existing attachment with this id stays as it is and is returned.

    Raises:
        NoSuchTicket: it was removed meanwhile.
        Refused: another ticket's attachment has this id, the ticket has too many, or the disk fails.
    """
    async with files.one_at_a_time(new.id):
        return await _add(database, files, new, checked, cause, now)


async def _add(
    database: Database, files: AttachmentFiles, new: NewAttachment, checked: Checked, cause: Cause, now: int
) -> Row:
    async with database.reading() as connection:
        known = await _by_id(connection, new.id)
        site = await _require_place(connection, new, known)
    if known is not None:
        return known
    # Before the row and outside its transaction: a slow disk must not block other writers. If no row follows, the
    # sweep removes the file.
    await files.put(checked, new.id)
    row = {
        "id": new.id, "ticket": new.ticket, "site": site, "name": new.name, "media_type": checked.media_type,
        "size": checked.size, "sha256": checked.sha256, "position": new.position, "person": cause.actor, "at": now,
    }  # fmt: skip
    async with database.transaction() as transaction:
        known = await _by_id(transaction, new.id)  # another process was faster
        await _require_place(transaction, new, known)
        if known is not None:
            return known
        await transaction.execute(insert(attachment), row)
        _record(transaction, row, cause)
    return row


async def _require_place(connection: AsyncConnection, new: NewAttachment, known: Row | None) -> str:
    """Check that it can be attached. Returns the ticket's site. Raises NoSuchTicket, Refused."""
    if known is not None and known["ticket"] != new.ticket:
        raise Refused("attachment_id_taken", "send it again with another id")
    site = await connection.scalar(select(ticket.c.site).where(ticket.c.number == new.ticket))
    if site is None:
        raise NoSuchTicket(new.ticket)
    if known is None:
        await _require_room(connection, new.ticket)
    return str(site)


async def _require_room(connection: AsyncConnection, number: str) -> None:
    statement = select(func.count()).select_from(attachment).where(attachment.c.ticket == number)
    if int(await connection.scalar(statement) or 0) >= MOST:
        raise Refused("too_many_attachments", f"a ticket has at most {MOST}")


def _record(transaction: Transaction, row: Row, cause: Cause) -> None:
    """Without the file name: it may name people, and could not be removed from the audit."""
    told = {key: row[key] for key in ("id", "media_type", "size", "sha256", "position")}
    number, at = row["ticket"], row["at"]
    line = JournalRow("ticket", number, at, "attached", "", "", cause.actor, row["name"])
    transaction.add_journal(line)
    transaction.add_audit(audited(at, row["site"], cause, "ticket.attach", number, None, told))
    transaction.add_facts(NewFact(at, row["site"], "ticket.attached", number, {"attachment": row["id"]}))


async def _by_id(connection: AsyncConnection, identity: str) -> Row | None:
    found = await connection.execute(select(attachment).where(attachment.c.id == identity))
    row = found.mappings().one_or_none()
    return None if row is None else dict(row)


async def find(database: Database, identity: str) -> Row | None:
    """One attachment."""
    async with database.reading() as connection:
        return await _by_id(connection, identity)


async def of_ticket(database: Database, number: str) -> list[Row]:
    """A ticket's attachments, oldest first."""
    statement = select(attachment).where(attachment.c.ticket == number).order_by(attachment.c.at, attachment.c.id)
    async with database.reading() as connection:
        return [dict(row) for row in (await connection.execute(statement)).mappings()]


class AttachmentSweep:
    """Removes files without a row: retention removes rows, and a crash may happen before one is written."""

    def __init__(self, database: Database, files: AttachmentFiles, epoch: int) -> None:
        self._database = database
        self._files = files
        self._epoch = epoch

    async def run(self) -> None:
        """Sweep at the start and each hour, until cancelled. Raises LeaseLost."""
        while True:
            try:
                await self.sweep()
            except lease.LeaseLost:
                raise
            except Exception as error:  # noqa: BLE001 - files that stay must not end the watch
                log.error("files without an attachment cannot be removed now; retrying in an hour", why=repr(error))
            await asyncio.sleep(_EVERY_S)

    async def sweep(self) -> None:
        """Quarantine files without a row, restore those that have one after all, remove old ones."""
        for part in in_portions(await self._files.kept()):
            if await self._without_row(part):
                await self._set_aside(part)
        for part in in_portions(await self._files.set_aside()):
            without = await self._without_row(part)
            await self._files.put_back([identity for identity in part if identity not in without])
        removed = await self._files.forget_old()
        if removed:
            log.info("files without an attachment removed", files=removed)

    async def _without_row(self, identities: Sequence[str]) -> set[str]:
        async with self._database.reading() as connection:
            return await _without_row(connection, identities)

    async def _set_aside(self, identities: Sequence[str]) -> None:
        """Only old files are checked here: a newer one may still get its row."""
        async with self._database.reading() as connection:
            await lease.verify(connection, self._epoch)
            without = await _without_row(connection, identities)
        await self._files.move_aside(without)
        log.warning("files without an attachment quarantined for a week", files=len(without))


async def _without_row(connection: AsyncConnection, identities: Sequence[str]) -> set[str]:
    rows = await connection.scalars(select(attachment.c.id).where(attachment.c.id.in_(identities)))
    return set(identities) - set(rows)
