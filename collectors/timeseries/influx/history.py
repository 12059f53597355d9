"""Reads history from InfluxDB: a field's samples if they are few, else figures or changes; or whole readings."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final

from collectors.timeseries.influx import changes as influx_changes
from collectors.timeseries.influx.answers import Result
from collectors.timeseries.influx.http import InfluxHttp
from collectors.timeseries.influx.influxql import KEYS_PER_MS, as_sent, of_series, rows_of, source
from collectors.timeseries.influx.line_protocol import QUALITY, RECEIVED, stored_names, wire_name
from collectors.timeseries.rollups import DAY, MINUTE, SAMPLES, Figures, Piece, buckets, choose, pieces
from collectors.timeseries.store import Bucket, History, Series
from collectors.wire.fields import Channel, FieldType, Kind, fields_of
from collectors.wire.reading import Reading
from collectors.wire.topics import Topic

LAST_MS: Final = (2**63 - 2) // KEYS_PER_MS
"""The last moment that InfluxDB can store."""
EMPTY: Final = History(raw=True, buckets=[], changes=[])


async def read(
    server: InfluxHttp,
    dirty: Sequence[int],
    series: Series,
    field: str,
    start: int,
    end: int,
    points: int,
    whole_from: int = 0,
) -> History:
    """Implements `Store.history`.

    Args:
        server: where to read.
        dirty: the dirty minutes.
        series: whose.
        field: of these readings.
        start: epoch ms.
        end: epoch ms.
        points: see `Store.history`.
        whole_from: epoch ms; days and hours before it are drawn from minutes.
    """
    stored = await _find(server, series, field, source(series, SAMPLES, start, end))
    if stored is None:
        return EMPTY
    name, is_number = stored

    def cut(step: int) -> list[Piece]:
        edge = min(max(whole_from, start), end)
        return pieces(start, edge, MINUTE, dirty) + pieces(edge, end, step, dirty)

    if is_number:
        found = await _numbers(_Asked(server, series, name, start, end), cut, points)
    else:
        found = await influx_changes.read(server, series, name, cut(DAY), points)
    return found if found.buckets or found.changes else EMPTY  # a field that was erased has a type still


async def _numbers(asked: "_Asked", cut: Callable[[int], list[Piece]], points: int) -> History:
    grid = choose(asked.start, asked.end, points)
    if grid is None:
        return await asked.samples(points) or await asked.plain_buckets(points)
    step, width = grid
    drawn = buckets(await asked.figures(cut(step), width), asked.start, width)
    few = sum(bucket.samples for bucket in drawn) <= points
    return (await asked.samples(points) if few else None) or History(False, drawn, [])


async def _find(server: InfluxHttp, series: Series, field: str, samples: str) -> tuple[str, bool] | None:
    """The stored name of a field, and whether it is a number.

    The type of a field that the contract does not define may change: the first value in the range decides.
    """
    known = fields_of(Kind(series.kind), Channel(series.channel)).get(field)
    if known is not None:
        return field, known.type is FieldType.NUMBER
    (keys,) = await server.ask(f'SHOW FIELD KEYS FROM "{series.kind}"')
    types = dict(rows_of(keys))
    names = [name for name in stored_names(series.kind, series.channel, field) if name in types]
    if len(names) == len([name for name, _ in rows_of(keys) if name in names]) == 1:
        return names[0], types[names[0]] == "float"
    firsts = await server.ask(*(f'SELECT first("{name}"){samples}' for name in names))
    found = [(*first[0].values[0], name) for first, name in zip(firsts, names, strict=True) if first]
    if not found:
        return None
    _, value, name = min(found, key=itemgetter(0))
    return name, not isinstance(value, bool | str)


async def readings(server: InfluxHttp, series: Series, start: int, end: int, after: int, most: int) -> list[Reading]:
    """Implements `Store.readings`."""
    first = max(start * KEYS_PER_MS, after + 1)
    last = min(end * KEYS_PER_MS, 2**63 - 1)
    where = f"{of_series(series)} AND time >= {first} AND time < {last}"
    (found,) = await server.ask(f'SELECT * FROM "{series.kind}"{where} GROUP BY * ORDER BY time LIMIT {most}')
    topic = Topic(series.site, Kind(series.kind), series.equipment, Channel(series.channel))
    return [_reading(topic, row) for result in found for row in result.rows()]


def _reading(topic: Topic, row: dict[str, Any]) -> Reading:
    key, received_at, quality = row.pop("time"), row.pop(RECEIVED), row.pop(QUALITY)
    fields = {wire_name(name): as_sent(value) for name, value in row.items()}
    return Reading(topic, fields, key // KEYS_PER_MS, received_at, key, quality=quality)


class _Asked:
    """One field of one series in a range."""

    def __init__(self, server: InfluxHttp, series: Series, name: str, start: int, end: int) -> None:
        self.name = name
        self._server, self._series, self.start, self.end = server, series, start, end

    async def samples(self, points: int) -> History | None:
        """Every sample, or None if there are more than `points`."""
        samples = source(self._series, SAMPLES, self.start, self.end)
        (found,) = await self._server.ask(f'SELECT "{self.name}"{samples} LIMIT {points + 1}')
        rows = [(at // KEYS_PER_MS, float(value)) for at, value in rows_of(found)]
        if len(rows) > points:
            return None
        return History(True, [Bucket(at, value, value, value, 1) for at, value in rows], [])

    async def plain_buckets(self, points: int) -> History:
        width = -(-(self.end - self.start) // points)
        (found,) = await self._server.ask(
            self._figures_of(Piece(SAMPLES, self.start, self.end), width, self.start % width)
        )
        return History(False, buckets(_figures(found), self.start, 1), [])

    async def figures(self, cut: list[Piece], width: int) -> list[Figures]:
        answers = await self._server.ask(*(self._figures_of(piece, width) for piece in cut))
        return [one for found in answers for one in _figures(found)]

    def _figures_of(self, piece: Piece, width: int, offset: int = 0) -> str:
        name, rows = self.name, source(self._series, *piece)
        figures = (
            f'min("{name}"), sum("{name}"), max("{name}"), count("{name}")'
            if piece.step == SAMPLES
            else f'min("{name} least"), sum("{name} total"), max("{name} most"), sum("{name} samples")'
        )
        return f"SELECT {figures}{rows} GROUP BY time({width}ms, {offset}ms) fill(none)"


def _figures(found: list[Result]) -> list[Figures]:
    return [
        Figures(at // KEYS_PER_MS, float(least), float(total), float(most), int(samples))
        for at, least, total, most, samples in rows_of(found)
        if samples
    ]
