"""PostgreSQL: connections, transient errors, the write lock, and notifications of commits of other processes."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Callable
from typing import Any, Final

import asyncpg
import structlog
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.storage.database_errors import is_lock_timeout, sort_postgres, unreachable

log = structlog.get_logger(__name__)

_WRITERS_LOCK: Final = 0x6765_6E67
"""Key of the advisory lock that a transaction holds: one writer at a time, as on SQLite."""
_CHANNEL: Final = "gengfu_facts"
_CONNECT_S: Final = 5.0
_POOL_WAIT_S: Final = 10.0
_ASK_EVERY_S: Final = 30.0
WRITER_WAIT_S: Final = 10.0
"""How long to wait for the write lock; a session that has held it all that time is then ended."""
_NAME: Final = "gengfu"
_MIGRATION: Final = f"{_NAME} migration"
"""The only writer without a time limit."""
_GONE_S: Final = 10
"""Data that is not acknowledged for this long, on our side or the server's, ends the connection."""
_KEEP_ALIVE: Final = {"tcp_keepalives_idle": 5, "tcp_keepalives_interval": 2, "tcp_keepalives_count": 3}
"""Seconds, seconds, tries: a peer that is gone without closing is detected after 11 s."""
_SESSION: Final = {
    # A process that is suspended inside a transaction must not hold the lease longer than the lease lives.
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": f"{WRITER_WAIT_S:g}s",
    # When the peer is gone, its session and locks end too (ignored on a Unix socket).
    **{name: str(value) for name, value in _KEEP_ALIVE.items()},
    "tcp_user_timeout": f"{_GONE_S}s",
    "client_connection_check_interval": f"{_GONE_S}s",
    # Commits are durable, regardless of the server's own setting.
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "jit": "off",
}


def new_session_name() -> str:
    """The `application_name` of all sessions of one process, so that they can be ended together."""
    return f"{_NAME} {secrets.token_hex(8)}"


def make_engine(url: str, command_s: float | None, session_name: str, *, pool_size: int = 5) -> AsyncEngine:
    """Connections to a PostgreSQL; a statement that takes longer than `command_s` fails, here and at the server."""
    statement_ms = 0 if command_s is None else round(command_s * 1000)
    settings = {
        "application_name": session_name if command_s is not None else _MIGRATION,
        "statement_timeout": f"{statement_ms}ms",
        **_SESSION,
    }
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        pool_pre_ping=True,  # no request fails after a restart of the server
        pool_timeout=_POOL_WAIT_S,
        connect_args={
            "timeout": _CONNECT_S, "command_timeout": command_s, "server_settings": settings,
            "async_creator_fn": _connect,
        },
    )  # fmt: skip
    event.listen(engine.sync_engine, "handle_error", sort_postgres, retval=True)
    return engine


async def _connect(*arguments: Any, **options: Any) -> asyncpg.Connection:
    """Connect with asyncpg, with TCP keep-alives on our side too. Raises ServerUnreachable."""
    try:
        connection = await asyncpg.connect(*arguments, **options)
    except OSError as error:
        raise unreachable(error) from error
    # asyncpg has no parameter for this.
    raw = connection._transport.get_extra_info("socket")  # noqa: SLF001
    if raw is not None and raw.family in {socket.AF_INET, socket.AF_INET6}:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in zip(_TCP_KEEP_ALIVE, _KEEP_ALIVE.values(), strict=True):
            raw.setsockopt(socket.IPPROTO_TCP, option, value)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _GONE_S * 1000)
    return connection


_TCP_KEEP_ALIVE: Final = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)


async def end_sessions(connection: AsyncConnection, session_name: str) -> int:
    """End the sessions of a process that is presumed dead; its work is rolled back. Returns how many.

    A process that is suspended inside a statement counts as active: no time-out of the server ends it.
    """
    ended = await connection.scalars(text(_END.format(which="application_name = :name")), {"name": session_name})
    return len(ended.all())


async def end_stuck_writer(engine: AsyncEngine) -> None:
    """End the session that holds the write lock for too long: its process is suspended, or its network is gone."""
    async with engine.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        which = {"lock": _WRITERS_LOCK, "seconds": WRITER_WAIT_S, "migration": _MIGRATION}
        ended = (await alone.scalars(text(_END.format(which=_STUCK)), which)).all()
    if ended:
        log.error("sessions that blocked all writers were ended", processes=[int(pid) for pid in ended])


_END: Final = (
    # Found first, then ended: conditions of one WHERE are evaluated in any order. Only sessions of our own user, which
    # needs no further right.
    "WITH found AS MATERIALIZED (SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    " AND usename = current_user AND pid <> pg_backend_pid() AND {which})"
    " SELECT pid FROM found WHERE pg_terminate_backend(pid)"
)
_STUCK: Final = (
    "application_name <> :migration AND xact_start < clock_timestamp() - make_interval(secs => :seconds) AND pid IN "
    "(SELECT l.pid FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objid = :lock AND l.objsubid = 1 "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
)


async def wait_for_turn(connection: AsyncConnection) -> None:
    """Take the write lock until the transaction ends. So facts get their ids in the order of their commits.

    Raises:
        OperationalError: not available within `WRITER_WAIT_S`; a session that held it all that time has been ended.
    """
    try:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITERS_LOCK})
    except DBAPIError as error:
        if is_lock_timeout(error):
            await end_stuck_writer(connection.engine)
        raise


async def tell_others(connection: AsyncConnection) -> None:
    """Notify every process that waits for facts when the caller's transaction commits."""
    await connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": _CHANNEL})


async def listen(engine: AsyncEngine, notify: Callable[[], None]) -> None:
    """Call `notify` for each commit with facts, until the connection ends. Raises as any other use does."""
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        ended = asyncio.Event()
        driver.add_termination_listener(lambda _connection: ended.set())
        try:
            await driver.add_listener(_CHANNEL, lambda *_: notify())
            notify()  # what was committed before we listened
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_ASK_EVERY_S):
                        await ended.wait()
                if not ended.is_set():
                    await driver.execute("SELECT 1")  # detects a lost network
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:  # not yet classified
            raise ConnectionError(str(error)) from error
        finally:
            await connection.invalidate()
