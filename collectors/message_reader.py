"""Reads messages: topic -> route -> readings and faults, and what somebody has to know of what could not be read.

`read` may be called in another thread for a large message, one at a time; all else belongs to the loop.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from collectors.mqtt.message import Message
from collectors.payloads.decoder import Beside, Decoder, NamedTopic, Route, decode_by
from collectors.payloads.faults import Fault, Reason
from collectors.payloads.mapped import MappedTopic
from collectors.payloads.native import decode
from collectors.payloads.samples import Decoded, refused
from collectors.unread_topics import UnreadTopics
from collectors.wire.fields import Channel
from collectors.wire.names import code_of, is_name
from collectors.wire.reading import Quality, Reading
from collectors.wire.topics import ROOT, Topic

QUARANTINE_BYTES: Final = 8 * 1024
_KNOWN_TOPICS: Final = 50_000
_TOPIC_LENGTH: Final = 512
"""Characters. MQTT permits 65,535; such a topic is looked at anew each time and not remembered."""
_KNOWN_SHAPES: Final = 4_096
_PLACES_NAMED: Final = 20
_UNKNOWN_FIELD: Final = int(Quality.UNKNOWN_FIELD)
FAULTS_SHOWN: Final = 3
"""Entries in the quarantine for one message; more would say the same again."""


class Quarantined(msgspec.Struct, frozen=True):
    """A message that could not be read, or part of it: first 8 KiB, reason, what was expected, and of which site."""

    received_at: int
    topic: str
    payload: bytes
    size: int
    reason: str
    detail: str
    site: str = ""


class Content(msgspec.Struct, gc=False):
    """What a message holds. Readings of the service's own messages are judged, but neither counted nor kept."""

    readings: list[Reading]
    faults: Sequence[Fault] = ()
    own: bool = False
    route: Route | None = None
    decoded: Decoded | None = None
    site: str = ""
    """For the quarantine; "" where nobody can say it."""

    @property
    def is_read(self) -> bool:
        """Whether it came on a topic that somebody reads, and of a device."""
        return not self.own and not isinstance(self.route, Fault | Beside)


ReadOwn = Callable[[bytes, int], list[Reading]]
"""Reads a payload that the service sent to itself, received at a time in epoch ns. Raises nothing."""

Inspect = Callable[[Message, Route, Decoded], list[Reading]]
"""Looks at a message that could not be read as a whole, and makes events of what somebody has to know."""


class MessageReader:
    """Knows how each topic is read, and whose a third-party topic is."""

    def __init__(
        self,
        decoder: Decoder,
        own: Mapping[str, ReadOwn],
        first_arrival: int,
        inspect: Inspect | None = None,
        unread: UnreadTopics | None = None,
    ) -> None:
        """Read by a decoder; `first_arrival` is where counting of readings begins, see `native.decode`."""
        self._decoder = decoder
        self._own = own
        self._arrivals = first_arrival
        self._inspect = inspect
        self._unread = unread
        self._routes: dict[str, Route] = {}
        # Whose a third-party topic is, as far as messages have told.
        self._speakers: dict[str, Topic] = {}
        self._shapes: set[object] = set()

    def read(self, message: Message) -> Content:
        """Read a message. Raises nothing."""
        route = self._routes.get(message.topic) or self._learn_route(message.topic)
        if route is None:
            return Content(self._own[message.topic](message.payload, message.received_ns), own=True)
        decoded = self._decode(route, message)
        readings = decoded.readings
        self._arrivals += len(readings)
        if readings and not isinstance(route, Topic):
            self._note_speaker(message.topic, readings[0].topic)
        if message.redelivered or message.retained:
            _mark(message, readings)
        return Content(readings, self._name_left_out(message, route, decoded), route=route, decoded=decoded)

    def look_closer(self, message: Message, content: Content) -> None:
        """Add events of what could not be read, and list a topic that nobody reads."""
        route, decoded = content.route, content.decoded
        if route is None or decoded is None:
            return
        found: list[Reading] = []
        if self._inspect is not None and _is_odd(decoded):
            found = self._inspect(message, route, decoded)
        if isinstance(route, Fault):
            content.faults = self._note_unread(message, route, is_told=bool(found))
        if content.faults:
            content.site = found[0].topic.site if found else _site_of(message.topic, route, decoded)
        content.readings = [*content.readings, *found] if found else content.readings

    def speaker_of(self, text: str) -> Topic | None:
        """Whose a topic is, as far as it is known."""
        route = self._routes.get(text)
        return route if isinstance(route, Topic) else self._speakers.get(text)

    def _decode(self, route: Route, message: Message) -> Decoded:
        received_at = message.received_ns // 1_000_000
        if message.oversize and not isinstance(route, Fault):
            return refused(Reason.TOO_LARGE, f"{message.oversize} bytes; larger than broker.max_packet_kb permits")
        if isinstance(route, Topic):
            return decode(route, message.payload, received_at, self._arrivals)
        return decode_by(route, message.payload, received_at, self._arrivals)

    def _name_left_out(self, message: Message, route: Route, decoded: Decoded) -> Sequence[Fault]:
        """The faults, and one that names what has no place here, once for each shape of message."""
        shape = decoded.shape
        if self._inspect is None or shape is None or shape in self._shapes or not isinstance(route, MappedTopic):
            return decoded.faults
        if len(self._shapes) >= _KNOWN_SHAPES:
            self._shapes.clear()
        self._shapes.add(shape)
        decoded.left_out = route.left_out(message.payload)
        return [_named(decoded.left_out), *decoded.faults] if decoded.left_out else decoded.faults

    def _note_unread(self, message: Message, fault: Fault, *, is_told: bool) -> Sequence[Fault]:
        """List a topic that nobody reads. What is only that has no place in the quarantine."""
        if self._unread is None:
            return (fault,)
        received_at = message.received_ns // 1_000_000
        self._unread.note(message.topic, fault.reason.value, fault.detail, message.payload, received_at)
        return (fault,) if is_told or fault.reason is not Reason.NO_MAPPING else ()

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


def _is_odd(decoded: Decoded) -> bool:
    if decoded.faults or decoded.left_out:
        return True
    return any(reading.quality & _UNKNOWN_FIELD for reading in decoded.readings)


def _site_of(topic: str, route: Route, decoded: Decoded) -> str:
    """The site of a message, "" where nobody can say it."""
    if decoded.readings:
        return decoded.readings[0].topic.site
    if isinstance(route, Topic):
        return route.site
    if isinstance(route, NamedTopic):
        return route.topic.site
    return route.site if isinstance(route, MappedTopic) else _site_in(topic)


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


def quarantined(message: Message, faults: Sequence[Fault], site: str) -> list[Quarantined]:
    """What the quarantine keeps of a message's first faults."""
    kept, size = message.payload[:QUARANTINE_BYTES], message.oversize or len(message.payload)
    at, topic = message.received_ns // 1_000_000, message.topic[:_TOPIC_LENGTH]
    return [
        Quarantined(at, topic, kept, size, fault.reason.value, fault.detail, site) for fault in faults[:FAULTS_SHOWN]
    ]
