"""Shared by the benchmarks of the live feed: a publisher on one socket and a listener on the WebSocket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import msgspec

from benchmarks.rig.load import connect, make_packet

Message = dict[str, Any]


class Publisher:
    """Publishes with QoS 1 over one connection; responses of the broker are read and discarded."""

    def __init__(self, port: int) -> None:
        self._link = connect(port)
        self._link.setblocking(False)
        self._mid = 0
        asyncio.get_running_loop().add_reader(self._link, lambda: self._link.recv(65_536))

    async def publish(self, messages: list[tuple[str, Message]]) -> None:
        """Send all of them at once."""
        packets = []
        for topic, body in messages:
            self._mid = self._mid % 65_535 + 1
            packets.append(make_packet(topic.encode(), msgspec.json.encode(body), self._mid))
        await asyncio.get_running_loop().sock_sendall(self._link, b"".join(packets))

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._link)
        self._link.close()


@contextlib.asynccontextmanager
async def listening(http_port: int, receive: Callable[[Message], None]) -> AsyncIterator[None]:
    """Pass every message of the live feed to `receive`, from the snapshot on, while the block lasts."""
    async with aiohttp.ClientSession() as session:
        address = f"http://127.0.0.1:{http_port}/api/v1/live"
        async with session.ws_connect(address, max_msg_size=0) as socket:
            receive(await socket.receive_json())

            async def read() -> None:
                async for frame in socket:
                    receive(msgspec.json.decode(frame.data))
                raise ConnectionError("the live feed closed the connection")

            reading = asyncio.create_task(read())
            try:
                yield
            finally:
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading
