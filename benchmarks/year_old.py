"""A database that is a year old compared with a new one, in one run: what does past data slow down?

The new one has alarms of four days and no history: as many as fill a page of each list. Both services run at the
same time, each with its own broker, and are measured alternately, first on SQLite, then on PostgreSQL. History is in
SQLite in either case. `YEAR_OLD_SCALE` (0 to 1) makes the past smaller for a trial.
"""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import aiohttp
from sqlalchemy import select

from benchmarks.past import DAY_MS, DAYS, PANELS, SITE, fill_database, fill_history, year_before
from benchmarks.rig.figures import Figure
from benchmarks.rig.live_client import Message, Publisher, listening
from benchmarks.rig.service import RULES
from collectors.timeseries.sqlite.store import SqliteStore
from gateway.alarms.rules.files import shipped_rules
from gateway.people.audit.key import open_key
from gateway.retention.retention import Retention
from gateway.settings import RetentionSettings
from gateway.storage.database import Database
from gateway.storage.migrate import migrate
from gateway.storage.tables import site
from gateway.storage.transaction import Transaction
from tests.builders.alarms import Clock, Desk, open_desk, sample, sqlite_address
from tests.servers.mosquitto import Mosquitto
from tests.servers.postgres import Postgres
from tests.servers.service import Service

SCALE: Final = float(os.environ.get("YEAR_OLD_SCALE", "1"))
ALARMS: Final = int(200_000 * SCALE)
READINGS: Final = int(5_000_000 * SCALE)
NEW_ALARMS: Final = min(2_000, ALARMS)
NEW_DAYS: Final = 4
ROUNDS: Final = 5 if SCALE == 1 else 2
FIRES: Final = 20
"""In a round."""
TICKS: Final = 20
PAGES: Final = 10
"""Requests of each page in a round."""
LISTS: Final = {
    "alarms": "/alarms?limit=100",
    "open alarms": "/alarms?state=open&limit=100",
    "alarms of one priority": "/alarms?priority=critical&limit=100",
    "alarms of one equipment": f"/alarms?site={SITE}&equipment=P-1&limit=10",
    "tickets": "/tickets?limit=100",
    "open tickets": "/tickets?state=open&limit=100",
    "activations": "/activations?limit=100",
    "activations of one equipment": f"/activations?site={SITE}&equipment=P-1&limit=10",
    "audit": "/audit?limit=100",
    "quarantine": "/quarantine?limit=100",
}
_GOAL: Final = "1.2"
_TWELFTH: Final = RetentionSettings(alarm_days=335, maintenance_days=335, fire_days=335)
"""Retention that expires a month of the past; shorter than the settings of a service permit."""
_PATIENCE_S: Final = 60.0
_ALONE_S: Final = 3.0


def run() -> list[Figure]:
    """Measure; figures for the table."""
    return [*_on_sqlite(), *_on_postgres()]


def _on_sqlite() -> list[Figure]:
    with TemporaryDirectory(prefix="gengfu-bench-") as name:
        addresses = [sqlite_address(Path(name) / age / "gengfu.db") for age in ("new", "old")]
        return asyncio.run(_measure(Path(name), "SQLite", addresses))


def _on_postgres() -> list[Figure]:
    server = Postgres(durable=True).start()
    try:
        addresses = [server.create(age) for age in ("new", "old")]
        with TemporaryDirectory(prefix="gengfu-bench-") as name:
            return asyncio.run(_measure(Path(name), "PostgreSQL", addresses))
    finally:
        server.close()


class _Side:
    """One of the two: a data folder, a database, a broker, a service that is started and stopped."""

    def __init__(self, folder: Path, address: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.address = address
        self.broker = Mosquitto(folder.with_suffix(".mosquitto")).start()
        settings = {"GENGFU_STORAGE__DATABASE_URL": address.replace("+asyncpg", "")} if "asyncpg" in address else {}
        self._service = Service(folder, self.broker.port, "--rules", str(RULES), **settings)
        self._fires = 0

    @property
    def http_port(self) -> int:
        return self._service.http_port

    async def start(self) -> float:
        """Seconds until it is ready."""
        began = time.perf_counter()
        await asyncio.to_thread(self._service.start_ready)
        return time.perf_counter() - began

    async def stop(self) -> None:
        await asyncio.to_thread(self._service.stop)

    async def latency(self) -> float:
        """The median of some fires, from the publish to the live feed, ms."""
        received: dict[str, float] = {}
        arrived = asyncio.Event()

        def receive(message: Message) -> None:
            if message["type"] == "alarm":
                received.setdefault(message["alarm"]["part"], time.perf_counter())
                arrived.set()

        publisher, took = Publisher(self.broker.port), []
        async with listening(self.http_port, receive), asyncio.timeout(_PATIENCE_S):
            for _ in range(FIRES):
                self._fires += 1
                sent, part = time.perf_counter(), f"9-{self._fires}"
                await publisher.publish([_fire(self._fires)])
                while part not in received:
                    arrived.clear()
                    await arrived.wait()
                took.append(1_000 * (received[part] - sent))
        publisher.close()
        return statistics.median(took)

    async def pages(self, path: str) -> float:
        """The median of some requests, ms."""
        took = []
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self.http_port}") as session:
            for _ in range(PAGES):
                began = time.perf_counter()
                async with session.get(f"/api/v1{path}") as answer:
                    assert answer.status == 200, await answer.text()
                    await answer.read()
                took.append(1_000 * (time.perf_counter() - began))
        return statistics.median(took)


def _fire(number: int) -> tuple[str, Message]:
    body = {"at": time.time_ns() // 1_000_000, "type": "fire", "loop": "9", "address": str(number), "zone": "3F"}
    return f"gengfu/{SITE}/fire_panel/FP-{number % PANELS}/event", body


async def _measure(folder: Path, kind: str, addresses: list[str]) -> list[Figure]:
    sides = [_Side(folder / age, address) for age, address in zip(("new", "old"), addresses, strict=True)]
    end = year_before(time.time_ns() // 1_000_000)
    try:
        await _prepare(sides[0], sides[1], end)
        pairs = await _services(sides) | await _ticks(sides)
        shape = f"{ALARMS:,} past alarms, {READINGS:,} readings, {kind}"
        figures = [_ratio(name, unit, pair, shape) for (name, unit), pair in pairs.items()]
        return [*figures, *await _retention(sides, shape, end)]
    finally:
        for side in sides:
            await side.stop()
            side.broker.stop()


async def _prepare(new: _Side, old: _Side, end: int) -> None:
    began = time.perf_counter()
    for side, alarms, days in ((new, NEW_ALARMS, NEW_DAYS), (old, ALARMS, DAYS)):
        async with _database(side) as database:
            await migrate(database, side.folder)
            await fill_database(database, open_key(side.folder / "audit.key"), alarms, end, days)
    await fill_history(old.folder / "history.db", READINGS, end)
    print(f"  a year was written in {time.perf_counter() - began:.0f} s", flush=True)


@asynccontextmanager
async def _database(side: _Side) -> AsyncIterator[Database]:
    database = Database(side.address, command_s=None)
    try:
        yield database
    finally:
        await database.close()


class _Pair:
    """The measurements of the new and the old one, round by round."""

    def __init__(self) -> None:
        self.new: list[float] = []
        self.old: list[float] = []

    def add(self, side: int, value: float) -> None:
        (self.old if side else self.new).append(value)


_Pairs = dict[tuple[str, str], _Pair]
"""(what, unit) -> figures."""


async def _services(sides: list[_Side]) -> _Pairs:
    """Starts, latencies and pages of both, in turn."""
    start, latency = _Pair(), _Pair()
    lists = {name: _Pair() for name in LISTS}
    for _ in range(ROUNDS):
        for number, side in enumerate(sides):
            start.add(number, await side.start())
        for number, side in enumerate(sides):
            latency.add(number, await side.latency())
        for name, path in LISTS.items():
            for number, side in enumerate(sides):
                lists[name].add(number, await side.pages(path))
        for side in sides:
            await side.stop()
    found = {("start until ready", "s"): start, ("alarm latency, p50", "ms"): latency}
    return found | {(f"list of {name}", "ms"): pair for name, pair in lists.items()}


async def _ticks(sides: list[_Side]) -> _Pairs:
    """The tick of the leader, without a service."""
    pairs = {("tick of tickets", "ms"): _Pair(), ("tick of alarms", "ms"): _Pair()}
    clock = Clock(time.time_ns() // 1_000_000 + 3_600_000)
    async with _database(sides[0]) as new, _database(sides[1]) as old:
        rules = shipped_rules()
        desks = [await open_desk(database, *rules, clock=clock) for database in (new, old)]
        for desk in desks:
            await _tick_both(desk)
        for _ in range(TICKS):
            for number, desk in enumerate(desks):
                for pair, took in zip(pairs.values(), await _tick_both(desk), strict=True):
                    pair.add(number, took)
    return pairs


async def _tick_both(desk: Desk) -> tuple[float, float]:
    return await _timed(desk.tickets.tick), await _timed(desk.alarms.tick)


async def _timed(work: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await work()
    return 1_000 * (time.perf_counter() - began)


def _ratio(name: str, unit: str, pair: _Pair, shape: str) -> Figure:
    before, after = statistics.median(pair.new), statistics.median(pair.old)
    print(f"  {shape}: {name}: {after:.2f} : {before:.2f} {unit}, {after / before:.2f}", flush=True)
    ratios = [old / new for old, new in zip(pair.old, pair.new, strict=True)]
    return Figure(f"{name}, year-old : new", f"{shape}; {after:.1f} : {before:.1f} {unit}", ratios, "times", _GOAL)


# -- retention -----------------------------------------------------------------------------------------


class _Watched:
    """Times a database's transactions: how long each one held the writer, and how long another one waits for it."""

    def __init__(self, database: Database) -> None:
        self.held: list[float] = []
        self.waited: list[float] = []
        self._begin = database.transaction
        database.transaction = self._timed  # type: ignore[method-assign] # so that the job's own are timed

    @asynccontextmanager
    async def _timed(self) -> AsyncIterator[Transaction]:
        async with self._begin() as connection:
            began = time.perf_counter()
            yield connection
        self.held.append(1_000 * (time.perf_counter() - began))

    async def write_on(self) -> None:
        """Write small rows continuously, as alarms would, until cancelled."""
        while True:
            began = time.perf_counter()
            async with self._begin() as connection:
                self.waited.append(1_000 * (time.perf_counter() - began))
                await connection.execute(select(site.c.code).with_for_update())
            await asyncio.sleep(0.005)


@contextmanager
def _beside(work: Awaitable[None]) -> Any:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()


async def _retention(sides: list[_Side], shape: str, end: int) -> list[Figure]:
    """A month expires at once, in the database and in the history."""
    async with _database(sides[1]) as database:
        desk = await open_desk(database, *shipped_rules(), clock=Clock(end))
        watched = _Watched(database)
        alone = await _longest_alone(watched.write_on(), watched.waited)
        began = time.perf_counter()
        with _beside(watched.write_on()):
            removed = await Retention(database, desk.epoch, _TWELFTH, desk.clock).enforce()
        took = time.perf_counter() - began
    gone = f"{shape}; {sum(removed.values()):,} rows and their dependent rows, {took:.0f} s"
    figures = [
        Figure("retention: longest transaction", gone, [max(watched.held)], "ms", "50 ms"),
        Figure(
            "retention: longest wait of another writer",
            f"{gone}; {alone:.1f} ms without",
            [max(watched.waited)],
            "ms",
            "50 ms",
        ),
        await _erase_history(sides[1], shape, end - (DAYS - 30) * DAY_MS),
    ]
    for figure in figures:
        print(f"  {figure.row()}", flush=True)
    return figures


async def _erase_history(side: _Side, shape: str, moment: int) -> Figure:
    """The longest write of one reading while a month of readings is deleted."""
    store = SqliteStore(side.folder / "history.db")
    await store.open()
    took: list[float] = []

    async def write_on() -> None:
        while True:
            reading = sample(f"gengfu/{SITE}/pump/P-1/telemetry", {"flow": 1.0}, time.time_ns() // 1_000_000)
            took.append(await _timed(partial(store.write, [reading])))
            await asyncio.sleep(0.005)

    alone = await _longest_alone(write_on(), took)
    began = time.perf_counter()
    with _beside(write_on()):
        erased = await store.erase_before(moment)
    shape = f"{shape}; {erased:,} readings, {time.perf_counter() - began:.0f} s; {alone:.1f} ms without"
    await store.close()
    return Figure("history erased: longest write of a reading", shape, [max(took)], "ms", "50 ms more than without")


async def _longest_alone(work: Awaitable[None], took: list[float]) -> float:
    """The longest time that `work` notes in a few seconds without other work; the notes are then cleared."""
    with _beside(work):
        await asyncio.sleep(_ALONE_S)
    longest = max(took)
    took.clear()
    return longest
