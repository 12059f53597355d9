"""The ingest loop: message -> readings -> sinks -> acknowledgement.

    next_batch -> decode -> decide (alarms, committed) -> [settling] -> write (durable) -> acknowledge

Two stages run concurrently: while one chunk of a batch is written, the next is decoded and decided. A chunk is limited
by its readings and by the processor time that it takes on the event loop, so that the lease is renewed and requests
are served in between. A message with many samples is decided in several chunks and acknowledged with the last of them.
Chunks settle in order of arrival, and so do acknowledgements. A slow or unavailable store blocks neither stage: after
two seconds the write buffer spools the readings to disk.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from operator import attrgetter
from typing import Final, Protocol

import msgspec

from collectors.babbling import TURN_MS, Babbling
from collectors.device_clocks import DeviceClocks
from collectors.message_reader import (
    FAULTS_SHOWN,
    QUARANTINE_BYTES,
    Content,
    Inspect,
    MessageReader,
    Quarantined,
    ReadOwn,
    quarantined,
)
from collectors.metrics import IngestMetrics
from collectors.mqtt.message import Message
from collectors.payloads.faults import Reason
from collectors.payloads.format_by_topic import Decoder
from collectors.sequences import SequenceMemory
from collectors.timeseries.store import Refused
from collectors.unread_topics import UnreadTopics
from collectors.wire.fields import Channel
from collectors.wire.reading import Quality, Reading
from collectors.wire.topics import Topic

BATCH: Final = 4_000
"""Messages. Small enough for a decision every few milliseconds, large enough to share one fsync."""
MOST_SETTLING: Final = 40_000
"""Limit of readings that are decided and not yet durable: enough for the seconds until a write to the store times out.
A message without readings counts as one."""
_SETTLED_AT_ONCE: Final = 8_000
"""Limit of readings in one write."""
_MOST_DECIDED: Final = 4_000
"""Limit of readings in one decision."""
_FEWEST_DECIDED: Final = 50
_LOOP_S: Final = 0.05
"""Seconds of processor time for which decoding, or deciding, a chunk may block the loop."""
_LOOKED_AT_EVERY: Final = 64
"""Messages that are decoded between two checks of that time."""
_LARGE: Final = 32 * 1024
"""Bytes. A larger payload is decoded in a thread: JSON of a few megabytes would block the loop for too long."""
_LATE_NS: Final = 1_000_000_000
"""Ingest is behind when a message waits longer than this to be evaluated."""


class Source(Protocol):
    """Where messages come from; see `broker.Broker`."""

    async def next_batch(self, most: int) -> list[Message]: ...
    def acknowledge(self, messages: Sequence[Message]) -> None: ...


class Keeper(Protocol):
    """Makes readings durable; see `write_buffer.WriteBuffer`."""

    async def write(self, readings: Sequence[Reading]) -> None: ...


_topic_of: Final = attrgetter("topic")
Decide = Callable[[Sequence[Reading]], Awaitable[None]]
"""Returns when the decisions that follow from the readings are committed."""
Quarantine = Callable[[Sequence[Quarantined]], Awaitable[None]]
"""Returns when the quarantined messages are stored."""
Announce = Callable[[Sequence[Reading]], None]
"""Receives readings that are durable: the live feed."""
Address = Callable[[Topic], Topic]
"""Resolves the equipment of a topic to its current code."""
Receive = Callable[[Message, Sequence[Reading]], None]
"""Receives each message and its readings before anything is decided: the ledger stores the last message of unknown
equipment."""


class _Chunk(msgspec.Struct):
    """Readings that are decided and made durable together, and the messages whose last reading is among them."""

    messages: list[Message]
    readings: list[Reading]
    unreadable: list[Quarantined]
    own: int = 0
    """Number of the service's own messages among them."""
    own_readings: list[Reading] = []

    @property
    def weight(self) -> int:
        """Size for the limits of settling."""
        return max(len(self.messages), len(self.readings))


async def no_decision(_readings: Sequence[Reading]) -> None:
    """The sink of a collector that only writes history."""


def as_sent(topic: Topic) -> Topic:
    """The address without a ledger: the topic as it was sent."""
    return topic


def no_audience(_readings: Sequence[Reading]) -> None:
    """The announcement without a live feed."""


class Collector:
    """Takes messages from a source and processes each completely before it is acknowledged."""

    def __init__(
        self,
        source: Source,
        buffer: Keeper,
        sequences: SequenceMemory,
        quarantine: Quarantine,
        metrics: IngestMetrics,
        decide: Decide = no_decision,
        announce: Announce = no_audience,
        decoder: Decoder | None = None,
        receive: Receive | None = None,
        first_arrival: int = 0,
        own: Mapping[str, ReadOwn] | None = None,
        babbling: Babbling | None = None,
        clocks: DeviceClocks | None = None,
        inspect: Inspect | None = None,
        unread: UnreadTopics | None = None,
        address: Address = as_sent,
    ) -> None:
        """Connect the sinks; `own` topics are the service's messages to itself: evaluated, not counted or stored."""
        self._source = source
        self._buffer = buffer
        self._sequences = sequences
        self._quarantine = quarantine
        self._decide = decide
        self._announce = announce
        self._reader = MessageReader(decoder or Decoder(), own or {}, first_arrival, inspect, unread)
        self._receive = receive
        self._address = address
        self._metrics = metrics
        self._settling: deque[_Chunk] = deque()
        self._unsettled = 0
        self._moved = asyncio.Condition()
        self._babbling = babbling
        self._clocks = clocks or DeviceClocks()
        self._received_at = 0
        self._judging_since: float | None = None
        self._longest_judging_s = 0.0
        self._most_decided = _MOST_DECIDED
        self.oldest_unjudged_ns = 0
        """When the oldest message was received that was taken and is not evaluated yet, in epoch ns; 0: none is."""

    def longest_judging_s(self) -> float:
        """The longest evaluation since the last call, in seconds; an evaluation that is still running counts."""
        self._note_judging()
        longest, self._longest_judging_s = self._longest_judging_s, 0.0
        return longest

    def _note_judging(self) -> None:
        if self._judging_since is not None:
            self._longest_judging_s = max(self._longest_judging_s, time.monotonic() - self._judging_since)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take_in(), name="collector.take_in")
            group.create_task(self._settle(), name="collector.settle")

    async def _take_in(self) -> None:
        while True:
            messages = await self._next_messages()
            self._judging_since = time.monotonic()
            if messages:
                self.oldest_unjudged_ns = messages[0].received_ns
            self._count_babble(messages)
            async for chunk in self._chunks_of(messages):
                self._leave_out_babble(chunk)
                await self._judge(chunk)
                await self._pass_on(chunk)
            self.oldest_unjudged_ns = 0
            self._note_judging()
            self._judging_since = None

    async def _next_messages(self) -> list[Message]:
        """The next messages; an empty list after a second without any while equipment is above the rate limit."""
        if self._babbling is None or not self._babbling.restless:
            return await self._source.next_batch(BATCH)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TURN_MS / 1000):
                return await self._source.next_batch(BATCH)
        return []

    # -- decoding --------------------------------------------------------------------------------------

    async def _chunks_of(self, messages: Sequence[Message]) -> AsyncIterator[_Chunk]:
        """Decode messages into chunks that block the loop for a short time each; without messages one empty chunk."""
        chunk, began = _Chunk([], [], []), time.thread_time()
        for number, message in enumerate(messages):
            if len(message.payload) > _LARGE:
                content = await asyncio.to_thread(self._reader.read, message)
                began = time.thread_time()
            else:
                content = self._reader.read(message)
            if self._receive is not None and content.is_read:
                self._receive(message, content.readings)
            self._reader.look_closer(message, content)
            rest = content.readings
            while len(chunk.readings) + len(rest) > self._most_decided:
                room = self._most_decided - len(chunk.readings)
                chunk.readings += rest[:room]
                rest = rest[room:]
                yield self._counted(chunk)
                chunk, began = _Chunk([], [], []), time.thread_time()
                self.oldest_unjudged_ns = message.received_ns
            self._finish(chunk, message, content, rest)
            if number % _LOOKED_AT_EVERY == 0 and time.thread_time() - began > _LOOP_S:
                yield self._counted(chunk)
                chunk, began = _Chunk([], [], []), time.thread_time()
                self.oldest_unjudged_ns = message.received_ns
        if chunk.messages or not messages:
            yield self._counted(chunk)

    def _finish(self, chunk: _Chunk, message: Message, content: Content, rest: list[Reading]) -> None:
        """Add a message to the chunk that holds the last of its readings."""
        chunk.messages.append(message)
        if content.own:
            chunk.own += 1
            chunk.own_readings += rest
            return
        chunk.readings += rest
        if content.faults:
            chunk.unreadable += quarantined(message, content.faults, content.site)
            for fault in content.faults[:FAULTS_SHOWN]:
                self._metrics.faults.labels(fault.reason.value).inc()

    def _counted(self, chunk: _Chunk) -> _Chunk:
        self._metrics.messages.inc(len(chunk.messages) - chunk.own)
        self._metrics.readings.inc(len(chunk.readings))
        for reading in chunk.readings:
            if reading.quality:
                for flag in Quality(reading.quality).names():
                    self._metrics.doubtful.labels(flag).inc()
        return chunk

    # -- babbling --------------------------------------------------------------------------------------

    def _count_babble(self, messages: Sequence[Message]) -> None:
        """Count the messages of each topic."""
        if self._babbling is None:
            return
        if messages:
            self._received_at = messages[-1].received_ns // 1_000_000
            self._babbling.count(map(_topic_of, messages), messages[-1].connection, self._received_at)
        else:
            self._received_at += TURN_MS

    def _leave_out_babble(self, chunk: _Chunk) -> None:
        babbling = self._babbling
        if babbling is None:
            return
        before = babbling.sampled
        chunk.readings = babbling.sift(chunk.readings, self._received_at)
        chunk.readings += babbling.turn(self._received_at, self._sender_of)
        if babbling.sampled > before:
            self._metrics.sampled.inc(babbling.sampled - before)

    def _sender_of(self, text: str) -> Topic | None:
        topic = self._reader.sender_of(text)
        return None if topic is None else self._address(topic)

    # -- deciding --------------------------------------------------------------------------------------

    async def _judge(self, chunk: _Chunk) -> None:
        """Decide a chunk, and adapt the size of the next one to the time that it took."""
        await self._sequences.recognise(chunk.readings)
        chunk.readings += self._clocks.note(chunk.readings)
        began = time.thread_time()
        await self._decide([*chunk.readings, *chunk.own_readings] if chunk.own_readings else chunk.readings)
        spent = time.thread_time() - began
        if spent > _LOOP_S:
            self._most_decided = max(_FEWEST_DECIDED, int(len(chunk.readings) * _LOOP_S / spent))
        elif len(chunk.readings) >= self._most_decided:
            self._most_decided = min(_MOST_DECIDED, 2 * self._most_decided)
        await asyncio.sleep(0)  # a decision without consequences has not yielded to other tasks

    async def _pass_on(self, chunk: _Chunk) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self._unsettled < MOST_SETTLING)
            self._settling.append(chunk)
            self._unsettled += chunk.weight
            self._moved.notify_all()

    # -- settling --------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        while True:
            chunk, weight = await self._next_to_settle()
            if chunk.unreadable:
                await self._quarantine(chunk.unreadable)
            states = [reading for reading in chunk.readings if reading.topic.channel is not Channel.EVENT]
            if states:
                await self._keep(states)
            self._source.acknowledge(chunk.messages)
            async with self._moved:
                self._unsettled -= weight
                self._moved.notify_all()
            self._metrics.buffer.set(self._unsettled)
            self._metrics.acknowledged.inc(len(chunk.messages) - chunk.own)
            if not chunk.messages:
                continue
            self._metrics.acknowledgement.observe((time.time_ns() - chunk.messages[0].received_ns) / 1e9)

    async def _next_to_settle(self) -> tuple[_Chunk, int]:
        """All pending chunks, oldest first, as one, and its weight: what came during one write shares the next."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._settling)
            chunk = self._settling.popleft()
            weight = chunk.weight
            while self._settling and weight + self._settling[0].weight <= _SETTLED_AT_ONCE:
                further = self._settling.popleft()
                weight += further.weight
                chunk.messages += further.messages
                chunk.readings += further.readings
                chunk.unreadable += further.unreadable
                chunk.own += further.own
            return chunk, weight

    async def _keep(self, states: list[Reading]) -> None:
        self._metrics.buffer.set(self._unsettled)
        await self._buffer.write(states)
        self._announce(states)


def as_quarantined(refused: Sequence[Refused]) -> list[Quarantined]:
    """Readings that the store rejects permanently, for the quarantine: their fields, and the store's reason."""
    return [_as_quarantined(reading, why) for reading, why in refused]


def _as_quarantined(reading: Reading, why: str) -> Quarantined:
    payload = msgspec.json.encode(reading.fields)
    reason = Reason.REFUSED_BY_STORE.value
    kept = payload[:QUARANTINE_BYTES]
    return Quarantined(reading.received_at, str(reading.topic), kept, len(payload), reason, why, reading.topic.site)
