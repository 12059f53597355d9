"""Maintains InfluxDB's rollups: reads dirty minutes, aggregates them by minute, hour and day, and writes the result.

Rollups of a kind are in the measurements `<kind>_1m`, `_1h` and `_1d`: of a number the fields `<name> least`,
`total`, `most` and `samples`, of a text or boolean its stretch as JSON in `<name> changes`.

Several processes may write to one minute, or to two minutes of one day, and each aggregates the minutes that it knows
to be dirty. One process may read, another may then read newer data and write, and the first may overwrite that with
outdated rollups. So a mark is not removed when its rollups are written, but when a later check finds that minute, hour
and day are correct. Each write is followed by such a check by its writer, so the last writer is also the last to check.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from collectors.timeseries import stretches
from collectors.timeseries.influx.answers import Result, Unacceptable
from collectors.timeseries.influx.chunks import chunks
from collectors.timeseries.influx.dirty_minutes import DirtyMinutes, Mark
from collectors.timeseries.influx.http import InfluxHttp
from collectors.timeseries.influx.influxql import KEYS_PER_MS, SUFFIX, rows_of, source
from collectors.timeseries.influx.line_protocol import OWN_FIELDS, RECEIVED, encode_rollup
from collectors.timeseries.rollups import DAY, FINER, MINUTE, SAMPLES, STEPS, minute_of
from collectors.timeseries.store import Series
from collectors.wire.fields import Kind

_SERIES_AT_ONCE: Final = 200
"""Series in one request or transaction while old samples are deleted: writes continue between two of them."""
_VALUES: Final = 20_000
"""Texts and booleans read at a time: about 10 ms of processing."""
_GAP: Final = 15 * MINUTE
"""Minutes of a day that are at most this far apart are aggregated together with those between them."""
_FIGURES: Final = {"min": "least", "sum": "total", "max": "most", "count": "samples"}
_OF_SAMPLES: Final = "min(*), sum(*), max(*), count(*)"
_OF_FIGURES: Final = "min(/ least$/), sum(/ total$/), max(/ most$/), sum(/ samples$/)"
_KEPT: Final = "/ (least|total|most|samples|changes)$/"
_ROUNDING: Final = 1e-9
_EXPIRED: Final = "older than what the bucket keeps"
Fields = dict[str, float | str]
"""The fields of a rollup of a series."""
Rollups = dict[int, Fields]
"""Rollups of one step by their start."""


class _Span(NamedTuple):
    """A range within one day of a series."""

    series: Series
    start: int
    end: int


class Outcome(NamedTuple):
    """The (series, day) in which anything had to be written, and the rollups that the bucket rejects."""

    written: set[tuple[Series, int]]
    refused: list[str]
    """The reasons, one entry for each rollup."""


async def sum_up(server: InfluxHttp, marks: list[Mark], oldest: int) -> Outcome:
    """Make the rollups of minutes, and of the hours and days around them.

    Args:
        server: where samples and rollups are.
        marks: the minutes.
        oldest: epoch ms; the bucket rejects everything before it.
    """
    outcome = Outcome(set(), [])
    for step in STEPS if marks else ():
        spans = _spans(marks, step)
        is_of_samples = step == MINUTE
        found = await (_sum_up_samples(server, spans) if is_of_samples else _sum_up(server, spans, step))
        await _put(server, spans, step, found, oldest, outcome)
    return outcome


def _spans(marks: Iterable[Mark], step: int) -> list[_Span]:
    """The ranges to aggregate for a step: for minutes the marked ones, and those between near ones."""
    days: dict[tuple[Series, int], list[int]] = defaultdict(list)
    for mark in marks:
        days[mark.series, mark.minute // DAY].append(mark.minute // step * step)
    return [
        _Span(series, run[0], run[-1] + step)
        for (series, _), starts in days.items()
        for run in _runs(sorted(starts), max(step, _GAP) if step == MINUTE else DAY)
    ]


def _runs(starts: list[int], gap: int) -> Iterator[list[int]]:
    run: list[int] = []
    for start in starts:
        if run and start - run[-1] > gap:
            yield run
            run = []
        run.append(start)
    yield run


class _Line(NamedTuple):
    """A rollup as it is written: its start (epoch ms), the line, and its (series, day)."""

    at: int
    text: str
    day: tuple[Series, int]


class _Minute(NamedTuple):
    """A minute of a span (its number), and how many texts and booleans it has by field."""

    span: int
    at: int
    counts: dict[str, int]


# -- reading -------------------------------------------------------------------------------------------


async def _sum_up_samples(server: InfluxHttp, spans: list[_Span]) -> list[Rollups]:
    """The minutes of spans. Only numbers have a total; a field with a count and no total is a text or boolean."""
    answers = await server.ask(*(_grouped(_OF_SAMPLES, span, MINUTE) for span in spans))
    rollups: list[Rollups] = [defaultdict(dict) for _ in spans]
    others: list[_Minute] = []
    for index, found in enumerate(answers):
        columns = set(found[0].columns) if found else set()
        counted = {name.removeprefix("count_") for name in columns if name.startswith("count_")} - OWN_FIELDS
        numbers = {name for name in counted if f"sum_{name}" in columns}
        for at, row in _by_time(found):
            rollups[index][at] |= _whole(
                {f"{name} {ours}": row.get(f"{theirs}_{name}") for name in numbers for theirs, ours in _FIGURES.items()}
            )
            counts = {name: row[f"count_{name}"] for name in counted - numbers if row.get(f"count_{name}")}
            if counts:
                others.append(_Minute(index, at, counts))
    for chunk in _minute_chunks(others):
        await _add_stretches(server, spans, chunk, rollups)
    return rollups


def _whole(figures: Mapping[str, float | None]) -> Fields:
    """The figures of fields that have all four: a statement may see a sample that is just being written in part."""
    known = {name: value for name, value in figures.items() if value is not None}
    fields = {name.rpartition(" ")[0] for name in known}
    whole = {field for field in fields if all(f"{field} {figure}" in known for figure in _FIGURES.values())}
    return {name: value for name, value in known.items() if name.rpartition(" ")[0] in whole}


def _minute_chunks(minutes: list[_Minute]) -> Iterator[list[_Minute]]:
    """Group minutes so that no chunk has too many values."""
    chunk: list[_Minute] = []
    values = 0
    for minute in minutes:
        values += sum(minute.counts.values())
        if chunk and values > _VALUES:
            yield chunk
            chunk, values = [], sum(minute.counts.values())
        chunk.append(minute)
    if chunk:
        yield chunk


async def _add_stretches(server: InfluxHttp, spans: list[_Span], chunk: list[_Minute], rollups: list[Rollups]) -> None:
    asked: list[tuple[int, list[str]]] = []
    statements: list[str] = []
    for index, some in groupby(chunk, lambda minute: minute.span):
        minutes, series = list(some), spans[index].series
        names = sorted({name for minute in minutes for name in minute.counts})
        columns = ", ".join(f'"{name}"' for name in names)
        statements.append(f"SELECT {columns}{source(series, SAMPLES, minutes[0].at, minutes[-1].at + MINUTE)}")
        asked.append((index, names))
    for (index, names), found in zip(asked, await server.ask(*statements), strict=True):
        for column, name in enumerate(names, 1):
            samples = ((row[0], row[column]) for row in rows_of(found) if isinstance(row[column], bool | str))
            for at, some_of_it in groupby(samples, lambda sample: minute_of(sample[0])):
                changes = stretches.changes_of((key // KEYS_PER_MS, value) for key, value in some_of_it)
                stretch = stretches.short(stretches.of_changes(changes))
                rollups[index][at][f"{name} changes"] = stretches.encode(stretch).decode()


async def _sum_up(server: InfluxHttp, spans: list[_Span], step: int) -> list[Rollups]:
    """The hours or days of spans, from finer rollups."""
    finer = FINER[step]
    figures = await server.ask(*(_grouped(_OF_FIGURES, span, step) for span in spans))
    changes = await server.ask(*(f"SELECT / changes$/{source(span.series, finer, *span[1:])}" for span in spans))
    rollups: list[Rollups] = []
    for found, kept in zip(figures, changes, strict=True):
        rollup: Rollups = defaultdict(dict)
        for at, columns in _by_time(found):
            rollup[at] |= _whole({name.partition("_")[2]: value for name, value in columns.items()})
        parts: dict[str, list[tuple[int, stretches.Stretch]]] = defaultdict(list)
        for at, columns in _by_time(kept):
            for name, body in columns.items():
                parts[name].append((at, stretches.decode(body)))
        for name, some in parts.items():
            for at, stretch in stretches.joined(some, step).items():
                rollup[at][name] = stretches.encode(stretch).decode()
        rollups.append(rollup)
    return rollups


def _grouped(figures: str, span: _Span, step: int) -> str:
    return (
        f"SELECT {figures}{source(span.series, FINER[step], span.start, span.end)} GROUP BY time({step}ms) fill(none)"
    )


def _by_time(found: list[Result]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows by their time (epoch ms), without empty columns."""
    for row in found[0].rows() if found else ():
        yield row.pop("time") // KEYS_PER_MS, row


# -- writing -------------------------------------------------------------------------------------------


async def _put(
    server: InfluxHttp, spans: list[_Span], step: int, rollups: list[Rollups], oldest: int, outcome: Outcome
) -> None:
    """Write missing rollups and delete wrong ones."""
    kept = await server.ask(*(f"SELECT {_KEPT}{source(span.series, step, *span[1:])}" for span in spans))
    lines: list[_Line] = []
    removals: list[str] = []
    for span, rollup, found in zip(spans, rollups, kept, strict=True):
        stored = dict(_by_time(found))
        wrong = [at for at, fields in stored.items() if fields.keys() - rollup.get(at, {}).keys()]
        missing = [at for at, fields in rollup.items() if fields and not _is_same(fields, stored.get(at, {}))]
        taken = [at for at in missing if at >= oldest]
        outcome.refused.extend([_EXPIRED] * (len(missing) - len(taken)))
        removals += [f"DELETE{source(span.series, step, at, at + 1)}" for at in wrong]
        day = (span.series, span.start // DAY)
        lines += [_Line(at, encode_rollup(span.series, SUFFIX[step], at, rollup[at]), day) for at in taken]
        if wrong:
            outcome.written.add(day)
    await server.ask(*removals)
    for chunk in chunks(lines, lambda line: line.at * KEYS_PER_MS):
        await _write(server, chunk, outcome)


async def _write(server: InfluxHttp, lines: Sequence[_Line], outcome: Outcome) -> None:
    """Write lines. Rejected lines are dropped: they would be rejected again and delay the others."""
    try:
        await server.write([line.text for line in lines])
    except Unacceptable as fault:
        for part in _parts(lines, fault, outcome):
            await _write(server, part, outcome)
        return
    outcome.written.update(line.day for line in lines)


def _parts(lines: Sequence[_Line], fault: Unacceptable, outcome: Outcome) -> list[Sequence[_Line]]:
    """The lines to send again: all but the oldest if age is the fault, else halves."""
    if fault.is_about_retention and fault.dropped is not None and 0 < fault.dropped <= len(lines):
        outcome.refused.extend([str(fault)] * fault.dropped)
        rest = sorted(lines, key=lambda line: line.at)[fault.dropped :]
        return [rest] if rest else []
    if len(lines) == 1:
        outcome.refused.append(str(fault))
        return []
    middle = len(lines) // 2
    return [lines[:middle], lines[middle:]]


def _is_same(fields: Fields, others: Fields) -> bool:
    """Whether two rollups are equal; totals may differ by the rounding of another order of addition."""
    if fields.keys() != others.keys():
        return False
    return all(value == others[name] or _is_rounding(fields, others, name) for name, value in fields.items())


def _is_rounding(fields: Fields, others: Fields, name: str) -> bool:
    field, _, figure = name.rpartition(" ")
    if figure != "total":
        return False
    least, most, samples = (float(fields[f"{field} {one}"]) for one in ("least", "most", "samples"))
    difference = abs(float(fields[name]) - float(others[name]))
    return difference <= _ROUNDING * samples * max(abs(least), abs(most))


async def erase_before(server: InfluxHttp, dirty: DirtyMinutes, moment: int) -> int:
    """Delete samples and rollups from before a moment; rollups that contain the moment are made again."""
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
        for first in range(0, len(cut), _SERIES_AT_ONCE):
            some = cut[first : first + _SERIES_AT_ONCE]
            await dirty.mark({Mark(series, moment // MINUTE * MINUTE) for series in some})
        await server.ask(f'DELETE FROM "{kind}" {until}')
        for step in STEPS:
            edge = moment // step * step
            await server.ask(f'DELETE FROM "{kind}{SUFFIX[step]}" WHERE time < {edge * KEYS_PER_MS}')
            for first in range(0, len(cut), _SERIES_AT_ONCE):
                some = cut[first : first + _SERIES_AT_ONCE]
                await server.ask(*(f"DELETE{source(series, step, edge, edge + 1)}" for series in some))
        erased += sum(result.values[0][1] for result in found)
    return erased
