"""History: the response time of a chart. A day at 1 Hz and a year at 10 s, drawn in 1,000 points, from both stores.

Numbers are returned as buckets, booleans and texts as changes: one that never changes, one that changes less often than
there are points, and one that changes 400 times a day. Also the delay until a late sample shows in the year, and the
cost of marking minutes for the ingest. The InfluxDB is Debian's 1.6.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.rig.figures import Figure
from collectors.timeseries.influx.access import Access
from collectors.timeseries.influx.store import InfluxStore
from collectors.timeseries.sqlite.store import SqliteStore
from collectors.timeseries.store import Series, Store
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading, Value
from collectors.wire.topics import Topic
from tests.servers.influxdb import InfluxDB

DAY_MS = 86_400_000
T0 = 1_700_000_000_000 // DAY_MS * DAY_MS
POINTS = 1_000
CALLS = 20
_BATCH = 20_000
_LATE_S = 5.0
YEAR_MS = 365 * DAY_MS
RUNS_MS, VISITS_MS = 12 * 3_600_000, DAY_MS // 400
"""How long the pump runs or stops, and how long it stays in one mode."""
CHANGES = {
    "leak": (1, "one boolean that never changes"),
    "running": (YEAR_MS // RUNS_MS, "one boolean, two changes a day"),
    "mode": (POINTS, "one text, 400 changes a day, the newest 1,000 of them"),
}
"""Field -> number of changes in a year's chart, and its description."""


def run() -> list[Figure]:
    """Measure; figures for the table."""
    figures: list[Figure] = []
    for name in ("SQLite", "InfluxDB"):
        with TemporaryDirectory(prefix="gengfu-bench-") as folder:
            figures += asyncio.run(_measure(name, Path(folder)))
    return figures


async def _measure(name: str, folder: Path) -> list[Figure]:
    async with _store(name, folder) as store:
        await _fill(store, "DAY", 1_000, DAY_MS)
        began = time.perf_counter()
        await _fill(store, "YEAR", 10_000, YEAR_MS)
        written_s = time.perf_counter() - began
        began = time.perf_counter()
        while await store.roll_up() or await store.roll_up():
            pass
        print(f"  {name}: a year written in {written_s:.0f} s, rolled up in {time.perf_counter() - began:.0f} s")
        day = await _calls(store, "DAY", DAY_MS)
        year = await _calls(store, "YEAR", YEAR_MS)
        changes = {field: await _changes(store, field, shown) for field, (shown, _) in CHANGES.items()}
        late = [await _late(store, number) for number in range(3)]
    return [
        Figure(f"history of a day, {name}", f"86,400 samples at 1 Hz to {POINTS:,} points", day, "ms", "50 ms"),
        Figure(f"history of a year, {name}", f"3,153,600 samples at 10 s to {POINTS:,} points", year, "ms", "100 ms"),
        *(
            Figure(f"history of a year's changes, {name}", f"{CHANGES[field][1]}, at 10 s", took, "ms", "100 ms")
            for field, took in changes.items()
        ),
        Figure(f"late sample shows, {name}", "in the year, after it is written", late, "ms", "5 s"),
    ]


@asynccontextmanager
async def _store(name: str, folder: Path) -> AsyncIterator[Store]:
    server = InfluxDB(folder / "influxdb").start() if name == "InfluxDB" else None
    store: Store = (
        InfluxStore(Access(server.url, "bench", timeout_s=60), folder / "dirty-minutes.db")
        if server
        else SqliteStore(folder / "history.db")
    )
    try:
        await store.open()
        yield store
    finally:
        await store.close()
        if server:
            server.close()


async def _fill(store: Store, equipment: str, every_ms: int, length_ms: int) -> None:
    """A pump with five fields and realistic values."""
    for first in range(0, length_ms, every_ms * _BATCH):
        moments = range(first, min(first + every_ms * _BATCH, length_ms), every_ms)
        assert await store.write([_reading(equipment, at) for at in moments]) == []


def _reading(equipment: str, at: int) -> Reading:
    topic = Topic("bench", Kind.PUMP, equipment, Channel.TELEMETRY)
    pressure = 0.6 + 0.05 * math.sin(at / 3_600_000)
    fields: dict[str, Value] = {
        "discharge_pressure": pressure,
        "flow": 40 + 100 * pressure,
        "leak": False,
        "running": at // RUNS_MS % 2 == 0,
        "mode": ("auto", "manual")[at // VISITS_MS % 2],
    }
    return Reading(topic, fields, T0 + at, T0 + at, (T0 + at) * 1_000_000)


async def _calls(store: Store, equipment: str, length_ms: int) -> list[float]:
    series = Series("bench", "pump", equipment, "telemetry")
    took = []
    for _ in range(CALLS):
        began = time.perf_counter()
        found = await store.history(series, "discharge_pressure", T0, T0 + length_ms, POINTS)
        took.append((time.perf_counter() - began) * 1_000)
        assert len(found.buckets) > POINTS / 3
    return took


async def _changes(store: Store, field: str, shown: int) -> list[float]:
    series = Series("bench", "pump", "YEAR", "telemetry")
    took = []
    for _ in range(CALLS):
        began = time.perf_counter()
        found = await store.history(series, field, T0, T0 + YEAR_MS, POINTS)
        took.append((time.perf_counter() - began) * 1_000)
        assert len(found.changes) == shown
    return took


async def _late(store: Store, number: int) -> float:
    """Milliseconds until a late sample is included in its day."""
    series, at = Series("bench", "pump", "YEAR", "telemetry"), (100 + number) * DAY_MS + 5_001
    late = _reading("YEAR", at)
    late.fields["discharge_pressure"] = 9.0 + number
    began = time.perf_counter()
    await store.write([late])
    while time.perf_counter() - began < _LATE_S:
        found = await store.history(series, "discharge_pressure", T0, T0 + YEAR_MS, POINTS)
        if max(bucket.most for bucket in found.buckets) == 9.0 + number:
            return (time.perf_counter() - began) * 1_000
    raise TimeoutError("a late sample does not show")
