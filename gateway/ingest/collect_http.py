"""HTTP of `gengfu collect`: a malformed request is answered with 400, counted, and logged in one line.

`gengfu serve` has more (`gateway.api.http.connections`): a collector has no users and no limits by address.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, cast

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

log = structlog.get_logger(__name__)

_IDLE_S: Final = 75.0
"""A connection without a complete request for this long is closed."""
_BAD_REQUEST: Final = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class _Answered(ConnectionError):
    """The answer has been written by hand; the connection ends."""


class _Connection(web.RequestHandler):
    __slots__ = ("_malformed",)

    def __init__(self, server: web.Server, malformed: Counter, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(server, loop=loop, keepalive_timeout=_IDLE_S, access_log=None)  # type: ignore[arg-type]  # None turns it off
        self._malformed = malformed

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if isinstance(exc, _Answered):
            raise exc
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        self._malformed.inc()
        log.warning("a request is not valid HTTP", address=request.remote, why=type(exc).__name__)
        if self.transport is not None:
            self.transport.write(_BAD_REQUEST)
        raise _Answered("the answer has been written")


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int, registry: CollectorRegistry) -> AsyncIterator[int]:
    """Serve an application while the block lasts. Yields the port. Raises OSError."""
    malformed = Counter("gengfu_http_malformed", "Malformed requests, answered with 400", registry=registry)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    loop, handler = asyncio.get_running_loop(), cast("web.Server", runner.server)
    server: asyncio.Server | None = None
    try:
        server = await loop.create_server(
            lambda: _Connection(handler, malformed, loop), host, port, backlog=128, reuse_address=True
        )
        yield server.sockets[0].getsockname()[1]
    finally:
        if server is not None:
            server.close()
        await runner.cleanup()
