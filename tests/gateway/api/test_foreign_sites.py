"""A site on which one has no role answers like one that does not exist, wherever its code may stand in a request."""

from typing import Any

import msgspec
import pytest

from gateway.api.http.route import Route
from gateway.api.http.server import route_table
from gateway.people.permissions import Role
from tests.servers.api_server import ApiServer

SPAN = {"start": "2025-11-22T00:00:00Z", "end": "2025-11-22T01:00:00Z"}
BODIES: dict[str, dict[str, Any]] = {
    "/api/v1/maintenance-windows": {
        "site": "SITE", "equipment": "SITE:P-1", "reason": "the tank is cleaned", "starts_at": "2025-11-23T00:00:00Z",
        "ends_at": "2025-11-23T01:00:00Z",
    },
    "/api/v1/rules": {
        "rule": "pump.bearing_hot", "site": "SITE", "changes": {"above": 90}, "version": 0, "note": "as the maker says",
    },
    "/api/v1/rules/{id}/roll-back": {"site": "SITE", "to": 1, "version": 1, "note": "as before"},
}  # fmt: skip
"""Path -> a request that would be good on one's own site."""


def fields_of(kind: type[msgspec.Struct] | None) -> set[str]:
    return set() if kind is None else set(kind.__struct_fields__)


ASKED = [
    (path, route, name)
    for path, route in route_table()
    for name in ("site", "equipment")
    if route.method == "GET" and name in fields_of(route.query)
]
SENT = [(path, route) for path, route in route_table() if "site" in fields_of(route.request)]


def filled(path: str) -> str:
    return path.replace("{id}", "pump.bearing_hot")


@pytest.mark.parametrize(("path", "route", "name"), ASKED, ids=[f"{path} {name}" for path, _, name in ASKED])
async def test_a_query_for_a_foreign_site_answers_as_for_one_that_is_not_there(
    api: ApiServer, path: str, route: Route, name: str
) -> None:
    await api.raise_fire()
    await api.log_in_with({"B": tuple(Role)}, "neighbour")
    more = {key: value for key, value in SPAN.items() if key in fields_of(route.query)}
    foreign, absent = ("HQ", "NOWHERE") if name == "site" else ("HQ:P-1", "NOWHERE:P-1")
    answers = [await api.get(filled(path), params={name: site, **more}) for site in (foreign, absent)]
    assert answers[0] == answers[1]
    status, body = answers[0]
    assert status == 404 or body.get("items", body.get("people")) == [], (status, body)


@pytest.mark.parametrize(("path", "route"), SENT, ids=[f"{route.method} {path}" for path, route in SENT])
async def test_a_body_for_a_foreign_site_answers_as_for_one_that_is_not_there(
    api: ApiServer, path: str, route: Route
) -> None:
    await api.log_in_with({"B": tuple(Role)}, "neighbour")
    if path.startswith("/api/v1/people/"):  # roles of people: test_attacks.py
        return
    text = msgspec.json.encode(BODIES[path]).decode()
    answers = [
        await api.ask(
            route.method, filled(path), data=text.replace("SITE", site), headers={"Content-Type": "application/json"}
        )
        for site in ("HQ", "NOWHERE")
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


@pytest.mark.parametrize("path", ["/rules", "/rules/pump.bearing_hot", "/rules/pump.bearing_hot/versions"])
@pytest.mark.parametrize("place", ["site=HQ", "equipment=HQ:P-1", "site=NOWHERE"])
async def test_all_routes_of_rules_say_404_for_a_foreign_place(api: ApiServer, path: str, place: str) -> None:
    await api.log_in_with({"B": tuple(Role)}, "neighbour")
    assert (await api.get(f"/api/v1{path}?{place}"))[0] == 404
