"""What every simulated device is: a description from the estate file, and a model that steps through time."""

from typing import Protocol

import msgspec

from collectors.fields import Kind
from simulators.samples import Sample


class Texts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"zh": "zh-CN"}):
    """One text in both languages."""

    en: str
    zh: str


class Equipment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """One entry of an estate; a subclass per kind adds what its model needs. `every_s`: telemetry period."""

    code: str
    name: Texts
    place: Texts
    every_s: float = 2.0

    @property
    def kind(self) -> Kind:
        """The kind of the wire contract, which is also the entry's `kind` in the file."""
        return Kind(str(self.__struct_config__.tag))


class Device(Protocol):
    """A model. Pure but for its own random generator: the same seed gives the same run."""

    def step(self, now_ms: int, dt_s: float) -> list[Sample]:
        """Let `dt_s` seconds pass and say what the device reports at `now_ms` (epoch milliseconds)."""


def towards(value: float, target: float, dt_s: float, time_constant_s: float) -> float:
    """First-order approach, stable for any step: heat, pressure and the like."""
    return value + (target - value) * min(1.0, dt_s / time_constant_s)


def within(value: float, low: float, high: float) -> float:
    """The value, kept between two bounds."""
    return min(high, max(low, value))
