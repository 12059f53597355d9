"""`make bench`: runs every benchmark and writes the figures as measured to `docs/performance.md`."""

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import history, ingest, memory, spool
from benchmarks.figures import Figure

TABLE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
_BEGIN, _END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
BENCHMARKS = {"ingest": ingest.run, "history": history.run, "spool": spool.run, "memory": memory.run}


def main() -> None:
    wanted = sys.argv[1:] or list(BENCHMARKS)
    figures: list[Figure] = []
    for name in wanted:
        print(f"{name}:", flush=True)
        figures += BENCHMARKS[name]()
    text = table(figures)
    print(text)
    if set(wanted) == set(BENCHMARKS):
        write(text)


def table(figures: list[Figure]) -> str:
    """Machine, date and a row a figure."""
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}"
    )
    head = f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine}.\n\n"
    rows = "\n".join(figure.row() for figure in figures)
    return f"{head}| what | load | median | spread | asked for |\n|---|---|---|---|---|\n{rows}\n"


def write(text: str) -> None:
    """Replace the figures in the document; the words around them stay."""
    document = TABLE.read_text(encoding="utf-8")
    before, rest = document.split(_BEGIN)
    after = rest.split(_END)[1]
    TABLE.write_text(f"{before}{_BEGIN}{text}{_END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
