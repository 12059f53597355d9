"""The format of the spool's files: frames of readings, each with checksums and the number of its first reading.

A frame is a header of 28 bytes and a body (MessagePack, a list of readings). Header, big-endian: the mark, the body's
size, how many readings, the number of the first of them (readings are numbered through all files), the body's CRC-32
and the header's own. A flipped byte costs its frame; the numbers show how many readings were lost.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from collectors.wire.reading import Reading

READINGS_A_FRAME: Final = 256
"""About 70 KB: what one flipped byte can cost."""
_MARK: Final = b"\xd9GFs"
_FIELDS: Final = struct.Struct(">4sIIQI")
_CHECKSUM: Final = struct.Struct(">I")
HEADER_BYTES: Final = _FIELDS.size + _CHECKSUM.size
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Reading]).decode


class Frame(NamedTuple):
    """A frame that is whole: bytes `start` to `stop` of what was scanned; `held` readings from number `first` on."""

    start: int
    stop: int
    first: int
    held: int
    body: memoryview

    def readings(self) -> list[Reading]:
        """Its readings. Raises msgspec.DecodeError if another version of the program wrote another format."""
        return _decode(self.body)


class Damage(NamedTuple):
    """Bytes `start` to `stop` that are not a whole frame: a torn end, or flipped bytes.

    `after` is the number after the lost readings, if the header is intact.
    """

    start: int
    stop: int
    after: int | None


def pack(readings: Sequence[Reading], first: int) -> bytes:
    """Readings as frames; `first` is the number of the first one."""
    parts = []
    for offset in range(0, len(readings), READINGS_A_FRAME):
        chunk = readings[offset : offset + READINGS_A_FRAME]
        body = _encode(chunk)
        fields = _FIELDS.pack(_MARK, len(body), len(chunk), first + offset, zlib.crc32(body))
        parts += [fields, _CHECKSUM.pack(zlib.crc32(fields)), body]
    return b"".join(parts)


def scan(data: bytes) -> Iterator[Frame | Damage]:
    """The frames in a file's bytes, in order; after damage it continues at the next intact header."""
    view, at = memoryview(data), 0
    while at < len(data):
        frame = _frame_at(data, view, at)
        if frame is None:
            stop = _next_header(data, at + 1)
            yield Damage(at, stop, None)
            at = stop
            continue
        if zlib.crc32(frame.body) == _FIELDS.unpack_from(data, at)[4]:
            yield frame
        else:
            yield Damage(frame.start, frame.stop, frame.first + frame.held)
        at = frame.stop


def _frame_at(data: bytes, view: memoryview, at: int) -> Frame | None:
    """The frame at an offset, with or without a valid body checksum; None without a whole header and body."""
    body = at + HEADER_BYTES
    if not _is_header(data, at):
        return None
    _mark, size, count, first, _crc = _FIELDS.unpack_from(data, at)
    if body + size > len(data):
        return None
    return Frame(at, body + size, first, count, view[body : body + size])


def _is_header(data: bytes, at: int) -> bool:
    after = at + _FIELDS.size
    if after + _CHECKSUM.size > len(data) or data[at : at + len(_MARK)] != _MARK:
        return False
    return bool(zlib.crc32(data[at:after]) == _CHECKSUM.unpack_from(data, after)[0])


def _next_header(data: bytes, at: int) -> int:
    while (at := data.find(_MARK, at)) >= 0:
        if _is_header(data, at):
            return at
        at += 1
    return len(data)
