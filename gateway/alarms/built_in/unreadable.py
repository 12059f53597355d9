"""Raises an alarm, with the raw text, for a life-safety message that cannot be read. Pure except for its memory.

    fault of a field that a life-safety rule uses          -> alarm
    nothing can be read, and the source is life safety     -> alarm
    the topic is not understood, and the text names danger -> alarm
    a life-safety signal where no rule looks for it        -> alarm (see `misplaced`)

A source is life safety if a life-safety rule uses events of its channel, or a field that it has sent before; if nothing
of it was ever read; and if its raw text names smoke, fire or a call for help.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from collectors.mqtt.message import Message
from collectors.payloads.faults import Fault, Reason
from collectors.payloads.format_by_topic import NamedTopic, Route
from collectors.payloads.framing import strip_frame
from collectors.payloads.json_pointer import leaves
from collectors.payloads.mapped import MappedTopic
from collectors.payloads.samples import KEY_STEPS, Decoded, digest
from collectors.payloads.spellings import alarm_state_of, sounds_like_life_safety
from collectors.payloads.text_encoding import decode_text
from collectors.wire.fields import UNREADABLE, Channel, Kind
from collectors.wire.names import MAX_NAME, code_of
from collectors.wire.reading import Quality, Reading, Value
from collectors.wire.topics import ROOT, Topic, channel_of, kind_of
from gateway.alarms.built_in.misplaced import MisplacedCalls
from gateway.alarms.rules.rule import Rule, RuleType, inputs_of

_TEXT_SHOWN: Final = 400
"""Characters of the raw text shown on the page; the quarantine has all that is kept of it."""
_BYTES_READ: Final = 4_096
_SAME_TEXT_MS: Final = 60_000
"""The same text of the same equipment is reported once within this time."""
_NEXT_TEXT_MS: Final = 2_000
"""Another text of the same equipment is reported after this time: until then its alarm is active anyway."""
_REMEMBERED: Final = 10_000
_LEAVES: Final = 64
_WHOLE: Final = frozenset(
    {
        Reason.TOO_LARGE, Reason.BAD_ENCODING, Reason.NOT_JSON, Reason.NOT_OBJECT, Reason.TOO_MANY_SAMPLES,
        Reason.BAD_TOPIC,
    }
)  # fmt: skip
"""Faults by which a whole message or sample is lost."""
_NO_VALUES: Final = frozenset({False, "", "0"})

KnownFields = Callable[[str, str], Collection[str]]
"""(site, equipment) -> the fields that it has sent so far."""


class UnreadableMessages:
    """Decides which unreadable messages are alarms, and creates their events."""

    def __init__(self, rules: Iterable[Rule], known_fields: KnownFields) -> None:
        """Collect the fields that life-safety rules use.

        Args:
            rules: all rules.
            known_fields: the fields that each equipment has sent so far.
        """
        self._watched: dict[Kind, set[str]] = {}
        self._event_fields: dict[Kind, set[str]] = {}
        rules = tuple(rules)
        self._misplaced = MisplacedCalls(rules)
        self._kinds = {rule.kind for rule in rules if rule.match.get("type") == frozenset({UNREADABLE})}
        for rule in rules:
            if not rule.life_safety or rule.match.get("type") == frozenset({UNREADABLE}):
                continue
            if rule.type is RuleType.EVENT:
                self._event_fields.setdefault(rule.kind, set()).update((*rule.match, *rule.unless))
            else:
                self._watched.setdefault(rule.kind, set()).update(inputs_of(rule))
        self._known_fields = known_fields
        self._reported: dict[tuple[str, str], dict[bytes, int]] = {}

    def look(self, message: Message, route: Route, decoded: Decoded) -> list[Reading]:
        """Events for the unreadable parts of a message; its own event of an unreadable type becomes such an event."""
        if isinstance(route, Fault):
            return self._look_at_stray(message)
        found: list[Reading] = []
        for topic, looked_for in _targets(route, decoded):
            fault = self._fault_that_matters(topic, looked_for, message, decoded)
            if fault is None:
                continue
            unread = next((reading for reading in decoded.readings if _has_unreadable_type(reading, decoded)), None)
            if unread is not None:
                unread.fields = {**unread.fields, "type": UNREADABLE, "text": _raw_text(message.payload)}
                unread.digest = digest(unread)
            elif self._is_news(topic, message):
                found.append(_event(topic, message, fault.field))
        found += self._look_for_misplaced(message, decoded)
        if isinstance(route, NamedTopic):
            for reading in found:
                reading.site_name, reading.equipment_name = route.names.site, route.names.equipment
        return found

    def _look_for_misplaced(self, message: Message, decoded: Decoded) -> list[Reading]:
        found = []
        for reading in decoded.readings:
            field = self._misplaced.field_in(reading)
            if field and self._is_news(reading.topic, message):
                kind = reading.topic.kind if reading.topic.kind in self._kinds else Kind.SENSOR
                about = Topic(reading.topic.site, kind, reading.topic.equipment, Channel.EVENT)
                found.append(_event(about, message, field))
        return found

    def _fault_that_matters(
        self, topic: Topic, looked_for: Collection[str], message: Message, decoded: Decoded
    ) -> Fault | None:
        watched = self._fields_watched(topic)
        for fault in decoded.faults:
            if fault.field and fault.field in watched and fault.reason in (Reason.BAD_FIELD, Reason.DUPLICATE_KEY):
                return fault
        for fault in decoded.faults:
            if fault.reason in _WHOLE and self._is_of_life_safety(topic, looked_for, message.payload):
                return fault
            if fault.reason is Reason.NO_FIELDS and self._is_fieldless_signal(topic, looked_for, message.payload):
                return fault
        return None

    def _fields_watched(self, topic: Topic) -> set[str]:
        """The life-safety fields; on the event channel the state fields, for kinds without life-safety events."""
        if topic.channel is Channel.EVENT and topic.kind in self._event_fields:
            return self._event_fields[topic.kind]
        return self._watched.get(topic.kind, set())

    def _is_of_life_safety(self, topic: Topic, looked_for: Collection[str], payload: bytes) -> bool:
        watched = self._fields_watched(topic)
        if topic.channel is Channel.STATUS or not watched or (looked_for and watched.isdisjoint(looked_for)):
            return False
        if topic.channel is Channel.EVENT and topic.kind in self._event_fields:
            return True
        known = set(self._known_fields(topic.site, topic.equipment)) - {"online"}
        return not known or not known.isdisjoint(watched) or sounds_like_life_safety(_raw_text(payload))

    def _is_fieldless_signal(self, topic: Topic, looked_for: Collection[str], payload: bytes) -> bool:
        """Whether a message that was parsed and has no known field may still be a life-safety signal."""
        if topic.channel is Channel.EVENT and topic.kind in self._event_fields:
            return True
        return self._is_of_life_safety(topic, looked_for, payload) and names_danger(payload)

    def _look_at_stray(self, message: Message) -> list[Reading]:
        """A topic that is not understood: an alarm if the message names danger, or is from a fire panel."""
        parts = message.topic.split("/")
        is_ours = parts[0] == ROOT
        kinds = [kind for kind in map(kind_of, parts[1:]) if kind is not None] if is_ours else []
        is_panel = Kind.FIRE_PANEL in kinds and bool(message.payload.strip(b"\x00 \r\n\t"))
        is_event = any(channel_of(part) is Channel.EVENT for part in parts) or not any(map(channel_of, parts))
        if not (is_panel and is_event) and not names_danger(message.payload):
            return []
        kind = next((kind for kind in kinds if kind in self._kinds), Kind.SENSOR)
        topic = Topic(_site_of(parts), kind, _code_of_rest(parts), Channel.EVENT)
        return [_event(topic, message, "")] if self._is_news(topic, message) else []

    def _is_news(self, topic: Topic, message: Message) -> bool:
        """Whether this text was not reported just before."""
        now = message.received_ns // 1_000_000
        who, text = (topic.site, topic.equipment), hashlib.blake2b(message.payload, digest_size=8).digest()
        reported = {before: at for before, at in self._reported.get(who, {}).items() if 0 <= now - at < _SAME_TEXT_MS}
        is_news = text not in reported and not any(now - at < _NEXT_TEXT_MS for at in reported.values())
        if is_news:
            reported[text] = now
            if len(self._reported) >= _REMEMBERED:
                self._reported.clear()
        self._reported[who] = reported
        return is_news


def names_danger(payload: bytes) -> bool:
    """Whether a payload reports smoke, a fire or a call for help, as far as its words are understood."""
    text = _raw_text(payload)
    try:
        document = json.loads(text, parse_int=float)
    except (ValueError, RecursionError):
        return sounds_like_life_safety(text) and alarm_state_of(text) is not False
    for steps, value in leaves(document, _LEAVES):
        if isinstance(value, str) and sounds_like_life_safety(value) and alarm_state_of(value) is not False:
            return True
        is_off = value is None or (isinstance(value, float | bool | str) and value in _NO_VALUES)
        is_over = isinstance(value, str) and alarm_state_of(value) is False
        if steps and sounds_like_life_safety(steps[-1]) and not is_off and not is_over:
            return True
    return False


def _targets(route: Route, decoded: Decoded) -> list[tuple[Topic, Collection[str]]]:
    """The topics of a message, and the fields that a mapping expects."""
    if isinstance(route, Topic):
        return [(route, ())]
    if isinstance(route, NamedTopic):
        return [(route.topic, ())]
    if not isinstance(route, MappedTopic):
        return []
    by_topic = {reading.topic: frozenset[str]() for reading in decoded.readings}
    return [*by_topic.items()] if by_topic else [*route.targets()]


def _has_unreadable_type(reading: Reading, decoded: Decoded) -> bool:
    """Whether it is an event whose type could not be read."""
    is_event = reading.topic.channel is Channel.EVENT and "type" not in reading.fields
    return is_event and any(fault.field == "type" for fault in decoded.faults)


def _event(topic: Topic, message: Message, field: str) -> Reading:
    received_at = message.received_ns // 1_000_000
    fields: dict[str, Value] = {"type": UNREADABLE, "text": _raw_text(message.payload)}
    if field:
        fields["field"] = field
    about = topic if topic.channel is Channel.EVENT else Topic(topic.site, topic.kind, topic.equipment, Channel.EVENT)
    reading = Reading(about, fields, received_at, received_at, received_at * KEY_STEPS, quality=int(Quality.NO_TIME))
    # A retained message arrives again at each start, and is the same message.
    moment = 0 if message.retained else message.received_ns
    content = f"{about}\x00{moment}\x00".encode("utf-8", "surrogatepass") + message.payload
    reading.digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return reading


def _raw_text(payload: bytes) -> str:
    """A payload in readable form: as text if it is text, else in hex."""
    part = payload[:_BYTES_READ]
    decoded = decode_text(part) if len(part) == len(payload) else None
    text = strip_frame(decoded[0] if decoded is not None else part.decode("utf-8", "replace"))
    if text.count("\ufffd") * 4 > len(text):
        text = part.hex(" ")
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= _TEXT_SHOWN else f"{text[:_TEXT_SHOWN]} …"


def _site_of(parts: Sequence[str]) -> str:
    named = parts[1] if parts[0] == ROOT and len(parts) > 1 else ""
    return code_of(named[:MAX_NAME]) if named.strip() else "default"


def _code_of_rest(parts: Sequence[str]) -> str:
    """A code for unnamed equipment: of all that follows the site."""
    rest = "_".join(parts[2:] if parts[0] == ROOT else parts) or "unknown"
    return code_of(rest[: 2 * MAX_NAME])
