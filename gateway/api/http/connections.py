"""Connections of the HTTP server: limit per address, timeouts, and requests that are not HTTP.

aiohttp closes a connection that is idle between requests or never sends a complete head. This module adds a limit per
address, the answer to a request that cannot be parsed, and the timeout of a body (`server.py` and `attachments.py`
read bodies).
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, cast

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from gateway.api.http.addresses import Entrance, unmapped
from gateway.api.http.problems import problem_for, problem_response
from gateway.people.authentication.throttle import network_of

log = structlog.get_logger(__name__)

IDLE_S: Final = 75.0
"""A connection without a complete request is closed after this time. nginx keeps its own for 60 s."""
HEAD_S: Final = 20.0
"""From the first byte of a head to its last."""
BODY_S: Final = 30.0
"""From the head to the last byte of a JSON body, which has at most 1 MiB."""
_LINGER_S: Final = 5.0
"""How long the rest of a refused body is read, so that the answer arrives."""
_LOG_EVERY_S: Final = 60.0


class ConnectionMetrics:
    """Connections and requests that were refused before they were handled."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.refused = Counter(
            "gengfu_http_connections_refused", "Connections closed because one address had too many", registry=registry
        )
        self.malformed = Counter(
            "gengfu_http_malformed", "Requests that are not HTTP, answered with 400", registry=registry
        )
        self.timed_out = Counter(
            "gengfu_http_timed_out", "Connections closed because a request head did not arrive", registry=registry
        )


class ConnectionLimit:
    """Counts connections by address."""

    def __init__(self, most: int, metrics: ConnectionMetrics, is_free: Callable[[str], bool]) -> None:
        """Make it.

        Args:
            most: connections of one address at a time.
            metrics: counts what is refused.
            is_free: whether an address has no limit: that of our own reverse proxy.
        """
        self.metrics = metrics
        self._most = most
        self._is_free = is_free
        self._open: dict[str, int] = {}
        self._logged_at = -_LOG_EVERY_S

    def enter(self, peer: str, now: float) -> str | None:
        """The key for `leave`, "" for an address that is not counted; None: refuse it. `now` in seconds."""
        if self._is_free(peer):
            return ""
        name = network_of(peer)
        if self._open.get(name, 0) >= self._most:
            self.metrics.refused.inc()
            if now - self._logged_at >= _LOG_EVERY_S:
                self._logged_at = now
                log.warning("an address has too many connections; more are refused", address=name, most=self._most)
            return None
        self._open[name] = self._open.get(name, 0) + 1
        return name

    def leave(self, name: str) -> None:
        """A connection has ended."""
        left = self._open.pop(name, 0) - 1
        if left > 0:
            self._open[name] = left


class _Answered(ConnectionError):
    """The answer has been written to the socket; the connection ends."""


class Connection(web.RequestHandler):
    """One connection."""

    __slots__ = ("_counted_as", "_head_timer", "_limit")

    def __init__(self, server: web.Server, limit: ConnectionLimit, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=IDLE_S,
            lingering_time=_LINGER_S,
            access_log=None,  # type: ignore[arg-type]  # None turns it off
        )
        self._limit = limit
        self._counted_as: str | None = None
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse a connection beyond the limit before anything is read."""
        peer = transport.get_extra_info("peername")
        address = unmapped(peer[0]) if isinstance(peer, tuple) else ""
        self._counted_as = self._limit.enter(address, self._loop.time())
        if self._counted_as is None:
            cast("asyncio.Transport", transport).abort()
            return
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: also if the peer reads nothing
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(IDLE_S * 1000))
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Release the connection's slot."""
        self._stop_head_timer()
        if self._counted_as:
            self._limit.leave(self._counted_as)
        self._counted_as = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A started head must end in time: aiohttp checks only idle connections, and only now and then."""
        before = self._request_count
        super().data_received(data)
        if self._request_count > before or self._current_request is not None or self._messages:
            self._stop_head_timer()
        elif data and self._head_timer is None and self._waiter is not None:
            self._head_timer = self._loop.call_later(HEAD_S, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._current_request is None and not self._messages:
            self._limit.metrics.timed_out.inc()
            self.force_close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer a request that is not HTTP: one log line, and nothing about the software in the answer."""
        if isinstance(exc, _Answered):
            raise exc
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        self._limit.metrics.malformed.inc()
        log.warning("a request is not HTTP", address=request.remote, why=type(exc).__name__)
        if self.transport is not None:
            self.transport.write(_BAD_REQUEST)
        raise _Answered("the answer has been written")

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Requests that aiohttp itself refuses get a problem answer too."""
        if isinstance(resp, web.HTTPException) and resp.status >= 400:
            resp = problem_for(resp)
            resp.force_close()
        return await super().finish_response(request, resp, start_time)


def _plain_bytes(response: web.Response) -> bytes:
    body = cast("bytes", response.body)
    lines = [
        f"HTTP/1.1 {response.status} Bad Request", f"Content-Type: {response.content_type}",
        f"Content-Length: {len(body)}", "X-Content-Type-Options: nosniff", "Cache-Control: no-store",
        "Connection: close",
    ]  # fmt: skip
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


_BAD_REQUEST: Final = _plain_bytes(problem_response("bad_request", "this is not an HTTP request"))


@asynccontextmanager
async def listening(
    app: web.Application, host: str, port: int, tls: ssl.SSLContext | None, limit: ConnectionLimit
) -> AsyncIterator[int]:
    """Serve an application while the block lasts. Yields the port. Raises OSError."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    loop = asyncio.get_running_loop()
    server: asyncio.Server | None = None
    try:
        handler = cast("web.Server", runner.server)
        server = await loop.create_server(
            lambda: Connection(handler, limit, loop), host, port, ssl=tls, backlog=128, reuse_address=True,
            ssl_handshake_timeout=HEAD_S if tls else None,
        )  # fmt: skip
        yield server.sockets[0].getsockname()[1]
    finally:
        if server is not None:
            server.close()
        await runner.cleanup()


def limit_of(entrance: Entrance, most: int, registry: CollectorRegistry) -> ConnectionLimit:
    """The connection limit for these addresses."""

    def is_our_proxy(peer: str) -> bool:
        return entrance.behind_proxy and entrance.trusts(peer)

    return ConnectionLimit(most, ConnectionMetrics(registry), is_our_proxy)
