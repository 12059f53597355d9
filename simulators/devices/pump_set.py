"""The pumps of one header: which of them run, their pressure, and the water in the tank.

The first pump is on duty, the next is standby; at midnight they alternate. The set stops while hardly any water
is drawn and restarts when the pressure vessel is empty; at high demand a second pump assists.
"""

from datetime import datetime
from random import Random
from typing import Final
from zoneinfo import ZoneInfo

from simulators.devices.device import by_hour, local_hour, towards, within

_STEP_S: Final = 2.0
_MOST_STEPS: Final = 30
_SLEEP_DEMAND: Final = 0.2
_LEAST_RUN_S: Final = 60.0
_START_BELOW_SETPOINT: Final = 0.04  # MPa
_SLEEP_BOOST: Final = 0.02  # MPa above the setpoint, to fill the pressure vessel before the set sleeps
_ASSIST_ABOVE: Final = 0.95
_ASSIST_UNTIL: Final = 0.8
_TANK_FULL_M: Final = 2.5
_TANK_REFILLED_BELOW_M: Final = 2.1

# Water drawn in a day of homes, by the hour, as a share of the mean.
_DRAWN: Final = (
    .35, .25, .2, .2, .3, .7, 1.4, 1.6, 1.3, 1.1, 1.1, 1.2,
    1.2, 1., .9, .9, 1., 1.3, 1.6, 1.7, 1.6, 1.4, 1., .6,
)  # fmt: skip
_STEADY: Final = (1.0,) * 24


class PumpSet:
    """Shared by its pumps; the first one to step advances the time for all.

    `demand` is the mean water drawn, in rated flows of one pump; `rated_flow` m³/h; `setpoint` MPa.
    """

    def __init__(
        self, setpoint: float, demand: float, rated_flow: float, rng: Random, zone: ZoneInfo, *, steady: bool
    ) -> None:
        self.setpoint = setpoint
        self.pressure = setpoint
        self.demand = demand
        self.tank_level = rng.uniform(2.1, 2.4)
        self.running: list[bool] = []
        self.starts: list[int] = []
        self.can_run: list[bool] = []
        self.gives_water: list[bool] = []
        self.burst: list[float] = []
        self._mean = demand
        self._drawn = _STEADY if steady else _DRAWN
        self._rated_flow = rated_flow
        self._rng = rng
        self._zone = zone
        self._awake = demand >= _SLEEP_DEMAND
        self._assisted = False
        self._ran_s = 0.0
        self._refilling = False
        self._now_ms: int | None = None
        self._first_day = 0

    def join(self) -> int:
        """One more pump; returns its number."""
        self.running.append(self._awake and not self.running)
        self.starts.append(0)
        self.can_run.append(True)
        self.gives_water.append(True)
        self.burst.append(0.0)
        return len(self.running) - 1

    def advance(self, now_ms: int) -> None:
        """Advance the time to `now_ms`; do nothing if another pump has done so."""
        day = datetime.fromtimestamp(now_ms / 1000, self._zone).toordinal()
        if self._now_ms is None:
            self._now_ms, self._first_day = now_ms, day
        passed_s = (now_ms - self._now_ms) / 1000
        if passed_s <= 0:
            return
        self._now_ms = now_ms
        steps = min(_MOST_STEPS, max(1, round(passed_s / _STEP_S)))
        mean = self._mean * by_hour(self._drawn, local_hour(now_ms, self._zone))
        for _ in range(steps):
            self._step(passed_s / steps, mean, day - self._first_day)

    @property
    def flow_each(self) -> float:
        """m³/h of each pump that runs and has water."""
        working = self._working
        return min(1.0, self._total_demand / working) * self._rated_flow if working else 0.0

    @property
    def load(self) -> float:
        """Share of its full power at which each running pump works."""
        return min(1.0, self._total_demand / max(1, sum(self.running)))

    @property
    def _working(self) -> int:
        return sum(runs and water for runs, water in zip(self.running, self.gives_water, strict=True))

    @property
    def _total_demand(self) -> float:
        return self.demand + max(self.burst)

    def _step(self, dt_s: float, mean: float, turn: int) -> None:
        drift = self._rng.gauss(0.0, 0.006) * min(dt_s, 60.0) ** 0.5
        self.demand = within(towards(self.demand, mean, dt_s, 120.0) + drift, 0.02, 2.0)
        self._wake_or_sleep(dt_s)
        self._choose(turn)
        self._press(dt_s)
        self._fill(dt_s)

    def _wake_or_sleep(self, dt_s: float) -> None:
        if not self._awake:
            self._awake = self.pressure < self.setpoint - _START_BELOW_SETPOINT
            self._ran_s = 0.0
            return
        self._ran_s += dt_s
        filled = self.pressure > self.setpoint + 0.7 * _SLEEP_BOOST
        self._awake = not (self._total_demand < _SLEEP_DEMAND and filled and self._ran_s >= _LEAST_RUN_S)

    def _choose(self, turn: int) -> None:
        """The first in today's order that can run; one more while it cannot meet the demand."""
        self._assisted = self._total_demand > (_ASSIST_UNTIL if self._assisted else _ASSIST_ABOVE)
        wanted = (1 + self._assisted) if self._awake else 0
        count = len(self.running)
        order = [(turn + place) % count for place in range(count)]
        chosen = [number for number in order if self.can_run[number]][:wanted]
        for number in range(count):
            runs = number in chosen
            self.starts[number] += runs and not self.running[number]
            self.running[number] = runs

    def _press(self, dt_s: float) -> None:
        working, drawn = self._working, self._total_demand
        if not working:
            # MPa/s out of the pressure vessel: at a low night demand some ten starts an hour
            self.pressure = max(0.0, self.pressure - (0.0001 + 0.0008 * drawn) * dt_s)
        elif drawn <= working:
            boost = _SLEEP_BOOST if drawn < _SLEEP_DEMAND else 0.0
            self.pressure = towards(self.pressure, self.setpoint + boost, dt_s, 4.0)
        else:
            self.pressure = towards(self.pressure, self.setpoint * (working / drawn) ** 2, dt_s, 8.0)

    def _fill(self, dt_s: float) -> None:
        """A float valve lets half as much again as one pump can take into a tank that holds an hour of it."""
        self._refilling = self.tank_level < (_TANK_FULL_M if self._refilling else _TANK_REFILLED_BELOW_M)
        metres_an_hour = 1.5 * self._refilling - min(self._total_demand, self._working)
        self.tank_level = within(self.tank_level + metres_an_hour * dt_s / 3600, 0.0, _TANK_FULL_M + 0.1)
