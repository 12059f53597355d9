"""A source that can be closed, so that a process finishes the messages in hand and leaves the rest to the broker."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final, Protocol

from collectors.collector import Source
from collectors.mqtt.message import Message

_LOOK_AGAIN_S: Final = 0.1


class Waiting(Protocol):
    """A queue of messages; see `broker.Broker`."""

    @property
    def waiting(self) -> int: ...


class InHand:
    """The broker as a source that can be closed: then no more messages are taken, and those taken are finished."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._shut = False
        self._messages = 0
        self.taken = 0
        """Messages since the start."""
        self._empty = asyncio.Event()
        self._empty.set()

    async def next_batch(self, most: int) -> list[Message]:
        if self._shut:
            await asyncio.Event().wait()  # for ever: the collector is cancelled when it has finished
        batch = await self._source.next_batch(most)
        self._messages += len(batch)
        self.taken += len(batch)
        self._empty.clear()
        return batch

    def acknowledge(self, messages: Sequence[Message]) -> None:
        self._source.acknowledge(messages)
        self._messages -= len(messages)
        if not self._messages:
            self._empty.set()

    async def emptied(self, behind: Waiting) -> None:
        """Return when all messages received so far, and those queued `behind`, are processed."""
        while self._messages or behind.waiting:  # noqa: ASYNC110 - takes minutes, once in the life of a collector
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def finish(self, within_s: float) -> int:
        """Take no more messages; return how many are still not processed after that time."""
        self._shut = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), within_s)
        return self._messages
