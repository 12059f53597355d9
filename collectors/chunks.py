"""How many rows the next transaction of a long deletion takes. Pure: the time that the last one took is passed in.

Whoever else wants to write waits for one transaction at the most, so each is to be over within `LIMIT_S`. What a row
costs is not known beforehand (indexes, the disk, rows that are not in memory), so the first transaction is small and
each following one is sized by the one before it.
"""

from typing import Final, NamedTuple

LIMIT_S: Final = 0.050
"""A transaction of a long deletion holds the writer no longer than that, as far as its rows decide it."""
_GOAL_S: Final = 0.025
"""Half of it: a transaction whose rows cost twice as much as those before is still within the limit."""
_LEAST_PAUSE_S: Final = 0.020
"""Longer than a waiting writer needs to take its turn."""
_MOST_PAUSE_S: Final = 0.050
MOST_ROWS: Final = 20_000


class Chunk(NamedTuple):
    """The next transaction: at most so many rows, after a pause in which others write."""

    rows: int
    pause_s: float


FIRST: Final = Chunk(50, 0.0)


def next_chunk(chunk: Chunk, took_s: float, most: int = MOST_ROWS) -> Chunk:
    """Size the chunk that follows.

    It is smaller where the last one took longer than the limit, at most twice as large where it took less than half of
    it, and the same in between: a disk that needs 30 ms for any commit must not lead to one row at a time. The pause is
    as long as the work was, within limits, so that about half of the writer's time is left to others.

    Args:
        chunk: the one that is done.
        took_s: from the begin of its transaction to the end of its commit, seconds.
        most: rows that one transaction may take whatever the time.
    """
    pause_s = min(max(took_s, _LEAST_PAUSE_S), _MOST_PAUSE_S)
    if _GOAL_S <= took_s <= LIMIT_S:
        return Chunk(min(chunk.rows, most), pause_s)
    fitting = chunk.rows * 2 if took_s * 2 <= _GOAL_S else int(chunk.rows * _GOAL_S / took_s)
    return Chunk(max(1, min(fitting, most)), pause_s)
