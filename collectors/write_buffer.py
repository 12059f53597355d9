"""Between the collector and the store: a write returns when the readings are durable, in the store or on disk.

    directly:  write -> store                     while the store takes a batch within two seconds
    by disk:   write -> spool ... run -> store    from the first failure until the spool is empty again

So a store that is down, slow or full delays no acknowledgement and no message that follows, and the order of arrival
is preserved. Each reading ends in one of four ways: accepted; rejected by the store permanently (counted,
quarantined); spooled until the store accepts it; lost because the spool is full or the disk fails (counted by reason).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from collectors.disk.trouble_words import words_for_file
from collectors.metrics import HistoryMetrics
from collectors.spool.spool import Loss, Spool
from collectors.timeseries.store import Refused, Store, StoreUnavailable
from collectors.wire.reading import Reading

log = structlog.get_logger(__name__)

PATIENCE_S: Final = 2.0
"""Timeout of a write, after which the readings go to disk instead."""
_FIRST_RETRY_S: Final = 0.1
_LAST_RETRY_S: Final = 5.0
_DRAINED_AT_ONCE: Final = 10_000
"""Readings."""
_TRIES_BEFORE_LOSS: Final = 10
"""While neither store nor disk accepts a batch, half a second apart: the broker keeps it meanwhile, alarms continue."""
_TRY_AGAIN_S: Final = 0.5
_FAILURES_OF_A_STORE: Final = 5
"""Single readings that fail in a row, none accepted before: the store itself fails, whatever the readings."""
_TRIES_OF_ONE: Final = 10
"""Attempts for a single reading, after which it is rejected."""
Sleep = Callable[[float], Awaitable[None]]
QuarantineRefused = Callable[[Sequence[Refused]], Awaitable[None]]
"""Returns when readings that the store rejects permanently are quarantined for the administrator."""

IsPaused = Callable[[], bool]
"""Whether writes to the store are paused because they use disk space that alarms need."""
PAUSED: Final = "the disk is almost full: history is stopped, readings wait in the spool; free space on it"


def never_paused() -> bool:
    """For a store that does not share a disk with the alarms."""
    return False


class _Sifted(msgspec.Struct):
    """The outcome of readings: how many the store accepted, which it rejected, and for which it failed."""

    taken: int = 0
    refused: list[Refused] = []
    failed: list[Refused] = []

    def require_a_store(self, *, is_patient: bool) -> None:
        """Raise StoreUnavailable if none was accepted, unless that was tried often enough."""
        if self.failed and not self.taken and is_patient:
            raise StoreUnavailable(self.failed[0].why)


class WriteBuffer:
    """Makes batches durable in order. One caller writes, one task runs `run`."""

    def __init__(
        self,
        store: Store,
        spool: Spool,
        quarantine: QuarantineRefused,
        metrics: HistoryMetrics,
        *,
        sleep: Sleep = asyncio.sleep,
        patience_s: float = PATIENCE_S,
        is_paused: IsPaused = never_paused,
    ) -> None:
        self.trouble = ""
        """Why the store does not accept readings now, "" while it does."""
        self._store = store
        self._spool = spool
        self._quarantine = quarantine
        self._metrics = metrics
        self._sleep = sleep
        self._patience_s = patience_s
        self._is_paused = is_paused
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._is_direct = True
        self._filled = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._unfinished: asyncio.Task[list[Refused]] | None = None
        """A write that is still pending in the store; its readings are on disk too."""
        self._tries_left = _TRIES_BEFORE_LOSS
        self._is_disk_ready = False

    async def open(self) -> None:
        """Load the spool of an earlier run. A folder that cannot be used now is tried again when it is needed."""
        self._metrics.watch(self._spool)
        try:
            await self._make_disk_ready()
        except OSError as error:
            log.error("the spool folder cannot be used; trying again",
                      why=words_for_file(error), detail=str(error))  # fmt: skip
            self._filled.set()  # so that the spool of an earlier run is looked for again

    async def _make_disk_ready(self) -> None:
        """Raises OSError."""
        if self._is_disk_ready:
            return
        await self._on_disk(self._spool.open, self._store.update_latest)
        self._is_disk_ready = True
        if self._spool.waiting:
            log.info("readings of an earlier run are in the spool", readings=self._spool.waiting)
            self._is_direct = False
            self._filled.set()

    async def close(self) -> None:
        if self._unfinished is not None:
            self._unfinished.cancel()
            await asyncio.gather(self._unfinished, return_exceptions=True)
        await self._on_disk(self._spool.close)
        self._disk.shutdown()

    @property
    def lost(self) -> int:
        """Readings lost since the start, for any reason."""
        return self._metrics.lost_in_all

    @property
    def is_behind(self) -> bool:
        """Whether readings go by disk: the store fails, or has not caught up yet."""
        return not self._is_direct

    @property
    def spool_used(self) -> float:
        """Share of the permitted disk space that is in use, 0 to 1."""
        return self._spool.used

    @property
    def waiting(self) -> int:
        """Readings on disk that the store does not have yet; 0: it has all of them."""
        return max(self._spool.waiting, 0 if self._is_direct else 1)

    async def write(self, readings: Sequence[Reading]) -> None:
        """Return when every reading is durable, quarantined, or lost and counted."""
        if self._is_direct and await self._write_directly(readings):
            return
        async with self._one_at_a_time:
            self._is_direct = False
            self._store.update_latest(readings)
            await self._keep(readings)
            self._filled.set()

    async def run(self) -> None:
        """Write spooled readings to the store, until cancelled."""
        trouble = ""
        while True:
            await self._filled.wait()
            await self._let_finish()
            try:
                await self._drain_some()
            except Exception as error:  # noqa: BLE001 - no error here may stop alarms
                if _reason(error) != trouble:
                    log.error("spooled readings cannot be read or removed; trying again", why=_reason(error))
                trouble = _reason(error)
                await self._sleep(_LAST_RETRY_S)
            else:
                trouble = ""

    async def _drain_some(self) -> None:
        async with self._one_at_a_time:
            await self._make_disk_ready()
            readings: list[Reading] = await self._on_disk(self._spool.take, _DRAINED_AT_ONCE)
            if not readings:
                await self._on_disk(self._spool.settle)
                self._is_direct = True
                self._filled.clear()
        if readings:
            await self._write_until_taken(readings)
            await self._on_disk(self._spool.settle)

    # -- directly --------------------------------------------------------------------------------------

    async def _write_directly(self, readings: Sequence[Reading]) -> bool:
        """Whether the store has them; False: it failed, is paused, or timed out."""
        if self._is_paused():
            self._note(PAUSED)
            return False
        writing = asyncio.create_task(self._store.write(readings), name="store.write")
        try:
            await asyncio.wait({writing}, timeout=self._patience_s)
        except asyncio.CancelledError:
            writing.cancel()
            raise
        if not writing.done():
            self._unfinished = writing  # it may still succeed; writing them again changes nothing
            self._note(f"a write takes longer than {self._patience_s:g} s")
            return False
        try:
            refused = writing.result()
        except Exception as error:  # noqa: BLE001 - no error of a store may stop alarms
            self._note(_reason(error), error)
            return False
        self._note("")
        await self._refuse(refused)
        return True

    # -- by disk ---------------------------------------------------------------------------------------

    async def _keep(self, readings: Sequence[Reading]) -> None:
        """Write to disk; else to the store; else, after some seconds, count as lost."""
        while True:
            try:
                await self._make_disk_ready()
                await self._on_disk(self._spool.append, readings)
            except OSError as error:
                log.error("readings are held back: neither the store nor the disk accepts them",
                          why=words_for_file(error), detail=str(error))  # fmt: skip
            else:
                self._tries_left = _TRIES_BEFORE_LOSS
                return
            if self._unfinished is not None and self._unfinished.done():
                await self._let_finish()
            if self._unfinished is None and await self._write_directly(readings):
                self._tries_left = _TRIES_BEFORE_LOSS
                return
            if not self._tries_left:  # alarms would have to stop next
                self._metrics.lose(Loss.NO_DISK, len(readings))
                return
            self._tries_left -= 1
            await self._sleep(_TRY_AGAIN_S)

    async def _let_finish(self) -> None:
        """Await a slow write: two at once would make the store even slower."""
        if self._unfinished is not None:
            await asyncio.wait({self._unfinished})
            if not self._unfinished.cancelled() and (error := self._unfinished.exception()) is not None:
                self._note(_reason(error), error)
            self._unfinished = None

    async def _write_until_taken(self, readings: Sequence[Reading]) -> None:
        pause, tries = _FIRST_RETRY_S, 0
        while True:
            tries += 1
            sifted = _Sifted()
            try:
                self._require_space()
                await self._sift(readings, sifted)
                sifted.require_a_store(is_patient=len(readings) > 1 or tries < _TRIES_OF_ONE)
            except Exception as error:  # noqa: BLE001 - no error of a store may stop alarms
                self._note(_reason(error), error)
                await self._sleep(pause)
                pause = min(pause * 2, _LAST_RETRY_S)
            else:
                self._note("")
                await self._refuse([*sifted.refused, *sifted.failed])
                return

    def _require_space(self) -> None:
        if self._is_paused():
            raise StoreUnavailable(PAUSED)

    async def _sift(self, readings: Sequence[Reading], sifted: _Sifted) -> None:
        """Write readings; halve them if the store fails in an unexpected way.

        So a reading that makes a store fail is found and does not block all others for ever.
        """
        try:
            sifted.refused += await self._store.write(readings)
            sifted.taken += len(readings)
        except StoreUnavailable:
            raise
        except Exception as error:
            log.warning("the store fails to write readings", readings=len(readings), why=_reason(error))
            if len(readings) > 1:
                middle = len(readings) // 2
                await self._sift(readings[:middle], sifted)
                await self._sift(readings[middle:], sifted)
                return
            sifted.failed.append(Refused(readings[0], _reason(error)))
            if not sifted.taken and len(sifted.failed) >= _FAILURES_OF_A_STORE:
                raise

    # -- both ------------------------------------------------------------------------------------------

    async def _refuse(self, refused: Sequence[Refused]) -> None:
        if not refused:
            return
        self._metrics.refused.inc(len(refused))
        try:
            await self._quarantine(refused)
        except Exception as error:  # noqa: BLE001 - no error here may stop alarms
            log.error("rejected readings could not be quarantined", readings=len(refused),
                      first=refused[0].why, why=_reason(error))  # fmt: skip

    def _note(self, trouble: str, error: BaseException | None = None) -> None:
        """Log once that the store fails, and once that it works again."""
        if trouble and trouble != self.trouble:
            log.error("readings go to disk: the store does not accept them", why=trouble, detail=_detail(error))
        elif self.trouble and not trouble:
            log.info("the store accepts readings again", waiting=self._spool.waiting)
        self.trouble = trouble
        self._metrics.reachable.set(not trouble)

    async def _on_disk(self, work: Callable[..., Any], *arguments: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._disk, partial(work, *arguments))


def _reason(error: BaseException) -> str:
    """The reason of a failure: the store's own text; for any other error with its type."""
    return str(error) if isinstance(error, StoreUnavailable) else f"{type(error).__name__}: {error}"


def _detail(error: BaseException | None) -> str | None:
    """The cause of an error, for the log."""
    return None if error is None or error.__cause__ is None else str(error.__cause__)
