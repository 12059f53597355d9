"""Long lists of values in chunks: SQLite and PostgreSQL both limit what one statement may hold."""

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

Item = TypeVar("Item")

AT_ONCE: Final = 500
"""Values in one IN list."""


def in_portions(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items, five hundred at a time."""
    for first in range(0, len(items), AT_ONCE):
        yield items[first : first + AT_ONCE]
