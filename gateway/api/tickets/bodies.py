"""The JSON of tickets and their attachments."""

from datetime import datetime

import msgspec

from gateway.api.alarms.bodies import (
    AlarmBody,
    JournalEntry,
)
from gateway.api.http.bodies import Texts


class TicketBody(msgspec.Struct, frozen=True):
    """`type` is `repair` or `emergency`; `alarm` the id of its alarm, for a fire the first one."""

    number: str
    type: str
    site: str
    equipment: str
    title: Texts
    priority: str
    state: str
    opened_at: datetime
    alarm: str | None
    alarms: list[str]
    """Ids of all its alarms, by zone and time: a fire groups the points of its building."""
    playbook: str
    drill: bool
    version: int


class AttachmentBody(msgspec.Struct, frozen=True):
    """A file that is attached to a ticket; `GET /attachments/{id}` answers with its bytes."""

    id: str
    ticket: str
    name: str
    """The given name with the extension of its type; for display and download."""
    media_type: str
    size: int
    sha256: str
    """Of the stored file, in hex: a photo differs from the sent one by the removed metadata."""
    position: bool
    """Whether the sender chose to keep a photo's position."""
    person: Texts
    at: datetime


class TicketAct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`version` is the version on the screen: if the ticket has changed since, the answer is 409."""

    version: int
    note: str = ""


class TicketDetail(msgspec.Struct, frozen=True):
    """`alarms` are the ticket's, in the ticket's order."""

    ticket: TicketBody
    alarms: list[AlarmBody]
    journal: list[JournalEntry]
