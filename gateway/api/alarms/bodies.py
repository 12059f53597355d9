"""The JSON of alarms: what is listed, and what an operator sends."""

from datetime import datetime
from typing import Annotated

import msgspec

from collectors.wire.reading import Value
from gateway.api.http.bodies import Note, Texts


class SuppressionBody(msgspec.Struct, frozen=True):
    """Why an alarm is not annunciated. `reason`: shelved, out_of_service, maintenance, parent or rule."""

    reason: str
    person: Texts | None
    """The person; null if no person did it."""
    second_person: Texts | None
    source: str
    """Id of the maintenance window, or of the alarm that is the cause; "" if a person did it."""
    since: datetime
    until: datetime | None
    """When it expires; null: it ends with its cause."""
    why: str


class AlarmBody(msgspec.Struct, frozen=True):
    """One alarm. `state` is an ISA-18.2 process state; `version` rises with each change (send it back to act)."""

    id: str
    site: str
    equipment: str
    """The equipment's id, `{site}:{code}`."""
    kind: str
    part: str
    zone: str
    """Where in the building, as a fire panel names it; "" if it does not name one."""
    rule: str
    title: Texts
    advice: Texts
    priority: str
    life_safety: bool
    state: str
    active: bool
    raised_at: datetime
    received_at: datetime
    returned_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: Texts | None
    """Name of the person or of the component of the platform."""
    closed_at: datetime | None
    silenced_at: datetime | None
    """When a person silenced it; null while it may sound."""
    silenced_by: Texts | None
    re_alarm_at: datetime | None
    """When it is annunciated again if it is still active; null if it will not be, or is unacknowledged already."""
    activations: int
    field: str
    """The field that the rule looks at, "" for an event; `value` is what it was when the alarm was raised."""
    value: Value | None
    unit: str
    drill: bool
    chattering: bool
    """It is chattering: it stays active until its condition has been normal for a while."""
    ticket: str | None
    """Number of the newest ticket of this alarm, if there was one; it may be closed."""
    annunciated: bool
    """false while one of `suppressions` applies. Its state is updated all the same."""
    suppressions: list[SuppressionBody]
    version: int


class WindowBody(msgspec.Struct, frozen=True):
    """Planned work on one equipment (or a part or zone of it), or with `equipment` "" on all of `kind` on the site.

    `phase` is `upcoming`, `on`, `over` or `cancelled`. Life-safety alarms are suppressed only with `life_safety`.
    """

    id: str
    site: str
    kind: str
    equipment: str
    """`{site}:{code}`, or ""."""
    part: str
    zone: str
    starts_at: datetime
    ends_at: datetime
    phase: str
    reason: str
    person: Texts
    """Who planned it."""
    second_person: Texts | None
    """Who agreed to suppress life-safety alarms too."""
    life_safety: bool
    version: int


class JournalEntry(msgspec.Struct, frozen=True):
    at: datetime
    event: str
    before: str
    after: str
    actor: Texts
    note: str


class AlarmDetail(msgspec.Struct, frozen=True):
    alarm: AlarmBody
    journal: list[JournalEntry]
    caused: int
    """How many open alarms are suppressed because this one is their cause; `GET /alarms?under=` lists them."""


class AlarmAct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`version` is the version on the screen: if the alarm has changed since, the answer is 409."""

    version: int
    note: Note = ""


class Comment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Text for the journal."""

    note: Annotated[str, msgspec.Meta(min_length=1, max_length=2000, pattern=r"\S")]


class ActivationBody(msgspec.Struct, frozen=True):
    id: str
    alarm: str
    site: str
    equipment: str
    part: str
    rule: str
    priority: str
    started_at: datetime
    ended_at: datetime | None
    value: Value | None
    disproved: bool
    drill: bool


class GroupBody(msgspec.Struct, frozen=True):
    """Alarms by id: the probable cause, which came first, and the alarms grouped under it."""

    cause: str
    members: list[str]


class FloodBody(msgspec.Struct, frozen=True):
    """A current flood at a duty position, and the groups of one of its sites."""

    position: str
    site: str
    since: datetime
    activations: int
    """In the last ten minutes on this site; the position's are the sum over the sites that the person may see."""
    groups: list[GroupBody]
