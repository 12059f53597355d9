"""Rows of alarms: read with a lock, and written together with journal, audit and facts."""

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import bindparam, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.alarms.evaluation.outcomes import Decision
from gateway.alarms.key import CLOCKS_DIFFER_MS, Scope
from gateway.alarms.lifecycle.transitions import Row, Written, identity_of
from gateway.storage.queries.chunks import AT_ONCE, in_portions
from gateway.storage.tables import activation, alarm, alarm_is_open
from gateway.storage.transaction import Transaction


class StaleVersion(Exception):
    """The alarm has changed since it was read."""


class NoSuchAlarm(Exception):
    """There is no alarm with this id."""


async def save(transaction: Transaction, written: Written) -> None:
    """Write rows as part of the caller's transaction."""
    new = [row for identity, row in written.alarms.items() if identity in written.new]
    changed = [row for identity, row in written.alarms.items() if identity not in written.new]
    if changed:  # before the new ones: an alarm that closes frees its key for the one that opens
        await transaction.execute(
            _UPDATE_ALARM, [{"of_id": row["id"], **{name: row[name] for name in _SET}} for row in changed]
        )
        await transaction.execute(
            _UPDATE_PRIORITY, [{"of_id": row["id"], "of_priority": row["priority"]} for row in changed]
        )
    if new:
        await transaction.execute(insert(alarm), new)
    if written.ended:
        await transaction.execute(_END_ACTIVATION, written.ended)
    if written.answered:
        await transaction.execute(_ACKNOWLEDGE_ACTIVATIONS, written.answered)
    if written.activations:
        await transaction.execute(insert(activation), written.activations)
    transaction.add_journal(*written.journal)
    transaction.add_audit(*written.audit)
    transaction.add_facts(*written.facts)


# SQLite rewrites every index of which a column is set, even to the same value: columns that never change are not set,
# and the priority, which is in several indexes, only if it changes.
_SET: Final = sorted(set(alarm.c.keys()) - {"id", "site", "kind", "equipment", "part", "rule", "latching", "priority"})
_UPDATE_ALARM: Final = (
    update(alarm).where(alarm.c.id == bindparam("of_id")).values({name: bindparam(name) for name in _SET})
)
_UPDATE_PRIORITY: Final = (
    update(alarm)
    .where(alarm.c.id == bindparam("of_id"), alarm.c.priority != bindparam("of_priority"))
    .values(priority=bindparam("of_priority"))
)
_END_ACTIVATION: Final = (
    update(activation)
    .where(activation.c.alarm == bindparam("of_alarm"), activation.c.ended_at.is_(None))
    .values(ended_at=bindparam("ended_at"), disproved=bindparam("disproved"))
)
_ACKNOWLEDGE_ACTIVATIONS: Final = (
    update(activation)
    .where(activation.c.alarm == bindparam("of_alarm"), activation.c.acknowledged_at.is_(None))
    .values(acknowledged_at=bindparam("answered_at"))
)


async def open_alarms_of(connection: AsyncConnection, keys: set[str]) -> dict[str, Row]:
    """Open alarms by key, locked until the transaction ends."""
    rows: dict[str, Row] = {}
    for part in in_portions(sorted(keys)):  # in one order, so that two transactions cannot deadlock
        statement = select(alarm).where(alarm.c.open_key.in_(part)).order_by(alarm.c.open_key).with_for_update()
        found = await connection.execute(statement)
        rows |= {row["open_key"]: dict(row) for row in found.mappings()}
    return rows


async def alarms_by_id(connection: AsyncConnection, identities: Sequence[str]) -> dict[str, Row]:
    """Alarms by id, locked until the transaction ends."""
    rows: dict[str, Row] = {}
    for part in in_portions(identities):
        statement = select(alarm).where(alarm.c.id.in_(part)).order_by(alarm.c.id).with_for_update()
        rows |= {row["id"]: dict(row) for row in (await connection.execute(statement)).mappings()}
    return rows


async def alarm_to_change(connection: AsyncConnection, identity: str, version: int | None) -> Row:
    """The alarm that a person wants to change, locked. Raises NoSuchAlarm, StaleVersion.

    `version` is None if changes since it was read do not matter.
    """
    row = (await alarms_by_id(connection, [identity])).get(identity)
    if row is None:
        raise NoSuchAlarm(identity)
    if version is not None and row["version"] != version:
        raise StaleVersion(f"the alarm is at version {row['version']}, not {version}")
    return row


async def open_alarms_at(connection: AsyncConnection, places: Collection[Scope] | None) -> list[Row]:
    """Open alarms of some places, None: of all, locked until the transaction ends."""
    statement = select(alarm).where(alarm_is_open).order_by(alarm.c.open_key).with_for_update()
    if places is None:
        return [dict(row) for row in (await connection.execute(statement)).mappings()]
    sites = sorted({place.site for place in places if not place.equipment})
    single = sorted(place for place in places if place.equipment and place.site not in sites)
    rows: list[Row] = []
    for wanted in (
        *(alarm.c.site.in_(part) for part in in_portions(sites)),
        *(tuple_(alarm.c.site, alarm.c.equipment).in_(part) for part in in_portions(single)),
    ):
        rows += [dict(row) for row in (await connection.execute(statement.where(wanted))).mappings()]
    return rows


async def due_for_re_alarm(connection: AsyncConnection, now: int) -> list[str]:
    """Ids of the alarms due for re-alarm, the longest due first."""
    too_far = alarm.c.re_alarm_at > now + alarm.c.re_alarm + CLOCKS_DIFFER_MS
    is_due = (alarm.c.re_alarm_at <= now) | too_far
    due = select(alarm.c.id).where(alarm_is_open, alarm.c.re_alarm_at.is_not(None), is_due)
    return list(await connection.scalars(due.order_by(alarm.c.re_alarm_at).limit(AT_ONCE)))


def is_due_for_re_alarm(row: Row, now: int) -> bool:
    """Whether an alarm is due for re-alarm; a time further ahead than possible is from another clock and is due."""
    at = row["re_alarm_at"]
    return at is not None and not now < at <= now + row["re_alarm"] + CLOCKS_DIFFER_MS


async def known_activations(connection: AsyncConnection, decisions: Sequence[Decision]) -> set[str]:
    """Identities of the activations already in the database."""
    raised = [identity_of(decision) for decision in decisions if decision.change.raised]
    known: set[str] = set()
    for part in in_portions(raised):
        known.update(await connection.scalars(select(activation.c.identity).where(activation.c.identity.in_(part))))
    return known
