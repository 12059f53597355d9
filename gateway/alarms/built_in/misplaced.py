"""Life-safety signals where no rule looks for them: in another channel, or from equipment of another kind. Pure.

    gengfu/hq/sensor/S1/event          {"smoke": true}   a state, sent as an event
    gengfu/hq/fire_panel/P1/telemetry  {"type": "fire"}  an event, sent as a state
    gengfu/hq/pump/P1/telemetry        {"smoke": true}   a detector configured as a pump

The meaning of such a message is clear, its subject is not: so it is an unreadable life-safety message, and not an alarm
of that rule.
"""

from collections.abc import Iterable
from typing import Final

from collectors.payloads.field_values import known_name
from collectors.payloads.spellings import alarm_state_of, boolean_of, choice_of, sounds_like_life_safety
from collectors.wire.fields import UNREADABLE, Channel, Field, FieldType, Kind, fields_of
from collectors.wire.reading import Reading, Value
from gateway.alarms.rules.rule import Rule, RuleType, inputs_of

_OWN_WORDS: Final = frozenset({Kind.FIRE_PANEL, Kind.PATROL_READER})
"""Their events have their own vocabulary, and their rules define which of it is life safety."""


class MisplacedCalls:
    """Knows which fields and events are life-safety signals, and where each belongs."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._signals: dict[str, Field] = {}
        self._events: dict[Kind, list[tuple[str, frozenset[Value]]]] = {}
        for rule in rules:
            if not rule.life_safety or rule.match.get("type") == frozenset({UNREADABLE}):
                continue
            if rule.type is RuleType.EVENT:
                self._events.setdefault(rule.kind, []).extend(rule.match.items())
                continue
            fields = fields_of(rule.kind, Channel.TELEMETRY)
            watched = (fields[name] for name in inputs_of(rule) if name in fields)
            self._signals |= {field.name: field for field in watched if _is_call(field)}

    def field_in(self, reading: Reading) -> str:
        """The field of a reading that is a life-safety signal where no rule looks for it; "" if there is none."""
        known = fields_of(reading.topic.kind, reading.topic.channel)
        for name, value in reading.fields.items():
            if self._is_signal(name, value, reading, known) or self._is_event(name, value, reading):
                return name
            if self._names_life_safety(name, value, reading, known):
                return name
        return ""

    def _is_signal(self, said: str, value: Value, reading: Reading, known: dict[str, Field]) -> bool:
        name = known_name(said, self._signals, reading.fields) if said not in self._signals else said
        if said in known or name not in self._signals:
            return False
        state = _state_of(value, self._signals[name])
        # In another kind's field a number or a word may mean anything; in its own it is an unreadable signal.
        is_own = name in fields_of(reading.topic.kind, Channel.TELEMETRY)
        return state is True or (state is None and is_own)

    def _is_event(self, said: str, value: Value, reading: Reading) -> bool:
        kind = reading.topic.kind
        if reading.topic.channel is Channel.EVENT or not isinstance(value, str):
            return False
        fields = fields_of(kind, Channel.EVENT)
        name = said if said in fields else known_name(said, fields, reading.fields)
        return any(
            name == field and choice_of(value, fields[field]) in words for field, words in self._of(kind, fields)
        )

    def _of(self, kind: Kind, fields: dict[str, Field]) -> list[tuple[str, frozenset[Value]]]:
        return [(field, words) for field, words in self._events.get(kind, ()) if field in fields]

    def _names_life_safety(self, said: str, value: Value, reading: Reading, known: dict[str, Field]) -> bool:
        """Whether it is an event of equipment without events, and its name or text suggests life safety."""
        if reading.topic.channel is not Channel.EVENT or reading.topic.kind in _OWN_WORDS:
            return False
        if isinstance(value, str) and sounds_like_life_safety(value):
            return value != UNREADABLE and alarm_state_of(value) is not False
        return said not in known and sounds_like_life_safety(said) and _is_on(value)


def _is_call(field: Field) -> bool:
    """Whether a field is a boolean whose true value is trouble."""
    return field.type is FieldType.BOOLEAN and field.trouble is True


def _state_of(value: Value, field: Field) -> bool | None:
    if isinstance(value, str):
        word = boolean_of(value, field)
        return alarm_state_of(value) if word is None else word
    return bool(value) if value in (0.0, 1.0) else None


def _is_on(value: Value) -> bool:
    return alarm_state_of(value) is True if isinstance(value, str) else value == 1.0
