"""Work on many things in one transaction, and find the one that cannot be worked on: it must not hold back others."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.leadership.lease import LeaseLost
from gateway.storage.trouble_words import in_plain_words

Item = TypeVar("Item")
Work = Callable[[Sequence[Item]], Awaitable[None]]
"""Works on all of them or, when it raises, on none."""
Aside = Callable[[Item, Exception], Awaitable[None]]
"""What becomes of the one that cannot be worked on."""

NOBODYS_FAULT: Final = (*DatabaseTrouble, LeaseLost)
"""Says nothing against the things that are worked on: it goes on to the caller."""


async def isolate_failure(items: Sequence[Item], work: Work[Item], aside: Aside[Item]) -> None:
    """Work on all items; where that fails for what they are, halve them until the one at fault stands alone.

    The order is kept. An item is put aside only after it has failed twice by itself.

    Raises:
        DatabaseTrouble, LeaseLost: what was worked on before stays done.
    """
    try:
        await work(items)
    except NOBODYS_FAULT:
        raise
    except Exception:  # noqa: BLE001 - whatever it is, it is found below and handed to `aside`
        if len(items) == 1:
            await _try_once_more(items[0], work, aside)
            return
        half = len(items) // 2
        await isolate_failure(items[:half], work, aside)
        await isolate_failure(items[half:], work, aside)


async def _try_once_more(item: Item, work: Work[Item], aside: Aside[Item]) -> None:
    try:
        await work([item])
    except NOBODYS_FAULT:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        await aside(item, error)


def reason_of(error: Exception) -> str:
    """An error as one line that any database takes, without the text of a database driver."""
    said = in_plain_words(error) if isinstance(error, SQLAlchemyError) else repr(error)
    return said.replace("\x00", "")[:_REASON_LENGTH]


_REASON_LENGTH: Final = 2_000
