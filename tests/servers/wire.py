"""MQTT by hand: packets for tests that must say exactly which bytes come when, and a quick way to publish."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterable

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, DISCONNECT = 0x10, 0x20, 0x30, 0x40, 0x82, 0x90, 0xE0
_WAVE = 1_000
Item = tuple[str, bytes]
"""Topic and payload."""


def packet(head: int, body: bytes) -> bytes:
    length, rest = bytearray(), len(body)
    while True:
        rest, digit = divmod(rest, 128)
        length.append(digit | (0x80 if rest else 0))
        if not rest:
            return bytes([head]) + bytes(length) + body


def publish(topic: str | bytes, payload: bytes, mid: int = 0, properties: bytes | None = None) -> bytes:
    """A PUBLISH packet: of QoS 1 with a packet id, of QoS 0 without; `properties` (not None) for MQTT 5."""
    name = topic if isinstance(topic, bytes) else topic.encode()
    body = struct.pack("!H", len(name)) + name + (struct.pack("!H", mid) if mid else b"")
    if properties is not None:
        body += packet(0, properties)[1:]
    return packet(PUBLISH | (0x02 if mid else 0), body + payload)


async def send(port: int, items: Iterable[Item]) -> None:
    """Publish with QoS 1; return when the broker has acknowledged everything."""
    await asyncio.to_thread(_send, port, list(items))


def _send(port: int, items: list[Item]) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        hello = b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack("!H", 0)
        connection.sendall(packet(CONNECT, hello))
        answers = connection.makefile("rb")
        assert answers.read(4)[3] == 0, "the broker does not let the sender in"
        for first in range(0, len(items), _WAVE):
            wave = items[first : first + _WAVE]
            connection.sendall(b"".join(publish(*item, mid) for mid, item in enumerate(wave, 1)))
            acknowledged = answers.read(4 * len(wave))
            assert acknowledged[::4] == bytes([PUBACK]) * len(wave)
        connection.sendall(packet(DISCONNECT, b""))
        answers.close()


class Peer:
    """The fake broker's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> tuple[int, bytes]:
        """The next packet: its first byte and its body (shorter than 128 bytes)."""
        async with asyncio.timeout(20):
            head, size = await self._reader.readexactly(2)
            return head, await self._reader.readexactly(size)

    async def expect(self, head: int) -> bytes:
        found, body = await self.read()
        assert found == head, f"expected packet {head:#x}, found {found:#x}"
        return body

    def send(self, *packets: bytes) -> None:
        self._writer.write(b"".join(packets))

    async def let_in(self, granted: int = 1) -> None:
        """Accept the connection and its one subscription."""
        self.send(packet(CONNACK, b"\x00\x00"))
        await self.answer_subscription(granted)

    async def answer_subscription(self, granted: int) -> None:
        self.send(packet(SUBACK, (await self.expect(SUBSCRIBE))[:2] + bytes([granted])))

    async def hang_up(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class FakeBroker:
    """A fake that speaks MQTT 3.1.1 and does what no real broker does on command."""

    def __init__(self) -> None:
        self.port = 0
        self._arrivals: asyncio.Queue[Peer] = asyncio.Queue()

    async def accept(self) -> Peer:
        """The next connection, when its CONNECT has come."""
        async with asyncio.timeout(20):
            peer = await self._arrivals.get()
        await peer.expect(CONNECT)
        return peer


@contextlib.asynccontextmanager
async def fake_broker() -> AsyncIterator[FakeBroker]:
    fake, peers = FakeBroker(), list[Peer]()

    async def arrive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        peers.append(peer)
        await fake._arrivals.put(peer)

    server = await asyncio.start_server(arrive, "127.0.0.1", 0)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        for peer in peers:
            await peer.hang_up()
        await server.wait_closed()
