"""A bounded list of topics that are published under a subscribed root and that no mapping reads."""

from typing import Final

import msgspec

MOST_TOPICS: Final = 500
"""Topics that are listed; messages on further ones are counted."""
SAMPLE_BYTES: Final = 256
_TOPIC_LENGTH: Final = 512


class UnreadTopic(msgspec.Struct):
    """One topic: first and last receipt (epoch ms), number of messages, and the first bytes of the newest one."""

    topic: str
    reason: str
    detail: str
    first_at: int
    last_at: int
    messages: int
    sample: bytes


class UnreadTopics:
    """Topics that match neither a mapping nor the wire contract."""

    def __init__(self, most: int = MOST_TOPICS) -> None:
        self.beyond = 0
        """Messages on topics beyond the limit."""
        self._most = most
        self._topics: dict[str, UnreadTopic] = {}
        self._changed: set[str] = set()

    def note(self, topic: str, reason: str, detail: str, payload: bytes, received_at: int) -> None:
        """Record a message on a topic that is not read."""
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
        """Topics that have changed since the last call, in their current state."""
        changed, self._changed = self._changed, set()
        return [msgspec.structs.replace(self._topics[topic]) for topic in changed if topic in self._topics]

    def put_back(self, topics: list[UnreadTopic]) -> None:
        """Return topics that could not be written; the next call takes them again."""
        self._changed |= {item.topic for item in topics}

    def forget(self) -> None:
        """Clear the list; topics that are still published appear again."""
        self._topics.clear()
        self._changed.clear()
