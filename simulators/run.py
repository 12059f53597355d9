"""Runs a simulation against a broker, in real time.

stop = asyncio.Event()
async with Publisher(BrokerAddress(host, port)) as publisher:
    await simulate(load_estate("demo"), load_scenario("demo"), publisher, seed=1, clock=epoch_ms, stop=stop)
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from collectors.fields import Channel
from collectors.topics import Topic
from simulators.estate import Estate
from simulators.outlet import Outlet
from simulators.samples import encode_sample
from simulators.scenario import Scenario
from simulators.simulation import Simulation

_FAREWELL_S: Final = 3.0


async def simulate(
    estate: Estate,
    scenario: Scenario,
    publisher: Outlet,
    *,
    seed: int,
    rate: float = 1.0,
    clock: Callable[[], int],
    stop: asyncio.Event,
    announce: bool = True,
) -> None:
    """Simulate until `stop` is set.

    `clock` gives epoch milliseconds and only stamps; the event loop's monotonic clock tells what is due.
    `rate` 2 sends telemetry twice as often; faults keep their times. `announce` publishes the retained status
    of each equipment at the start and at the end.

    Raises:
        YamlFileError: the scenario names equipment or faults that do not fit the estate.
    """
    simulation = Simulation(estate, scenario, seed=seed, rate=rate)
    if announce:
        await _announce(estate, publisher, online=True, at_ms=clock())
    running = asyncio.create_task(_run(simulation, publisher, clock), name="simulation")
    stopping = asyncio.create_task(stop.wait(), name="stop of the simulation")
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    finally:
        await _end(running, stopping)
    if announce:
        # a broker that is gone already needs no farewell
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_announce(estate, publisher, online=False, at_ms=clock()), _FAREWELL_S)


async def _run(simulation: Simulation, publisher: Outlet, clock: Callable[[], int]) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    while True:
        await asyncio.sleep(max(0.0, simulation.due_s - (loop.time() - start)))
        for topic, payload, retain in simulation.due_messages(loop.time() - start, clock()):
            await publisher.publish(topic, payload, retain=retain)


async def _announce(estate: Estate, publisher: Outlet, *, online: bool, at_ms: int) -> None:
    for item in estate.equipment:
        topic = Topic(estate.site, item.kind, item.code, Channel.STATUS)
        await publisher.publish(str(topic), encode_sample({"online": online}, at_ms, 0), retain=True)


async def _end(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
