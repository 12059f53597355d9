"""`make bench`: runs benchmarks and writes the figures, as measured, into `docs/performance.md`."""

import os
import platform
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks import (
    alarm_lists,
    alarms,
    estate,
    history,
    ingest,
    latency,
    memory,
    real_data,
    rule_test,
    soak,
    spool,
    year_old,
)
from benchmarks.rig.figures import Figure

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
DOCUMENT: Final = DOCS / "performance.md"
BENCHMARKS: Final[dict[str, Callable[[], list[Figure]]]] = {
    "ingest": ingest.run,
    "history": history.run,
    "spool": spool.run,
    "estate": estate.run,
    "memory": memory.run,
    "alarms": alarms.run,
    "alarm_lists": alarm_lists.run,
    "latency": latency.run,
    "rule_test": rule_test.run,
}
"""Name -> benchmark; without arguments all of them run, in this order."""
LONG: Final[dict[str, Callable[[], list[Figure]]]] = {"soak": soak.run, "year_old": year_old.run}
"""Run only when named: they take long."""
STUDIES: Final = {"real_data": (real_data.PARTS, DOCS / "alarms.md")}
"""Run only when named: not about speed, and the same on every machine. Section -> its function; its document."""


def main() -> None:
    known = BENCHMARKS | LONG
    wanted = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in wanted if name not in known | STUDIES]
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(unknown)}; known: {', '.join(known | STUDIES)}")
    for name in wanted:
        print(f"{name}:", flush=True)
        if name in STUDIES:
            study(name)
            continue
        text = table(known[name]())
        print(text)
        write(name, text, DOCUMENT)


def study(name: str) -> None:
    """Write each section of a study into its place."""
    parts, document = STUDIES[name]
    for part, make in parts.items():
        text = make()
        print(text)
        write(part, f"{text}\n", document)


def table(figures: list[Figure]) -> str:
    """Date, machine and one row for each figure."""
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}"
    )
    head = f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine}.\n\n"
    rows = "\n".join(figure.row() for figure in figures)
    return f"{head}| what | load | median | spread | target |\n|---|---|---|---|---|\n{rows}\n"


def write(name: str, text: str, path: Path) -> None:
    """Replace one benchmark's figures in a document; the text around them is unchanged."""
    document = path.read_text(encoding="utf-8")
    part = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if part.search(document) is None:
        sys.exit(f"{path.name} has no place for {name}: write <!-- {name} --> and <!-- end --> into it")
    path.write_text(part.sub(lambda found: found[1] + text + found[2], document), encoding="utf-8")


if __name__ == "__main__":
    main()
