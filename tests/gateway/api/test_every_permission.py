"""Every route for every role, on the person's own site, on another one, and without a login: no exception.

The table of routes says which act a route needs, the table of permissions who may. This test is made from both, so a
route that is added is tested, or the test says that it does not know how to call it.
"""

from typing import Any, NamedTuple

import aiohttp
import pytest
from sqlalchemy import select

from gateway.alarms.suppression.maintenance import Span, WindowScope
from gateway.alarms.suppression.maintenance_windows import plan_window
from gateway.api.http.route import Route
from gateway.api.http.server import LIVE_ACT, route_table
from gateway.equipment.topology import Link, Relation
from gateway.people.approvals.requests import NewApproval
from gateway.people.audit.entry import CLOCK
from gateway.people.authentication.tokens import NewToken
from gateway.people.people import DEMO_PASSWORD
from gateway.people.permissions import PERMITTED, Permission, Role
from gateway.storage.tables import login
from tests.builders.photos import photo
from tests.servers.api_server import ApiServer

GUARDED = [(path, route) for path, route in route_table() if route.act is not Permission.PUBLIC]
OWN, OTHER = "HQ", "B"
RULE = "pump.bearing_hot"
OF_NO_SITE = {"/api/v1/rules/{id}", "/api/v1/rules/{id}/versions"}
"""What they show of a site is sifted; the thing itself is there for everybody who may watch."""
PASSWORD = "a kettle sings before dawn"


class Things(NamedTuple):
    """What there is on the own site, by the name of the path's parameter."""

    id: str
    number: str
    equipment: str
    person: str
    token: str
    login: str
    approval: str
    window: str
    attachment: str
    site: str = OWN
    action: str = "acknowledge"
    relation: str = "power"
    parent: str = "HQ:FP-1"


def body_of(name: str, site: str) -> dict[str, Any]:
    """A good body, about a site where it names one."""
    known: dict[str, dict[str, Any]] = {
        "RuleTest": {"equipment": f"{site}:P-1", "rule_id": "pump.pressure_low"},
        "Shelve": {"version": 1, "reason": "a test", "one_shot": True},
        "Unshelve": {"version": 1},
        "OutOfService": {"reason": "a test", "planned_end": "2025-11-23T00:00:00Z"},
        "ReturnToService": {},
        "AlarmAct": {"version": 1},
        "Comment": {"note": "The guard is on his way."},
        "TicketAct": {"version": 1},
        "Adopt": {"version": 1},
        "ChangeRule": {"rule": RULE, "site": site, "changes": {"above": 90}, "version": 0},
        "RollBackRule": {"site": site, "to": 0, "version": 0},
        "ChoosePassword": {"old": DEMO_PASSWORD, "new": PASSWORD},
        "OwnPassword": {"password": DEMO_PASSWORD},
        "ConfirmCode": {"code": "000000"},
        "AddPerson": {
            "username": "new.one", "name": {"en": "New", "zh-CN": "新"}, "password": PASSWORD,
            "roles": [{"site": site, "role": "guard"}],
        },
        "PersonAct": {"version": 1},
        "ResetPerson": {"version": 1, "password": PASSWORD},
        "ChangeRole": {"version": 1, "site": site, "role": "guard"},
        "Decide": {"version": 1},
        "AddSite": {"code": "NEW", "name": {"en": "New", "zh-CN": "新"}, "time_zone": "UTC"},
        "EditSite": {"version": 1, "time_zone": "UTC"},
        "AddToken": {"name": "machine", "sites": [site], "permissions": ["watch"], "days": 1},
        "CorrectEquipment": {"version": 1, "name": {"en": "Pump", "zh-CN": "泵"}},
        "RenameEquipment": {"version": 1, "code": "NEW-1"},
        "RetireEquipment": {"version": 1, "reason": "a test"},
        "ReplaceEquipment": {"version": 1, "code": "NEW-2", "reason": "a test"},
        "LinkTo": {"parent": "HQ:FP-1", "relation": "power"},
        "PlanWindow": {
            "site": site, "equipment": "HQ:P-1", "starts_at": "2025-11-22T08:30:00Z",
            "ends_at": "2025-11-22T09:30:00Z", "reason": "new seals",
        },
        "ChangeWindow": {"version": 1, "reason": "old seals"},
        "CancelWindow": {"version": 1},
    }  # fmt: skip
    return known[name]


def options(route: Route, site: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if route.takes:
        given |= {"data": photo(), "headers": {"Content-Type": "image/jpeg"}}
    if route.request is not None:
        given["json"] = body_of(route.request.__name__, site)
    if route.query is not None and route.query.__name__ == "HistoryQuery":
        given["params"] = {"field": "flow"}
    return given


async def fill(api: ApiServer) -> Things:
    """An alarm, a ticket with a file, equipment and its link, work, a person, a login and a token on the own site."""
    _, numbered = await api.raise_fire()
    row = await api.raise_hot()  # one person may shelve it
    person = await api.log_in_with({OWN: (Role.VIEWER,)}, "resident")
    new = NewToken("pump", [OWN], [Permission.WATCH], 1)
    token, _ = await api.people.tokens.add(new, CLOCK, api.clock())
    await api.services.ledger.links.link(Link(OWN, "P-1", "FP-1", Relation.POWER), CLOCK, api.clock())
    span = Span(api.clock(), api.clock() + 3_600_000)
    window = await plan_window(
        api.services.database, WindowScope(site=OWN, equipment="P-1"), span, "new seals", None, CLOCK, api.clock()
    )
    async with api.services.database.reading() as connection:
        which = await connection.scalar(select(login.c.id).where(login.c.person == person))
    asked = await api.people.approvals.request(
        NewApproval(OWN, ASKED, "POST", "/api/v1/none", {}, {}, None, [], "two are needed"), CLOCK, api.clock()
    )
    api.log_in(Role.OPERATOR)
    attached = f"/api/v1/tickets/{numbered['number']}/attachments"
    _, file = await api.ask("POST", attached, data=photo(), headers={"Content-Type": "image/jpeg"})
    api.log_out()
    return Things(
        row["id"], numbered["number"], "HQ:P-1", person, token.id, str(which), asked.id, window.id, file["id"]
    )  # fmt: skip


ASKED = Permission.ADOPT_EQUIPMENT
"""What the request that waits for a second person needs: who may not do that does not see it."""


@pytest.mark.parametrize(("path", "route"), GUARDED, ids=[f"{route.method} {path}" for path, route in GUARDED])
async def test_a_route_permits_what_the_table_says_and_nothing_else(api: ApiServer, path: str, route: Route) -> None:
    things = await fill(api)
    named = things._replace(id=RULE) if path.startswith("/api/v1/rules/") else things
    if path.startswith("/api/v1/attachments/"):
        named = things._replace(id=things.attachment)
    filled = path.format(**named._asdict())
    status, problem = await api.ask(route.method, filled, **options(route, OWN))
    assert (status, problem["code"]) == (401, "not_signed_in")
    await api.enter({f"{role}-{place}".lower(): {place: (role,)} for role in Role for place in (OWN, OTHER)})
    for role in Role:
        permitted = route.act in {Permission.SIGNED_IN, Permission.OWN_ACCOUNT} or role in PERMITTED[route.act]
        for place in (OWN, OTHER):
            api.show(f"login-of-{role}-{place}".lower())
            status, answer = await api.ask(route.method, filled, **options(route, OWN))
            code = answer["code"] if status >= 400 else ""
            wanted = expected(path, place, status, permitted=permitted)
            if "{approval}" in path:
                wanted = of_approval(path, role, place)
            assert (status, code) in wanted, (role, place, answer)
            if place == OTHER:
                assert not seen_of_own(things, answer), (role, answer)


DONE = {
    (200, ""), (201, ""), (202, ""), (204, ""), (409, "not_permitted_in_state"), (409, "stale_version"),
    (409, "username_taken"),
}  # fmt: skip
"""The act was permitted: it was done, waits for a second person, or somebody with another role had done it before."""


def expected(path: str, place: str, status: int, *, permitted: bool) -> set[tuple[int, str]]:
    """What may be answered: (status, the problem's code)."""
    all_sites = (path.endswith("/sites") and status != 200) or (path.endswith("/sites/{site}") and place == OWN)
    if not permitted or all_sites:  # for an administrator of all sites, see test_sites.py
        return {(403, "forbidden")}
    if path.endswith("/me/logins/{login}/revoke"):
        return {(404, "not_found")}  # it is somebody else's
    if place == OTHER and "{" in path and path not in OF_NO_SITE:
        return {(404, "not_found")}
    if place == OTHER and path in {"/api/v1/people", "/api/v1/tokens"} and status != 200:
        return {(403, "forbidden")}  # neither an account nor a token for a site that is not one's own
    in_body = {"/api/v1/rules", "/api/v1/rules/test", "/api/v1/maintenance-windows"}
    if place == OTHER and path in in_body and status != 200:
        return {(404, "not_found")}  # its site, or its equipment, stands in the body
    return DONE


def of_approval(path: str, role: Role, place: str) -> set[tuple[int, str]]:
    """Everybody may ask; only who may do the same on that site is told more."""
    if place == OTHER or role not in PERMITTED[ASKED]:
        return {(404, "not_found")}
    return {(403, "forbidden")} if path.endswith("/withdraw") else DONE


def seen_of_own(things: Things, answer: Any) -> list[str]:
    """Which of the own site's things an answer gives away."""
    text = str(answer)
    return [
        name
        for name in (
            things.id,
            things.number,
            "HQ:P-1",
            things.person,
            things.token,
            things.approval,
            things.window,
            things.attachment,
        )
        if name in text
    ]


@pytest.mark.parametrize("role", Role)
async def test_the_live_feed_and_the_figures_are_for_who_may(api: ApiServer, role: Role) -> None:
    for path, act in (("/metrics", Permission.READ_METRICS), ("/api/v1/live", LIVE_ACT)):
        api.log_out()
        assert await status_of(api, path) == 401
        api.log_in(role)
        wanted = {"/metrics": 200, "/api/v1/live": 101}[path] if role in PERMITTED[act] else 403
        assert await status_of(api, path) == wanted


async def status_of(api: ApiServer, path: str) -> int:
    if not path.endswith("/live"):
        async with api.client.get(path) as answer:
            return answer.status
    try:
        async with api.client.ws_connect(path):
            return 101
    except aiohttp.WSServerHandshakeError as refused:
        return refused.status
