"""The JSON of what keeps alarms quiet: shelving, and taking equipment out of service."""

from datetime import datetime
from typing import Annotated

import msgspec

from gateway.api.http.bodies import Texts

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""RFC 3339 with a zone: without one nobody knows which hour is meant."""
Why = Annotated[str, msgspec.Meta(max_length=500, pattern=r"\S")]
"""A reason in people's words; never empty."""


class Shelve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`version` is the one on the screen: if the alarm has changed since, the answer is 409.

    Give `until` or `minutes`. With `one_shot` it ends when the condition does, and at the longest permitted time
    where neither is given.
    """

    version: int
    reason: Why
    until: Moment | None = None
    minutes: Annotated[int, msgspec.Meta(ge=1, le=10_080)] | None = None
    one_shot: bool = False


class Unshelve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`version` is the one on the screen: if the alarm has changed since, the answer is 409."""

    version: int
    note: Annotated[str, msgspec.Meta(max_length=500)] = ""


class ShelfBody(msgspec.Struct, frozen=True):
    """An alarm that is put aside, open or not. `alarm` is the id of its newest one: by that it is taken back."""

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
    """`part` "" is the whole equipment. What is out of service already gets this reason and end.

    With `life_safety` its alarms of life safety are quiet too, until the planned end at most; that needs a second
    person.
    """

    reason: Why
    planned_end: Moment
    part: Annotated[str, msgspec.Meta(max_length=128)] = ""
    life_safety: bool = False


class ReturnToService(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`part` "" is the whole equipment."""

    part: Annotated[str, msgspec.Meta(max_length=128)] = ""
