"""The HTTP server: the route table becomes routes, every request passes the same few checks."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import DataError

from gateway.api import alarm_routes, audit_routes, equipment_routes, platform_routes, session_routes, ticket_routes
from gateway.api.live_feed import LiveFeed
from gateway.api.openapi import make_document
from gateway.api.problems import ProblemError, problem_response
from gateway.api.routes import Call, Reply, Route, Services
from gateway.people.permissions import Act, Decision, may
from gateway.storage.database import DatabaseTrouble

log = structlog.get_logger(__name__)

_PUBLIC_HOST: Final = web.AppKey("public_host", str)
PREFIX: Final = "/api/v1"
COOKIE: Final = "gengfu_login"
MAX_BODY: Final = 1024 * 1024
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
LIVE_ACT: Final = Act.WATCH
PUBLIC_PATHS: Final = ("/metrics", "/api/docs", f"{PREFIX}/openapi.json")
"""Beside the table: for everyone, without a login."""
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self' ws: wss:; "
        "frame-ancestors 'none'"
    ),
}
Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def route_table() -> list[tuple[str, Route]]:
    """Every route with its full path: the one place that knows them all."""
    subjects = (session_routes, equipment_routes, alarm_routes, ticket_routes, audit_routes, platform_routes)
    table = [(PREFIX + route.path, route) for subject in subjects for route in subject.ROUTES]
    return table + [(route.path, route) for route in platform_routes.ROOT_ROUTES]


def make_app(
    services: Services, feed: LiveFeed, web_app: Path | None, hosts: frozenset[str], public_url: str = ""
) -> web.Application:
    """The application.

    Args:
        services: what handlers work with.
        feed: the live feed.
        web_app: folder of the built page; None answers with a note how to build it.
        hosts: names under which the service may be addressed.
        public_url: a further address under which people reach it; "" for none.
    """
    public = _host_of(public_url)
    guard = _check_origin(hosts | {public} if public else hosts)
    app = web.Application(middlewares=[_answer_problems, guard], client_max_size=MAX_BODY)
    app[_PUBLIC_HOST] = public or ""
    document = msgspec.json.encode(make_document(route_table()))
    for path, route in route_table():
        app.router.add_route(route.method, path, _endpoint(route, services))
    app.router.add_get(f"{PREFIX}/live", _live(services, feed))
    app.router.add_get(f"{PREFIX}/openapi.json", _fixed(document, "application/json"))
    app.router.add_get("/api/docs", _docs)
    app.router.add_get("/metrics", _metrics(services))
    _add_page(app, web_app)
    app.on_response_prepare.append(_add_headers)
    return app


def _endpoint(route: Route, services: Services) -> Next:
    async def answer(request: web.Request) -> web.StreamResponse:
        cookie = request.cookies.get(COOKIE)
        person = services.accounts.whose(cookie, services.wall())
        _require(may(person.grants if person else None, route.act))
        call = Call(
            services, person, request.remote or "", request.match_info, _read_query(request, route),
            await _read_body(request, route), cookie,
        )  # fmt: skip
        return _respond(await _handle(route, call), route.status, request)

    return answer


async def _handle(route: Route, call: Call) -> msgspec.Struct | Reply:
    """Let the route answer. A database in trouble is nobody's mistake, and what it can never hold is the asker's."""
    try:
        return await route.handler(call)
    except DatabaseTrouble as error:
        log.warning("request not answered: the database is in trouble", path=route.path, why=str(error))
        raise ProblemError("database_unavailable", "nothing was changed; try again in a moment") from error
    except DataError as error:
        raise ProblemError("bad_request", "a text or number in it cannot be kept") from error


def _require(decision: Decision) -> None:
    if not decision.permitted:
        raise ProblemError("not_signed_in" if decision is Decision.NOT_SIGNED_IN else "forbidden")


def _read_query(request: web.Request, route: Route) -> Any:
    if route.query is None:
        return None
    try:
        return msgspec.convert(dict(request.query), route.query, strict=False)
    except msgspec.ValidationError as error:
        raise ProblemError("bad_query", str(error)) from error


async def _read_body(request: web.Request, route: Route) -> Any:
    if route.request is None:
        return None
    if request.content_type != "application/json":
        raise ProblemError("bad_request", "send JSON with Content-Type: application/json")
    try:
        return msgspec.json.decode(await request.read(), type=route.request)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProblemError("bad_request", str(error)) from error


def _respond(answer: msgspec.Struct | Reply, status: int, request: web.Request) -> web.Response:
    reply = answer if isinstance(answer, Reply) else Reply(answer, status)
    if reply.body is None:
        response = web.Response(status=reply.status)
    else:
        body = msgspec.json.encode(reply.body)
        response = web.Response(status=reply.status, body=body, content_type="application/json")
    if reply.cookie:
        response.set_cookie(COOKIE, reply.cookie, httponly=True, samesite="Lax", secure=request.secure, path="/")
    elif reply.cookie == "":
        response.del_cookie(COOKIE, path="/")
    return response


def _live(services: Services, feed: LiveFeed) -> Next:
    async def answer(request: web.Request) -> web.StreamResponse:
        _require_own_origin(request)
        person = services.accounts.whose(request.cookies.get(COOKIE), services.wall())
        _require(may(person.grants if person else None, LIVE_ACT))
        if person is None:
            raise ProblemError("not_signed_in")
        return await feed.serve(request, person)

    return answer


@web.middleware
async def _answer_problems(request: web.Request, handler: Next) -> web.StreamResponse:
    """Every error leaves as problem details; what is unexpected is logged here and says nothing outside."""
    try:
        return await handler(request)
    except ProblemError as problem:
        return problem_response(problem.code, problem.detail)
    except web.HTTPException as error:
        codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
        if error.status not in codes:
            raise
        response = problem_response(codes[error.status])
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception:
        log.exception("request failed", method=request.method, path=request.path)
        return problem_response("internal_error", "it has been logged; try again")


def _check_origin(hosts: frozenset[str]) -> Any:
    @web.middleware
    async def check(request: web.Request, handler: Next) -> web.StreamResponse:
        # Another site's page must not speak for the person at this browser, by name tricks neither.
        if _host_of(f"//{request.host}") not in hosts:
            raise ProblemError("foreign_origin", f"this service answers to {', '.join(sorted(hosts))} only")
        if request.method not in _SAFE:
            _require_own_origin(request)
        return await handler(request)

    return check


def _host_of(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:  # half an IPv6 address
        return None


def _require_own_origin(request: web.Request) -> None:
    origin = request.headers.get("Origin")
    if origin is None or origin.partition("://")[2] == request.host:
        return
    public = request.app[_PUBLIC_HOST]
    if not public or _host_of(origin) != public:
        raise ProblemError("foreign_origin")


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


def _fixed(body: bytes, content_type: str) -> Next:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type)

    return answer


def _metrics(services: Services) -> Next:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=generate_latest(services.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return answer


async def _docs(_request: web.Request) -> web.StreamResponse:
    """The API for people: plain HTML from the route table, nothing to load from elsewhere."""
    rows = "".join(
        f"<tr><td><code>{route.method}</code></td><td><code>{path}</code></td><td>{route.summary}</td>"
        f"<td><code>{route.act}</code></td></tr>"
        for path, route in route_table()
    )
    html = (
        "<!doctype html><meta charset=utf-8><title>Gengfu API</title><style>body{font:16px sans-serif;margin:2rem}"
        "td{padding:.3rem .8rem;border-bottom:1px solid #ccc}</style><h1>Gengfu API</h1>"
        f'<p>OpenAPI 3.1: <a href="{PREFIX}/openapi.json">openapi.json</a>. Live feed: <code>{PREFIX}/live</code>.</p>'
        f"<table><tr><th>Method<th>Path<th>What<th>Permission</tr>{rows}</table>"
    )
    return web.Response(text=html, content_type="text/html")


def _add_page(app: web.Application, folder: Path | None) -> None:
    if folder is None:
        app.router.add_get("/", _no_page)
        return
    index = folder / "index.html"

    async def page(_request: web.Request) -> web.StreamResponse:
        return web.FileResponse(index, headers={"Cache-Control": "no-cache"})

    app.router.add_get("/", page)
    app.router.add_get("/login", page)
    app.router.add_static("/assets", folder / "assets", append_version=False)
    for file in folder.iterdir():
        if file.is_file() and file.name != "index.html":
            app.router.add_get(f"/{file.name}", _file(file))


def _file(path: Path) -> Next:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.FileResponse(path)

    return answer


async def _no_page(_request: web.Request) -> web.StreamResponse:
    text = "The page is not built. Run `make demo` in the checkout, or install the wheel. The API is at /api/v1.\n"
    return web.Response(text=text, status=503)
