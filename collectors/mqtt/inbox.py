"""The queue of received messages, bounded by number and bytes, and the messages in hand, to recognise redeliveries.

After a reconnect a broker sends every message again that was not acknowledged, under the same packet id and marked DUP
(MQTT 3.1.1 and 5, section 4.4). A message that is still in hand is not processed twice: its acknowledgement is sent on
the new connection. All methods are thread-safe.
"""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from collectors.mqtt.message import Message

MOST_MESSAGES: Final = 50_000
MOST_BYTES: Final = 64 * 1024 * 1024
"""Of payloads. Beyond either limit the socket is not read until half is taken; the broker queues the rest."""
_TAKEN_BYTES: Final = 8 * 1024 * 1024
"""Limit of the payloads of one `take`, unless the first one is larger."""


class Inbox:
    """The queue across successive connections; a queue for more urgent messages would be a second instance."""

    def __init__(self, most_messages: int = MOST_MESSAGES, most_bytes: int = MOST_BYTES) -> None:
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._connection = 0
        self._waiting: deque[Message] = deque()
        self._bytes = 0
        self._is_full = False
        # By packet id: messages that are not acknowledged yet, and those finished after their connection had ended.
        self._in_hand: dict[int, Message] = {}
        self._finished: dict[int, Message] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def size(self) -> int:
        """Bytes of the queued payloads."""
        return self._bytes

    @property
    def connection(self) -> int:
        """The number of the connection on which packet ids are valid now."""
        return self._connection

    @property
    def is_full(self) -> bool:
        """Whether reading must pause; there is room again when half has been taken."""
        return self._is_full

    @property
    def oldest_ns(self) -> int:
        """When the oldest queued message was received, in epoch ns; 0 if there is none."""
        with self._lock:
            return self._waiting[0].received_ns if self._waiting else 0

    def put(self, messages: Sequence[Message]) -> list[int]:
        """Add messages received on this connection; returns the packet ids that can be acknowledged at once."""
        acknowledged: list[int] = []
        with self._lock:
            in_hand, finished, waiting = self._in_hand, self._finished, self._waiting
            for message in messages:
                mid = message.mid
                if message.redelivered and mid:
                    if _is_same(finished.pop(mid, None), message):
                        acknowledged.append(mid)
                        continue
                    held = in_hand.get(mid)
                    if held is not None and _is_same(held, message):
                        held.connection = message.connection
                        continue
                if mid:
                    in_hand[mid] = message
                    if finished:
                        finished.pop(mid, None)
                waiting.append(message)
                self._bytes += len(message.payload)
            self._is_full = self._is_full or self._is_above(1)
        return acknowledged

    def take(self, most: int) -> list[Message]:
        """Up to `most` messages, oldest first, of about 8 MiB at most."""
        taken: list[Message] = []
        with self._lock:
            waiting, size = self._waiting, 0
            while waiting and len(taken) < most and (not taken or size + len(waiting[0].payload) <= _TAKEN_BYTES):
                message = waiting.popleft()
                size += len(message.payload)
                taken.append(message)
            self._bytes -= size
            if self._is_full and not self._is_above(2):
                self._is_full = False
        return taken

    def finish(self, messages: Iterable[Message]) -> list[int]:
        """Mark messages as processed; returns the packet ids to acknowledge on this connection, in order."""
        mids: list[int] = []
        with self._lock:
            in_hand, connection = self._in_hand, self._connection
            for message in messages:
                mid = message.mid
                if not mid:
                    continue
                if in_hand.get(mid) is message:
                    del in_hand[mid]
                    if message.connection != connection:
                        self._finished[mid] = message
                if message.connection == connection:
                    mids.append(mid)
        return mids

    def end_connection(self) -> None:
        """All earlier packet ids become invalid; queued messages will be redelivered."""
        with self._lock:
            self._connection += 1
            for message in self._waiting:
                if self._in_hand.get(message.mid) is message:
                    del self._in_hand[message.mid]
            self._waiting = deque(message for message in self._waiting if not message.mid)
            self._bytes = sum(len(message.payload) for message in self._waiting)
            self._is_full = self._is_above(1)

    def forget_session(self) -> None:
        """The broker has begun a new session: packet ids of the last one are invalid."""
        with self._lock:
            self._in_hand.clear()
            self._finished.clear()

    def _is_above(self, part: int) -> bool:
        return len(self._waiting) > self._most_messages // part or self._bytes > self._most_bytes // part


def _is_same(held: Message | None, again: Message) -> bool:
    return (
        held is not None
        and held.topic == again.topic
        and held.payload == again.payload
        and held.oversize == again.oversize
    )
