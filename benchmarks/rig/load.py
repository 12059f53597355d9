"""A cheap publisher: packets are made in advance and sent in blocks over one socket (MQTT 3.1.1, QoS 1).

Run as a separate process: `python -m benchmarks.rig.load PORT MESSAGES PUMPS [RATE]`. Prints "ready", waits for a
line on standard input, sends (as fast as the broker accepts, or RATE messages a second), and prints the seconds until
the broker had acknowledged everything.
"""

import random
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator

import msgspec

_WINDOW = 8_000
"""Limit of messages that the broker has not acknowledged."""
_BLOCK = 500
_BLOCKS_A_SECOND = 100
"""At a given rate: small ones, as devices send them."""


def make_payload(number: int, pumps: int, at: int, rng: random.Random) -> bytes:
    """One pump's sample: five fields, well inside the limits but for one message in twenty thousand."""
    hot = number % 20_000 == 19_999
    return msgspec.json.encode(
        {
            "at": at,
            "seq": number // pumps,
            "discharge_pressure": round(rng.uniform(0.40, 0.50), 3),
            "flow": round(rng.uniform(10, 20), 2),
            "current_a": round(rng.uniform(8, 12), 2),
            "bearing_temperature": 95.0 if hot else round(rng.uniform(50, 60), 1),
            "vibration": round(rng.uniform(1, 2), 2),
        }
    )


def make_packet(topic: bytes, payload: bytes, mid: int) -> bytes:
    """A PUBLISH packet with QoS 1."""
    body = struct.pack("!H", len(topic)) + topic + struct.pack("!H", mid) + payload
    length, size = b"", len(body)
    while True:
        size, digit = divmod(size, 128)
        length += bytes([digit | (0x80 if size else 0)])
        if not size:
            return b"\x32" + length + body


def make_blocks(messages: int, pumps: int, rate: int) -> Iterator[tuple[int, bytes]]:
    """(messages, bytes) of each block. With a rate, samples have the time of sending; else they are 1 ms apart."""
    start_ms = time.time_ns() // 1_000_000
    rng = random.Random(1)
    size = min(rate // _BLOCKS_A_SECOND, _BLOCK) or _BLOCK
    for first in range(0, messages, size):
        numbers = range(first, min(first + size, messages))
        packets = [
            make_packet(
                f"gengfu/bench/pump/P-{number % pumps}/telemetry".encode(),
                make_payload(number, pumps, start_ms + (number * 1000 // rate if rate else number // pumps), rng),
                number % 65_535 + 1,
            )
            for number in numbers
        ]
        yield len(packets), b"".join(packets)


def connect(port: int) -> socket.socket:
    """A fresh session at the broker."""
    link = socket.create_connection(("127.0.0.1", port))
    name = f"load-{time.time_ns()}".encode()
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack("!H", len(name)) + name
    link.sendall(b"\x10" + bytes([len(body)]) + body)
    answer = link.recv(4)
    if answer != b"\x20\x02\x00\x00":
        raise ConnectionError(f"the broker responds with {answer.hex()}")
    return link


def paced(blocks: Iterable[tuple[int, bytes]], rate: float) -> Iterator[tuple[int, bytes]]:
    """Each block when it is due."""
    began, sent = time.perf_counter(), 0
    for count, block in blocks:
        time.sleep(max(0.0, began + sent / rate - time.perf_counter()))
        sent += count
        yield count, block


def send(link: socket.socket, blocks: Iterable[tuple[int, bytes]]) -> None:
    """Send all blocks and wait for the last acknowledgement (four bytes each)."""
    open_bytes = 0
    for count, block in blocks:
        link.sendall(block)
        open_bytes += 4 * count
        while open_bytes > 4 * _WINDOW:
            open_bytes -= len(link.recv(65_536))
    while open_bytes:
        open_bytes -= len(link.recv(65_536))


def main() -> None:
    port, messages, pumps, rate = (int(text) for text in [*sys.argv[1:], "0"][:4])
    made = make_blocks(messages, pumps, rate)
    blocks = paced(made, rate) if rate else list(made)
    link = connect(port)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    send(link, blocks)
    print(time.perf_counter() - began, flush=True)
    link.close()


if __name__ == "__main__":
    main()
