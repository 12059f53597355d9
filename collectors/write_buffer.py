"""Between the collector and the store: a write that comes back only when the readings are durable.

Each reading ends in one of three ways: accepted, refused by the store for good (counted and handed to the
quarantine), or kept and tried again until the store takes it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from collectors.reading import Reading
from collectors.timeseries.store import Refused, Store, StoreUnavailable

log = structlog.get_logger(__name__)

_FIRST_RETRY_S: Final = 0.1
_LAST_RETRY_S: Final = 5.0
Sleep = Callable[[float], Awaitable[None]]


class WriteBuffer:
    """Writes batches in order; `trouble` says why the store does not take them now ("" while it does)."""

    def __init__(self, store: Store, sleep: Sleep = asyncio.sleep) -> None:
        self.trouble = ""
        self.depth = 0
        """Readings that wait to become durable."""
        self._store = store
        self._sleep = sleep

    async def write(self, readings: Sequence[Reading]) -> list[Refused]:
        """Return when every reading is durable or refused for good."""
        self.depth += len(readings)
        try:
            return await self._write_until_kept(readings)
        finally:
            self.depth -= len(readings)

    async def _write_until_kept(self, readings: Sequence[Reading]) -> list[Refused]:
        pause = _FIRST_RETRY_S
        while True:
            try:
                refused = await self._store.write(readings)
            except StoreUnavailable as error:
                if str(error) != self.trouble:
                    log.error("readings wait: the store does not take them", why=str(error), readings=len(readings))
                self.trouble = str(error)
                await self._sleep(pause)
                pause = min(pause * 2, _LAST_RETRY_S)
            else:
                if self.trouble:
                    log.info("the store takes readings again")
                self.trouble = ""
                return refused
