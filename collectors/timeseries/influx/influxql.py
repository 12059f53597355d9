"""InfluxQL for the samples and rollups of a series."""

from typing import Any, Final

from collectors.timeseries.influx.answers import Result
from collectors.timeseries.rollups import DAY, HOUR, MINUTE, SAMPLES
from collectors.timeseries.store import Series
from collectors.wire.reading import Value

KEYS_PER_MS: Final = 1_000_000
SUFFIX: Final = {SAMPLES: "", MINUTE: "_1m", HOUR: "_1h", DAY: "_1d"}
"""Measurements: a kind's samples under its name, its rollups under name and suffix."""


def of_series(series: Series) -> str:
    """The condition for one series; codes contain no character that would need escaping."""
    return f" WHERE site = '{series.site}' AND equipment = '{series.equipment}' AND channel = '{series.channel}'"


def where(series: Series, start: int, end: int) -> str:
    """The condition for one series in a range."""
    return f"{of_series(series)} AND time >= {start * KEYS_PER_MS} AND time < {end * KEYS_PER_MS}"


def source(series: Series, step: int, start: int, end: int) -> str:
    """The rollups of a step, or the samples, of one series in a range."""
    return f' FROM "{series.kind}{SUFFIX[step]}"{where(series, start, end)}'


def rows_of(found: list[Result]) -> list[list[Any]]:
    """The rows of one series."""
    return found[0].values if found else []


def as_sent(value: float | bool | str) -> Value:
    """A value as it was sent: in a response whole numbers have no decimal point."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
