"""Connections of the HTTP server, over real sockets: what is never finished ends, what is no HTTP says nothing."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway.api.http import connections, server
from gateway.api.http.addresses import Entrance
from gateway.api.http.connections import ConnectionLimit, limit_of, listening
from gateway.api.http.rate_limits import Pace, Paces
from gateway.api.http.server import make_app
from gateway.storage.database import Database
from tests.builders.alarms import sqlite_address
from tests.servers.api_server import COOKIE, ApiServer, open_api_server
from tests.servers.waiting import until

ENTRANCE = Entrance(paces=Paces(Pace(1e6, 1e6), Pace(1e6, 1e6)))
HEAD = b"Host: 127.0.0.1\r\n"
POST = b"POST /api/v1/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
LOGIN = f"Cookie: {COOKIE}=login-of-admin\r\n".encode()


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


class Listener:
    """The service's own way of listening, on a free port."""

    def __init__(self, port: int, limit: ConnectionLimit) -> None:
        self.port = port
        self.limit = limit

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, *parts: bytes) -> bytes:
        """Send, and read until the server closes."""
        reader, writer = await self.connect()
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            await close(writer)


@pytest.fixture
async def api(migrated_file: Path, tmp_path: Path) -> AsyncIterator[ApiServer]:
    """On SQLite only: nothing here has to do with the database."""
    shutil.copy(migrated_file, tmp_path / "gengfu.db")
    database = Database(sqlite_address(tmp_path / "gengfu.db"))
    async with open_api_server(database, tmp_path) as api:
        yield api
    await database.close()


@pytest.fixture
async def listener(api: ApiServer) -> AsyncIterator[Listener]:
    registry = CollectorRegistry()  # that of the api has an application already
    limit = limit_of(ENTRANCE, 20, registry)
    app = make_app(api.services._replace(registry=registry), api.feed, None, ENTRANCE)
    async with listening(app, "127.0.0.1", 0, None, limit) as port:
        yield Listener(port, limit)


def counted(listener: Listener, name: str) -> float:
    return float(getattr(listener.limit.metrics, name)._value.get())


SLOW = [
    b"",
    b"GET /healthz HT",
    b"GET /healthz HTTP/1.1\r\n" + HEAD,
    POST + b"Content-Length: 50\r\n\r\n{",
    POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    b"POST /api/v1/nowhere HTTP/1.1\r\n" + HEAD + b"Content-Length: 50\r\n\r\n{",
    b"GET /healthz HTTP/1.1\r\n" + HEAD + b"\r\n",
]  # fmt: skip


@pytest.fixture
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IDLE_S", "HEAD_S", "_LINGER_S"):
        monkeypatch.setattr(connections, name, 0.3)
    monkeypatch.setattr(server, "BODY_S", 0.3)


@pytest.mark.parametrize("sent", SLOW, ids=["nothing", "line", "head", "body", "chunk", "refused", "keep-alive"])
@pytest.mark.usefixtures("short_times")
async def test_what_is_half_sent_is_ended(listener: Listener, sent: bytes) -> None:
    answer = await listener.say(sent)
    assert not answer or answer.startswith((b"HTTP/1.1 408", b"HTTP/1.1 404", b"HTTP/1.1 200"))


@pytest.mark.usefixtures("short_times")
async def test_a_head_that_comes_a_letter_at_a_time_is_ended(listener: Listener) -> None:
    """Slow loris: each letter comes in time, the whole never does."""
    reader, writer = await listener.connect()
    writer.write(b"GET /")
    ended = asyncio.create_task(reader.read())
    with contextlib.suppress(ConnectionError):
        while not ended.done():
            writer.write(b"a")
            await asyncio.wait([ended], timeout=0.05)
    with contextlib.suppress(ConnectionError):  # what was on its way meets a socket that is closed
        assert await ended == b""
    await close(writer)
    assert counted(listener, "timed_out") == 1


@pytest.mark.usefixtures("short_times")
async def test_a_slow_live_socket_is_not_taken_for_a_silent_connection(api: ApiServer, listener: Listener) -> None:
    reader, writer = await listener.connect()
    writer.write(
        b"GET /api/v1/live HTTP/1.1\r\n" + HEAD + LOGIN + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 101")
    beats = 0
    async with asyncio.timeout(20):
        while beats < 2:  # each comes a second after the one before: longer than anything else may be silent
            beats += (await reader.read(65_536)).count(b'"beat"')
    await close(writer)
    await until(lambda: api.feed.listeners == 0, "the server has seen it go")


@pytest.mark.usefixtures("short_times")
async def test_a_body_that_moves_slowly_but_is_read_by_its_handler_is_not_cut_off(listener: Listener) -> None:
    """As an attachment is: its handler has a time of its own."""
    app, got = web.Application(), asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        body = await request.content.read()
        got.set()
        return web.Response(body=body)

    app.router.add_post("/", take)
    async with listening(app, "127.0.0.1", 0, None, listener.limit) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: 8\r\nConnection: close\r\n\r\n")
        for _ in range(8):
            writer.write(b"x")
            await asyncio.wait([asyncio.create_task(got.wait())], timeout=0.1)
        assert (await reader.read()).endswith(b"xxxxxxxx")
        await close(writer)


async def test_one_address_has_a_bounded_number_of_connections(listener: Listener) -> None:
    held = [await listener.connect() for _ in range(20)]
    await until(lambda: sum(listener.limit._open.values()) == 20, "all are counted")
    reader, writer = await listener.connect()
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    assert counted(listener, "refused") == 1
    await close(writer)
    for _, one in held:
        await close(one)
    await until(lambda: not listener.limit._open, "their places are given back")
    assert (await listener.say(b"GET /healthz HTTP/1.1\r\n" + HEAD + b"Connection: close\r\n\r\n")).startswith(
        b"HTTP/1.1 200"
    )


def test_a_reverse_proxy_of_ours_has_no_limit() -> None:
    behind = Entrance(public_url="https://x.example", behind_proxy=True, trusted_proxies=("10.1.0.0/16",))
    limit = limit_of(behind, 1, CollectorRegistry())
    assert [limit.enter("10.1.2.3", 0.0) for _ in range(3)] == ["", "", ""]
    assert [limit.enter("203.0.113.9", 0.0) for _ in range(2)] == ["203.0.113.9", None]


MALFORMED = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/9.9\r\n\r\n",
    b"no http at all\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n bad folding\x00\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * 20_000 + b"\r\n\r\n",
    b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: minus\r\n\r\n",
]


@pytest.mark.parametrize("sent", MALFORMED)
async def test_what_is_no_http_is_one_line_in_the_log_a_problem_and_counted(
    listener: Listener, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with structlog.testing.capture_logs() as logged:
        answer = await listener.say(sent)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer
    assert b'"code":"bad_request"' in answer
    assert b"nosniff" in answer
    assert b"Server:" not in answer
    assert [entry["event"] for entry in logged] == ["a request is not HTTP"]
    assert caplog.records == [], "no traceback by way of aiohttp's own logger"
    assert counted(listener, "malformed") == 1


ANSWERS = [
    (b"GET /healthz HTTP/1.1\r\n" + HEAD, b"200"),
    (b"HEAD /healthz HTTP/1.1\r\n" + HEAD, b"405"),
    (b"OPTIONS /api/v1/alarms HTTP/1.1\r\n" + HEAD, b"405"),
    (b"TRACE / HTTP/1.1\r\n" + HEAD, b"405"),
    (b"GET /nowhere HTTP/1.1\r\n" + HEAD, b"404"),
    (b"GET /api/v1/alarms HTTP/1.1\r\n" + HEAD, b"401"),
    (b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n", b"403"),
    (POST + b"Content-Length: 2\r\nExpect: a-miracle\r\n", b"400"),
    (POST + b"Content-Length: 9999999\r\n", b"413"),
    (POST + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", b"400"),
    (b"GET /api/v1/live HTTP/1.1\r\n" + HEAD + LOGIN, b"400"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "status"), ANSWERS, ids=[f"{sent[:24]!r} {status!r}" for sent, status in ANSWERS])
async def test_every_answer_is_of_our_own_form_and_names_no_software(
    listener: Listener, sent: bytes, status: bytes
) -> None:
    line, _, rest = sent.partition(b"\r\n")
    head, _, body = rest.partition(b"\r\n\r\n")
    head = line + b"\r\nConnection: close\r\n" + head.removesuffix(b"\r\n")
    answer = await listener.say(head + b"\r\n\r\n" + (body or b"{}" * line.startswith(b"POST")))
    assert answer.split(b" ", 2)[1] == status, answer
    found = answer.split(b"\r\n\r\n")[0].lower()
    assert b"server:" not in found
    assert b"x-content-type-options: nosniff" in found
    if status != b"200":
        assert b"content-type: application/problem+json" in found
