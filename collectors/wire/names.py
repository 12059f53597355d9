"""Codes derived from the names that devices use. Pure: the same name always has the same code."""

import hashlib
import re
import unicodedata
from typing import Final

MAX_NAME: Final = 64
"""Characters of a name and of a code."""
_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NOT_PERMITTED: Final = re.compile(r"[^A-Za-z0-9_.-]")
_ASCII_DIGITS: Final = 6
_UNICODE_DIGITS: Final = 12
"""Chinese names keep few or no letters of their own: only the hash distinguishes them. With 48 bits the chance of a
collision among 100,000 names is one in 50,000."""
_NO_NAME: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd/+#]")


def is_name(text: str) -> bool:
    """Whether a level of a topic can be a name: 1 to 64 characters, not blank, no control character, no / + #."""
    return 1 <= len(text) <= MAX_NAME and not text.isspace() and _NO_NAME.search(text) is None


def code_of(name: str) -> str:
    """The code of a name: the name itself if it has only letters, digits and the characters _.- in it.

    Other characters become _ and digits of a hash of the name follow, so that two names never share a code. Names that
    differ only in Unicode normalisation have the same code.
    """
    if _CODE.fullmatch(name):
        return name
    name = unicodedata.normalize("NFC", name).strip() or name
    if _CODE.fullmatch(name):
        return name
    digits = _ASCII_DIGITS if name.isascii() else _UNICODE_DIGITS
    hashed = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=digits // 2).hexdigest()
    kept = _NOT_PERMITTED.sub("_", name)[: MAX_NAME - digits - 1]
    return f"{kept}-{hashed}"
