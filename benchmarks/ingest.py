"""Ingest: a real Mosquitto, QoS 1, 200 pumps, five fields, six rules each; every message acknowledged after commit.

The service runs completely, as with `gengfu serve` (decoding, rules, HTTP, live feed), with its history in SQLite and
in InfluxDB; a round ends when everything is acknowledged and the spool is empty. It alternates in one run with a bare
paho subscriber that acknowledges manually and does nothing, and with Node-RED with a flow that decodes, checks one
threshold and writes batches to InfluxDB (it acknowledges on receipt; its round ends when InfluxDB has every point).
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.reference import node_red
from benchmarks.rig.figures import Figure
from benchmarks.rig.service import RULES, load_on, own_broker, own_folder, serving
from tests.servers.influxdb import InfluxDB

MESSAGES = 400_000
NODE_RED_MESSAGES = 100_000
PUMPS = 200
ROUNDS = 3
FLOOR = 20_000
FLOOR_RATIO = 0.6
_PARTIES = "bare", "SQLite", "InfluxDB", "Node-RED"


def run() -> list[Figure]:
    """Measure; figures for the table."""
    rates: dict[str, list[float]] = {name: [] for name in _PARTIES}
    for number in range(ROUNDS):
        for name, party in zip(_PARTIES, (_bare, _in_sqlite, _in_influxdb, _node_red), strict=True):
            rates[name].append(_round(party))
        print(f"  round {number + 1}: {', '.join(f'{name} {rates[name][-1]:,.0f}/s' for name in _PARTIES)}", flush=True)
    shape = f"{MESSAGES:,} messages, {PUMPS} pumps, 5 fields, 6 rules, QoS 1, acknowledged after commit"
    flow = (
        f"{NODE_RED_MESSAGES:,} of the messages, one threshold, batches of 5,000 to InfluxDB, acknowledged on receipt"
    )
    bare = "the same messages, manual acknowledgement, no work"
    return [
        Figure("ingest, SQLite", shape, rates["SQLite"], "messages/s", f"floor {FLOOR:,}/s"),
        Figure("ingest, InfluxDB", f"{shape}, nothing left on disk", rates["InfluxDB"], "messages/s", ""),
        Figure("bare paho subscriber", bare, rates["bare"], "messages/s", ""),
        Figure("Node-RED", flow, rates["Node-RED"], "messages/s", ""),
        _ratio("ingest / bare", rates["SQLite"], rates["bare"], f"floor {FLOOR_RATIO}, aim 1.0"),
        _ratio("ingest with InfluxDB / Node-RED", rates["InfluxDB"], rates["Node-RED"], ""),
    ]


def _ratio(name: str, ours: list[float], theirs: list[float], target: str) -> Figure:
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    return Figure(name, "median of the rounds' ratios", [ratio], "", target)


def _round(party: Callable[[int, Path], float]) -> float:
    with own_folder() as folder, own_broker(folder) as port:
        return party(port, folder)


def _bare(port: int, _folder: Path) -> float:
    command = [sys.executable, "-m", "benchmarks.reference.bare_subscriber", str(port), str(MESSAGES)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as subscriber:
        assert subscriber.stdout is not None
        subscriber.stdout.readline()
        with load_on(port, MESSAGES, PUMPS):
            return MESSAGES / float(subscriber.stdout.readline())


def _in_sqlite(port: int, folder: Path) -> float:
    return _ours(port, folder, {})


def _in_influxdb(port: int, folder: Path) -> float:
    server = InfluxDB(folder / "influxdb").start()
    try:
        return _ours(port, folder, {"GENGFU_HISTORY__STORE": "influxdb", "GENGFU_HISTORY__URL": server.url})
    finally:
        server.close()


def _ours(port: int, folder: Path, settings: dict[str, str]) -> float:
    with serving(port, folder / "data", settings, ["--rules", str(RULES)]) as service, load_on(port, MESSAGES, PUMPS):
        began = time.perf_counter()
        service.wait_for(MESSAGES)
        return MESSAGES / (time.perf_counter() - began)


def _node_red(port: int, folder: Path) -> float:
    server = InfluxDB(folder / "influxdb").start()
    try:
        with node_red.running(port, server.url, folder), load_on(port, NODE_RED_MESSAGES, PUMPS):
            began = time.perf_counter()
            node_red.wait_for_points(server.url, NODE_RED_MESSAGES)
            return NODE_RED_MESSAGES / (time.perf_counter() - began)
    finally:
        server.close()
