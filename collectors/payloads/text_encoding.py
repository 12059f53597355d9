"""Text of a payload: byte order marks, UTF-8, UTF-16, GB 18030 (GBK is part of it). Pure."""

import codecs
from typing import Final

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode_text(payload: bytes) -> tuple[str, bool] | None:
    """The text of a payload and whether its encoding is other than plain UTF-8; None if it is not text."""
    for mark, encoding in _MARKS:
        if payload.startswith(mark):
            return _decoded(payload[len(mark) :], encoding)
    try:
        return payload.decode("utf-8"), False
    except UnicodeDecodeError:
        return _decoded(payload.rstrip(b"\x00"), "gb18030")


def _decoded(payload: bytes, encoding: str) -> tuple[str, bool] | None:
    try:
        return payload.decode(encoding), True
    except UnicodeDecodeError:
        return None
