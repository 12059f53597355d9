"""Records in an alarm's row why it is not annunciated, with journal, audit and fact of each change. No I/O.

The process state is never touched: it changes as if the alarm were not suppressed, and shows on release.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import structlog

from gateway.alarms.lifecycle.transitions import Row, Written, key_of
from gateway.alarms.suppression.reasons import BY_CAUSES, Plans, Reason, Subject, Suppression, active_reasons
from gateway.people.audit.entry import Cause, audited
from gateway.storage.records import JournalRow, NewFact
from gateway.storage.trouble_words import in_plain_words

log = structlog.get_logger(__name__)

SUPPRESSED: Final = "alarm.suppressed"
"""The alarm is suppressed, or for other reasons than before."""
RELEASED: Final = "alarm.released"
"""The alarm is no longer suppressed."""

_BEGINS: Final = {
    Reason.SHELVED: "shelved",
    Reason.OUT_OF_SERVICE: "out_of_service",
    Reason.MAINTENANCE: "maintenance_began",
    Reason.PARENT: "suppressed",
    Reason.RULE: "suppressed",
}
_ENDS: Final = {
    Reason.SHELVED: "unshelved",
    Reason.OUT_OF_SERVICE: "returned_to_service",
    Reason.MAINTENANCE: "maintenance_ended",
    Reason.PARENT: "released",
    Reason.RULE: "released",
}
"""Reason -> the journal's event for its beginning, and for its end."""
_ANNUNCIATED: Final = "annunciated"
"""The journal's event when the last reason has ended. Tickets use it."""


def subject_of(alarm: Row) -> Subject:
    """The fields of an alarm's row that decide which suppressions apply to it."""
    under = tuple((item.by, item.since) for item in suppressions_of(alarm) if item.reason in BY_CAUSES)
    return Subject(key_of(alarm), alarm["kind"], alarm["zone"], alarm["life_safety"], alarm["raised_at"], under)


def suppressions_of(alarm: Row) -> tuple[Suppression, ...]:
    """The suppressions of an alarm's row; unreadable ones (of a later version) do not suppress the alarm."""
    try:
        return msgspec.convert(tuple(alarm["suppressions"]), tuple[Suppression, ...])
    except msgspec.ValidationError as error:
        log.error(
            "the suppressions of an alarm cannot be read: it is annunciated",
            alarm=alarm["id"],
            why=in_plain_words(error),
            detail=str(error),
        )
        return ()


def evaluate(alarm: Row, plans: Plans, now: int, written: Written, cause: Cause) -> None:
    """Record the suppressions that apply to an alarm now."""
    try:
        found = active_reasons(subject_of(alarm), plans, now)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a plan, the alarm must be annunciated
        log.error(
            "the suppressions of an alarm cannot be determined: it is annunciated", alarm=alarm["id"], why=repr(error)
        )
        found = ()
    enter(alarm, found, now, written, cause)


def enter(
    alarm: Row, found: tuple[Suppression, ...], now: int, written: Written, cause: Cause, *, note: str = ""
) -> None:
    """Record reasons in an alarm's row, if they have changed. `note` is added to each line of the journal."""
    before = suppressions_of(alarm)
    if found == before and alarm["annunciated"] is not bool(found):
        return
    was = _audited(alarm, before)
    alarm.update(suppressions=[msgspec.to_builtins(item) for item in found], annunciated=not found)
    alarm["version"] += 1
    written.alarms[alarm["id"]] = alarm
    state = alarm["state"]
    written.journal += [
        JournalRow("alarm", alarm["id"], now, event, state, state, cause.actor, note or why)
        for event, why in _lines(before, found)
    ]
    kind = SUPPRESSED if found else RELEASED
    written.audit.append(audited(now, alarm["site"], cause, kind, alarm["id"], was, _audited(alarm, found)))
    written.facts.append(NewFact(now, alarm["site"], kind, alarm["id"], {"reasons": [item.reason for item in found]}))


def _lines(before: Iterable[Suppression], after: Iterable[Suppression]) -> list[tuple[str, str]]:
    """(event, note) of each reason that has ended, and of each that has begun or changed."""
    stays = {(item.reason, item.by) for item in after}
    ended = [(_ENDS[item.reason], "") for item in before if (item.reason, item.by) not in stays]
    begun = [(_BEGINS[item.reason], item.why) for item in after if item not in before]
    return ended + begun if stays else [*ended, (_ANNUNCIATED, "")]


def _audited(alarm: Row, active_now: Iterable[Suppression]) -> dict[str, Any]:
    """Without free text: the audit names people by their ids only."""
    reasons = [{name: getattr(item, name) for name in _NAMED} for item in active_now]
    return {"suppressions": reasons, "annunciated": alarm["annunciated"], "version": alarm["version"]}


_NAMED: Final = ("reason", "by", "since", "until", "second_person")
