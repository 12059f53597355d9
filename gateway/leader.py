"""Takes the leader's lease when it is free, restores the state of the previous leader, then runs the leader's duties.

A process that is not the leader is a standby: it answers HTTP, feeds its listeners from the leader's facts, refreshes
its newest values, and polls the lease each second.
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
from gateway.backup.regular import RegularBackups
from gateway.clocks import Clock, steps_of, wall_ms
from gateway.component_states import STANDING_BY
from gateway.leader_duties import (
    LeaderDuties,
    LeaderMetrics,
    Resources,
    known_babbling,
    known_doubtful_clocks,
    known_notices,
    known_values,
)
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.leadership import lease
from gateway.storage.received.last_events import last_events
from gateway.storage.trouble_words import in_plain_words
from gateway.supervision.duties import Components, every, is_lease_lost
from gateway.supervision.lease_keeping import RENEW_S

log = structlog.get_logger(__name__)

_WAIT_FOR_LEASE_S: Final = 1.0
_REFRESH_S: Final = 5.0
_FINISH_S: Final = 3.0
"""Time to finish the messages in progress at a stop; the broker sends the rest again."""
_CATCH_UP_S: Final = lease.LIFETIME_MS / 3000
_LEADER_COMPONENTS: Final = ("leader", "alarms", "tickets", "broker", "audit", "backups")


class Leader:
    """Takes the lease whenever it is free, and works while the lease is held."""

    def __init__(self, given: Resources, components: Components, registry: CollectorRegistry) -> None:
        self._given = given
        self._components = components
        self._backups = RegularBackups(given.settings, given.database.engine.url, wall_ms)
        self._metrics = LeaderMetrics(registry, given.clock)
        self._work_in_hand: LeaderDuties | None = None
        # All of them from the start: a component that is not made yet must not appear to work.
        self._report_all("starting")

    async def run(self) -> None:
        """Be the leader whenever the lease is free, until cancelled.

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
                log.error("another process has become the leader", why=_why(error))

    async def finish(self) -> None:
        """Take no more messages, and finish those in progress within a time limit."""
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
                if refreshing.done():  # stale values must not prevent a takeover
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
        """Refresh the newest values and events, which the leader's facts do not contain."""
        await self._given.ledger.load_last_messages()
        try:
            self._given.feed.note_equipment(await self._given.store.refresh_latest())
            self._given.feed.note_equipment(await self._apply_events())
        except StoreUnavailable as error:
            log.warning("newest values cannot be refreshed", why=str(error))

    async def _catch_up(self) -> None:
        """Restore the state of the previous leader before anything is decided."""
        await self._given.ledger.load()
        # Alarms do not wait for history, and the lease is not renewed meanwhile.
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(_CATCH_UP_S):
                await self._given.store.refresh_latest()
        await self._apply_events()
        if now := self._given.clock():  # that of the data is 0 before the first
            self._given.store.clock_was_set(now)  # it may have been set back while no leader was active

    async def _apply_events(self) -> set[tuple[str, str]]:
        """Apply events that another process has received to the newest values; the equipment concerned."""
        store, updated = self._given.store, set()
        for site, code, kind, received_at in await last_events(self._given.database):
            known = store.latest().get((site, code))
            if known is None or known.heard_at < received_at:
                store.note_received((site, code), kind, received_at)
                updated.add((site, code))
        return updated

    async def _work(self, epoch: int) -> None:
        given = self._given
        alarms = await self._take_up(epoch)
        if alarms is None:
            return
        babbling, clocks = await known_babbling(given), await known_doubtful_clocks(given)
        notices = await known_notices(given)
        work = LeaderDuties(given, self._metrics, alarms, epoch, self._backups, babbling, clocks, notices)
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
        """Continue where the previous leader stopped; None after a database error, and the lease is taken again."""
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
            log.warning("the state of the alarms cannot be loaded now", why=why, detail=str(error))
            self._report_all(why)
            await asyncio.sleep(_WAIT_FOR_LEASE_S)
            return None
        return alarms

    async def _holding(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work that may take longer than the lifetime of the lease, and renew the lease meanwhile."""
        renewing = asyncio.create_task(every(RENEW_S, self._given.lease.renew)(), name="lease.meanwhile")
        try:
            await work
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    def _clock_steps(self) -> Clock:
        """The steps of the clock, each once; the newest values follow them."""
        clock, store = self._given.clock, self._given.store
        find = steps_of(clock)

        def steps() -> int:
            by = find()
            if by < 0:
                store.clock_was_set(clock())
            return by

        return steps

    def _progress(self, now: int) -> Progress:
        """How far messages have been evaluated."""
        return keeping_up(now) if self._work_in_hand is None else self._work_in_hand.progress(now)

    def _report_all(self, state: str) -> None:
        self._components.update(dict.fromkeys(_LEADER_COMPONENTS, lambda: state))


def _why(error: Exception) -> str:
    """The text of LeaseLost; other errors in the group are its consequences."""
    found = error.subgroup(lease.LeaseLost) if isinstance(error, ExceptionGroup) else error
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    return str(found)
