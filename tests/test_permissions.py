"""Permissions: one table, one pure function, and what is not in the table is permitted to nobody."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.live_feed import REQUIRED, Message
from gateway.api.server import LIVE_ACT, PUBLIC_PATHS, route_table
from gateway.people.permissions import ALL_SITES, PERMITTED, Act, Decision, Grants, Role, may

TABLE = {
    #                     op  lead guard eng  cs  contr mgr admin view
    Act.WATCH:             "x   x    .    x    .   .    x   x    x",
    Act.READ_HISTORY:      "x   x    .    x    .   .    x   x    x",
    Act.ACKNOWLEDGE_ALARM: "x   x    .    .    .   .    x   .    .",
    Act.READ_TICKETS:      "x   x    .    x    x   .    x   x    x",
    Act.ACT_ON_TICKET:     "x   x    .    x    .   .    x   .    .",
    Act.READ_QUARANTINE:   ".   .    .    .    .   .    .   x    .",
    Act.ADOPT_EQUIPMENT:   ".   .    .    .    .   .    .   x    .",
    Act.READ_AUDIT:        ".   .    .    .    .   .    x   x    .",
}  # fmt: skip
PUBLIC = {
    "POST /api/v1/session", "DELETE /api/v1/session", "GET /healthz", "GET /readyz",
}  # fmt: skip


@pytest.mark.parametrize(("act", "role"), list(itertools.product(TABLE, Role)))
def test_each_role_may_what_the_table_says(act: Act, role: Role) -> None:
    expected = dict(zip(Role, TABLE[act].split(), strict=True))[role] == "x"
    assert may({ALL_SITES: (role,)}, act).permitted is expected
    assert may({"HQ": (role,)}, act, "HQ").permitted is expected


def test_every_act_is_in_the_table_or_for_everyone() -> None:
    assert set(PERMITTED) == set(TABLE) == set(Act) - {Act.PUBLIC, Act.SIGNED_IN}


def test_only_these_addresses_are_public() -> None:
    """Whoever adds one adds it here, and is asked why."""
    assert {f"{route.method} {path}" for path, route in route_table() if route.act is Act.PUBLIC} == PUBLIC
    assert PUBLIC_PATHS == ("/metrics", "/api/docs", "/api/v1/openapi.json")
    assert LIVE_ACT is Act.WATCH


def test_every_live_message_asks_for_an_act() -> None:
    assert set(REQUIRED) == set(Message.__args__)
    assert set(REQUIRED.values()) <= set(PERMITTED)


@pytest.mark.parametrize(
    ("grants", "act", "site", "decision"),
    [
        (None, Act.PUBLIC, None, Decision.PUBLIC),
        (None, Act.SIGNED_IN, None, Decision.NOT_SIGNED_IN),
        (None, Act.WATCH, "HQ", Decision.NOT_SIGNED_IN),
        ({}, Act.SIGNED_IN, None, Decision.ROLE),  # somebody without any role
        ({}, Act.WATCH, None, Decision.NO_ROLE),
        ({"HQ": (Role.OPERATOR,)}, Act.WATCH, "B", Decision.NO_ROLE),  # of another site
        ({"HQ": (Role.OPERATOR,)}, Act.WATCH, None, Decision.ROLE),  # things of no site: any role serves
        ({"HQ": (Role.GUARD,), "*": (Role.VIEWER,)}, Act.WATCH, "HQ", Decision.ROLE),  # roles add up
        ({"HQ": (Role.OPERATOR,), "*": (Role.VIEWER,)}, Act.ACKNOWLEDGE_ALARM, "B", Decision.NO_ROLE),
    ],
)
def test_a_decision_names_its_reason(grants: Grants | None, act: Act, site: str | None, decision: Decision) -> None:
    assert may(grants, act, site) is decision


GRANTS = st.dictionaries(st.sampled_from([ALL_SITES, "A", "B"]), st.lists(st.sampled_from(Role), max_size=3))


@given(grants=GRANTS, more=GRANTS, act=st.sampled_from(Act), site=st.sampled_from([None, "A", "B", "C"]))
def test_a_further_role_never_takes_anything_away(grants: Grants, more: Grants, act: Act, site: str | None) -> None:
    both = {place: (*grants.get(place, ()), *more.get(place, ())) for place in {*grants, *more}}
    if may(grants, act, site).permitted:
        assert may(both, act, site).permitted
