"""What only the owner of the alarms does, for as long as the lease holds: listen, decide, open tickets."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from collectors.broker import Broker, BrokerAddress
from collectors.collector import Announce, Collector, Quarantined, Source
from collectors.metrics import IngestMetrics
from collectors.payloads.decoder import Decoder
from collectors.reading import Reading, Value
from collectors.sequences import SequenceMemory
from collectors.timeseries.store import Latest
from collectors.write_buffer import WriteBuffer
from gateway.alarms.alarms import AlarmMetrics, Alarms
from gateway.alarms.rules import Rule
from gateway.api.platform_routes import READY
from gateway.clocks import Clock, DataClock, wall_ms
from gateway.dated_source import DatedSource
from gateway.equipment.ledger import Ledger
from gateway.self_supervision import EVERY_S, SelfSupervision
from gateway.settings import Settings
from gateway.storage import lease
from gateway.storage.database import Database, DatabaseTrouble
from gateway.storage.quarantine import keep_quarantined
from gateway.tickets.tickets import Tickets

log = structlog.get_logger(__name__)

_RENEW_S: Final = lease.LIFETIME_MS / 3000
_WAIT_FOR_LEASE_S: Final = 1.0
_RETRY_S: Final = 1.0
_LAST_MESSAGES_S: Final = 5.0


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
        latest: Mapping[tuple[str, str], Latest],
        sequences: SequenceMemory,
        announce: Announce,
        parts: dict[str, Callable[[], str]],
        registry: CollectorRegistry,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._decoder = decoder
        self._rules = rules
        self._database = database
        self._ledger = ledger
        self._buffer = buffer
        self._latest = latest
        self._sequences = sequences
        self._announce = announce
        self._parts = parts
        self._clock = clock
        self._ingest_metrics = IngestMetrics(registry)
        self._alarm_metrics = AlarmMetrics(registry)
        # All of them from the start: a part that is not there yet must not look like one that works.
        self._parts |= {name: lambda: "starting" for name in ("owner", "alarms", "tickets", "broker")}

    async def run(self) -> None:
        """Own the alarms whenever they are free, until cancelled."""
        holder = self._holder()
        while True:
            epoch = await self._take_lease(holder)
            if epoch is None:
                await asyncio.sleep(_WAIT_FOR_LEASE_S)
                continue
            self._parts["owner"] = lambda: READY
            try:
                await self._work(epoch)
            except* lease.LeaseLost as lost:
                log.error("the alarms went to another process", why=str(lost.exceptions[0]))
                self._parts["owner"] = lambda: "another process owns the alarms"

    def _holder(self) -> str:
        """On SQLite whoever holds the folder's lock is the owner, and need not wait for the last one's lease to end."""
        return "folder" if self._database.is_sqlite else f"{socket.gethostname()}:{os.getpid()}"

    async def _take_lease(self, holder: str) -> int | None:
        try:
            return await lease.take(self._database, holder, wall_ms())
        except DatabaseTrouble as error:
            log.warning("the lease cannot be taken now", why=str(error))
            return None

    async def _work(self, epoch: int) -> None:
        alarms = await self._make_alarms(epoch)
        tickets = Tickets(self._database, epoch, self._clock)
        broker = Broker(broker_address(self._settings), self._decoder.subscriptions)
        collector = Collector(
            self._dated(broker), self._buffer, self._sequences, self._keep_aside, self._ingest_metrics,
            self._deciding(alarms), self._announce, self._decoder, self._ledger.hear,
        )  # fmt: skip
        self._report(alarms, tickets, broker)
        tick_s = self._settings.alarms.tick_s
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(broker.run(), name="broker")
                group.create_task(collector.run(), name="collector")
                group.create_task(tickets.follow_alarms(), name="tickets")
                group.create_task(alarms.follow_tickets(), name="alarms.tickets")
                group.create_task(_every(tick_s, alarms.tick), name="alarms.tick")
                group.create_task(_every(tick_s, tickets.tick), name="tickets.tick")
                group.create_task(_every(_LAST_MESSAGES_S, self._ledger.keep_last_messages), name="last_messages")
                group.create_task(_every(EVERY_S, self._supervising(alarms)), name="self_supervision")
                group.create_task(_every(_RENEW_S, lambda: self._renew(epoch)), name="lease")
        finally:
            await broker.close()
            with contextlib.suppress(*DatabaseTrouble):  # it ends by itself
                await lease.release(self._database, epoch)

    def _dated(self, broker: Broker) -> Source:
        return DatedSource(broker, self._decoder, self._clock) if isinstance(self._clock, DataClock) else broker

    async def _make_alarms(self, epoch: int) -> Alarms:
        window_ms = int(self._settings.alarms.late_window_s * 1000)
        alarms = Alarms(
            self._database, self._rules, window_ms, epoch, self._alarm_metrics, self._clock, self._known_values
        )
        await alarms.load()
        return alarms

    def _known_values(self, site: str, equipment: str) -> dict[str, Value]:
        """What an equipment said before the start: conditions go by it until it speaks again."""
        latest = self._latest.get((site, equipment))
        return {} if latest is None else {name: entry.value for name, entry in latest.fields.items()}

    def _deciding(self, alarms: Alarms) -> Callable[[Sequence[Reading]], Awaitable[None]]:
        async def decide(readings: Sequence[Reading]) -> None:
            await self._ledger.meet(readings, self._clock())
            await alarms.decide(readings)

        return decide

    def _supervising(self, alarms: Alarms) -> Callable[[], Awaitable[None]]:
        supervision = SelfSupervision(self._settings.storage.data_dir, self._buffer)

        async def supervise() -> None:
            found = [supervision.look(self._clock())]
            await alarms.decide(found)
            self._announce(found)

        return supervise

    async def _keep_aside(self, messages: Sequence[Quarantined]) -> None:
        await keep_quarantined(self._database, messages)

    async def _renew(self, epoch: int) -> None:
        await lease.renew(self._database, epoch, wall_ms())

    def _report(self, alarms: Alarms, tickets: Tickets, broker: Broker) -> None:
        self._parts["alarms"] = lambda: alarms.trouble or READY
        self._parts["tickets"] = lambda: tickets.trouble or READY
        self._parts["broker"] = lambda: broker.trouble or READY
        self._ingest_metrics.waiting.set_function(lambda: broker.waiting)
        self._ingest_metrics.connected.set_function(lambda: broker.connected)
        self._ingest_metrics.turned_away.set_function(lambda: self._ledger.turned_away)


def broker_address(settings: Settings) -> BrokerAddress:
    """The broker's settings as the collector wants them."""
    broker = settings.broker
    return BrokerAddress(**broker.model_dump(exclude={"password"}), password=broker.password.get_secret_value())


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do it again and again; a database in trouble is met again at the next turn."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except DatabaseTrouble as error:
            log.warning("a periodic check could not be made", why=str(error))
