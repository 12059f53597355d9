"""What an attacker tries, one by one, over real sockets: none of it works."""

import asyncio
import re
import statistics
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import pytest
from yarl import URL

from gateway.api.http.addresses import Entrance
from gateway.api.http.route import Route
from gateway.api.http.server import MAX_BODY, route_table
from gateway.people.audit.entry import CLOCK
from gateway.people.authentication.tokens import NewToken
from gateway.people.people import DEMO_PASSWORD
from gateway.people.permissions import Permission, Role
from gateway.storage.database import Database
from gateway.storage.tables import alarm, audit, login
from tests.builders.alarms import only_row, rows_of
from tests.servers.api_server import COOKIE, NO_HURRY, ApiServer, open_api_server

SESSION = "/api/v1/session"

without_database = pytest.mark.parametrize("engine", ["sqlite"])
"""Of requests that end before anything is read from the database: one database is enough."""


async def log_in(api: ApiServer, username: str = "operator", **headers: str) -> int:
    body = {"username": username, "password": DEMO_PASSWORD}
    async with api.client.post(SESSION, json=body, headers=headers) as answer:
        return answer.status


def cookie_of(api: ApiServer) -> str:
    return next(item.value for item in api.client.session.cookie_jar if item.key == COOKIE)


async def is_in(api: ApiServer) -> bool:
    return (await api.get("/api/v1/me"))[0] == 200


# -- cookies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planted", ["chosen-by-an-attacker", "login-of-viewer", ""])
async def test_session_fixation_a_login_never_takes_a_cookie_that_was_there_before(
    api: ApiServer, planted: str
) -> None:
    api.show(planted)
    assert await log_in(api) == 200
    mine = cookie_of(api)
    assert mine != planted
    assert len(mine) >= 43  # 256 bits
    api.show(planted)
    assert not await is_in(api), "the login that the attacker knew has ended"


async def test_a_cookie_of_before_the_password_was_changed_or_the_login_ended_is_worth_nothing(api: ApiServer) -> None:
    await log_in(api)
    stolen = cookie_of(api)
    body = {"old": DEMO_PASSWORD, "new": "nine kettles sing before dawn"}
    assert (await api.post("/api/v1/me/password", body))[0] == 204
    api.show(stolen)
    assert not await is_in(api)


async def test_over_tls_the_cookie_never_goes_in_the_clear_nor_to_a_neighbour(
    database: Database, tmp_path: Path
) -> None:
    entrance = Entrance(public_url="https://watch.example.net", behind_proxy=True, paces=NO_HURRY)
    async with open_api_server(database, tmp_path, entrance) as api:
        body = {"username": "operator", "password": DEMO_PASSWORD}
        async with api.client.post(SESSION, json=body, headers={"Origin": "https://watch.example.net"}) as answer:
            cookies = answer.headers.getall("Set-Cookie")
            assert answer.headers["Strict-Transport-Security"]
    assert len(cookies) == 2
    for cookie in cookies:
        assert cookie.startswith("__Host-gengfu_")
        assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= {part.strip() for part in cookie.split(";")}
        assert "Domain" not in cookie


# -- foreign pages -------------------------------------------------------------------------------------


@without_database
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},  # a sandboxed frame
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},  # another port, or a neighbour's name
        {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"},
        {"Content-Type": "text/plain"},  # what a form can send without asking
        {"Content-Type": "application/x-www-form-urlencoded"},
    ],
)
async def test_csrf_another_sites_page_changes_nothing(api: ApiServer, headers: dict[str, str]) -> None:
    row, _ = await api.raise_fire()
    api.log_in(Role.OPERATOR)
    path = f"/api/v1/alarms/{row['id']}/acknowledge"
    data = b'{"version": %d}' % row["version"]
    given = {"Content-Type": "application/json", **headers}
    status, problem = await api.ask("POST", path, data=data, headers=given)
    assert (status, problem["code"]) in {(403, "foreign_origin"), (400, "bad_request")}
    assert (await only_row(api.services.database, alarm))["state"] == "unacknowledged"


async def test_csrf_another_sites_page_logs_nobody_in_or_out(api: ApiServer) -> None:
    """A victim who works in the attacker's account tells the attacker what they do."""
    assert await log_in(api, Origin="https://evil.example") == 403
    api.log_in(Role.OPERATOR)
    assert (await api.ask("DELETE", SESSION, headers={"Origin": "https://evil.example"}))[0] == 403
    assert await is_in(api)


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_cross_site_websocket_another_sites_page_does_not_listen(api: ApiServer, headers: dict[str, str]) -> None:
    api.log_in(Role.OPERATOR)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await api.client.ws_connect("/api/v1/live", headers=headers)
    assert refused.value.status == 403


async def test_no_page_of_ours_stands_in_a_foreign_frame_or_runs_a_foreign_script(api: ApiServer) -> None:
    for path in ("/", "/api/docs", "/api/v1/me", "/nowhere"):
        async with api.client.get(path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "unsafe" not in policy
            assert "default-src 'self'" in policy
            assert {"frame-ancestors 'none'", "base-uri 'none'", "object-src 'none'"} <= {
                part.strip() for part in policy.split(";")
            }
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "same-origin"
            text = await answer.text()
            assert "<script>" not in text
            assert "style=" not in text
    async with api.client.get("/api/v1/me") as answer:
        assert answer.status == 401


# -- other people's things -----------------------------------------------------------------------------


async def test_ids_of_another_site_answer_as_if_they_did_not_exist(api: ApiServer) -> None:
    row, numbered = await api.raise_fire()
    await api.log_in_with({"HQ": (Role.VIEWER,)}, "resident")
    await api.log_in_with({"B": tuple(Role)}, "neighbour")
    for there, absent in (
        (f"/alarms/{row['id']}", "/alarms/019aaaac-2600-7f25-9520-6a8e0160c606"),
        (f"/tickets/{numbered['number']}", "/tickets/E-HQ-20251122-0009"),
        ("/equipment/HQ:P-1", "/equipment/HQ:P-9"),
        ("/equipment/HQ:P-1/latest", "/equipment/HQ:P-9/latest"),
        ("/people/demo:resident", "/people/demo:nobody"),
    ):
        answers = [await api.get(f"/api/v1{path}") for path in (there, absent)]
        assert answers[0] == answers[1], there
        assert answers[0][0] == 404
    for path in ("/alarms?site=HQ", "/tickets?site=HQ", "/activations?site=HQ", "/equipment?site=HQ", "/people?site=HQ",
                 f"/activations?alarm={row['id']}", f"/tickets?alarm={row['id']}",
                 f"/alarms?cursor={row['id']}x", "/equipment?q=P-1&site=HQ"):  # fmt: skip
        assert (await api.get(f"/api/v1{path}"))[1]["items"] == [], path


@pytest.mark.parametrize(
    ("act", "more"),
    [
        ("reset", {"password": "nine kettles sing before dawn"}),
        ("disable", {}),
        ("grant", {"site": "*", "role": "admin"}),
        ("grant", {"site": "HQ", "role": "admin"}),
        ("revoke", {"site": "*", "role": "admin"}),
    ],
)
async def test_an_administrator_of_one_site_cannot_take_over_those_of_others(
    api: ApiServer, act: str, more: dict[str, Any]
) -> None:
    await api.log_in_with({"B": (Role.ADMIN,)}, "local-admin")
    status, _ = await api.post(f"/api/v1/people/demo:admin/{act}", {"version": 1, **more})
    assert status == 404
    itself = await api.post(f"/api/v1/people/demo:local-admin/{act}", {"version": 1, **more})
    assert itself[0] in {200, 403}
    grants = (await api.people.accounts.find("demo:local-admin")).grants
    assert set(grants) <= {"B"}, "no way up"
    assert (await api.people.accounts.find("demo:admin")).version == 1


# -- guessing ------------------------------------------------------------------------------------------


async def test_unknown_names_take_as_long_as_known_ones(api: ApiServer) -> None:
    """The same work for both: on a busy machine the medians differ, but not as work and no work do."""
    times: dict[str, list[float]] = {"operator": [], "nobody": []}
    for number in range(8):
        for name, found in times.items():
            api.clock.now += 3_600_000  # so that nobody is slowed
            began = time.perf_counter()
            status, _ = await api.post(SESSION, {"username": name, "password": f"guess {number}"})
            found.append(time.perf_counter() - began)
            assert status == 401
    known, unknown = (statistics.median(found) for found in times.values())
    assert 0.2 < known / unknown < 5  # without a hash to work out, an unknown name would be answered at once


async def test_a_thousand_guesses_at_once_are_counted_as_a_thousand(api: ApiServer) -> None:
    answers = await asyncio.gather(
        *(api.post(SESSION, {"username": "operator", "password": f"guess {number}"}) for number in range(40))
    )
    assert sum(status == 401 for status, _ in answers) <= 5
    assert {status for status, _ in answers} == {401, 429}


# -- text that is more than text -----------------------------------------------------------------------

SQL = [
    "' OR '1'='1", "'; DROP TABLE alarm; --", '" OR 1=1 --', "%' UNION SELECT password_hash FROM person --", "\\", "%",
    "$1", ":id", "{0}", "\u0000", "\ud7ff\uffff",
]  # fmt: skip
NAMES = {"equipment": "HQ:P-1", "id": "pump.bearing_hot"}
"""What stands in the rest of a path."""


def filters(path: str, route: Route) -> list[str]:
    """Every place of a route where a reader's text goes: a name in its path, a parameter of its query."""
    own = path.removeprefix("/api/v1")
    names = re.findall(r"\{(\w+)\}", own)
    whole = own.format(**{name: NAMES.get(name, "absent") for name in names})
    in_path = [own.format(**{other: "{}" if other == name else NAMES.get(other, "absent") for other in names})
               for name in names]  # fmt: skip
    asked = [] if route.query is None else msgspec.structs.fields(route.query)
    needed = "".join(f"{field.name}=flow&" for field in asked if field.required)
    return in_path + [f"{whole}?{needed}{field.name}={{}}" for field in asked]


FILTERED = [
    (path, found) for path, route in route_table()
    if route.method == "GET" and route.act is not Permission.PUBLIC and (found := filters(path, route))
]  # fmt: skip


@pytest.mark.parametrize("patterns", [patterns for _, patterns in FILTERED], ids=[path for path, _ in FILTERED])
async def test_sql_in_a_filter_is_only_text(api: ApiServer, patterns: list[str]) -> None:
    await api.raise_fire()
    await api.log_in_with({"*": tuple(Role)}, "anybody")
    for pattern in patterns:
        nothing = (await api.get(f"/api/v1{pattern.format('absent')}"))[1].get("items", [])
        for text in SQL:
            address = URL(f"/api/v1{pattern}".replace("{}", quote(text, safe="")), encoded=True)
            status, answer = await api.ask("GET", address)
            assert status in {200, 400, 404}, (address, answer)
            assert "argon2" not in str(answer)
            if status == 200 and "cursor" not in pattern:  # a cursor compares: half of all texts come before any id
                assert answer.get("items", []) == nothing, (address, answer)
    assert (await only_row(api.services.database, alarm))["state"] == "unacknowledged"


@without_database
@pytest.mark.parametrize("text", ["x\r\nSet-Cookie: a=b", "x\nX-Evil: 1", "x%0d%0aX-Evil: 1"])
async def test_header_injection_nothing_that_is_sent_becomes_a_header(api: ApiServer, text: str) -> None:
    bodies = [{"username": text, "password": "x"}, {"username": "operator", "password": text}]
    for body in bodies:
        async with api.client.post(SESSION, json=body) as answer:
            assert not {"X-Evil", "Set-Cookie"} & set(answer.headers)
    request = f"GET /api/v1/alarms/{text} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", api.client.port)
    writer.write(request.encode())
    head = (await asyncio.wait_for(reader.read(), 10)).decode(errors="replace").partition("\r\n\r\n")[0]
    writer.close()
    await writer.wait_closed()
    assert "X-Evil" not in head
    assert "a=b" not in head


async def test_what_a_browser_calls_itself_is_kept_short_and_on_one_line(api: ApiServer) -> None:
    assert await log_in(api, **{"User-Agent": "Mozilla \x85\u2028 <script>" + "x" * 1_000}) == 200
    rows = [row for row in await rows_of(api.services.database, login) if row["agent"] != "a test"]
    assert len(rows[0]["agent"]) <= 200
    assert rows[0]["agent"].isprintable()


CHANGING = [(path, route) for path, route in route_table() if route.method != "GET"]


@without_database
@pytest.mark.parametrize(("path", "route"), CHANGING, ids=[f"{route.method} {path}" for path, route in CHANGING])
async def test_fifty_megabytes_are_refused_before_they_are_read(api: ApiServer, path: str, route: Route) -> None:
    """Nothing of the body is sent but its first byte: who waited for the rest would never answer."""
    await api.log_in_with({"*": tuple(Role)}, "anybody")
    filled = re.sub(r"\{\w+\}", "HQ:P-1", path)
    lines = f"Cookie: {COOKIE}=login-of-anybody\r\nContent-Type: application/json\r\nContent-Length: {50 * MAX_BODY}"
    reader, writer = await asyncio.open_connection("127.0.0.1", api.client.port)
    writer.write(f"{route.method} {filled} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n\r\n{{".encode())
    await writer.drain()
    status = int((await asyncio.wait_for(reader.readline(), 10)).split()[1])
    writer.close()
    # A route that takes no body does not look at one.
    assert status == 413 if route.request is not None or route.takes else status in {200, 204, 404}


UPWARDS = [
    "../gengfu.db", "..%2f..%2fgengfu.db", "%2e%2e/%2e%2e/etc/passwd", "....//etc/passwd", "..\\..\\etc\\passwd",
    "%2fetc%2fpasswd", "assets/../../gengfu.db", "assets/%2e%2e/%2e%2e/secret.txt", "index.html%00.js", "secret.txt",
]  # fmt: skip


@without_database
@pytest.mark.parametrize("upwards", UPWARDS)
async def test_path_traversal_no_path_leads_out_of_the_page(database: Database, tmp_path: Path, upwards: str) -> None:
    """Each file of the page is a route of its own. Backups have no route; attachments: `test_attachments.py`."""
    page = tmp_path / "page"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("<title>the page</title>")
    (page / "assets" / "app.js").write_text("the script")
    (tmp_path / "secret.txt").write_text("the secret of the api")
    async with open_api_server(database, tmp_path, web_app=page) as api:
        async with api.client.get("/assets/app.js") as answer:
            assert await answer.text() == "the script"
        for base in ("", "assets/", "t/", "api/v1/", "attachments/", "backups/"):
            reader, writer = await asyncio.open_connection("127.0.0.1", api.client.port)
            writer.write(f"GET /{base}{upwards} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            answer_text = (await asyncio.wait_for(reader.read(), 10)).decode(errors="replace")
            writer.close()
            status = int(answer_text.split()[1])
            assert status in {400, 404} or "<title>the page</title>" in answer_text, (base, answer_text)
            assert "secret of the api" not in answer_text
            assert "root:" not in answer_text


TAGS = [
    "CP-1", "CP-1?e=00&c=11&m=22", "https:%2f%2fevil.example", "%2f%2fevil.example", "x?next=https://evil.example",
    "x?url=//evil.example&redirect=1", "<script>alert(1)</script>", "x%0d%0aLocation:%20https:%2f%2fevil.example",
    "\u7535\u68af", "x" * 2_000,
]  # fmt: skip


@without_database
@pytest.mark.parametrize("tag", TAGS)
async def test_open_redirect_a_tags_address_answers_our_own_page_and_leads_nowhere_else(
    database: Database, tmp_path: Path, tag: str
) -> None:
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("<title>the page</title>")
    async with open_api_server(database, tmp_path, web_app=page) as api:
        address = URL("/t/" + quote(tag, safe="/%?&=:"), encoded=True)
        async with api.client.get(address, allow_redirects=False) as answer:
            assert answer.status in {200, 404}
            assert not {"Location", "Refresh", "Set-Cookie"} & set(answer.headers)
            if answer.status == 200:
                assert await answer.text() == "<title>the page</title>", "whatever the tag says, it is not in the page"


async def test_a_token_after_its_revocation_is_nobody(api: ApiServer) -> None:
    token, secret = await api.people.tokens.add(NewToken("pump", ["*"], [Permission.WATCH], 1), CLOCK, api.clock())
    api.log_out()
    bearer = {"headers": {"Authorization": f"Bearer {secret}"}}
    assert (await api.get("/api/v1/alarms", **bearer))[0] == 200
    await api.people.tokens.revoke(token.id, CLOCK, api.clock())
    assert (await api.get("/api/v1/alarms", **bearer))[0] == 401


async def test_a_failure_inside_says_only_where_in_the_log_it_stands(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api.log_in(Role.ADMIN)

    async def fail(*_: Any) -> Any:
        raise ZeroDivisionError("the secret of the api")

    monkeypatch.setattr(api.people.tokens, "every", fail)
    status, problem = await api.get("/api/v1/tokens")
    assert (status, problem["code"]) == (500, "internal_error")
    assert "secret of the api" not in str(problem)
    assert "Traceback" not in str(problem)
    incident = problem["detail"].split("incident ")[1].split(";")[0]
    assert incident in capsys.readouterr().out
    assert not [row for row in await rows_of(api.services.database, audit) if row["act"] == "token.add"]
