"""Fields that sound like an alarm and that no rule uses: each is reported to the administrator once."""

import hashlib
from collections.abc import Iterable
from typing import Final

from collectors.mqtt.message import Message
from collectors.payloads.format_by_topic import Route
from collectors.payloads.mapped import UNIT_UNKNOWN, MappedTopic
from collectors.payloads.samples import KEY_STEPS, Decoded
from collectors.payloads.spellings import sounds_like_alarm
from collectors.wire.fields import Channel, Kind, fields_of
from collectors.wire.reading import Quality, Reading, Value
from collectors.wire.topics import Topic
from gateway.equipment.ledger import PLATFORM

_TOPIC: Final = Topic(PLATFORM, Kind.SYSTEM, "gengfu", Channel.EVENT)
_MOST_REPORTED: Final = 500
"""Fields reported between two starts: beyond this it is the same installation mistake again."""
_MOST_OF_EQUIPMENT: Final = 10
_VALUE_SHOWN: Final = 100
_UNKNOWN_FIELD: Final = int(Quality.UNKNOWN_FIELD)
_AMBIGUOUS: Final = frozenset({"zone_status"})
"""Mapped by a shipped mapping without a known meaning: the alarm bit of a Zigbee zone of unknown type."""


class UnmappedAlarms:
    """Checks the fields that are not in the wire contract."""

    def __init__(self) -> None:
        self._reported: set[tuple[str, str, str]] = set()
        self._of_equipment: dict[tuple[str, str], int] = {}

    def look(self, message: Message, route: Route, decoded: Decoded) -> list[Reading]:
        """An event of the platform for each field that sounds like an alarm, the first time it is seen."""
        found: list[Reading] = []
        meant = _meant_by(route)
        for reading in decoded.readings:
            if reading.quality & _UNKNOWN_FIELD:
                known = fields_of(reading.topic.kind, reading.topic.channel)
                for name, value in reading.fields.items():
                    plain = name.removesuffix(UNIT_UNKNOWN)
                    if name not in known and name not in meant and _sounds(plain, value):
                        found += self._report(reading.topic, name, value, message)
        topic = decoded.readings[0].topic if decoded.readings else _first_target(route)
        if topic is not None:
            for where, value in decoded.left_out:
                if _sounds(where, value):
                    found += self._report(topic, where, value, message)
        return found

    def _report(self, topic: Topic, name: str, value: object, message: Message) -> list[Reading]:
        who, what = (topic.site, topic.equipment), (topic.site, topic.equipment, name)
        count = self._of_equipment.get(who, 0)
        if what in self._reported or len(self._reported) >= _MOST_REPORTED or count >= _MOST_OF_EQUIPMENT:
            return []
        self._reported.add(what)
        self._of_equipment[who] = count + 1
        received_at = message.received_ns // 1_000_000
        equipment = f"{topic.site}:{topic.equipment}"
        fields: dict[str, Value] = {
            "type": "unmapped_alarm",
            "equipment": equipment,
            "field": name[:_VALUE_SHOWN],
            "text": f"{equipment} {name[:_VALUE_SHOWN]} = {str(value)[:_VALUE_SHOWN]}",
        }
        reading = Reading(_TOPIC, fields, received_at, received_at, received_at * KEY_STEPS)
        # Of the field alone: after the next start it is known that it was reported.
        reading.digest = hashlib.blake2b(f"unmapped_alarm\x00{equipment}\x00{name}".encode("utf-8", "replace"),
                                         digest_size=16).hexdigest()  # fmt: skip
        return [reading]


def _sounds(name: str, value: object) -> bool:
    return name in _AMBIGUOUS or sounds_like_alarm(name) or (isinstance(value, str) and sounds_like_alarm(value))


def _meant_by(route: Route) -> frozenset[str]:
    """Fields that are named in a mapping: their meaning is known."""
    if not isinstance(route, MappedTopic):
        return frozenset()
    return frozenset(name for output in route.mapping.outputs for name in output.fields) - _AMBIGUOUS


def _first_target(route: Route) -> Topic | None:
    targets: Iterable[tuple[Topic, object]] = route.targets() if isinstance(route, MappedTopic) else ()
    return next((topic for topic, _ in targets), None)
