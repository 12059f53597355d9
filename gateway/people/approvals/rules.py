"""Which permissions can be set to need two people, and who may be the second one. Pure."""

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Final

import msgspec

from gateway.people.permissions import FOR_EVERYONE, PERMITTED, Grants, Permission, may

WITH_SECRETS: Final = FOR_EVERYONE - {Permission.SIGNED_IN} | {Permission.SECOND_FACTOR, Permission.MANAGE_PEOPLE}
"""Permissions whose requests contain passwords or whose answers contain tokens: such requests are never stored."""
_READING: Final = frozenset(
    {
        Permission.WATCH, Permission.READ_HISTORY, Permission.READ_TICKETS, Permission.READ_QUARANTINE,
        Permission.READ_METRICS, Permission.READ_AUDIT,
        Permission.SIGNED_IN, Permission.TEST_RULES, Permission.READ_ALARM_PERFORMANCE,
    }
)  # fmt: skip
_AT_ONCE: Final = frozenset({Permission.ACKNOWLEDGE_ALARM, Permission.ACT_ON_TICKET})
_BY_TWO_ALREADY: Final = frozenset({Permission.QUIET_LIFE_SAFETY})
NEVER_BY_SETTING: Final = WITH_SECRETS | _READING | _AT_ONCE | _BY_TWO_ALREADY
"""Permissions that `approval.permissions` does not accept."""
_HOUR_MS: Final = 3_600_000


class NotForTwo(Exception):
    """A permission that cannot be set to need two people; the text says why."""


class ApprovalRules(msgspec.Struct, frozen=True):
    """Permissions that need two people by setting, and how long a request stays pending, in milliseconds."""

    permissions: frozenset[Permission] = frozenset()
    lifetime: int = 24 * _HOUR_MS


def read_rules(names: Iterable[str], hours: int) -> ApprovalRules:
    """The rules of the settings `approval.permissions` and `approval.hours`. Raises NotForTwo."""
    return ApprovalRules(frozenset(map(_checked, names)), hours * _HOUR_MS)


def _checked(name: str) -> Permission:
    offered = ", ".join(sorted(act.value for act in PERMITTED if act not in NEVER_BY_SETTING))
    if name not in set(Permission):
        raise NotForTwo(f"approval.permissions: there is no permission {name!r}; use some of {offered}")
    act = Permission(name)
    for permissions, why in (
        (WITH_SECRETS, "its requests contain passwords or tokens, which are never stored"),
        (_READING, "it changes nothing"),
        (_AT_ONCE, "an emergency must not wait for a second person"),
        (_BY_TWO_ALREADY, "it always does, whatever the setting"),
    ):
        if act in permissions:
            raise NotForTwo(f"approval.permissions: {name} cannot need two people: {why}; use some of {offered}")
    return act


class Verdict(StrEnum):
    """Whether a person may be the second one, and why not; the value is the problem's code."""

    MAY = "may"
    MACHINE = "forbidden"
    SAME_PERSON = "same_person"
    NO_ROLE = "not_found"
    """People without the permission must not learn of the request."""


def verdict(
    grants: Grants | None, act: Permission, site: str, *, who: str, asked: Collection[str], machine: bool = False
) -> Verdict:
    """Whether `who` may approve or refuse a request of `asked`.

    Args:
        grants: roles of the deciding person.
        act: the permission that the request needs.
        site: of the object; "*" if there are several.
        who: id of the deciding person.
        asked: id of the requester; for a machine also that of the person who made its token.
        machine: the caller is a token.
    """
    if not may(grants, act, site).permitted:
        return Verdict.NO_ROLE
    if machine:
        return Verdict.MACHINE
    return Verdict.SAME_PERSON if who in asked else Verdict.MAY
