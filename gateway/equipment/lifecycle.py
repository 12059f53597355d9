"""Lifecycle actions on equipment: each is one transaction with its audit row and its fact.

The caller passes the consequences for alarms and tickets as `also`; they are written in the same transaction.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.equipment import life
from gateway.equipment.ledger import Equipment, Ledger, Who
from gateway.equipment.life import Correction, EquipmentRefused, Refusal
from gateway.equipment.links import read_topology
from gateway.equipment.topology import Link
from gateway.people.audit.entry import Cause, audited
from gateway.storage.database import Database
from gateway.storage.records import NewFact
from gateway.storage.tables import equipment, equipment_link, last_message
from gateway.storage.transaction import Transaction

ADOPTED = "equipment.adopted"
CORRECTED = "equipment.corrected"
RENAMED = "equipment.renamed"
RETIRED = "equipment.retired"
REPLACED = "equipment.replaced"
_ACTS = {
    ADOPTED: "equipment.adopt", CORRECTED: "equipment.correct", RENAMED: "equipment.rename",
    RETIRED: "equipment.retire", REPLACED: "equipment.replace",
}  # fmt: skip
"""Fact -> act in the audit."""

Also = Callable[[Transaction], Awaitable[None]]
"""Further changes in the transaction."""


class Lifecycle:
    """Adopts, corrects, renames, retires and replaces. Each action may raise EquipmentRefused; then nothing changes."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger

    async def adopt(self, who: Who, wanted: Correction, cause: Cause, now: int) -> Equipment:
        """Adopt unknown equipment, or retired equipment again."""
        before, after = self._row(who), life.adopted(self._ledger.equipment, who, wanted)
        async with self._database.transaction() as transaction:
            await self._change(transaction, before, after, ADOPTED, cause, now)
        self._ledger.replace((), [after])
        return after

    async def correct(
        self, who: Who, wanted: Correction, cause: Cause, now: int, also: Sequence[Also] = ()
    ) -> Equipment:
        """Change name, place or kind. `also` runs if the kind changes.

        A row of its new kind that was listed under its code is absorbed.
        """
        rows = self._ledger.equipment
        before, after = self._row(who), life.corrected(rows, who, wanted)
        second = None if after.kind == before.kind else life.absorbed(rows, after)
        if second is not None:
            codes = dict.fromkeys((*after.former_codes, *second.former_codes, second.code))
            after = msgspec.structs.replace(after, former_codes=list(codes))
        async with self._database.transaction() as transaction:
            for do in also if after.kind != before.kind else ():
                await do(transaction)
            if second is not None:
                await _remove(transaction, second)
            await self._change(transaction, before, after, CORRECTED, cause, now, {"kind": before.kind})
        self._ledger.replace([] if second is None else [(second.site, second.code)], [after])
        return after

    async def rename(
        self, who: Who, version: int, code: str, cause: Cause, now: int, also: Sequence[Also] = ()
    ) -> Equipment:
        """Change the code. Messages under the former code still count as its own."""
        before = self._row(who)
        after = life.renamed(self._ledger.equipment, self._ledger.estate.renamed, who, version, code)
        async with self._database.transaction() as transaction:
            await _require_free(transaction, after)
            await self._change(transaction, before, after, RENAMED, cause, now, {"former": before.code})
            await _move_links(transaction, before.site, before.code, code)
            await _move_shares(transaction, before.site, before.code, code)
            for do in also:
                await do(transaction)
        sharing = [
            msgspec.structs.replace(item, shares_code=code)
            for item in self._ledger.equipment.values()
            if (item.site, item.shares_code) == who
        ]
        self._ledger.replace([who], [after, *sharing])
        await self._ledger.links.learn({before.site})
        return after

    async def retire(self, who: Who, version: int, cause: Cause, now: int, also: Sequence[Also] = ()) -> Equipment:
        """Retire it. Its row, history and records stay."""
        before, after = self._row(who), life.retired(self._ledger.equipment, who, version, now)
        async with self._database.transaction() as transaction:
            await self._change(transaction, before, after, RETIRED, cause, now)
            for do in also:
                await do(transaction)
        self._ledger.replace((), [after])
        return after

    async def replace(
        self, who: Who, version: int, code: str, cause: Cause, now: int, also: Sequence[Also] = ()
    ) -> Equipment:
        """Retire it and give its name, place and links to a new device. Returns the new device's row."""
        before, known = self._row(who), self._ledger.equipment
        old, new = life.replaced(known, self._ledger.estate.renamed, who, version, code, now)
        heard = known.get((new.site, new.code))
        async with self._database.transaction() as transaction:
            if heard is None:
                await _require_free(transaction, new)
                await transaction.execute(insert(equipment).values(**msgspec.structs.asdict(new), created_at=now))
                _record(transaction, None, new, REPLACED, cause, now, {"former": before.code})
            else:
                await self._change(transaction, heard, new, REPLACED, cause, now, {"former": before.code})
            await self._change(transaction, before, old, RETIRED, cause, now, {"replaced_by": code})
            await _move_links(transaction, before.site, before.code, code)
            for do in also:
                await do(transaction)
        self._ledger.replace((), [old, new])
        await self._ledger.links.learn({before.site})
        return new

    def _row(self, who: Who) -> Equipment:
        item = self._ledger.equipment.get(who)
        if item is None:
            raise EquipmentRefused(Refusal.NOT_FOUND, f"there is no equipment {who[0]}:{who[1]}")
        return item

    async def _change(
        self,
        transaction: Transaction,
        before: Equipment,
        after: Equipment,
        fact: str,
        cause: Cause,
        now: int,
        body: dict[str, Any] | None = None,
    ) -> None:
        changed = await transaction.execute(
            update(equipment)
            .where(
                equipment.c.site == before.site, equipment.c.code == before.code, equipment.c.version == before.version
            )
            .values(**msgspec.structs.asdict(after))
        )
        if changed.rowcount == 0:
            raise EquipmentRefused(Refusal.STALE, f"{before.id} has changed since it was read")
        if after.in_use or before.in_use:
            await _forget_message(transaction, before)
        _record(transaction, before, after, fact, cause, now, body or {})


def _record(
    transaction: Transaction,
    before: Equipment | None,
    after: Equipment,
    fact: str,
    cause: Cause,
    now: int,
    body: dict[str, Any],
) -> None:
    was = None if before is None else msgspec.structs.asdict(before)
    record = audited(now, after.site, cause, _ACTS[fact], after.id, was, msgspec.structs.asdict(after))
    transaction.add_audit(record)
    said = {"equipment": after.code, "actor": cause.actor, **body}
    transaction.add_facts(NewFact(now, after.site, fact, after.id, said))


async def _require_free(connection: AsyncConnection, item: Equipment) -> None:
    """Refuse a code that another process has listed or entered meanwhile."""
    statement = select(equipment.c.code).where(equipment.c.site == item.site, equipment.c.code == item.code)
    if await connection.scalar(statement) is not None:
        raise EquipmentRefused(Refusal.CODE_TAKEN, f"{item.id} has been listed or entered meanwhile")


async def _forget_message(connection: AsyncConnection, item: Equipment) -> None:
    await connection.execute(
        delete(last_message).where(last_message.c.site == item.site, last_message.c.equipment == item.code)
    )


async def _remove(connection: AsyncConnection, item: Equipment) -> None:
    await _forget_message(connection, item)
    await connection.execute(delete(equipment).where(equipment.c.site == item.site, equipment.c.code == item.code))


async def _move_links(connection: AsyncConnection, site: str, old: str, new: str) -> None:
    """Move links to the new code; existing links of the new code stay."""
    here = equipment_link.c.site == site
    topology = await read_topology(connection)
    ends = or_(equipment_link.c.child == old, equipment_link.c.parent == old)
    rows = (await connection.execute(select(equipment_link).where(here, ends))).mappings().all()
    await connection.execute(delete(equipment_link).where(here, ends))
    for row in rows:
        values = {**row, **{end: new for end in ("child", "parent") if row[end] == old}}
        link = Link(site, values["child"], values["parent"], values["relation"])
        if link.child != link.parent and link not in topology.links:
            await connection.execute(insert(equipment_link).values(**values))


async def _move_shares(connection: AsyncConnection, site: str, old: str, new: str) -> None:
    await connection.execute(
        update(equipment).where(equipment.c.site == site, equipment.c.shares_code == old).values(shares_code=new)
    )
