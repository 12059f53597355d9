"""Accepted file types, their detection by the first bytes, and display names. Pure."""

import re
import unicodedata
from typing import Final

import msgspec

NAME_LENGTH: Final = 200
_UNNAMED: Final = "attachment"
_HEIC: Final = frozenset({"image/heic", "image/heif", "image/heic-sequence", "image/heif-sequence", "image/avif"})
_HEIC_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"avif"})


class MediaType(msgspec.Struct, frozen=True):
    """An accepted file type."""

    name: str
    endings: tuple[str, ...]
    """File extensions; the first one is added to names without one of them."""
    pillow: str = ""
    """Pillow's name of the format; "" if it is not a picture."""


JPEG: Final = MediaType("image/jpeg", (".jpg", ".jpeg"), "JPEG")
PNG: Final = MediaType("image/png", (".png",), "PNG")
WEBP: Final = MediaType("image/webp", (".webp",), "WEBP")
PDF: Final = MediaType("application/pdf", (".pdf",))
TAKEN: Final = {kind.name: kind for kind in (JPEG, PNG, WEBP, PDF)}


class Refused(Exception):
    """The file is refused; the text says what to do. `code` is the problem's."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def declared_type(content_type: str) -> MediaType:
    """The declared type. Raises Refused if it is not accepted."""
    if content_type in _HEIC:
        raise _heic()
    found = TAKEN.get(content_type)
    if found is None:
        raise Refused("unsupported_type", f"send one of {', '.join(TAKEN)}, and set Content-Type")
    return found


def require_type(head: bytes, declared: MediaType) -> None:
    """Check the first bytes (16 are enough) against the declared type. Raises Refused."""
    found = type_of(head)
    if found is declared:
        return
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
        raise _heic()
    content = f"it is {found.name}" if found else "its type is not accepted"
    raise Refused("not_what_it_says", f"it was sent as {declared.name}, but {content}")


def type_of(head: bytes) -> MediaType | None:
    """The type by the first bytes; None for all others."""
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return WEBP
    return PDF if head.startswith(b"%PDF-") else None


def _heic() -> Refused:
    return Refused(
        "unsupported_type",
        "HEIC and AVIF are not accepted: set the phone's camera to JPEG (iPhone: Camera, Formats, Most Compatible), or "
        "send a screenshot of the photo",
    )


def shown_name(given: str, kind: MediaType) -> str:
    """The name for display and download: one line, no folder, the extension of its real type.

    Characters that change the direction of writing are removed, so that `photo<RLO>gpj.exe` cannot look like a photo.
    """
    last = re.split(r"[/\\]", given)[-1]
    plain = "".join(
        letter for letter in last if unicodedata.category(letter)[0] != "C" and letter not in "\u2028\u2029"
    )
    name = plain.strip(" .") or _UNNAMED
    if not name.casefold().endswith(kind.endings):
        name = name[: NAME_LENGTH - len(kind.endings[0])] + kind.endings[0]
    return name if len(name) <= NAME_LENGTH else name[-NAME_LENGTH:]
