"""Long work in a thread that ends soon after the task that waits for it."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")
Stopping = Callable[[], None]
"""Called often by the work; raises `Stopped` when nobody waits for it any more."""


class Stopped(Exception):
    """Nobody waits for this work any more."""


class StoppableThread:
    """Runs work that calls `stopping` often, one piece after the other."""

    def __init__(self) -> None:
        self._gone = threading.Event()

    def stopping(self) -> None:
        """Raises Stopped when the task has been cancelled."""
        if self._gone.is_set():
            raise Stopped("the service stops; it is done another time")

    async def run(self, work: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        """Run `work` in a thread. A cancelled task waits for it to notice, so it leaves nothing behind."""
        running = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **options))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._gone.set()
            with contextlib.suppress(Exception):
                await running
            raise
