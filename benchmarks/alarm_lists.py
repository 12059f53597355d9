"""Ten thousand open alarms: listed, shown when the page is opened, loaded at a start; and the cost of one reading.

Alarms and the HTTP server are the real ones, on SQLite, all in one process with the client. The figures are processor
time of all its threads, which other work on the machine affects least.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import update

from benchmarks.ingest import RULES
from benchmarks.rig.figures import Figure
from collectors.wire.reading import Reading
from gateway.alarms.evaluation.evaluator import RuleEvaluator
from gateway.alarms.lifecycle.rows import due_for_re_alarm
from gateway.alarms.rules.files import load_rules
from gateway.people.permissions import Role
from gateway.storage.database import Database
from gateway.storage.tables import alarm, metadata
from tests.builders.alarms import T0, bearing, make_rule, open_desk, sample, sqlite_address
from tests.servers.api_server import ApiServer, open_api_server

OPEN = 10_000
ROUNDS = 5
PUMPS = 200
SAMPLES = 200_000
_AT_ONCE = 1_000
_RE_ALARM_MS = 1_800_000
_FIELDS = {"bearing_temperature": 55.0, "vibration": 1.5, "flow": 12.0, "discharge_pressure": 0.6, "current_a": 10.0}


def run() -> list[Figure]:
    """Measure; figures for the table."""
    with TemporaryDirectory(prefix="gengfu-bench-") as name:
        figures = asyncio.run(_measure(Path(name)))
    return [*figures, Figure("a reading with six rules", f"{SAMPLES:,} samples of {PUMPS} pumps, 5 fields", _judging(),
                             "µs", "8 µs")]  # fmt: skip


async def _measure(folder: Path) -> list[Figure]:
    database = Database(sqlite_address(folder / "gengfu.db"))
    async with database.transaction() as connection:
        await connection.run_sync(metadata.create_all)
    rule = make_rule(re_alarm=_RE_ALARM_MS)
    await _fill(database, rule)
    shape = f"{OPEN:,} open alarms with their tickets, SQLite"

    async def restore() -> None:
        await open_desk(database, rule)

    async with open_api_server(database, folder) as api:
        api.log_in(Role.OPERATOR)
        page = await _timed(lambda: api.get("/api/v1/alarms?state=open&limit=500"))
        whole = await _timed(lambda: _snapshot(api))
        restored = await _timed(restore)
        await _acknowledge_all(database)
        due = await _timed(lambda: _look_for_due(database))
    await database.close()
    return [
        Figure("a page of the list", f"{shape}; 500 of them over HTTP", page, "ms", "100 ms"),
        Figure("the whole list", f"{shape}; the first message of the live feed over HTTP", whole, "ms", "100 ms"),
        Figure("loaded at a start", f"{shape}; memory of the rules, alarms without a rule", restored, "ms", "2,000 ms"),
        Figure("reminders due", f"{OPEN:,} acknowledged alarms, none due; once a second", due, "ms", ""),
    ]


async def _fill(database: Database, rule: Any) -> None:
    desk = await open_desk(database, rule)
    for first in range(0, OPEN, _AT_ONCE):
        await desk.decide(*(bearing(91, T0, pump=f"P-{first + number}") for number in range(_AT_ONCE)))
    desk.clock.now += 2_000
    await desk.tickets.tick()


async def _timed(work: Callable[[], Awaitable[Any]]) -> list[float]:
    """Milliseconds of processor time of each round."""
    took = []
    for _ in range(ROUNDS):
        began = time.process_time()
        await work()
        took.append((time.process_time() - began) * 1_000)
    return took


async def _snapshot(api: ApiServer) -> None:
    async with api.client.ws_connect("/api/v1/live", max_msg_size=0) as socket:
        assert (await socket.receive_str()).startswith('{"type":"snapshot"')


async def _acknowledge_all(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(update(alarm).values(state="acknowledged", re_alarm_at=T0 + _RE_ALARM_MS))


async def _look_for_due(database: Database) -> None:
    async with database.reading() as connection:
        assert not await due_for_re_alarm(connection, T0)


def _judging() -> list[float]:
    """Microseconds of processor time for one reading that changes nothing, like most readings."""
    rules = load_rules([RULES])
    took = []
    for _ in range(ROUNDS):
        evaluator = RuleEvaluator(rules, {}, 60_000)
        readings = [_reading(number) for number in range(SAMPLES)]
        began = time.process_time()
        evaluator.take(readings)
        took.append((time.process_time() - began) * 1_000_000 / SAMPLES)
    return took


def _reading(number: int) -> Reading:
    topic = f"gengfu/bench/pump/P-{number % PUMPS}/telemetry"
    fields = {name: value + number % 7 / 100 for name, value in _FIELDS.items()}
    return sample(topic, fields, T0 + number // PUMPS * 1_000)
