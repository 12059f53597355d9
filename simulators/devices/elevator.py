"""A passenger lift: calls, runs, doors, people. Levelling and vibration stay within GB/T 10058."""

from enum import StrEnum
from random import Random
from typing import Annotated, Final, assert_never

import msgspec

from collectors.fields import Channel
from simulators.devices.device import Equipment, towards, within
from simulators.devices.travel import Travel
from simulators.samples import Sample, Value

_PERSON_KG: Final = 75.0  # the rated load of a lift counts 75 kg a person (GB/T 7588)
_DOOR_S: Final = 2.5
_DOOR_ZONE_M: Final = 0.2


class ElevatorSpec(Equipment, frozen=True, kw_only=True, tag="elevator"):
    """`floors` from the lowest up; m/s, kg and m; `idle_s` is the mean wait for a call in seconds."""

    floors: Annotated[tuple[str, ...], msgspec.Meta(min_length=2)]
    rated_speed: Annotated[float, msgspec.Meta(gt=0)] = 1.75
    rated_load: Annotated[float, msgspec.Meta(ge=75)] = 1000.0
    floor_height: Annotated[float, msgspec.Meta(gt=0)] = 3.0
    idle_s: Annotated[float, msgspec.Meta(gt=0)] = 12.0
    every_s: Annotated[float, msgspec.Meta(gt=0)] = 1.0


class _Phase(StrEnum):
    IDLE = "idle"
    RUNNING = "running"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"


_DOOR: Final = {_Phase.OPENING: "opening", _Phase.OPEN: "open", _Phase.CLOSING: "closing"}


class Elevator:
    """One car. Phases follow each other with their own lengths, so any step width gives the same trips."""

    def __init__(self, spec: ElevatorSpec, rng: Random) -> None:
        self._spec = spec
        self._rng = rng
        self._phase = _Phase.IDLE
        self._left_s = rng.uniform(0.5, 4.0)
        self._floor = rng.randrange(len(spec.floors))
        self._target = self._floor
        self._travel = Travel(spec.floor_height, spec.rated_speed)
        self._people = 0
        self._levelling_error = 0.0
        self._motor_temperature = rng.uniform(42.0, 48.0)
        self._trips = float(rng.randrange(100_000, 300_000))
        self._run_hours = self._trips * 0.004  # about 15 s a trip

    def step(self, now_ms: int, dt_s: float) -> list[Sample]:  # noqa: ARG002 - a lift has no time of day
        """Telemetry of this moment."""
        left = dt_s
        while left >= self._left_s:
            left -= self._left_s
            self._enter(*self._next_phase())
        self._left_s -= left
        self._age(dt_s)
        return [Sample(Channel.TELEMETRY, {**self._car(), **self._machine(), **self._safety()})]

    def _enter(self, phase: _Phase, length_s: float) -> None:
        self._phase, self._left_s = phase, length_s

    def _next_phase(self) -> tuple[_Phase, float]:
        match self._phase:
            case _Phase.IDLE:
                return self._answer_call()
            case _Phase.RUNNING:
                return self._arrive()
            case _Phase.OPENING:
                self._exchange_people()
                return _Phase.OPEN, self._rng.uniform(4.0, 8.0)
            case _Phase.OPEN:
                return _Phase.CLOSING, _DOOR_S
            case _Phase.CLOSING:
                return self._depart() if self._people else self._rest()
        assert_never(self._phase)

    def _rest(self) -> tuple[_Phase, float]:
        return _Phase.IDLE, self._rng.uniform(0.3, 1.7) * self._spec.idle_s

    def _answer_call(self) -> tuple[_Phase, float]:
        self._target = self._rng.randrange(len(self._spec.floors))
        return (_Phase.OPENING, _DOOR_S) if self._target == self._floor else self._run()

    def _depart(self) -> tuple[_Phase, float]:
        others = [floor for floor in range(len(self._spec.floors)) if floor != self._floor]
        self._target = self._rng.choice(others)
        return self._run()

    def _run(self) -> tuple[_Phase, float]:
        distance = abs(self._target - self._floor) * self._spec.floor_height
        self._travel = Travel(distance, self._spec.rated_speed)
        self._trips += 1
        return _Phase.RUNNING, self._travel.duration

    def _arrive(self) -> tuple[_Phase, float]:
        self._floor = self._target
        self._levelling_error = within(self._rng.gauss(0.0, 2.0), -6.0, 6.0)  # permitted: ±10 mm
        return _Phase.OPENING, _DOOR_S

    def _exchange_people(self) -> None:
        """Whoever was in the car leaves; whoever called it boards."""
        was_called = self._people == 0
        room = max(1, int(self._spec.rated_load * 0.7 / _PERSON_KG))
        boards = was_called or self._rng.random() < 0.35
        self._people = self._rng.randint(1, min(4, room)) if boards else 0

    def _age(self, dt_s: float) -> None:
        running = self._phase is _Phase.RUNNING
        self._motor_temperature = towards(self._motor_temperature, 62.0 if running else 40.0, dt_s, 900.0)
        self._run_hours += dt_s / 3600 if running else 0.0

    def _position(self) -> float:
        """Metres above the lowest floor."""
        start = self._floor * self._spec.floor_height
        if self._phase is not _Phase.RUNNING:
            return start
        way = self._travel.travelled(self._travel.duration - self._left_s)
        return start + way if self._target > self._floor else start - way

    def _car(self) -> dict[str, Value]:
        running = self._phase is _Phase.RUNNING
        nearest = round(self._position() / self._spec.floor_height)
        off_floor = abs(self._position() - nearest * self._spec.floor_height)
        going = "up" if self._target > self._floor else "down"
        return {
            "moving": running,
            "direction": going if running else "none",
            "floor": self._spec.floors[nearest],
            "in_door_zone": off_floor <= _DOOR_ZONE_M,
            "door": _DOOR.get(self._phase, "closed"),
            "occupied": self._people > 0,
            "load": round(self._people * 68.0, 1),
            "levelling_error": round(self._levelling_error, 1),
        }

    def _machine(self) -> dict[str, Value]:
        running = self._phase is _Phase.RUNNING
        speed = self._travel.speed(self._travel.duration - self._left_s) if running else 0.0
        vibration = 0.02 + 0.06 * speed / self._spec.rated_speed  # A95 is permitted up to 0.20 m/s²
        return {
            "speed": round(speed, 3),
            "vibration": round(vibration * self._rng.uniform(0.8, 1.2), 3),
            "motor_temperature": round(self._motor_temperature + self._rng.gauss(0.0, 0.1), 1),
            "machine_room_temperature": round(27.0 + self._rng.gauss(0.0, 0.1), 1),
            "trips": self._trips,
            "run_hours": round(self._run_hours, 2),
        }

    def _safety(self) -> dict[str, Value]:
        return {
            "service_mode": "normal",
            "fault_code": 0.0,
            "alarm_button": False,
            "intercom_ok": True,
            "power": "mains",
        }
