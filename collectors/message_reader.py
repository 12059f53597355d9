"""Reads messages: topic -> route -> readings and faults. Pure but for its memory of topics.

`read` may be called in another thread for a large message, one at a time; all else belongs to the loop.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from collectors.fields import Channel
from collectors.mqtt.message import Message
from collectors.payloads.decoder import Decoder, Route
from collectors.payloads.mapped import MappedTopic
from collectors.payloads.native import decode, refuse
from collectors.payloads.samples import Decoded, Fault, Reason, refused
from collectors.reading import Quality, Reading
from collectors.topics import Topic

QUARANTINE_BYTES: Final = 8 * 1024
_KNOWN_TOPICS: Final = 50_000
_TOPIC_LENGTH: Final = 512
"""Characters. MQTT permits 65,535; such a topic is looked at anew each time and not remembered."""
FAULTS_SHOWN: Final = 3
"""Entries in the quarantine for one message; more would say the same again."""


class Quarantined(msgspec.Struct, frozen=True):
    """A message that could not be read, or part of it: first 8 KiB, reason, what was expected."""

    received_at: int
    topic: str
    payload: bytes
    size: int
    reason: str
    detail: str


class Content(msgspec.Struct, gc=False):
    """What a message holds. Readings of the service's own messages are judged, but neither counted nor kept."""

    readings: list[Reading]
    faults: Sequence[Fault] = ()
    own: bool = False


ReadOwn = Callable[[bytes, int], list[Reading]]
"""Reads a payload that the service sent to itself, received at a time in epoch ns. Raises nothing."""


class MessageReader:
    """Knows how each topic is read, and whose a third-party topic is."""

    def __init__(self, decoder: Decoder, own: Mapping[str, ReadOwn], first_arrival: int) -> None:
        """Read by a decoder; `first_arrival` is where counting of readings begins, see `native.decode`."""
        self._decoder = decoder
        self._own = own
        self._arrivals = first_arrival
        self._routes: dict[str, Route] = {}
        # Whose a third-party topic is, as far as messages have told.
        self._speakers: dict[str, Topic] = {}

    def read(self, message: Message) -> Content:
        """Read a message. Raises nothing."""
        route = self._routes.get(message.topic) or self._learn_route(message.topic)
        if route is None:
            return Content(self._own[message.topic](message.payload, message.received_ns), own=True)
        if isinstance(route, Fault):
            return Content([], (route,))
        decoded = self._decode(route, message)
        readings = decoded.readings
        self._arrivals += len(readings)
        if readings and not isinstance(route, Topic):
            self._note_speaker(message.topic, readings[0].topic)
        if message.redelivered or message.retained:
            _mark(message, readings)
        return Content(readings, decoded.faults)

    def speaker_of(self, text: str) -> Topic | None:
        """Whose a topic is, as far as it is known."""
        route = self._routes.get(text)
        return route if isinstance(route, Topic) else self._speakers.get(text)

    def _decode(self, route: Topic | MappedTopic, message: Message) -> Decoded:
        received_at = message.received_ns // 1_000_000
        if message.oversize:
            detail = f"{message.oversize} bytes; larger than broker.max_packet_kb permits"
            if isinstance(route, Topic):
                return refuse(route, Fault(Reason.TOO_LARGE, detail), received_at, self._arrivals)
            return refused(Reason.TOO_LARGE, detail)
        if isinstance(route, Topic):
            return decode(route, message.payload, received_at, self._arrivals)
        return route.decode(message.payload, received_at, self._arrivals)

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


def _mark(message: Message, readings: Sequence[Reading]) -> None:
    """Carry over how the broker delivered it. Only a status is meant to be found by who comes later."""
    for reading in readings:
        reading.redelivered = message.redelivered
        if message.retained and reading.quality & Quality.NO_TIME:
            is_status = reading.topic.channel is Channel.STATUS
            reading.quality |= Quality.REPEATED if is_status else Quality.RETAINED


def quarantined(message: Message, faults: Sequence[Fault]) -> list[Quarantined]:
    """What the quarantine keeps of a message's first faults."""
    kept, size = message.payload[:QUARANTINE_BYTES], message.oversize or len(message.payload)
    at, topic = message.received_ns // 1_000_000, message.topic[:_TOPIC_LENGTH]
    return [Quarantined(at, topic, kept, size, fault.reason.value, fault.detail) for fault in faults[:FAULTS_SHOWN]]
