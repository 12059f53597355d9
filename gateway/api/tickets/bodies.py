"""."""


class TicketBody(msgspec.Struct, frozen=True):
    """`type` is `repair` or `emergency`; `alarm` the id of the alarm that it is about: of a fire, the first one."""

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
    """Ids of all its alarms, by zone and time: a fire gathers the points of its building."""
    playbook: str
    drill: bool
    version: int


class AttachmentBody(msgspec.Struct, frozen=True):
    """A file that is attached to a ticket; `GET /attachments/{id}` answers with its bytes."""

    id: str
    ticket: str
    name: str
    """As it was given, with an ending of its kind; to be shown, and to save it by."""
    media_type: str
    size: int
    sha256: str
    """Of what is kept, in hex: a photo differs from what was sent by the data that was taken out."""
    position: bool
    """Whether it was asked for that a photo keeps where it was taken."""
    person: Texts
    at: datetime


class TicketAct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`version` is the one on the screen: if the ticket has changed since, the answer is 409."""

    version: int
    note: str = ""


class TicketDetail(msgspec.Struct, frozen=True):
    """`alarms` are the ticket's, in its order."""

    ticket: TicketBody
    alarms: list[AlarmBody]
    journal: list[JournalEntry]
