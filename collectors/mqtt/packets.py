"""Parses PUBLISH packets from the bytes of a socket (MQTT 3.1.1 and 5, section 3.3 of both).

paho reads a packet in three reads, two of them of one byte, and spends more time on it than all later processing. paho
still handles packets of any other type. A packet above the permitted size is never held as a whole: its first bytes
are kept, the others are dropped as they arrive.
"""

import ssl
from typing import Any, Final, NamedTuple

PUBLISH: Final = 0x30
QOS_2: Final = 0x04
DUP: Final = 0x08
RETAIN: Final = 0x01
OVERSIZE_HEAD: Final = 8 * 1024
"""Bytes that are kept of the payload of an oversize packet: as many as the quarantine shows."""
LARGEST_PACKET: Final = 268_435_460
"""Bytes: the protocol's limit."""
_RECEIVE_BYTES: Final = 64 * 1024
_LONGEST_HEADER: Final = 80 * 1024
"""Bytes: topic (65,535) and the fields around it. Longer properties hide the payload of an oversize packet."""


class Packet(NamedTuple):
    """The relevant fields of a PUBLISH packet."""

    topic: bytes
    payload: bytes
    mid: int
    head: int
    """The first byte, with the DUP and RETAIN bits."""
    oversize: int = 0
    """Bytes of the payload if the packet was too large; then `payload` holds only the first ones."""


class BufferedSocket:
    """A socket that reads 64 KiB at a time and parses PUBLISH packets from its buffer."""

    def __init__(self, raw: Any, *, has_properties: bool, largest: int = LARGEST_PACKET) -> None:
        """Wrap a socket; `largest` is the limit in bytes of a packet that is taken as a whole."""
        self._raw = raw
        self._has_properties = has_properties
        self._largest = largest
        self._buffer = b""
        self._at = 0
        self._to_skip = 0
        self._malformed = False

    def recv(self, size: int) -> bytes:
        """Read for paho: the rest of the buffer first."""
        if self._at >= len(self._buffer):
            self._buffer, self._at = self._raw.recv(_RECEIVE_BYTES), 0
        piece = self._buffer[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def fill(self) -> int:
        """Read available bytes; return their number, 0 at the end. Raises BlockingIOError or OSError."""
        try:
            data = self._raw.recv(_RECEIVE_BYTES)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        skipped = min(self._to_skip, len(data))
        self._to_skip -= skipped
        rest = data[skipped:] if skipped else data
        self._buffer, self._at = self._buffer[self._at :] + rest, 0
        return len(data)

    @property
    def has_hidden_bytes(self) -> bool:
        """Whether TLS holds decrypted bytes, for which the descriptor is not readable."""
        return isinstance(self._raw, ssl.SSLSocket) and self._raw.pending() > 0

    @property
    def has_other_packet(self) -> bool:
        """Whether the next packet is for paho: anything but a well-formed PUBLISH of QoS 0 or 1."""
        waits = self._at < len(self._buffer)
        return waits and (self._malformed or not _is_plain_publish(self._buffer[self._at]))

    def take_publishes(self) -> list[Packet]:
        """Every complete PUBLISH packet, and the head of an oversize one, up to the next packet of another type."""
        buffer, at, end, has_properties = self._buffer, self._at, len(self._buffer), self._has_properties
        taken: list[Packet] = []
        while at < end and _is_plain_publish(head := buffer[at]):
            size, start = _remaining_length(buffer, at + 1)
            stop = start + size
            is_oversize = stop - at > self._largest
            if start == 0 or (stop > end and not (is_oversize and end - start >= min(size, _LONGEST_HEADER))):
                break
            after_topic = start + 2 + int.from_bytes(buffer[start : start + 2], "big")
            mid, body = 0, after_topic
            if head & 0x06:
                mid, body = int.from_bytes(buffer[body : body + 2], "big"), body + 2
            if has_properties:
                length, after_length = _remaining_length(buffer, body)
                body = after_length + length
            if not after_topic <= body <= stop:
                self._malformed = True  # paho will report it and disconnect
                break
            topic = buffer[start + 2 : after_topic]
            if is_oversize:
                taken.append(Packet(topic, buffer[body : min(body + OVERSIZE_HEAD, stop)], mid, head, stop - body))
                self._to_skip = max(0, stop - end)
            else:
                taken.append(Packet(topic, buffer[body:stop], mid, head))
            at = min(stop, end)
        self._at = at
        return taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


def _is_plain_publish(head: int) -> bool:
    return head & 0xF0 == PUBLISH and not head & QOS_2


def _remaining_length(buffer: bytes, at: int) -> tuple[int, int]:
    """A length of one to four bytes, and the offset after it; (0, 0) if it is incomplete."""
    value = shift = 0
    for index in range(at, min(at + 4, len(buffer))):
        digit = buffer[index]
        value |= (digit & 0x7F) << shift
        if digit < 0x80:
            return value, index + 1
        shift += 7
    return 0, 0
