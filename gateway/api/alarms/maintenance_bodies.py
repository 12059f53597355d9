"""The JSON of planned work."""

from typing import Annotated

import msgspec

from collectors.wire.fields import Kind
from gateway.api.alarms.bodies import JournalEntry, WindowBody
from gateway.api.alarms.suppression_bodies import Moment, Why


class WindowDetail(msgspec.Struct, frozen=True):
    window: WindowBody
    journal: list[JournalEntry]


_Name = Annotated[str, msgspec.Meta(max_length=128)]


class PlanWindow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`equipment` is `{site}:{code}`; without it the window is for all of `kind` on the site.

    On a fire panel a window names the zone or the part. `life_safety` suppresses fire, entrapment and calls for help
    too; that needs a second person.
    """

    site: str
    starts_at: Moment
    ends_at: Moment
    reason: Why
    equipment: str = ""
    kind: Kind | None = None
    part: _Name = ""
    zone: _Name = ""
    life_safety: bool = False


class ChangeWindow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Omitted fields stay as they are.

    `version` is the version on the screen: if the window has changed since, the answer is 409.
    """

    version: int
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    reason: Why | None = None


class CancelWindow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`version` is the version on the screen: if the window has changed since, the answer is 409."""

    version: int
