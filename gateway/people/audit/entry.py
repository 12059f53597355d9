"""Audit rows: one in the transaction of each change.

Rows name people by id only, never by name, telephone or card, so a person can be forgotten and the chain stays valid.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

from gateway.people.permissions import ALL_SITES, Grants
from gateway.storage.records import AuditRow


class Via(StrEnum):
    """The channel of a change."""

    WEB = "web"
    READING = "reading"
    CLOCK = "clock"
    FACT = "fact"
    TOKEN = "token"  # noqa: S105 - the name of a way
    COMMAND = "command"


class Cause(msgspec.Struct, frozen=True):
    """Who or what made a change. `actor` is a person's id, or `system:` and the component that acted."""

    actor: str
    via: Via
    origin: str = ""
    """Address from which a person acted."""
    why: str = ""
    """The fact, activation or alarm that caused the change."""
    grants: Grants = msgspec.field(default_factory=dict)
    """The person's roles at the time; those that apply on the object's site go into the row."""

    def role(self, site: str) -> str:
        """Roles held on a site, or on all sites, in a fixed order, joined by commas."""
        held = {*self.grants.get(ALL_SITES, ()), *self.grants.get(site, ())}
        return ",".join(sorted(str(role) for role in held))


RULES: Final = Cause("system:rules", Via.READING)
CLOCK: Final = Cause("system:clock", Via.CLOCK)


def audited(
    at: int,
    site: str,
    cause: Cause,
    act: str,
    thing: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> AuditRow:
    """The row for a change that `cause` made."""
    return AuditRow(
        at, site, cause.actor, cause.role(site), cause.via.value, cause.origin, act, thing, before, after, cause.why
    )
