"""Looks at a service's live feed as a control room does, and notes when each alarm was first seen."""

import asyncio
import threading
import time
from types import TracebackType
from typing import Self

from aiohttp import ClientError, ClientSession, WSMsgType


class AlarmWatch:
    """A listener in a thread of its own; it connects again when the service comes back."""

    def __init__(self, http_port: int) -> None:
        self.seen: dict[tuple[str, str], float] = {}
        """(rule, part) -> time.monotonic() of the first message about it."""
        self._url = f"http://127.0.0.1:{http_port}/api/v1/live"
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())
        self._thread.join(10)
        self._loop.close()

    def _run(self) -> None:
        self._task = self._loop.create_task(self._listen())
        self._loop.run_until_complete(asyncio.gather(self._task, return_exceptions=True))

    async def _listen(self) -> None:
        async with ClientSession() as session:
            while True:
                try:
                    async with session.ws_connect(self._url) as socket:
                        async for message in socket:
                            if message.type is WSMsgType.TEXT:
                                self._note(message.json())
                except (ClientError, OSError):
                    await asyncio.sleep(0.1)

    def _note(self, message: dict[str, object]) -> None:
        if message["type"] == "alarm":
            alarm = message["alarm"]
            assert isinstance(alarm, dict)
            self.seen.setdefault((alarm["rule"], alarm["part"]), time.monotonic())
