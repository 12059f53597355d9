"""The leader's duties while it holds the lease, as one list.

A further duty (escalation, rounds, notifications, drills) is one more line in `LeaderDuties.duties`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec
import structlog
from prometheus_client import CollectorRegistry

from collectors.babbling import Babbling
from collectors.collector import Collector, Keeper, Source
from collectors.device_clocks import DeviceClocks, is_life
from collectors.disk.disk_space import DiskSpace
from collectors.metrics import IngestMetrics
from collectors.mqtt.broker import Broker
from collectors.mqtt.in_hand import InHand
from collectors.mqtt.message import Message
from collectors.payloads.format_by_topic import Decoder, Route
from collectors.payloads.samples import Decoded
from collectors.sequences import SequenceMemory
from collectors.timeseries.store import Store
from collectors.unread_topics import UnreadTopics
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading, Value
from collectors.wire.topics import Topic
from collectors.write_buffer import WriteBuffer
from gateway.alarms.alarm_counters import AlarmCounters
from gateway.alarms.alarms import Alarms
from gateway.alarms.built_in.doubtful_clocks import clock_event, still_doubtful
from gateway.alarms.built_in.rule_failures import Failures
from gateway.alarms.built_in.synthetic_probe import PROBE_TOPIC, SyntheticProbe
from gateway.alarms.built_in.unmapped import UnmappedAlarms
from gateway.alarms.built_in.unreadable import UnreadableMessages
from gateway.alarms.estate.equipment_notices import EquipmentNotices, standing_notices
from gateway.alarms.evaluation.progress import Backlog
from gateway.alarms.rules.rule import Rule
from gateway.alarms.suppression.maintenance_windows import note_turns
from gateway.api.live.feed import LiveFeed
from gateway.backup.regular import LOOK_S, RegularBackups
from gateway.clocks import Clock, DataClock, wall_ms
from gateway.component_states import READY, working
from gateway.equipment.latest import latest_of
from gateway.equipment.ledger import PLATFORM, Ledger
from gateway.ingest.dated_source import DataTime, DatedSource, judged_before
from gateway.ingest.factory import broker_address
from gateway.people.audit.head import head_file
from gateway.people.audit.key import checkpoints_folder, key_file, open_key
from gateway.people.audit.sealer import SEAL_S, RecordNotKept, Sealer
from gateway.retention.retention import Retention
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.outbox.outbox import OutboxMetrics
from gateway.storage.queries.statistics import keep_statistics_fresh
from gateway.storage.received.quarantine import Quarantine
from gateway.storage.received.unread_topics import UnreadTopicsTable
from gateway.storage.trouble_words import in_plain_words
from gateway.supervision import probe_sender as watchdog_beat
from gateway.supervision.duties import Duties, Duty, always_ready, every
from gateway.supervision.incoming_messages import MessageMonitor, space_on_disk, way_of_messages
from gateway.supervision.lease_keeping import LeaseKeeper
from gateway.supervision.message_rates import event_of, protected_fields, still_babbling
from gateway.supervision.platform import CODE, EVERY_S, SelfSupervision
from gateway.tickets.attachments.attachments import AttachmentSweep
from gateway.tickets.attachments.files import AttachmentFiles
from gateway.tickets.incident_place import Scope
from gateway.tickets.tickets import Tickets

log = structlog.get_logger(__name__)

_UNREAD_TOPICS_S: Final = 5.0
_LAST_MESSAGES_S: Final = 5.0
_FAILING_LOOK_S: Final = 1.0
_ITSELF: Final = Topic(PLATFORM, Kind.SYSTEM, CODE, Channel.TELEMETRY)
_NS_PER_MS: Final = 1_000_000
_WAITING: Final = frozenset({"oldest_wait", "messages_waiting", "history_behind"})


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """Resources of the leader; made once, and shared with the HTTP server."""

    settings: Settings
    decoder: Decoder
    rules: Sequence[Rule]
    database: Database
    ledger: Ledger
    buffer: WriteBuffer
    keeper: Keeper
    quarantine: Quarantine
    store: Store
    sequences: SequenceMemory
    feed: LiveFeed
    clock: Clock
    watchdog: SyntheticProbe
    attachments: AttachmentFiles
    lease: LeaseKeeper
    duties: Duties
    disk: DiskSpace


class LeaderMetrics:
    """Metrics of the leader over all its epochs."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self.ingest = IngestMetrics(registry)
        self.alarms = AlarmCounters(registry)
        self.facts = OutboxMetrics(registry)
        self.failures = Failures(registry, clock)


class LeaderDuties:
    """The leader's duties in one epoch."""

    def __init__(
        self,
        given: Resources,
        metrics: LeaderMetrics,
        alarms: Alarms,
        epoch: int,
        backups: RegularBackups,
        babbling: Babbling,
        clocks: DeviceClocks,
        notices: EquipmentNotices,
    ) -> None:
        settings, database, clock = given.settings, given.database, given.clock
        self._given = given
        self._alarms = alarms
        self._epoch = epoch
        self._backups = backups
        self._notices = notices
        self._tickets = Tickets(database, epoch, metrics.facts, clock, Scope(settings.tickets.incident_scope))
        self._sweep = AttachmentSweep(database, given.attachments, epoch)
        self._retention = Retention(database, epoch, settings.retention, clock)
        self._lookout = MessageMonitor(settings, database, given.ledger, clock)
        self.broker = Broker(
            broker_address(settings), given.decoder.subscriptions, own=[PROBE_TOPIC], may_connect=given.lease.holds
        )
        unread = UnreadTopics()
        self._unread_topics = UnreadTopicsTable(database, unread)
        self._unreadable = UnreadableMessages(given.rules, partial(known_values, given))
        self._unmapped = UnmappedAlarms()
        self._in_hand = InHand(self._source())
        self._collector = Collector(
            self._in_hand, given.keeper, given.sequences, given.quarantine.keep, metrics.ingest, self._decide,
            given.feed.note, given.decoder, given.ledger.hear, own={PROBE_TOPIC: given.watchdog.read},
            babbling=babbling, clocks=clocks, inspect=self._inspect, unread=unread,
            address=given.ledger.address_of,
        )  # fmt: skip
        self._data_time: DataTime | None = None
        if isinstance(clock, DataClock):
            self._data_time = DataTime(clock, self._tickets.catch_up, alarms.tick)
        self.progress = (
            Backlog(self._oldest_unjudged_ms, lambda: self.broker.connected).look
            if self._data_time is None
            else judged_before
        )
        self._probes = watchdog_beat.ProbeSender(given.watchdog, self.broker)
        self._supervision = self._self_supervision()
        self._around: dict[str, Value] = {}
        self._sealer: Sealer | None = None
        self._failing_reported: bool | None = None
        self._ingest_metrics = metrics.ingest
        self._measure(metrics.ingest)

    def duties(self) -> list[Duty]:
        """Name, coroutine, whether its failure ends the process, and its state in `/readyz`."""
        given, alarms, tickets, broker = self._given, self._alarms, self._tickets, self.broker
        tick_s = given.settings.alarms.tick_s
        return [
            Duty("leader", given.lease.keep, True, lambda: given.lease.state),
            Duty("broker", broker.run, True, lambda: broker.trouble or READY),
            Duty("collector", self._collector.run, True),
            Duty("alarms", every(tick_s, alarms.tick), True, lambda: alarms.trouble or working(alarms.notice)),
            Duty("tickets", tickets.follow_alarms, True, lambda: tickets.trouble or working(tickets.notice)),
            Duty("alarms.tickets", alarms.follow_tickets, False),
            Duty("alarms.suppression", alarms.suppressor.follow, False),
            Duty("tickets.tick", every(tick_s, tickets.tick), False),
            Duty("maintenance", every(tick_s, self._note_windows), False),
            Duty("watchdog", every(watchdog_beat.LOOK_S, self._probes.turn), False),
            Duty("self_supervision", every(EVERY_S, self._supervise), False),
            Duty("failing_duties", every(_FAILING_LOOK_S, self._report_failing), False),
            Duty("unread_topics", every(_UNREAD_TOPICS_S, self._keep_unread_topics), False),
            Duty("last_messages", every(_LAST_MESSAGES_S, given.ledger.keep_last_messages), False),
            Duty("audit", every(SEAL_S, self._seal), False, always_ready),
            Duty("backups", every(LOOK_S, self._backups.tick), False, always_ready),
            Duty("retention", self._retention.run, False),
            Duty("statistics", partial(keep_statistics_fresh, given.database), False),
            Duty("attachments", self._sweep.run, False),
        ]

    async def finish(self, within_s: float) -> int:
        """Take no more messages; return how many are unfinished after that time."""
        return await self._in_hand.finish(within_s)

    def _oldest_unjudged_ms(self) -> int:
        """When the oldest message that is not evaluated yet was received, in epoch ms; 0 if there is none."""
        waiting = [ns for ns in (self._collector.oldest_unjudged_ns, self.broker.oldest_ns) if ns]
        return min(waiting, default=0) // _NS_PER_MS

    def _source(self) -> Source:
        given = self._given
        return (
            DatedSource(self.broker, given.decoder, given.clock) if isinstance(given.clock, DataClock) else self.broker
        )

    def _measure(self, metrics: IngestMetrics) -> None:
        metrics.waiting.set_function(lambda: self.broker.waiting)
        metrics.connected.set_function(lambda: self.broker.connected)

    async def _decide(self, readings: Sequence[Reading]) -> None:
        given = self._given
        if self._data_time is not None:
            await self._data_time.reach(readings)
        self._lookout.note(readings)
        rejected = given.ledger.rejected
        await given.ledger.meet(readings, given.clock())
        self._ingest_metrics.rejected.inc(given.ledger.rejected - rejected)
        await self._alarms.decide(readings)
        note_events(given.store, given.feed, readings)
        given.watchdog.decided(reading for reading in readings[-2:] if reading.topic.kind is Kind.SYSTEM)

    def _inspect(self, message: Message, route: Route, decoded: Decoded) -> list[Reading]:
        """Readings for alarms about a message that cannot be read completely."""
        found = self._unreadable.look(message, route, decoded) + self._unmapped.look(message, route, decoded)
        self._given.ledger.address(found)
        return found

    async def _keep_unread_topics(self) -> None:
        await self._unread_topics.keep(wall_ms())

    async def _note_windows(self) -> None:
        await note_turns(self._given.database, self._epoch, self._given.clock())

    async def _seal(self) -> None:
        if self._sealer is None:
            settings = self._given.settings
            key, folder = open_key(key_file(settings)), checkpoints_folder(settings)
            head, kept_days = head_file(settings), settings.audit.kept_days
            self._sealer = Sealer(self._given.database, self._epoch, key, folder, head, kept_days, wall_ms)
        await self._sealer.tick()
        if self._sealer.trouble:
            raise RecordNotKept(self._sealer.trouble)

    # -- the platform itself -----------------------------------------------------------------------------------------

    def _self_supervision(self) -> SelfSupervision:
        given, alarms, tickets = self._given, self._alarms, self._tickets
        return SelfSupervision(
            given.settings.storage.data_dir,
            given.buffer,
            lambda: alarms.notice + tickets.notice,
            partial(space_on_disk, given.disk),
            self._backups.findings,
            self._way_of_messages,
            lambda: self._around,
            lambda: self._sealer.findings() if self._sealer else {},
        )

    @property
    def _is_before_all_data(self) -> bool:
        """Whether the data's clock still shows 1970, before the first data."""
        return self._data_time is not None and not self._given.clock()

    def _way_of_messages(self) -> dict[str, Value]:
        given = self._given
        found = way_of_messages(self.broker, self._collector, given.buffer, self._alarms, given.feed)
        # A replay at full speed always has waiting messages: by the data's clock none waits.
        return found if self._data_time is None else {name: found[name] for name in found.keys() - _WAITING}

    async def _supervise(self) -> None:
        if self._is_before_all_data:
            return
        self._around = await self._lookout.findings()
        ledger, now = self._given.ledger, self._given.clock()
        found = [self._supervision.look(now)]
        found += await self._lookout.silence(listening=bool(found[0].fields["broker_reachable"]))
        found += self._notices.look(ledger.equipment.values(), ledger.last_messages, now)
        await self._alarms.decide(found)
        self._given.feed.note(found)

    async def _report_failing(self) -> None:
        """Raise or end the alarm of restarting duties; a separate duty, as self-supervision may fail."""
        failing = bool(self._given.duties.failing)
        if failing is self._failing_reported or self._is_before_all_data:
            return
        now = self._given.clock()
        reading = Reading(_ITSELF, {"part_failing": failing}, now, now, now * _NS_PER_MS)
        await self._alarms.decide([reading])
        self._given.feed.note([reading])
        self._failing_reported = failing


def note_events(store: Store, feed: LiveFeed, readings: Sequence[Reading]) -> None:
    """Count events for when an equipment was last seen; they are stored by now."""
    events = [one for one in readings if one.topic.channel is Channel.EVENT and one.digest and is_life(one)]
    for one in events:
        store.note_received((one.topic.site, one.topic.equipment), one.topic.kind.value, one.received_at)
    feed.note(events)


def known_values(given: Resources, site: str, equipment: str) -> dict[str, Value]:
    """Newest values of an equipment from before the start: conditions use them until it reports again."""
    item, table = given.ledger.find(site, equipment), given.store.latest()
    if item is not None and item.retired_at is not None:
        return {}
    latest = table.get((site, equipment)) if item is None else latest_of(item, table)
    return {} if latest is None else {name: entry.value for name, entry in latest.fields.items()}


async def known_babbling(given: Resources) -> Babbling:
    """Detection of devices that send too much, with those known to the previous leader."""
    try:
        standing = await still_babbling(given.database, given.ledger)
    except DatabaseTrouble as error:  # receiving has priority: the alarm then ends after the next start
        log.warning("the known babbling devices cannot be read", why=in_plain_words(error), detail=str(error))
        standing = []
    limit, protected = given.settings.collect.messages_per_s, protected_fields(given.rules)
    return Babbling(limit, protected, event_of, standing, now=given.clock())


async def known_doubtful_clocks(given: Resources) -> DeviceClocks:
    """Detection of doubtful clocks, with those known to the previous leader."""
    try:
        standing = await still_doubtful(given.database)
    except DatabaseTrouble as error:  # receiving has priority: the alarm then ends after the next start
        log.warning("the known doubtful clocks cannot be read", why=in_plain_words(error), detail=str(error))
        standing = []
    return DeviceClocks(clock_event, standing)


async def known_notices(given: Resources) -> EquipmentNotices:
    """Notices about equipment, with those known to the previous leader."""
    try:
        return EquipmentNotices(await standing_notices(given.database))
    except DatabaseTrouble as error:  # raised once more, it changes nothing
        log.warning("the active notices cannot be read", why=in_plain_words(error), detail=str(error))
        return EquipmentNotices()
