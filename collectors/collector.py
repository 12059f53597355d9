"""The loop of ingest: message -> readings -> sinks -> acknowledgement.

    next_batch -> decode -> decide (alarms, committed) -> [settling] -> write (durable) -> acknowledge

Two stages run at once: while one batch is written, the next is decoded and decided. Batches settle in order of
arrival, so acknowledgements do too. A store that is slow or down holds back neither: after two seconds the write
buffer keeps the readings on disk instead.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, Protocol

import msgspec

from collectors.babbling import TURN_MS, Babbling
from collectors.broker import Message
from collectors.fields import Channel
from collectors.metrics import IngestMetrics
from collectors.names import code_of, is_name
from collectors.payloads.decoder import Beside, Decoder, NamedTopic, Route
from collectors.payloads.faults import Fault, Reason
from collectors.payloads.mapped import MappedTopic
from collectors.payloads.native import decode
from collectors.payloads.samples import Decoded
from collectors.reading import Quality, Reading
from collectors.sequences import SequenceMemory
from collectors.timeseries.store import Refused
from collectors.topics import ROOT, Topic
from collectors.unread_topics import UnreadTopics

BATCH: Final = 4_000
"""Messages. Small enough for decisions to come every few milliseconds, large enough to share one fsync."""
MOST_SETTLING: Final = 40_000
"""Messages that are decided and not yet durable: enough for the seconds in which the store is given up."""
_SETTLED_AT_ONCE: Final = 8_000
"""Messages one write may hold."""
_KNOWN_TOPICS: Final = 50_000
_TOPIC_LENGTH: Final = 512
"""Characters. MQTT permits 65,535; such a topic is looked at anew each time and not remembered."""
QUARANTINE_BYTES: Final = 8 * 1024


class Source(Protocol):
    """Where messages come from; see `broker.Broker`."""

    async def next_batch(self, most: int) -> list[Message]: ...
    def acknowledge(self, messages: Sequence[Message]) -> None: ...


class Keeper(Protocol):
    """What makes readings durable; see `write_buffer.WriteBuffer`."""

    async def write(self, readings: Sequence[Reading]) -> None: ...


class Quarantined(msgspec.Struct, frozen=True):
    """A message that could not be read, or part of it: first 8 KiB, reason, what was expected, and of which site."""

    received_at: int
    topic: str
    payload: bytes
    size: int
    reason: str
    detail: str
    site: str = ""


_topic_of: Final = attrgetter("topic")
Decide = Callable[[Sequence[Reading]], Awaitable[None]]
"""Returns when what follows from the readings is committed."""
Quarantine = Callable[[Sequence[Quarantined]], Awaitable[None]]
"""Returns when the messages put aside are kept."""


class _Batch(msgspec.Struct):
    messages: list[Message]
    readings: list[Reading]
    aside: list[Quarantined]
    own: int = 0
    """How many of the messages are the service's own."""
    own_readings: list[Reading] = []


Announce = Callable[[Sequence[Reading]], None]
"""Told of readings that are durable: the live feed."""
Hear = Callable[[Message, Sequence[Reading]], None]
"""Told of each message and its readings before anything is decided: who keeps the last message of unknown equipment."""

Inspect = Callable[[Message, Route, Decoded], list[Reading]]
"""Looks at a message that could not be read as a whole, and makes events of what somebody has to know."""

ReadOwn = Callable[[bytes, int], list[Reading]]
"""Reads a payload that the service sent to itself, received at a time in epoch ns. Raises nothing."""


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
        self._decoder = decoder or Decoder()
        self._hear = hear
        self._metrics = metrics
        self._settling: deque[_Batch] = deque()
        self._unsettled = 0
        self._moved = asyncio.Condition()
        self._routes: dict[str, Route] = {}
        self._arrivals = first_arrival
        self._own = dict(own or {})
        self._babbling = babbling
        self._inspect = inspect
        self._unread = unread
        self._shapes: set[object] = set()
        self._heard_at = 0
        # Whose a third-party topic is, as far as messages have told.
        self._speakers: dict[str, Topic] = {}
        self._judging_since: float | None = None
        self._longest_judging_s = 0.0

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
            batch = self._without_babble(self._decode(messages))
            await self._sequences.recognise(batch.readings)
            await self._decide([*batch.readings, *batch.own_readings] if batch.own_readings else batch.readings)
            self._note_judging()
            self._judging_since = None
            async with self._moved:
                await self._moved.wait_for(lambda: self._unsettled < MOST_SETTLING)
                self._settling.append(batch)
                self._unsettled += len(batch.messages)
                self._moved.notify_all()

    async def _next_messages(self) -> list[Message]:
        """What has come; nothing after a second in which somebody loud has fallen silent."""
        if self._babbling is None or not self._babbling.restless:
            return await self._source.next_batch(BATCH)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TURN_MS / 1000):
                return await self._source.next_batch(BATCH)
        return []

    def _without_babble(self, batch: _Batch) -> _Batch:
        """Count who sends how much, and leave out what one sends too much."""
        babbling, messages = self._babbling, batch.messages
        if babbling is None:
            return batch
        if messages:
            self._heard_at = messages[-1].received_ns // 1_000_000
            babbling.count(map(_topic_of, messages), messages[-1].connection, self._heard_at)
        else:
            self._heard_at += TURN_MS
        before = babbling.sampled
        batch.readings = babbling.sift(batch.readings, self._heard_at)
        batch.readings += babbling.turn(self._heard_at, self._speaker_of)
        if babbling.sampled > before:
            self._metrics.sampled.inc(babbling.sampled - before)
        return batch

    def _speaker_of(self, text: str) -> Topic | None:
        route = self._routes.get(text)
        return route if isinstance(route, Topic) else self._speakers.get(text)

    async def _settle(self) -> None:
        while True:
            batch = await self._next_to_settle()
            if batch.aside:
                await self._quarantine(batch.aside)
            states = [reading for reading in batch.readings if reading.topic.channel is not Channel.EVENT]
            if states:
                await self._keep(states)
            self._source.acknowledge(batch.messages)
            async with self._moved:
                self._unsettled -= len(batch.messages)
                self._moved.notify_all()
            self._metrics.buffer.set(self._unsettled)
            self._metrics.acknowledged.inc(len(batch.messages) - batch.own)
            if not batch.messages:
                continue
            self._metrics.acknowledgement.observe((time.time_ns() - batch.messages[0].received_ns) / 1e9)

    async def _next_to_settle(self) -> _Batch:
        """All that waits, oldest first, as one batch: what came during one write shares the next."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._settling)
            batch = self._settling.popleft()
            while self._settling and len(batch.messages) + len(self._settling[0].messages) <= _SETTLED_AT_ONCE:
                further = self._settling.popleft()
                batch.messages += further.messages
                batch.readings += further.readings
                batch.aside += further.aside
                batch.own += further.own
            return batch

    async def _keep(self, states: list[Reading]) -> None:
        self._metrics.buffer.set(self._unsettled)
        await self._buffer.write(states)
        self._announce(states)

    def _decode(self, messages: list[Message]) -> _Batch:
        batch = _Batch(messages, [], [])
        for message in messages:
            route = self._routes.get(message.topic) or self._learn_route(message.topic)
            received_at = message.received_ns // 1_000_000
            if route is None:
                batch.own += 1
                batch.own_readings += self._own[message.topic](message.payload, message.received_ns)
                continue
            if isinstance(route, Topic):
                decoded = decode(route, message.payload, received_at, self._arrivals)
            elif isinstance(route, Fault):
                self._note_unread(batch, message, route)
                continue
            elif isinstance(route, Beside):
                continue
            else:
                decoded = route.decode(message.payload, received_at, self._arrivals)
                if decoded.readings and self._babbling is not None:
                    self._note_speaker(message.topic, decoded.readings[0].topic)
            if self._inspect is not None:
                self._look_closer(batch, message, route, decoded)
            self._arrivals += len(decoded.readings)
            if self._hear is not None:
                self._hear(message, decoded.readings)
            if message.redelivered or message.retained:
                _mark(message, decoded.readings)
            batch.readings += decoded.readings
            if decoded.faults:
                site = _site_of(route, decoded)
                for fault in decoded.faults[:_FAULTS_SHOWN]:
                    self._put_aside(batch, message, fault, site)
        self._count(batch)
        return batch

    def _look_closer(self, batch: _Batch, message: Message, route: Route, decoded: Decoded) -> None:
        """Name what has no place here, once for each shape of message, and tell of what cannot be read."""
        if decoded.shape is not None and decoded.shape not in self._shapes and isinstance(route, MappedTopic):
            if len(self._shapes) >= _KNOWN_SHAPES:
                self._shapes.clear()
            self._shapes.add(decoded.shape)
            decoded.left_out = route.left_out(message.payload)
            if decoded.left_out:
                self._put_aside(batch, message, _named(decoded.left_out), _site_of(route, decoded))
        is_odd = decoded.faults or decoded.left_out or any(item.quality & _UNKNOWN_FIELD for item in decoded.readings)
        if is_odd and self._inspect is not None:
            batch.readings += self._inspect(message, route, decoded)

    def _note_unread(self, batch: _Batch, message: Message, fault: Fault) -> None:
        """A topic that nobody reads: listed, and told of where it may be a matter of life and death."""
        if self._unread is not None:
            received_at = message.received_ns // 1_000_000
            self._unread.note(message.topic, fault.reason.value, fault.detail, message.payload, received_at)
        found = self._inspect(message, fault, Decoded([], [fault])) if self._inspect is not None else []
        batch.readings += found
        if found or self._unread is None or fault.reason is not Reason.NO_MAPPING:
            self._put_aside(batch, message, fault, found[0].topic.site if found else _site_in(message.topic))

    def _learn_route(self, topic: str) -> Route | None:
        """How a topic is read; None: it is the service's own."""
        if topic in self._own:
            return None
        route = self._decoder.route(topic)
        if len(topic) <= _TOPIC_LENGTH and not isinstance(route, Fault):
            if len(self._routes) >= _KNOWN_TOPICS:
                self._routes.clear()
            self._routes[topic] = route
        return route

    def _note_speaker(self, text: str, topic: Topic) -> None:
        if len(self._speakers) >= _KNOWN_TOPICS:
            self._speakers.clear()
        self._speakers[text] = topic

    def _put_aside(self, batch: _Batch, message: Message, fault: Fault, site: str) -> None:
        self._metrics.faults.labels(fault.reason.value).inc()
        kept = message.payload[:QUARANTINE_BYTES]
        received_at = message.received_ns // 1_000_000
        batch.aside.append(
            Quarantined(
                received_at,
                message.topic[:_TOPIC_LENGTH],
                kept,
                len(message.payload),
                fault.reason.value,
                fault.detail,
                site,
            )
        )

    def _count(self, batch: _Batch) -> None:
        self._metrics.messages.inc(len(batch.messages) - batch.own)
        self._metrics.readings.inc(len(batch.readings))
        for reading in batch.readings:
            if reading.quality:
                for flag in Quality(reading.quality).names():
                    self._metrics.doubtful.labels(flag).inc()


def _mark(message: Message, readings: Sequence[Reading]) -> None:
    """Carry over how the broker delivered it. Only a status is meant to be found by who comes later."""
    for reading in readings:
        reading.redelivered = message.redelivered
        if message.retained and reading.quality & Quality.NO_TIME and reading.topic.channel is not Channel.STATUS:
            reading.quality |= Quality.RETAINED


def _site_of(route: Route, decoded: Decoded) -> str:
    """The site of a message, "" where nobody can say it."""
    if decoded.readings:
        return decoded.readings[0].topic.site
    if isinstance(route, Topic):
        return route.site
    if isinstance(route, NamedTopic):
        return route.topic.site
    return route.site if isinstance(route, MappedTopic) else ""


def _site_in(topic: str) -> str:
    """The site in a topic that is not of the contract, as far as it has the contract's root."""
    root, _, rest = topic.partition("/")
    site = rest.partition("/")[0]
    return code_of(site) if root == ROOT and is_name(site) else ""


def _named(left_out: Sequence[tuple[str, Any]]) -> Fault:
    """One entry that names what a message has and no field takes."""
    more = f" and {len(left_out) - _PLACES_NAMED} more" if len(left_out) > _PLACES_NAMED else ""
    places = ", ".join(where for where, _ in left_out[:_PLACES_NAMED])
    return Fault(Reason.LEFT_OUT, f"no field takes {places}{more}; told once for messages of this shape")


_KNOWN_SHAPES: Final = 4_096
_PLACES_NAMED: Final = 20
_UNKNOWN_FIELD: Final = int(Quality.UNKNOWN_FIELD)
_FAULTS_SHOWN: Final = 3
"""Entries in the quarantine for one message; more would say the same again."""


def as_quarantined(refused: Sequence[Refused]) -> list[Quarantined]:
    """Readings that the store will never take, for the quarantine: their fields, and the store's reason."""
    return [_as_quarantined(reading, why) for reading, why in refused]


def _as_quarantined(reading: Reading, why: str) -> Quarantined:
    payload = msgspec.json.encode(reading.fields)
    reason = Reason.REFUSED_BY_STORE.value
    kept = payload[:QUARANTINE_BYTES]
    return Quarantined(reading.received_at, str(reading.topic), kept, len(payload), reason, why, reading.topic.site)
