"""Long-running work in a thread that ends soon after its task is cancelled."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")
Stopping = Callable[[], None]
"""Called often by the work; raises `Stopped` when its task was cancelled."""


class Stopped(Exception):
    """The task of this work was cancelled."""


class StoppableThread:
    """Runs work that calls `stopping` often, one call at a time."""

    def __init__(self) -> None:
        self._gone = threading.Event()

    def stopping(self) -> None:
        """Raises Stopped when the task has been cancelled."""
        if self._gone.is_set():
            raise Stopped("the service is stopping; the work is postponed")

    async def run(self, work: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        """Run `work` in a thread. A cancelled task waits until the work has stopped and cleaned up."""
        running = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **options))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._gone.set()
            with contextlib.suppress(Exception):
                await running
            raise
