"""The chart of letters: no line is too long, no alarm too short to be seen, the limit stands in its place."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from collectors.wire.reading import to_datetime
from gateway.cli.chart import WIDTH, draw
from tests.builders.alarms import T0

HOUR = 3_600_000
VALUES = st.floats(-1e9, 1e9, allow_nan=False)


def moment(share: float) -> str:
    return to_datetime(T0 + round(share * HOUR)).isoformat()


def chart(points: list[tuple[float, float]], lines: list[tuple[str, float]], **more: Any) -> dict[str, Any]:
    buckets = [{"at": moment(at), "min": value, "mean": value, "max": value, "count": 1} for at, value in points]
    limits = [{"means": means, "value": value} for means, value in lines]
    return {"field": "flow", "unit": "m³/h", "buckets": buckets, "changes": [], "lines": limits, **more}


def alarm(start: float, end: float | None) -> dict[str, Any]:
    return {"start": moment(start), "end": None if end is None else moment(end)}


@given(
    points=st.lists(st.tuples(st.floats(0, 1), VALUES), min_size=1, max_size=50),
    limit=VALUES,
    start=st.floats(0, 0.999),
    length=st.one_of(st.none(), st.floats(0, 1)),
)
def test_every_line_fits_and_every_alarm_is_seen(
    points: list[tuple[float, float]], limit: float, start: float, length: float | None
) -> None:
    end = None if length is None else min(1.0, start + length)
    lines = draw(chart(points, [("above", limit)]), [alarm(start, end)], moment(0), moment(1))
    assert max(map(len, lines[:-1])) <= WIDTH + 16
    (bar,) = [line for line in lines if line.strip().startswith("alarm ")]
    assert "█" in bar
    assert any("│" in line for line in lines[1:-3])


def test_the_limit_lies_between_what_is_above_and_what_is_below_it() -> None:
    lines = draw(chart([(0.0, 0.0), (0.9, 100.0)], [("above", 50.0), ("returns", 25.0)]), [], moment(0), moment(1))
    rows = [next(number for number, line in enumerate(lines) if mark in line) for mark in ("100 ", "═", "┄")]
    assert rows == sorted(rows)
    assert [line[:9].strip() for line in lines if "═══" in line] == ["50"]


def test_texts_have_no_curve_but_their_changes_are_counted() -> None:
    told = chart([], [], changes=[{"at": moment(0), "value": "auto"}, {"at": moment(0.5), "value": "manual"}])
    assert "(2 changes, the last to manual)" in draw(told, [alarm(0.5, None)], moment(0), moment(1))[1]
