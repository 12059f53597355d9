"""Waiting in tests: for a condition, with a deadline, never for a length of time."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from tests.servers.mosquitto import Mosquitto

WITHIN_S = 10.0
"""Generous: a deadline says that something hangs, not that it is slow."""


async def until(condition: Callable[[], object], what: str, within_s: float = WITHIN_S) -> None:
    """Return when the condition holds; fail with `what` after the deadline."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {within_s:g} s in vain until {what}"
        await asyncio.sleep(0.01)


async def parted(mosquitto: Mosquitto, client_id: str = "gengfu", times: int = 1) -> None:
    """Return when the broker has read all that a client sent, its good-bye last.

    Before that a new connection takes the session over, and acknowledgements that were not read yet are gone.
    """
    log, said = mosquitto.folder / "mosquitto.log", f"Client {client_id} disconnected."
    await until(lambda: log.read_text().count(said) >= times, "the broker has heard the good-bye")


async def until_awaited(condition: Callable[[], Awaitable[object]], what: str, within_s: float = WITHIN_S) -> None:
    """The same for a condition that has to be asked for."""
    deadline = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < deadline, f"waited {within_s:g} s in vain until {what}"
        await asyncio.sleep(0.01)
