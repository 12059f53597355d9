"""Memory: the whole service under a steady load; what it holds after the first minute and ten minutes later."""

import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figures import Figure
from benchmarks.ingest import PUMPS, RULES, load_on, metric, wait_until
from tests.mosquitto import Mosquitto, free_port

RATE = 5_000
WARM_UP_S = 60
MEASURED_S = 600
LIMIT_MB = 50


def run() -> list[Figure]:
    """Measure; figures for the table."""
    with TemporaryDirectory(prefix="gengfu-bench-") as name:
        broker = Mosquitto(Path(name) / "mosquitto").start()
        try:
            first, last, behind = _measure(broker.port, Path(name))
        finally:
            broker.stop()
    shape = f"{RATE:,} messages/s of {PUMPS} pumps for {MEASURED_S // 60} minutes, after a minute's warm-up, SQLite"
    print(f"  {first:.0f} MB after a minute, {last:.0f} MB at the end, {behind:,.0f} messages behind", flush=True)
    return [
        Figure("memory of the service", shape, [last], "MB", ""),
        Figure("growth of memory", shape, [last - first], "MB", f"below {LIMIT_MB} MB"),
    ]


def _measure(port: int, folder: Path) -> tuple[float, float, float]:
    http = free_port()
    command = [
        str(Path(sys.executable).with_name("gengfu")), "serve", "--mqtt-port", str(port), "--http-port", str(http),
        "--data-dir", str(folder / "data"), "--rules", str(RULES),
    ]  # fmt: skip
    messages = RATE * (WARM_UP_S + MEASURED_S)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as service:
        try:
            wait_until(lambda: metric(http, "gengfu_broker_connected") == 1)
            with load_on(port, messages, RATE):
                time.sleep(WARM_UP_S)
                first = resident_mb(service.pid)
                time.sleep(MEASURED_S)
                return first, resident_mb(service.pid), messages - metric(http, "gengfu_messages_acknowledged_total")
        finally:
            service.terminate()
            service.wait(20)


def resident_mb(pid: int) -> float:
    """Memory that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1000
