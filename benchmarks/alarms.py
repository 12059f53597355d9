"""A thousand alarms at once: through a real Mosquitto and the whole service to a listener of the live feed.

The time runs from the first publish until the listener has seen all thousand alarms, each with its ticket's number,
and all thousand tickets.
"""

import asyncio
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.ingest import RULES
from benchmarks.rig.figures import Figure
from benchmarks.rig.live_client import Message, Publisher, listening
from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service

PUMPS = 1_000
ROUNDS = 3
TARGET_S = 2
_RULE = "pump.bearing_very_hot"
_DEADLINE_S = 120.0


def run() -> list[Figure]:
    """Measure; figures for the table."""
    seen_s, done = [], []
    for number in range(ROUNDS):
        with TemporaryDirectory(prefix="gengfu-bench-") as name:
            seen = asyncio.run(_round(Path(name)))
        seen_s.append(seen.alarms_at)
        done.append(seen.done_at)
        print(f"  round {number + 1}: alarms {seen_s[-1]:.2f} s, with tickets {done[-1]:.2f} s", flush=True)
    print(f"  median with tickets: {statistics.median(done):.2f} s", flush=True)
    shape = f"{PUMPS:,} pumps become hot at once, SQLite, Mosquitto, received by a client of the live feed"
    return [
        Figure("1,000 alarms at once: alarms seen", shape, seen_s, "s", ""),
        Figure("1,000 alarms at once: tickets seen too", shape, done, "s", f"{TARGET_S} s"),
    ]


class _Seen:
    """Messages that the listener has received; times are seconds from the first publish."""

    def __init__(self) -> None:
        self.began = 0.0
        self.alarms: set[str] = set()
        self.numbered: set[str] = set()
        self.tickets: set[str] = set()
        self.known = 0
        self.alarms_at = 0.0
        self.done_at = 0.0
        self.changed = asyncio.Event()

    def receive(self, message: Message) -> None:
        if message["type"] == "reading":
            self.known += 1
        elif message["type"] == "alarm" and message["alarm"]["rule"] == _RULE:
            self.alarms.add(message["alarm"]["id"])
            if message["alarm"]["ticket"] is not None:
                self.numbered.add(message["alarm"]["ticket"])
        elif message["type"] == "ticket":
            self.tickets.add(message["ticket"]["number"])
        if not self.alarms_at and len(self.alarms) == PUMPS:
            self.alarms_at = time.perf_counter() - self.began
        if not self.done_at and len(self.numbered & self.tickets) == PUMPS:
            self.done_at = time.perf_counter() - self.began
        self.changed.set()


async def _round(folder: Path) -> _Seen:
    broker = Mosquitto(folder / "mosquitto").start()
    service = Service(folder / "data", broker.port, "--rules", str(RULES)).start_ready()
    seen = _Seen()
    publisher = Publisher(broker.port)
    try:
        async with listening(service.http_port, seen.receive):
            await publisher.publish([_sample(number, 55.0) for number in range(PUMPS)])
            await _until(seen, lambda: seen.known >= PUMPS)
            seen.began = time.perf_counter()
            await publisher.publish([_sample(number, 95.0) for number in range(PUMPS)])
            await _until(seen, lambda: seen.done_at > 0)
    finally:
        publisher.close()
        service.stop()
        broker.stop()
    return seen


def _sample(number: int, bearing: float) -> tuple[str, Message]:
    body = {"at": time.time_ns() // 1_000_000, "bearing_temperature": bearing, "vibration": 1.5, "flow": 12.0}
    return f"gengfu/bench/pump/P-{number}/telemetry", body


async def _until(seen: _Seen, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        while not condition():
            seen.changed.clear()
            await seen.changed.wait()
