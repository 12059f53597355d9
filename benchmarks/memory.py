"""Memory: the whole service under a steady load; its size after the first minute and ten minutes later."""

import time

from benchmarks.rig.figures import Figure
from benchmarks.rig.service import RULES, load_on, own_broker, own_folder, serving

RATE = 5_000
PUMPS = 200
WARM_UP_S = 60
MEASURED_S = 600
LIMIT_MB = 50


def run() -> list[Figure]:
    """Measure; figures for the table."""
    messages = RATE * (WARM_UP_S + MEASURED_S)
    rules = ["--rules", str(RULES)]
    with own_folder() as folder, own_broker(folder) as port, serving(port, folder / "data", options=rules) as service:
        with load_on(port, messages, PUMPS, RATE):
            time.sleep(WARM_UP_S)
            first = service.resident_mb
            time.sleep(MEASURED_S)
            last = service.resident_mb
        service.wait_for(messages)
    shape = f"{RATE:,} messages/s of {PUMPS} pumps for {MEASURED_S // 60} minutes, after a minute's warm-up, SQLite"
    print(f"  {first:.0f} MB after a minute, {last:.0f} MB at the end", flush=True)
    return [
        Figure("memory of the service", shape, [last], "MB", ""),
        Figure("growth of memory", shape, [last - first], "MB", f"below {LIMIT_MB} MB"),
    ]
