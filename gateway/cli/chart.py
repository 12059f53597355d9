"""Text charts for the command line: numbers over time with limits, and below them the alarms.

Pure: takes the answer of `POST /rules/test` and returns lines.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

WIDTH: Final = 72
HEIGHT: Final = 12
_MARGIN: Final = 10
_LINES: Final = {"above": "═", "below": "═", "returns": "┄"}
_VALUE: Final = "│"
_ALARM: Final = "█"
_LEGEND: Final = f"{_VALUE} lowest to highest   ═ limit   ┄ back to normal   {_ALARM} alarm"
Span = tuple[float, float]
"""Begin and end as shares of the whole period: 0 to 1."""


def draw(chart: dict[str, Any], activations: Iterable[dict[str, Any]], start: str, end: str) -> list[str]:
    """The lines of one chart; a summary for a text field, which has no curve.

    Args:
        chart: one of the answer's `charts`.
        activations: the answer's.
        start: of the period, RFC 3339.
        end: of the period.
    """
    begin, length = _seconds(start), max(_seconds(end) - _seconds(start), 0.001)

    def share(moment: str | None) -> float:
        return 1.0 if moment is None else min(1.0, max(0.0, (_seconds(moment) - begin) / length))

    spans = [(share(one["start"]), share(one["end"])) for one in activations]
    title = f"{chart['field']}{' in ' + chart['unit'] if chart['unit'] else ''}"
    columns = _columns([(share(one["at"]), one["min"], one["max"]) for one in chart["buckets"]])
    body = _curve(columns, chart["lines"]) if any(columns) else [f"{'':{_MARGIN}}({_of_changes(chart)})"]
    return [title, *body, f"{'alarm':>{_MARGIN - 1}} {_bar(spans)}", _axis(start, end), f"{'':{_MARGIN}}{_LEGEND}"]


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _columns(points: Iterable[tuple[float, float, float]]) -> list[Span | None]:
    """Lowest and highest value of each column."""
    columns: list[Span | None] = [None] * WIDTH
    for place, least, most in points:
        number = min(WIDTH - 1, int(place * WIDTH))
        before = columns[number]
        columns[number] = (least, most) if before is None else (min(least, before[0]), max(most, before[1]))
    return columns


def _curve(columns: Sequence[Span | None], lines: Sequence[dict[str, Any]]) -> list[str]:
    limits = [float(line["value"]) for line in lines]
    low = min(*(span[0] for span in columns if span), *limits, math.inf)
    high = max(*(span[1] for span in columns if span), *limits, -math.inf)
    step = (high - low) / (HEIGHT - 1) or 1.0

    def row_of(value: float) -> int:
        return HEIGHT - 1 - min(HEIGHT - 1, max(0, round((value - low) / step)))

    rows = [[" "] * WIDTH for _ in range(HEIGHT)]
    labels = {0: high, HEIGHT - 1: low}
    for line in sorted(lines, key=lambda line: line["means"] != "returns"):
        rows[row_of(line["value"])] = [_LINES[line["means"]]] * WIDTH
        if line["means"] != "returns":
            labels[row_of(line["value"])] = line["value"]
    for number, span in enumerate(columns):
        for row in range(row_of(span[1]), row_of(span[0]) + 1) if span else ():
            rows[row][number] = _VALUE
    return [
        f"{f'{labels[number]:.6g}' if number in labels else '':>{_MARGIN - 1}} {''.join(row)}"
        for number, row in enumerate(rows)
    ]


def _of_changes(chart: dict[str, Any]) -> str:
    changes = chart["changes"]
    return f"{len(changes)} changes, the last to {changes[-1]['value']}" if changes else "no data"


def _bar(spans: Iterable[Span]) -> str:
    """An alarm shorter than a column is shown too."""
    bar = ["·"] * WIDTH
    for begin, end in spans:
        first, last = int(begin * WIDTH), math.ceil(end * WIDTH)
        for number in range(min(first, WIDTH - 1), min(max(last, first + 1), WIDTH)):
            bar[number] = _ALARM
    return "".join(bar)


def _axis(start: str, end: str) -> str:
    begin, finish = (datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M") for moment in (start, end))
    return f"{'':{_MARGIN}}{begin}{finish:>{WIDTH - len(begin)}}"
