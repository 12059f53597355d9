"""Tickets: the list, one with its journal, acknowledging an emergency."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from collectors.wire.reading import to_datetime
from gateway.api.alarms.alarms import alarm_bodies, journal_entries, on_sites
from gateway.api.http.bodies import Page, texts
from gateway.api.http.pages import EVERYTHING, CodesOf, branches_of, checked_beside, page_of, places
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, Route
from gateway.api.tickets.bodies import TicketAct, TicketBody, TicketDetail
from gateway.people.permissions import Permission, may
from gateway.storage.database import Database
from gateway.storage.queries.chunks import in_portions
from gateway.storage.queries.index_use import beside_index
from gateway.storage.queries.keyset import Branch
from gateway.storage.tables import alarm, ticket, ticket_alarm, ticket_is_open, ticket_is_over
from gateway.tickets.floors import floor_order
from gateway.tickets.lifecycle.states import CLOSED, Action, NotPermitted, TicketType
from gateway.tickets.tickets import NoSuchTicket, StaleVersion, act

Row = Any


class TicketQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    state: str = ""
    """A state, or "open" for every ticket that is not closed, including those in the state `open`."""
    type: TicketType | None = None
    site: str | None = None
    equipment: str | None = None
    alarm: str | None = None
    cursor: str = ""
    limit: int = 100


def ticket_body(row: Row, alarms: list[str]) -> TicketBody:
    return TicketBody(
        number=row["number"],
        type=row["type"],
        site=row["site"],
        equipment=f"{row['site']}:{row['equipment']}",
        title=texts(row["title"]),
        priority=row["priority"],
        state=row["state"],
        opened_at=to_datetime(row["opened_at"]),
        alarm=row["alarm"],
        alarms=alarms,
        playbook=row["playbook"],
        drill=row["drill"],
        version=row["version"],
    )


async def bodies_of(connection: AsyncConnection, rows: Sequence[Row]) -> list[TicketBody]:
    """Tickets with their alarms."""
    found: dict[str, list[tuple[Any, ...]]] = {row["number"]: [] for row in rows}
    for part in in_portions(list(found)):
        members = select(ticket_alarm.c.ticket, ticket_alarm.c.alarm).where(ticket_alarm.c.ticket.in_(part))
        tickets_of: dict[str, list[str]] = {}
        for number, identity in await connection.execute(members):
            tickets_of.setdefault(identity, []).append(number)
        for some in in_portions(list(tickets_of)):
            for row in await connection.execute(_PLACES.where(alarm.c.id.in_(some))):
                for number in tickets_of[row.id]:
                    found[number].append((floor_order(row.zone), row.raised_at, row.id))
    return [ticket_body(row, [identity for *_, identity in sorted(found[row["number"]])]) for row in rows]


_PLACES: Final = select(alarm.c.id, alarm.c.zone, alarm.c.raised_at)


async def ticket_bodies(database: Database, numbers: Iterable[str]) -> list[TicketBody]:
    """The current state of tickets by number."""
    bodies: list[TicketBody] = []
    async with database.reading() as connection:
        for part in in_portions(list(numbers)):
            rows = await connection.execute(select(ticket).where(ticket.c.number.in_(part)).order_by(ticket.c.id))
            bodies += await bodies_of(connection, rows.mappings().all())
    return bodies


async def open_ticket_bodies(database: Database, sites: frozenset[str] | None) -> list[TicketBody]:
    """Every open ticket on the given sites (None: on all)."""
    async with database.reading() as connection:
        rows = await connection.execute(select(ticket).where(ticket_is_open, *on_sites(ticket, sites)))
        return await bodies_of(connection, rows.mappings().all())


async def list_tickets(call: Call) -> Page[TicketBody]:
    query: TicketQuery = call.query
    numbers = await _numbers_of(call, query.alarm) if query.alarm else None
    branches = _branches(query, call.sites(Permission.READ_TICKETS), call.services.ledger.codes_of, numbers)
    rows, following = await page_of(call, select(ticket), ticket.c.id, query.cursor, query.limit, branches)
    return Page(await _bodies(call, rows), following)


async def _numbers_of(call: Call, identity: str) -> list[str]:
    """The tickets of an alarm."""
    async with call.services.database.reading() as connection:
        its_own = select(ticket_alarm.c.ticket).where(ticket_alarm.c.alarm == identity)
        return list(await connection.scalars(its_own))


def _branches(
    query: TicketQuery, sites: frozenset[str] | None, codes_of: CodesOf, numbers: Sequence[str] | None
) -> Sequence[Branch]:
    """Open tickets are read by the index of open ones; past ones by place and final state.

    `numbers` are the tickets of the requested alarm.
    """
    looked_at = places(sites, query.site, query.equipment, codes_of)
    beside = checked_beside(ticket, looked_at)
    if query.type:
        beside.append(ticket.c.type == query.type.value)
    if numbers is not None:
        return [Branch(beside=[ticket.c.number.in_(numbers), *_in_state(query.state), *beside])]
    if not (query.state or query.type) and looked_at is None:
        return EVERYTHING
    ends = [state for kind in TicketType if query.type in {None, kind} for state in sorted(CLOSED[kind])]
    over: list[Branch] = [
        branch
        for state in ends if query.state in {"", state}
        for branch in branches_of(ticket, looked_at, [(ticket.c.state, state)], [ticket_is_over])
    ]  # fmt: skip
    if any(query.state in states for states in CLOSED.values()):
        return over
    open_ones = Branch(beside=[ticket_is_open, *_in_state(query.state), *beside])
    return [open_ones] if query.state else [open_ones, *over]


def _in_state(state: str) -> Sequence[ColumnElement[bool]]:
    if state == "open":
        return (ticket_is_open,)
    return (beside_index(ticket.c.state == state),) if state else ()


async def show_ticket(call: Call) -> TicketDetail:
    row = await find_ticket(call, Permission.READ_TICKETS)
    (body,) = await _bodies(call, [row])
    alarms = {item.id: item for item in await alarm_bodies(call.services, body.alarms)}
    lines = await journal_entries(call.services, "ticket", row["number"])
    return TicketDetail(body, [alarms[identity] for identity in body.alarms], lines)


async def _bodies(call: Call, rows: Sequence[Row]) -> list[TicketBody]:
    async with call.services.database.reading() as connection:
        return await bodies_of(connection, rows)


async def act_on_ticket(call: Call) -> TicketBody:
    row, wanted = await find_ticket(call, Permission.ACT_ON_TICKET), call.body
    services = call.services
    try:
        action = Action(call.path["action"])
        await act(
            services.database,
            row["number"],
            action,
            wanted.version,
            wanted.note,
            call.cause,
            services.clock(),
        )
    except ValueError:
        raise ProblemError("not_found", f"an action is one of {', '.join(Action)}") from None
    except NoSuchTicket:
        raise ProblemError("not_found") from None
    except StaleVersion as error:
        raise ProblemError("stale_version", str(error)) from error
    except NotPermitted as error:
        raise ProblemError("not_permitted_in_state", str(error)) from error
    (body,) = await _bodies(call, [await find_ticket(call, Permission.ACT_ON_TICKET)])
    return body


async def find_ticket(call: Call, wanted: Permission) -> Row:
    """The ticket of the path, if the caller holds this permission on its site. Raises ProblemError."""
    async with call.services.database.reading() as connection:
        found = await connection.execute(select(ticket).where(ticket.c.number == call.path["number"]))
        row = found.mappings().one_or_none()
    grants = call.person.grants if call.person else None
    if row is None or not may(grants, Permission.READ_TICKETS, row["site"]).permitted:
        raise ProblemError("not_found", "there is no ticket with this number")
    if not may(grants, wanted, row["site"]).permitted:
        raise ProblemError("forbidden")
    return row


ROUTES = (
    Route("GET", "/tickets", Permission.READ_TICKETS, list_tickets, "Tickets", Page[TicketBody], query=TicketQuery),
    Route(
        "GET", "/tickets/{number}", Permission.READ_TICKETS, show_ticket, "One ticket, its alarms and its journal",
        TicketDetail,
    ),
    Route(
        "POST", "/tickets/{number}/{action}", Permission.ACT_ON_TICKET, act_on_ticket,
        "Apply an action to a ticket", TicketBody, request=TicketAct,
    ),
)  # fmt: skip
