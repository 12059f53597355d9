"""`gengfu collect`: only writes history; several collectors share the messages.

    broker --$share/GROUP/...--> collector 1 --> InfluxDB <-- collector 2 <--$share/GROUP/...-- broker
       '--------------------------> gengfu serve --no-history (decides alarms; reads InfluxDB)

Each collector has a name, and under it a session at the broker and a data folder: messages for a collector that died
wait for the one with the same name. Unreadable messages are only counted here, because the service quarantines them;
readings that the store refuses are quarantined here.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest

from collectors.collector import Collector, as_quarantined
from collectors.disk.damaged_files import kept_aside
from collectors.message_reader import Quarantined
from collectors.metrics import HistoryMetrics, IngestMetrics
from collectors.mqtt.broker import Broker
from collectors.mqtt.draining import DrainingBroker, end_session
from collectors.mqtt.in_hand import InHand
from collectors.payloads.samples import KEY_STEPS
from collectors.sequences import SequenceMemory
from collectors.timeseries.store import Refused, Store
from collectors.write_buffer import WriteBuffer
from gateway.component_metrics import ComponentStates, DamagedFiles
from gateway.ingest.collect_http import serving
from gateway.ingest.factory import (
    broker_address,
    forget_old,
    make_buffer,
    make_decoder,
    make_disk_space,
    make_store,
    watch_disk,
)
from gateway.process import stop_on_signals
from gateway.settings import Settings, SettingsError
from gateway.storage.database import Database
from gateway.storage.leadership.lease import FolderInUse, lock_folder
from gateway.storage.migrate import migrate
from gateway.storage.received.quarantine import Quarantine, newest_quarantined

log = structlog.get_logger(__name__)

FINISH_S: Final = 5.0
"""Seconds to finish the messages in progress at a stop; the broker sends the rest again."""
_LOOK_AGAIN_S: Final = 0.1
_SHOWN: Final = 100
_READY: Final = "ready"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class StoreNotShared(SettingsError):
    """The store in the settings is a file that only one process can use."""


class HistoryWriter:
    """One collector: made, started, run until stopped; stopped in the reverse order."""

    def __init__(
        self, settings: Settings, clock: Callable[[], int], retire: Callable[[str], None] | None = None
    ) -> None:
        """Describe the collector; `run` makes it.

        Args:
            settings: with a store that several processes share, else StoreNotShared is raised.
            clock: now, in epoch ms.
            retire: called with a line for each step of retirement: the collector takes the messages that wait for its
                name, and the broker deletes the session. None for a collector that is not retired.
        """
        if settings.history.store == "sqlite":
            raise StoreNotShared(
                'history.store is "sqlite", the service\'s own file: set history.store = "influxdb" and history.url, '
                "and history.write = false for gengfu serve"
            )
        self.address = ""
        self.folder = settings.storage.data_dir / f"collect-{settings.collect.name}"
        self._settings = settings
        self._clock = clock
        self._decoder = make_decoder(settings)
        self._registry = CollectorRegistry()
        self._metrics = IngestMetrics(self._registry)
        self._components: dict[str, Callable[[], str]] = {}
        ProcessCollector(registry=self._registry)  # memory, processor, open files
        self._registry.register(ComponentStates(self._states, _READY))
        self._stop = asyncio.Event()
        self._notify = retire
        self._is_retired = False

    async def run(self) -> None:
        """Run until `stop`, SIGTERM or SIGINT, or until it is retired. Raises fatal errors."""
        # One straight function: each line is a step of starting, the stack undoes them backwards.
        settings, folder = self._settings, self.folder
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(_locked(folder))
            disk = make_disk_space(settings, folder)
            disk.open()
            self._components["disk"] = lambda: disk.trouble
            database = Database(f"sqlite+aiosqlite:///{folder / 'quarantine.db'}", make_room=disk.make_room)
            stack.push_async_callback(database.close)
            await migrate(database, folder)
            store = make_store(settings, folder, disk)
            stack.push_async_callback(store.close)
            await store.open()
            sequences = SequenceMemory(folder / "sequences.db")
            stack.push_async_callback(sequences.close)
            await sequences.open()
            quarantine, history = Quarantine(database, self._registry), HistoryMetrics(self._registry)
            buffer = make_buffer(settings, folder, store, partial(_keep_refused, quarantine), history, disk)
            stack.push_async_callback(buffer.close)
            await buffer.open()
            broker = self._make_broker()
            in_hand = InHand(broker)
            collector = Collector(
                in_hand, buffer, sequences, _leave_to_the_service, self._metrics,
                decoder=self._decoder, first_arrival=_first_arrival(),
            )  # fmt: skip
            self._report(broker, buffer)
            await self._listen(stack, database)
            stop_on_signals(stack, self.stop)
            async with asyncio.TaskGroup() as group:  # a task that fails ends the collector, with its error
                tasks = [
                    group.create_task(broker.run(), name="broker"),
                    group.create_task(collector.run(), name="collector"),
                    group.create_task(buffer.run(), name="write_buffer"),
                    group.create_task(forget_old(store, settings.storage.history_days, self._clock), name="retention"),
                    group.create_task(watch_disk(disk), name="disk"),
                ]
                if isinstance(broker, DrainingBroker):
                    tasks.append(group.create_task(self._retire(broker, in_hand, buffer, store), name="retire"))
                await self._stop.wait()
                log.info("stopping")
                left = await in_hand.finish(FINISH_S)
                if left:
                    log.warning("not finished in time; the broker sends it again at the next start", messages=left)
                await broker.close()
                for task in tasks:
                    task.cancel()
            await self._end_retirement(broker)

    def stop(self) -> None:
        """Let the collector finish the messages in progress and end."""
        self._stop.set()

    def _make_broker(self) -> Broker:
        collect = self._settings.collect
        address = broker_address(self._settings)
        own = msgspec.structs.replace(address, client_id=f"{address.client_id}-collect-{collect.name}")
        topics = [f"$share/{collect.group}/{topic}" for topic in self._decoder.subscriptions]
        return Broker(own, topics) if self._notify is None else DrainingBroker(own, topics)

    # -- retirement --------------------------------------------------------------------------------------

    async def _retire(self, broker: DrainingBroker, in_hand: InHand, buffer: WriteBuffer, store: Store) -> None:
        """Process everything that the broker has assigned to this name."""
        await broker.settle()
        self._report_step(
            "The broker assigns no more messages to this name."
            if broker.found_session
            else "The broker has no session of this name (any more): nothing is waiting."
        )
        while True:
            await in_hand.emptied(broker)
            before = in_hand.taken
            await broker.settle()
            if in_hand.taken == before and not broker.waiting:
                break
        self._report_step(f"Taken from the broker and kept: {in_hand.taken} messages.")
        if buffer.waiting:
            self._report_step(f"Waiting until the store has all that is on disk: {buffer.waiting} readings or more.")
        while buffer.waiting:  # noqa: ASYNC110 - the same
            await asyncio.sleep(_LOOK_AGAIN_S)
        if await store.rollups_due():
            self._report_step("Waiting for the last rollups; a minute is rolled up when it is over.")
        while await store.rollups_due():  # noqa: ASYNC110 - the same
            await asyncio.sleep(_LOOK_AGAIN_S)
        self._is_retired = True
        self._stop.set()

    async def _end_retirement(self, broker: Broker) -> None:
        """The last step, when everything is stopped and no message can arrive."""
        if self._notify is None:
            return
        if not self._is_retired:
            self._report_step("Interrupted: nothing is lost. Run it again to go on; or start the collector as before.")
            return
        await end_session(broker.address, broker.subscriptions)
        self._report_step(
            f"Collector {self._settings.collect.name} is retired: the broker has forgotten it, its readings are in the "
            f"store. Of {self.folder} only quarantine.db, what the store refused, may still be wanted."
        )

    def _report_step(self, text: str) -> None:
        if self._notify is not None:
            self._notify(text)

    def _report(self, broker: Broker, buffer: WriteBuffer) -> None:
        self._components["broker"] = lambda: broker.trouble
        self._components["history"] = lambda: buffer.trouble
        self._registry.register(DamagedFiles(self.folder))
        self._metrics.waiting.set_function(lambda: broker.waiting)
        self._metrics.connected.set_function(lambda: broker.connected)

    # -- HTTP --------------------------------------------------------------------------------------

    async def _listen(self, stack: contextlib.AsyncExitStack, database: Database) -> None:
        collect = self._settings.collect
        app = web.Application()
        app.router.add_get("/healthz", _alive)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._show_metrics)
        if collect.http_host in _LOOPBACK:  # it holds device messages, and there is no login here
            app.router.add_get("/quarantine", _quarantine_of(database))
        app.on_response_prepare.append(_name_no_software)
        opened = serving(app, collect.http_host, collect.http_port, self._registry)
        port = await stack.enter_async_context(opened)
        self.address = f"http://{collect.http_host}:{port}"
        log.info("listening", address=self.address, name=collect.name)

    def _states(self) -> dict[str, str]:
        return {name: trouble() or _READY for name, trouble in self._components.items()}

    async def _ready(self, _request: web.Request) -> web.Response:
        components = self._states()
        ready = set(components.values()) == {_READY}
        notices = [
            f"{path} is damaged and was replaced: look at it, then remove it" for path in kept_aside(self.folder)
        ]
        return web.json_response(
            {"ready": ready, "components": components, "notices": notices}, status=200 if ready else 503
        )

    async def _show_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two processes under one name would keep taking over each other's session."""
    try:
        with lock_folder(folder):
            yield
    except FolderInUse as error:
        raise FolderInUse(f"{error}, or give this collector another name (--name)") from None


def _first_arrival() -> int:
    """First number of samples without a time: equal numbers of two collectors would merge two samples."""
    return random.randrange(KEY_STEPS)  # noqa: S311 - to be apart, no secret


async def _leave_to_the_service(_messages: Sequence[Quarantined]) -> None:
    """Unreadable messages: the collector has counted them, the service quarantines them."""


async def _keep_refused(quarantine: Quarantine, refused: Sequence[Refused]) -> None:
    log.warning("the store refuses readings", first=refused[0].why, readings=len(refused))
    await quarantine.keep(as_quarantined(refused))


async def _name_no_software(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall("Server", None)


async def _alive(_request: web.Request) -> web.Response:
    return web.json_response({"status": "alive"})


def _quarantine_of(database: Database) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        """The newest readings that the store refused."""
        rows = await newest_quarantined(database, None, _SHOWN)
        return web.json_response(
            {"items": [{**row, "payload": bytes(row["payload"]).decode("utf-8", "replace")} for row in rows]}
        )

    return answer
