"""Sizes the transactions of a long deletion. Pure: the duration of the last transaction is passed in.

Another writer waits for one transaction at most, so each should end within `LIMIT_S`. The cost of a row is not known
in advance (indexes, the disk, rows that are not in memory), so the first transaction is small and each following one
is sized by the one before it.
"""

from typing import Final, NamedTuple

LIMIT_S: Final = 0.050
"""A transaction of a long deletion should not block other writers for longer."""
_GOAL_S: Final = 0.025
"""Half the limit: a transaction whose rows cost twice as much as those before is still within it."""
_LEAST_PAUSE_S: Final = 0.020
"""Longer than a waiting writer needs to begin its transaction."""
_MOST_PAUSE_S: Final = 0.050
MOST_ROWS: Final = 20_000


class Chunk(NamedTuple):
    """The next transaction: at most so many rows, after a pause in which others write."""

    rows: int
    pause_s: float


FIRST: Final = Chunk(50, 0.0)


def next_chunk(chunk: Chunk, took_s: float, most: int = MOST_ROWS) -> Chunk:
    """Size the chunk that follows.

    It is smaller if the last one took longer than the limit, at most twice as large if it took less than half of
    it, and the same in between: a disk that needs 30 ms for any commit must not lead to one row at a time. The pause is
    as long as the work was, within limits, so that about half of the time is left to other writers.

    Args:
        chunk: the one that has been committed.
        took_s: from the begin of its transaction to the end of its commit, seconds.
        most: upper limit of rows, whatever the time.
    """
    pause_s = min(max(took_s, _LEAST_PAUSE_S), _MOST_PAUSE_S)
    if _GOAL_S <= took_s <= LIMIT_S:
        return Chunk(min(chunk.rows, most), pause_s)
    fitting = chunk.rows * 2 if took_s * 2 <= _GOAL_S else int(chunk.rows * _GOAL_S / took_s)
    return Chunk(max(1, min(fitting, most)), pause_s)
