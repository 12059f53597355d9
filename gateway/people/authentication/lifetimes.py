"""Lifetime of a login by the person's roles. Pure; times are milliseconds."""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from gateway.people.permissions import Role

_MINUTE: Final = 60_000
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


class Lifetime(msgspec.Struct, frozen=True):
    """`absolute` counts from the login, `idle` from the last request; None: no idle timeout."""

    absolute: int
    idle: int | None


LIFETIMES: Final[Mapping[Role, Lifetime]] = {
    # A screen in a control room, or on a wall, must not require a password at night.
    Role.VIEWER: Lifetime(90 * _DAY, None),
    Role.OPERATOR: Lifetime(30 * _DAY, None),
    Role.SHIFT_LEADER: Lifetime(30 * _DAY, None),
    # A guard's phone is in the locker between shifts, and is used without a network.
    Role.GUARD: Lifetime(30 * _DAY, 3 * _DAY),
    Role.ENGINEER: Lifetime(14 * _DAY, 12 * _HOUR),
    Role.CONTRACTOR: Lifetime(7 * _DAY, 12 * _HOUR),
    Role.CUSTOMER_SERVICE: Lifetime(7 * _DAY, 12 * _HOUR),
    # NIST SP 800-63B, level 2: at most a day, an hour idle.
    Role.MANAGER: Lifetime(_DAY, _HOUR),
    Role.ADMIN: Lifetime(12 * _HOUR, 30 * _MINUTE),
}
WITHOUT_A_ROLE: Final = Lifetime(_HOUR, 10 * _MINUTE)


def lifetime_of(roles: Collection[Role]) -> Lifetime:
    """For several roles the shortest lifetime applies."""
    found = [LIFETIMES[role] for role in roles] or [WITHOUT_A_ROLE]
    idle = [life.idle for life in found if life.idle is not None]
    return Lifetime(min(life.absolute for life in found), min(idle) if idle else None)


def ends_at(roles: Collection[Role], created_at: int, last_used_at: int) -> int:
    """When a login expires if it is not used again."""
    life = lifetime_of(roles)
    absolute = created_at + life.absolute
    return absolute if life.idle is None else min(absolute, last_used_at + life.idle)
