"""Topic patterns of mappings: `shellies/{equipment}/info`; a placeholder is one level, `{rest}` all further levels."""

import re
from typing import Final

import msgspec

from collectors.wire.topics import ROOT

_PLACEHOLDER: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_ANY: Final = "any"
_REST: Final = "rest"
_LITERAL, _ONE, _MANY = range(3)


class TopicPattern(msgspec.Struct, frozen=True):
    """A pattern, level by level: (its type, its text or the placeholder's name)."""

    text: str
    levels: tuple[tuple[int, str], ...]

    @property
    def subscription(self) -> str:
        """The MQTT topic filter, with + and #."""
        marks = {_ONE: "+", _MANY: "#"}
        return "/".join(marks.get(kind, name) for kind, name in self.levels)

    @property
    def names(self) -> frozenset[str]:
        """The names of its placeholders."""
        return frozenset(name for kind, name in self.levels if kind is not _LITERAL and name != _ANY)

    @property
    def rank(self) -> tuple[int, ...]:
        """The most specific pattern has the lowest rank: the first level that differs decides."""
        return tuple(kind for kind, _ in self.levels)

    def match(self, topic: str) -> dict[str, str] | None:
        """The values of the placeholders in a topic; None if it does not match."""
        parts = topic.split("/")
        bound: dict[str, str] = {}
        for number, (kind, name) in enumerate(self.levels):
            if kind is _MANY:
                bound[name] = "/".join(parts[number:])
                return bound if number < len(parts) else None
            if number >= len(parts) or (kind is _LITERAL and parts[number] != name):
                return None
            if kind is _ONE and name != _ANY:
                bound[name] = parts[number]
        return bound if len(parts) == len(self.levels) else None


def parse_pattern(text: str) -> TopicPattern:
    """Read a pattern. Raises ValueError with what is permitted."""
    levels: list[tuple[int, str]] = []
    parts = text.split("/")
    for number, part in enumerate(parts, 1):
        placeholder = _PLACEHOLDER.fullmatch(part)
        if placeholder is None:
            if not set(part).isdisjoint("{}+#\x00"):
                raise ValueError(f"topic {text!r}: a placeholder is a whole level, like a/{{equipment}}/b; no + or #")
            levels.append((_LITERAL, part))
            continue
        name = placeholder[1]
        if name == _REST and number < len(parts):
            raise ValueError(f"topic {text!r}: {{rest}} matches all further levels, so it must be the last one")
        if name != _ANY and (_ONE, name) in levels:
            raise ValueError(f"topic {text!r}: {{{name}}} occurs twice")
        levels.append((_MANY if name == _REST else _ONE, name))
    if text in {"", "{rest}"}:
        raise ValueError(f"topic {text!r}: at least one level must be given")
    if parts[0] == ROOT:
        raise ValueError(f"topic {text!r}: topics below {ROOT}/ are read by the wire contract, not by a mapping")
    return TopicPattern(text, tuple(levels))
