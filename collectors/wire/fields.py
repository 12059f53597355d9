"""The fields of the wire contract: which kind reports what, in which type and unit.

The table is data. Translated names are in `gateway/equipment/profiles.py`; a field that is not listed here is still
stored, marked unknown and counted.
"""

from enum import StrEnum
from typing import Final

import msgspec


class Kind(StrEnum):
    """Kinds of equipment. All but `system` may occur in a topic."""

    ELEVATOR = "elevator"
    PUMP = "pump"
    FIRE_PANEL = "fire_panel"
    PATROL_READER = "patrol_reader"
    SENSOR = "sensor"
    SYSTEM = "system"
    """The platform itself: it monitors itself with rules like any other equipment. Never received from outside."""


WIRE_KINDS: Final = tuple(kind for kind in Kind if kind is not Kind.SYSTEM)


class Channel(StrEnum):
    """Channels of an equipment: periodic state, events, online or not (retained, last will)."""

    TELEMETRY = "telemetry"
    EVENT = "event"
    STATUS = "status"


class FieldType(StrEnum):
    """Type of a value from the wire to the store. Numbers are float64 everywhere."""

    NUMBER = "number"
    BOOLEAN = "boolean"
    TEXT = "text"


class Field(msgspec.Struct, frozen=True):
    """One field: its type, its unit ("" if it has none) and, for closed sets, the permitted texts."""

    name: str
    type: FieldType
    unit: str = ""
    choices: tuple[str, ...] = ()
    closed: bool = False
    """Whether a text that is not among the choices is a fault: the meaning of an event must never be guessed."""
    trouble: bool | None = None
    """Booleans: the value that means an alarm, so that words like "alarm" and "normal" can be read; None: neither."""


UNREADABLE: Final = "unreadable"
"""Type of the event that the service raises for a life safety message that it cannot read."""


def _number(unit: str, *names: str) -> list[Field]:
    return [Field(name, FieldType.NUMBER, unit) for name in names]


def _boolean(*names: str, trouble: bool | None = None) -> list[Field]:
    return [Field(name, FieldType.BOOLEAN, trouble=trouble) for name in names]


def _text(*names: str) -> list[Field]:
    return [Field(name, FieldType.TEXT) for name in names]


def _choice(name: str, *choices: str, closed: bool = False) -> list[Field]:
    return [Field(name, FieldType.TEXT, choices=choices, closed=closed)]


def _table(*groups: list[Field]) -> dict[str, Field]:
    return {field.name: field for group in groups for field in group}


_ELEVATOR = _table(
    _choice("service_mode", "normal", "inspection", "fire_recall", "firefighter", "emergency_power",
            "earthquake", "stopped", "unknown"),
    _boolean("moving", "in_door_zone", "occupied"),
    _boolean("alarm_button", trouble=True),
    _boolean("intercom_ok", trouble=False),
    _choice("direction", "up", "down", "none"),
    _choice("door", "open", "closed", "opening", "closing"),
    _choice("power", "mains", "backup", "off"),
    _text("floor"),
    _number("m/s", "speed"),
    _number("mm", "levelling_error"),
    _number("m/s²", "vibration"),
    _number("kg", "load"),
    _number("°C", "motor_temperature", "machine_room_temperature"),
    _number("", "trips", "fault_code"),
    _number("h", "run_hours"),
)  # fmt: skip

_PUMP = _table(
    _boolean("running"),
    _boolean("leak", trouble=True),
    _choice("mode", "auto", "manual", "off"),
    _number("MPa", "suction_pressure", "discharge_pressure", "setpoint"),
    _number("m³/h", "flow"),
    _number("A", "current_a", "current_b", "current_c"),
    _number("V", "voltage"),
    _number("Hz", "frequency"),
    _number("mm/s", "vibration"),
    _number("°C", "bearing_temperature", "motor_temperature"),
    _number("m", "tank_level", "sump_level"),
    _number("", "starts", "drive_fault"),
    _number("h", "run_hours"),
)

_FIRE_PANEL = _table(_boolean("mains", "battery", trouble=False), _choice("mode", "auto", "manual"))

_FIRE_PANEL_EVENT = _table(
    _choice("type", "fire", "supervisory", "fault", "disabled", "started", "feedback", "reset", "silenced",
            "test", "check_post", UNREADABLE, closed=True),
    _boolean("active"),
    _text("loop", "address", "zone", "text", "field"),
    _choice("device_type", "smoke", "heat", "call_point", "flow_switch", "gas", "other"),
)  # fmt: skip

_UNREADABLE_EVENT = _table(_choice("type", UNREADABLE, closed=True), _text("field", "text"))
"""Event of the service for equipment whose life safety message cannot be read; the kind has no other events."""

_PATROL_EVENT = _table(_text("tag", "checkpoint", "card", "sun"))

_SENSOR = _table(
    _boolean("leak", "smoke", "gas", "carbon_monoxide", "heat", "panic", "level_alarm", trouble=True),
    _boolean("mains", trouble=False),
    _number("°C", "temperature"),
    _number("%", "humidity", "battery"),
    _number("m", "level"),
    _number("MPa", "pressure"),
)

_SYSTEM = _table(
    _boolean(
        "history_reachable",
        "losing_readings",
        "work_set_aside",
        "part_failing",
        "backup_ok",
        "checkpoint_ok",
        "audit_ok",
        "damaged_file_kept",
        "history_stopped",
        "alarm_reserve_in_use",
    ),
    _boolean(
        "broker_reachable",
        "history_behind",
        "clock_synchronised",
        "clock_jumped",
        "site_silent",
        "out_of_service_overdue",
    ),
    _number("%", "spool_used", "disk_free"),
    _number("h", "backup_age_h"),
    _number("s", "oldest_wait", "database_clock_apart", "devices_clock_apart"),
    _number("d", "certificate_days"),
    _number("", "messages_waiting", "decisions_waited", "pages_dropped"),
)

_SYSTEM_EVENT = _table(
    _choice("type", "babbling", "device_clock", "unmapped_alarm", "two_kinds", "retired_speaks", closed=True),
    _boolean("active"),
    _text("equipment", "field", "text"),
)

_STATUS = _table(_boolean("online", trouble=False))

_NOTHING: Final[dict[str, Field]] = {}

FIELDS: Final[dict[tuple[Kind, Channel], dict[str, Field]]] = {
    (Kind.ELEVATOR, Channel.TELEMETRY): _ELEVATOR,
    (Kind.PUMP, Channel.TELEMETRY): _PUMP,
    (Kind.FIRE_PANEL, Channel.TELEMETRY): _FIRE_PANEL,
    (Kind.FIRE_PANEL, Channel.EVENT): _FIRE_PANEL_EVENT,
    (Kind.PATROL_READER, Channel.EVENT): _PATROL_EVENT,
    (Kind.ELEVATOR, Channel.EVENT): _UNREADABLE_EVENT,
    (Kind.PUMP, Channel.EVENT): _UNREADABLE_EVENT,
    (Kind.SENSOR, Channel.EVENT): _UNREADABLE_EVENT,
    (Kind.SENSOR, Channel.TELEMETRY): _SENSOR,
    (Kind.SYSTEM, Channel.TELEMETRY): _SYSTEM,
    (Kind.SYSTEM, Channel.EVENT): _SYSTEM_EVENT,
    **{(kind, Channel.STATUS): _STATUS for kind in WIRE_KINDS},
}
"""(kind, channel) -> field name -> field."""


def fields_of(kind: Kind, channel: Channel) -> dict[str, Field]:
    """The known fields of a kind's channel; empty if the contract names none."""
    return FIELDS.get((kind, channel), _NOTHING)
