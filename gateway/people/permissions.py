"""Who may do what: one pure function and one table."""

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
    """What a route or a live message asks for."""

    PUBLIC = "public"
    """For everyone, logged in or not."""
    SIGNED_IN = "signed_in"
    """For everyone who is logged in, whatever the role."""
    OWN_ACCOUNT = "own_account"
    """For every person about their own login, password and devices; for no machine."""
    SECOND_FACTOR = "second_factor"
    WATCH = "watch"
    READ_HISTORY = "read_history"
    ACKNOWLEDGE_ALARM = "acknowledge_alarm"
    SILENCE_ALARM = "silence_alarm"
    RESET_ALARM = "reset_alarm"
    COMMENT_ON_ALARM = "comment_on_alarm"
    SHELVE_ALARM = "shelve_alarm"
    QUIET_LIFE_SAFETY = "quiet_life_safety"
    """To keep alarms of life safety quiet: shelved or out of service, and only with a second person."""
    TAKE_OUT_OF_SERVICE = "take_out_of_service"
    READ_ALARM_PERFORMANCE = "read_alarm_performance"
    READ_TICKETS = "read_tickets"
    ACT_ON_TICKET = "act_on_ticket"
    READ_QUARANTINE = "read_quarantine"
    ADOPT_EQUIPMENT = "adopt_equipment"
    MANAGE_RULES = "manage_rules"
    MANAGE_SITES = "manage_sites"
    EDIT_LEDGER = "edit_ledger"
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
    Permission.PLAN_MAINTENANCE: frozenset({_L, _E, _M}),
    Permission.MANAGE_PEOPLE: frozenset({_A}),
    Permission.READ_METRICS: frozenset({_M, _A}),
    Permission.READ_AUDIT: frozenset({_M, _A}),
    Permission.TEST_RULES: frozenset({_L, _E, _M, _A}),
}
"""Permission -> the roles that may. What is not here is permitted to nobody."""

FOR_EVERYONE: Final = frozenset({Permission.PUBLIC, Permission.SIGNED_IN, Permission.OWN_ACCOUNT})
"""Permissions that ask for no role."""
NEVER_A_MACHINES: Final = FOR_EVERYONE | {
    Permission.SECOND_FACTOR,
    Permission.MANAGE_PEOPLE,
    Permission.QUIET_LIFE_SAFETY,
}
"""Permissions that no API token is given: a machine that lets people in would be one more way in, and people answer for life
safety."""
ALL_SITES: Final = "*"
Grants = Mapping[str, Collection[Role | Permission]]
"""Site's code, or "*" for all sites -> roles held there; for a machine the single acts that its token names."""


class Decision(StrEnum):
    """Why it is permitted, or why not."""

    PUBLIC = "public"
    ROLE = "role"
    NOT_SIGNED_IN = "not_signed_in"
    NO_ROLE = "no_role"

    @property
    def permitted(self) -> bool:
        """Whether the act may be done."""
        return self in {Decision.PUBLIC, Decision.ROLE}


def permissions_of(grants: Grants) -> list[Permission]:
    """What a person may do on some site at least."""
    held = {held for place in grants.values() for held in place}
    return [act for act, roles in PERMITTED.items() if held & {*roles, act}]


def may(grants: Grants | None, act: Permission, site: str | None = None) -> Decision:
    """Decide.

    Args:
        grants: the person's roles; None for somebody who is not logged in.
        act: what is asked for.
        site: of the thing in question; None for things of no one site: then a role anywhere serves, and what is
            shown is sifted site by site. "*" asks for all sites.
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
    """Whether somebody may change another person's account as a whole: only who manages people wherever they act.

    Else the administrator of one site could reset the password of the administrator of all.
    """
    for place in theirs or (ALL_SITES,):
        decision = may(grants, Permission.MANAGE_PEOPLE, place)
        if not decision.permitted:
            return decision
    return Decision.ROLE


def may_see(grants: Grants | None, theirs: Grants) -> Decision:
    """Whether somebody may know of another person: who manages people on one of their sites, or everywhere."""
    decisions = [may(grants, Permission.MANAGE_PEOPLE, place) for place in (*theirs, ALL_SITES)]
    return next((decision for decision in decisions if decision.permitted), decisions[-1])
