"""Opens tickets for alarms that need one, and records the alarms' changes in them.

An `alarm.raised` fact opens a ticket at once; each tick selects activations of open alarms that need one and have none.
The unique open key prevents a second one, whichever comes first. While a ticket is open, new activations join it, and
so do further points of a fire.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import structlog
from msgspec.structs import replace
from sqlalchemy import bindparam, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.people.audit.entry import Cause, Via
from gateway.storage.database import Database
from gateway.storage.leadership import lease
from gateway.storage.outbox.isolate_failure import isolate_failure, reason_of
from gateway.storage.outbox.outbox import Consumer, Fact, OutboxMetrics
from gateway.storage.queries.chunks import in_portions
from gateway.storage.queries.index_use import text_of
from gateway.storage.tables import (
    activation,
    alarm,
    alarm_is_open,
    equipment,
    journal,
    ticket,
    ticket_activation,
    ticket_alarm,
    ticket_is_open,
)
from gateway.storage.transaction import Transaction
from gateway.tickets.alarm_to_ticket import Known, News, Row, Sensor, What, Written, follow, openings, step
from gateway.tickets.incident_place import Gathering, Scope, gathering_of, is_call, is_fire
from gateway.tickets.lifecycle.states import Action, TicketType
from gateway.tickets.numbers import take_numbers

log = structlog.get_logger(__name__)

CONSUMER: Final = "tickets"
FACTS_TAKE_MS: Final = 1_000
"""A younger activation may still get its ticket from its fact."""
LONGEST_PATIENCE_MS: Final = 300_000
"""Longest delay between retries for an activation whose ticket cannot be opened; the first are 1, 2, 4 seconds."""
Clock = Callable[[], int]
"""Now, in epoch milliseconds."""


class NoSuchTicket(Exception):
    """There is no ticket with this number."""


class StaleVersion(Exception):
    """The ticket has changed since it was read."""


class _Patience:
    """Retries of failed items with growing delays, without end."""

    def __init__(self) -> None:
        self._due: dict[str, tuple[int, int]] = {}
        """Item -> (when it is due, its last delay)."""

    def __len__(self) -> int:
        return len(self._due)

    def is_due(self, thing: str, now: int) -> bool:
        due, waits = self._due.get(thing, (0, 0))
        return not now < due <= now + waits  # due too far in the future: the clock was set back since

    def failed(self, thing: str, now: int) -> None:
        waited = self._due.get(thing, (0, FACTS_TAKE_MS // 2))[1]
        wait = min(2 * waited, LONGEST_PATIENCE_MS)
        self._due[thing] = (now + wait, wait)

    def forget_all_but(self, things: Iterable[str]) -> None:
        self._due = {thing: self._due[thing] for thing in things if thing in self._due}


class Tickets:
    """The leader's part: follows the alarms' facts."""

    def __init__(
        self, database: Database, epoch: int, metrics: OutboxMetrics, clock: Clock, scope: Scope = Scope.ROOM
    ) -> None:
        self._database = database
        self._epoch = epoch
        self._clock = clock
        self._scope = scope
        self._patience = _Patience()
        check = partial(lease.verify, epoch=epoch)
        self._consumer = Consumer(database, CONSUMER, tuple(What), self._take, check, metrics, clock)

    async def follow_alarms(self) -> None:
        """Process the alarms' facts until cancelled. Raises LeaseLost."""
        await self._consumer.run()

    async def catch_up(self) -> None:
        """Return when every fact committed so far is processed."""
        await self._consumer.catch_up()

    @property
    def trouble(self) -> str:
        """Why tickets cannot be written now, "" if they can."""
        return self._consumer.trouble

    @property
    def notice(self) -> str:
        """A notice for people while the component works, "" if there is none."""
        stuck = f"{len(self._patience)} alarms have no ticket; handle them manually" if self._patience else ""
        return "; ".join(filter(None, (stuck, self._consumer.notice)))

    async def tick(self) -> None:
        """Open a ticket for each open alarm that needs one and has none, in case its fact was not processed."""
        now = self._clock()
        async with self._database.reading() as connection:
            found = await _without_tickets(connection, now)
        await self._pass_over([row["id"] for row in found if row["passed"] and not row["damped"]], now)
        owed = sorted(((row["alarm"], row["id"]) for row in found if not row["passed"]), key=lambda one: one[1])
        self._patience.forget_all_but(activated for _, activated in owed)
        cause = Cause("system:tickets", Via.CLOCK)
        due = [News(What.RAISED, alarm, cause, activated) for alarm, activated in owed
               if self._patience.is_due(activated, now)]  # fmt: skip
        if not due:
            return
        log.warning("alarms lack their ticket", alarms=len(due), first=due[0].alarm)
        await isolate_failure(due, self._open_owed, self._leave_waiting)

    async def _pass_over(self, passed: Sequence[str], now: int) -> None:
        """Mark activations that no longer need a ticket, so that later ticks skip them."""
        for part in in_portions(passed):
            async with self._database.transaction() as connection:
                await lease.verify(connection, self._epoch)
                await connection.execute(update(activation).where(activation.c.id.in_(part)).values(ticketed_at=now))

    async def _open_owed(self, news: Sequence[News]) -> None:
        async with self._database.transaction() as transaction:
            await lease.verify(transaction, self._epoch)
            await _work_off(transaction, news, self._scope, self._clock())

    async def _leave_waiting(self, item: News, error: Exception) -> None:
        self._patience.failed(item.activation, self._clock())
        log.error(
            "an alarm's ticket cannot be opened: handle the alarm manually, then report this line",
            alarm=item.alarm, activation=item.activation, why=reason_of(error),
        )  # fmt: skip

    async def _take(self, transaction: Transaction, facts: Sequence[Fact]) -> None:
        released = [fact.thing for fact in facts if fact.kind == What.RELEASED]
        standing = await _standing_activations(transaction, released)
        await _work_off(transaction, [_news_of(fact, standing) for fact in facts], self._scope, self._clock())


async def _standing_activations(connection: AsyncConnection, alarms: Sequence[str]) -> dict[str, str]:
    """The current activation of the active alarms."""
    unended = select(activation.c.alarm, activation.c.id).where(activation.c.ended_at.is_(None))
    return {row["alarm"]: row["id"] for row in await _rows(connection, unended, activation.c.alarm, alarms)}


async def _without_tickets(connection: AsyncConnection, now: int) -> list[Row]:
    """Activations without a ticket, older than the delay of facts, of open alarms that need one."""
    wanting = (await connection.execute(_OPEN_AND_WANTING)).all()
    never = [row.id for row in wanting if row.chatters_unticketed]
    rows = await _rows(connection, _UNTICKETED, activation.c.alarm, [row.id for row in wanting])
    rows += await _rows(connection, _UNTICKETED_CHATTER, activation.c.alarm, never)
    # Received in the future: the clock was set back since.
    return [row for row in rows if not now - FACTS_TAKE_MS < row["received_at"] <= now]


def _news_of(fact: Fact, standing: Mapping[str, str]) -> News:
    """The change in a fact; `standing` holds the activation of each active alarm whose suppression ended."""
    what = What(fact.kind)
    if what is What.RELEASED:
        cause = Cause("system:tickets", Via.FACT, why=f"fact {fact.id}")
        return News(what, fact.thing, cause, standing.get(fact.thing, ""))
    actor = str(fact.body.get("actor", "system:tickets")) if what is What.ACKNOWLEDGED else "system:tickets"
    activated = str(fact.body["activation"]) if what is What.RAISED else ""
    return News(what, fact.thing, Cause(actor, Via.FACT, why=f"fact {fact.id}"), activated)


async def act(database: Database, number: str, action: Action, version: int, note: str, cause: Cause, now: int) -> None:
    """Apply an action to a ticket.

    Raises:
        NoSuchTicket: no ticket has this number.
        StaleVersion: it has changed since `version`.
        NotPermitted: its state does not permit the action.
    """
    async with database.transaction() as transaction:
        found = await transaction.execute(select(ticket).where(ticket.c.number == number).with_for_update())
        row = found.mappings().one_or_none()
        if row is None:
            raise NoSuchTicket(number)
        if row["version"] != version:
            raise StaleVersion(f"the ticket is at version {row['version']}, not {version}")
        # Named explicitly, so that an alarm which joins or is raised again later is not acknowledged by this action.
        body = {"alarms": await _activations_of(transaction, number)} if action is Action.ACKNOWLEDGE else {}
        written = Written()
        step(dict(row), action, written, cause, now, note=note, body=body)
        await save(transaction, written)


async def _activations_of(connection: AsyncConnection, number: str) -> dict[str, int]:
    """Open alarms of a ticket, and the number of activations of each."""
    joined = alarm.join(ticket_alarm, ticket_alarm.c.alarm == alarm.c.id)
    statement = select(alarm.c.id, alarm.c.activations).select_from(joined)
    rows = await connection.execute(statement.where(ticket_alarm.c.ticket == number, alarm_is_open))
    return {row.id: row.activations for row in rows}


async def _work_off(transaction: Transaction, news: Sequence[News], scope: Scope, now: int) -> None:
    """Write the consequences of changes, in the caller's transaction."""
    if not news:
        return
    known = await _look_up(transaction, news, scope)
    opening = openings(news, known)
    wanted = [(TicketType(source["wants_ticket"]), source["site"]) for source in opening.values()]
    numbers = dict(zip(opening, await take_numbers(transaction, wanted, now), strict=True))
    await save(transaction, follow(news, known, numbers, now))


async def _look_up(connection: AsyncConnection, news: Sequence[News], scope: Scope) -> Known:
    identities = sorted({item.alarm for item in news})
    alarms = {row["id"]: row for row in await _rows(connection, select(alarm), alarm.c.id, identities)}
    gatherings = await _gatherings(connection, alarms, scope)
    emergencies = await _emergencies_of_sensors(connection, alarms)
    # In a fixed order, to avoid deadlocks.
    keys = sorted({*(gathering.key for gathering in gatherings.values()), *emergencies.values()})
    open_tickets = select(ticket).order_by(ticket.c.open_key).with_for_update()
    tickets = {row["open_key"]: row for row in await _rows(connection, open_tickets, ticket.c.open_key, keys)}
    memberships = await _rows(connection, select(ticket_alarm), ticket_alarm.c.alarm, identities)
    activated = sorted({item.activation for item in news if item.activation})
    joined = await _rows(connection, select(ticket_activation), ticket_activation.c.activation, activated)
    passed = await _rows(connection, select(activation.c.id).where(_ANNUNCIATED_SINCE), activation.c.id, activated)
    return Known(
        alarms,
        gatherings,
        tickets,
        {(row["ticket"], row["alarm"]) for row in memberships},
        {row["activation"] for row in joined},
        {sensor: key for sensor, key in emergencies.items() if key in tickets},
        {row["id"] for row in passed},
    )


async def _gatherings(connection: AsyncConnection, alarms: Mapping[str, Row], scope: Scope) -> dict[str, Gathering]:
    """The grouping of each alarm: its ticket while that is open, even if its place was renamed since."""
    still = (
        select(ticket_alarm.c.alarm, ticket.c.open_key)
        .select_from(_MEMBERS)
        .where(_GATHERS, ticket.c.type == alarm.c.wants_ticket)
    )
    kept = {row["alarm"]: row["open_key"] for row in await _rows(connection, still, ticket_alarm.c.alarm, list(alarms))}
    places = await _places(connection, alarms.values())
    found: dict[str, Gathering] = {}
    for identity, row in alarms.items():
        gathering = gathering_of(row, places.get((row["site"], row["equipment"]), {}), scope)
        found[identity] = replace(gathering, key=kept.get(identity, gathering.key))
    return found


async def _places(connection: AsyncConnection, alarms: Iterable[Row]) -> dict[tuple[str, str], dict[str, str]]:
    """(site, equipment) -> its place in the ledger, for alarms that need an emergency."""
    codes = sorted({row["equipment"] for row in alarms if row["wants_ticket"] == TicketType.EMERGENCY.value})
    sites = sorted({row["site"] for row in alarms})
    listed = select(equipment.c.site, equipment.c.code, equipment.c.place).where(equipment.c.site.in_(sites))
    return {
        (row["site"], row["code"]): row["place"] for row in await _rows(connection, listed, equipment.c.code, codes)
    }


async def _emergencies_of_sensors(connection: AsyncConnection, alarms: Mapping[str, Row]) -> dict[Sensor, str]:
    """Sensor -> the key of its open emergency, for sensors whose alarms need a repair."""
    codes = sorted({row["equipment"] for row in alarms.values() if row["wants_ticket"] == TicketType.REPAIR.value})
    rows = await _rows(connection, _OPEN_EMERGENCIES, alarm.c.equipment, codes)
    return {
        (row["site"], row["equipment"], row["part"]): row["open_key"]
        for row in rows
        if not (is_call(row) or is_fire(row))
    }


async def _rows(connection: AsyncConnection, statement: Any, column: Any, values: Sequence[str]) -> list[Row]:
    """Rows whose column has one of many values."""
    rows: list[Row] = []
    for part in in_portions(values):
        found = await connection.execute(statement.where(column.in_(part)))
        rows += [dict(row) for row in found.mappings()]
    return rows


async def save(transaction: Transaction, written: Written) -> None:
    """Write rows in the caller's transaction."""
    new = [row for number, row in written.tickets.items() if number in written.new]
    changed = [row for number, row in written.tickets.items() if number not in written.new]
    if changed:
        await transaction.execute(_UPDATE_TICKET, [{**row, "of_number": row["number"]} for row in changed])
    for table, rows in ((ticket, new), (ticket_alarm, written.alarms), (ticket_activation, written.activations)):
        if rows:
            await transaction.execute(insert(table), rows)
    if written.ticketed:
        await transaction.execute(_NOTE_TICKET, written.ticketed)
    transaction.add_journal(*written.journal)
    transaction.add_audit(*written.audit)
    transaction.add_facts(*written.facts)


_UPDATE_TICKET: Final = (
    update(ticket)
    .where(ticket.c.number == bindparam("of_number"))
    .values({column.name: bindparam(column.name) for column in ticket.c if column.name != "number"})
)

_NOTE_TICKET: Final = (
    update(activation).where(activation.c.id == bindparam("of_activation")).values(ticketed_at=bindparam("ticketed_at"))
)

# The newest such line, not any: for "any" PostgreSQL uses a join and reads every such line that ever existed.
_ANNUNCIATED_SINCE: Final = (
    select(func.max(journal.c.at))
    .where(journal.c.thing == activation.c.alarm, journal.c.event == text_of("annunciated"))
    .scalar_subquery()
) >= activation.c.ended_at
"""Activations that began and ended during suppression need no ticket when it ends."""


_GATHERS: Final = ticket_is_open & ticket.c.open_key.is_not(None)
"""The first condition follows from the second, but matches the partial index of open tickets."""
_GATHERED: Final = ticket_alarm.join(ticket, ticket.c.number == ticket_alarm.c.ticket)
_MEMBERS: Final = _GATHERED.join(alarm, alarm.c.id == ticket_alarm.c.alarm)
_EMERGENCY: Final = ticket.c.type == TicketType.EMERGENCY.value
_WAITS_FOR_EMERGENCY: Final = (alarm.c.wants_ticket == TicketType.REPAIR.value) & exists().select_from(_GATHERED).where(
    ticket_alarm.c.alarm == alarm.c.id, _EMERGENCY, _GATHERS
)
"""It has joined its own sensor's emergency, and gets a repair ticket if it is still open when that is closed."""
_OPEN_EMERGENCIES: Final = (
    select(
        ticket.c.open_key,
        alarm.c.site,
        alarm.c.equipment,
        alarm.c.part,
        alarm.c.kind,
        alarm.c.playbook,
        alarm.c.wants_ticket,
    )
    .select_from(_MEMBERS)
    .where(_GATHERS, _EMERGENCY)
    .where(alarm.c.wants_ticket == TicketType.EMERGENCY.value, alarm.c.life_safety)
)
_OPEN_AND_WANTING: Final = select(
    alarm.c.id,
    (alarm.c.chattering & ~exists().where(ticket_alarm.c.alarm == alarm.c.id)).label("chatters_unticketed"),
).where(alarm_is_open, alarm.c.wants_ticket != "none", alarm.c.annunciated, ~_WAITS_FOR_EMERGENCY)
"""The alarms first, then their activations: for a join PostgreSQL might read all activations that ever existed."""
_WITHOUT_TICKET: Final = select(
    activation.c.alarm,
    activation.c.id,
    activation.c.damped,
    activation.c.received_at,
    _ANNUNCIATED_SINCE.label("passed"),
).where(~exists().where(ticket_activation.c.activation == activation.c.id))
_UNTICKETED: Final = _WITHOUT_TICKET.where(activation.c.ticketed_at.is_(None), ~activation.c.damped)
"""An alarm whose ticket was closed while it was open needs the next one at its next activation, not before."""
_UNTICKETED_CHATTER: Final = _WITHOUT_TICKET.where(activation.c.damped)
"""For an alarm that was suppressed when it began to chatter: a chattering alarm opens no further ticket, but needs its
first one."""
