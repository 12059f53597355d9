"""Reads the changes of a text or boolean from InfluxDB: from its stretches, and from samples of dirty minutes."""

from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from collectors.timeseries.influx.answers import Result
from collectors.timeseries.influx.http import InfluxHttp
from collectors.timeseries.influx.influxql import KEYS_PER_MS, rows_of, source
from collectors.timeseries.rollups import HOUR, SAMPLES, Piece
from collectors.timeseries.store import Change, History, Series
from collectors.timeseries.stretches import (
    BESIDE,
    Block,
    changes_of,
    decode,
    newest,
    of_changes,
    refined,
    too_coarse,
)

_LONG: Final = HOUR
"""Longer pieces of samples without rollups are first queried in buckets before they are read."""
_GLANCES: Final = 1_000
_GLANCES_AT_ONCE: Final = 25


async def read(server: InfluxHttp, series: Series, name: str, cut: list[Piece], points: int) -> History:
    """The newest `points` changes of the field with a stored name, oldest first."""
    asked = _Asked(server, series, name, points + BESIDE)
    blocks = await asked.blocks(cut)
    while wanted := too_coarse(blocks, points):
        blocks = refined(blocks, wanted, await asked.blocks(wanted))
    return newest(blocks, points)


class _Asked:
    """One field of one series; at most `wanted` changes are read from samples."""

    def __init__(self, server: InfluxHttp, series: Series, name: str, wanted: int) -> None:
        self._server, self._series, self._name, self._wanted = server, series, name, wanted

    async def blocks(self, cut: list[Piece]) -> list[Block]:
        """The blocks of each piece, oldest first; limited to the newest changes if that is enough."""
        long = [piece for piece in cut if piece.step == SAMPLES and piece.end - piece.start > _LONG]
        short = [piece for piece in cut if piece not in long]
        answers = await self._server.ask(*(self._statement(piece) for piece in short))
        blocks = [block for piece, found in zip(short, answers, strict=True) for block in _blocks(piece, found)]
        for piece in long:
            found = await self._newest_of(piece)
            blocks += [Block(SAMPLES, piece.start, of_changes(found))] if found else []
        return sorted(blocks, key=lambda block: block.start)

    def _statement(self, piece: Piece) -> str:
        name = self._name if piece.step == SAMPLES else f"{self._name} changes"
        return f'SELECT "{name}"{source(self._series, *piece)}'

    async def _newest_of(self, piece: Piece) -> list[Change]:
        """The newest changes in many samples, oldest first.

        The server reports the distinct values in each of many buckets; samples are only read where these show a
        change.
        """
        width = -(-(piece.end - piece.start) // _GLANCES)
        group = f"GROUP BY time({width}ms, {piece.start % width}ms) fill(none)"
        (found,) = await self._server.ask(f'SELECT distinct("{self._name}"){source(self._series, *piece)} {group}')
        newest_first: list[Change] = []
        telling = _telling_buckets(rows_of(found))
        while telling and len(newest_first) <= self._wanted:
            some, telling = telling[-_GLANCES_AT_ONCE:], telling[:-_GLANCES_AT_ONCE]
            starts = [at // KEYS_PER_MS for at in some]
            parts = [Piece(SAMPLES, max(at, piece.start), min(at + width, piece.end)) for at in starts]
            answers = await self._server.ask(*(self._statement(part) for part in parts))
            for key, value in (row for found in reversed(answers) for row in reversed(rows_of(found))):
                if newest_first and newest_first[-1].value == value:
                    newest_first.pop()  # it was that already
                newest_first.append(Change(key // KEYS_PER_MS, value))
        return newest_first[: self._wanted][::-1]


def _blocks(piece: Piece, found: list[Result]) -> list[Block]:
    rows = rows_of(found)
    if piece.step != SAMPLES:
        return [Block(piece.step, at // KEYS_PER_MS, decode(body)) for at, body in rows]
    changes = changes_of((key // KEYS_PER_MS, value) for key, value in rows)
    return [Block(SAMPLES, piece.start, of_changes(changes))] if changes else []


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
