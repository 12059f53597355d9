"""A field's history out of InfluxDB: samples while there are few, else figures added up by the server."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from collectors.fields import Channel, FieldType, Kind, fields_of
from collectors.timeseries.influx_http import InfluxHttp, Result
from collectors.timeseries.line_protocol import stored_names
from collectors.timeseries.rollups import DAY, HOUR, MINUTE, SAMPLES, Figures, Piece, buckets, choose, pieces
from collectors.timeseries.store import Bucket, Change, History, Series

KEYS_PER_MS: Final = 1_000_000
_LAST_MS: Final = (2**63 - 2) // KEYS_PER_MS
SUFFIX: Final = {MINUTE: "_1m", HOUR: "_1h", DAY: "_1d"}
"""Measurements of rollups: kind and suffix."""
_GLANCES: Final = 1_000
"""Buckets in which texts or booleans are looked at before their samples are."""
_GLANCES_AT_ONCE: Final = 25
_EMPTY: Final = History(raw=True, buckets=[], changes=[])


def where(series: Series, start: int, end: int) -> str:
    """The condition for one series in a range; names off the wire hold nothing that would need a quote."""
    return (
        f" WHERE site = '{series.site}' AND equipment = '{series.equipment}' AND channel = '{series.channel}'"
        f" AND time >= {start * KEYS_PER_MS} AND time < {end * KEYS_PER_MS}"
    )


Doubtful = Callable[[Series, int, int], Awaitable[Sequence[int]]]
"""Asked for the minutes of a series in a range whose rollups may not hold."""


async def read(
    server: InfluxHttp, doubtful: Doubtful, series: Series, field: str, start: int, end: int, points: int
) -> History:
    """What `Store.history` promises."""
    start, end = max(start, 0), min(end, _LAST_MS)
    if end <= start:
        return _EMPTY
    source = f' FROM "{series.kind}"{where(series, start, end)}'
    stored = await _find(server, series, field, source)
    if stored is None:
        return _EMPTY
    name, is_number = stored
    asked = _Asked(server, series, name, start, end)
    if not is_number:
        return await asked.changes(points)
    grid = choose(start, end, points)
    if grid is None:
        return await asked.samples(points) or await asked.plain_buckets(points)
    step, width = grid
    cut = pieces(start, end, step, await doubtful(series, start, end))
    drawn = buckets(await asked.figures(cut, width), start, width)
    few = sum(bucket.samples for bucket in drawn) <= points
    return (await asked.samples(points) if few else None) or History(False, drawn, [])


async def _find(server: InfluxHttp, series: Series, field: str, source: str) -> tuple[str, bool] | None:
    """The name under which a field is kept, and whether it is a number.

    Where the contract does not name the field its type may change: the first value in the range says what is asked for.
    """
    known = fields_of(Kind(series.kind), Channel(series.channel)).get(field)
    if known is not None:
        return field, known.type is FieldType.NUMBER
    (keys,) = await server.ask(f'SHOW FIELD KEYS FROM "{series.kind}"')
    types = dict(_values(keys))
    names = [name for name in stored_names(series.kind, series.channel, field) if name in types]
    if len(names) == len([name for name, _ in _values(keys) if name in names]) == 1:
        return names[0], types[names[0]] == "float"
    firsts = await server.ask(*(f'SELECT first("{name}"){source}' for name in names))
    found = [(*first[0].values[0], name) for first, name in zip(firsts, names, strict=True) if first]
    if not found:
        return None
    _, value, name = min(found, key=itemgetter(0))
    return name, not isinstance(value, bool | str)


class _Asked:
    """One field of one series in a range."""

    def __init__(self, server: InfluxHttp, series: Series, name: str, start: int, end: int) -> None:
        self.name = name
        self._server, self._series, self._start, self._end = server, series, start, end

    def source(self, suffix: str = "", start: int | None = None, end: int | None = None) -> str:
        start, end = self._start if start is None else start, self._end if end is None else end
        return f' FROM "{self._series.kind}{suffix}"{where(self._series, start, end)}'

    async def samples(self, points: int) -> History | None:
        """Every sample, or None where there are more than `points`."""
        (found,) = await self._server.ask(f'SELECT "{self.name}"{self.source()} LIMIT {points + 1}')
        rows = [(at // KEYS_PER_MS, float(value)) for at, value in _values(found)]
        if len(rows) > points:
            return None
        return History(True, [Bucket(at, value, value, value, 1) for at, value in rows], [])

    async def plain_buckets(self, points: int) -> History:
        width = -(-(self._end - self._start) // points)
        (found,) = await self._server.ask(
            self._figures_of(Piece(SAMPLES, self._start, self._end), width, self._start % width)
        )
        return History(False, buckets(_figures(found), self._start, 1), [])

    async def figures(self, cut: list[Piece], width: int) -> list[Figures]:
        answers = await self._server.ask(*(self._figures_of(piece, width) for piece in cut))
        return [one for found in answers for one in _figures(found)]

    def _figures_of(self, piece: Piece, width: int, offset: int = 0) -> str:
        name, source = self.name, self.source(SUFFIX.get(piece.step, ""), piece.start, piece.end)
        figures = (
            f'min("{name}"), sum("{name}"), max("{name}"), count("{name}")'
            if piece.step == SAMPLES
            else f'min("{name} least"), sum("{name} total"), max("{name} most"), sum("{name} samples")'
        )
        return f"SELECT {figures}{source} GROUP BY time({width}ms, {offset}ms) fill(none)"

    async def changes(self, points: int) -> History:
        """The newest `points` changes, oldest first.

        The server says which values there were in each of many buckets; samples are only read where that tells of
        a change.
        """
        width = -(-(self._end - self._start) // _GLANCES)
        group = f"GROUP BY time({width}ms, {self._start % width}ms) fill(none)"
        (found,) = await self._server.ask(f'SELECT distinct("{self.name}"){self.source()} {group}')
        newest_first: list[Change] = []
        telling = _telling_buckets(_values(found))
        while telling and len(newest_first) <= points:
            some, telling = telling[-_GLANCES_AT_ONCE:], telling[:-_GLANCES_AT_ONCE]
            answers = await self._server.ask(*(self._samples_of(at // KEYS_PER_MS, width) for at in some))
            for key, value in (row for found in reversed(answers) for row in reversed(_values(found))):
                if newest_first and newest_first[-1].value == value:
                    newest_first.pop()  # it was that already
                newest_first.append(Change(key // KEYS_PER_MS, value))
        return History(False, [], newest_first[:points][::-1])

    def _samples_of(self, at: int, width: int) -> str:
        return f'SELECT "{self.name}"{self.source("", max(at, self._start), min(at + width, self._end))}'


def _telling_buckets(values: list[list[Any]]) -> list[int]:
    """Buckets in which, or at whose beginning, the value may have changed; `values` are (bucket, one of its values)."""
    telling: list[int] = []
    before: set[bool | str] = set()
    for at, rows in groupby(values, itemgetter(0)):
        held = {value for _, value in rows}
        if held != before or len(held) > 1:
            telling.append(at)
        before = held
    return telling


def _values(found: list[Result]) -> list[list[Any]]:
    return found[0].values if found else []


def _figures(found: list[Result]) -> list[Figures]:
    return [
        Figures(at // KEYS_PER_MS, float(least), float(total), float(most), int(samples))
        for at, least, total, most, samples in _values(found)
        if samples
    ]
