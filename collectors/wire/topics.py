"""Topics of the wire contract: `gengfu/{site}/{kind}/{equipment}/{channel}`. Built and parsed here only."""

import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

import msgspec

from collectors.wire.fields import WIRE_KINDS, Channel, Kind
from collectors.wire.names import MAX_NAME, code_of, is_name

ROOT: Final = "gengfu"
SUBSCRIPTION: Final = f"{ROOT}/#"
"""Everything below the root, so that topics outside the contract are noticed too."""
_Member = TypeVar("_Member", Kind, Channel)
_SEPARATOR: Final = re.compile(r"[\s_-]+")


class Topic(msgspec.Struct, frozen=True):
    """One channel of one equipment on one site, by their codes."""

    site: str
    kind: Kind
    equipment: str
    channel: Channel

    def __str__(self) -> str:
        """The topic as it is on the wire."""
        return f"{ROOT}/{self.site}/{self.kind}/{self.equipment}/{self.channel}"


class TopicError(ValueError):
    """A topic that does not follow the contract; the text names the wrong level and what is permitted."""


class Names(msgspec.Struct, frozen=True):
    """The names of site and equipment in a topic; "" if the name is the code itself."""

    site: str = ""
    equipment: str = ""


def parse_topic(text: str) -> Topic:
    """Read a topic. Kind and channel are read without regard to case, hyphens, blanks and plurals.

    Raises:
        TopicError: the topic has another shape, an unknown kind or channel, or a level that is not a name.
    """
    parts = text.split("/")
    if len(parts) != 5 or parts[0] != ROOT:
        raise TopicError(f"expected {ROOT}/site/kind/equipment/channel")
    _, site, kind, equipment, channel = parts
    return Topic(
        _code(site, "site"),
        _member(_KINDS, kind, "kind"),
        _code(equipment, "equipment"),
        _member(_CHANNELS, channel, "channel"),
    )


def names_in(text: str, topic: Topic) -> Names:
    """The names of site and equipment in a topic's text, whose parsed form is `topic`."""
    _, site, _, equipment, _ = text.split("/")
    return Names("" if site == topic.site else site.strip(), "" if equipment == topic.equipment else equipment.strip())


def kind_of(word: str) -> Kind | None:
    """The kind that a word names, in any spelling."""
    return _KINDS.get(_plain(word))


def channel_of(word: str) -> Channel | None:
    """The channel that a word names, in any spelling."""
    return _CHANNELS.get(_plain(word))


def _spellings(members: Iterable[_Member]) -> dict[str, _Member]:
    found: dict[str, _Member] = {}
    for member in members:
        word = _plain(member.value)
        found |= dict.fromkeys((word, f"{word}s", f"{word}es", f"{word.removesuffix('y')}ies"), member)
    return found


def _plain(word: str) -> str:
    return _SEPARATOR.sub("", word).casefold()


_KINDS: Final = _spellings(WIRE_KINDS)
_CHANNELS: Final = _spellings(Channel)


def _code(text: str, role: str) -> str:
    if not is_name(text):
        raise TopicError(f"{role} may have 1 to {MAX_NAME} characters, none of them a control character, /, + or #")
    return code_of(text)


def _member(members: Mapping[str, _Member], text: str, role: str) -> _Member:
    member = members.get(_plain(text))
    if member is None:
        raise TopicError(f"unknown {role}; permitted: {', '.join(dict.fromkeys(members.values()))}")
    return member
