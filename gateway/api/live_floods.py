"""Tells listeners of floods, by site: how it stands, and what is folded under what. Looks as a level, each second."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import structlog

from collectors.reading import to_datetime
from gateway.alarms.flood_watch import Flood, floods_now
from gateway.alarms.standing import StandingMetrics
from gateway.api.bodies import FloodBody, GroupBody, LiveFlood
from gateway.api.live_feed import LiveFeed
from gateway.api.routes import Services
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.plain_words import in_plain_words

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
        self._metrics = StandingMetrics(services.registry)
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


def flood_bodies(floods: Sequence[Flood]) -> list[FloodBody]:
    """Floods as they are shown: one for each site."""
    return [
        FloodBody(
            position=flood.position,
            site=site,
            since=to_datetime(flood.since),
            activations=flood.activations[site],  # another site's are not for everybody who watches this one
            groups=[GroupBody(group.cause, group.members) for group in groups],
        )
        for flood in floods
        for site, groups in flood.groups.items()
    ]
