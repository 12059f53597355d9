"""Durations in YAML: `12s`, `1.5min`, `2h`, `6d`, `500ms`."""

import re
from typing import Final

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_FORM: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)")


def to_seconds(text: str) -> float:
    """A duration in seconds.

    Raises:
        ValueError: another format; the text names the permitted ones.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a duration; write a number with ms, s, min, h or d, as in 12s")
    return float(match[1]) * _SECONDS[match[2]]
