"""A simulated device: a description from the estate file, and a model that steps through time."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol
from zoneinfo import ZoneInfo

import msgspec

from collectors.wire.fields import Kind
from simulators.samples import Sample


class Texts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"zh": "zh-CN"}):
    """One text in both languages."""

    en: str
    zh: str


class Equipment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """One entry of an estate; a subclass per kind adds what its model needs. `every_s`: telemetry period.

    `fed_by` and `carried_by` name its power supply and its gateway.
    """

    code: str
    name: Texts
    place: Texts
    every_s: float = 2.0
    fed_by: str = ""
    carried_by: str = ""

    @property
    def kind(self) -> Kind:
        """The kind of the wire contract, which is also the entry's `kind` in the file."""
        return Kind(str(self.__struct_config__.tag))


class Upset(StrEnum):
    """A physical disturbance; the model computes its effects. Its amount is a number."""

    NO_MAINS = "no_mains"
    """1: no power, and nothing in its place."""
    ON_BACKUP = "on_backup"
    """1: no mains, but a lift's emergency lowering or a generator."""
    LEVELLING = "levelling"
    """Millimetres that the car stops above its landing."""
    INTERCOM_BROKEN = "intercom_broken"
    """1: the next test of the intercom fails."""
    WEAR = "wear"
    """0 new to 1 worn out, on top of the equipment's own wear."""
    TRIPPED = "tripped"
    """The code with which the drive has stopped the pump."""
    SUCTION_SHUT = "suction_shut"
    """1: no water reaches the pump."""
    BURST = "burst"
    """Water that runs away behind the pumps, in rated flows of one pump."""
    FLOOD = "flood"
    """Water that runs into the sump, m³/h."""
    CALLED = "called"
    """1: the fire panel has started the fire pump."""


class Signal(StrEnum):
    """A signal of a point to its fire panel."""

    FIRE = "fire"
    FAULT = "fault"
    DISABLED = "disabled"


class Trouble(msgspec.Struct, frozen=True):
    """The disturbances of a device at one moment. `points`: signal and index of each point that gives it."""

    upsets: Mapping[Upset, float] = {}
    points: frozenset[tuple[Signal, int]] = frozenset()

    def amount(self, upset: Upset) -> float:
        """Its amount, 0 for none."""
        return self.upsets.get(upset, 0.0)


CALM: Final = Trouble()


class Device(Protocol):
    """A model. Pure but for its own random generator: the same seed gives the same run."""

    def step(self, now_ms: int, dt_s: float, trouble: Trouble = CALM) -> list[Sample]:
        """Advance by `dt_s` seconds and return the reports at `now_ms` (simulated epoch milliseconds)."""


def towards(value: float, target: float, dt_s: float, time_constant_s: float) -> float:
    """First-order approach, stable for any step: heat, pressure and the like."""
    return value + (target - value) * min(1.0, dt_s / time_constant_s)


def within(value: float, low: float, high: float) -> float:
    """The value, limited to two bounds."""
    return min(high, max(low, value))


def local_hour(now_ms: int, zone: ZoneInfo) -> float:
    """Hour of the day at the site, 0 to 24."""
    local = datetime.fromtimestamp(now_ms / 1000, zone)
    return local.hour + local.minute / 60 + local.second / 3600


def by_hour(table: tuple[float, ...], hour: float) -> float:
    """Interpolation between the full hours of a day's table of 24 values."""
    first = int(hour) % 24
    share = hour - int(hour)
    return table[first] * (1 - share) + table[(first + 1) % 24] * share
