"""Turns decisions into rows: alarms that open, change state and close, with activation, journal, audit and fact.

Pure: takes open alarms and returns rows to write. `alarms.py` writes them in one transaction.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

import msgspec

from gateway.alarms.evaluation.outcomes import Decision
from gateway.alarms.key import Key
from gateway.alarms.lifecycle.states import LATCHED, Event, State, after
from gateway.alarms.rules.rule import Rule, TicketWish
from gateway.alarms.rules.tunable import unit_of
from gateway.people.audit.entry import Cause, audited
from gateway.storage.identity import new_id
from gateway.storage.records import AuditRow, JournalRow, NewFact

Row = dict[str, Any]
"""A row of the alarm table."""
RESET_HELD: Final = "reset_held"
"""Journal: the panel was reset, but the alarm stays latched."""


CHATTERED: Final = frozenset({"chatter_began", "chatter_raised", "chatter_returned"})
"""Journal: events of a chattering alarm that restart its quiet time."""


class Written(msgspec.Struct):
    """Rows that one transaction writes. `alarms` has new and changed rows by id; `new` the ids of the new ones."""

    alarms: dict[str, Row] = {}
    new: set[str] = set()
    activations: list[Row] = []
    ended: list[Row] = []
    answered: list[Row] = []
    """Alarms that were acknowledged, and when: this covers all their unacknowledged activations."""
    journal: list[JournalRow] = []
    audit: list[AuditRow] = []
    facts: list[NewFact] = []


def identity_of(decision: Decision) -> str:
    """Identity of an activation, by which a second write of it is detected.

    Telemetry raises a key once at a time of measurement. Events of one time differ by their digest: a clock that
    counts whole seconds may send fire, clear and fire again in one of them.
    """
    identity = f"{decision.key}@{decision.change.at}"
    return f"{identity}#{decision.digest[:12]}" if decision.digest else identity


IsChatter = Callable[[Decision], bool]
"""Whether an activation is chatter; called once for each new activation."""


def never_chatters(_decision: Decision) -> bool:
    """Nothing is damped."""
    return False


def write_up(
    decisions: Iterable[Decision],
    open_alarms: dict[str, Row],
    known: set[str],
    cause: Cause,
    now: int,
    verified: Collection[str] = frozenset(),
    is_chatter: IsChatter = never_chatters,
) -> Written:
    """Turn decisions into rows, in order.

    Args:
        decisions: conditions that began or ended, and resets of panels.
        open_alarms: open alarms by key; changed in place.
        known: identities of activations that are written already (a sample that was delivered twice).
        cause: what led to the decisions.
        now: epoch ms.
        verified: ids of the alarms whose newest activation is a verified emergency.
        is_chatter: whether an activation starts damping.
    """
    written = Written()
    for decision in decisions:
        key = str(decision.key)
        alarm = open_alarms.get(key)
        if alarm is not None and alarm["chattering"] and decision.rule.life_safety:
            end_chatter(alarm, written, cause, now, "life safety is never damped")
        if decision.change.raised:
            if identity_of(decision) in known or (alarm is not None and _is_condition_active(alarm)):
                continue  # an active condition cannot begin again
            if alarm is None:
                alarm = open_alarms[key] = _new_alarm(decision, now)
                written.new.add(alarm["id"])
            too_many = is_chatter(decision)
            if alarm["chattering"]:
                _count(alarm, decision, written, cause, now)
                continue
            _raise(alarm, decision, written, cause, now)
            if too_many:
                alarm["chattering"] = True
                note_on(alarm, "chatter_began", written, cause, now)
        elif alarm is not None and decision.change.reset:
            _reset_by_panel(alarm, decision, written, cause, now, verified)
        elif alarm is not None and alarm["chattering"]:
            _hold(alarm, decision, written, cause, now)
        elif alarm is not None and alarm["active"]:
            _return(alarm, decision, written, cause, now)
        if alarm is not None and alarm["open_key"] is None:
            del open_alarms[key]
    return written


def _is_condition_active(alarm: Row) -> bool:
    """Whether its condition is active: a chattering alarm is held active between two activations."""
    return bool(alarm["active"] and alarm["returned_at"] is None)


def _new_alarm(decision: Decision, now: int) -> Row:
    rule, key = decision.rule, decision.key
    return {
        "id": new_id(now),
        "site": key.site,
        "equipment": key.equipment,
        "kind": decision.kind.value,
        "part": key.part,
        "zone": decision.zone,
        "rule": rule.id,
        "open_key": str(key),
        **_rule_columns(rule),
        "latching": rule.latching,
        "state": State.NORMAL.value,
        "active": False,
        "raised_at": decision.change.at,
        "received_at": decision.received_at,
        "returned_at": None,
        "acknowledged_at": None,
        "acknowledged_by": None,
        "closed_at": None,
        "activations": 0,
        "field": rule.field,
        "value": decision.value,
        "unit": unit_of(rule),
        "suppressions": [],
        "annunciated": True,
        "silenced_at": None,
        "silenced_by": None,
        "re_alarm_at": None,
        "chattering": False,
        "drill": False,
        "version": 0,
    }


def _rule_columns(rule: Rule) -> Row:
    """Columns that an open alarm takes from its rule, also when that is changed; `latching` is not one."""
    return {
        "title": dict(rule.title),
        "advice": dict(rule.advice),
        "priority": rule.priority.value,
        "life_safety": rule.life_safety,
        "wants_ticket": rule.ticket.value,
        "playbook": rule.playbook,
        "re_alarm": rule.re_alarm,
    }


def go_by(alarm: Row, rule: Rule, written: Written, cause: Cause, now: int, note: str) -> None:
    """Update an open alarm from its changed rule."""
    values = _rule_columns(rule)
    if all(alarm[name] == value for name, value in values.items()):
        return
    before = {name: alarm[name] for name in values}
    alarm.update(values, version=alarm["version"] + 1)
    if before["re_alarm"] != rule.re_alarm:
        waits = rule.re_alarm and alarm["state"] == State.ACKNOWLEDGED
        alarm["re_alarm_at"] = now + rule.re_alarm if waits else None
    note_on(alarm, "rule_changed", written, cause, now, note)
    written.audit.append(audited(now, alarm["site"], cause, "alarm.rule_changed", alarm["id"], before, values))


def _activation(alarm: Row, decision: Decision, now: int, *, damped: bool) -> Row:
    return {
        "id": new_id(now),
        "identity": identity_of(decision),
        "alarm": alarm["id"],
        "site": alarm["site"],
        "equipment": alarm["equipment"],
        "part": alarm["part"],
        "rule": alarm["rule"],
        "priority": alarm["priority"],
        "started_at": decision.change.at,
        "received_at": decision.received_at,
        "ended_at": None,
        # An activation counted while its alarm is acknowledged is covered by that acknowledgement.
        "acknowledged_at": alarm["acknowledged_at"] if damped and alarm["state"] == State.ACKNOWLEDGED else None,
        "damped": damped,
        "ticketed_at": now if damped else None,  # a damped activation opens no ticket of its own
        "value": decision.value,
        "disproved": False,
        "drill": alarm["drill"],
    }


def _raise(alarm: Row, decision: Decision, written: Written, cause: Cause, now: int) -> None:
    alarm.update(_rule_columns(decision.rule))  # which may have been changed since the alarm opened
    activation = _activation(alarm, decision, now, damped=False)
    written.activations.append(activation)
    changes = {
        "active": True,
        "raised_at": decision.change.at,
        "received_at": decision.received_at,
        "returned_at": None,
        "activations": alarm["activations"] + 1,
        "field": decision.rule.field,
        "value": decision.value,
        "unit": unit_of(decision.rule),
    }
    body = {"activation": activation["id"]}
    move(alarm, Event.RAISED, changes, written, cause, now, note=decision.note, body=body)


def _return(alarm: Row, decision: Decision, written: Written, cause: Cause, now: int) -> None:
    at, disproved = decision.change.at, decision.change.disproved
    _end_activation(alarm, at, written, disproved=disproved)
    note = "disproved: a sample from before it came late" if disproved else decision.note
    move(alarm, Event.RETURNED, {"active": False, "returned_at": at}, written, cause, now, note=note)


def _reset_by_panel(
    alarm: Row, decision: Decision, written: Written, cause: Cause, now: int, verified: Collection[str]
) -> None:
    """Reset a latched alarm, but not an unverified emergency: that requires a person."""
    if State(alarm["state"]) not in LATCHED:
        return
    cause = msgspec.structs.replace(cause, why=f"event {decision.digest}")
    if _is_verified(alarm, written, verified):
        move(alarm, Event.RESET, {}, written, cause, now, note="the panel was reset")
        return
    note = "the panel was reset; the emergency is not verified yet"
    state = alarm["state"]
    written.journal.append(JournalRow("alarm", alarm["id"], now, RESET_HELD, state, state, cause.actor, note))


def _is_verified(alarm: Row, written: Written, verified: Collection[str]) -> bool:
    """Whether the newest activation is verified; one of this transaction cannot be."""
    if alarm["wants_ticket"] != TicketWish.EMERGENCY.value:
        return True
    return alarm["id"] in verified and all(row["alarm"] != alarm["id"] for row in written.activations)


def _count(alarm: Row, decision: Decision, written: Written, cause: Cause, now: int) -> None:
    """Count one more activation of a chattering alarm, without annunciating it again.

    The version stays, so that an acknowledgement of what is on the screen is not refused because of it.
    """
    written.activations.append(_activation(alarm, decision, now, damped=True))
    alarm.update(
        raised_at=decision.change.at,
        received_at=decision.received_at,
        returned_at=None,
        activations=alarm["activations"] + 1,
        value=decision.value,
    )
    note_on(alarm, "chatter_raised", written, cause, now)


def _hold(alarm: Row, decision: Decision, written: Written, cause: Cause, now: int) -> None:
    """Record the end of its condition, but hold the chattering alarm active until it has been quiet."""
    _end_activation(alarm, decision.change.at, written, disproved=decision.change.disproved)
    alarm["returned_at"] = decision.change.at
    note_on(alarm, "chatter_returned", written, cause, now)


def end_chatter(alarm: Row, written: Written, cause: Cause, now: int, proposal: str) -> None:
    """End chatter: from here on the alarm returns and is annunciated like any other."""
    alarm["chattering"] = False
    note_on(alarm, "chatter_ended", written, cause, now, proposal)
    if alarm["returned_at"] is not None and alarm["active"]:
        move(alarm, Event.RETURNED, {"active": False}, written, cause, now)


def note_on(alarm: Row, what: str, written: Written, cause: Cause, now: int, note: str = "") -> None:
    """Record an event that does not change the state."""
    written.alarms[alarm["id"]] = alarm
    state = alarm["state"]
    written.journal.append(JournalRow("alarm", alarm["id"], now, what, state, state, cause.actor, note))
    written.facts.append(NewFact(now, alarm["site"], f"alarm.{what}", alarm["id"], {}))


def withdraw(alarm: Row, written: Written, cause: Cause, now: int) -> None:
    """End the condition of an alarm whose rule is gone."""
    _end_activation(alarm, now, written)
    changes = {"active": False, "returned_at": now, "chattering": False}
    move(alarm, Event.RETURNED, changes, written, cause, now, note="rule withdrawn")


def end_for_retired(alarm: Row, written: Written, cause: Cause, now: int, why: str) -> None:
    """End an alarm in any state because its equipment is retired. Raises NotPermitted if it is closed."""
    changes: Row = {"chattering": False}
    if alarm["active"]:
        _end_activation(alarm, now, written)
        changes |= {"active": False, "returned_at": alarm["returned_at"] or now}
    move(alarm, Event.EQUIPMENT_RETIRED, changes, written, cause, now, note=why)


def _end_activation(alarm: Row, at: int, written: Written, *, disproved: bool = False) -> None:
    """End the open activation: one written in this transaction, or the one in the table."""
    for activation in written.activations:
        if activation["alarm"] == alarm["id"] and activation["ended_at"] is None:
            activation.update(ended_at=at, disproved=disproved)
            return
    written.ended.append({"of_alarm": alarm["id"], "ended_at": at, "disproved": disproved})


def move(
    alarm: Row,
    event: Event,
    changes: Row,
    written: Written,
    cause: Cause,
    now: int,
    *,
    note: str = "",
    body: dict[str, Any] | None = None,
) -> None:
    """Apply an event by the state table, with journal, audit and fact. Raises NotPermitted."""
    before = State(alarm["state"])
    following = after(before, event, latching=alarm["latching"])
    was = {name: alarm[name] for name in _AUDITED}
    alarm.update(changes, state=following.value, version=alarm["version"] + 1)
    alarm["re_alarm_at"] = now + alarm["re_alarm"] if following is State.ACKNOWLEDGED and alarm["re_alarm"] else None
    if event in _SOUNDING:
        alarm.update(silenced_at=None, silenced_by=None)
    if following is State.NORMAL:
        alarm.update(open_key=None, closed_at=now)
    written.alarms[alarm["id"]] = alarm
    if event is Event.ACKNOWLEDGED:
        written.answered.append({"of_alarm": alarm["id"], "answered_at": now})
    now_is = {name: alarm[name] for name in _AUDITED}
    _record(alarm, event, before, written, cause, now, note, body, was, now_is)


_AUDITED: Final = ("state", "active", "version")
_SOUNDING: Final = frozenset({Event.RAISED, Event.RE_ALARMED})
"""Events that sound again after the alarm was silenced."""


def by_person(alarm: Row, event: Event, note: str, written: Written, cause: Cause, now: int) -> None:
    """Apply a person's action to an alarm. A comment changes nothing. Raises NotPermitted."""
    body = {"actor": cause.actor}
    if event is Event.COMMENTED:
        state = after(State(alarm["state"]), event, latching=alarm["latching"])
        _record(alarm, event, state, written, cause, now, note, body)
        return
    changes = dict(zip(_SIGNED.get(event, ()), (now, cause.actor), strict=False))
    move(alarm, event, changes, written, cause, now, note=note, body=body)


_SIGNED: Final = {
    Event.ACKNOWLEDGED: ("acknowledged_at", "acknowledged_by"),
    Event.SILENCED: ("silenced_at", "silenced_by"),
}
"""The columns of its time and its person in the alarm's row."""


def _record(
    alarm: Row,
    event: Event,
    before: State,
    written: Written,
    cause: Cause,
    now: int,
    note: str,
    body: dict[str, Any] | None,
    was: Row | None = None,
    now_is: Row | None = None,
) -> None:
    identity, site = alarm["id"], alarm["site"]
    written.journal.append(
        JournalRow("alarm", identity, now, event.value, before.value, alarm["state"], cause.actor, note)
    )
    written.audit.append(audited(now, site, cause, f"alarm.{event}", identity, was, now_is))
    written.facts.append(NewFact(now, site, f"alarm.{event}", identity, body or {}))


def key_of(alarm: Row) -> Key:
    """The key of an alarm's row."""
    return Key(alarm["site"], alarm["equipment"], alarm["part"], alarm["rule"])
