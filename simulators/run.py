"""Runs a simulation against a broker.

stop = asyncio.Event()
async with Publisher(BrokerAddress(host, port)) as publisher:
    pace = Pace(clock=epoch_ms)
    await simulate(load_estate("demo"), load_scenario("demo"), SharedLine(publisher), seed=1, pace=pace, stop=stop)
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import msgspec

from collectors.wire.fields import Channel
from collectors.wire.topics import Topic
from simulators.estate import Estate
from simulators.faults.scenario import Scenario
from simulators.lines import Lines
from simulators.samples import encode_sample
from simulators.simulation import Message, Simulation, Stamp

_FAREWELL_S: Final = 3.0


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """The pace of simulated time and of reports.

    `clock` is the real time in epoch milliseconds. `speed` is simulated seconds a second; `rate` 2 sends telemetry
    twice as often. `start_ms` is the simulated time at the start, None for now. With `keep_times` messages carry the
    simulated time, else the moment at which they are sent: then delays of rules act in real time.
    """

    clock: Callable[[], int]
    speed: float = 1.0
    rate: float = 1.0
    start_ms: int | None = None
    keep_times: bool = False

    def stamping(self, start_ms: int, elapsed_s: float) -> Stamp:
        """The `at` of samples measured at `elapsed_s`."""
        if self.keep_times:
            return lambda moment_s: start_ms + round(moment_s * 1000)
        now_ms = self.clock()
        return lambda moment_s: now_ms - round((elapsed_s - moment_s) * 1000 / self.speed)


async def simulate(
    estate: Estate,
    scenario: Scenario,
    lines: Lines,
    *,
    seed: int,
    pace: Pace,
    stop: asyncio.Event,
    announce: bool = True,
) -> None:
    """Simulate until `stop` is set.

    `announce` publishes the retained status of each equipment at the start and at the end.

    Raises:
        YamlFileError: the scenario names equipment or faults that do not fit the estate.
    """
    start_ms = pace.clock() if pace.start_ms is None else pace.start_ms
    simulation = Simulation(estate, scenario, seed=seed, start_ms=start_ms, rate=pace.rate, speed=pace.speed)
    stamp = pace.stamping(start_ms, 0.0)
    if announce:
        await _announce(estate, lines, online=True, at_ms=stamp(0.0))
    running = asyncio.create_task(_run(simulation, lines, pace, start_ms), name="simulation")
    stopping = asyncio.create_task(stop.wait(), name="stop of the simulation")
    began = asyncio.get_running_loop().time()
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    finally:
        await _end(running, stopping)
    if announce:
        elapsed_s = (asyncio.get_running_loop().time() - began) * pace.speed
        at_ms = pace.stamping(start_ms, elapsed_s)(elapsed_s)
        # a broker that is gone needs no last status
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_announce(estate, lines, online=False, at_ms=at_ms), _FAREWELL_S)


async def _run(simulation: Simulation, lines: Lines, pace: Pace, start_ms: int) -> None:
    """The event loop's clock determines what is due; the wall clock may be set and is only used for timestamps."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    while True:
        await asyncio.sleep(max(0.0, simulation.due_s / pace.speed - (loop.time() - start)))
        elapsed_s = (loop.time() - start) * pace.speed
        for message in simulation.due_messages(elapsed_s, pace.stamping(start_ms, elapsed_s)):
            await lines.send(message)


async def _announce(estate: Estate, lines: Lines, *, online: bool, at_ms: int) -> None:
    for item in estate.equipment:
        topic = Topic(estate.site, item.kind, item.code, Channel.STATUS)
        payload = encode_sample({"online": online}, at_ms, 0)
        await lines.send(Message(str(topic), payload, retained=True))


async def _end(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
