"""Process a batch in one transaction, and isolate an item that cannot be processed: it must not block the others."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.leadership.lease import LeaseLost
from gateway.storage.trouble_words import in_plain_words

Item = TypeVar("Item")
Work = Callable[[Sequence[Item]], Awaitable[None]]
"""Processes all items or, when it raises, none."""
Reject = Callable[[Item, Exception], Awaitable[None]]
"""Handles an item that cannot be processed, with its error."""

NOBODYS_FAULT: Final = (*DatabaseTrouble, LeaseLost)
"""Errors that are not caused by an item; they are raised to the caller."""


async def isolate_failure(items: Sequence[Item], work: Work[Item], reject: Reject[Item]) -> None:
    """Process all items; on a failure caused by an item, bisect the batch until that item is alone.

    The order is kept. An item is rejected only after it has failed twice by itself.

    Raises:
        DatabaseTrouble, LeaseLost: items processed before remain processed.
    """
    try:
        await work(items)
    except NOBODYS_FAULT:
        raise
    except Exception:  # noqa: BLE001 - the failing item is found below and passed to `reject`
        if len(items) == 1:
            await _try_once_more(items[0], work, reject)
            return
        half = len(items) // 2
        await isolate_failure(items[:half], work, reject)
        await isolate_failure(items[half:], work, reject)


async def _try_once_more(item: Item, work: Work[Item], reject: Reject[Item]) -> None:
    try:
        await work([item])
    except NOBODYS_FAULT:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        await reject(item, error)


def reason_of(error: Exception) -> str:
    """An error as one line that any database takes, without the text of a database driver."""
    said = in_plain_words(error) if isinstance(error, SQLAlchemyError) else repr(error)
    return said.replace("\x00", "")[:_REASON_LENGTH]


_REASON_LENGTH: Final = 2_000
