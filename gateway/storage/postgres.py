"""PostgreSQL: how we connect to it, which of its errors pass by themselves, and who tells us what others committed."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

_WRITERS_LOCK: Final = 0x6765_6E67
"""Key of the advisory lock that a transaction holds: one writer at a time, as on SQLite."""
_CHANNEL: Final = "gengfu_facts"
_CONNECT_S: Final = 5.0
_POOL_WAIT_S: Final = 10.0
_ASK_EVERY_S: Final = 30.0
_SESSION: Final = {
    "application_name": "gengfu",
    # A process that sleeps in the middle of a transaction must not hold the lease longer than the lease lives.
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "10s",
    # What is committed is on disk, whatever the server's own setting says.
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "jit": "off",
}
_PASSING_CLASSES: Final = frozenset({"08", "28", "3D", "40", "53", "57", "58"})
"""SQLSTATE classes: no connection, no login, no database, rolled back, no room, shutting down, I/O error."""
_PASSING: Final = frozenset({"25006", "25P03", "55P03"})
"""Read-only (a standby answers), idle for too long in a transaction, a lock that was not to be had."""
_REFUSED_CLASSES: Final = frozenset({"28", "3D"})
_BAD_DATA_CLASS: Final = "22"
"""A value that its column can never hold: too long, too large, a letter that is none."""


def make_engine(url: str, command_s: float | None) -> AsyncEngine:
    """Connections to a PostgreSQL; a statement that takes longer than `command_s` fails."""
    engine = create_async_engine(
        url,
        pool_pre_ping=True,  # a server that was restarted costs nobody a request
        pool_timeout=_POOL_WAIT_S,
        connect_args={"timeout": _CONNECT_S, "command_timeout": command_s, "server_settings": _SESSION},
    )
    event.listen(engine.sync_engine, "handle_error", _sort_out, retval=True)
    return engine


def _sort_out(context: ExceptionContext) -> BaseException | None:
    """The driver has one class for nearly all that a server says; the code tells what passes from what never will."""
    error = context.original_exception
    state = _state(error)
    if state[:2] == _BAD_DATA_CLASS:
        return DataError(context.statement, None, error)
    passes = state[:2] in _PASSING_CLASSES or state in _PASSING
    if isinstance(error.__cause__, asyncpg.InternalClientError):  # a session that is just being ended confuses it
        context.is_disconnect = passes = True
    return OperationalError(context.statement, None, error) if passes else None


def is_refusal(error: BaseException) -> bool:
    """Whether the server answers and will not have us: wrong password, no such user, no such database."""
    return isinstance(error, DBAPIError) and _state(error.orig)[:2] in _REFUSED_CLASSES


def _state(error: BaseException | None) -> str:
    return str(getattr(error, "sqlstate", None) or "")


async def wait_for_turn(connection: AsyncConnection) -> None:
    """Become the one writer until the transaction ends. So facts get their ids in the order of their commits."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITERS_LOCK})


async def tell_others(connection: AsyncConnection) -> None:
    """Wake every process that waits for facts, when the caller's transaction is committed."""
    await connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": _CHANNEL})


async def listen(engine: AsyncEngine, heard: Callable[[], None]) -> None:
    """Call `heard` for each commit that told of facts, until the connection ends. Raises as any other use does."""
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        ended = asyncio.Event()
        driver.add_termination_listener(lambda _connection: ended.set())
        try:
            await driver.add_listener(_CHANNEL, lambda *_: heard())
            heard()  # what was committed before we listened
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_ASK_EVERY_S):
                        await ended.wait()
                if not ended.is_set():
                    await driver.execute("SELECT 1")  # a network that is gone says nothing by itself
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:  # past SQLAlchemy, so nobody has sorted it
            raise ConnectionError(str(error)) from error
        finally:
            await connection.invalidate()
