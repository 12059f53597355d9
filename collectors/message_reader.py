"""Reads messages: topic -> route -> readings and faults, and events for unreadable messages that matter.

`read` may run in another thread for a large message, one at a time; everything else runs on the loop.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from collectors.mqtt.message import Message
from collectors.payloads.faults import Fault, Reason
from collectors.payloads.format_by_topic import Beside, Decoder, NamedTopic, Route, decode_by
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
"""Characters. MQTT permits 65,535; the route of a longer topic is not cached."""
_KNOWN_SHAPES: Final = 4_096
_PLACES_NAMED: Final = 20
_UNKNOWN_FIELD: Final = int(Quality.UNKNOWN_FIELD)
FAULTS_SHOWN: Final = 3
"""Entries in the quarantine for one message; more would repeat the same."""


class Quarantined(msgspec.Struct, frozen=True):
    """A message that could not be read completely: first 8 KiB, reason, what was expected, and its site."""

    received_at: int
    topic: str
    payload: bytes
    size: int
    reason: str
    detail: str
    site: str = ""


class Content(msgspec.Struct, gc=False):
    """The content of a message. Readings of the service's own messages are evaluated, neither counted nor stored."""

    readings: list[Reading]
    faults: Sequence[Fault] = ()
    own: bool = False
    route: Route | None = None
    decoded: Decoded | None = None
    site: str = ""
    """For the quarantine; "" if it is not known."""

    @property
    def is_read(self) -> bool:
        """Whether it came from a device, on a topic that has a mapping."""
        return not self.own and not isinstance(self.route, Fault | Beside)


ReadOwn = Callable[[bytes, int], list[Reading]]
"""Reads a payload that the service sent to itself, received at a time in epoch ns. Never raises."""

Inspect = Callable[[Message, Route, Decoded], list[Reading]]
"""Inspects a message that could not be read completely, and returns events for what operators must know."""


class MessageReader:
    """Reads messages by the route of their topic, and knows the equipment of third-party topics."""

    def __init__(
        self,
        decoder: Decoder,
        own: Mapping[str, ReadOwn],
        first_arrival: int,
        inspect: Inspect | None = None,
        unread: UnreadTopics | None = None,
    ) -> None:
        """Read with a decoder; `first_arrival` is the initial count of readings, see `native.decode`."""
        self._decoder = decoder
        self._own = own
        self._arrivals = first_arrival
        self._inspect = inspect
        self._unread = unread
        self._routes: dict[str, Route] = {}
        # Third-party topic -> equipment, as far as messages have named it.
        self._senders: dict[str, Topic] = {}
        self._shapes: set[object] = set()

    def read(self, message: Message) -> Content:
        """Read a message. Never raises."""
        route = self._routes.get(message.topic) or self._learn_route(message.topic)
        if route is None:
            return Content(self._own[message.topic](message.payload, message.received_ns), own=True)
        decoded = self._decode(route, message)
        readings = decoded.readings
        self._arrivals += len(readings)
        if readings and not isinstance(route, Topic):
            self._note_sender(message.topic, readings[0].topic)
        if message.redelivered or message.retained:
            _mark(message, readings)
        return Content(readings, self._name_left_out(message, route, decoded), route=route, decoded=decoded)

    def look_closer(self, message: Message, content: Content) -> None:
        """Add events for what could not be read, and list a topic that has no mapping."""
        route, decoded = content.route, content.decoded
        if route is None or decoded is None:
            return
        found: list[Reading] = []
        if self._inspect is not None and _is_odd(decoded):
            found = self._inspect(message, route, decoded)
        if isinstance(route, Fault):
            content.faults = self._note_unread(message, route, is_reported=bool(found))
        if content.faults:
            content.site = found[0].topic.site if found else _site_of(message.topic, route, decoded)
        content.readings = [*content.readings, *found] if found else content.readings

    def sender_of(self, text: str) -> Topic | None:
        """The equipment of a topic, None if it is not known."""
        route = self._routes.get(text)
        return route if isinstance(route, Topic) else self._senders.get(text)

    def _decode(self, route: Route, message: Message) -> Decoded:
        received_at = message.received_ns // 1_000_000
        if message.oversize and not isinstance(route, Fault):
            return refused(Reason.TOO_LARGE, f"{message.oversize} bytes; larger than broker.max_packet_kb permits")
        if isinstance(route, Topic):
            return decode(route, message.payload, received_at, self._arrivals)
        return decode_by(route, message.payload, received_at, self._arrivals)

    def _name_left_out(self, message: Message, route: Route, decoded: Decoded) -> Sequence[Fault]:
        """The faults, and once for each shape of message one that names the values that no field takes."""
        shape = decoded.shape
        if self._inspect is None or shape is None or shape in self._shapes or not isinstance(route, MappedTopic):
            return decoded.faults
        if len(self._shapes) >= _KNOWN_SHAPES:
            self._shapes.clear()
        self._shapes.add(shape)
        decoded.left_out = route.left_out(message.payload)
        return [_named(decoded.left_out), *decoded.faults] if decoded.left_out else decoded.faults

    def _note_unread(self, message: Message, fault: Fault, *, is_reported: bool) -> Sequence[Fault]:
        """List a topic that is not read. A message without a mapping is quarantined only if it was reported."""
        if self._unread is None:
            return (fault,)
        received_at = message.received_ns // 1_000_000
        self._unread.note(message.topic, fault.reason.value, fault.detail, message.payload, received_at)
        return (fault,) if is_reported or fault.reason is not Reason.NO_MAPPING else ()

    def _learn_route(self, topic: str) -> Route | None:
        """The route of a topic; None: the topic is the service's own."""
        if topic in self._own:
            return None
        route = self._decoder.route(topic)
        if len(topic) <= _TOPIC_LENGTH and not isinstance(route, Fault):
            if len(self._routes) >= _KNOWN_TOPICS:
                self._routes.clear()
            self._routes[topic] = route
        return route

    def _note_sender(self, text: str, topic: Topic) -> None:
        if len(self._senders) >= _KNOWN_TOPICS:
            self._senders.clear()
        self._senders[text] = topic


def _mark(message: Message, readings: Sequence[Reading]) -> None:
    """Flag readings by how the broker delivered the message. Only a status is meant to be retained."""
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
    """The site of a message, "" if it is not known."""
    if decoded.readings:
        return decoded.readings[0].topic.site
    if isinstance(route, Topic):
        return route.site
    if isinstance(route, NamedTopic):
        return route.topic.site
    return route.site if isinstance(route, MappedTopic) else _site_in(topic)


def _site_in(topic: str) -> str:
    """The site in a topic that does not follow the contract but has its root."""
    root, _, rest = topic.partition("/")
    site = rest.partition("/")[0]
    return code_of(site) if root == ROOT and is_name(site) else ""


def _named(left_out: Sequence[tuple[str, Any]]) -> Fault:
    """One fault that names the values of a message that no field takes."""
    more = f" and {len(left_out) - _PLACES_NAMED} more" if len(left_out) > _PLACES_NAMED else ""
    places = ", ".join(where for where, _ in left_out[:_PLACES_NAMED])
    return Fault(Reason.LEFT_OUT, f"no field takes {places}{more}; reported once for messages of this shape")


def quarantined(message: Message, faults: Sequence[Fault], site: str) -> list[Quarantined]:
    """The quarantine's entries for a message's first faults."""
    kept, size = message.payload[:QUARANTINE_BYTES], message.oversize or len(message.payload)
    at, topic = message.received_ns // 1_000_000, message.topic[:_TOPIC_LENGTH]
    return [
        Quarantined(at, topic, kept, size, fault.reason.value, fault.detail, site) for fault in faults[:FAULTS_SHOWN]
    ]
