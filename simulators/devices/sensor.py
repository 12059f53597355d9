"""A small battery sensor: any of temperature, humidity, level, pressure, leak, smoke and mains."""

import math
from random import Random
from typing import Annotated, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from collectors.wire.fields import Channel
from simulators.devices.device import CALM, Equipment, Trouble, local_hour, towards
from simulators.samples import Sample, Value

Measured: TypeAlias = Literal["temperature", "humidity", "level", "pressure"]
Detected: TypeAlias = Literal["leak", "smoke", "mains"]

_SPREAD: Final[dict[Measured, float]] = {
    "temperature": 0.05,
    "humidity": 0.2,
    "level": 0.002,
    "pressure": 0.001,
}
"""Standard deviation of a measurement's noise, in the unit of its field."""


class SensorSpec(Equipment, frozen=True, tag="sensor"):
    """`means` are the fields it measures with their mean (°C, %, m, MPa); `detects` the alarms that it detects.

    `daily_swing` in °C is how far the temperature moves with the day; `battery` in %.
    """

    means: dict[Measured, float] = msgspec.field(default_factory=dict)
    detects: tuple[Detected, ...] = ()
    daily_swing: float = 0.0
    battery: Annotated[float, msgspec.Meta(ge=0, le=100)] = 96.0
    every_s: Annotated[float, msgspec.Meta(gt=0)] = 2.0


class Sensor:
    """Measures around its means with a slow drift; detects nothing but that the mains are present."""

    def __init__(self, spec: SensorSpec, rng: Random, zone: ZoneInfo) -> None:
        self._spec = spec
        self._zone = zone
        self._rng = rng
        self._drift: dict[Measured, float] = dict.fromkeys(spec.means, 0.0)
        self._battery = spec.battery

    def step(self, now_ms: int, dt_s: float, trouble: Trouble = CALM) -> list[Sample]:  # noqa: ARG002 - detects only what faults set
        """Telemetry of this moment."""
        self._battery = max(0.0, self._battery - dt_s * 100 / (3 * 365 * 86_400))  # a battery lasts three years
        measured: dict[str, Value] = {
            name: self._measure(name, mean, now_ms, dt_s) for name, mean in self._spec.means.items()
        }
        calm: dict[str, Value] = {name: name == "mains" for name in self._spec.detects}
        return [Sample(Channel.TELEMETRY, {**measured, **calm, "battery": round(self._battery, 1)})]

    def _measure(self, name: Measured, mean: float, now_ms: int, dt_s: float) -> float:
        spread = _SPREAD[name]
        self._drift[name] = towards(self._drift[name], 0.0, dt_s, 600.0) + self._rng.gauss(0.0, spread / 5)
        swing = self._spec.daily_swing * _daylight(local_hour(now_ms, self._zone)) if name == "temperature" else 0.0
        return round(mean + swing + self._drift[name] + self._rng.gauss(0.0, spread), 3)


def _daylight(hour: float) -> float:
    """1 at the warmest hour, 14:00, -1 at the coldest."""
    return math.cos(2 * math.pi * (hour - 14) / 24)
