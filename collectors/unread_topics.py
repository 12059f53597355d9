"""Topics that are published under a root that is listened to, and that nobody reads: a bounded list of them."""

from typing import Final

import msgspec

MOST_TOPICS: Final = 500
"""Topics that are remembered; what comes beyond them is counted."""
SAMPLE_BYTES: Final = 256
_TOPIC_LENGTH: Final = 512


class UnreadTopic(msgspec.Struct):
    """One topic: since when, how often, and the beginning of its newest message. Times are epoch ms."""

    topic: str
    reason: str
    detail: str
    first_at: int
    last_at: int
    messages: int
    sample: bytes


class UnreadTopics:
    """What is noticed beside the patterns of the mappings and the shape of the wire contract."""

    def __init__(self, most: int = MOST_TOPICS) -> None:
        self.beyond = 0
        """Messages on topics for which there was no room."""
        self._most = most
        self._topics: dict[str, UnreadTopic] = {}
        self._changed: set[str] = set()

    def note(self, topic: str, reason: str, detail: str, payload: bytes, received_at: int) -> None:
        """A message came on a topic that nobody reads."""
        topic = topic[:_TOPIC_LENGTH]
        known = self._topics.get(topic)
        if known is None:
            if len(self._topics) >= self._most:
                self.beyond += 1
                return
            known = self._topics[topic] = UnreadTopic(topic, reason, detail, received_at, received_at, 0, b"")
        known.last_at = max(known.last_at, received_at)
        known.messages += 1
        known.sample = payload[:SAMPLE_BYTES]
        known.reason, known.detail = reason, detail
        self._changed.add(topic)

    def take_changed(self) -> list[UnreadTopic]:
        """Those that have changed since the last time, as they are now."""
        changed, self._changed = self._changed, set()
        return [msgspec.structs.replace(self._topics[topic]) for topic in changed if topic in self._topics]

    def put_back(self, topics: list[UnreadTopic]) -> None:
        """What could not be written is taken the next time."""
        self._changed |= {item.topic for item in topics}

    def forget(self) -> None:
        """Make room for others: what is still published comes again."""
        self._topics.clear()
        self._changed.clear()
