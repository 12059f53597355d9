"""Shelving: a person shelves an alarm for a time, with a reason, and unshelves it (ISA-18.2).

The alarm's key is shelved: it stays so when the alarm closes and comes again. Any process may write it; the leader
learns of it from its fact, and reads the shelves again in the transaction of its next decision.

The longest times are `AlarmSettings` in `gateway/settings.py`; `gateway/api/alarms/shelving.py` checks them.
"""

from collections.abc import Collection
from typing import Final

import msgspec
from sqlalchemy import RowMapping, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.alarms.key import Key
from gateway.alarms.lifecycle.rows import alarm_to_change, save
from gateway.alarms.lifecycle.states import NotPermitted
from gateway.alarms.lifecycle.transitions import Row, Written, key_of
from gateway.alarms.suppression.annunciation import enter, suppressions_of
from gateway.alarms.suppression.reasons import Reason, Shelf, Shelves, Suppression
from gateway.people.audit.entry import Cause, audited
from gateway.storage.database import Database
from gateway.storage.records import AuditRow, NewFact
from gateway.storage.tables import shelf

SHELVED: Final = "alarm.shelved"
UNSHELVED: Final = "alarm.unshelved"
HOUR_MS: Final = 3_600_000


async def load_shelves(connection: AsyncConnection) -> Shelves:
    """Every shelf."""
    rows = (await connection.execute(select(shelf))).mappings()
    return Shelves({_key_of(row): shelf_of(row) for row in rows})


async def shelve(database: Database, identity: str, version: int, wanted: Shelf, cause: Cause) -> None:
    """Shelve an open alarm, or shelve it again. Now is `wanted.since`.

    Raises:
        NoSuchAlarm: no alarm has this id.
        StaleVersion: it has changed since `version`.
        NotPermitted: it is over.
    """
    now = wanted.since
    async with database.transaction() as transaction:
        row = await alarm_to_change(transaction, identity, version)
        if row["open_key"] is None:
            raise NotPermitted("the alarm is over; only an open one can be shelved")
        before = await _take_away(transaction, [key_of(row)])
        await transaction.execute(insert(shelf).values(**_row(key_of(row), wanted)))
        written = Written()
        written.audit.append(_audit(row["site"], key_of(row), before.get(key_of(row)), wanted, cause, now))
        others = tuple(item for item in suppressions_of(row) if item.reason is not Reason.SHELVED)
        enter(row, (_suppression(wanted), *others), now, written, cause)
        written.facts.append(_fact(SHELVED, row, now))
        await save(transaction, written)


async def unshelve(database: Database, identity: str, version: int, note: str, cause: Cause, now: int) -> None:
    """Unshelve an alarm, open or closed: its key is no longer shelved.

    Raises:
        NoSuchAlarm: no alarm has this id.
        StaleVersion: it has changed since `version`.
        NotPermitted: it is not shelved.
    """
    async with database.transaction() as transaction:
        row = await alarm_to_change(transaction, identity, version)
        key = key_of(row)
        before = await _take_away(transaction, [key])
        if not before:
            raise NotPermitted("the alarm is not shelved")
        written = Written()
        written.audit.append(_audit(row["site"], key, before[key], None, cause, now))
        others = tuple(item for item in suppressions_of(row) if item.reason is not Reason.SHELVED)
        enter(row, others, now, written, cause, note=note)
        written.facts.append(_fact(UNSHELVED, row, now))
        await save(transaction, written)


async def end_shelves(connection: AsyncConnection, keys: Collection[Key], cause: Cause, now: int) -> list[AuditRow]:
    """Delete shelves that have ended, in the caller's transaction. Returns the audit rows."""
    before = await _take_away(connection, keys)
    return [_audit(key.site, key, ended, None, cause, now) for key, ended in before.items()]


def shelf_of(row: RowMapping) -> Shelf:
    """The shelf of a row."""
    return Shelf(**{name: row[name] for name in Shelf.__struct_fields__})


def _key_of(row: RowMapping) -> Key:
    return Key(row["site"], row["equipment"], row["part"], row["rule"])


def _suppression(wanted: Shelf) -> Suppression:
    return Suppression(
        reason=Reason.SHELVED, by=wanted.person, since=wanted.since, until=wanted.until, why=wanted.reason,
        second_person=wanted.second_person,
    )  # fmt: skip


async def _take_away(connection: AsyncConnection, keys: Collection[Key]) -> dict[Key, Shelf]:
    """Delete the shelves of some keys. Returns them."""
    found: dict[Key, Shelf] = {}
    for key in keys:
        where = [shelf.c[name] == value for name, value in key._asdict().items()]
        row = (await connection.execute(select(shelf).where(*where))).mappings().one_or_none()
        if row is not None:
            found[key] = shelf_of(row)
            await connection.execute(delete(shelf).where(*where))
    return found


def _row(key: Key, wanted: Shelf) -> Row:
    return {**key._asdict(), **msgspec.structs.asdict(wanted)}


def _audit(site: str, key: Key, before: Shelf | None, after: Shelf | None, cause: Cause, now: int) -> AuditRow:
    was, will_be = (
        None if one is None else {name: getattr(one, name) for name in _AUDITED} | {"rule": key.rule, "part": key.part}
        for one in (before, after)
    )
    act = "alarm.unshelve" if after is None else "alarm.shelve"
    return audited(now, site, cause, act, f"{key.site}:{key.equipment}"[:128], was, will_be)


def _fact(kind: str, row: Row, now: int) -> NewFact:
    return NewFact(now, row["site"], kind, row["id"], {"equipment": row["equipment"]})


_AUDITED: Final = ("since", "until", "one_shot", "person", "second_person")
