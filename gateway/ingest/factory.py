"""Makes decoder, store and broker from the settings, for the service and for `gengfu collect`."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from collectors.disk.disk_space import LOOK_S, DiskSpace
from collectors.metrics import HistoryMetrics
from collectors.mqtt.broker import BrokerAddress
from collectors.payloads.format_by_topic import Decoder
from collectors.payloads.mapping import Defaults, load_mappings
from collectors.spool.spool import Spool
from collectors.timeseries.guarded import GuardedStore
from collectors.timeseries.influx.access import Access
from collectors.timeseries.influx.store import InfluxStore
from collectors.timeseries.sqlite.store import SqliteStore
from collectors.timeseries.store import Store, StoreUnavailable
from collectors.write_buffer import IsPaused, QuarantineRefused, WriteBuffer, never_paused
from gateway.settings import Settings

log = structlog.get_logger(__name__)

_ERASE_EVERY_S: Final = 3600.0
_MEGABYTE: Final = 1024 * 1024


def make_decoder(settings: Settings) -> Decoder:
    """The native payload and the mappings in use. Raises MappingError."""
    return Decoder(load_mappings(settings.collect.mappings, mapping_defaults(settings)))


def mapping_defaults(settings: Settings) -> Defaults:
    """Defaults of a mapping."""
    return Defaults(settings.collect.site, settings.equipment.time_zone)


def make_store(settings: Settings, folder: Path, disk: DiskSpace) -> Store:
    """The store of readings that the settings name.

    Args:
        settings: which store, and how it is reached.
        folder: the data folder of this process.
        disk: on which that folder is.
    """
    return GuardedStore(_make_store(settings, folder, disk))


def _make_store(settings: Settings, folder: Path, disk: DiskSpace) -> Store:
    history = settings.history
    if history.store == "sqlite":
        return SqliteStore(folder / "history.db", is_paused=lambda: disk.history_stopped)
    access = Access(
        url=history.url,
        bucket=history.bucket,
        org=history.org,
        token=history.token.get_secret_value(),
        username=history.username,
        password=history.password.get_secret_value(),
        gzip=history.gzip,
    )
    return InfluxStore(access, folder / "dirty-minutes.db", settings.storage.history_days)


def make_buffer(
    settings: Settings,
    folder: Path,
    store: Store,
    quarantine: QuarantineRefused,
    metrics: HistoryMetrics,
    disk: DiskSpace,
) -> WriteBuffer:
    """The buffer that makes readings durable, with its spool in the data folder of this process.

    A store that is a file in this folder is not written while the disk is almost full.
    """
    metrics.rollups.set_function(store.rollups_refused)
    spool = Spool(folder / "spool", settings.history.spool_mb * _MEGABYTE, metrics.lose, room=disk)
    return WriteBuffer(store, spool, quarantine, metrics, is_paused=history_pause(settings, disk))


def make_disk_space(settings: Settings, folder: Path) -> DiskSpace:
    """The disk of a data folder, with its reserves."""
    return DiskSpace(folder, settings.storage.reserve_mb * _MEGABYTE)


def history_pause(settings: Settings, disk: DiskSpace) -> IsPaused:
    """When history may not be written: never, where it is on another machine's disk."""
    return (lambda: disk.history_stopped) if settings.history.store == "sqlite" else never_paused


async def watch_disk(disk: DiskSpace) -> None:
    """Check the disk each second, until cancelled."""
    while True:
        await asyncio.sleep(LOOK_S)
        await asyncio.to_thread(disk.look)


def broker_address(settings: Settings) -> BrokerAddress:
    """The broker's settings as a `BrokerAddress`."""
    broker = settings.broker
    return BrokerAddress(**broker.model_dump(exclude={"password"}), password=broker.password.get_secret_value())


async def forget_old(store: Store, history_days: int, clock: Callable[[], int]) -> None:
    """Erase readings beyond the retention period, each hour, until cancelled."""
    kept_ms = history_days * 24 * 3600 * 1000
    while True:
        try:
            erased = await store.erase_before(clock() - kept_ms)
            log.debug("old readings erased", readings=erased)
        except StoreUnavailable as error:
            log.warning("old readings not erased; retry in an hour", why=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, alarms must not end with it
            log.error("old readings not erased; retry in an hour", why=repr(error))
        await asyncio.sleep(_ERASE_EVERY_S)
