"""Wiring in one place: the objects, their dependencies, and the order of start and stop."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector

from collectors.collector import as_quarantined
from collectors.disk.disk_states import DiskState
from collectors.metrics import HistoryMetrics
from collectors.sequences import SequenceMemory
from collectors.timeseries.discard_writer import DiscardWriter
from collectors.timeseries.store import Refused, Store
from gateway.alarms.built_in.synthetic_probe import SyntheticProbe, show_age
from gateway.alarms.performance.duty_positions import DutyPositions
from gateway.alarms.rules.files import load_rules
from gateway.alarms.whatif.rule_tests import RuleTests
from gateway.api.http.connections import limit_of, listening
from gateway.api.http.listening import entrance_of, require_administrator, require_safe_settings, tls_context
from gateway.api.http.route import Services
from gateway.api.http.server import make_app
from gateway.api.live.feed import LiveFeed
from gateway.api.live.floods import LiveFloods
from gateway.clocks import Clock, DataClock, claim_folder, name_of, wall_ms
from gateway.component_metrics import ComponentStates, DamagedFiles
from gateway.component_states import READY
from gateway.equipment.ledger import PLATFORM, Equipment, Ledger, Site
from gateway.equipment.topology import Link
from gateway.ingest.factory import forget_old, make_buffer, make_decoder, make_disk_space, make_store, watch_disk
from gateway.leader import Leader
from gateway.leader_duties import Resources
from gateway.people.approvals.rules import ApprovalRules, NotForTwo, read_rules
from gateway.people.audit.entry import Cause, Via
from gateway.people.authentication.secret_seal import CannotUnseal, SecretSeal, seal_file
from gateway.people.people import People, enter_demo_people, make_people
from gateway.process import stop_on_signals
from gateway.settings import Settings, SettingsError
from gateway.storage.database import Database
from gateway.storage.leadership import lease
from gateway.storage.migrate import migrate_when_there
from gateway.storage.outbox.outbox import newest_fact
from gateway.storage.received.last_events import newest_event_at
from gateway.storage.received.quarantine import Quarantine
from gateway.supervision.duties import Duties, Duty, every
from gateway.supervision.incoming_messages import disk_state
from gateway.supervision.lease_keeping import LeaseKeeper
from gateway.supervision.platform import CODE, platform
from gateway.tickets.attachments.files import AttachmentFiles

log = structlog.get_logger(__name__)

_FORGET_VALUES_S: Final = 30.0


def database_url(settings: Settings) -> str:
    """Address of the service's own database."""
    file = settings.storage.data_dir / "gengfu.db"
    return settings.storage.database_url.get_secret_value() or f"sqlite+aiosqlite:///{file}"


def web_app_folder() -> Path | None:
    """The built page: inside the wheel, or in the checkout after `make`."""
    inside = Path(str(files("gateway"))) / "web_app"
    checkout = Path(__file__).resolve().parent.parent / "web" / "dist"
    return next((folder for folder in (inside, checkout) if (folder / "index.html").is_file()), None)


def approval_rules(settings: Settings) -> ApprovalRules:
    """Permissions that need two people. Raises SettingsError for one that cannot."""
    try:
        return read_rules(settings.approval.permissions, settings.approval.hours)
    except NotForTwo as error:
        raise SettingsError(str(error)) from error


async def _quarantine_refused(quarantine: Quarantine, refused: Sequence[Refused]) -> None:
    await quarantine.keep(as_quarantined(refused))


async def _forget_unlisted(store: Store, ledger: Ledger) -> None:
    """Delete newest values of equipment beyond the limit of unknown ones, which cannot be shown."""
    store.forget_latest([who for who in store.latest() if who not in ledger.equipment])


class Application:
    """The service: made, started, run until stopped; stopped in the reverse order."""

    def __init__(
        self,
        settings: Settings,
        estate: tuple[Sequence[Site], Sequence[Equipment]] = ((), ()),
        clock: Clock = wall_ms,
        *,
        links: Sequence[Link] = (),
        demo: bool = False,
    ) -> None:
        require_safe_settings(settings.http)
        self.settings = settings
        self.address = ""
        self.registry = CollectorRegistry()
        self._demo = demo
        self._estate = estate
        self._links = links
        self._clock = clock
        self.duty = DutyPositions(settings.alarms.duty_positions)
        self._rules = load_rules(settings.alarms.rule_files)
        self._approval_rules = approval_rules(settings)
        self._decoder = make_decoder(settings)
        self._components: dict[str, Callable[[], str]] = {}
        self._watchdog = SyntheticProbe(settings.alarms.watchdog_s, wall_ms)
        show_age(self._watchdog, self.registry)
        ProcessCollector(registry=self.registry)  # memory, processor, open files
        self.registry.register(ComponentStates(self.components, READY))
        self.registry.register(DamagedFiles(settings.storage.data_dir))
        self._stop = asyncio.Event()
        self.started = asyncio.Event()

    async def run(self) -> None:
        """Run until `stop`, SIGTERM or SIGINT. Raises fatal errors."""
        # One straight function: each line is a step of starting, the stack undoes them backwards.
        settings, folder = self.settings, self.settings.storage.data_dir
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(lease.lock_folder(folder))
            claim_folder(folder, name_of(self._clock))
            disk = make_disk_space(settings, folder)
            disk.open()  # before anything is written: a start on a full disk needs the reserve
            database = Database(database_url(settings), make_room=disk.make_room)
            stack.push_async_callback(database.close)
            await migrate_when_there(database, folder)
            position = await newest_fact(database)  # before the ledger is read: later changes arrive as facts
            ledger = await self._open_ledger(database)
            store = make_store(settings, folder, disk)
            stack.push_async_callback(store.close)
            await store.open()
            await self._set_clock(store, database)
            sequences = SequenceMemory(folder / "sequences.db")
            stack.push_async_callback(sequences.close)
            await sequences.open()
            quarantine = Quarantine(database, self.registry, lambda: disk.state is not DiskState.NORMAL)
            history = HistoryMetrics(self.registry)
            buffer = make_buffer(settings, folder, store, partial(_quarantine_refused, quarantine), history, disk)
            stack.push_async_callback(buffer.close)
            await buffer.open()
            self._components["history"] = lambda: buffer.trouble or READY
            people = await self._open_people(stack, database)
            rule_tests = RuleTests(store, database, round(settings.alarms.late_window_s * 1000))
            stack.callback(rule_tests.close)
            attachments = AttachmentFiles(settings.storage.attachments, settings.http.upload_mb * 1024 * 1024)
            stack.callback(attachments.close)
            services = self._services(database, ledger, store, people, rule_tests, attachments)
            feed = LiveFeed(services)
            await self._listen(stack, services, feed)
            duties = Duties(self._components, self.registry)
            given = Resources(
                settings=settings, decoder=self._decoder, rules=self._rules, database=database, ledger=ledger,
                buffer=buffer, keeper=buffer if settings.history.write else DiscardWriter(store),
                quarantine=quarantine, store=store, sequences=sequences, feed=feed, clock=self._clock,
                watchdog=self._watchdog, attachments=attachments, lease=LeaseKeeper(database), duties=duties, disk=disk,
            )  # fmt: skip
            leader = Leader(given, self._components, self.registry)
            floods = LiveFloods(services, feed)
            stop_on_signals(stack, self.stop)
            everything = [
                Duty("leadership", leader.run, True),
                Duty("disk", partial(watch_disk, disk), False, partial(disk_state, disk)),
                Duty("other_commits", database.follow_other_commits, False),
                Duty("live_feed", partial(feed.run, position), False),
                Duty("live_floods", floods.run, False),
                Duty("write_buffer", buffer.run, False),
                Duty("logins", partial(people.logins.run, wall_ms), False),
                Duty("throttle", partial(people.throttle.run, wall_ms), False),
                Duty("approvals", partial(people.approvals.run, wall_ms), False),
                *self._forgetting(store, ledger),
            ]
            await self._carry_out(duties, everything, leader)

    async def _carry_out(self, duties: Duties, everything: Sequence[Duty], leader: Leader) -> None:
        """Work until `stop`. A vital duty that fails ends the service, with its error."""
        async with asyncio.TaskGroup() as group:
            working = group.create_task(duties.carry_out(everything), name="duties")
            self.started.set()
            await self._stop.wait()
            log.info("stopping")
            await leader.finish()
            working.cancel()

    def _forgetting(self, store: Store, ledger: Ledger) -> list[Duty]:
        """The process that writes the history also erases old readings."""
        values = every(_FORGET_VALUES_S, partial(_forget_unlisted, store, ledger))
        erase = partial(forget_old, store, self.settings.storage.history_days, self._clock)
        erasing = [Duty("history_erasing", erase, False)] if self.settings.history.write else []
        return [Duty("newest_values", values, False), *erasing]

    def stop(self) -> None:
        """Stop the service in order."""
        self._stop.set()

    def components(self) -> dict[str, str]:
        """Each component and "ready", or what it waits for."""
        return {name: state() for name, state in self._components.items()}

    async def _set_clock(self, store: Store, database: Database) -> None:
        """On the data's clock the service continues at the newest time in the data."""
        if isinstance(self._clock, DataClock):
            self._clock.see(await newest_event_at(database))
            for latest in store.latest().values():
                self._clock.see(max((value.at for value in latest.fields.values()), default=0))
            log.warning("the clock runs on the data: for tests and studies, never to watch a building")

    async def _open_ledger(self, database: Database) -> Ledger:
        equipment = self.settings.equipment
        ledger = Ledger(database, equipment.unknown_limit, equipment.time_zone)
        await ledger.load()
        if self._estate[0]:
            await ledger.enter(*self._estate, Cause("system:demo", Via.CLOCK), self._clock())
        for link in self._links:
            await ledger.links.link(link, Cause("system:demo", Via.CLOCK), self._clock())
        if (PLATFORM, CODE) not in ledger.equipment:
            site, itself = platform(equipment.time_zone)
            await ledger.enter([site], [itself], Cause("system:start", Via.CLOCK), self._clock())
        return ledger

    def _services(
        self,
        database: Database,
        ledger: Ledger,
        store: Store,
        people: People,
        rule_tests: RuleTests,
        attachments: AttachmentFiles,
    ) -> Services:
        return Services(
            database, ledger, store, people, self.registry, self.components, self._clock, self._watchdog, rule_tests,
            attachments, longest_shelves=self.settings.alarms.longest_shelves_ms, rules=self._rules, duty=self.duty,
            longest_maintenance_ms=round(self.settings.alarms.max_maintenance_hours * 3_600_000),
        )  # fmt: skip

    async def _open_people(self, stack: contextlib.AsyncExitStack, database: Database) -> People:
        people = make_people(
            database, self.settings.people.password_length, SecretSeal(seal_file(self.settings)), demo=self._demo,
            approval_rules=self._approval_rules,
        )  # fmt: skip
        stack.callback(people.hashes.close)
        await people.hashes.open()
        try:
            await people.second_factors.seal_plain()
        except CannotUnseal as error:  # alarms continue without it
            log.error("second factors are not encrypted in the database", why=str(error))
        if self._demo:
            await enter_demo_people(people, wall_ms())
        await people.accounts.refresh()
        require_administrator(self.settings.http, await people.accounts.administrators())
        if not people.accounts.present:
            log.warning("no accounts yet: every user of this machine has all permissions; see gengfu user add --help")
        return people

    async def _listen(self, stack: contextlib.AsyncExitStack, services: Services, feed: LiveFeed) -> None:
        http = self.settings.http
        entrance = entrance_of(http, demo=self._demo)
        app = make_app(services, feed, web_app_folder(), entrance)
        tls, limit = tls_context(http), limit_of(entrance, http.connections_per_address, self.registry)
        port = await stack.enter_async_context(listening(app, http.host, http.port, tls, limit))
        self.address = f"http{'s' if tls else ''}://{http.host}:{port}"
        log.info("listening", address=self.address)
