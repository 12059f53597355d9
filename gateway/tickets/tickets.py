"""Tickets act here: they open for alarms that want one, and follow what becomes of the alarm.

An `alarm.raised` fact opens a ticket at once; each tick looks for activations of open alarms that want one and have
none. The unique open key keeps a second one out whichever comes first. While a ticket is open, new activations join.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.people.audit import AuditRow, Cause, JournalRow, Via, audited, write_records
from gateway.storage import lease
from gateway.storage.database import Database
from gateway.storage.facts import Consumer, Fact, NewFact, write_facts
from gateway.storage.identity import new_id
from gateway.storage.tables import activation, alarm, ticket, ticket_activation
from gateway.tickets.numbers import next_number
from gateway.tickets.states import CLOSED, FIRST_STATE, Action, TicketType, after

log = structlog.get_logger(__name__)

CONSUMER: Final = "tickets"
FACTS_TAKE_MS: Final = 1_000
"""An activation younger than this may still get its ticket from its fact."""
Clock = Callable[[], int]
"""Now, in epoch milliseconds."""
Row = dict[str, Any]


class NoSuchTicket(Exception):
    """There is no ticket with this number."""


class StaleVersion(Exception):
    """The ticket has changed since it was looked at."""


class Tickets:
    """The owner's side: follows the alarms' facts."""

    def __init__(self, database: Database, epoch: int, clock: Clock) -> None:
        self._database = database
        self._epoch = epoch
        self._clock = clock
        self._consumer = Consumer(database, CONSUMER, self._take, partial(lease.verify, epoch=epoch))

    async def follow_alarms(self) -> None:
        """Work off the alarms' facts until cancelled. Raises LeaseLost."""
        await self._consumer.run()

    @property
    def trouble(self) -> str:
        """Why tickets cannot be written now, "" while they can."""
        return self._consumer.trouble

    async def tick(self) -> None:
        """Open a ticket for each open alarm that wants one and has none: certainty behind the facts' speed."""
        async with self._database.reading() as connection:
            overdue = activation.c.received_at <= self._clock() - FACTS_TAKE_MS
            rows = await connection.execute(_ACTIVATIONS_OWED_A_TICKET.where(overdue))
            owed = [(row.alarm, row.id) for row in rows]
        if not owed:
            return
        log.warning("alarms without the ticket they want", alarms=[identity for identity, _ in owed])
        cause = Cause("system:tickets", Via.CLOCK)
        async with self._database.transaction() as connection:
            await lease.verify(connection, self._epoch)
            for identity, activated in owed:
                await _open_for(connection, identity, activated, self._clock(), cause)

    async def _take(self, connection: AsyncConnection, fact: Fact) -> None:
        cause = Cause("system:tickets", Via.FACT, why=f"fact {fact.id}")
        now = self._clock()
        if fact.kind == "alarm.raised":
            await _open_for(connection, fact.thing, str(fact.body["activation"]), now, cause)
        elif fact.kind == "alarm.returned":
            await _note(connection, fact.thing, "condition_returned", now, cause)
        elif fact.kind == "alarm.acknowledged":
            await _acknowledge_for(connection, fact, now)


async def act(database: Database, number: str, action: Action, version: int, note: str, cause: Cause, now: int) -> None:
    """Take a ticket one step through its life.

    Raises:
        NoSuchTicket: no ticket has this number.
        StaleVersion: it has changed since `version`.
        NotPermitted: its state does not permit the action.
    """
    async with database.transaction() as connection:
        row = await _ticket_where(connection, ticket.c.number == number)
        if row is None:
            raise NoSuchTicket(number)
        if row["version"] != version:
            raise StaleVersion(f"the ticket is at version {row['version']}, not {version}")
        await _step(connection, row, action, note, cause, now)


async def _open_for(connection: AsyncConnection, identity: str, activated: str, now: int, cause: Cause) -> None:
    """Open a ticket for an alarm, or let the activation join the one that is open."""
    found = await connection.execute(select(alarm).where(alarm.c.id == identity))
    source = dict(found.mappings().one())
    if source["wants_ticket"] == "none":
        return
    if await _has_joined(connection, activated):
        return  # the tick was faster than the fact
    key = source["open_key"] or "/".join(source[name] for name in ("site", "equipment", "part", "rule"))
    row = await _ticket_where(connection, ticket.c.open_key == key)
    if row is None:
        row = await _open(connection, source, key, now, cause)
    else:
        await _write(connection, row, "activation_joined", row["state"], now, cause, alarm=identity)
    await connection.execute(insert(ticket_activation).values(activation=activated, ticket=row["number"]))


async def _has_joined(connection: AsyncConnection, activated: str) -> bool:
    joined = select(ticket_activation.c.ticket).where(ticket_activation.c.activation == activated)
    return await connection.scalar(joined) is not None


async def _open(connection: AsyncConnection, source: Row, key: str, now: int, cause: Cause) -> Row:
    kind = TicketType(source["wants_ticket"])
    row: Row = {
        "number": await next_number(connection, kind, source["site"], now),
        "id": new_id(now),
        "type": kind.value,
        "site": source["site"],
        "equipment": source["equipment"],
        "open_key": key,
        "alarm": source["id"],
        "title": source["title"],
        "priority": source["priority"],
        "state": FIRST_STATE,
        "playbook": source["playbook"],
        "opened_at": now,
        "closed_at": None,
        "drill": source["drill"],
        "version": 1,
    }
    await connection.execute(insert(ticket).values(**row))
    await _record(connection, row, "opened", "", None, now, cause, "")
    return row


async def _acknowledge_for(connection: AsyncConnection, fact: Fact, now: int) -> None:
    """Acknowledging an alarm acknowledges its emergency: one act of one person does both."""
    row = await _ticket_of(connection, fact.thing)
    if row is None or row["type"] != TicketType.EMERGENCY.value or row["state"] != FIRST_STATE:
        return
    actor = str(fact.body.get("actor", "system:tickets"))
    await _step(connection, row, Action.ACKNOWLEDGE, "", Cause(actor, Via.FACT, why=f"fact {fact.id}"), now)


async def _note(connection: AsyncConnection, identity: str, what: str, now: int, cause: Cause) -> None:
    row = await _ticket_of(connection, identity)
    if row is not None:
        await _write(connection, row, what, row["state"], now, cause)


async def _step(connection: AsyncConnection, row: Row, action: Action, note: str, cause: Cause, now: int) -> None:
    following = after(TicketType(row["type"]), row["state"], action)
    await _write(connection, row, action.value, following, now, cause, note=note)


async def _write(
    connection: AsyncConnection,
    row: Row,
    what: str,
    state: str,
    now: int,
    cause: Cause,
    *,
    note: str = "",
    alarm: str | None = None,
) -> None:
    """Write a ticket's new state with its records. `alarm` makes it the ticket of that alarm."""
    before = dict(row)
    row.update(state=state, version=row["version"] + 1, alarm=alarm or row["alarm"])
    if state in CLOSED[TicketType(row["type"])]:
        row.update(open_key=None, closed_at=now)
    await connection.execute(update(ticket).where(ticket.c.number == row["number"]).values(**row))
    await _record(connection, row, what, before["state"], before, now, cause, note)


async def _record(
    connection: AsyncConnection,
    row: Row,
    what: str,
    state_before: str,
    before: Row | None,
    now: int,
    cause: Cause,
    note: str,
) -> None:
    number = row["number"]
    line = JournalRow("ticket", number, now, what, state_before, row["state"], cause.actor, note)
    audit: AuditRow = audited(now, row["site"], cause, f"ticket.{what}", number, _shown(before), _shown(row))
    await write_records(connection, [line], [audit])
    await write_facts(connection, [NewFact(now, row["site"], f"ticket.{what}", number, {"actor": cause.actor})])


def _shown(row: Row | None) -> Row | None:
    return None if row is None else {name: row[name] for name in ("state", "alarm", "version")}


async def _ticket_where(connection: AsyncConnection, condition: Any) -> Row | None:
    found = await connection.execute(select(ticket).where(condition).with_for_update())
    row = found.mappings().one_or_none()
    return None if row is None else dict(row)


async def _ticket_of(connection: AsyncConnection, identity: str) -> Row | None:
    """The open ticket of an alarm."""
    return await _ticket_where(connection, (ticket.c.alarm == identity) & ticket.c.open_key.is_not(None))


_ACTIVATIONS_OWED_A_TICKET: Final = (
    select(activation.c.alarm, activation.c.id)
    .join(alarm, alarm.c.id == activation.c.alarm)
    .outerjoin(ticket_activation, ticket_activation.c.activation == activation.c.id)
    .where(
        alarm.c.open_key.is_not(None),
        alarm.c.wants_ticket != "none",
        ticket_activation.c.activation.is_(None),
    )
    .order_by(activation.c.id)
)
"""An alarm whose ticket was closed over its head is owed the next one when it becomes active again, not before."""
