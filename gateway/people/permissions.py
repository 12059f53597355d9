"""Permissions: one pure function and one table."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """Roles, granted per site; a person may hold several."""

    OPERATOR = "operator"
    SHIFT_LEADER = "shift_leader"
    GUARD = "guard"
    ENGINEER = "engineer"
    CUSTOMER_SERVICE = "customer_service"
    CONTRACTOR = "contractor"
    MANAGER = "manager"
    ADMIN = "admin"
    VIEWER = "viewer"


class Permission(StrEnum):
    """The permission that a route or a live message needs."""

    PUBLIC = "public"
    """For everyone, with or without a login."""
    SIGNED_IN = "signed_in"
    """For everyone with a login, whatever the role."""
    OWN_ACCOUNT = "own_account"
    """For every person on their own login, password and devices; not for machines."""
    SECOND_FACTOR = "second_factor"
    WATCH = "watch"
    READ_HISTORY = "read_history"
    ACKNOWLEDGE_ALARM = "acknowledge_alarm"
    SILENCE_ALARM = "silence_alarm"
    RESET_ALARM = "reset_alarm"
    COMMENT_ON_ALARM = "comment_on_alarm"
    SHELVE_ALARM = "shelve_alarm"
    QUIET_LIFE_SAFETY = "quiet_life_safety"
    """To suppress life-safety alarms, by shelving or out of service; only with a second person."""
    TAKE_OUT_OF_SERVICE = "take_out_of_service"
    READ_ALARM_PERFORMANCE = "read_alarm_performance"
    READ_TICKETS = "read_tickets"
    ACT_ON_TICKET = "act_on_ticket"
    READ_QUARANTINE = "read_quarantine"
    ADOPT_EQUIPMENT = "adopt_equipment"
    MANAGE_RULES = "manage_rules"
    MANAGE_SITES = "manage_sites"
    EDIT_LEDGER = "edit_ledger"
    RETIRE_EQUIPMENT = "retire_equipment"
    """To retire or replace equipment; with a second person for life-safety equipment."""
    PLAN_MAINTENANCE = "plan_maintenance"
    MANAGE_PEOPLE = "manage_people"
    READ_METRICS = "read_metrics"
    READ_AUDIT = "read_audit"
    TEST_RULES = "test_rules"


_O, _L, _G, _E, _S, _C, _M, _A, _V = Role

PERMITTED: Final[Mapping[Permission, frozenset[Role]]] = {
    Permission.SECOND_FACTOR: frozenset({_M, _A}),
    Permission.WATCH: frozenset({_O, _L, _E, _M, _A, _V}),
    Permission.READ_HISTORY: frozenset({_O, _L, _E, _M, _A, _V}),
    Permission.ACKNOWLEDGE_ALARM: frozenset({_O, _L, _M}),
    Permission.SILENCE_ALARM: frozenset({_O, _L, _M}),
    Permission.RESET_ALARM: frozenset({_O, _L, _M}),
    Permission.COMMENT_ON_ALARM: frozenset({_O, _L, _E, _M}),
    Permission.SHELVE_ALARM: frozenset({_O, _L}),
    Permission.QUIET_LIFE_SAFETY: frozenset({_L}),
    Permission.TAKE_OUT_OF_SERVICE: frozenset({_L, _E, _M}),
    Permission.READ_ALARM_PERFORMANCE: frozenset({_L, _E, _M, _A}),
    Permission.READ_TICKETS: frozenset({_O, _L, _E, _S, _M, _A, _V}),
    Permission.ACT_ON_TICKET: frozenset({_O, _L, _E, _M}),
    Permission.READ_QUARANTINE: frozenset({_A}),
    Permission.ADOPT_EQUIPMENT: frozenset({_A}),
    Permission.MANAGE_RULES: frozenset({_A}),
    Permission.MANAGE_SITES: frozenset({_A}),
    Permission.EDIT_LEDGER: frozenset({_E, _A}),
    Permission.RETIRE_EQUIPMENT: frozenset({_L, _A}),
    Permission.PLAN_MAINTENANCE: frozenset({_L, _E, _M}),
    Permission.MANAGE_PEOPLE: frozenset({_A}),
    Permission.READ_METRICS: frozenset({_M, _A}),
    Permission.READ_AUDIT: frozenset({_M, _A}),
    Permission.TEST_RULES: frozenset({_L, _E, _M, _A}),
}
"""Permission -> the roles that hold it. Permissions not listed here are denied to everyone."""

FOR_EVERYONE: Final = frozenset({Permission.PUBLIC, Permission.SIGNED_IN, Permission.OWN_ACCOUNT})
"""Permissions that need no role."""
NEVER_A_MACHINES: Final = FOR_EVERYONE | {
    Permission.SECOND_FACTOR,
    Permission.MANAGE_PEOPLE,
    Permission.QUIET_LIFE_SAFETY,
    Permission.RETIRE_EQUIPMENT,
}
"""Permissions that no API token can have: machines must not create accounts or decide on life safety."""
ALL_SITES: Final = "*"
Grants = Mapping[str, Collection[Role | Permission]]
"""Site's code, or "*" for all sites -> roles held there; for a machine the permissions of its token."""


class Decision(StrEnum):
    """Why it is permitted or denied."""

    PUBLIC = "public"
    ROLE = "role"
    NOT_SIGNED_IN = "not_signed_in"
    NO_ROLE = "no_role"

    @property
    def permitted(self) -> bool:
        """Whether it is permitted."""
        return self in {Decision.PUBLIC, Decision.ROLE}


def permissions_of(grants: Grants) -> list[Permission]:
    """The permissions that a person holds on at least one site."""
    held = {held for place in grants.values() for held in place}
    return [act for act, roles in PERMITTED.items() if held & {*roles, act}]


def may(grants: Grants | None, act: Permission, site: str | None = None) -> Decision:
    """Decide.

    Args:
        grants: the person's roles; None without a login.
        act: the permission.
        site: of the object; None for objects of no single site: then a role on any site suffices, and results are
            filtered by site. "*" means all sites.
    """
    if act is Permission.PUBLIC:
        return Decision.PUBLIC
    if grants is None:
        return Decision.NOT_SIGNED_IN
    if act in FOR_EVERYONE:
        return Decision.ROLE
    places = grants if site is None else (ALL_SITES, site)
    permitted = PERMITTED.get(act, frozenset())
    held = (one for place in places for one in grants.get(place, ()))
    return Decision.ROLE if any(one in permitted or one == act for one in held) else Decision.NO_ROLE


def may_manage(grants: Grants | None, theirs: Grants) -> Decision:
    """Whether a person may change another account as a whole: they must manage people wherever the other has a role.

    Otherwise the administrator of one site could reset the password of the administrator of all.
    """
    for place in theirs or (ALL_SITES,):
        decision = may(grants, Permission.MANAGE_PEOPLE, place)
        if not decision.permitted:
            return decision
    return Decision.ROLE


def may_see(grants: Grants | None, theirs: Grants) -> Decision:
    """Whether a person may see another one: they must manage people on one of the other's sites, or on all."""
    decisions = [may(grants, Permission.MANAGE_PEOPLE, place) for place in (*theirs, ALL_SITES)]
    return next((decision for decision in decisions if decision.permitted), decisions[-1])
