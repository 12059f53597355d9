"""Ingest: a real Mosquitto, QoS 1, 200 pumps, five fields, six rules each; every message acknowledged after commit.

Ours is the whole service as `gengfu serve` runs it (decoding, rules, HTTP, live feed), with its history in SQLite and
in InfluxDB; a round is over when everything is acknowledged and nothing waits on disk. The reference is a bare paho
subscriber that acknowledges by hand and does nothing. All three in turn, in one run.
"""

import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

from benchmarks.figures import Figure
from tests.influxdb import InfluxDB
from tests.mosquitto import Mosquitto, free_port

MESSAGES = 400_000
PUMPS = 200
ROUNDS = 3
FLOOR = 20_000
FLOOR_RATIO = 0.6
_DEADLINE_S = 300.0
RULES = Path(__file__).with_name("ingest_rules.yaml")


def run() -> list[Figure]:
    """Measure; figures for the table."""
    bare, ours, influx = [], [], []
    for number in range(ROUNDS):
        bare.append(_round(_bare))
        ours.append(_round(_ours))
        influx.append(_round(_ours_in_influxdb))
        print(
            f"  round {number + 1}: bare {bare[-1]:,.0f}/s, SQLite {ours[-1]:,.0f}/s, InfluxDB {influx[-1]:,.0f}/s",
            flush=True,
        )
    ratio = statistics.median(mine / theirs for mine, theirs in zip(ours, bare, strict=True))
    shape = f"{MESSAGES:,} messages, {PUMPS} pumps, 5 fields, 6 rules, QoS 1, acknowledged after commit"
    return [
        Figure("ingest, SQLite", shape, ours, "messages/s", f"floor {FLOOR:,}/s"),
        Figure("ingest, InfluxDB", f"{shape}, nothing left on disk", influx, "messages/s", ""),
        Figure("bare paho subscriber", "the same messages, manual acknowledgement, no work", bare, "messages/s", ""),
        Figure("ingest / bare", "median of the rounds' ratios", [ratio], "", f"floor {FLOOR_RATIO}, aim 1.0"),
    ]


def _round(subscriber: Callable[[int, Path], float]) -> float:
    with TemporaryDirectory(prefix="gengfu-bench-") as name:
        folder = Path(name)
        broker = Mosquitto(folder / "mosquitto").start()
        try:
            return subscriber(broker.port, folder)
        finally:
            broker.stop()


def _bare(port: int, _folder: Path) -> float:
    command = [sys.executable, "-m", "benchmarks.bare_subscriber", str(port), str(MESSAGES)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as subscriber:
        assert subscriber.stdout is not None
        subscriber.stdout.readline()
        with load_on(port):
            return MESSAGES / float(subscriber.stdout.readline())


def _ours_in_influxdb(port: int, folder: Path) -> float:
    server = InfluxDB(folder / "influxdb").start()
    try:
        return _ours(port, folder, {"GENGFU_HISTORY__STORE": "influxdb", "GENGFU_HISTORY__URL": server.url})
    finally:
        server.close()


def _ours(port: int, folder: Path, settings: Mapping[str, str] = MappingProxyType({})) -> float:
    http = free_port()
    command = [
        str(Path(sys.executable).with_name("gengfu")), "serve", "--mqtt-port", str(port), "--http-port", str(http),
        "--data-dir", str(folder / "data"), "--rules", str(RULES),
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, **settings}) as service:
        try:
            wait_until(lambda: metric(http, "gengfu_broker_connected") == 1)
            with load_on(port):
                began = time.perf_counter()
                wait_until(lambda: metric(http, "gengfu_messages_acknowledged_total") >= MESSAGES)
                wait_until(lambda: metric(http, "gengfu_spool_readings") == 0)
                return MESSAGES / (time.perf_counter() - began)
        finally:
            service.terminate()
            service.wait(20)


@contextmanager
def load_on(port: int, messages: int = MESSAGES, rate: int = 0) -> Iterator[None]:
    """A publisher that begins when the block does, as fast as it can or at a rate; waited for at the block's end."""
    command = [sys.executable, "-m", "benchmarks.load", str(port), str(messages), str(PUMPS), str(rate)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as publisher:
        assert publisher.stdin is not None
        assert publisher.stdout is not None
        publisher.stdout.readline()
        publisher.stdin.write("go\n")
        publisher.stdin.flush()
        yield
        publisher.stdout.readline()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.perf_counter() + _DEADLINE_S
    while not condition():
        if time.perf_counter() > deadline:
            raise TimeoutError("the benchmark did not get to its end")
        time.sleep(0.1)


def metric(port: int, name: str) -> float:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            found = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
    except OSError:
        return -1.0
    return float(found[1]) if found else -1.0
