"""The size of the estate: cost of a message and memory of an equipment, with 100, 1,000 and 10,000 of them."""

import time
from itertools import pairwise
from pathlib import Path

from benchmarks.rig.figures import Figure
from benchmarks.rig.service import RULES, load_on, own_broker, own_folder, serving

SIZES = 100, 1_000, 10_000
MESSAGES = 200_000
STARTED_WITH = 2_000
STARTS = 5
_SETTINGS = {"GENGFU_EQUIPMENT__UNKNOWN_LIMIT": str(max(SIZES))}


def run() -> list[Figure]:
    """Measure; figures for the table."""
    costs, memory = [], []
    for size in SIZES:
        cost, resident = _cost_and_memory(size)
        costs.append(cost)
        memory.append(resident)
        print(f"  {size:,} equipments: {cost:.1f} us a message, {resident:.0f} MB", flush=True)
    shape = f"{MESSAGES:,} messages of pumps with 6 rules"
    figures = [
        Figure(f"processor time a message, {size:,} equipments", shape, [cost], "µs", "must not grow")
        for size, cost in zip(SIZES, costs, strict=True)
    ]
    for (few, less), (many, more) in pairwise(zip(SIZES, memory, strict=True)):
        each = 1000 * (more - less) / (many - few)
        figures.append(Figure(f"memory an equipment, {few:,} to {many:,}", shape, [each], "KB", "must not grow"))
    return [*figures, _start()]


def _cost_and_memory(size: int) -> tuple[float, float]:
    """Microseconds of processor time per message, and MB of memory afterwards; the equipment is known before."""
    with own_folder() as folder, own_broker(folder) as port:
        _make_known(port, folder, size)
        with serving(port, folder / "data", _SETTINGS, ["--rules", str(RULES)]) as service:
            before = service.cpu_s
            with load_on(port, MESSAGES, size):
                service.wait_for(MESSAGES)
            return 1e6 * (service.cpu_s - before) / MESSAGES, service.resident_mb


def _make_known(port: int, folder: Path, size: int) -> None:
    with serving(port, folder / "data", _SETTINGS) as service, load_on(port, size, size):
        service.wait_for(size)


def _start() -> Figure:
    seconds = []
    with own_folder() as folder, own_broker(folder) as port:
        _make_known(port, folder, STARTED_WITH)
        for _ in range(STARTS):
            began = time.perf_counter()
            with serving(port, folder / "data", _SETTINGS):
                seconds.append(time.perf_counter() - began)
    shape = f"{STARTED_WITH:,} equipments with values; until it is connected to the broker"
    return Figure("start", shape, seconds, "s", "3 s")
