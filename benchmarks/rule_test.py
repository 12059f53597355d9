"""A rule test on a long history while the service works: its duration, and its effect on other requests."""

import asyncio
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import aiohttp

from benchmarks.rig.figures import Figure
from benchmarks.rig.live_client import Publisher
from collectors.timeseries.sqlite.store import SqliteStore
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading
from collectors.wire.topics import Topic
from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service

READINGS = 200_000
ROUNDS = 3
_IDLE_S = 5.0
_PAUSE_S = 0.01
_TOPIC = Topic("bench", Kind.PUMP, "P-1", Channel.TELEMETRY)


class _Round(NamedTuple):
    """Seconds of the test, and milliseconds of each request before and during it."""

    seconds: float
    before: list[float]
    beside: list[float]


def run() -> list[Figure]:
    """Measure; figures for the table."""
    rounds = []
    for number in range(ROUNDS):
        with TemporaryDirectory(prefix="gengfu-bench-") as name:
            rounds.append(asyncio.run(_round(Path(name))))
        print(f"  round {number + 1}: {rounds[-1].seconds:.1f} s", flush=True)
    shape = f"{READINGS:,} readings of five fields, one rule and its proposals, SQLite"
    beside = f"GET /alarms every {_PAUSE_S * 1000:.0f} ms"
    return [
        Figure("a rule tested on the history", shape, [one.seconds for one in rounds], "s", ""),
        Figure("request without a test, p50", beside, [statistics.median(one.before) for one in rounds], "ms", ""),
        Figure("request beside a test, p50", beside, [statistics.median(one.beside) for one in rounds], "ms", ""),
        Figure("request without a test, p99", beside, [_p99(one.before) for one in rounds], "ms", ""),
        Figure("request beside a test, p99", beside, [_p99(one.beside) for one in rounds], "ms", ""),
    ]


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


async def _round(folder: Path) -> _Round:
    end = time.time_ns() // 1_000_000 - 60_000
    start = end - READINGS * 1000
    await _fill(folder / "data" / "history.db", start)
    broker = Mosquitto(folder / "mosquitto").start()
    service = Service(folder / "data", broker.port).start_ready()
    publisher = Publisher(broker.port)
    try:
        await publisher.publish([(str(_TOPIC), {"at": time.time_ns() // 1_000_000, "flow": 12.0})])
        async with aiohttp.ClientSession(f"http://127.0.0.1:{service.http_port}") as session:
            await _known(session)
            before = await _requests(session, asyncio.create_task(asyncio.sleep(_IDLE_S)))
            began = time.perf_counter()
            test = asyncio.create_task(_test(session, start, end))
            beside = await _requests(session, test)
            return _Round(time.perf_counter() - began, before, beside)
    finally:
        publisher.close()
        service.stop()
        broker.stop()


async def _fill(file: Path, start: int) -> None:
    """One reading per second; the bearing is too hot for five seconds of each ten minutes."""
    store = SqliteStore(file)
    await store.open()
    for first in range(0, READINGS, 10_000):
        await store.write([_reading(start, number) for number in range(first, first + 10_000)])
    await store.close()


def _reading(start: int, number: int) -> Reading:
    at = start + number * 1000
    hot = 95.0 if number % 600 < 5 else 55.0
    fields = {"bearing_temperature": hot, "flow": 12.0, "vibration": 1.5, "running": True, "discharge_pressure": 0.4}
    return Reading(_TOPIC, dict(fields), at, at, at * 1_000_000)


async def _known(session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(30):
        while True:
            async with session.get("/api/v1/equipment/bench:P-1") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.05)


async def _requests(session: aiohttp.ClientSession, meanwhile: "asyncio.Task[Any]") -> list[float]:
    """Milliseconds of requests, one after the other, until a task is done."""
    spent = []
    while not meanwhile.done():
        began = time.perf_counter()
        async with session.get("/api/v1/alarms") as answer:
            assert answer.status == 200, await answer.text()
        spent.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(_PAUSE_S)
    await meanwhile
    return spent


async def _test(session: aiohttp.ClientSession, start: int, end: int) -> None:
    body = {
        "equipment": "bench:P-1", "rule_id": "pump.bearing_very_hot", "changes": {"on_delay": "0s"},
        "start": _rfc3339(start), "end": _rfc3339(end),
    }  # fmt: skip
    async with session.post("/api/v1/rules/test", json=body) as answer:
        found = await answer.json()
        assert answer.status == 200, found
        assert found["readings"] == READINGS, found["readings"]
        assert found["alarms"] > READINGS // 600 - 2, found["alarms"]


def _rfc3339(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()
