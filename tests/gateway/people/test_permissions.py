"""Permissions: one table, one pure function, and what is not in the table is permitted to nobody."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.http.addresses import Entrance
from gateway.api.http.server import LIVE_ACT, UndeclaredAct, make_app, plain_routes, route_table
from gateway.api.live.bodies import LiveTicket
from gateway.api.live.feed import REQUIRED, Message
from gateway.api.people.approval_bodies import LiveApproval
from gateway.people.permissions import (
    ALL_SITES,
    FOR_EVERYONE,
    PERMITTED,
    Decision,
    Grants,
    Permission,
    Role,
    may,
    may_manage,
    may_see,
)
from tests.servers.api_server import ApiServer

TABLE = {
    #                     op  lead guard eng  cs  contr mgr admin view
    Permission.WATCH:             "x   x    .    x    .   .    x   x    x",
    Permission.READ_HISTORY:      "x   x    .    x    .   .    x   x    x",
    Permission.ACKNOWLEDGE_ALARM: "x   x    .    .    .   .    x   .    .",
    Permission.SILENCE_ALARM:     "x   x    .    .    .   .    x   .    .",
    Permission.RESET_ALARM:       "x   x    .    .    .   .    x   .    .",
    Permission.COMMENT_ON_ALARM:  "x   x    .    x    .   .    x   .    .",
    Permission.SHELVE_ALARM:      "x   x    .    .    .   .    .   .    .",
    Permission.QUIET_LIFE_SAFETY: ".   x    .    .    .   .    .   .    .",
    Permission.TAKE_OUT_OF_SERVICE: ".  x    .    x    .   .    x   .    .",
    Permission.READ_TICKETS:      "x   x    .    x    x   .    x   x    x",
    Permission.ACT_ON_TICKET:     "x   x    .    x    .   .    x   .    .",
    Permission.READ_QUARANTINE:   ".   .    .    .    .   .    .   x    .",
    Permission.ADOPT_EQUIPMENT:   ".   .    .    .    .   .    .   x    .",
    Permission.MANAGE_SITES:      ".   .    .    .    .   .    .   x    .",
    Permission.EDIT_LEDGER:       ".   .    .    x    .   .    .   x    .",
    Permission.RETIRE_EQUIPMENT:  ".   x    .    .    .   .    .   x    .",
    Permission.PLAN_MAINTENANCE:  ".   x    .    x    .   .    x   .    .",
    Permission.MANAGE_RULES:      ".   .    .    .    .   .    .   x    .",
    Permission.MANAGE_PEOPLE:     ".   .    .    .    .   .    .   x    .",
    Permission.SECOND_FACTOR:     ".   .    .    .    .   .    x   x    .",
    Permission.READ_METRICS:      ".   .    .    .    .   .    x   x    .",
    Permission.READ_AUDIT:        ".   .    .    .    .   .    x   x    .",
    Permission.READ_ALARM_PERFORMANCE: ". x  .    x    .   .    x   x    .",
    Permission.TEST_RULES:        ".   x    .    x    .   .    x   x    .",
}  # fmt: skip
PUBLIC = {
    "POST /api/v1/session", "DELETE /api/v1/session", "GET /healthz", "GET /readyz", "GET /watchdog",
    "GET /", "GET /api/docs", "GET /api/docs.css", "GET /api/v1/openapi.json",
    "GET /t/{checkpoint}",
}  # fmt: skip
"""Logging in, health, the page that one logs in with, and what the API is called: no data of anybody."""


@pytest.mark.parametrize(("act", "role"), list(itertools.product(TABLE, Role)))
def test_each_role_may_what_the_table_says(act: Permission, role: Role) -> None:
    expected = dict(zip(Role, TABLE[act].split(), strict=True))[role] == "x"
    assert may({ALL_SITES: (role,)}, act).permitted is expected
    assert may({"HQ": (role,)}, act, "HQ").permitted is expected


def test_every_act_is_in_the_table_or_for_everyone() -> None:
    assert set(PERMITTED) == set(TABLE) == set(Permission) - FOR_EVERYONE
    assert {Permission.PUBLIC, Permission.SIGNED_IN, Permission.OWN_ACCOUNT} == FOR_EVERYONE


def test_no_act_is_called_like_a_role() -> None:
    """Grants hold both: a machine's token names single acts."""
    assert not {act.value for act in Permission} & {role.value for role in Role}


def test_only_these_addresses_are_public(api: ApiServer) -> None:
    """Whoever adds one adds it here, and is asked why."""
    plain = plain_routes(api.services, api.feed, None)
    public = [f"{route.method} {path}" for path, route in route_table() if route.act is Permission.PUBLIC]
    assert {*public, *(f"{item.method} {item.path}" for item in plain if item.act is Permission.PUBLIC)} == PUBLIC
    assert LIVE_ACT is Permission.WATCH


@pytest.mark.parametrize("declared", [None, "", "watch", "no such act"])
def test_a_route_that_does_not_say_who_may_does_not_start(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch, declared: object
) -> None:
    path, route = route_table()[-1]
    monkeypatch.setattr("gateway.api.http.server.route_table", lambda: [(path, route._replace(act=declared))])
    with pytest.raises(UndeclaredAct, match=path):
        make_app(api.services, api.feed, None, Entrance())


def test_a_live_message_that_does_not_say_who_may_does_not_start(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(REQUIRED, LiveTicket)
    with pytest.raises(UndeclaredAct, match="LiveTicket"):
        make_app(api.services, api.feed, None, Entrance())


def test_every_live_message_asks_for_an_act() -> None:
    assert set(REQUIRED) == set(Message.__args__)
    assert {act for kind, act in REQUIRED.items() if kind is not LiveApproval} <= set(PERMITTED)
    assert REQUIRED[LiveApproval] is Permission.SIGNED_IN, "and the act of what waits, see test_approvals.py"


@pytest.mark.parametrize(
    ("grants", "act", "site", "decision"),
    [
        (None, Permission.PUBLIC, None, Decision.PUBLIC),
        (None, Permission.SIGNED_IN, None, Decision.NOT_SIGNED_IN),
        (None, Permission.WATCH, "HQ", Decision.NOT_SIGNED_IN),
        ({}, Permission.SIGNED_IN, None, Decision.ROLE),  # somebody without any role
        ({}, Permission.WATCH, None, Decision.NO_ROLE),
        ({"HQ": (Role.OPERATOR,)}, Permission.WATCH, "B", Decision.NO_ROLE),  # of another site
        ({"HQ": (Role.OPERATOR,)}, Permission.WATCH, None, Decision.ROLE),  # things of no site: any role serves
        ({"HQ": (Role.GUARD,), "*": (Role.VIEWER,)}, Permission.WATCH, "HQ", Decision.ROLE),  # roles add up
        ({"HQ": (Role.OPERATOR,), "*": (Role.VIEWER,)}, Permission.ACKNOWLEDGE_ALARM, "B", Decision.NO_ROLE),
    ],
)
def test_a_decision_names_its_reason(
    grants: Grants | None, act: Permission, site: str | None, decision: Decision
) -> None:
    assert may(grants, act, site) is decision


GRANTS = st.dictionaries(st.sampled_from([ALL_SITES, "A", "B"]), st.lists(st.sampled_from(Role), max_size=3))


@given(grants=GRANTS, more=GRANTS, act=st.sampled_from(Permission), site=st.sampled_from([None, "A", "B", "C"]))
def test_a_further_role_never_takes_anything_away(
    grants: Grants, more: Grants, act: Permission, site: str | None
) -> None:
    both = {place: (*grants.get(place, ()), *more.get(place, ())) for place in {*grants, *more}}
    if may(grants, act, site).permitted:
        assert may(both, act, site).permitted


ADMIN, GUARD, WATCH = (Role.ADMIN,), (Role.GUARD,), (Permission.WATCH,)


@pytest.mark.parametrize(
    ("mine", "theirs", "manages", "sees"),
    [
        ({"*": ADMIN}, {"*": ADMIN}, True, True),
        ({"*": ADMIN}, {}, True, True),  # without a role: for the administrator of all sites
        ({"A": ADMIN}, {}, False, False),
        ({"A": ADMIN}, {"A": GUARD}, True, True),
        ({"A": ADMIN}, {"A": GUARD, "B": GUARD}, False, True),  # works elsewhere too: seen, not to be reset
        ({"A": ADMIN}, {"B": GUARD}, False, False),
        ({"A": ADMIN}, {"*": ADMIN}, False, False),  # else whoever has one site could take all
        ({"A": GUARD}, {"A": GUARD}, False, False),
        ({"A": (Permission.WATCH,)}, {"A": GUARD}, False, False),
        (None, {"A": GUARD}, False, False),
    ],
)
def test_an_administrator_manages_whoever_works_on_their_sites_only(
    mine: Grants | None, theirs: Grants, manages: bool, sees: bool
) -> None:
    assert may_manage(mine, theirs).permitted is manages
    assert may_see(mine, theirs).permitted is sees


@pytest.mark.parametrize(
    ("grants", "act", "site", "permitted"),
    [
        ({"A": WATCH}, Permission.WATCH, "A", True),
        ({"A": WATCH}, Permission.WATCH, "B", False),
        ({"A": WATCH}, Permission.READ_HISTORY, "A", False),  # one act does not bring its roles' others
        ({"*": WATCH}, Permission.WATCH, "B", True),
    ],
)
def test_a_machine_may_what_its_token_names(grants: Grants, act: Permission, site: str, permitted: bool) -> None:
    assert may(grants, act, site).permitted is permitted


def test_a_decision_takes_less_than_50_microseconds() -> None:
    """The promise of docs/security.md; somebody with two roles on each of a hundred sites, asked about the last."""
    grants = {f"S{number}": (Role.GUARD, Role.ENGINEER) for number in range(100)}
    best = min(timed(grants) for _ in range(5))
    assert best < 50e-6


def timed(grants: Grants) -> float:
    began = time.perf_counter()
    for _ in range(1_000):
        may(grants, Permission.MANAGE_PEOPLE, "S99")
    return (time.perf_counter() - began) / 1_000
