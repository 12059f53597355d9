"""A store that raises only StoreUnavailable, so that no other error of history can end the process.

Drivers, files and servers raise errors of many types. Callers handle an unavailable store and no other error, and
alarms run in the same process.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import structlog

from collectors.timeseries.store import (
    CHUNK_ROWS,
    DEFAULT_POINTS,
    History,
    Latest,
    Refused,
    Series,
    Store,
    StoreUnavailable,
)
from collectors.wire.reading import Reading

log = structlog.get_logger(__name__)

_REMEMBERED: Final = 100
"""Faults whose trace was logged; each is logged once."""


class StoreFailed(StoreUnavailable):
    """A store failed with an unexpected error."""


class GuardedStore:
    """Another store, whose unexpected errors are logged and become StoreFailed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._written: set[str] = set()

    async def open(self) -> None:
        """Never raises: a store that cannot be opened is unavailable until it can be."""
        try:
            with self._guarding("open"):
                await self._store.open()
        except StoreUnavailable as error:
            log.error("the store of readings cannot be opened; trying again", why=str(error))

    async def close(self) -> None:
        with contextlib.suppress(StoreFailed), self._guarding("close"):
            await self._store.close()

    async def write(self, readings: Sequence[Reading]) -> list[Refused]:
        return await self._store.write(readings)  # the write buffer finds the reading that makes a store fail

    def update_latest(self, readings: Sequence[Reading]) -> None:
        with contextlib.suppress(StoreFailed), self._guarding("update_latest"):
            self._store.update_latest(readings)

    def note_received(self, equipment: tuple[str, str], kind: str, received_at: int) -> None:
        self._store.note_received(equipment, kind, received_at)

    def latest(self) -> Mapping[tuple[str, str], Latest]:
        return self._store.latest()

    def forget_latest(self, equipment: Iterable[tuple[str, str]]) -> None:
        self._store.forget_latest(equipment)

    def clock_was_set(self, now: int) -> None:
        self._store.clock_was_set(now)

    async def refresh_latest(self) -> set[tuple[str, str]]:
        with self._guarding("refresh_latest"):
            return await self._store.refresh_latest()

    async def history(self, series: Series, field: str, start: int, end: int, points: int = DEFAULT_POINTS) -> History:
        with self._guarding("history"):
            return await self._store.history(series, field, start, end, points)

    async def readings(
        self, series: Series, start: int, end: int, after: int = -1, most: int = CHUNK_ROWS
    ) -> list[Reading]:
        with self._guarding("readings"):
            return await self._store.readings(series, start, end, after, most)

    async def roll_up(self) -> int:
        with self._guarding("roll_up"):
            return await self._store.roll_up()

    async def rollups_due(self) -> int:
        with self._guarding("rollups_due"):
            return await self._store.rollups_due()

    def rollups_refused(self) -> int:
        return self._store.rollups_refused()

    async def erase_before(self, moment: int) -> int:
        with self._guarding("erase_before"):
            return await self._store.erase_before(moment)

    @contextlib.contextmanager
    def _guarding(self, act: str) -> Iterator[None]:
        try:
            yield
        except StoreUnavailable:
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            if f"{act} {why}" not in self._written and len(self._written) < _REMEMBERED:
                self._written.add(f"{act} {why}")
                log.exception("the store of readings failed with an unexpected error", act=act)
            raise StoreFailed(why) from error
