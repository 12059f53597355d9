"""Fails a test in which somebody, inside a transaction, does anything but talk to the database.

One transaction writes at a time: whoever reads a file, hashes a password or asks a network in it makes an alarm wait
for a slow disk or a far machine. In force for every test.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any, Final

from gateway.storage.database import Database
from gateway.storage.transaction import Transaction

_inside: Final[ContextVar[bool]] = ContextVar("inside_transaction", default=False)
_EVENTS: Final = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "subprocess.Popen"})
_OF_THE_PROGRAM: Final = (".py", ".pyc", ".so", ".pem", ".mako", ".ini")
_SMALL_AND_CACHED: Final = ("zoneinfo", "tzdata", "site-packages", "/lib/python", "/proc/", "/dev/", "migrations")
"""Parts of paths that are read once: code, and the rules of time zones."""
found: Final[list[str]] = []
"""What was done inside a transaction in this test."""


class Forbidden(AssertionError):
    """Something other than a statement was done inside a transaction."""


def forbid(what: str) -> None:
    """Raise, and keep it for the end of the test: somebody may catch it."""
    found.append(what)
    raise Forbidden(f"inside a transaction: {what}")


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _EVENTS or not _inside.get():
        return
    path = str(arguments[0])
    if event == "open" and (path.endswith(_OF_THE_PROGRAM) or any(part in path for part in _SMALL_AND_CACHED)):
        return
    forbid(f"{event} {path}")


def install() -> None:
    """Once a process."""
    begin, run = Database.transaction, asyncio.base_events.BaseEventLoop.run_in_executor

    @contextlib.asynccontextmanager
    async def transaction(self: Database) -> AsyncIterator[Transaction]:
        async with begin(self) as begun:
            _inside.set(True)
            try:
                yield begun
            finally:
                _inside.set(False)

    def run_in_executor(self: Any, executor: Any, work: Any, *arguments: Any) -> Any:
        if _inside.get():
            forbid(f"work in a thread: {work}")
        return run(self, executor, work, *arguments)

    Database.transaction = transaction  # type: ignore[method-assign]
    asyncio.base_events.BaseEventLoop.run_in_executor = run_in_executor  # type: ignore[method-assign,assignment]
    sys.addaudithook(_look)


def checked() -> Iterator[None]:
    """One test: what was found in it fails it."""
    found.clear()
    yield
    said, found[:] = list(found), []
    assert not said, f"inside a transaction: {said}"
