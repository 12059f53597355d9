"""Chooses the format of a topic: `gengfu/...` is native, others have the mapping with the most specific pattern."""

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from collectors.payloads import native
from collectors.payloads.faults import Fault, Reason
from collectors.payloads.mapped import MappedTopic
from collectors.payloads.mapping import MessageMapping
from collectors.payloads.samples import Decoded
from collectors.wire.topics import ROOT, SUBSCRIPTION, Names, Topic, TopicError, names_in, parse_topic


class NamedTopic(msgspec.Struct, frozen=True):
    """The route of a native topic whose site or equipment has a name that differs from its code."""

    topic: Topic
    names: Names

    def decode(self, payload: bytes, received_at: int, arrival: int = 0) -> Decoded:
        """Read a message; the arguments are those of `native.decode`."""
        decoded = native.decode(self.topic, payload, received_at, arrival)
        for reading in decoded.readings:
            reading.site_name, reading.equipment_name = self.names.site, self.names.equipment
        return decoded


class Beside(msgspec.Struct, frozen=True):
    """The route of a gateway's housekeeping topics, which carry no readings."""

    mapping: str


Route: TypeAlias = Topic | NamedTopic | MappedTopic | Beside | Fault
"""How a topic's messages are read: natively, by a mapping, or the fault why they are not."""
_OURS: Final = f"{ROOT}/"


class Decoder:
    """The formats that are in use; the collector calls it once for each topic."""

    def __init__(self, mappings: Sequence[MessageMapping] = ()) -> None:
        ranked = [(pattern.rank, pattern, mapping) for mapping in mappings for pattern in mapping.patterns]
        self._ranked = sorted(ranked, key=lambda entry: entry[0])
        self._beside = [(pattern, mapping.name) for mapping in mappings for pattern in mapping.beside]
        self.subscriptions = [SUBSCRIPTION, *_without_overlaps([entry[1].subscription for entry in ranked])]

    def route(self, text: str) -> Route:
        """How messages with this topic are read."""
        if text.startswith(_OURS):
            return _native_route(text)
        for pattern, name in self._beside:
            if pattern.match(text) is not None:
                return Beside(name)
        for _, pattern, mapping in self._ranked:
            bound = pattern.match(text)
            if bound is not None:
                return MappedTopic(mapping, bound)
        return Fault(Reason.NO_MAPPING, "no mapping reads this topic; collect.mappings lists those in use")


def decode_by(route: Route, payload: bytes, received_at: int, arrival: int = 0) -> Decoded:
    """Read a message by its route; no readings if that is a fault or housekeeping."""
    if isinstance(route, Topic):
        return native.decode(route, payload, received_at, arrival)
    if isinstance(route, Fault | Beside):
        return Decoded([], [route] if isinstance(route, Fault) else [])
    return route.decode(payload, received_at, arrival)


def _native_route(text: str) -> Topic | NamedTopic | Fault:
    try:
        topic = parse_topic(text)
    except TopicError as error:
        return Fault(Reason.BAD_TOPIC, str(error))
    names = names_in(text, topic)
    return NamedTopic(topic, names) if names.site or names.equipment else topic


def _without_overlaps(subscriptions: Sequence[str]) -> list[str]:
    """Everything below the roots of patterns that begin with a name, and the other patterns unchanged.

    So topics under the same root that match no pattern are noticed. For two overlapping subscriptions some brokers
    deliver a message twice.
    """
    roots = {first for first, _, _ in (text.partition("/") for text in subscriptions) if first not in {"+", "#", ""}}
    return list(
        dict.fromkeys(f"{first}/#" if (first := text.partition("/")[0]) in roots else text for text in subscriptions)
    )
