"""`make soak`: ten times the usual load for fifteen minutes; nothing may be lost and memory must stay flat."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from benchmarks.rig.figures import Figure
from benchmarks.rig.service import RULES, load_on, own_broker, own_folder, serving

USUAL_RATE = 1_000
USUAL_S = 60
BURST_RATE = 10 * USUAL_RATE
BURST_S = 15 * 60
WARM_UP_S = 60
PUMPS = 1_000


def run() -> list[Figure]:
    """Measure; figures for the table."""
    usual, burst = USUAL_RATE * USUAL_S, BURST_RATE * BURST_S
    with own_folder() as folder, own_broker(folder) as port:
        with serving(port, folder / "data", options=["--rules", str(RULES)]) as service:
            with load_on(port, usual, PUMPS, USUAL_RATE):
                service.wait_for(usual)
            with load_on(port, burst, PUMPS, BURST_RATE):
                time.sleep(WARM_UP_S)
                first = service.resident_mb
                time.sleep(BURST_S - WARM_UP_S)
                last = service.resident_mb
            service.wait_for(usual + burst)
        lost = usual + burst - _stored(folder / "data" / "history.db")
    shape = f"{BURST_RATE:,} messages/s of {PUMPS:,} pumps for {BURST_S // 60} minutes after {USUAL_RATE:,}/s, SQLite"
    print(f"  {first:.0f} MB a minute into the burst, {last:.0f} MB at its end, {lost} lost", flush=True)
    return [
        Figure("samples lost in a burst", shape, [lost], "", "0"),
        Figure("growth of memory in a burst", shape, [last - first], "MB", "flat"),
    ]


def _stored(file: Path) -> int:
    with closing(sqlite3.connect(file)) as history:
        return int(history.execute("SELECT count(*) FROM reading").fetchone()[0])
