"""The HTTP server: makes routes from the route table and applies the same checks to every request."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from aiohttp import ClientError, web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import DataError

from gateway.api.alarms import alarms as alarm_routes
from gateway.api.alarms import maintenance as maintenance_routes
from gateway.api.alarms import operator_actions as alarm_acts_routes
from gateway.api.alarms import out_of_service as outage_routes
from gateway.api.alarms import performance as performance_routes
from gateway.api.alarms import rule_tests as rule_test_routes
from gateway.api.alarms import rules as rule_routes
from gateway.api.alarms import shelving as shelving_routes
from gateway.api.equipment import equipment as equipment_routes
from gateway.api.equipment import events as event_routes
from gateway.api.equipment import lifecycle as equipment_life_routes
from gateway.api.equipment import links as link_routes
from gateway.api.equipment import sites as site_routes
from gateway.api.http import two_person_rule
from gateway.api.http.access_metrics import AccessMetrics
from gateway.api.http.addresses import Entrance
from gateway.api.http.admission import Admission, Caller
from gateway.api.http.connections import BODY_S
from gateway.api.http.openapi import make_document
from gateway.api.http.problems import ProblemError, problem_for, problem_response
from gateway.api.http.route import Answer, Call, FileAnswer, Reply, Route, Services, Upload
from gateway.api.live.feed import REQUIRED, LiveFeed, Message
from gateway.api.people import account as account_routes
from gateway.api.people import approvals as approval_routes
from gateway.api.people import people as people_routes
from gateway.api.people import session as session_routes
from gateway.api.people import tokens as token_routes
from gateway.api.platform import audit as audit_routes
from gateway.api.platform import health as health_routes
from gateway.api.platform import quarantine as quarantine_routes
from gateway.api.tickets import attachments as attachment_routes
from gateway.api.tickets import tickets as ticket_routes
from gateway.people.approvals.requests import ApprovalRecord
from gateway.people.authentication.logins import ClientInfo
from gateway.people.authentication.session_check import AccessEnded, Over, SessionCheck
from gateway.people.permissions import FOR_EVERYONE, PERMITTED, Permission
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.trouble_words import in_plain_words

log = structlog.get_logger(__name__)

PREFIX: Final = "/api/v1"
MAX_BODY: Final = 1024 * 1024
LIVE_ACT: Final = Permission.WATCH
_DEVICE_S: Final = 365 * 24 * 3600
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(self), microphone=(), payment=(), usb=()",
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
}
_STRICT_TRANSPORT: Final = "max-age=31536000"
Next = Callable[[web.Request], Awaitable[web.StreamResponse]]
Plain = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]


class UndeclaredAct(Exception):
    """A route or a live message does not declare a valid permission: the service does not start with it."""


class PlainRoute(NamedTuple):
    """An address whose answer is no JSON of the contract: the page, the live feed, metrics."""

    method: str
    path: str
    act: Permission
    handler: Plain


def route_table() -> list[tuple[str, Route]]:
    """Every route of the contract with its full path.

    The first match answers: the routes of a ticket's `attachments` come before the one with any action.
    """
    subjects = (
        session_routes, account_routes, people_routes, token_routes, equipment_routes,
        equipment_life_routes, link_routes, outage_routes,
        maintenance_routes, site_routes, alarm_routes, alarm_acts_routes, shelving_routes,
        event_routes, attachment_routes, ticket_routes, rule_routes, rule_test_routes, audit_routes, approval_routes,
        performance_routes, quarantine_routes,
    )  # fmt: skip
    table = [(PREFIX + route.path, route) for subject in subjects for route in subject.ROUTES]
    return table + [(route.path, route) for route in health_routes.ROOT_ROUTES]


def plain_routes(services: Services, feed: LiveFeed, web_app: Path | None) -> list[PlainRoute]:
    """Every other address. The page itself is public: people log in with it."""
    document = msgspec.json.encode(make_document(route_table()))
    return [
        PlainRoute("GET", f"{PREFIX}/live", LIVE_ACT, _live(feed)),
        PlainRoute("GET", f"{PREFIX}/openapi.json", Permission.PUBLIC, _fixed(document, "application/json")),
        PlainRoute("GET", "/api/docs", Permission.PUBLIC, _docs),
        PlainRoute("GET", "/api/docs.css", Permission.PUBLIC, _fixed(_DOCS_STYLE, "text/css")),
        PlainRoute("GET", "/metrics", Permission.READ_METRICS, _metrics(services)),
        *_page_routes(web_app),
    ]


def make_app(services: Services, feed: LiveFeed, web_app: Path | None, entrance: Entrance) -> web.Application:
    """The application.

    Args:
        services: what handlers work with.
        feed: the live feed.
        web_app: folder of the built page; None answers with a note how to build it.
        entrance: the addresses of the service.

    Raises:
        UndeclaredAct: a route or a live message does not declare a valid permission.
    """
    plain = plain_routes(services, feed, web_app)
    check_acts({f"{route.method} {path}": route.act for path, route in route_table()})
    check_acts({f"{item.method} {item.path}": item.act for item in plain})
    check_acts({message.__name__: REQUIRED.get(message) for message in Message.__args__})
    admission = Admission(services.people, entrance)
    answering = _answer_problems(AccessMetrics(services.registry))
    app = web.Application(middlewares=[answering, _check_source(admission)], client_max_size=MAX_BODY)
    table = route_table()
    routes = {(route.method, path): route for path, route in table}
    for path, route in table:
        app.router.add_route(route.method, path, _endpoint(path, route, routes, services, admission))
    for item in plain:
        app.router.add_route(item.method, item.path, _plain(item, services, admission))
    app.on_response_prepare.append(_add_headers(entrance))
    return app


def check_acts(declared: Mapping[str, object]) -> None:
    """Raises UndeclaredAct for a declaration that the table of permissions does not have."""
    for name, act in declared.items():
        if not (isinstance(act, Permission) and (act in PERMITTED or act in FOR_EVERYONE)):
            raise UndeclaredAct(f"{name} does not declare a valid permission: {act!r}")


def _endpoint(
    path: str, route: Route, routes: Mapping[tuple[str, str], Route], services: Services, admission: Admission
) -> Next:
    async def answer(request: web.Request) -> web.StreamResponse:
        caller = await admission.admit(request, route.act, services.wall())
        call = Call(
            services, caller.session, caller.place, _read_path(request), _read_query(request, route),
            await _read_body(request, route, services.attachments.limit), routes=routes,
        )  # fmt: skip
        found = await _act(call, route, path)
        if isinstance(found, ApprovalRecord):
            found = Reply(approval_routes.approval_body(found, services.accounts, services.wall()), 202)
        response = _respond(found, route.status, admission.entrance)
        await _rotate(response, caller, services, admission.entrance)
        return response

    return answer


async def _act(call: Call, route: Route, path: str) -> Answer | ApprovalRecord:
    """Run the handler. A change checks its permission once more in its transaction."""
    if route.act is Permission.PUBLIC or call.session is None:
        return await two_person_rule.answer(call, route, path)
    check = SessionCheck(call.session, call.services.wall())
    try:
        with call.services.database.accompanied(check):
            return await two_person_rule.answer(call, route, path)
    except AccessEnded as over:
        code = "not_signed_in" if over.reason is Over.LOGIN_ENDED else "forbidden"
        raise ProblemError(code, "the login or its roles changed during the request; nothing was changed") from over


def _plain(route: PlainRoute, services: Services, admission: Admission) -> Next:
    async def answer(request: web.Request) -> web.StreamResponse:
        if route.act is Permission.PUBLIC:
            return await route.handler(request, _STRANGER)
        if route.path == f"{PREFIX}/live":
            admission.require_own_origin(request)
        return await route.handler(request, await admission.admit(request, route.act, services.wall()))

    return answer


async def _rotate(response: web.Response, caller: Caller, services: Services, entrance: Entrance) -> None:
    """Set a new cookie after a change of roles, unless the answer sets one already."""
    session = caller.session
    if session is None or not session.rotate or entrance.login_cookie in response.cookies:
        return
    cookie = await services.people.logins.rotate(session, services.wall())
    if cookie is not None:
        _set_login(response, cookie, entrance)


def _read_path(request: web.Request) -> Mapping[str, str]:
    if any("\0" in part for part in request.match_info.values()):
        raise ProblemError("not_found")
    return request.match_info


def _read_query(request: web.Request, route: Route) -> Any:
    if route.query is None:
        return None
    if any("\0" in text for text in request.query.values()):
        raise ProblemError("bad_query", "a parameter must not contain NUL")
    try:
        return msgspec.convert(dict(request.query), route.query, strict=False)
    except msgspec.ValidationError as error:
        raise ProblemError("bad_query", str(error)) from error


async def _read_body(request: web.Request, route: Route, upload_limit: int) -> Any:
    if route.takes:
        return _upload(request, upload_limit)
    if route.request is None:
        return None
    # Another site's page can send a form or text without a CORS preflight, but not JSON.
    if request.content_type != "application/json":
        raise ProblemError("bad_request", "send JSON with Content-Type: application/json")
    if (request.content_length or 0) > MAX_BODY:
        raise ProblemError("too_large")
    body = await _read_in_time(request)
    if b"\\u0000" in body:
        raise ProblemError("bad_request", "a text must not contain NUL")
    try:
        return msgspec.json.decode(body, type=route.request)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProblemError("bad_request", str(error)) from error
    except RecursionError as error:
        raise ProblemError("bad_request", "the JSON is nested too deeply") from error


async def _read_in_time(request: web.Request) -> bytes:
    """Read the body within a timeout. Raises ProblemError."""
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError as error:
        raise ProblemError("request_too_slow", f"send the body within {BODY_S:g} s") from error
    except (ClientError, web.RequestPayloadError, ConnectionError) as error:
        raise ProblemError("bad_request", "the body is incomplete or does not match its headers") from error


def _upload(request: web.Request, limit: int) -> Upload:
    """A file, read by its handler only. Other sites' pages cannot send its media type, as with JSON."""
    if (request.content_length or 0) > limit:
        raise ProblemError("too_large", f"a file has at most {limit // MAX_BODY} MB")
    if "Content-Encoding" in request.headers:  # a compressed body may have any size once decompressed
        raise ProblemError("unsupported_type", "send the file without Content-Encoding")

    async def read(size: int) -> bytes:
        try:
            return await request.content.read(size)
        except (ClientError, web.RequestPayloadError, ConnectionError) as error:
            raise ProblemError("bad_request", "the upload is incomplete; send it again") from error

    return Upload(request.content_type, read)


def _send_file(answer: FileAnswer) -> web.Response:
    """Headers that keep a browser from running or showing the file in our origin."""
    headers = {
        "Content-Type": answer.media_type,
        "Content-Disposition": answer.disposition,
        "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
        "Cache-Control": "no-store",
    }
    return web.Response(body=answer.file, headers=headers)


def _respond(answer: Answer, status: int, entrance: Entrance) -> web.Response:
    if isinstance(answer, FileAnswer):
        return _send_file(answer)
    reply = answer if isinstance(answer, Reply) else Reply(answer, status)
    if reply.body is None:
        response = web.Response(status=reply.status)
    else:
        body = msgspec.json.encode(reply.body)
        response = web.Response(status=reply.status, body=body, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    if reply.cookie:
        _set_login(response, reply.cookie, entrance)
    elif reply.cookie == "":
        response.del_cookie(entrance.login_cookie, path="/", secure=entrance.secure, httponly=True, samesite="Lax")
    if reply.device:
        response.set_cookie(
            entrance.device_cookie, reply.device, max_age=_DEVICE_S, httponly=True, samesite="Lax",
            secure=entrance.secure, path="/",
        )  # fmt: skip
    return response


def _set_login(response: web.Response, cookie: str, entrance: Entrance) -> None:
    response.set_cookie(
        entrance.login_cookie, cookie, httponly=True, samesite="Lax", secure=entrance.secure, path="/",
        max_age=_LOGIN_S,
    )  # fmt: skip


_LOGIN_S: Final = 90 * 24 * 3600
"""The browser keeps it over a restart; the server decides on its expiry (`lifetimes.py`)."""


def _answer_problems(metrics: AccessMetrics) -> Any:
    """Answer every error with problem details; log unexpected errors and do not expose them."""

    @web.middleware
    async def answer(request: web.Request, handler: Next) -> web.StreamResponse:
        try:
            return await _or_problem(request, handler)
        except ProblemError as problem:
            metrics.note(problem.code)
            return problem_response(problem.code, problem.detail, problem.retry_after)

    return answer


async def _or_problem(request: web.Request, handler: Next) -> web.StreamResponse:
    try:
        return await handler(request)
    except ProblemError:
        raise
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return problem_for(error)
    except DatabaseTrouble as error:
        log.warning(
            "request failed: database error",
            path=request.path,
            why=in_plain_words(error),
            detail=str(error),
        )
        return problem_response("database_unavailable", "nothing was changed; try again in a moment", retry_after=1)
    except DataError:
        return problem_response("bad_request", "a text or number in the request cannot be stored")
    except Exception:
        incident = secrets.token_hex(4)
        log.exception("request failed", method=request.method, path=request.path, incident=incident)
        return problem_response("internal_error", f"see the log for incident {incident}; try again")


def _check_source(admission: Admission) -> Any:
    @web.middleware
    async def check(request: web.Request, handler: Next) -> web.StreamResponse:
        admission.check_source(request)
        return await handler(request)

    return check


def _add_headers(entrance: Entrance) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    headers = {**_HEADERS, **({"Strict-Transport-Security": _STRICT_TRANSPORT} if entrance.secure else {})}

    async def add(_request: web.Request, response: web.StreamResponse) -> None:
        for name, value in headers.items():
            response.headers.setdefault(name, value)
        response.headers.popall("Server", None)  # it would expose the software and its version

    return add


def _live(feed: LiveFeed) -> Plain:
    async def answer(request: web.Request, caller: Caller) -> web.StreamResponse:
        if caller.session is None:
            raise ProblemError("not_signed_in")
        return await feed.serve(request, caller.session)

    return answer


def _fixed(body: bytes, content_type: str) -> Plain:
    async def answer(_request: web.Request, _caller: Caller) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type)

    return answer


def _metrics(services: Services) -> Plain:
    async def answer(_request: web.Request, _caller: Caller) -> web.StreamResponse:
        return web.Response(body=generate_latest(services.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return answer


_DOCS_STYLE: Final = b"body{font:16px sans-serif;margin:2rem}td{padding:.3rem .8rem;border-bottom:1px solid #ccc}"


async def _docs(_request: web.Request, _caller: Caller) -> web.StreamResponse:
    """API documentation as plain HTML from the route table, without external resources."""
    rows = "".join(
        f"<tr><td><code>{route.method}</code></td><td><code>{path}</code></td><td>{escape(route.summary)}</td>"
        f"<td><code>{route.act}</code></td></tr>"
        for path, route in route_table()
    )
    html = (
        "<!doctype html><meta charset=utf-8><title>Gengfu API</title><link rel=stylesheet href=/api/docs.css>"
        f'<h1>Gengfu API</h1><p>OpenAPI 3.1: <a href="{PREFIX}/openapi.json">openapi.json</a>. '
        f"Live feed: <code>{PREFIX}/live</code>.</p>"
        f"<table><tr><th>Method<th>Path<th>What<th>Permission</tr>{rows}</table>"
    )
    return web.Response(text=html, content_type="text/html")


def _page_routes(folder: Path | None) -> list[PlainRoute]:
    """The built page. Each file has its own route: no path of a request becomes a path on disk."""
    if folder is None:
        return [PlainRoute("GET", path, Permission.PUBLIC, _no_page) for path in ("/", TAG_PAGE)]
    index = _file(folder / "index.html", {"Cache-Control": "no-cache"})
    pages = [PlainRoute("GET", path, Permission.PUBLIC, index) for path in (*PAGES, TAG_PAGE)]
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != "index.html"]
    return pages + [
        PlainRoute("GET", f"/{file.relative_to(folder).as_posix()}", Permission.PUBLIC, _file(file, {}))
        for file in files
    ]


PAGES: Final = ("/", "/login", "/account", "/equipment", "/people")
"""Addresses of the page that people may reload or bookmark."""
TAG_PAGE: Final = "/t/{checkpoint}"
"""The address on a tag: it always answers with our own page, whatever code and query; never a redirect."""


def _file(path: Path, headers: Mapping[str, str]) -> Plain:
    async def answer(_request: web.Request, _caller: Caller) -> web.StreamResponse:
        return web.FileResponse(path, headers=dict(headers))

    return answer


async def _no_page(_request: web.Request, _caller: Caller) -> web.StreamResponse:
    text = "The page is not built. Run `make demo` in the checkout, or install the wheel. The API is at /api/v1.\n"
    return web.Response(text=text, status=503)


_STRANGER: Final = Caller(None, ClientInfo(""), "")
