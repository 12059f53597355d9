"""What follows for tickets from what alarms tell: which open, who joins, what is noted.

No I/O: what is known comes in, rows to write come out. `tickets.py` brings them into one transaction.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from collectors.fields import Kind
from gateway.people.audit import AuditRow, Cause, JournalRow, audited
from gateway.storage.facts import NewFact
from gateway.storage.identity import new_id
from gateway.tickets.states import CLOSED, FIRST_STATE, Action, TicketType, after

Row = dict[str, Any]
"""A ticket, or an alarm, as its table has it."""
NO_TICKET: Final = "none"
"""What an alarm wants that wants no ticket."""


class What(StrEnum):
    """What became of an alarm, as far as tickets care."""

    RAISED = "alarm.raised"
    RETURNED = "alarm.returned"
    ACKNOWLEDGED = "alarm.acknowledged"
    RELEASED = "alarm.released"
    """Nothing keeps it quiet any more."""


_ASKS: Final = frozenset({What.RAISED, What.RELEASED})
"""What may open a ticket."""


class News(msgspec.Struct, frozen=True):
    """Something became of an alarm; `activation` is that of a raise, or the one that still stands at a release."""

    what: What
    alarm: str
    cause: Cause
    activation: str = ""


class Known(msgspec.Struct):
    """What the database says: alarms by id, open tickets by their key, who belongs to them."""

    alarms: dict[str, Row]
    tickets: dict[str, Row]
    members: set[tuple[str, str]]
    """(ticket, alarm)."""
    joined: set[str]
    """Activations that have their ticket."""
    passed: set[str] = msgspec.field(default_factory=set)
    """Activations that came and went while something kept their alarm quiet: they ask for nothing any more."""


class Written(msgspec.Struct):
    """What one transaction writes. `tickets` holds new and changed rows by number; `new` numbers of the new ones."""

    tickets: dict[str, Row] = {}
    new: set[str] = set()
    alarms: list[Row] = []
    activations: list[Row] = []
    ticketed: list[Row] = []
    """Activations that have got their ticket, and when."""
    journal: list[JournalRow] = []
    audit: list[AuditRow] = []
    facts: list[NewFact] = []


def is_fire(alarm: Mapping[str, Any]) -> bool:
    """Whether an alarm is one point of a fire: all of a building's are one emergency."""
    return (alarm["kind"], alarm["wants_ticket"]) == (Kind.FIRE_PANEL.value, TicketType.EMERGENCY.value)


def gathering_key(alarm: Mapping[str, Any]) -> str:
    """What a ticket of this alarm gathers while it is open: the alarm's key, or the fire of a building.

    The ledger knows no buildings: a panel stands for the one that it watches. No alarm's key has so few slashes.
    """
    if not is_fire(alarm):
        return "/".join(alarm[name] for name in ("site", "equipment", "part", "rule"))
    drill = ":drill" if alarm["drill"] else ""
    return f"{alarm['site']}/{alarm['equipment']}/fire:{alarm['priority']}:{alarm['playbook']}{drill}"


def openings(news: Iterable[News], known: Known) -> dict[str, Row]:
    """Which tickets will open: key -> the alarm that comes first."""
    found: dict[str, Row] = {}
    for item in news:
        alarm = known.alarms[item.alarm]
        if _is_owed(item, alarm, known):
            key = gathering_key(alarm)
            if key not in known.tickets:
                found.setdefault(key, alarm)
    return found


def follow(news: Iterable[News], known: Known, numbers: Mapping[str, str], now: int) -> Written:
    """Work news into rows, in order.

    Args:
        news: what became of alarms.
        known: for exactly these news; changed in place.
        numbers: for what `openings` says, by key.
        now: epoch ms.
    """
    written = Written()
    for item in news:
        alarm = known.alarms[item.alarm]
        if item.what in _ASKS:
            if _is_owed(item, alarm, known):
                _take_in(item, alarm, known, numbers, written, now)
            continue
        if not _is_member(alarm, known):
            continue
        ticket = known.tickets[gathering_key(alarm)]
        if item.what is What.RETURNED:
            write(ticket, "condition_returned", {}, written, item.cause, now, note=_point(alarm))
        elif ticket["type"] == TicketType.EMERGENCY.value and ticket["state"] == FIRST_STATE:
            # Acknowledging one alarm answers for its emergency, but for no other alarm that it has gathered.
            step(ticket, Action.ACKNOWLEDGE, written, item.cause, now)
    return written


def _is_owed(item: News, alarm: Row, known: Known) -> bool:
    """The tick may have been faster than the fact, or the fact than the tick."""
    if item.what not in _ASKS or not item.activation:
        return False
    if item.activation in known.joined or item.activation in known.passed:
        return False
    return alarm["wants_ticket"] != NO_TICKET and (alarm["annunciated"] or _is_member(alarm, known))


def _is_member(alarm: Row, known: Known) -> bool:
    """Whether it has an open ticket: that stays, and what becomes of the alarm goes on to stand in it."""
    ticket = known.tickets.get(gathering_key(alarm))
    return ticket is not None and (ticket["number"], alarm["id"]) in known.members


def _take_in(item: News, alarm: Row, known: Known, numbers: Mapping[str, str], written: Written, now: int) -> None:
    """Open a ticket for an alarm, or let it and its activation join the one that is open."""
    key, body = gathering_key(alarm), {"alarm": alarm["id"]}
    ticket = known.tickets.get(key)
    if ticket is None:
        ticket = known.tickets[key] = _open(alarm, key, numbers[key], now)
        written.new.add(ticket["number"])
        _record(ticket, "opened", None, written, item.cause, now, _point(alarm), body)
    elif is_fire(alarm):
        what = "activation_joined" if (ticket["number"], alarm["id"]) in known.members else "alarm_joined"
        write(ticket, what, {}, written, item.cause, now, note=_point(alarm), body=body)
    else:
        write(ticket, "activation_joined", {"alarm": alarm["id"]}, written, item.cause, now, body=body)
    if (ticket["number"], alarm["id"]) not in known.members:
        known.members.add((ticket["number"], alarm["id"]))
        written.alarms.append({"ticket": ticket["number"], "alarm": alarm["id"], "joined_at": now})
    known.joined.add(item.activation)
    written.activations.append({"activation": item.activation, "ticket": ticket["number"]})
    written.ticketed.append({"of_activation": item.activation, "ticketed_at": now})


def _open(alarm: Row, key: str, number: str, now: int) -> Row:
    return {
        "number": number,
        "id": new_id(now),
        "type": alarm["wants_ticket"],
        "site": alarm["site"],
        "equipment": alarm["equipment"],
        "open_key": key,
        "alarm": alarm["id"],
        "title": alarm["title"],
        "priority": alarm["priority"],
        "state": FIRST_STATE,
        "playbook": alarm["playbook"],
        "opened_at": now,
        "closed_at": None,
        "drill": alarm["drill"],
        "version": 1,
    }


def _point(alarm: Row) -> str:
    """Which point of a fire: its part, and the zone where it has one. "" for other alarms, whose ticket is theirs."""
    return " · ".join(filter(None, (alarm["zone"], alarm["part"]))) if is_fire(alarm) else ""


def step(
    ticket: Row,
    action: Action,
    written: Written,
    cause: Cause,
    now: int,
    *,
    note: str = "",
    body: Row | None = None,
) -> None:
    """Take a ticket one step through its life. Raises NotPermitted."""
    following = after(TicketType(ticket["type"]), ticket["state"], action)
    write(ticket, action.value, {"state": following}, written, cause, now, note=note, body=body)


def write(
    ticket: Row,
    what: str,
    changes: Row,
    written: Written,
    cause: Cause,
    now: int,
    *,
    note: str = "",
    body: Row | None = None,
) -> None:
    """Change a ticket, with its version, and record it."""
    before = dict(ticket)
    ticket.update(changes, version=ticket["version"] + 1)
    if ticket["state"] in CLOSED[TicketType(ticket["type"])]:
        ticket.update(open_key=None, closed_at=now)
    _record(ticket, what, before, written, cause, now, note, body or {})


def _record(
    ticket: Row, what: str, before: Row | None, written: Written, cause: Cause, now: int, note: str, body: Row
) -> None:
    number, state_before = ticket["number"], before["state"] if before else ""
    written.tickets[number] = ticket
    written.journal.append(JournalRow("ticket", number, now, what, state_before, ticket["state"], cause.actor, note))
    shown = [None if row is None else {name: row[name] for name in _AUDITED} for row in (before, ticket)]
    written.audit.append(audited(now, ticket["site"], cause, f"ticket.{what}", number, *shown))
    written.facts.append(NewFact(now, ticket["site"], f"ticket.{what}", number, {"actor": cause.actor, **body}))


_AUDITED: Final = ("state", "alarm", "version")
