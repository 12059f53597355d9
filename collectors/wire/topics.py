"""Topics of the wire contract: `gengfu/{site}/{kind}/{equipment}/{channel}`. Built and parsed here only."""

import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

import msgspec

from collectors.wire.fields import WIRE_KINDS, Channel, Kind
from collectors.wire.names import MAX_NAME, code_of, is_name

ROOT: Final = "gengfu"
SUBSCRIPTION: Final = f"{ROOT}/#"
"""All below the root: what is published beside the contract is noticed too."""
_Member = TypeVar("_Member", Kind, Channel)
_SEPARATOR: Final = re.compile(r"[\s_-]+")


class Topic(msgspec.Struct, frozen=True):
    """Where a message comes from: one channel of one equipment on one site, by their codes."""

    site: str
    kind: Kind
    equipment: str
    channel: Channel

    def __str__(self) -> str:
        """The topic as it stands on the wire."""
        return f"{ROOT}/{self.site}/{self.kind}/{self.equipment}/{self.channel}"


class TopicError(ValueError):
    """A topic that is not of the contract; the text says which part is wrong and what is permitted."""


class Names(msgspec.Struct, frozen=True):
    """What a topic calls site and equipment; "" where that is the code itself."""

    site: str = ""
    equipment: str = ""


def parse_topic(text: str) -> Topic:
    """Read a topic. Kind and channel are read without regard to case, hyphens, blanks and plurals.

    Raises:
        TopicError: the topic has another shape, an unknown kind or channel, or a part that is no name.
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
    """The names that a topic's text has for what `topic` calls by code."""
    _, site, _, equipment, _ = text.split("/")
    return Names("" if site == topic.site else site.strip(), "" if equipment == topic.equipment else equipment.strip())


def kind_of(word: str) -> Kind | None:
    """The kind that a word names, however it is spelled."""
    return _KINDS.get(_plain(word))


def channel_of(word: str) -> Channel | None:
    """The channel that a word names, however it is spelled."""
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
