"""The checks of every request, in this order: host, origin, rate limit, login, permission."""

import time
from typing import Final

import msgspec
from aiohttp import web

from gateway.api.http.addresses import Entrance, is_loopback, unmapped
from gateway.api.http.problems import ProblemError
from gateway.api.http.rate_limits import RateLimits
from gateway.people.authentication.logins import ClientInfo, Session, Way
from gateway.people.authentication.throttle import network_of
from gateway.people.people import People
from gateway.people.permissions import Decision, Permission, may
from gateway.storage.database_errors import DatabaseTrouble

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITE: Final = frozenset({"same-origin", "none"})
"""Sec-Fetch-Site as a browser sends it from our own page, and for a typed address."""
_FORWARDED: Final = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")
_AGENT_LENGTH: Final = 200


class Caller(msgspec.Struct, frozen=True):
    """The caller of a request, and their address. `secret` is the cookie or token as it was sent."""

    session: Session | None
    place: ClientInfo
    secret: str


class Admission:
    """Admits or refuses requests."""

    def __init__(self, people: People, entrance: Entrance) -> None:
        self.entrance = entrance
        self._people = people
        self._limits = RateLimits()

    def check_source(self, request: web.Request) -> None:
        """Refuse requests from other sites' pages, by DNS rebinding too, and requests that bypass the proxy."""
        entrance = self.entrance
        if not entrance.answers_to(request.host):
            raise ProblemError("foreign_origin", "the service does not answer under this name; set http.public_url")
        if entrance.behind_proxy and not entrance.trusts(unmapped(request.remote or "")):
            raise ProblemError("not_by_proxy", "this address is not among http.trusted_proxies")
        if request.method not in _SAFE:
            self.require_own_origin(request)

    def require_own_origin(self, request: web.Request) -> None:
        """Require that a changing request, or a live feed, comes from our own page or from no page at all."""
        origin = request.headers.get("Origin")
        if origin is not None and not self.entrance.is_own_origin(origin, request.host):
            raise ProblemError("foreign_origin")
        if origin is None and request.headers.get("Sec-Fetch-Site", "none") not in _OWN_SITE:
            raise ProblemError("foreign_origin")

    async def admit(self, request: web.Request, act: Permission, now: int) -> Caller:
        """The caller, if permitted. Raises ProblemError."""
        caller = await self._caller(request, act, now)
        session = caller.session
        decision = may(session.person.grants if session else None, act)
        if not decision.permitted:
            raise ProblemError("not_signed_in" if decision is Decision.NOT_SIGNED_IN else "forbidden")
        if session is not None:
            self._people.logins.note_use(session, now)
        return caller

    async def _caller(self, request: web.Request, act: Permission, now: int) -> Caller:
        entrance, logins = self.entrance, self._people.logins
        address = entrance.address_of(unmapped(request.remote or ""), request.headers.getall("X-Forwarded-For", ()))
        device = request.cookies.get(entrance.device_cookie, "")
        place = ClientInfo(address, request.headers.get("User-Agent", "")[:_AGENT_LENGTH], device)
        local = logins.local() if self._is_local(request) else None
        if local is not None:
            return Caller(local, place, "")
        secret, way = self._secret(request)
        self._pace(secret, address)
        try:
            return Caller(await logins.whose(secret, way, now), place, secret)
        except DatabaseTrouble:
            if act is not Permission.PUBLIC:
                raise
            return Caller(None, place, secret)  # readiness is answered also while the service is not ready

    def _secret(self, request: web.Request) -> tuple[str, Way]:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.casefold() == "bearer":
            return token.strip(), Way.TOKEN
        return request.cookies.get(self.entrance.login_cookie, ""), Way.COOKIE

    def _pace(self, secret: str, address: str) -> None:
        """Callers with a login are counted by login: a whole site may share one address."""
        paces = self.entrance.paces
        if self._people.logins.is_known(secret):
            wait = self._limits.wait(f"login {secret}", paces.login, time.monotonic())
        else:
            wait = self._limits.wait(network_of(address), paces.address, time.monotonic())
        if wait:
            raise ProblemError("too_many_requests", "wait a moment", retry_after=wait)

    def _is_local(self, request: web.Request) -> bool:
        """Whether the request comes from this machine itself; one that a proxy has passed on does not."""
        return (
            self.entrance.local
            and is_loopback(unmapped(request.remote or ""))
            and not any(name in request.headers for name in _FORWARDED)
        )
