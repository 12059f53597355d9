"""Rollups of texts and booleans over a minute, an hour or a day, and the selection of those that hold changes: pure.

A stretch is the rollup of such a field: its first and last value, how often it changed, and the changes themselves
if they are few. So a year's changes are in 365 rows, or in those and the hours and minutes of the busiest recent days,
and each change keeps the moment at which it was measured.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import Final, NamedTuple

import msgspec

from collectors.timeseries.rollups import FINER, Piece
from collectors.timeseries.store import Change, History

_LISTED: Final = 32
"""Limit of changes in one stretch: enough for the faults of a quiet day or the cycles of a busy elevator door."""
_LETTERS: Final = 2_048
"""Limit of the letters of these changes together; InfluxDB accepts 64 KiB in one text."""

BESIDE: Final = 2
"""Changes to read from samples beyond `points`: the oldest represents the first sample and may not be a change; the
next one shows that there were more than `points`."""


class Stretch(msgspec.Struct, frozen=True, array_like=True):
    """A field from its first sample on: its first and last value, and the changes between."""

    at: int
    """Of the first sample, epoch ms."""
    first: bool | str
    last: bool | str
    count: int
    """Changes after the first sample."""
    changes: tuple[Change, ...] | None
    """Those changes; None if only their number is kept."""


class Block(NamedTuple):
    """A stretch and the step whose rollup it is; SAMPLES if it was read from samples."""

    step: int
    start: int
    stretch: Stretch


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Stretch).decode


def of_changes(changes: Sequence[Change]) -> Stretch:
    """A stretch with all its changes; the first of them is the first sample."""
    first, *rest = changes
    return Stretch(first.at, first.value, changes[-1].value, len(rest), tuple(rest))


def changes_of(samples: Iterable[tuple[int, bool | str]]) -> list[Change]:
    """The first sample and every one that differs from the one before it."""
    found: list[Change] = []
    for at, value in samples:
        if not found or found[-1].value != value:
            found.append(Change(at, value))
    return found


def short(stretch: Stretch) -> Stretch:
    """The stored form: without the changes if they are many or long."""
    if stretch.changes is None or (
        len(stretch.changes) <= _LISTED
        and sum(len(change.value) for change in stretch.changes if isinstance(change.value, str)) <= _LETTERS
    ):
        return stretch
    return msgspec.structs.replace(stretch, changes=None)


def join(stretches: Sequence[Stretch]) -> Stretch:
    """Consecutive stretches joined into one, in its stored form."""
    count, listed = 0, [stretches[0].changes]
    for before, one in pairwise(stretches):
        changed = before.last != one.first
        count += changed
        listed += [(Change(one.at, one.first),) if changed else (), one.changes]
    known = [changes for changes in listed if changes is not None]
    return short(
        Stretch(
            stretches[0].at,
            stretches[0].first,
            stretches[-1].last,
            count + sum(one.count for one in stretches),
            tuple(change for changes in known for change in changes) if len(known) == len(listed) else None,
        )
    )


def joined(finer: Iterable[tuple[int, Stretch]], step: int) -> dict[int, Stretch]:
    """The stretches of a step by their starts, joined from finer ones in order."""
    grouped = groupby(finer, lambda one: one[0] // step * step)
    return {start: join([stretch for _, stretch in some]) for start, some in grouped}


def too_coarse(blocks: Sequence[Block], points: int) -> list[Piece]:
    """The pieces to read in finer steps before the newest changes, one more than `points`, are known."""
    found, wanted = 0, list[Piece]()
    for block, begins_with_change in _newest_first(blocks):
        if found > points:
            break
        found += block.stretch.count + begins_with_change
        if block.stretch.changes is None:
            start, end, finer = block.start, block.start + block.step, FINER[block.step]
            if wanted and wanted[-1].step == finer and wanted[-1].start == end:
                end = wanted.pop().end
            wanted.append(Piece(finer, start, end))
    return wanted


def refined(blocks: Iterable[Block], pieces: Sequence[Piece], finer: Iterable[Block]) -> list[Block]:
    """The blocks, with finer ones instead of those that were `too_coarse`."""
    oldest = min(piece.start for piece in pieces)
    kept = [block for block in blocks if block.stretch.changes is not None or block.start < oldest]
    return sorted([*kept, *finer], key=lambda block: block.start)


def newest(blocks: Sequence[Block], points: int) -> History:
    """The newest `points` changes, oldest first. All `too_coarse` pieces must have been read."""
    found: list[Change] = []
    for block, begins_with_change in _newest_first(blocks):
        if len(found) > points:
            break
        found += reversed(block.stretch.changes or ())
        if begins_with_change:
            found.append(Change(block.stretch.at, block.stretch.first))
    return History(False, [], found[:points][::-1], older_left_out=len(found) > points)


def _newest_first(blocks: Sequence[Block]) -> Iterator[tuple[Block, bool]]:
    """Each block, and whether its first sample differs from the value before it, if there is one."""
    for index in range(len(blocks) - 1, -1, -1):
        block = blocks[index]
        yield block, index == 0 or blocks[index - 1].stretch.last != block.stretch.first
