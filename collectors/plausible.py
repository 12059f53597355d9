"""Plausible ranges of fields: a table of data, and how it is applied. Pure.

A value outside its range comes from a sensor that is broken, missing or read with the wrong scale. It is stored and
shown; only the rule `doubtful` evaluates it. Booleans have no range: a call for help is never implausible.
"""

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from collectors.wire.fields import FIELDS, Channel, FieldType, Kind


class Range(msgspec.Struct, frozen=True):
    """Lowest and highest plausible value, inclusive; sentinels within them that mean "no value"; and why."""

    low: float
    high: float
    why: str
    sentinels: frozenset[float] = frozenset()


_DS18B20: Final = frozenset({85.0})
_TEMPERATURE: Final = Range(
    -50, 125, "silicon sensors end at 125 °C; -127 is a DS18B20 without contact, 85 one just powered on", _DS18B20
)
_MACHINE: Final = Range(-50, 300, "Pt100 on machines; winding class H ends at 180 °C, a broken one shows 850 or -200")
_WATER: Final = Range(-0.1, 4.0, "-0.1 MPa is vacuum; PN 25 valves are the most in a tall building: 610 is kPa")
_CURRENT: Final = Range(0, 2000, "main breakers of building pumps end at 1,600 A")
_LEVEL: Final = Range(-1, 60, "tanks and wells of buildings; a probe may be mounted 1 m below its zero")
_HOURS: Final = Range(0, 500_000, "57 years")
_COUNT: Final = Range(0, 2**32, "a counter of 32 bits")

RANGES: Final[dict[tuple[Kind, str], Range]] = {
    (Kind.ELEVATOR, "speed"): Range(-25, 25, "the fastest lift runs 21 m/s; some controllers sign the direction"),
    (Kind.ELEVATOR, "levelling_error"): Range(-5000, 5000, "more than a storey is no levelling error"),
    (Kind.ELEVATOR, "vibration"): Range(0, 100, "10 g; ride quality (GB/T 24474.1) lies below 1 m/s²"),
    (Kind.ELEVATOR, "load"): Range(
        -500, 20_000, "goods lifts end at 20 t; a scale that was not set to zero is below it"
    ),
    (Kind.ELEVATOR, "motor_temperature"): _MACHINE,
    (Kind.ELEVATOR, "machine_room_temperature"): _TEMPERATURE,
    (Kind.ELEVATOR, "trips"): _COUNT,
    (Kind.ELEVATOR, "fault_code"): Range(-1, 2**32, "codes are whole numbers of up to 32 bits"),
    (Kind.ELEVATOR, "run_hours"): _HOURS,
    (Kind.PUMP, "suction_pressure"): _WATER,
    (Kind.PUMP, "discharge_pressure"): _WATER,
    (Kind.PUMP, "setpoint"): _WATER,
    (Kind.PUMP, "flow"): Range(-500, 5000, "a large district pump moves 3,000 m³/h; 6553.5 is 0xFFFF"),
    (Kind.PUMP, "current_a"): _CURRENT,
    (Kind.PUMP, "current_b"): _CURRENT,
    (Kind.PUMP, "current_c"): _CURRENT,
    (Kind.PUMP, "voltage"): Range(0, 15_000, "10 kV motors", frozenset({6553.5, 655.35, 3276.7})),
    (Kind.PUMP, "frequency"): Range(0, 400, "drives of pumps end at 400 Hz; 655.35 is 0xFFFF"),
    (Kind.PUMP, "vibration"): Range(0, 100, "ISO 10816-7 calls 11 mm/s damage; sensors end at 100"),
    (Kind.PUMP, "bearing_temperature"): _MACHINE,
    (Kind.PUMP, "motor_temperature"): _MACHINE,
    (Kind.PUMP, "tank_level"): _LEVEL,
    (Kind.PUMP, "sump_level"): _LEVEL,
    (Kind.PUMP, "starts"): _COUNT,
    (Kind.PUMP, "drive_fault"): Range(-1, 2**32, "codes are whole numbers of up to 32 bits"),
    (Kind.PUMP, "run_hours"): _HOURS,
    (Kind.SENSOR, "temperature"): _TEMPERATURE,
    (Kind.SENSOR, "humidity"): Range(0, 105, "capacitive sensors overshoot 100 % a little; 6553.5 is 0xFFFF"),
    (Kind.SENSOR, "battery"): Range(0, 105, "percent; some count above 100 when new, 255 is unknown"),
    (Kind.SENSOR, "level"): _LEVEL,
    (Kind.SENSOR, "pressure"): _WATER,
}
"""(kind, field of its telemetry) -> plausible range, in the unit of the wire contract."""

_OF_KIND: Final = {
    kind: {field: found for (of, field), found in RANGES.items() if of is kind} for kind in {of for of, _ in RANGES}
}
_NONE: Final[dict[str, Range]] = {}
_GREATEST: Final = 1.7e308


def ranges_of(kind: Kind, channel: Channel) -> Mapping[str, Range]:
    """Field -> plausible range of a kind's channel; only telemetry has any."""
    return _OF_KIND.get(kind, _NONE) if channel is Channel.TELEMETRY else _NONE


def is_plausible(kind: Kind, field: str, value: object) -> bool:
    """Whether a value of a kind's telemetry is plausible. A field without a range always is."""
    found = RANGES.get((kind, field))
    if found is None or type(value) is not float:
        return True
    return found.low <= value <= found.high and value not in found.sentinels


def implausible_in(kind: Kind, fields: Mapping[str, object]) -> list[str]:
    """The fields of a telemetry sample whose values are implausible."""
    return [name for name, value in fields.items() if not is_plausible(kind, name, value)]


@lru_cache(maxsize=4096)
def usual_bounds(kind: Kind, channel: Channel, names: tuple[str, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Lower and upper bounds within which values need no further check: plausible and free of sentinels.

    A field without a range is bounded by the finite floats, so that NaN and infinity are outside of every range.
    """
    bounds = [_bounds(kind, channel, name) for name in names]
    return tuple(low for low, _ in bounds), tuple(high for _, high in bounds)


def _bounds(kind: Kind, channel: Channel, name: str) -> tuple[float, float]:
    found = RANGES.get((kind, name)) if channel is Channel.TELEMETRY else None
    if found is None:
        return -_GREATEST, _GREATEST
    sentinels = [value for value in found.sentinels if found.low <= value <= found.high]
    high = min([found.high, *(math.nextafter(value, -math.inf) for value in sentinels)])
    return found.low, high


def without_range(kinds: Iterable[Kind]) -> list[tuple[Kind, str]]:
    """Numbers of the wire contract's telemetry that have no range yet; a test requires that there are none."""
    return [
        (kind, field.name)
        for kind in kinds
        for field in FIELDS.get((kind, Channel.TELEMETRY), {}).values()
        if field.type is FieldType.NUMBER and (kind, field.name) not in RANGES
    ]
