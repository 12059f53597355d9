"""JSON pointers (RFC 6901): `/values/0/temperature`; `~1` stands for `/` and `~0` for `~` in a name."""

import re
from collections.abc import Iterator
from typing import Any, Final

Steps = tuple[str, ...]
MISSING: Final = object()
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_BAD_ESCAPE: Final = re.compile(r"~(?![01])")


def parse_pointer(text: str) -> Steps:
    """The steps of a pointer; none for "", the whole document. Raises ValueError."""
    if text and not text.startswith("/"):
        raise ValueError(f"{text!r} is not a JSON pointer; it begins with / like /values/temperature")
    if _BAD_ESCAPE.search(text):
        raise ValueError(f"{text!r} is not a JSON pointer; write ~0 for ~ and ~1 for /")
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:])


def write_pointer(steps: Steps) -> str:
    """The text of a pointer."""
    return "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in steps)


def find(document: Any, steps: Steps) -> Any:
    """The value at a pointer, or MISSING."""
    for step in steps:
        if isinstance(document, dict):
            document = document.get(step, MISSING)
        elif isinstance(document, list) and _INDEX.fullmatch(step) and int(step) < len(document):
            document = document[int(step)]
        else:
            return MISSING
    return document


def leaves(document: Any, most: int) -> Iterator[tuple[Steps, Any]]:
    """Every value that is neither an object nor an array, with its pointer; at most `most` of them."""
    waiting: list[tuple[Steps, Any]] = [((), document)]
    while waiting and most > 0:
        steps, node = waiting.pop()
        members = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
        if members is None:
            most -= 1
            yield steps, node
        else:
            waiting += reversed([((*steps, str(name)), child) for name, child in members])
