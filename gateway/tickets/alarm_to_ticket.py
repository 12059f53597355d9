"""Derives ticket changes from alarm changes: tickets to open, alarms that join, journal lines.

No I/O: takes known rows and returns rows to write. `tickets.py` writes them in one transaction.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from gateway.people.audit.entry import Cause, audited
from gateway.storage.identity import new_id
from gateway.storage.records import AuditRow, JournalRow, NewFact
from gateway.tickets.incident_place import Gathering, Reason, is_call, is_fire, is_more_urgent
from gateway.tickets.lifecycle.states import CLOSED, FIRST_STATE, GATHERS_NO_MORE, Action, TicketType, after

Row = dict[str, Any]
"""A row of the table of tickets or alarms."""
Sensor = tuple[str, str, str]
"""(site, equipment, part)."""
NO_TICKET: Final = "none"
"""The ticket type of an alarm that needs no ticket."""


class What(StrEnum):
    """Changes of an alarm that are relevant for tickets."""

    RAISED = "alarm.raised"
    RETURNED = "alarm.returned"
    ACKNOWLEDGED = "alarm.acknowledged"
    RELEASED = "alarm.released"
    """It is no longer suppressed."""


_ASKS: Final = frozenset({What.RAISED, What.RELEASED})
"""Changes that may open a ticket."""


class News(msgspec.Struct, frozen=True):
    """A change of an alarm; `activation` is that of a raise, or the active one at the end of suppression."""

    what: What
    alarm: str
    cause: Cause
    activation: str = ""


class Known(msgspec.Struct):
    """Known rows: alarms by id, the grouping of each, open tickets by their key, and their members."""

    alarms: dict[str, Row]
    gatherings: dict[str, Gathering]
    tickets: dict[str, Row]
    members: set[tuple[str, str]]
    """(ticket, alarm)."""
    joined: set[str]
    """Activations that have a ticket."""
    emergencies: dict[Sensor, str]
    """The key of the open emergency that an alarm of the same sensor opened or joined."""
    passed: set[str] = msgspec.field(default_factory=set)
    """Activations that began and ended while their alarm was suppressed: they need no ticket."""


class Written(msgspec.Struct):
    """Rows of one transaction. `tickets` holds new and changed rows by number; `new` the numbers of the new ones."""

    tickets: dict[str, Row] = {}
    new: set[str] = set()
    alarms: list[Row] = []
    activations: list[Row] = []
    ticketed: list[Row] = []
    """Activations that got a ticket, and when."""
    journal: list[JournalRow] = []
    audit: list[AuditRow] = []
    facts: list[NewFact] = []


def openings(news: Iterable[News], known: Known) -> dict[str, Row]:
    """Tickets to open: key -> first alarm. Adds sensors with an emergency to `known`."""
    found: dict[str, Row] = {}
    for item in _emergencies_first(news, known):
        alarm = known.alarms[item.alarm]
        if not _is_owed(item, alarm, known):
            continue
        key = known.gatherings[item.alarm].key
        if _opens_for_danger(alarm):
            known.emergencies.setdefault(_sensor(alarm), key)
        if key not in known.tickets and not _emergency_instead(alarm, known):
            found.setdefault(key, alarm)
    return found


def _emergencies_first(news: Iterable[News], known: Known) -> list[News]:
    """Sort changes: those of one alarm keep their order; emergencies come before repairs of the same time."""
    wanted = TicketType.EMERGENCY.value
    return sorted(news, key=lambda item: known.alarms[item.alarm]["wants_ticket"] != wanted)


def _sensor(alarm: Row) -> Sensor:
    return alarm["site"], alarm["equipment"], alarm["part"]


def _opens_for_danger(alarm: Row) -> bool:
    """Whether its emergency is a danger detected by its own sensor: a lift, or a fire panel, still needs its repair."""
    is_emergency = alarm["wants_ticket"] == TicketType.EMERGENCY.value and alarm["life_safety"]
    return bool(is_emergency) and not is_call(alarm) and not is_fire(alarm)


def _emergency_instead(alarm: Row, known: Known) -> str | None:
    """The key of its own sensor's emergency, while which an alarm opens no repair."""
    if alarm["wants_ticket"] != TicketType.REPAIR.value or known.gatherings[alarm["id"]].key in known.tickets:
        return None
    return known.emergencies.get(_sensor(alarm))


def follow(news: Iterable[News], known: Known, numbers: Mapping[str, str], now: int) -> Written:
    """Turn changes of alarms into rows, in order.

    Args:
        news: changes of alarms.
        known: rows for exactly these changes; changed in place.
        numbers: ticket numbers for the result of `openings`, by key.
        now: epoch ms.
    """
    written = Written()
    for item in _emergencies_first(news, known):
        alarm = known.alarms[item.alarm]
        if item.what in _ASKS:
            if _is_owed(item, alarm, known):
                _take_in(item, alarm, known, numbers, written, now)
            continue
        if not _is_member(alarm, known):
            continue
        gathering = known.gatherings[item.alarm]
        ticket = known.tickets[gathering.key]
        if item.what is What.RETURNED:
            write(ticket, "condition_returned", {}, written, item.cause, now, note=_point(alarm, gathering))
        elif ticket["type"] == TicketType.EMERGENCY.value and ticket["state"] == FIRST_STATE:
            # Acknowledging one alarm acknowledges its emergency, but no other alarm of it.
            step(ticket, Action.ACKNOWLEDGE, written, item.cause, now)
    return written


def _is_owed(item: News, alarm: Row, known: Known) -> bool:
    """The tick and the fact may be handled in either order."""
    if item.what not in _ASKS or not item.activation:
        return False
    if item.activation in known.joined or item.activation in known.passed:
        return False
    return alarm["wants_ticket"] != NO_TICKET and (alarm["annunciated"] or _is_member(alarm, known))


def _is_member(alarm: Row, known: Known) -> bool:
    """Whether it has an open ticket: further changes of the alarm are recorded in it."""
    ticket = known.tickets.get(known.gatherings[alarm["id"]].key)
    return ticket is not None and (ticket["number"], alarm["id"]) in known.members


def _take_in(item: News, alarm: Row, known: Known, numbers: Mapping[str, str], written: Written, now: int) -> None:
    """Open a ticket for an alarm, or add it and its activation to the open one."""
    instead = _emergency_instead(alarm, known)
    if instead is not None:
        _note_in_emergency(item, alarm, known.tickets[instead], known, written, now)
        return
    gathering = known.gatherings[item.alarm]
    body = {"alarm": alarm["id"], "why": gathering.why.value}
    ticket = known.tickets.get(gathering.key)
    if ticket is None:
        ticket = known.tickets[gathering.key] = _open(alarm, gathering.key, numbers[gathering.key], now)
        written.new.add(ticket["number"])
        _record(ticket, "opened", None, written, item.cause, now, _point(alarm, gathering), body)
    elif gathering.why is Reason.SAME_ALARM:
        write(ticket, "activation_joined", {"alarm": alarm["id"]}, written, item.cause, now, body=body)
    else:
        what = "activation_joined" if (ticket["number"], alarm["id"]) in known.members else "alarm_joined"
        changes = _more_urgent(ticket, alarm)
        write(ticket, what, changes, written, item.cause, now, note=_joining(alarm, gathering), body=body)
    _make_member(ticket, alarm, known, written, now)
    known.joined.add(item.activation)
    written.activations.append({"activation": item.activation, "ticket": ticket["number"]})
    written.ticketed.append({"of_activation": item.activation, "ticketed_at": now})


def _note_in_emergency(item: News, alarm: Row, ticket: Row, known: Known, written: Written, now: int) -> None:
    """A repair waits while its sensor's emergency is open: the alarm joins that, the activation still needs one."""
    if (ticket["number"], alarm["id"]) in known.members:
        return
    gathering = Gathering(ticket["open_key"], Reason.SAME_SENSOR)
    body = {"alarm": alarm["id"], "why": gathering.why.value}
    write(ticket, "alarm_joined", {}, written, item.cause, now, note=_joining(alarm, gathering), body=body)
    _make_member(ticket, alarm, known, written, now)


def _make_member(ticket: Row, alarm: Row, known: Known, written: Written, now: int) -> None:
    if (ticket["number"], alarm["id"]) not in known.members:
        known.members.add((ticket["number"], alarm["id"]))
        written.alarms.append({"ticket": ticket["number"], "alarm": alarm["id"], "joined_at": now})


def _more_urgent(ticket: Row, alarm: Row) -> Row:
    """An incident uses the most urgent of its playbooks, with the title of the alarm that caused it.

    Priorities need not be compared: life safety is critical.
    """
    if not is_more_urgent(alarm["playbook"], ticket["playbook"]):
        return {}
    return {name: alarm[name] for name in ("playbook", "title")}


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


def _point(alarm: Row, gathering: Gathering) -> str:
    """The point of an incident: zone and part, and the equipment if there may be several.

    "" for alarms with a ticket of their own.
    """
    if gathering.why is Reason.SAME_ALARM:
        return ""
    equipment = "" if is_fire(alarm) else alarm["equipment"]
    return " · ".join(filter(None, (equipment, alarm["zone"], alarm["part"], gathering.place)))


def _joining(alarm: Row, gathering: Gathering) -> str:
    """The point that joins, and the reason; without a reason for points of a panel, which are one fire."""
    point = _point(alarm, gathering)
    return point if gathering.why is Reason.SAME_PANEL else f"{point} · {alarm['rule']} ({gathering.why})"


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
    """Apply an action to a ticket. Raises NotPermitted."""
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
    if ticket["state"] in GATHERS_NO_MORE[TicketType(ticket["type"])]:
        ticket.update(open_key=None)
    if ticket["state"] in CLOSED[TicketType(ticket["type"])]:
        ticket.update(closed_at=now)
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


_AUDITED: Final = ("state", "alarm", "playbook", "version")
