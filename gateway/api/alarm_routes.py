"""Alarms: the list, one with its journal, activations."""

from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from sqlalchemy import Select, select

from collectors.reading import to_datetime
from gateway.alarms.annunciation import suppressions_of
from gateway.alarms.rules import Priority
from gateway.alarms.states import State
from gateway.alarms.suppression import Reason, Suppression
from gateway.api.bodies import ActivationBody, AlarmBody, AlarmDetail, JournalEntry, Page, SuppressionBody
from gateway.api.problems import ProblemError
from gateway.api.routes import Call, Route, Services
from gateway.api.session_routes import texts
from gateway.people.accounts import Accounts
from gateway.people.permissions import Act, may
from gateway.storage.portions import in_portions
from gateway.storage.tables import activation, alarm, journal, ticket_alarm

Row = Any


class AlarmQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    state: str = ""
    """A process state, or "open" for every alarm that is not normal."""
    priority: Priority | None = None
    annunciated: bool | None = None
    """false: only open alarms that something keeps quiet; true: only open ones that nothing does."""
    site: str | None = None
    equipment: str | None = None
    """`{site}:{code}`."""
    cursor: str = ""
    limit: int = 100


class ActivationQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alarm: str | None = None
    site: str | None = None
    equipment: str | None = None
    cursor: str = ""
    limit: int = 100


def select_alarms() -> Select[Any]:
    """Alarms with the number of their newest ticket, also when one of the two is over."""
    newest = (
        select(ticket_alarm.c.ticket)
        .where(ticket_alarm.c.alarm == alarm.c.id)
        .order_by(ticket_alarm.c.joined_at.desc(), ticket_alarm.c.ticket.desc())
        .limit(1)
        .scalar_subquery()
    )
    return select(alarm, newest.label("ticket_number"))


def alarm_body(row: Row, accounts: Accounts) -> AlarmBody:
    return AlarmBody(
        id=row["id"],
        site=row["site"],
        equipment=f"{row['site']}:{row['equipment']}",
        kind=row["kind"],
        part=row["part"],
        zone=row["zone"],
        rule=row["rule"],
        title=texts(row["title"]),
        advice=texts(row["advice"]),
        priority=row["priority"],
        life_safety=row["life_safety"],
        state=row["state"],
        active=row["active"],
        raised_at=to_datetime(row["raised_at"]),
        received_at=to_datetime(row["received_at"]),
        returned_at=None if row["returned_at"] is None else to_datetime(row["returned_at"]),
        acknowledged_at=None if row["acknowledged_at"] is None else to_datetime(row["acknowledged_at"]),
        acknowledged_by=None if row["acknowledged_by"] is None else texts(accounts.name_of(row["acknowledged_by"])),
        closed_at=None if row["closed_at"] is None else to_datetime(row["closed_at"]),
        silenced_at=None if row["silenced_at"] is None else to_datetime(row["silenced_at"]),
        silenced_by=None if row["silenced_by"] is None else texts(accounts.name_of(row["silenced_by"])),
        re_alarm_at=None if row["re_alarm_at"] is None else to_datetime(row["re_alarm_at"]),
        activations=row["activations"],
        field=row["field"],
        value=row["value"],
        unit=row["unit"],
        drill=row["drill"],
        chattering=row["chattering"],
        ticket=row["ticket_number"],
        annunciated=row["annunciated"],
        suppressions=[suppression_body(item, accounts) for item in suppressions_of(row)],
        version=row["version"],
    )


def suppression_body(item: Suppression, accounts: Accounts) -> SuppressionBody:
    is_persons = item.reason in (Reason.SHELVED, Reason.OUT_OF_SERVICE)
    return SuppressionBody(
        reason=item.reason.value,
        person=texts(accounts.name_of(item.by)) if is_persons else None,
        second_person=None if item.second_person is None else texts(accounts.name_of(item.second_person)),
        source="" if is_persons else item.by,
        since=to_datetime(item.since),
        until=None if item.until is None else to_datetime(item.until),
        why=item.why,
    )


async def alarm_bodies(services: Services, identities: Iterable[str]) -> list[AlarmBody]:
    """Alarms by id, as they are now."""
    bodies: list[AlarmBody] = []
    async with services.database.reading() as connection:
        for part in in_portions(list(identities)):
            rows = await connection.execute(select_alarms().where(alarm.c.id.in_(part)).order_by(alarm.c.id))
            bodies += [alarm_body(row, services.accounts) for row in rows.mappings()]
    return bodies


async def open_alarm_bodies(services: Services, sites: frozenset[str] | None) -> list[AlarmBody]:
    """Every open alarm on the given sites (None: on all)."""
    async with services.database.reading() as connection:
        found = await connection.execute(_on_sites(select_alarms().where(alarm.c.open_key.is_not(None)), sites))
    names = tuple(found.keys())  # ten thousand rows: a plain dictionary is read in half the time of a mapping
    return [alarm_body(dict(zip(names, row, strict=True)), services.accounts) for row in found]


async def list_alarms(call: Call) -> Page[AlarmBody]:
    query: AlarmQuery = call.query
    statement = _on_sites(select_alarms(), call.sites(Act.WATCH))
    if query.state == "open":
        statement = statement.where(alarm.c.open_key.is_not(None))
    elif query.state:
        statement = statement.where(alarm.c.state == _state(query.state))
    if query.priority:
        statement = statement.where(alarm.c.priority == query.priority.value)
    if query.annunciated is not None:
        statement = statement.where(alarm.c.open_key.is_not(None), alarm.c.annunciated.is_(query.annunciated))
    statement = of_place(statement, alarm, query.site, query.equipment)
    rows, following = await page_of(call, statement, alarm.c.id, query.cursor, query.limit)
    return Page([alarm_body(row, call.services.accounts) for row in rows], following)


async def show_alarm(call: Call) -> AlarmDetail:
    row = await find_alarm(call, Act.WATCH)
    return AlarmDetail(
        alarm_body(row, call.services.accounts), await journal_entries(call.services, "alarm", row["id"])
    )


async def list_activations(call: Call) -> Page[ActivationBody]:
    query: ActivationQuery = call.query
    sites = call.sites(Act.WATCH)
    statement = select(activation)
    if sites is not None:
        statement = statement.where(activation.c.site.in_(sites))
    if query.alarm:
        statement = statement.where(activation.c.alarm == query.alarm)
    statement = of_place(statement, activation, query.site, query.equipment)
    rows, following = await page_of(call, statement, activation.c.id, query.cursor, query.limit)
    return Page([_activation_body(row) for row in rows], following)


def of_place(statement: Select[Any], table: Any, site: str | None, equipment: str | None) -> Select[Any]:
    """Narrow to a site, or to an equipment named `{site}:{code}`."""
    if equipment:
        site, _, code = equipment.partition(":")
        statement = statement.where(table.c.equipment == code)
    return statement.where(table.c.site == site) if site else statement


async def page_of(
    call: Call, statement: Select[Any], key: Any, cursor: str, limit: int
) -> tuple[list[Row], str | None]:
    """One page, newest first, and the cursor of the next. `key` is a column that sorts by age."""
    if not 1 <= limit <= 500:
        raise ProblemError("bad_query", "limit must be between 1 and 500")
    if cursor:
        statement = statement.where(key < cursor)
    async with call.services.database.reading() as connection:
        found = await connection.execute(statement.order_by(key.desc()).limit(limit + 1))
        rows = list(found.mappings())
    return rows[:limit], rows[limit - 1][key.name] if len(rows) > limit else None


async def journal_entries(services: Services, subject: str, thing: str) -> list[JournalEntry]:
    """The journal of an alarm or a ticket, oldest first."""
    statement = select(journal).where(journal.c.subject == subject, journal.c.thing == thing).order_by(journal.c.id)
    async with services.database.reading() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return [
        JournalEntry(
            to_datetime(row["at"]),
            row["event"],
            row["before"],
            row["after"],
            texts(services.accounts.name_of(row["actor"])),
            row["note"],
        )
        for row in rows
    ]


def _activation_body(row: Row) -> ActivationBody:
    return ActivationBody(
        id=row["id"],
        alarm=row["alarm"],
        site=row["site"],
        equipment=f"{row['site']}:{row['equipment']}",
        part=row["part"],
        rule=row["rule"],
        priority=row["priority"],
        started_at=to_datetime(row["started_at"]),
        ended_at=None if row["ended_at"] is None else to_datetime(row["ended_at"]),
        value=row["value"],
        disproved=row["disproved"],
        drill=row["drill"],
    )


def _state(text: str) -> str:
    try:
        return State(text).value
    except ValueError:
        raise ProblemError("bad_query", f"state must be open, {', '.join(State)}") from None


def _on_sites(statement: Select[Any], sites: Collection[str] | None) -> Select[Any]:
    return statement if sites is None else statement.where(alarm.c.site.in_(sites))


async def find_alarm(call: Call, act: Act) -> Row:
    """The alarm in the path, where it exists and may be seen; else as if it did not exist."""
    async with call.services.database.reading() as connection:
        found = await connection.execute(select_alarms().where(alarm.c.id == call.path["id"]))
        row = found.mappings().one_or_none()
    grants = call.person.grants if call.person else None
    if row is None or not may(grants, Act.WATCH, row["site"]).permitted:
        raise ProblemError("not_found", "there is no alarm with this id")
    if not may(grants, act, row["site"]).permitted:
        raise ProblemError("forbidden")
    return row


ROUTES = (
    Route("GET", "/alarms", Act.WATCH, list_alarms, "Alarms, newest first", Page[AlarmBody], query=AlarmQuery),
    Route("GET", "/alarms/{id}", Act.WATCH, show_alarm, "One alarm and its journal", AlarmDetail),
    Route(
        "GET", "/activations", Act.WATCH, list_activations, "Each time that an alarm became active",
        Page[ActivationBody], query=ActivationQuery,
    ),
)  # fmt: skip
