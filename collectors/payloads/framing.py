"""Lenient parsing of a payload that is not plain JSON: unambiguous framing and encodings are removed. Pure.

    final NUL, byte order mark, UTF-16 and UTF-32 with a mark, GB 18030, several values in a row (with or without line
    ends, commas or record separators between them), a comma before a closing bracket, raw line ends in texts

Only payloads that failed to parse are handled here, so that well-formed messages have no extra cost.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final

_EDGES: Final = "\x00\x02\x03\x04\x1e\ufeff \t\r\n"
"""Frame characters of serial lines (STX, ETX, EOT), record separators (RFC 7464), NUL and blanks."""
_BETWEEN: Final = re.compile(r"[\x00\x1e\s,;]*")
_COMMA: Final = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', re.DOTALL)
MOST_VALUES: Final = 20_000
"""Limit of values in a row; no device sends more in one message."""


class Row(list[Any]):
    """Several documents that came in one message, one after the other."""


TakePairs = Callable[[list[tuple[str, Any]]], dict[str, Any]]


def strip_frame(text: str) -> str:
    """A text without the framing of serial lines and of programs in C."""
    return text.strip(_EDGES)


def parse_leniently(text: str, take_pairs: TakePairs) -> Any:
    """The document in a text; a `Row` if there are several in a row.

    Args:
        text: without a byte order mark.
        take_pairs: makes an object of its members.

    Raises:
        ValueError: it is not JSON, even without framing.
        RecursionError: it is nested too deeply.
    """
    text = strip_frame(text)
    if not text:
        raise ValueError("nothing but blanks and control characters")
    decoder = json.JSONDecoder(object_pairs_hook=take_pairs, parse_int=float, strict=False)
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        first = error
    mended = _COMMA.sub(lambda found: found[1] or "", text)
    try:
        return _values_in_a_row(mended, decoder)
    except json.JSONDecodeError:
        raise first from None


def _values_in_a_row(text: str, decoder: json.JSONDecoder) -> Any:
    """Objects and arrays one after the other; bare words and numbers in a row are ambiguous and rejected."""
    values, at, documents = Row(), 0, 0
    value: Any = None
    while at < len(text) and len(values) <= MOST_VALUES:
        value, at = decoder.raw_decode(text, at)
        if not isinstance(value, dict | list):
            raise json.JSONDecodeError("expected an object", text, at)
        values += value if isinstance(value, list) else [value]
        documents += 1
        match = _BETWEEN.match(text, at)
        at = at if match is None else match.end()
    return values if documents > 1 else value
