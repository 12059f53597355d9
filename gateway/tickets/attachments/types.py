"""What may be attached, how it is known by its first bytes, and by which name it is shown. Pure."""

import re
import unicodedata
from typing import Final

import msgspec

NAME_LENGTH: Final = 200
_UNNAMED: Final = "attachment"
_HEIC: Final = frozenset({"image/heic", "image/heif", "image/heic-sequence", "image/heif-sequence", "image/avif"})
_HEIC_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"avif"})


class MediaType(msgspec.Struct, frozen=True):
    """A kind of file that is taken."""

    name: str
    endings: tuple[str, ...]
    """Of file names; the first is given to what has none of them."""
    pillow: str = ""
    """What Pillow calls it; "" for what is no picture."""


JPEG: Final = MediaType("image/jpeg", (".jpg", ".jpeg"), "JPEG")
PNG: Final = MediaType("image/png", (".png",), "PNG")
WEBP: Final = MediaType("image/webp", (".webp",), "WEBP")
PDF: Final = MediaType("application/pdf", (".pdf",))
TAKEN: Final = {kind.name: kind for kind in (JPEG, PNG, WEBP, PDF)}


class Refused(Exception):
    """A file that is not taken; the text says what to do. `code` is the problem's."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def declared_type(content_type: str) -> MediaType:
    """What somebody says that they send. Raises Refused where it is not taken."""
    if content_type in _HEIC:
        raise _heic()
    found = TAKEN.get(content_type)
    if found is None:
        raise Refused("unsupported_type", f"send one of {', '.join(TAKEN)}, and say which in Content-Type")
    return found


def require_type(head: bytes, declared: MediaType) -> None:
    """Hold the first bytes (16 are enough) against what was declared. Raises Refused."""
    found = type_of(head)
    if found is declared:
        return
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
        raise _heic()
    content = f"it is {found.name}" if found else "it is no file of a kind that is taken"
    raise Refused("not_what_it_says", f"it was sent as {declared.name}, but {content}")


def type_of(head: bytes) -> MediaType | None:
    """The kind of file that begins so; None for all others."""
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
        "HEIC and AVIF are not taken: set the phone's camera to JPEG (iPhone: Camera, Formats, Most Compatible), or "
        "send a screenshot of the photo",
    )


def shown_name(given: str, kind: MediaType) -> str:
    """The name that people see and a browser saves under: one line, no folder, an ending of its real kind.

    Also what turns the direction of writing goes, so that `photo<RLO>gpj.exe` looks like what it is.
    """
    last = re.split(r"[/\\]", given)[-1]
    plain = "".join(
        letter for letter in last if unicodedata.category(letter)[0] != "C" and letter not in "\u2028\u2029"
    )
    name = plain.strip(" .") or _UNNAMED
    if not name.casefold().endswith(kind.endings):
        name = name[: NAME_LENGTH - len(kind.endings[0])] + kind.endings[0]
    return name if len(name) <= NAME_LENGTH else name[-NAME_LENGTH:]
