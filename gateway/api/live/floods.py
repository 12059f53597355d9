"""Sends floods to listeners, by site, with their alarms grouped by cause. Polls the level each second."""

import asyncio
import time
from typing import Final

import structlog

from gateway.alarms.performance.alarm_gauges import AlarmGauges
from gateway.alarms.performance.flood_watch import floods_now
from gateway.api.alarms.performance import flood_bodies
from gateway.api.http.route import Services
from gateway.api.live.bodies import LiveFlood
from gateway.api.live.feed import LiveFeed
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.trouble_words import in_plain_words

log = structlog.get_logger(__name__)

_LOOK_S: Final = 1.0
_SHARE: Final = 9
"""The pause after a poll, as a multiple of its duration, so that floods do not load the database."""
_COUNT_EVERY: Final = 10
"""Polls between two counts of active alarms."""


class LiveFloods:
    """Follows the floods of every position, in each process."""

    def __init__(self, services: Services, feed: LiveFeed) -> None:
        self._services = services
        self._feed = feed
        self._metrics = AlarmGauges(services.registry)
        self._sent: dict[str, LiveFlood] = {}

    async def run(self) -> None:
        """Poll and send changes until cancelled."""
        looks = 0
        while True:
            before = time.monotonic()
            try:
                await self.look()
                if looks % _COUNT_EVERY == 0:
                    await self._metrics.look(self._services.database, self._services.clock())
            except DatabaseTrouble as error:
                log.warning("floods cannot be polled now", why=in_plain_words(error), detail=str(error))
            looks += 1
            await asyncio.sleep(max(_LOOK_S, _SHARE * (time.monotonic() - before)))

    async def look(self) -> None:
        """Poll once."""
        floods = await floods_now(self._services.database, self._services.duty, self._services.clock())
        self._metrics.note(floods)
        now = {body.site: LiveFlood(0, body.site, body) for body in flood_bodies(floods)}
        for site in self._sent.keys() - now.keys():
            self._feed.note_flood(LiveFlood(0, site, None))
        for site, message in now.items():
            if self._sent.get(site) != message:
                self._feed.note_flood(message)
        self._sent = now
