"""Selects the bytes of a picture to store. The picture is never decoded: no pixel changes, no decompression bomb.

Removed: position (EXIF, XMP) unless requested, comments, previews, and data after the end of the picture, such as the
film of a "motion photo" or a hidden page. Kept: the picture, its colours, its time. No I/O.
"""

import re
import zlib
from collections.abc import Callable, Mapping
from mmap import mmap
from typing import Final

import msgspec

from gateway.tickets.attachments.exif_data import without_position
from gateway.tickets.attachments.types import JPEG, PNG, WEBP, MediaType, Refused

MOST_PIXELS: Final = 50_000_000
_MOST_PARTS: Final = 50_000
"""Segments or chunks; a photo has dozens, a large PNG thousands."""
Data = bytes | mmap
Piece = tuple[int, int] | bytes
"""A range of the file (start, end), or replacement bytes."""


class Kept(msgspec.Struct):
    """A parsed picture: its size, and the kept pieces of its file, in order."""

    pieces: list[Piece] = []
    width: int = 0
    height: int = 0

    def measure(self, width: int, height: int) -> None:
        """Record a size in the file; the largest counts. Raises Refused."""
        if width <= 0 or height <= 0:
            raise _damaged("it has no size")
        if width * height > MOST_PIXELS:
            most = MOST_PIXELS // 1_000_000
            raise Refused("too_many_pixels", f"{width} x {height}: at most {most} million pixels; send a smaller one")
        if width * height > self.width * self.height:
            self.width, self.height = width, height


def picture(data: Data, kind: MediaType, *, keep_position: bool) -> Kept:
    """The kept pieces of a picture. Raises Refused if it is invalid, truncated or too large."""
    try:
        kept = _WALKS[kind](data, keep_position)
    except IndexError:
        raise _damaged("it is truncated") from None
    if not kept.width:
        raise _damaged("it has no size")
    return kept


def _damaged(why: str) -> Refused:
    return Refused("not_what_it_says", f"the picture cannot be read: {why}; take or send it again")


def _number(data: Data, at: int, size: int, order: str = "big") -> int:
    if at + size > len(data):
        raise IndexError(at)
    return int.from_bytes(data[at : at + size], "little" if order == "little" else "big")


# -- JPEG: segments (ITU-T T.81, annex B) --------------------------------------------------------------------------

_SIZES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_SCAN, _END, _APP0, _APP1, _APP2, _APP14, _COMMENT = 0xDA, 0xD9, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_BEHIND_SCAN: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_AT_A_TIME: Final = 256 * 1024
"""Bytes searched in one call, which blocks other threads."""
_EXIF: Final = b"Exif\0\0"
_XMP: Final = b"http://ns.adobe.com/x"
_LONGEST_SEGMENT: Final = 0xFFFF - 2


def _jpeg(data: Data, keep_position: bool) -> Kept:
    kept, at = Kept([(0, 2)]), 2
    for _ in range(_MOST_PARTS):
        if data[at] != 0xFF:
            raise _damaged("a segment does not begin where it should")
        while data[at] == 0xFF:
            at += 1
        code, start, at = data[at], at - 1, at + 1
        if code == _END:
            kept.pieces.append((start, at))
            return kept
        if code in _ALONE:
            kept.pieces.append((start, at))
            continue
        end = at + _number(data, at, 2)
        if code in _SIZES:
            kept.measure(_number(data, at + 5, 2), _number(data, at + 3, 2))
        if code == _SCAN:
            end = _behind_scan(data, end)
        if end > len(data) or end < at + 2:
            raise _damaged("it is truncated")
        kept.pieces += _segment(data, code, start, end, keep_position)
        at = end
    raise _damaged("it has too many segments")


def _behind_scan(data: Data, at: int) -> int:
    for start in range(at, len(data), _AT_A_TIME):
        found = _BEHIND_SCAN.search(data, start, start + _AT_A_TIME + 1)
        if found is not None:
            return found.start()
    raise _damaged("it is truncated")


def _segment(data: Data, code: int, start: int, end: int, keep_position: bool) -> list[Piece]:
    """The kept part of a segment. A list of previews (MPF) is dropped: it would point behind the new end."""
    begins = bytes(data[start + 4 : min(end, start + 4 + 32)])
    if code == _APP1 and begins.startswith(_EXIF) and not keep_position:
        exif = without_position(bytes(data[start + 4 : end]))
        body = _EXIF + exif
        fits = exif and len(body) <= _LONGEST_SEGMENT
        return [b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body] if fits else []
    if code == _APP1:
        stays = keep_position and begins.startswith((_EXIF, _XMP))
    elif code == _APP2:
        stays = begins.startswith(b"ICC_PROFILE\0")
    elif code == _APP0:
        stays = begins.startswith(b"JFIF\0")
    else:
        stays = code == _APP14 or not (_APP0 <= code <= 0xEF or code == _COMMENT)
    return [(start, end)] if stays else []


# -- PNG: chunks (PNG third edition, 5) ----------------------------------------------------------------------------

_PNG_STAYS: Final = frozenset(
    {b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"bKGD", b"pHYs", b"sPLT",
     b"hIST", b"tIME", b"acTL", b"fcTL", b"fdAT"}
)  # fmt: skip
_XMP_KEYWORD: Final = b"XML:com.adobe.xmp\0"


def _png(data: Data, keep_position: bool) -> Kept:
    kept, at = Kept([(0, 8)]), 8
    for _ in range(_MOST_PARTS):
        kind = bytes(data[at + 4 : at + 8])
        end = at + 12 + _number(data, at, 4)
        if end > len(data):
            raise _damaged("it is truncated")
        if (at == 8) != (kind == b"IHDR"):
            raise _damaged("its header is not where it should be")
        if kind == b"IHDR":
            kept.measure(_number(data, at + 8, 4), _number(data, at + 12, 4))
        if kind == b"eXIf" and not keep_position:
            exif = without_position(bytes(data[at + 8 : end - 4]))
            kept.pieces += [_chunk(kind, exif)] if exif else []
        elif _png_stays(data, kind, at, keep_position):
            kept.pieces.append((at, end))
        if kind == b"IEND":
            return kept
        at = end
    raise _damaged("it has too many chunks")


def _png_stays(data: Data, kind: bytes, at: int, keep_position: bool) -> bool:
    if not kind[0] & 0x20 or kind in _PNG_STAYS:  # a capital letter: the chunk is critical for display
        return True
    xmp = kind == b"iTXt" and data[at + 8 : at + 8 + len(_XMP_KEYWORD)] == _XMP_KEYWORD
    return keep_position and (kind == b"eXIf" or xmp)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


# -- WebP: chunks of RIFF (RFC 9649) -------------------------------------------------------------------------------

_WEBP_STAYS: Final = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})
_FLAGS: Final = {b"EXIF": 0x08, b"XMP ": 0x04}
"""In the first byte of VP8X."""


def _webp(data: Data, keep_position: bool) -> Kept:
    whole = 8 + _number(data, 4, 4, "little")
    if whole > len(data):
        raise _damaged("it is truncated")
    kept, at, header, found = Kept(), 12, b"", 0
    for _ in range(_MOST_PARTS):
        if at + 8 > whole:
            return _riff(kept, header, found)
        kind, size = bytes(data[at : at + 4]), _number(data, at + 4, 4, "little")
        end = at + 8 + size + size % 2
        if end > whole:
            raise _damaged("it is truncated")
        _measure_webp(kept, data, kind, at + 8)
        if kind == b"VP8X":
            header = bytes(data[at:end])
        elif kind == b"EXIF" and not keep_position:
            exif = without_position(bytes(data[at + 8 : at + 8 + size]))
            if exif:
                kept.pieces.append(kind + len(exif).to_bytes(4, "little") + exif + b"\0" * (len(exif) % 2))
                found |= _FLAGS[kind]
        elif kind in _WEBP_STAYS or (keep_position and kind in _FLAGS):
            kept.pieces.append((at, end))
            found |= _FLAGS.get(kind, 0)
        at = end
    raise _damaged("it has too many chunks")


def _riff(kept: Kept, header: bytes, found: int) -> Kept:
    """The file's header with its content flags and length."""
    if header:
        flags = header[8] & ~sum(_FLAGS.values()) | found
        kept.pieces.insert(0, header[:8] + bytes([flags]) + header[9:])
    length = 4 + sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in kept.pieces)
    kept.pieces.insert(0, b"RIFF" + length.to_bytes(4, "little") + b"WEBP")
    return kept


def _measure_webp(kept: Kept, data: Data, kind: bytes, at: int) -> None:
    if kind == b"VP8X":
        kept.measure(_number(data, at + 4, 3, "little") + 1, _number(data, at + 7, 3, "little") + 1)
    elif kind == b"VP8 ":
        kept.measure(_number(data, at + 6, 2, "little") & 0x3FFF, _number(data, at + 8, 2, "little") & 0x3FFF)
    elif kind == b"VP8L":
        bits = _number(data, at + 1, 4, "little")
        kept.measure((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)


_WALKS: Final[Mapping[MediaType, Callable[[Data, bool], Kept]]] = {JPEG: _jpeg, PNG: _png, WEBP: _webp}
