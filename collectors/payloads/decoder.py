"""Which format a topic has: `gengfu/...` is native, of the others the mapping with the most specific pattern."""

from collections.abc import Sequence
from typing import Final, TypeAlias

from collectors.payloads.mapped import MappedTopic
from collectors.payloads.mapping import MessageMapping
from collectors.payloads.samples import Fault, Reason
from collectors.topics import ROOT, SUBSCRIPTION, Topic, TopicError, parse_topic

Route: TypeAlias = Topic | MappedTopic | Fault
"""How a topic's messages are read: natively, by a mapping, or why not at all."""
_OURS: Final = f"{ROOT}/"


class Decoder:
    """Knows the formats that are in use; the collector asks it once a topic."""

    def __init__(self, mappings: Sequence[MessageMapping] = ()) -> None:
        ranked = [(pattern.rank, pattern, mapping) for mapping in mappings for pattern in mapping.patterns]
        self._ranked = sorted(ranked, key=lambda entry: entry[0])
        self.subscriptions = [SUBSCRIPTION, *dict.fromkeys(entry[1].subscription for entry in ranked)]

    def route(self, text: str) -> Route:
        """How messages with this topic are read."""
        if text.startswith(_OURS):
            try:
                return parse_topic(text)
            except TopicError as error:
                return Fault(Reason.BAD_TOPIC, str(error))
        for _, pattern, mapping in self._ranked:
            bound = pattern.match(text)
            if bound is not None:
                return MappedTopic(mapping, bound)
        return Fault(Reason.NO_MAPPING, "no mapping takes this topic; collect.mappings says which are in use")
