"""Pumps: one of a supply set, a standby fire pump, a sump pump. Each with its drive, bearing and motor."""

from random import Random
from typing import Annotated, Final, Literal

import msgspec

from collectors.wire.fields import Channel
from simulators.devices.device import CALM, Equipment, Trouble, Upset, towards, within
from simulators.devices.pump_set import PumpSet
from simulators.samples import Sample, Value

_AMBIENT_C: Final = 24.0
_TOWN_MAIN_MPA: Final = 0.18  # a town main has at least 0.14 MPa
_HEAD_MPA: Final = 0.0098  # a metre of water
_BELOW_TANK_M: Final = 1.5  # height of the tank's floor above the pumps
_DRY_MPA: Final = 0.01
_DRY_TRIP_S: Final = 10.0  # makers stop a booster set after more than 5 s without water
DRY_RUN_CODE: Final = 11.0
_PIT_M2: Final = 2.0
_PIT_RIM_M: Final = 1.5
_SUMP_START_M: Final = 0.8
_SUMP_STOP_M: Final = 0.3
_SUMP_EMPTY_M: Final = 0.25
_SUMP_FULL_M: Final = 2.2
_PIT_STEP_S: Final = 10.0
_PIT_MOST_STEPS: Final = 100
_SEEPAGE: Final = 0.3  # m³/h into a sump in calm
_Positive = Annotated[float, msgspec.Meta(gt=0)]


class PumpSpec(Equipment, frozen=True, kw_only=True, tag="pump"):
    """`setpoint` MPa, `rated_flow` m³/h, `rated_current` A; `demand` is the mean share of the rated flow.

    Supply pumps that name the same `set` share a header: the first in the file begins on duty, and its figures are the
    set's. `draw` selects a constant demand or one that follows the day of homes.
    """

    duty: Literal["supply", "fire", "sump"] = "supply"
    set: str = ""
    setpoint: _Positive = 0.45
    demand: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.6
    draw: Literal["daily", "steady"] = "daily"
    rated_flow: _Positive = 32.0
    rated_current: _Positive = 22.0
    every_s: _Positive = 2.0


class _Machine:
    """What every pump has: a drive that may trip, a bearing that wears, a motor that warms."""

    def __init__(self, spec: PumpSpec, rng: Random, *, running: bool, load: float) -> None:
        self.spec = spec
        self.rng = rng
        self.running = running
        self.load = load
        self.trouble = CALM
        self.fault_code = 0.0
        self.starts = float(rng.randrange(800, 4000))
        self._phases = [rng.uniform(0.99, 1.01) for _ in range(3)]
        self._run_hours = rng.uniform(2000.0, 9000.0)
        self._bearing = self._bearing_target
        self._motor = self._bearing + 4.0 * running

    @property
    def has_power(self) -> bool:
        return self.trouble.amount(Upset.NO_MAINS) == 0

    @property
    def _worn(self) -> float:
        return self.trouble.amount(Upset.WEAR)

    @property
    def _bearing_target(self) -> float:
        """Normal is up to 71 °C, safe to 82 °C (Gorman-Rupp manuals); a worn one passes both."""
        return 49.0 + 15.0 * self.load + 45.0 * self._worn if self.running else _AMBIENT_C

    def age(self, dt_s: float, *, running: bool, load: float) -> None:
        """Let the machine warm or cool."""
        self.running, self.load = running, load
        target = self._bearing_target
        self._bearing = towards(self._bearing, target, dt_s, 300.0)
        self._motor = towards(self._motor, target + 4.0 * running, dt_s, 600.0)
        self._run_hours += dt_s / 3600 if running else 0.0

    def report(self, *, leak: bool) -> dict[str, Value]:
        """Telemetry except that of the water."""
        return {**self._electrics(), **self._condition(leak=leak)}

    def _electrics(self) -> dict[str, Value]:
        current = self.spec.rated_current * (0.35 + 0.6 * self.load) if self.running else 0.0
        a, b, c = (round(current * phase * self.rng.uniform(0.995, 1.005), 2) for phase in self._phases)
        return {
            "current_a": a,
            "current_b": b,
            "current_c": c,
            "voltage": round(self.rng.gauss(389.0, 1.0), 1) if self.has_power else 0.0,
            "frequency": round(32.0 + 17.0 * self.load, 1) if self.running else 0.0,
            "drive_fault": self.fault_code,
        }

    def _condition(self, *, leak: bool) -> dict[str, Value]:
        vibration = 1.0 + 0.6 * self.load + 4.5 * self._worn if self.running else 0.05
        return {
            "running": self.running,
            "mode": "auto",
            "vibration": round(vibration * self.rng.uniform(0.93, 1.07), 2),
            "bearing_temperature": round(self._bearing + self.rng.gauss(0.0, 0.1), 1),
            "motor_temperature": round(self._motor + self.rng.gauss(0.0, 0.1), 1),
            "starts": self.starts,
            "run_hours": round(self._run_hours, 2),
            "leak": leak,
        }


class SupplyPump:
    """One pump of a set. Without water its drive stops it, and it restarts when the water is back."""

    def __init__(self, spec: PumpSpec, rng: Random, pumps: PumpSet) -> None:
        self._set = pumps
        self._number = pumps.join()
        self._suction = 0.035
        self._dry_s = 0.0
        self._starts_before = 0
        self._machine = _Machine(spec, rng, running=pumps.running[self._number], load=pumps.load)

    def step(self, now_ms: int, dt_s: float, trouble: Trouble = CALM) -> list[Sample]:
        """Telemetry of this moment."""
        machine, pumps, number = self._machine, self._set, self._number
        machine.trouble = trouble
        shut = trouble.amount(Upset.SUCTION_SHUT) > 0
        machine.fault_code = trouble.amount(Upset.TRIPPED) or (DRY_RUN_CODE if self._is_dry_for(dt_s, shut) else 0.0)
        pumps.can_run[number] = machine.has_power and machine.fault_code == 0
        pumps.gives_water[number] = not shut and pumps.tank_level > 0.02
        pumps.burst[number] = trouble.amount(Upset.BURST)
        pumps.advance(now_ms)
        machine.starts += pumps.starts[number] - self._starts_before
        self._starts_before = pumps.starts[number]
        machine.age(dt_s, running=pumps.running[number], load=pumps.load)
        return [Sample(Channel.TELEMETRY, {**self._hydraulics(), **machine.report(leak=False)})]

    def _is_dry_for(self, dt_s: float, shut: bool) -> bool:
        """Whether the drive has stopped for lack of water."""
        head = _HEAD_MPA * (self._set.tank_level + _BELOW_TANK_M)
        self._suction = towards(self._suction, -0.03 if shut else head, dt_s, 3.0)
        self._dry_s = self._dry_s + dt_s if self._suction < _DRY_MPA else 0.0
        return self._dry_s > _DRY_TRIP_S

    def _hydraulics(self) -> dict[str, Value]:
        pumps, rng = self._set, self._machine.rng
        working = pumps.running[self._number] and pumps.gives_water[self._number]
        return {
            "suction_pressure": round(self._suction + rng.gauss(0.0, 0.0005), 4),
            "discharge_pressure": round(max(0.0, pumps.pressure + rng.gauss(0.0, 0.001)), 4),
            "setpoint": pumps.setpoint,
            "flow": round(pumps.flow_each * rng.uniform(0.99, 1.01), 2) if working else 0.0,
            "tank_level": round(pumps.tank_level, 3),
        }


class FirePump:
    """Standby at the pressure that a jockey pump maintains; runs when the panel starts it."""

    def __init__(self, spec: PumpSpec, rng: Random) -> None:
        self._machine = _Machine(spec, rng, running=False, load=0.0)
        self._pressure = spec.setpoint
        self._jockey = False

    def step(self, now_ms: int, dt_s: float, trouble: Trouble = CALM) -> list[Sample]:  # noqa: ARG002 - no time of day
        """Telemetry of this moment."""
        machine = self._machine
        machine.trouble, machine.fault_code = trouble, trouble.amount(Upset.TRIPPED)
        called = trouble.amount(Upset.CALLED) > 0 and machine.has_power and machine.fault_code == 0
        machine.starts += called and not machine.running
        self._press(dt_s, called)
        machine.age(dt_s, running=called, load=0.7)
        return [Sample(Channel.TELEMETRY, {**self._hydraulics(), **machine.report(leak=False)})]

    def _press(self, dt_s: float, called: bool) -> None:
        """The mains leak a little; the jockey pump restores the pressure."""
        setpoint = self._machine.spec.setpoint
        if called:
            self._pressure = towards(self._pressure, setpoint + 0.1, dt_s, 5.0)
            return
        self._jockey = self._pressure < (setpoint if self._jockey else setpoint - 0.03)
        rate = 0.004 if self._jockey and self._machine.has_power else -0.00005
        self._pressure = min(max(0.0, self._pressure + rate * dt_s), max(setpoint, self._pressure - 0.01))

    def _hydraulics(self) -> dict[str, Value]:
        machine, rng = self._machine, self._machine.rng
        return {
            "suction_pressure": round(_TOWN_MAIN_MPA + rng.gauss(0.0, 0.001), 4),
            "discharge_pressure": round(self._pressure + rng.gauss(0.0, 0.001), 4),
            "setpoint": machine.spec.setpoint,
            "flow": round(0.7 * machine.spec.rated_flow * rng.uniform(0.99, 1.01), 2) if machine.running else 0.0,
        }


class SumpPump:
    """Empties the pit of a pump room. More water than it can lift overflows: then the floor is wet."""

    def __init__(self, spec: PumpSpec, rng: Random) -> None:
        self._machine = _Machine(spec, rng, running=False, load=0.0)
        self._level = rng.uniform(0.35, 0.7)

    def step(self, now_ms: int, dt_s: float, trouble: Trouble = CALM) -> list[Sample]:  # noqa: ARG002 - no time of day
        """Telemetry of this moment."""
        machine = self._machine
        machine.trouble, machine.fault_code = trouble, trouble.amount(Upset.TRIPPED)
        steps = min(_PIT_MOST_STEPS, max(1, round(dt_s / _PIT_STEP_S)))
        for _ in range(steps):
            self._pass(dt_s / steps, _SEEPAGE + trouble.amount(Upset.FLOOD))
        fields: dict[str, Value] = {
            "flow": machine.spec.rated_flow if machine.running else 0.0,
            "sump_level": round(self._level, 3),
        }
        return [Sample(Channel.TELEMETRY, {**fields, **machine.report(leak=self._level > _PIT_RIM_M)})]

    def _pass(self, dt_s: float, inflow: float) -> None:
        """Short steps: a pump that is stepped once in hours has run in between."""
        machine = self._machine
        wanted = self._level > (_SUMP_STOP_M if machine.running else _SUMP_START_M)
        runs = wanted and machine.has_power and machine.fault_code == 0
        machine.starts += runs and not machine.running
        rise = (inflow - machine.spec.rated_flow * runs) / 3600 / _PIT_M2 * dt_s
        self._level = within(self._level + rise, _SUMP_EMPTY_M, _SUMP_FULL_M)
        machine.age(dt_s, running=runs, load=0.8)
