"""Alarms: the list, one with its journal, activations."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Select, Text, cast, exists, func, select

from collectors.wire.reading import to_datetime
from gateway.alarms.lifecycle.states import State
from gateway.alarms.rules.rule import Priority
from gateway.alarms.suppression.annunciation import suppressions_of
from gateway.alarms.suppression.reasons import Reason, Suppression
from gateway.api.alarms.bodies import ActivationBody, AlarmBody, AlarmDetail, JournalEntry, SuppressionBody
from gateway.api.http.bodies import Page, texts
from gateway.api.http.pages import EVERYTHING, CodesOf, branches_of, checked_beside, page_of, places
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, Route, Services
from gateway.people.accounts import Accounts
from gateway.people.permissions import Permission, may
from gateway.storage.queries.chunks import in_portions
from gateway.storage.queries.index_use import beside_index
from gateway.storage.queries.keyset import Branch
from gateway.storage.tables import activation, alarm, alarm_is_open, journal, ticket_alarm

Row = Any


class AlarmQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    state: str = ""
    """A process state, or "open" for every alarm that is not normal."""
    priority: Priority | None = None
    annunciated: bool | None = None
    """false: only open alarms that are suppressed; true: only open ones that are not."""
    under: str = ""
    """Id of an alarm: only the open alarms that are suppressed because this one is their cause."""
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
    """Alarms with the number of their newest ticket, also when the alarm or the ticket is closed."""
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
    """The current state of alarms by id."""
    bodies: list[AlarmBody] = []
    async with services.database.reading() as connection:
        for part in in_portions(list(identities)):
            rows = await connection.execute(select_alarms().where(alarm.c.id.in_(part)).order_by(alarm.c.id))
            bodies += [alarm_body(row, services.accounts) for row in rows.mappings()]
    return bodies


async def open_alarm_bodies(services: Services, sites: frozenset[str] | None) -> list[AlarmBody]:
    """Every open alarm on the given sites (None: on all)."""
    async with services.database.reading() as connection:
        found = await connection.execute(select_alarms().where(alarm_is_open, *on_sites(alarm, sites)))
    names = tuple(found.keys())  # ten thousand rows: a plain dictionary is read in half the time of a mapping
    return [alarm_body(dict(zip(names, row, strict=True)), services.accounts) for row in found]


async def list_alarms(call: Call) -> Page[AlarmBody]:
    query: AlarmQuery = call.query
    branches = _branches(query, call.sites(Permission.WATCH), call.services.ledger.codes_of)
    rows, following = await page_of(call, select_alarms(), alarm.c.id, query.cursor, query.limit, branches)
    return Page([alarm_body(row, call.services.accounts) for row in rows], following)


def _branches(query: AlarmQuery, sites: frozenset[str] | None, codes_of: CodesOf) -> Sequence[Branch]:
    """Open alarms are read by the index of open alarms; past ones by place and priority, each of which has an index."""
    looked_at = places(sites, query.site, query.equipment, codes_of)
    state = _state(query.state)
    if state not in {None, State.NORMAL} or query.annunciated is not None or query.under:
        return [Branch(beside=[alarm_is_open, *_open_ones(query, state), *checked_beside(alarm, looked_at)])]
    over = [] if state is None else [alarm.c.state == State.NORMAL.value]
    if looked_at is None and query.priority is None and state is None:
        return EVERYTHING
    priorities = list(Priority) if query.priority is None else [query.priority]
    return [
        branch for one in priorities for branch in branches_of(alarm, looked_at, [(alarm.c.priority, one.value)], over)
    ]


def _open_ones(query: AlarmQuery, state: State | Literal["open"] | None) -> Iterable[ColumnElement[bool]]:
    if isinstance(state, State):
        yield alarm.c.state == state.value
    if query.priority:
        yield beside_index(alarm.c.priority == query.priority.value)
    if query.annunciated is not None:
        yield alarm.c.annunciated.is_(query.annunciated)
    if query.under:
        yield _is_under(query.under)


async def show_alarm(call: Call) -> AlarmDetail:
    row = await find_alarm(call, Permission.WATCH)
    async with call.services.database.reading() as connection:
        caused = await connection.scalar(select(func.count()).select_from(alarm).where(_is_under(row["id"])))
    journal = await journal_entries(call.services, "alarm", row["id"])
    return AlarmDetail(alarm_body(row, call.services.accounts), journal, int(caused or 0))


def _is_under(identity: str) -> ColumnElement[bool]:
    """Whether an alarm is suppressed because another one is its cause."""
    by = cast(alarm.c.suppressions, Text).contains(f'"{identity}"', autoescape=True)
    return alarm_is_open & alarm.c.annunciated.is_(False) & by


async def list_activations(call: Call) -> Page[ActivationBody]:
    query: ActivationQuery = call.query
    looked_at = places(call.sites(Permission.WATCH), query.site, query.equipment, call.services.ledger.codes_of)
    branches = branches_of(activation, looked_at)
    if query.alarm:
        # An alarm has one place: if that is not among the requested ones, none of its activations is read.
        its_place = exists().where(alarm.c.id == query.alarm, *checked_beside(alarm, looked_at))
        branches = [Branch([(activation.c.alarm, query.alarm)], [its_place])]
    rows, following = await page_of(call, select(activation), activation.c.id, query.cursor, query.limit, branches)
    return Page([_activation_body(row) for row in rows], following)


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


def _state(text: str) -> State | Literal["open"] | None:
    if text in {"", "open"}:
        return "open" if text else None
    try:
        return State(text)
    except ValueError:
        raise ProblemError("bad_query", f"state must be open, {', '.join(State)}") from None


def on_sites(table: Any, sites: frozenset[str] | None) -> list[ColumnElement[bool]]:
    """Conditions for rows of some sites (None: of all); for a set that is small already."""
    return [] if sites is None else [beside_index(table.c.site.in_(sites))]


async def find_alarm(call: Call, act: Permission) -> Row:
    """The alarm in the path. Raises ProblemError `not_found` if it does not exist or may not be seen."""
    async with call.services.database.reading() as connection:
        found = await connection.execute(select_alarms().where(alarm.c.id == call.path["id"]))
        row = found.mappings().one_or_none()
    grants = call.person.grants if call.person else None
    if row is None or not may(grants, Permission.WATCH, row["site"]).permitted:
        raise ProblemError("not_found", "there is no alarm with this id")
    if not may(grants, act, row["site"]).permitted:
        raise ProblemError("forbidden")
    return row


ROUTES = (
    Route("GET", "/alarms", Permission.WATCH, list_alarms, "Alarms, newest first", Page[AlarmBody], query=AlarmQuery),
    Route("GET", "/alarms/{id}", Permission.WATCH, show_alarm, "One alarm and its journal", AlarmDetail),
    Route(
        "GET", "/activations", Permission.WATCH, list_activations, "Each time that an alarm became active",
        Page[ActivationBody], query=ActivationQuery,
    ),
)  # fmt: skip
