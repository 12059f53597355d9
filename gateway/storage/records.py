"""Rows that say what has changed: journal, audit and facts. A transaction collects them (`transaction.py`)."""

from typing import Any

import msgspec


class JournalRow(msgspec.Struct, frozen=True):
    """One line in the journal of an alarm or a ticket."""

    subject: str
    thing: str
    at: int
    event: str
    before: str
    after: str
    actor: str
    note: str = ""


class AuditRow(msgspec.Struct, frozen=True):
    """One change, with the state before and after."""

    at: int
    site: str
    actor: str
    role: str
    via: str
    origin: str
    act: str
    thing: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    cause: str


class NewFact(msgspec.Struct, frozen=True):
    """A fact to write. `kind` names the subject and what happened (`alarm.raised`), `thing` the id it is about."""

    at: int
    site: str
    kind: str
    thing: str
    body: dict[str, Any] = {}
