"""Selects the rollups for a range: pure arithmetic on epoch milliseconds, the same for every store.

A rollup is the least, total, most and number of the samples of one minute, hour or day (UTC). A minute that was written
to since its rollup was made is dirty: the minute, its hour and its day are then drawn from finer rollups, and finally
from the samples. So a history is always exact, even if the rollups are behind.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from collectors.timeseries.store import Bucket

SAMPLES: Final = 0
"""The step of samples, which are not rolled up."""
MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
STEPS: Final = (MINUTE, HOUR, DAY)
FINER: Final = {DAY: HOUR, HOUR: MINUTE, MINUTE: SAMPLES}
_ROWS: Final = 6_000
"""Limit of rollups of one field that are read, without the edges; four days by minutes, 250 days by hours."""
_SHARE: Final = 2
"""Rollups are used if there are at least half as many minutes as requested points; below that samples show more."""


class Piece(NamedTuple):
    """A range, and the step of its rollups."""

    step: int
    start: int
    end: int


class Figures(NamedTuple):
    """Aggregates of the samples from `at` on."""

    at: int
    least: float
    total: float
    most: float
    samples: int


def choose(start: int, end: int, points: int) -> tuple[int, int] | None:
    """Return the step of the rollups and the width of a bucket, a multiple of it; None if samples are better."""
    if (end - start) // MINUTE < points / _SHARE:
        return None
    step = next((step for step in STEPS if (end - start) // step <= _ROWS), DAY)
    width = step * max(1, -(-(end - start) // (points * step)))
    while (end - 1) // width - start // width + 1 > points and width < end:
        width += step
    return step, width


def pieces(start: int, end: int, step: int, dirty: Sequence[int]) -> list[Piece]:
    """Cut a range so that whole clean steps are drawn from their rollups, and the edges from finer ones.

    Args:
        start: first moment of the range.
        end: first moment after it.
        step: the coarsest rollups to use.
        dirty: starts of the dirty minutes.
    """
    joined: list[Piece] = []
    for piece in _cut(start, end, step, sorted(dirty)):
        if joined and joined[-1].step == piece.step and joined[-1].end == piece.start:
            joined[-1] = Piece(piece.step, joined[-1].start, piece.end)
        else:
            joined.append(piece)
    return joined


def _cut(start: int, end: int, step: int, dirty: Sequence[int]) -> Iterator[Piece]:
    if start >= end:
        return
    if step == SAMPLES:
        yield Piece(SAMPLES, start, end)
        return
    finer = FINER[step]
    first, last = -(-start // step) * step, end // step * step
    if first >= last:
        yield from _cut(start, end, finer, dirty)
        return
    yield from _cut(start, first, finer, dirty)
    at = first
    inside = (minute for minute in dirty if first <= minute < last)
    for index, minutes in groupby(inside, lambda minute: minute // step):
        block = index * step
        if block > at:
            yield Piece(step, at, block)
        at = block + step
        yield from _cut(block, at, finer, list(minutes))
    if at < last:
        yield Piece(step, at, last)
    yield from _cut(last, end, finer, dirty)


def buckets(figures: Iterable[Figures], start: int, width: int) -> list[Bucket]:
    """Join figures into buckets at multiples of `width`; the first one begins with the range."""
    found: dict[int, Figures] = {}
    for one in figures:
        at = one.at // width * width
        before = found.get(at)
        found[at] = Figures(at, *one[1:]) if before is None else _join(before, one)
    return [_bucket(one, start) for _, one in sorted(found.items())]


def _join(one: Figures, other: Figures) -> Figures:
    return Figures(
        one.at,
        min(one.least, other.least),
        one.total + other.total,
        max(one.most, other.most),
        one.samples + other.samples,
    )


def _bucket(one: Figures, start: int) -> Bucket:
    mean = min(max(one.total / one.samples, one.least), one.most)  # rounding must not move it outside its samples
    return Bucket(max(one.at, start), one.least, mean, one.most, one.samples)


def minute_of(key: int) -> int:
    """The start of the minute in which a time key (ns) lies."""
    return key // (MINUTE * 1_000_000) * MINUTE
