"""A passenger lift: calls by the time of day, runs, doors, people, wear. Healthy, it keeps within GB/T 10058."""

from enum import StrEnum
from random import Random
from typing import Annotated, Final, Literal, assert_never
from zoneinfo import ZoneInfo

import msgspec

from collectors.wire.fields import Channel
from simulators.devices.device import CALM, Equipment, Trouble, Upset, by_hour, local_hour, towards, within
from simulators.devices.travel import Travel
from simulators.samples import Sample, Value

_PERSON_KG: Final = 75.0  # the rated load of a lift counts 75 kg a person (GB/T 7588)
_DOOR_S: Final = 2.5
_DOOR_ZONE_M: Final = 0.2
_REOPENS: Final = 0.06  # share of closings in which a person steps between the doors
_WEAR_A_TRIP: Final = 1 / 600_000
_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

# Calls of a day by the hour, as a share of the busiest: residents leave in the morning and return in the evening.
_TRAFFIC: Final = {
    "residential": (.08, .05, .04, .04, .06, .2, .6, 1, .9, .5, .4, .5,
                    .6, .5, .4, .45, .6, .9, 1, .8, .6, .45, .3, .15),
    "office": (.03, .03, .03, .03, .03, .05, .2, .6, 1, .8, .4, .7,
               .9, .7, .4, .4, .5, .9, .8, .4, .2, .1, .06, .04),
    "steady": (1.0,) * 24,
}  # fmt: skip
_MORNING: Final = range(6, 10)
_EVENING: Final = range(16, 21)
_WITH_THE_STREAM: Final = 0.7


class ElevatorSpec(Equipment, frozen=True, kw_only=True, tag="elevator"):
    """`floors` from the lowest up; m/s, kg and m.

    `idle_s` is the mean wait for a call in the busiest hour, `traffic` how calls follow the day, `wear` 0 (new) to 1
    (worn out), `intercom_test_s` the time between two tests of the alarm line (EN 81-28: at most three days).
    """

    floors: Annotated[tuple[str, ...], msgspec.Meta(min_length=2)]
    rated_speed: _Positive = 1.75
    rated_load: Annotated[float, msgspec.Meta(ge=75)] = 1000.0
    floor_height: _Positive = 3.0
    idle_s: _Positive = 12.0
    traffic: Literal["residential", "office", "steady"] = "residential"
    wear: _Share = 0.0
    intercom_test_s: _Positive = 259_200.0
    every_s: _Positive = 1.0


class _Phase(StrEnum):
    IDLE = "idle"
    RUNNING = "running"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"


_DOOR: Final = {_Phase.OPENING: "opening", _Phase.OPEN: "open", _Phase.CLOSING: "closing"}


class Elevator:
    """One car. Phases follow each other with their own lengths, so any step width gives the same trips."""

    def __init__(self, spec: ElevatorSpec, rng: Random, zone: ZoneInfo) -> None:
        self._spec = spec
        self._rng = rng
        self._zone = zone
        self._hour = 0.0
        self._trouble = CALM
        self._phase = _Phase.IDLE
        self._left_s = rng.uniform(0.5, 4.0)
        self._lobby = spec.floors.index("1") if "1" in spec.floors else 0
        self._floor = rng.randrange(len(spec.floors))
        self._target = self._floor
        self._travel = Travel(spec.floor_height, spec.rated_speed)
        self._people = 0
        self._levelling_error = 0.0
        self._wear = spec.wear
        self._motor_temperature = rng.uniform(42.0, 48.0)
        self._trips = float(rng.randrange(100_000, 300_000))
        self._run_hours = self._trips * 0.004  # about 15 s a trip
        self._intercom_ok = True
        self._test_in_s = rng.uniform(0.05, 1.0) * spec.intercom_test_s

    def step(self, now_ms: int, dt_s: float, trouble: Trouble = CALM) -> list[Sample]:
        """Telemetry of this moment."""
        self._trouble, self._hour = trouble, local_hour(now_ms, self._zone)
        if not self._is_dead:
            self._live(dt_s)
        self._test_intercom(dt_s)
        self._age(dt_s)
        return [Sample(Channel.TELEMETRY, {**self._car(), **self._machine(), **self._safety()})]

    @property
    def _is_dead(self) -> bool:
        return self._trouble.amount(Upset.NO_MAINS) > 0

    @property
    def _is_lowered(self) -> bool:
        """On its emergency supply a lift ends its run, opens and stays."""
        return self._trouble.amount(Upset.ON_BACKUP) > 0

    @property
    def _worn(self) -> float:
        return within(self._wear + self._trouble.amount(Upset.WEAR), 0.0, 1.0)

    def _live(self, dt_s: float) -> None:
        left = dt_s
        while left >= self._left_s:
            left -= self._left_s
            self._phase, self._left_s = self._next_phase()
        self._left_s -= left

    def _next_phase(self) -> tuple[_Phase, float]:
        match self._phase:
            case _Phase.IDLE:
                return (_Phase.OPENING, self._door_s) if self._is_lowered else self._answer_call()
            case _Phase.RUNNING:
                return self._arrive()
            case _Phase.OPENING:
                self._exchange_people()
                return _Phase.OPEN, self._rng.uniform(4.0, 8.0)
            case _Phase.OPEN:
                return (_Phase.OPEN, 10.0) if self._is_lowered else (_Phase.CLOSING, self._door_s)
            case _Phase.CLOSING:
                return self._close()
        assert_never(self._phase)

    @property
    def _door_s(self) -> float:
        return _DOOR_S * (1 + 0.6 * self._worn)

    def _close(self) -> tuple[_Phase, float]:
        if self._is_lowered or self._rng.random() < _REOPENS:
            return _Phase.OPENING, self._door_s
        return self._depart() if self._people else self._rest()

    def _rest(self) -> tuple[_Phase, float]:
        busy = by_hour(_TRAFFIC[self._spec.traffic], self._hour)
        return _Phase.IDLE, self._rng.uniform(0.3, 1.7) * self._spec.idle_s / busy

    def _answer_call(self) -> tuple[_Phase, float]:
        """In the evening people wait in the lobby, at other times anywhere."""
        anywhere = self._rng.randrange(len(self._spec.floors))
        self._target = self._lobby if self._is_streaming(_EVENING) else anywhere
        return (_Phase.OPENING, self._door_s) if self._target == self._floor else self._run()

    def _depart(self) -> tuple[_Phase, float]:
        """In the morning people go to the lobby, at other times anywhere."""
        others = [floor for floor in range(len(self._spec.floors)) if floor != self._floor]
        to_lobby = self._floor != self._lobby and self._is_streaming(_MORNING)
        self._target = self._lobby if to_lobby else self._rng.choice(others)
        return self._run()

    def _is_streaming(self, hours: range) -> bool:
        one_way = self._spec.traffic != "steady" and int(self._hour) in hours
        return one_way and self._rng.random() < _WITH_THE_STREAM

    def _run(self) -> tuple[_Phase, float]:
        distance = abs(self._target - self._floor) * self._spec.floor_height
        self._travel = Travel(distance, self._spec.rated_speed)
        self._trips += 1
        self._wear += _WEAR_A_TRIP
        return _Phase.RUNNING, self._travel.duration

    def _arrive(self) -> tuple[_Phase, float]:
        """Permitted are ±10 mm; wear makes a lift stop less exactly."""
        self._floor = self._target
        spread = 2.0 + 1.5 * self._worn
        error = within(self._rng.gauss(0.0, spread), -3 * spread, 3 * spread)
        self._levelling_error = error + self._trouble.amount(Upset.LEVELLING)
        return _Phase.OPENING, self._door_s

    def _exchange_people(self) -> None:
        """Passengers in the car leave, waiting ones board."""
        was_called = self._people == 0
        room = max(1, int(self._spec.rated_load * 0.7 / _PERSON_KG))
        boards = not self._is_lowered and (was_called or self._rng.random() < 0.35)
        self._people = self._rng.randint(1, min(4, room)) if boards else 0

    def _test_intercom(self, dt_s: float) -> None:
        """The lift calls the alarm centre automatically; a fault between two tests is not detected."""
        self._test_in_s -= dt_s
        if self._test_in_s <= 0:
            self._test_in_s = self._spec.intercom_test_s
            self._intercom_ok = self._trouble.amount(Upset.INTERCOM_BROKEN) == 0

    @property
    def _is_running(self) -> bool:
        return self._phase is _Phase.RUNNING and not self._is_dead

    def _age(self, dt_s: float) -> None:
        target = (62.0 if self._is_running else 40.0) + 12.0 * self._worn
        self._motor_temperature = towards(self._motor_temperature, target, dt_s, 900.0)
        self._run_hours += dt_s / 3600 if self._is_running else 0.0

    def _position(self) -> float:
        """Metres above the lowest floor."""
        start = self._floor * self._spec.floor_height
        if self._phase is not _Phase.RUNNING:
            return start
        way = self._travel.travelled(self._travel.duration - self._left_s)
        return start + way if self._target > self._floor else start - way

    def _car(self) -> dict[str, Value]:
        nearest = round(self._position() / self._spec.floor_height)
        off_floor = abs(self._position() - nearest * self._spec.floor_height)
        going = "up" if self._target > self._floor else "down"
        return {
            "moving": self._is_running,
            "direction": going if self._is_running else "none",
            "floor": self._spec.floors[nearest],
            "in_door_zone": off_floor <= _DOOR_ZONE_M,
            "door": _DOOR.get(self._phase, "closed"),
            "occupied": self._people > 0,
            "load": round(self._people * 68.0, 1),
            "levelling_error": round(self._levelling_error, 1),
        }

    def _machine(self) -> dict[str, Value]:
        speed = self._travel.speed(self._travel.duration - self._left_s) if self._is_running else 0.0
        vibration = (0.02 + 0.06 * speed / self._spec.rated_speed) * (1 + 1.5 * self._worn)  # new: A95 up to 0.20 m/s²
        return {
            "speed": round(speed, 3),
            "vibration": round(vibration * self._rng.uniform(0.8, 1.2), 3),
            "motor_temperature": round(self._motor_temperature + self._rng.gauss(0.0, 0.1), 1),
            "machine_room_temperature": round(27.0 + self._rng.gauss(0.0, 0.1), 1),
            "trips": self._trips,
            "run_hours": round(self._run_hours, 2),
        }

    def _safety(self) -> dict[str, Value]:
        power = "off" if self._is_dead else "backup" if self._is_lowered else "mains"
        return {
            "service_mode": {"off": "stopped", "backup": "emergency_power", "mains": "normal"}[power],
            "fault_code": 0.0,
            "alarm_button": False,
            "intercom_ok": self._intercom_ok,
            "power": power,
        }
