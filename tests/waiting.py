"""Waiting in tests: for a condition, with a deadline, never for a length of time."""

import asyncio
import time
from collections.abc import Callable

WITHIN_S = 10.0
"""Generous: a deadline says that something hangs, not that it is slow."""


async def until(condition: Callable[[], object], what: str, within_s: float = WITHIN_S) -> None:
    """Return when the condition holds; fail with `what` after the deadline."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {within_s:g} s in vain until {what}"
        await asyncio.sleep(0.01)
