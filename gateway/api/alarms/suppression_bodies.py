"""The JSON of suppression by people: shelving, and taking equipment out of service."""

from datetime import datetime
from typing import Annotated

import msgspec

from gateway.api.http.bodies import Texts

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""RFC 3339 with a time zone; without one the time would be ambiguous."""
Why = Annotated[str, msgspec.Meta(max_length=500, pattern=r"\S")]
"""A reason as free text; never empty."""


class Shelve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`version` is the version on the screen: if the alarm has changed since, the answer is 409.

    Give `until` or `minutes`. With `one_shot` it ends with the condition, and at the latest after the longest
    permitted time if neither is given.
    """

    version: int
    reason: Why
    until: Moment | None = None
    minutes: Annotated[int, msgspec.Meta(ge=1, le=10_080)] | None = None
    one_shot: bool = False


class Unshelve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`version` is the version on the screen: if the alarm has changed since, the answer is 409."""

    version: int
    note: Annotated[str, msgspec.Meta(max_length=500)] = ""


class ShelfBody(msgspec.Struct, frozen=True):
    """A shelved alarm, open or not. `alarm` is the id of the newest alarm: use it to unshelve."""

    alarm: str
    version: int
    open: bool
    site: str
    equipment: str
    part: str
    rule: str
    title: Texts
    priority: str
    since: datetime
    until: datetime
    one_shot: bool
    person: Texts
    second_person: Texts | None
    reason: str


class OutOfService(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`part` "" is the whole equipment. If it is out of service already, reason and end are replaced.

    With `life_safety` its life-safety alarms are suppressed too, until the planned end at most; that needs a second
    person.
    """

    reason: Why
    planned_end: Moment
    part: Annotated[str, msgspec.Meta(max_length=128)] = ""
    life_safety: bool = False


class ReturnToService(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`part` "" is the whole equipment."""

    part: Annotated[str, msgspec.Meta(max_length=128)] = ""
