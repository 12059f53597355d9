"""Findings from incoming messages and the environment: clocks, silent sites, certificates, the message pipeline."""

import contextlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from collectors.collector import Collector
from collectors.disk.disk_space import DiskSpace
from collectors.disk.disk_states import DiskState
from collectors.mqtt.broker import Broker
from collectors.wire.reading import Reading, Value
from collectors.write_buffer import WriteBuffer
from gateway.alarms.alarms import Alarms
from gateway.api.live.feed import LiveFeed
from gateway.clocks import Clock, DataClock, steady_s, wall_ms
from gateway.component_states import working
from gateway.equipment.ledger import Ledger
from gateway.people.audit.entry import Cause, Via
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.database_errors import DatabaseTrouble
from gateway.supervision.certificates import days_left
from gateway.supervision.own_clock import OwnClock
from gateway.supervision.silent_sites import LINK, SilentSites, link_of, silent_in, sites_that_report

_MINUTE_S: Final = 60.0


class MessageMonitor:
    """Clocks, sites and certificates."""

    def __init__(self, settings: Settings, database: Database, ledger: Ledger, clock: Clock) -> None:
        """Begin to monitor; `clock` is the service's, the wall clock is checked as well.

        On the data's clock neither clocks nor silent sites are evaluated: both refer to the wall clock.
        """
        self._settings = settings
        self._database = database
        self._ledger = ledger
        self._clock = clock
        self._own_clock = None if isinstance(clock, DataClock) else OwnClock(wall_ms)
        self._sites = SilentSites(_MINUTE_S * settings.alarms.site_silent_min)

    def note(self, readings: Sequence[Reading]) -> None:
        """Record what devices have sent."""
        if self._own_clock is None:
            return
        self._own_clock.note(readings)
        self._sites.hear(readings)

    async def findings(self) -> dict[str, Value]:
        """Fields of the kind `system`, as far as they are known now."""
        found: dict[str, Value] = dict(days_left(self._settings, datetime.now(UTC)))
        if self._own_clock is None:
            return found
        found |= self._own_clock.findings()
        with contextlib.suppress(*DatabaseTrouble):  # /readyz shows this error
            found |= await self._own_clock.apart_from(self._database)
        return found

    async def silence(self, *, listening: bool) -> list[Reading]:
        """The state of each site; a silent one gets an entry in the ledger, so that its alarm has a name."""
        if self._own_clock is None:
            return []
        expected = sites_that_report(self._ledger.equipment.values())
        now = self._clock()
        found = self._sites.look(expected, listening, steady_s(), now)
        new = [site for site in silent_in(found, self._ledger.sites) if (site.code, LINK) not in self._ledger.equipment]
        if new:
            cause = Cause("system:supervision", Via.CLOCK)
            await self._ledger.enter([], [link_of(site) for site in new], cause, now)
        return found


def way_of_messages(
    broker: Broker, collector: Collector, buffer: WriteBuffer, alarms: Alarms, feed: LiveFeed
) -> dict[str, Value]:
    """The state of the message pipeline, from the broker to the decision and the page."""
    waiting_s = (time.time_ns() - broker.oldest_ns) / 1e9 if broker.waiting else 0.0
    return {
        "broker_reachable": broker.connected,
        "oldest_wait": round(max(waiting_s, collector.longest_judging_s(), 0.0), 1),
        "messages_waiting": float(broker.waiting),
        "history_behind": buffer.is_behind and not buffer.trouble,
        "decisions_waited": float(alarms.waited),
        "pages_dropped": float(feed.dropped),
    }


def space_on_disk(disk: DiskSpace) -> dict[str, Value]:
    """The state of the disk of the data folder."""
    return {"history_stopped": disk.state is not DiskState.NORMAL, "alarm_reserve_in_use": disk.reserve_in_use}


def disk_state(disk: DiskSpace) -> str:
    """The disk's state in `/readyz`: alarms work as long as there is a reserve."""
    return disk.trouble if disk.state is DiskState.EXHAUSTED else working(disk.trouble)
