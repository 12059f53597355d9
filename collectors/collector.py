"""The loop of ingest: message -> readings -> sinks -> acknowledgement.

    next_batch -> decode -> decide (alarms, committed) -> [settling] -> write (durable) -> acknowledge

Two stages run at once: while one part of a batch is written, the next is decoded and decided. Parts are bounded by
readings and by the time that they take on the loop, so that the lease is renewed and pages are answered in between; a
message with many samples is decided in several, and acknowledged with the last of them. They settle in order of
arrival, so acknowledgements do too. A store that is slow or down holds back neither: after two seconds the write
buffer keeps the readings on disk instead.
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
from collectors.payloads.decoder import Decoder
from collectors.payloads.faults import Reason
from collectors.sequences import SequenceMemory
from collectors.timeseries.store import Refused
from collectors.unread_topics import UnreadTopics
from collectors.wire.fields import Channel
from collectors.wire.reading import Quality, Reading

BATCH: Final = 4_000
"""Messages. Small enough for decisions to come every few milliseconds, large enough to share one fsync."""
MOST_SETTLING: Final = 40_000
"""Readings that are decided and not yet durable: enough for the seconds in which the store is given up. A message
without any counts as one."""
_SETTLED_AT_ONCE: Final = 8_000
"""Of them one write may hold."""
_MOST_DECIDED: Final = 4_000
"""Readings of one decision."""
_FEWEST_DECIDED: Final = 50
_LOOP_S: Final = 0.05
"""Seconds of processor time for which decoding, or deciding, a part may hold the loop."""
_LOOKED_AT_EVERY: Final = 64
"""Messages that are decoded between two looks at that time."""
_LARGE: Final = 32 * 1024
"""Bytes. A larger payload is decoded in a thread: JSON of a few megabytes takes longer than the loop may be held."""
_LATE_NS: Final = 1_000_000_000
"""A message that has waited for so long to be judged says that we are behind."""


class Source(Protocol):
    """Where messages come from; see `broker.Broker`."""

    async def next_batch(self, most: int) -> list[Message]: ...
    def acknowledge(self, messages: Sequence[Message]) -> None: ...


class Keeper(Protocol):
    """What makes readings durable; see `write_buffer.WriteBuffer`."""

    async def write(self, readings: Sequence[Reading]) -> None: ...


_topic_of: Final = attrgetter("topic")
Decide = Callable[[Sequence[Reading]], Awaitable[None]]
"""Returns when what follows from the readings is committed."""
Quarantine = Callable[[Sequence[Quarantined]], Awaitable[None]]
"""Returns when the messages put aside are kept."""
Announce = Callable[[Sequence[Reading]], None]
"""Told of readings that are durable: the live feed."""
Hear = Callable[[Message, Sequence[Reading]], None]
"""Told of each message and its readings before anything is decided: who keeps the last message of unknown equipment."""


class _Part(msgspec.Struct):
    """What is decided and made durable together: readings, and the messages of which none are left after these."""

    messages: list[Message]
    readings: list[Reading]
    aside: list[Quarantined]
    own: int = 0
    """How many of the messages are the service's own."""
    own_readings: list[Reading] = []

    @property
    def weight(self) -> int:
        """By which settling is bounded."""
        return max(len(self.messages), len(self.readings))


async def no_decision(_readings: Sequence[Reading]) -> None:
    """The sink of a collector that only writes history."""


def no_audience(_readings: Sequence[Reading]) -> None:
    """Where nobody looks on."""


class Collector:
    """Takes messages from a source and brings each to its end before it is acknowledged."""

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
        hear: Hear | None = None,
        first_arrival: int = 0,
        own: Mapping[str, ReadOwn] | None = None,
        babbling: Babbling | None = None,
        clocks: DeviceClocks | None = None,
        inspect: Inspect | None = None,
        unread: UnreadTopics | None = None,
    ) -> None:
        """Wire it up; `own` topics are the service's messages to itself: judged, but neither counted nor kept."""
        self._source = source
        self._buffer = buffer
        self._sequences = sequences
        self._quarantine = quarantine
        self._decide = decide
        self._announce = announce
        self._reader = MessageReader(decoder or Decoder(), own or {}, first_arrival, inspect, unread)
        self._hear = hear
        self._metrics = metrics
        self._settling: deque[_Part] = deque()
        self._unsettled = 0
        self._moved = asyncio.Condition()
        self._babbling = babbling
        self._clocks = clocks or DeviceClocks()
        self._heard_at = 0
        self._judging_since: float | None = None
        self._longest_judging_s = 0.0
        self._most_decided = _MOST_DECIDED
        self.oldest_unjudged_ns = 0
        """When the oldest message was received that was taken and is not judged yet, in epoch ns; 0: none is."""

    def longest_judging_s(self) -> float:
        """The longest that messages were judged since this was last asked; those count that still are."""
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
            async for part in self._parts_of(messages):
                self._leave_out_babble(part)
                await self._judge(part)
                await self._pass_on(part)
            self.oldest_unjudged_ns = 0
            self._note_judging()
            self._judging_since = None

    async def _next_messages(self) -> list[Message]:
        """What has come; nothing after a second in which somebody loud has fallen silent."""
        if self._babbling is None or not self._babbling.restless:
            return await self._source.next_batch(BATCH)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TURN_MS / 1000):
                return await self._source.next_batch(BATCH)
        return []

    # -- decoding --------------------------------------------------------------------------------------

    async def _parts_of(self, messages: Sequence[Message]) -> AsyncIterator[_Part]:
        """Decode messages into parts that hold the loop for a short time each; without messages one empty part."""
        part, began = _Part([], [], []), time.thread_time()
        for number, message in enumerate(messages):
            if len(message.payload) > _LARGE:
                content = await asyncio.to_thread(self._reader.read, message)
                began = time.thread_time()
            else:
                content = self._reader.read(message)
            if self._hear is not None and content.is_read:
                self._hear(message, content.readings)
            self._reader.look_closer(message, content)
            rest = content.readings
            while len(part.readings) + len(rest) > self._most_decided:
                room = self._most_decided - len(part.readings)
                part.readings += rest[:room]
                rest = rest[room:]
                yield self._counted(part)
                part, began = _Part([], [], []), time.thread_time()
                self.oldest_unjudged_ns = message.received_ns
            self._finish(part, message, content, rest)
            if number % _LOOKED_AT_EVERY == 0 and time.thread_time() - began > _LOOP_S:
                yield self._counted(part)
                part, began = _Part([], [], []), time.thread_time()
                self.oldest_unjudged_ns = message.received_ns
        if part.messages or not messages:
            yield self._counted(part)

    def _finish(self, part: _Part, message: Message, content: Content, rest: list[Reading]) -> None:
        """Put a message into the part that holds the last of its readings."""
        part.messages.append(message)
        if content.own:
            part.own += 1
            part.own_readings += rest
            return
        part.readings += rest
        if content.faults:
            part.aside += quarantined(message, content.faults, content.site)
            for fault in content.faults[:FAULTS_SHOWN]:
                self._metrics.faults.labels(fault.reason.value).inc()

    def _counted(self, part: _Part) -> _Part:
        self._metrics.messages.inc(len(part.messages) - part.own)
        self._metrics.readings.inc(len(part.readings))
        for reading in part.readings:
            if reading.quality:
                for flag in Quality(reading.quality).names():
                    self._metrics.doubtful.labels(flag).inc()
        return part

    # -- babbling --------------------------------------------------------------------------------------

    def _count_babble(self, messages: Sequence[Message]) -> None:
        """Count who sends how much."""
        if self._babbling is None:
            return
        if messages:
            self._heard_at = messages[-1].received_ns // 1_000_000
            self._babbling.count(map(_topic_of, messages), messages[-1].connection, self._heard_at)
        else:
            self._heard_at += TURN_MS

    def _leave_out_babble(self, part: _Part) -> None:
        babbling = self._babbling
        if babbling is None:
            return
        before = babbling.sampled
        part.readings = babbling.sift(part.readings, self._heard_at)
        part.readings += babbling.turn(self._heard_at, self._reader.speaker_of)
        if babbling.sampled > before:
            self._metrics.sampled.inc(babbling.sampled - before)

    # -- deciding --------------------------------------------------------------------------------------

    async def _judge(self, part: _Part) -> None:
        """Have a part decided, and learn from it how many readings the next one may hold."""
        await self._sequences.recognise(part.readings)
        part.readings += self._clocks.note(part.readings)
        began = time.thread_time()
        await self._decide([*part.readings, *part.own_readings] if part.own_readings else part.readings)
        spent = time.thread_time() - began
        if spent > _LOOP_S:
            self._most_decided = max(_FEWEST_DECIDED, int(len(part.readings) * _LOOP_S / spent))
        elif len(part.readings) >= self._most_decided:
            self._most_decided = min(_MOST_DECIDED, 2 * self._most_decided)
        await asyncio.sleep(0)  # a decision of which nothing follows has not given way to anybody

    async def _pass_on(self, part: _Part) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self._unsettled < MOST_SETTLING)
            self._settling.append(part)
            self._unsettled += part.weight
            self._moved.notify_all()

    # -- settling --------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        while True:
            part, weight = await self._next_to_settle()
            if part.aside:
                await self._quarantine(part.aside)
            states = [reading for reading in part.readings if reading.topic.channel is not Channel.EVENT]
            if states:
                await self._keep(states)
            self._source.acknowledge(part.messages)
            async with self._moved:
                self._unsettled -= weight
                self._moved.notify_all()
            self._metrics.buffer.set(self._unsettled)
            self._metrics.acknowledged.inc(len(part.messages) - part.own)
            if not part.messages:
                continue
            self._metrics.acknowledgement.observe((time.time_ns() - part.messages[0].received_ns) / 1e9)

    async def _next_to_settle(self) -> tuple[_Part, int]:
        """All that waits, oldest first, as one part, and its weight: what came during one write shares the next."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._settling)
            part = self._settling.popleft()
            weight = part.weight
            while self._settling and weight + self._settling[0].weight <= _SETTLED_AT_ONCE:
                further = self._settling.popleft()
                weight += further.weight
                part.messages += further.messages
                part.readings += further.readings
                part.aside += further.aside
                part.own += further.own
            return part, weight

    async def _keep(self, states: list[Reading]) -> None:
        self._metrics.buffer.set(self._unsettled)
        await self._buffer.write(states)
        self._announce(states)


def as_quarantined(refused: Sequence[Refused]) -> list[Quarantined]:
    """Readings that the store will never take, for the quarantine: their fields, and the store's reason."""
    return [_as_quarantined(reading, why) for reading, why in refused]


def _as_quarantined(reading: Reading, why: str) -> Quarantined:
    payload = msgspec.json.encode(reading.fields)
    reason = Reason.REFUSED_BY_STORE.value
    kept = payload[:QUARANTINE_BYTES]
    return Quarantined(reading.received_at, str(reading.topic), kept, len(payload), reason, why, reading.topic.site)
