"""The HTTP server over real sockets: every route, and everything that a request can do wrong."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import OperationalError

from collectors.message_reader import Quarantined
from gateway.api.http.addresses import Entrance
from gateway.api.http.server import MAX_BODY, make_app, route_table
from gateway.api.live.feed import LiveFeed
from gateway.component_states import STANDING_BY, working
from gateway.people.people import DEMO_PASSWORD
from gateway.people.permissions import Role
from gateway.storage.received.quarantine import Quarantine
from gateway.storage.tables import alarm
from gateway.tickets.tickets import FACTS_TAKE_MS
from tests.builders.alarms import (
    PUMP,
    T0,
    bearing,
    fire_rule,
    only_row,
    open_desk,
    panel_event,
    sample,
)
from tests.servers.api_server import COOKIE, ApiServer

# -- the table of routes -------------------------------------------------------------------------------

TABLE = route_table()

without_database = pytest.mark.parametrize("engine", ["sqlite"])
"""Of requests that end before anything is read from the database: one database is enough."""


async def test_public_routes_answer_everyone(api: ApiServer) -> None:
    for path in ("/healthz", "/readyz", "/api/docs", "/api/docs.css", "/api/v1/openapi.json"):
        async with api.client.get(path) as answer:
            assert answer.status == 200, path
    async with api.client.get("/") as answer:
        assert answer.status == 503  # this checkout's page is not built for the test; the text says how


async def test_there_is_no_route_beside_the_table(api: ApiServer) -> None:
    """Whoever adds a handler by hand would go past permissions and OpenAPI."""
    known = {(route.method, path) for path, route in TABLE}
    paths = ("/api/v1/live", "/api/v1/openapi.json", "/api/docs", "/api/docs.css", "/metrics", "/", "/t/{checkpoint}")
    beside = {("GET", path) for path in paths}
    app = api.client.app
    assert app is not None
    found = {(item.method, item.resource.canonical) for item in app.router.routes() if item.resource is not None}
    found = {(method, path) for method, path in found if method != "HEAD"}
    assert found == known | beside


async def test_a_role_on_one_site_sees_nothing_of_another(api: ApiServer) -> None:
    row, numbered = await api.raise_fire()
    await api.log_in_with({"B": (Role.OPERATOR,)})
    for path in ("/alarms", "/tickets", "/activations"):
        assert await api.get(f"/api/v1{path}") == (200, {"items": [], "next": None})
    _, page = await api.get("/api/v1/equipment")
    assert [item["id"] for item in page["items"]] == ["B:P-1"]
    _, sites = await api.get("/api/v1/sites")
    assert [item["code"] for item in sites["items"]] == ["B"]
    acknowledge = {"version": row["version"]}
    for method, path, body in [
        ("GET", f"/alarms/{row['id']}", None),
        ("POST", f"/alarms/{row['id']}/acknowledge", acknowledge),
        ("GET", f"/tickets/{numbered['number']}", None),
        ("POST", f"/tickets/{numbered['number']}/acknowledge", acknowledge),
        ("GET", "/equipment/HQ:P-1", None),
        ("GET", "/equipment/HQ:P-1/latest", None),
        ("GET", "/equipment/HQ:P-1/history?field=flow", None),
    ]:
        status, problem = await api.ask(method, f"/api/v1{path}", json=body)
        assert (status, problem["code"]) == (404, "not_found"), path  # as if it did not exist
    assert (await only_row(api.services.database, alarm))["state"] == "unacknowledged"


# -- logging in ----------------------------------------------------------------------------------------


async def test_logging_in_sets_a_cookie_that_scripts_and_other_sites_cannot_use(api: ApiServer) -> None:
    body = {"username": "operator", "password": DEMO_PASSWORD}
    async with api.client.post("/api/v1/session", json=body) as answer:
        assert answer.status == 200
        me = await answer.json()
        cookie, device = answer.headers.getall("Set-Cookie")
    assert (me["username"], me["demo"], me["roles"]) == ("operator", True, {"*": ["operator"]})
    name, *flags = [part.strip() for part in cookie.split(";")]
    assert name.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(flags)
    assert me["username"] not in name
    assert device.startswith("gengfu_device=")
    assert "HttpOnly" in device
    assert (await api.get("/api/v1/me"))[0] == 200
    async with api.client.delete("/api/v1/session") as answer:
        assert answer.status == 204
        assert "Max-Age=0" in answer.headers["Set-Cookie"]


async def test_after_logging_out_the_cookie_is_worth_nothing(api: ApiServer) -> None:
    api.log_in(Role.OPERATOR)
    (kept,) = [item.value for item in api.client.session.cookie_jar]
    await api.ask("DELETE", "/api/v1/session")
    api.client.session.cookie_jar.update_cookies({COOKIE: kept}, api.client.make_url("/"))
    assert (await api.get("/api/v1/me"))[0] == 401


async def test_a_wrong_password_says_no_more_than_that(api: ApiServer) -> None:
    answers = [
        await api.post("/api/v1/session", {"username": name, "password": "wrong"}) for name in ("operator", "nobody")
    ]
    assert answers[0] == answers[1]
    assert (answers[0][0], answers[0][1]["code"]) == (401, "bad_credentials")


# -- what a request can do wrong -----------------------------------------------------------------------


@without_database
@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/api/v1/nowhere", 404, "not_found"),
        ("GET", "/api/v1/alarms/nothing", 404, "not_found"),
        ("GET", "/api/v1/equipment/HQ:nothing", 404, "not_found"),
        ("GET", "/api/v1/equipment/nothing", 404, "not_found"),  # no colon
        ("POST", "/healthz", 405, "method_not_allowed"),
        ("PUT", "/api/v1/alarms", 405, "method_not_allowed"),
        ("GET", "/api/v1/alarms?stat=open", 400, "bad_query"),  # a misspelt key would be ignored in silence
        ("GET", "/api/v1/alarms?state=opened", 400, "bad_query"),
        ("GET", "/api/v1/alarms?priority=urgent", 400, "bad_query"),
        ("GET", "/api/v1/alarms?limit=0", 400, "bad_query"),
        ("GET", "/api/v1/alarms?limit=501", 400, "bad_query"),
        ("GET", "/api/v1/alarms?limit=ten", 400, "bad_query"),
        ("GET", "/api/v1/tickets?type=mending", 400, "bad_query"),
        ("GET", "/api/v1/equipment?kind=boiler", 400, "bad_query"),
        ("GET", "/api/v1/equipment/HQ:P-1/history", 400, "bad_query"),  # which field?
        ("GET", "/api/v1/equipment/HQ:P-1/history?field=flow&start=yesterday", 400, "bad_query"),
        ("GET", "/api/v1/equipment/HQ:P-1/history?field=flow&start=0001-01-01T00:00:00%2B14:00", 400, "bad_query"),
        ("GET", "/api/v1/equipment/HQ:P-1/history?field=flow&end=9999-12-31T23:59:59-23:59", 400, "bad_query"),
        ("GET", "/api/v1/equipment/HQ:P-1/history?field=%00", 400, "bad_query"),  # no name of a field
        ("GET", "/api/v1/equipment/HQ:P-1/history?field=flow&start=2026-01-01T00:00:00", 400, "bad_query"),  # no zone
        ("GET", "/api/v1/equipment/HQ:P-1/history?field=flow&start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z",
         400, "bad_query"),
        ("GET", "/api/v1/equipment/HQ:P-1/history?field=flow&points=0", 400, "bad_query"),
        ("GET", f"/api/v1/quarantine?cursor={10**30}", 400, "bad_query"),  # larger than any id can be
        ("GET", "/api/v1/quarantine?cursor=-1", 400, "bad_query"),
        ("POST", "/api/v1/tickets/R-HQ-1/dance", 404, "not_found"),
    ],
)  # fmt: skip
async def test_a_wrong_address_or_query_gets_a_problem(
    api: ApiServer, method: str, path: str, status: int, code: str
) -> None:
    await api.log_in_with({"*": tuple(Role)})
    body = {"version": 1} if method == "POST" and "tickets" in path else None
    async with api.client.request(method, path, json=body) as answer:
        assert answer.content_type == "application/problem+json"
        problem = await answer.json()
        if status == 405:
            assert answer.headers["Allow"]
    assert (answer.status, problem["status"], problem["code"]) == (status, status, code)
    assert problem["title"]


@without_database
@pytest.mark.parametrize(
    ("data", "content_type", "code"),
    [
        (b"{", "application/json", "bad_request"),
        (b"", "application/json", "bad_request"),
        (b"[]", "application/json", "bad_request"),
        (b'{"username": "x"}', "application/json", "bad_request"),  # a part is missing
        (b'{"username": 5, "password": "x"}', "application/json", "bad_request"),
        (b'{"username": "x", "password": "x", "admin": true}', "application/json", "bad_request"),
        (b'{"username": "\xff", "password": "x"}', "application/json", "bad_request"),  # no UTF-8
        (
            b'{"username": "\\ud800", "password": "\\ud800"}',
            "application/json",
            "bad_request",
        ),  # half a letter
        (b'{"username": "x", "password": "x"}', "text/plain", "bad_request"),  # what a foreign form can send
        (b"username=x&password=x", "application/x-www-form-urlencoded", "bad_request"),
        (b"[" * 100_000, "application/json", "bad_request"),  # nested without end
    ],
)
async def test_a_body_that_cannot_be_read_gets_a_problem(
    api: ApiServer, data: bytes, content_type: str, code: str
) -> None:
    status, problem = await api.ask("POST", "/api/v1/session", data=data, headers={"Content-Type": content_type})
    assert (status, problem["code"]) == (400, code)


async def test_a_body_that_is_too_large_is_refused(api: ApiServer) -> None:
    data = io.BytesIO(b'{"username": "' + b"x" * MAX_BODY + b'"}')
    status, problem = await api.ask("POST", "/api/v1/session", data=data, headers={"Content-Type": "application/json"})
    assert (status, problem["code"]) == (413, "too_large")


@pytest.mark.parametrize("odd", ["%00", "%FF", "%ED%A0%80", "'", "..%2F..", "%25", "🔥", "x" * 3_000])
async def test_odd_letters_are_never_an_internal_error(api: ApiServer, odd: str) -> None:
    await api.log_in_with({"*": tuple(Role)})
    for path in (
        f"/api/v1/alarms/{odd}", f"/api/v1/tickets/{odd}", f"/api/v1/equipment/{odd}",
        f"/api/v1/equipment/HQ:P-1/history?field={odd}", f"/api/v1/alarms?equipment={odd}&cursor={odd}",
        f"/api/v1/tickets?state={odd}", f"/api/v1/equipment?q={odd}",
    ):  # fmt: skip
        async with api.client.get(path) as answer:
            assert answer.status in {200, 400, 404}, (path, await answer.text())


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/alarms", None),
        ("GET", "/tickets/R-HQ-1", None),
        ("POST", "/alarms/nothing/acknowledge", {"version": 1}),
        ("GET", "/quarantine", None),
    ],
)
async def test_a_database_that_does_not_answer_is_503_and_asks_to_try_again(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: dict[str, Any] | None
) -> None:
    await api.log_in_with({"*": tuple(Role)})

    def away() -> Any:
        raise OperationalError("SELECT", {}, Exception("database is locked"))

    monkeypatch.setattr(api.services.database, "reading", away)
    monkeypatch.setattr(api.services.database, "transaction", away)
    status, problem = await api.ask(method, f"/api/v1{path}", json=body)
    assert (status, problem["code"]) == (503, "database_unavailable")
    assert problem["detail"] == "nothing was changed; try again in a moment"


async def test_who_stands_by_is_ready(api: ApiServer) -> None:
    api.components["leader"] = STANDING_BY
    assert await api.get("/readyz") == (
        200,
        {"ready": True, "components": {"database": "ready", "leader": "standing by"}},
    )


async def test_what_is_unexpected_is_a_problem_that_says_nothing_of_the_inside(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.log_in(Role.OPERATOR)
    monkeypatch.setattr(type(api.services.ledger), "sites", property(lambda _self: 1 / 0), raising=False)
    del api.services.ledger.__dict__["sites"]
    status, problem = await api.get("/api/v1/sites")
    assert (status, problem["code"]) == (500, "internal_error")
    assert "ZeroDivision" not in str(problem)


# -- foreign pages -------------------------------------------------------------------------------------


async def raw(api: ApiServer, request: str) -> str:
    """Send a request as it stands; a client library would mend it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.client.port)
    writer.write(request.replace("\n", "\r\n").encode())
    await writer.drain()
    line = (await asyncio.wait_for(reader.read(), 10)).decode(errors="replace")
    writer.close()
    await writer.wait_closed()
    return line


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[", "[::1", "", "localhost@evil.example"]
)  # fmt: skip
async def test_a_foreign_host_is_refused(api: ApiServer, host: str) -> None:
    answer = await raw(api, f"GET /api/v1/me HTTP/1.1\nHost: {host}\nConnection: close\n\n")
    assert answer.split()[1] in {"400", "403"}
    assert "not_signed_in" not in answer


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:99", "[::1]:8080", "LOCALHOST"])
async def test_this_machine_may_be_called_by_each_of_its_names(api: ApiServer, host: str) -> None:
    answer = await raw(api, f"GET /healthz HTTP/1.1\nHost: {host}\nConnection: close\n\n")
    assert answer.split()[1] == "200"


@without_database
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://[", "", "http://127.0.0.1"]
)
async def test_a_foreign_origin_changes_nothing(api: ApiServer, origin: str) -> None:
    row, _ = await api.raise_fire()
    api.log_in(Role.OPERATOR)
    body = {"version": row["version"]}
    path = f"/api/v1/alarms/{row['id']}/acknowledge"
    status, problem = await api.ask("POST", path, json=body, headers={"Origin": origin})
    assert (status, problem["code"]) == (403, "foreign_origin")
    assert (await only_row(api.services.database, alarm))["state"] == "unacknowledged"
    own = str(api.client.make_url("/")).rstrip("/")
    status, _ = await api.ask("POST", path, json=body, headers={"Origin": own})
    assert status == 200


async def test_every_answer_carries_the_headers_that_protect_the_page(api: ApiServer) -> None:
    for path in ("/", "/healthz", "/nowhere", "/api/v1/me"):
        async with api.client.get(path) as answer:
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


# -- answers -------------------------------------------------------------------------------------------


async def test_an_alarm_is_listed_shown_and_acknowledged(api: ApiServer) -> None:
    row, numbered = await api.raise_fire()
    api.log_in(Role.OPERATOR)
    _, page = await api.get("/api/v1/alarms?state=open&priority=critical&equipment=HQ:FP-1")
    (shown,) = page["items"]
    assert (shown["id"], shown["ticket"], shown["equipment"]) == (row["id"], numbered["number"], "HQ:FP-1")
    assert (shown["life_safety"], shown["part"], shown["state"]) == (True, "1-23", "unacknowledged")
    assert shown["raised_at"] == "2025-11-22T08:26:40Z"
    path = f"/api/v1/alarms/{row['id']}"
    status, problem = await api.post(f"{path}/acknowledge", {"version": row["version"] + 1})
    assert (status, problem["code"]) == (409, "stale_version")
    status, answer = await api.post(f"{path}/acknowledge", {"version": row["version"], "note": "seen"})
    assert (status, answer["state"], answer["version"]) == (200, "acknowledged", row["version"] + 1)
    status, problem = await api.post(f"{path}/acknowledge", {"version": answer["version"]})
    assert (status, problem["code"]) == (409, "not_permitted_in_state")
    _, detail = await api.get(path)
    assert [line["event"] for line in detail["journal"]] == ["raised", "acknowledged"]
    assert detail["journal"][1]["note"] == "seen"


async def test_who_may_look_but_not_act_is_told_so(api: ApiServer) -> None:
    row, numbered = await api.raise_fire()
    api.log_in(Role.VIEWER)
    for path in (f"/alarms/{row['id']}", f"/tickets/{numbered['number']}"):
        assert (await api.get(f"/api/v1{path}"))[0] == 200
        status, problem = await api.post(f"/api/v1{path}/acknowledge", {"version": 1})
        assert (status, problem["code"]) == (403, "forbidden")


async def test_a_ticket_is_listed_shown_and_taken_a_step(api: ApiServer) -> None:
    _, row = await api.raise_fire()
    api.log_in(Role.SHIFT_LEADER)
    _, page = await api.get("/api/v1/tickets?state=open&type=emergency&site=HQ")
    assert [item["number"] for item in page["items"]] == [row["number"]]
    path = f"/api/v1/tickets/{row['number']}"
    status, problem = await api.post(f"{path}/close", {"version": row["version"]})
    assert (status, problem["code"]) == (409, "not_permitted_in_state")
    status, answer = await api.post(f"{path}/stand-down", {"version": row["version"], "note": "toast"})
    assert (status, answer["state"]) == (200, "stood_down")
    status, problem = await api.post(f"{path}/acknowledge", {"version": row["version"]})
    assert (status, problem["code"]) == (409, "stale_version")
    assert (await api.get("/api/v1/tickets?state=open"))[1]["items"] == []
    _, detail = await api.get(path)
    assert [line["event"] for line in detail["journal"]] == ["opened", "stand-down"]


async def test_a_fires_ticket_lists_its_points_by_floor_and_time_and_each_point_shows_the_ticket_also_when_it_is_over(
    api: ApiServer,
) -> None:
    desk = await open_desk(api.services.database, fire_rule(), clock=api.clock)
    points = [("10F", "1"), ("2F", "2"), ("B1", "3"), ("2F", "4")]
    for at, (zone, address) in enumerate(points):
        await desk.decide(panel_event(T0 + at, zone=zone, address=address))
    desk.clock.now += FACTS_TAKE_MS
    await desk.tickets.tick()
    api.log_in(Role.SHIFT_LEADER)
    (listed,) = (await api.get("/api/v1/tickets"))[1]["items"]
    path = f"/api/v1/tickets/{listed['number']}"
    _, detail = await api.get(path)
    shown = [(item["zone"], item["part"]) for item in detail["alarms"]]
    assert shown == [("B1", "1-3"), ("2F", "1-2"), ("2F", "1-4"), ("10F", "1-1")]
    assert [item["id"] for item in detail["alarms"]] == listed["alarms"] == detail["ticket"]["alarms"]
    for item in detail["alarms"]:
        found = (await api.get(f"/api/v1/tickets?alarm={item['id']}"))[1]["items"]
        assert [one["number"] for one in found] == [listed["number"]]
    await api.post(f"{path}/stand-down", {"version": listed["version"]})
    first = detail["alarms"][0]
    await api.post(f"/api/v1/alarms/{first['id']}/acknowledge", {"version": first["version"]})
    await desk.decide(panel_event(T0 + 2_000, address="3", active=False))
    _, closed = await api.get(f"/api/v1/alarms/{first['id']}")
    assert (closed["alarm"]["state"], closed["alarm"]["ticket"]) == ("normal", listed["number"])


async def test_a_part_that_works_and_has_something_to_say_is_ready(api: ApiServer) -> None:
    api.components["tickets"] = working("1 dead letters")
    status, body = await api.get("/readyz")
    assert (status, body["components"]["tickets"]) == (200, "ready; 1 dead letters")
    api.components["tickets"] = "readying"
    assert (await api.get("/readyz"))[0] == 503


async def test_lists_go_on_where_the_cursor_stands(api: ApiServer) -> None:
    desk = await open_desk(api.services.database, fire_rule(), clock=api.clock)
    for number in range(5):
        await desk.decide(panel_event(T0 + number, address=str(number)))
    api.log_in(Role.OPERATOR)
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        _, page = await api.get(f"/api/v1/alarms?limit=2&cursor={cursor}")
        seen += [item["part"] for item in page["items"]]
        cursor = page["next"]
    assert (seen, cursor) == (["1-4", "1-3", "1-2", "1-1", "1-0"], None)


async def test_equipment_shows_its_newest_values_and_its_history(api: ApiServer) -> None:
    store = api.services.store
    await store.write([bearing(celsius, T0 + at) for at, celsius in [(0, 50), (1_000, 60)]])
    await store.write([sample(PUMP, {"mode": "auto"}, T0 + 1_000)])
    api.clock.now = T0 + 2_000
    api.log_in(Role.ENGINEER)
    _, shown = await api.get("/api/v1/equipment/HQ:P-1")
    assert shown["latest"]["bearing_temperature"] == {"value": 60.0, "at": "2025-11-22T08:26:41Z"}
    assert (shown["name"]["zh-CN"], shown["place"]["en"], shown["online"]) == ("一号泵", "Basement", None)
    _, history = await api.get("/api/v1/equipment/HQ:P-1/history?field=bearing_temperature")
    assert (history["unit"], history["raw"]) == ("°C", True)
    assert [bucket["mean"] for bucket in history["buckets"]] == [50.0, 60.0]
    _, history = await api.get("/api/v1/equipment/HQ:P-1/history?field=mode")
    assert [change["value"] for change in history["changes"]] == ["auto"]
    _, page = await api.get("/api/v1/equipment?q=泵&site=HQ&kind=pump")
    assert [item["id"] for item in page["items"]] == ["HQ:P-1"]


async def test_quarantine_shows_text_as_text_and_bytes_as_hex(api: ApiServer) -> None:
    await Quarantine(api.services.database, CollectorRegistry()).keep(
        [
            Quarantined(T0, "gengfu/x", "门".encode(), 3, "not_json", "no JSON"),
            Quarantined(T0, "gengfu/y", b"\xff\x00", 9_000, "not_json", "no UTF-8"),
        ]
    )
    api.log_in(Role.ADMIN)
    _, page = await api.get("/api/v1/quarantine?limit=1")
    assert (page["items"][0]["payload"], page["items"][0]["encoding"]) == ("ff00", "hex")
    _, page = await api.get(f"/api/v1/quarantine?cursor={page['next']}")
    assert (page["items"][0]["payload"], page["items"][0]["encoding"]) == ("门", "utf-8")
    assert page["next"] is None


async def test_ready_says_which_part_is_not(api: ApiServer) -> None:
    assert await api.get("/readyz") == (200, {"ready": True, "components": {"database": "ready"}})
    api.components["broker"] = "connection refused"
    status, body = await api.get("/readyz")
    assert (status, body["ready"], body["components"]["broker"]) == (503, False, "connection refused")
    assert (await api.get("/healthz"))[0] == 200  # it lives all the same


async def test_the_built_page_is_served_with_its_files(api: ApiServer, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<h1>更夫</h1>", encoding="utf-8")
    (folder / "assets" / "a.js").write_text("1", encoding="utf-8")
    (folder / "icon.svg").write_text("<svg/>", encoding="utf-8")
    services = api.services._replace(registry=CollectorRegistry())  # a second application counts by itself
    app = make_app(services, LiveFeed(services), folder, Entrance())
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        for path, text in [("/", "更夫"), ("/login", "更夫"), ("/assets/a.js", "1"), ("/icon.svg", "<svg/>")]:
            async with client.get(path) as answer:
                assert answer.status == 200
                assert text in await answer.text()
        async with client.get("/assets/%2e%2e/%2e%2e/gengfu.db") as answer:
            assert answer.status == 404
