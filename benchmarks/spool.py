"""The spool: a gigabyte of readings on disk, read at a start and written to the store.

Spool, write buffer and store are those of the service, in this process; nothing else writes meanwhile.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry

from benchmarks.rig.figures import Figure
from collectors.metrics import HistoryMetrics
from collectors.spool.spool import Spool
from collectors.timeseries.influx.access import Access
from collectors.timeseries.influx.store import InfluxStore
from collectors.timeseries.sqlite.store import SqliteStore
from collectors.timeseries.store import Refused, Store
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading
from collectors.wire.topics import Topic
from collectors.write_buffer import WriteBuffer
from tests.servers.influxdb import InfluxDB

GIGABYTE = 1_000_000_000
PUMPS = 200
_BATCH = 8_000
Stored = Callable[[Path], contextlib.AbstractAsyncContextManager[Store]]


def run() -> list[Figure]:
    """Measure; figures for the table."""
    return [
        figure for name, store in (("SQLite", _sqlite), ("InfluxDB", _influxdb)) for figure in _measure(name, store)
    ]


def _measure(name: str, store: Stored) -> list[Figure]:
    with TemporaryDirectory(prefix="gengfu-bench-") as folder:
        readings = fill(Path(folder) / "spool")
        opened_s, drained_s = asyncio.run(_drain(Path(folder), store))
    shape = f"1 GB on disk, {readings:,} readings of {PUMPS} pumps with 5 fields"
    print(f"  {name}: read in {opened_s:.1f} s, drained in {drained_s:.1f} s", flush=True)
    return [
        Figure(f"start with a full spool, {name}", shape, [opened_s], "s", ""),
        Figure(f"drain of the spool, {name}", shape, [readings / drained_s], "readings/s", ""),
    ]


def fill(folder: Path) -> int:
    """Write a gigabyte of readings to a spool; return how many."""
    spool = Spool(folder, 2 * GIGABYTE, lambda _reason, _count: None)
    spool.open(lambda _readings: None)
    rng, first = random.Random(1), time.time_ns() // 1_000_000 - 3_600_000
    topics = [Topic("bench", Kind.PUMP, f"P-{number}", Channel.TELEMETRY) for number in range(PUMPS)]
    while spool.bytes < GIGABYTE:
        number = spool.waiting
        spool.append([_sample(topics[n % PUMPS], first + n // PUMPS, rng) for n in range(number, number + _BATCH)])
    spool.close()
    return spool.waiting


def _sample(topic: Topic, at: int, rng: random.Random) -> Reading:
    fields: dict[str, float | bool | str] = {
        "discharge_pressure": round(rng.uniform(0.40, 0.50), 3),
        "flow": round(rng.uniform(10, 20), 2),
        "current_a": round(rng.uniform(8, 12), 2),
        "bearing_temperature": round(rng.uniform(50, 60), 1),
        "vibration": round(rng.uniform(1, 2), 2),
    }
    return Reading(topic, fields, at, at, at * 1_000_000, at)


async def _drain(folder: Path, stored: Stored) -> tuple[float, float]:
    """Seconds to read the spool, and to write it to the store."""
    async with stored(folder) as store:
        history = HistoryMetrics(CollectorRegistry())
        spool = Spool(folder / "spool", 2 * GIGABYTE, history.lose)
        buffer = WriteBuffer(store, spool, _refuse, history)
        began = time.perf_counter()
        await buffer.open()
        opened = time.perf_counter()
        draining = asyncio.create_task(buffer.run())
        while spool.waiting:  # noqa: ASYNC110 - the figure needs no finer clock
            await asyncio.sleep(0.1)
        drained = time.perf_counter()
        draining.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await draining
        await buffer.close()
    assert history.lost_in_all == 0
    return opened - began, drained - opened


async def _refuse(refused: Sequence[Refused]) -> None:
    raise AssertionError(refused[0].why)


@asynccontextmanager
async def _sqlite(folder: Path) -> AsyncIterator[Store]:
    store = SqliteStore(folder / "history.db")
    await store.open()
    yield store
    await store.close()


@asynccontextmanager
async def _influxdb(folder: Path) -> AsyncIterator[Store]:
    server = await asyncio.to_thread(InfluxDB(folder / "influxdb").start)
    store = InfluxStore(Access(url=server.url, bucket="bench"), folder / "dirty-minutes.db")
    await store.open()
    yield store
    await store.close()
    await asyncio.to_thread(server.close)
