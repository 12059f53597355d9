"""Tells listeners of floods, by site: how it stands, and what is folded under what. Looks as a level, each second."""

import asyncio
import time
from typing import Final

import structlog

from gateway.alarms.performance.flood_watch import floods_now
from gateway.alarms.performance.gauges import AlarmGauges
from gateway.api.alarms.performance import flood_bodies
from gateway.api.http.route import Services
from gateway.api.live.bodies import LiveFlood
from gateway.api.live.feed import LiveFeed
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.trouble_words import in_plain_words

log = structlog.get_logger(__name__)

_LOOK_S: Final = 1.0
_SHARE: Final = 9
"""A look that takes long is followed by a pause of so many times as long: floods must not take the database's time."""
_COUNT_EVERY: Final = 10
"""Looks between two counts of what stands."""


class LiveFloods:
    """Follows the floods of every position, in each process."""

    def __init__(self, services: Services, feed: LiveFeed) -> None:
        self._services = services
        self._feed = feed
        self._metrics = AlarmGauges(services.registry)
        self._told: dict[str, LiveFlood] = {}

    async def run(self) -> None:
        """Look, and tell what has changed, until cancelled."""
        looks = 0
        while True:
            before = time.monotonic()
            try:
                await self.look()
                if looks % _COUNT_EVERY == 0:
                    await self._metrics.look(self._services.database, self._services.clock())
            except DatabaseTrouble as error:
                log.warning("floods cannot be looked for now", why=in_plain_words(error), detail=str(error))
            looks += 1
            await asyncio.sleep(max(_LOOK_S, _SHARE * (time.monotonic() - before)))

    async def look(self) -> None:
        """Look once."""
        floods = await floods_now(self._services.database, self._services.duty, self._services.clock())
        self._metrics.note(floods)
        now = {body.site: LiveFlood(0, body.site, body) for body in flood_bodies(floods)}
        for site in self._told.keys() - now.keys():
            self._feed.note_flood(LiveFlood(0, site, None))
        for site, message in now.items():
            if self._told.get(site) != message:
                self._feed.note_flood(message)
        self._told = now
