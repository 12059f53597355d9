"""What only the owner of the alarms does, for as long as the lease holds: listen, decide, open tickets.

Who does not own them stands by: it answers HTTP and feeds its listeners from the facts of the owner, keeps its
newest values fresh, and asks each second whether the lease has ended.
"""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from functools import partial
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry

from collectors.babbling import Babbling
from collectors.broker import Broker
from collectors.collector import Collector, Keeper, Source
from collectors.fields import Kind
from collectors.metrics import IngestMetrics
from collectors.payloads.decoder import Decoder
from collectors.reading import Reading, Value
from collectors.sequences import SequenceMemory
from collectors.timeseries.store import Store, StoreUnavailable
from collectors.write_buffer import WriteBuffer
from gateway.alarms.alarms import AlarmMetrics, Alarms
from gateway.alarms.babbling_devices import event_of, protected_fields, still_babbling
from gateway.alarms.equipment_notices import EquipmentNotices, Notice, standing_notices
from gateway.alarms.failures import Failures
from gateway.alarms.maintenance_windows import note_turns
from gateway.alarms.rules import Rule
from gateway.alarms.watchdog import BEAT_TOPIC, Code, Watchdog, steady_s
from gateway.api.live_feed import LiveFeed
from gateway.api.platform_routes import READY, STANDING_BY, working
from gateway.backup.regular import LOOK_S, RegularBackups
from gateway.clocks import Clock, DataClock, wall_ms
from gateway.dated_source import DatedSource
from gateway.equipment.latest import latest_of
from gateway.equipment.ledger import Ledger
from gateway.ingest import broker_address
from gateway.people.audit_key import checkpoints_folder, key_file, open_key
from gateway.people.audit_sealer import SEAL_S, Sealer
from gateway.retention.retention import Retention
from gateway.self_supervision import EVERY_S, SelfSupervision
from gateway.settings import Settings
from gateway.storage import lease
from gateway.storage.database import Database, DatabaseTrouble
from gateway.storage.facts import FactMetrics
from gateway.storage.quarantine import Quarantine
from gateway.storage.statistics import keep_statistics_fresh
from gateway.supervision.lookout import Lookout, way_of_messages
from gateway.tickets.attachment_files import AttachmentFiles
from gateway.tickets.attachments import AttachmentSweep
from gateway.tickets.tickets import Tickets

log = structlog.get_logger(__name__)

_RENEW_S: Final = lease.LIFETIME_MS / 3000
_WAIT_FOR_LEASE_S: Final = 1.0
_LAST_MESSAGES_S: Final = 5.0
_REFRESH_S: Final = 5.0
_BEAT_LOOK_S: Final = 0.5
_CATCH_UP_S: Final = lease.LIFETIME_MS / 3000
_OWN_PARTS: Final = ("owner", "alarms", "tickets", "broker", "audit", "backups")


class Owner:
    """Takes the lease whenever it is free, and works while it holds."""

    def __init__(
        self,
        *,
        settings: Settings,
        decoder: Decoder,
        rules: Sequence[Rule],
        database: Database,
        ledger: Ledger,
        buffer: WriteBuffer,
        keeper: Keeper,
        quarantine: Quarantine,
        store: Store,
        sequences: SequenceMemory,
        feed: LiveFeed,
        parts: dict[str, Callable[[], str]],
        registry: CollectorRegistry,
        clock: Clock,
        watchdog: Watchdog,
        attachments: AttachmentFiles,
    ) -> None:
        self._settings = settings
        self._decoder = decoder
        self._rules = rules
        self._database = database
        self._ledger = ledger
        self._buffer = buffer
        self._keeper = keeper
        self._quarantine = quarantine
        self._store = store
        self._sequences = sequences
        self._feed = feed
        self._parts = parts
        self._clock = clock
        self._watchdog = watchdog
        self._attachments = attachments
        self._backups = RegularBackups(settings, database.engine.url, wall_ms)
        self._sealer: Sealer | None = None
        self._ingest_metrics = IngestMetrics(registry)
        self._alarm_metrics = AlarmMetrics(registry)
        self._fact_metrics = FactMetrics(registry)
        self._failures = Failures(registry, clock)
        # All of them from the start: a part that is not there yet must not look like one that works.
        self._report_all("starting")
        # Not the process number: in containers every process is number 1.
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        if database.is_sqlite:  # whoever holds the folder's lock owns them, and need not wait for the last lease's end
            self._holder = "folder"

    async def run(self) -> None:
        """Own the alarms whenever they are free, until cancelled."""
        while True:
            epoch = await self._wait_for_lease()
            self._report_all("starting")
            try:
                await self._work(epoch)
            except* lease.LeaseLost as lost:
                log.error("the alarms went to another process", why=str(lost.exceptions[0]))

    async def _wait_for_lease(self) -> int:
        epoch = await self._take_lease()
        if epoch is not None:
            return epoch
        async with asyncio.TaskGroup() as group:
            refreshing = group.create_task(_every(_REFRESH_S, self._refresh), name="standing_by")
            while epoch is None:
                await asyncio.sleep(_WAIT_FOR_LEASE_S)
                epoch = await self._take_lease()
            refreshing.cancel()
        return epoch

    async def _take_lease(self) -> int | None:
        try:
            now = await lease.shared_clock(self._database, wall_ms)
            epoch = await lease.take(self._database, self._holder, now)
        except DatabaseTrouble as error:
            log.warning("the lease cannot be taken now", why=str(error))
            self._report_all(f"the database does not answer: {error}")
            return None
        if epoch is None:
            self._report_all(STANDING_BY)
        return epoch

    async def _refresh(self) -> None:
        """What the owner has heard, as far as its facts do not tell it."""
        await self._ledger.load_last_messages()
        try:
            self._feed.note_equipment(await self._store.refresh_latest())
        except StoreUnavailable as error:
            log.warning("newest values cannot be refreshed", why=str(error))

    async def _catch_up(self) -> None:
        """Know all that the last owner knew, before anything is decided."""
        await self._ledger.load()
        # Alarms do not wait for history, and the lease is not renewed meanwhile.
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(_CATCH_UP_S):
                await self._store.refresh_latest()

    async def _work(self, epoch: int) -> None:
        alarms = await self._make_alarms(epoch)
        if alarms is None:
            return
        tickets = Tickets(self._database, epoch, self._fact_metrics, self._clock)
        sweep = AttachmentSweep(self._database, self._attachments, epoch)
        retention = Retention(self._database, epoch, self._settings.retention, self._clock)
        broker = Broker(broker_address(self._settings), self._decoder.subscriptions, own=[BEAT_TOPIC])
        lookout = Lookout(self._settings, self._database, self._ledger, self._clock)
        collector = Collector(
            self._dated(broker), self._keeper, self._sequences, self._quarantine.keep, self._ingest_metrics,
            self._deciding(alarms, lookout), self._feed.note, self._decoder, self._ledger.hear,
            own={BEAT_TOPIC: self._watchdog.read}, babbling=await self._babbling(),
        )  # fmt: skip
        standing = await self._standing_notices()
        self._report(alarms, tickets, broker)
        self._watchdog.own()
        tick_s = self._settings.alarms.tick_s
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(broker.run(), name="broker")
                group.create_task(collector.run(), name="collector")
                group.create_task(tickets.follow_alarms(), name="tickets")
                group.create_task(alarms.follow_tickets(), name="alarms.tickets")
                group.create_task(alarms.suppressing.follow(), name="alarms.suppression")
                group.create_task(retention.run(), name="retention")
                group.create_task(keep_statistics_fresh(self._database), name="statistics")
                group.create_task(sweep.run(), name="attachments")
                group.create_task(_every(tick_s, alarms.tick), name="alarms.tick")
                group.create_task(_every(tick_s, tickets.tick), name="tickets.tick")
                group.create_task(_every(tick_s, self._noting_windows(epoch)), name="maintenance")
                group.create_task(_every(_LAST_MESSAGES_S, self._ledger.keep_last_messages), name="last_messages")
                group.create_task(_every(LOOK_S, self._beside_alarms("backups", self._backups.tick)), name="backups")
                way = partial(way_of_messages, broker, collector, self._buffer, alarms, self._feed)
                supervising = self._supervising(alarms, tickets, lookout, way, standing)
                group.create_task(_every(EVERY_S, supervising), name="self_supervision")
                group.create_task(_every(_BEAT_LOOK_S, self._beating(broker)), name="watchdog")
                group.create_task(_every(SEAL_S, self._beside_alarms("audit", self._sealing(epoch))), name="audit")
                group.create_task(_every(_RENEW_S, lambda: self._renew(epoch)), name="lease")
        finally:
            self._watchdog.stand_by()
            await broker.close()
            with contextlib.suppress(*DatabaseTrouble):  # it ends by itself
                await lease.release(self._database, epoch)

    def _dated(self, broker: Broker) -> Source:
        return DatedSource(broker, self._decoder, self._clock) if isinstance(self._clock, DataClock) else broker

    async def _babbling(self) -> Babbling:
        """Who sends too much; who did so when the last owner stopped is known."""
        try:
            standing = await still_babbling(self._database, self._ledger)
        except DatabaseTrouble as error:  # listening goes first: its alarm then waits for the next start
            log.warning("who babbled before is not known", why=str(error))
            standing = []
        limit, protected = self._settings.collect.messages_per_s, protected_fields(self._rules)
        return Babbling(limit, protected, event_of, standing, now=self._clock())

    async def _standing_notices(self) -> Collection[Notice]:
        """What is said of equipment already; what is not known is said once more, and changes nothing."""
        try:
            return await standing_notices(self._database)
        except DatabaseTrouble as error:
            log.warning("which notices stand is not known", why=str(error))
            return ()

    async def _make_alarms(self, epoch: int) -> Alarms | None:
        """Take up where the last owner left; None where the database does not let us, and all begins again."""
        window_ms = int(self._settings.alarms.late_window_s * 1000)
        alarms = Alarms(
            self._database, self._rules, window_ms, epoch, self._alarm_metrics, self._fact_metrics, self._failures,
            self._quarantine, self._clock, self._known_values, int(self._settings.alarms.chatter_quiet_s * 1000),
            lambda: self._ledger.estate,
        )  # fmt: skip
        try:
            await self._holding(epoch, self._catch_up())
            await self._holding(epoch, alarms.load())
        except DatabaseTrouble as error:
            log.warning("the alarms cannot be taken up now", why=str(error))
            self._report_all(f"the database does not answer: {error}")
            await asyncio.sleep(_WAIT_FOR_LEASE_S)
            return None
        return alarms

    async def _holding(self, epoch: int, work: Coroutine[Any, Any, None]) -> None:
        """Do what may take longer than the lease lives, and renew it meanwhile."""
        renewing = asyncio.create_task(_every(_RENEW_S, lambda: self._renew(epoch)), name="lease.meanwhile")
        try:
            await work
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    def _noting_windows(self, epoch: int) -> Callable[[], Awaitable[None]]:
        async def note() -> None:
            await note_turns(self._database, epoch, self._clock())

        return note

    def _sealing(self, epoch: int) -> Callable[[], Awaitable[None]]:
        self._sealer = None

        async def seal() -> None:
            if self._sealer is None:
                key, folder = open_key(key_file(self._settings)), checkpoints_folder(self._settings)
                self._sealer = Sealer(self._database, epoch, key, folder, self._settings.audit.kept_days, wall_ms)
            await self._sealer.tick()

        return seal

    def _beside_alarms(self, part: str, work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """Work without which alarms go on: whatever fails in it is told once, and tried again at the next turn."""
        told = ""

        async def guarded() -> None:
            nonlocal told
            try:
                await work()
            except lease.LeaseLost:
                raise
            except Exception as error:  # noqa: BLE001 - a fault in keeping the record must not end the watch
                why = f"{type(error).__name__}: {error}"
                if why != told:
                    log.error("a part beside the alarms fails; tried again", part=part, why=why)
                self._parts[part] = lambda: working(why)
            else:
                why = ""
                self._parts[part] = lambda: READY
            told = why

        return guarded

    def _known_values(self, site: str, equipment: str) -> dict[str, Value]:
        """What an equipment said before the start: conditions go by it until it speaks again."""
        if (site, equipment) in self._ledger.estate.retired:
            return {}
        item, table = self._ledger.equipment.get((site, equipment)), self._store.latest()
        latest = table.get((site, equipment)) if item is None else latest_of(item, table)
        return {} if latest is None else {name: entry.value for name, entry in latest.fields.items()}

    def _deciding(self, alarms: Alarms, lookout: Lookout) -> Callable[[Sequence[Reading]], Awaitable[None]]:
        async def decide(readings: Sequence[Reading]) -> None:
            lookout.note(readings)
            await self._ledger.meet(readings, self._clock())
            await alarms.decide(readings)
            self._watchdog.decided(reading for reading in readings[-2:] if reading.topic.kind is Kind.SYSTEM)

        return decide

    def _beating(self, broker: Broker) -> Callable[[], Awaitable[None]]:
        told, since = Code.OK, steady_s()

        async def beat() -> None:
            nonlocal told
            code = self._watchdog.finding().code
            if code is not told and steady_s() - since > self._watchdog.within_s:
                told = code
                if code is Code.OK:
                    log.info("alarms come through again")
                else:
                    log.error("no made-up alarm comes through; real ones may not either", code=code.value)
            if not self._watchdog.is_due:
                return
            if broker.connected:
                broker.publish(BEAT_TOPIC, self._watchdog.begin())
            else:
                self._watchdog.cut_off()

        return beat

    def _supervising(
        self,
        alarms: Alarms,
        tickets: Tickets,
        lookout: Lookout,
        way: Callable[[], dict[str, Value]],
        standing: Collection[Notice],
    ) -> Callable[[], Awaitable[None]]:
        around: dict[str, Value] = {}
        notices = EquipmentNotices(standing)
        supervision = SelfSupervision(
            self._settings.storage.data_dir,
            self._buffer,
            lambda: alarms.notice + tickets.notice,
            self._backups.findings,
            way,
            lambda: around,
            lambda: self._sealer.findings() if self._sealer else {},
        )

        async def supervise() -> None:
            around.clear()
            around.update(await lookout.findings())
            found = [supervision.look(self._clock())]
            found += await lookout.silence(listening=bool(found[0].fields["broker_reachable"]))
            found += notices.look(self._ledger.equipment.values(), self._ledger.last_messages, self._clock())
            await alarms.decide(found)
            self._feed.note(found)

        return supervise

    async def _renew(self, epoch: int) -> None:
        try:
            await lease.renew(self._database, epoch, await lease.shared_clock(self._database, wall_ms))
        except DatabaseTrouble as error:
            why = f"the database does not answer: {error}"
            self._parts["owner"] = lambda: why
            raise
        self._parts["owner"] = lambda: READY

    def _report(self, alarms: Alarms, tickets: Tickets, broker: Broker) -> None:
        self._parts["owner"] = lambda: READY
        self._parts["alarms"] = lambda: alarms.trouble or working(alarms.notice)
        self._parts["tickets"] = lambda: tickets.trouble or working(tickets.notice)
        self._parts["broker"] = lambda: broker.trouble or READY
        self._parts["audit"] = self._parts["backups"] = lambda: READY
        self._ingest_metrics.waiting.set_function(lambda: broker.waiting)
        self._ingest_metrics.connected.set_function(lambda: broker.connected)
        self._ingest_metrics.turned_away.set_function(lambda: self._ledger.turned_away)

    def _report_all(self, state: str) -> None:
        self._parts |= {name: lambda: state for name in _OWN_PARTS}


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do it again and again; a database in trouble is met again at the next turn."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except DatabaseTrouble as error:
            log.warning("a periodic check could not be made", why=str(error))
