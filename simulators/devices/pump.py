"""A pump set: a supply pump with a variable-speed drive, or a fire pump that stands by.

The supply pump holds the discharge pressure at its setpoint, sleeps when little water is drawn and starts
again when the pressure vessel has given its water. The fire pump's pressure is kept by a jockey pump.
"""

from random import Random
from typing import Annotated, Final, Literal

import msgspec

from collectors.fields import Channel
from simulators.devices.device import Equipment, towards, within
from simulators.samples import Sample, Value

_AMBIENT_C: Final = 24.0
_TOWN_MAIN_MPA: Final = 0.18  # a town main has at least 0.14 MPa
_SLEEP_DEMAND: Final = 0.2
_LEAST_RUN_S: Final = 60.0
_START_BELOW_SETPOINT: Final = 0.04  # MPa
_SLEEP_BOOST: Final = 0.02  # MPa above the setpoint, to fill the pressure vessel before the pump sleeps
_Positive = Annotated[float, msgspec.Meta(gt=0)]


class PumpSpec(Equipment, frozen=True, kw_only=True, tag="pump"):
    """`setpoint` MPa, `rated_flow` m³/h, `rated_current` A; `demand` is the mean share of the rated flow."""

    duty: Literal["supply", "fire"] = "supply"
    setpoint: _Positive = 0.45
    demand: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.6
    rated_flow: _Positive = 32.0
    rated_current: _Positive = 22.0
    every_s: _Positive = 2.0


class Pump:
    """One pump with its drive. Starts in a steady state, as a pump that has run all day."""

    def __init__(self, spec: PumpSpec, rng: Random) -> None:
        self._spec = spec
        self._rng = rng
        self._running = spec.duty == "supply" and spec.demand >= _SLEEP_DEMAND
        self._ran_s = 0.0
        self._demand = spec.demand
        self._pressure = spec.setpoint
        self._jockey = False
        self._bearing = self._bearing_target()
        self._motor = self._bearing + 4.0
        self._tank_level = rng.uniform(2.1, 2.4)
        self._phases = [rng.uniform(0.99, 1.01) for _ in range(3)]
        self._starts = float(rng.randrange(800, 4000))
        self._run_hours = rng.uniform(2000.0, 9000.0)

    def step(self, now_ms: int, dt_s: float) -> list[Sample]:  # noqa: ARG002 - the demand has no time of day yet
        """Telemetry of this moment."""
        if self._spec.duty == "supply":
            self._draw_water(dt_s)
            self._control(dt_s)
        else:
            self._keep_by_jockey(dt_s)
        self._age(dt_s)
        return [Sample(Channel.TELEMETRY, {**self._hydraulics(), **self._electrics(), **self._condition()})]

    def _draw_water(self, dt_s: float) -> None:
        drift = self._rng.gauss(0.0, 0.006) * dt_s**0.5
        self._demand = within(towards(self._demand, self._spec.demand, dt_s, 120.0) + drift, 0.02, 1.0)

    def _control(self, dt_s: float) -> None:
        if self._running:
            self._ran_s += dt_s
            asleep_soon = self._demand < _SLEEP_DEMAND
            target = self._spec.setpoint + (_SLEEP_BOOST if asleep_soon else 0.0)
            self._pressure = towards(self._pressure, target, dt_s, 4.0)
            filled = self._pressure > self._spec.setpoint + 0.7 * _SLEEP_BOOST
            self._running = not (asleep_soon and filled and self._ran_s >= _LEAST_RUN_S)
            return
        # MPa/s out of the pressure vessel: at a low night demand some ten starts an hour
        self._pressure -= (0.0001 + 0.0008 * self._demand) * dt_s
        if self._pressure < self._spec.setpoint - _START_BELOW_SETPOINT:
            self._running, self._ran_s = True, 0.0
            self._starts += 1

    def _keep_by_jockey(self, dt_s: float) -> None:
        """The mains leak a little; the jockey pump lifts the pressure back."""
        if self._pressure < self._spec.setpoint - 0.03:
            self._jockey = True
        elif self._pressure >= self._spec.setpoint:
            self._jockey = False
        self._pressure += (0.004 if self._jockey else -0.00005) * dt_s
        self._pressure = min(self._pressure, self._spec.setpoint)

    def _bearing_target(self) -> float:
        """Normal is up to 71 °C, safe to 82 °C (Gorman-Rupp manuals)."""
        return 49.0 + 15.0 * self._demand if self._running else _AMBIENT_C

    def _age(self, dt_s: float) -> None:
        target = self._bearing_target()
        self._bearing = towards(self._bearing, target, dt_s, 300.0)
        self._motor = towards(self._motor, target + (4.0 if self._running else 0.0), dt_s, 600.0)
        self._run_hours += dt_s / 3600 if self._running else 0.0
        self._tank_level = within(self._tank_level + self._rng.gauss(0.0, 0.002), 1.9, 2.6)

    def _hydraulics(self) -> dict[str, Value]:
        flow = self._spec.rated_flow * self._demand if self._running else 0.0
        return {
            "suction_pressure": round(_TOWN_MAIN_MPA + self._rng.gauss(0.0, 0.001), 4),
            "discharge_pressure": round(self._pressure + self._rng.gauss(0.0, 0.001), 4),
            "setpoint": self._spec.setpoint,
            "flow": round(flow * self._rng.uniform(0.99, 1.01), 2),
            "tank_level": round(self._tank_level, 3),
            "sump_level": 0.2,
        }

    def _electrics(self) -> dict[str, Value]:
        current = self._spec.rated_current * (0.35 + 0.6 * self._demand) if self._running else 0.0
        a, b, c = (round(current * phase * self._rng.uniform(0.995, 1.005), 2) for phase in self._phases)
        return {
            "current_a": a,
            "current_b": b,
            "current_c": c,
            "voltage": round(self._rng.gauss(389.0, 1.0), 1),
            "frequency": round(32.0 + 17.0 * self._demand, 1) if self._running else 0.0,
            "drive_fault": 0.0,
        }

    def _condition(self) -> dict[str, Value]:
        vibration = 1.0 + 0.6 * self._demand if self._running else 0.05
        return {
            "running": self._running,
            "mode": "auto",
            "vibration": round(vibration * self._rng.uniform(0.93, 1.07), 2),
            "bearing_temperature": round(self._bearing + self._rng.gauss(0.0, 0.1), 1),
            "motor_temperature": round(self._motor + self._rng.gauss(0.0, 0.1), 1),
            "starts": self._starts,
            "run_hours": round(self._run_hours, 2),
            "leak": False,
        }
