"""Topics of the wire contract: `gengfu/{site}/{kind}/{equipment}/{channel}`. Built and parsed here only."""

import re
from typing import Final, TypeVar

import msgspec

from collectors.fields import WIRE_KINDS, Channel, Kind

ROOT: Final = "gengfu"
SUBSCRIPTION: Final = f"{ROOT}/+/+/+/+"
_Member = TypeVar("_Member", Kind, Channel)
_PART: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Topic(msgspec.Struct, frozen=True):
    """Where a message comes from: one channel of one equipment on one site."""

    site: str
    kind: Kind
    equipment: str
    channel: Channel

    def __str__(self) -> str:
        """The topic as it stands on the wire."""
        return f"{ROOT}/{self.site}/{self.kind}/{self.equipment}/{self.channel}"


class TopicError(ValueError):
    """A topic that is not of the contract; the text says which part is wrong and what is permitted."""


def parse_topic(text: str) -> Topic:
    """Read a topic.

    Raises:
        TopicError: the topic has another shape, an unknown kind or channel, or a name with other characters.
    """
    parts = text.split("/")
    if len(parts) != 5 or parts[0] != ROOT:
        raise TopicError(f"expected {ROOT}/site/kind/equipment/channel")
    _, site, kind, equipment, channel = parts
    return Topic(
        _name(site, "site"),
        _member(WIRE_KINDS, kind, "kind"),
        _name(equipment, "equipment"),
        _member(tuple(Channel), channel, "channel"),
    )


def _name(text: str, role: str) -> str:
    if _PART.fullmatch(text) is None:
        raise TopicError(f"{role} may have 1 to 64 letters, digits and _.- only")
    return text


def _member(members: tuple[_Member, ...], text: str, role: str) -> _Member:
    for member in members:
        if member == text:
            return member
    raise TopicError(f"unknown {role}; permitted: {', '.join(members)}")
