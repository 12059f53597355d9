"""Rows that apply from a start to an end: each becomes a report at its start and a report at its end.

An outage log has one row for each outage, with two times. Equipment reports changes, so the end of one row may belong
between the starts of later ones.
"""

import heapq
import sys
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from simulators.replays.csv_rows import Row

_NOT_OVER: Final = sys.maxsize


def in_order_of_time(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield each row at its start and, if it has an end, once more with the values that apply from then on.

    The rows must be in order of their starts; a row without a readable start keeps its place. If an end and a start
    are at the same moment, the end comes first: equipment that fails again at once was normal in between. If
    intervals of one equipment overlap, only the last end is yielded; none if one of them has not ended.

    Memory is bounded by the intervals that are open at one moment.
    """
    open_until: dict[str, int] = {}
    ends: list[tuple[int, int, Row]] = []
    for number, row in enumerate(rows):
        if row.at_ms is not None:
            yield from _ends_until(row.at_ms, ends, open_until)
        if row.afterwards and row.at_ms is not None:
            until = _NOT_OVER if row.until_ms is None else row.until_ms
            open_until[row.equipment] = max(until, open_until.get(row.equipment, until))
            heapq.heappush(ends, (until, number, row))
        yield row
    yield from _ends_until(None, ends, open_until)


def _ends_until(moment: int | None, ends: list[tuple[int, int, Row]], open_until: dict[str, int]) -> Iterator[Row]:
    while ends and (moment is None or ends[0][0] <= moment):
        until, _, row = heapq.heappop(ends)
        if until != _NOT_OVER and open_until.get(row.equipment) == until:
            del open_until[row.equipment]
            yield msgspec.structs.replace(
                row, at_ms=until, until_ms=None, fields=row.afterwards, status={}, problems=(), afterwards={}
            )
