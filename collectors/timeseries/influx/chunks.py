"""Splits writes to InfluxDB into requests: pure."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

_LINES: Final = 5_000
"""Lines in a request, as InfluxDB's documentation recommends."""
_NS_OF_WEEK: Final = 7 * 86_400 * 10**9
_WEEKS: Final = 4
"""InfluxDB creates a file (shard) for each week; fifty of them take longer than the timeout of a request."""
Item = TypeVar("Item")


def chunks(items: Sequence[Item], key: Callable[[Item], int]) -> Iterator[Sequence[Item]]:
    """Split items so that no request has too many lines or spans too many weeks.

    Args:
        items: in order of arrival; of those with one time key the later one wins.
        key: the time key of an item, ns.
    """
    if not items:
        return
    keys = [key(item) for item in items]
    if max(keys) - min(keys) <= _WEEKS * _NS_OF_WEEK:
        yield from (items[first : first + _LINES] for first in range(0, len(items), _LINES))
        return
    items = sorted(items, key=key)
    first = 0
    for index, item in enumerate(items):
        if index - first >= _LINES or key(item) - key(items[first]) > _WEEKS * _NS_OF_WEEK:
            yield items[first:index]
            first = index
    yield items[first:]
