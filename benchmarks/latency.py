"""Latency: from the publish of a fire event to its alarm in the live feed, while other equipment reports.

A real Mosquitto, the whole service on SQLite, 2,000 messages a second from 200 pumps in the background. Each fire is at
a different point; the panels have reported before.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.ingest import RULES
from benchmarks.rig.figures import Figure
from benchmarks.rig.live_client import Message, Publisher, listening
from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service

RATE = 2_000
PUMPS = 200
PANELS = 20
EVENTS = 400
ROUNDS = 3
_EVERY_S = 0.05
_LEAD_S = 3
_PATIENCE_S = 30.0


def run() -> list[Figure]:
    """Measure; figures for the table."""
    halves, worst = [], []
    for number in range(ROUNDS):
        with TemporaryDirectory(prefix="gengfu-bench-") as name:
            took = asyncio.run(_round(Path(name)))
        halves.append(statistics.median(took))
        worst.append(statistics.quantiles(took, n=100)[98])
        words = f"p50 {halves[-1]:.1f} ms, p99 {worst[-1]:.1f} ms, most {max(took):.1f} ms"
        print(f"  round {number + 1}: {words}", flush=True)
    shape = f"{EVENTS} fire events beside {RATE:,} messages/s, publish to WebSocket, SQLite with fsync"
    return [
        Figure("alarm latency, p50", shape, halves, "ms", "20 ms"),
        Figure("alarm latency, p99", shape, worst, "ms", "100 ms"),
    ]


async def _round(folder: Path) -> list[float]:
    """Milliseconds of each event."""
    broker = Mosquitto(folder / "mosquitto").start()
    service = Service(folder / "data", broker.port, "--rules", str(RULES)).start_ready()
    publisher = Publisher(broker.port)
    received: dict[tuple[str, str], float] = {}
    arrived = asyncio.Event()

    def receive(message: Message) -> None:
        if message["type"] == "alarm":
            alarm = message["alarm"]
            received.setdefault((alarm["equipment"], alarm["part"]), time.perf_counter())
            arrived.set()

    try:
        async with listening(service.http_port, receive):
            await publisher.publish([_mains(number) for number in range(PANELS)])
            with _background(broker.port) as load:
                await asyncio.sleep(_LEAD_S)
                sent = await _send_fires(publisher)
                async with asyncio.timeout(_PATIENCE_S):
                    while not sent.keys() <= received.keys():
                        arrived.clear()
                        await arrived.wait()
                load.terminate()
    finally:
        publisher.close()
        service.stop()
        broker.stop()
    return [(received[who] - at) * 1_000 for who, at in sent.items()]


def _background(port: int) -> subprocess.Popen[str]:
    """2,000 messages a second, for longer than the round."""
    messages = int(RATE * (_LEAD_S + EVENTS * _EVERY_S + _PATIENCE_S))
    command = [sys.executable, "-m", "benchmarks.rig.load", str(port), str(messages), str(PUMPS), str(RATE)]
    load = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert load.stdin is not None
    assert load.stdout is not None
    load.stdout.readline()
    load.stdin.write("go\n")
    load.stdin.flush()
    return load


async def _send_fires(publisher: Publisher) -> dict[tuple[str, str], float]:
    """(equipment, part) of each fire and when it was published."""
    sent: dict[tuple[str, str], float] = {}
    for number in range(EVENTS):
        panel, address = f"FP-{number % PANELS}", str(number // PANELS)
        body = {"at": time.time_ns() // 1_000_000, "type": "fire", "loop": "1", "address": address, "zone": "3F"}
        sent[f"bench:{panel}", f"1-{address}"] = time.perf_counter()
        await publisher.publish([(f"gengfu/bench/fire_panel/{panel}/event", body)])
        await asyncio.sleep(_EVERY_S)
    return sent


def _mains(number: int) -> tuple[str, Message]:
    return f"gengfu/bench/fire_panel/FP-{number}/telemetry", {"mains": True}
