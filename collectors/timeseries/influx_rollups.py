"""Keeps InfluxDB's rollups: reads what was written to, adds it up by minute, hour and day, and writes that back.

Rollups of a kind stand in the measurements `<kind>_1m`, `_1h` and `_1d`, with the fields `<name> least`, `total`,
`most` and `samples`. A minute's mark goes only when its minute, hour and day are written.
"""

from collections import defaultdict
from typing import Final

from collectors.fields import Kind
from collectors.timeseries.dirty_minutes import DirtyMinutes, Mark
from collectors.timeseries.influx_history import KEYS_PER_MS, SUFFIX, where
from collectors.timeseries.influx_http import TOO_OLD, InfluxHttp, Result, Unacceptable
from collectors.timeseries.line_protocol import OWN_FIELDS, RECEIVED, encode_rollup
from collectors.timeseries.rollups import DAY, FINER, MINUTE, STEPS, Figures
from collectors.timeseries.store import Series

_PORTION: Final = 3_000
"""Minutes at a time."""
_LINES: Final = 5_000
_MINUTE_COLUMNS: Final = ("min_{}", "sum_{}", "max_{}", "count_{}")
_ROLLUP_COLUMNS: Final = ("min_{} least", "sum_{} total", "max_{} most", "sum_{} samples")
_SeriesDay = tuple[Series, int]
_Days = dict[_SeriesDay, list[int]]
_Lines = dict[_SeriesDay, list[str]]
"""Rollups of one step as InfluxDB's lines."""


async def roll_up(server: InfluxHttp, dirty: DirtyMinutes, now: int, *, shared: bool) -> int:
    """Make the rollups of a portion of minutes; return how many are done. What is still being written to waits.

    Where other processes sum up the same hours (`shared`), what was written may rest on what was read before they
    wrote. So it is read once more, and what no longer agrees keeps its marks. A sample that comes after this second
    look has a mark of its own, at whoever wrote it.
    """
    busy = dirty.settle()
    marks = [mark for mark in await dirty.some(_PORTION, now) if mark not in busy]
    days: _Days = defaultdict(list)
    for mark in marks:
        days[mark.series, mark.minute // DAY].append(mark.minute)
    written: list[_Lines] = []
    for step in STEPS if marks else ():
        written.append(await _lines_of(server, days, step))
        await _write(server, written[-1])
    if shared:
        changed = await _changed(server, days, written)
        marks = [mark for mark in marks if (mark.series, mark.minute // DAY) not in changed]
    await dirty.clear(marks)
    return len(marks)


async def _changed(server: InfluxHttp, days: _Days, written: list[_Lines]) -> set[_SeriesDay]:
    """The days of series whose rollups would be others now."""
    return {
        day
        for step, before in zip(STEPS, written, strict=False)
        for day, lines in (await _lines_of(server, days, step)).items()
        if lines != before[day]
    }


async def _lines_of(server: InfluxHttp, days: _Days, step: int) -> _Lines:
    statements = []
    for (series, _), minutes in days.items():
        start, end = min(minutes) // step * step, max(minutes) // step * step + step
        source = f' FROM "{series.kind}{SUFFIX.get(FINER[step], "")}"{where(series, start, end)}'
        figures = (
            "min(*), sum(*), max(*), count(*)"
            if step == MINUTE
            else "min(/ least$/), sum(/ total$/), max(/ most$/), sum(/ samples$/)"
        )
        statements.append(f"SELECT {figures}{source} GROUP BY time({step}ms) fill(none)")
    answers = await server.ask(*statements)
    return {
        day: [encode_rollup(day[0], SUFFIX[step], at, figures) for at, figures in _figures(found, step)]
        for day, found in zip(days, answers, strict=True)
    }


async def _write(server: InfluxHttp, by_day: _Lines) -> None:
    lines = [line for some in by_day.values() for line in some]
    for first in range(0, len(lines), _LINES):
        try:
            await server.write(lines[first : first + _LINES])
        except Unacceptable as fault:
            if TOO_OLD not in str(fault):
                raise  # what is older than the bucket keeps is not missed; anything else is


def _figures(found: list[Result], step: int) -> list[tuple[int, dict[str, Figures]]]:
    """Rows of figures by field. Only numbers have a total; a boolean has a least value and none."""
    least, total, most, samples = _MINUTE_COLUMNS if step == MINUTE else _ROLLUP_COLUMNS
    before, after = total.split("{}")
    rows = []
    for row in found[0].rows() if found else ():
        at = row["time"] // KEYS_PER_MS
        names = [c.removeprefix(before).removesuffix(after) for c in row if c.startswith(before) and c.endswith(after)]
        by_field = {
            name: Figures(at, *(row[column.format(name)] for column in (least, total, most, samples)))
            for name in names
            if name not in OWN_FIELDS
        }
        if by_field:
            rows.append((at, by_field))
    return rows


async def erase_before(server: InfluxHttp, dirty: DirtyMinutes, moment: int) -> int:
    """Forget samples and rollups from before a moment; those that the moment cuts are made anew."""
    erased = 0
    until = f"WHERE time < {moment * KEYS_PER_MS}"
    kinds = [kind.value for kind in Kind]
    counts = await server.ask(
        *(f'SELECT count("{RECEIVED}") FROM "{kind}" {until} GROUP BY site, equipment, channel' for kind in kinds)
    )
    for kind, found in zip(kinds, counts, strict=True):
        if not found:
            continue
        cut = [Series(one.tags["site"], kind, one.tags["equipment"], one.tags["channel"]) for one in found]
        await dirty.mark({Mark(series, moment // MINUTE * MINUTE) for series in cut})
        await server.ask(f'DELETE FROM "{kind}" {until}')
        for step in STEPS:
            edge, source = moment // step * step, f'DELETE FROM "{kind}{SUFFIX[step]}"'
            await server.ask(
                f"{source} WHERE time < {edge * KEYS_PER_MS}",
                *(f"{source}{where(series, edge, edge + 1)}" for series in cut),
            )
        erased += sum(result.values[0][1] for result in found)
    return erased
