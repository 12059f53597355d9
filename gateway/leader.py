"""Owns the alarms whenever their lease is free: takes up what the last owner knew, then carries out the duties.

Who does not own them stands by: it answers HTTP and feeds its listeners from the facts of the owner, keeps its
newest values fresh, and asks each second whether the lease has ended.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry

from collectors.timeseries.store import StoreUnavailable
from gateway.alarms.alarms import Alarms
from gateway.alarms.evaluation.progress import Progress, keeping_up
from gateway.alarms.evaluation.unknown_equipment import UnknownEquipment
from gateway.api.platform.platform import STANDING_BY
from gateway.backup.regular import RegularBackups
from gateway.clocks import Clock, steps_of, wall_ms
from gateway.leader_duties import (
    OwnerDuties,
    OwnerMetrics,
    Resources,
    known_babbling,
    known_doubtful_clocks,
    known_notices,
    known_values,
)
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.ownership import lease
from gateway.storage.received.last_events import last_events
from gateway.storage.trouble_words import in_plain_words
from gateway.supervision.duties import Parts, every, is_lease_lost
from gateway.supervision.lease_keeping import RENEW_S

log = structlog.get_logger(__name__)

_WAIT_FOR_LEASE_S: Final = 1.0
_REFRESH_S: Final = 5.0
_FINISH_S: Final = 3.0
"""For what is in hand at the end; what takes longer is left to the broker."""
_CATCH_UP_S: Final = lease.LIFETIME_MS / 3000
_OWN_PARTS: Final = ("owner", "alarms", "tickets", "broker", "audit", "backups")


class Leader:
    """Takes the lease whenever it is free, and works while it holds."""

    def __init__(self, given: Resources, parts: Parts, registry: CollectorRegistry) -> None:
        self._given = given
        self._parts = parts
        self._backups = RegularBackups(given.settings, given.database.engine.url, wall_ms)
        self._metrics = OwnerMetrics(registry, given.clock)
        self._work_in_hand: OwnerDuties | None = None
        # All of them from the start: a part that is not there yet must not look like one that works.
        self._report_all("starting")

    async def run(self) -> None:
        """Own the alarms whenever they are free, until cancelled.

        Raises:
            ExceptionGroup: a vital duty failed.
        """
        while True:
            epoch = await self._wait_for_lease()
            self._report_all("starting")
            try:
                await self._work(epoch)
            except Exception as error:
                if not is_lease_lost(error):
                    raise
                log.error("the alarms went to another process", why=_why(error))

    async def finish(self) -> None:
        """Take nothing more, and bring what is in hand to its end where that is soon done."""
        work = self._work_in_hand
        left = 0 if work is None else await work.finish(_FINISH_S)
        if left:
            log.warning("not finished in time; the broker sends it again at the next start", messages=left)

    async def _wait_for_lease(self) -> int:
        epoch = await self._take_lease()
        if epoch is not None:
            return epoch
        refreshing = asyncio.create_task(every(_REFRESH_S, self._refresh)(), name="standing_by")
        try:
            while epoch is None:
                await asyncio.sleep(_WAIT_FOR_LEASE_S)
                if refreshing.done():  # values that are not fresh must not keep anybody from taking over
                    log.error("newest values are not refreshed", why=repr(refreshing.exception()))
                    refreshing = asyncio.create_task(every(_REFRESH_S, self._refresh)(), name="standing_by")
                epoch = await self._take_lease()
        finally:
            refreshing.cancel()
            await asyncio.gather(refreshing, return_exceptions=True)
        return epoch

    async def _take_lease(self) -> int | None:
        epoch = await self._given.lease.take()
        if epoch is None:
            self._report_all(self._given.lease.trouble or STANDING_BY)
        return epoch

    async def _refresh(self) -> None:
        """What the owner has heard, as far as its facts do not tell it."""
        await self._given.ledger.load_last_messages()
        try:
            self._given.feed.note_equipment(await self._given.store.refresh_latest())
            self._given.feed.note_equipment(await self._hear_of_events())
        except StoreUnavailable as error:
            log.warning("newest values cannot be refreshed", why=str(error))

    async def _catch_up(self) -> None:
        """Know all that the last owner knew, before anything is decided."""
        await self._given.ledger.load()
        # Alarms do not wait for history, and the lease is not renewed meanwhile.
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(_CATCH_UP_S):
                await self._given.store.refresh_latest()
        await self._hear_of_events()
        if now := self._given.clock():  # that of the data is 0 before the first
            self._given.store.clock_was_set(now)  # it may have been set back while nobody worked

    async def _hear_of_events(self) -> set[tuple[str, str]]:
        """Let the newest values show events that another process has heard; whom that concerns."""
        store, heard = self._given.store, set()
        for site, code, kind, received_at in await last_events(self._given.database):
            known = store.latest().get((site, code))
            if known is None or known.heard_at < received_at:
                store.note_received((site, code), kind, received_at)
                heard.add((site, code))
        return heard

    async def _work(self, epoch: int) -> None:
        given = self._given
        alarms = await self._take_up(epoch)
        if alarms is None:
            return
        babbling, clocks = await known_babbling(given), await known_doubtful_clocks(given)
        notices = await known_notices(given)
        work = OwnerDuties(given, self._metrics, alarms, epoch, self._backups, babbling, clocks, notices)
        self._work_in_hand = work
        given.watchdog.own()
        try:
            await given.duties.carry_out(work.duties())
        finally:
            given.watchdog.stand_by()
            self._work_in_hand = None
            await work.broker.close()
            await given.lease.release()

    async def _take_up(self, epoch: int) -> Alarms | None:
        """Take up where the last owner left; None where the database does not let us, and all begins again."""
        given, settings, metrics = self._given, self._given.settings.alarms, self._metrics
        alarms = Alarms(
            given.database, given.rules, int(settings.late_window_s * 1000), epoch, metrics.alarms, metrics.facts,
            metrics.failures, given.quarantine, given.clock, partial(known_values, given),
            int(settings.chatter_quiet_s * 1000), self._progress,
            UnknownEquipment(given.ledger.is_adopted, given.settings.equipment.unknown_limit),
            self._clock_steps(), lambda: given.ledger.estate,
        )  # fmt: skip
        try:
            await self._holding(self._catch_up())
            await self._holding(alarms.load())
        except DatabaseTrouble as error:
            why = in_plain_words(error)
            log.warning("the alarms cannot be taken up now", why=why, detail=str(error))
            self._report_all(why)
            await asyncio.sleep(_WAIT_FOR_LEASE_S)
            return None
        return alarms

    async def _holding(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what may take longer than the lease lives, and renew it meanwhile."""
        renewing = asyncio.create_task(every(RENEW_S, self._given.lease.renew)(), name="lease.meanwhile")
        try:
            await work
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    def _clock_steps(self) -> Clock:
        """By how much the clock is set, once for each step; the newest values follow it too."""
        clock, store = self._given.clock, self._given.store
        find = steps_of(clock)

        def steps() -> int:
            by = find()
            if by < 0:
                store.clock_was_set(clock())
            return by

        return steps

    def _progress(self, now: int) -> Progress:
        """How far messages are judged."""
        return keeping_up(now) if self._work_in_hand is None else self._work_in_hand.progress(now)

    def _report_all(self, state: str) -> None:
        self._parts.update(dict.fromkeys(_OWN_PARTS, lambda: state))


def _why(error: Exception) -> str:
    """Which epoch has begun; what else failed because of that says nothing more."""
    found = error.subgroup(lease.LeaseLost) if isinstance(error, ExceptionGroup) else error
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    return str(found)
