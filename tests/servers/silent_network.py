"""Stands between a service and a server, and swallows everything when told: a network that is gone without a word."""

import asyncio
import contextlib

from tests.servers.loop_thread import LoopThread


class SilentNetwork(LoopThread):
    """Passes bytes on; while it is silent, connections stay open, nothing arrives, and none is closed."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = 0
        self._upstream = port
        self._passes = asyncio.Event()
        self._passes.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def fall_silent(self) -> None:
        """Swallow everything from now on."""
        self._loop.call_soon_threadsafe(self._passes.clear)

    def speak(self) -> None:
        """Pass everything on again, what was held back first."""
        self._loop.call_soon_threadsafe(self._passes.set)

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        for source, target in ((reader, upstream_writer), (upstream_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(1 << 16):
                await self._passes.wait()
                target.write(data)
                await target.drain()
        await self._passes.wait()  # not even an end gets through
        target.close()
