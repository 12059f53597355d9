"""Whether a whole site has fallen silent: its line is cut, or its gateway is off. Pure but for what it remembers.

Only time counts in which we listened: while the broker is away, or the service is held up, nobody is silent.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Quality, Reading
from collectors.wire.topics import Topic
from gateway.equipment.ledger import PLATFORM, Equipment, Site

LINK: Final = "gengfu"
"""Code under which the platform stands on each site: what it finds there is its own finding."""
_HELD_UP_S: Final = 30.0
"""Between two looks that are further apart the service did not listen."""
_REGULAR: Final = frozenset({Kind.ELEVATOR.value, Kind.PUMP.value, Kind.SENSOR.value})
"""Kinds that report by themselves. A fire panel or a guard's reader may rightly say nothing for days."""
_RETAINED: Final = int(Quality.RETAINED)
_NANOSECONDS: Final = 1_000_000


def link_of(site: Site) -> Equipment:
    """The platform's link to a site, as it stands in the ledger."""
    name = {"en": "Link to the site", "zh-CN": "现场通信"}
    return Equipment(site.code, LINK, Kind.SYSTEM.value, name)


def sites_that_report(equipment: Iterable[Equipment]) -> frozenset[str]:
    """Sites with adopted equipment of a kind that reports by itself; never the platform's own."""
    return frozenset(
        item.site for item in equipment if item.adopted and item.kind in _REGULAR and item.site != PLATFORM
    )


class SilentSites:
    """How long nothing has come from each site."""

    def __init__(self, limit_s: float) -> None:
        """Call a site silent after `limit_s` seconds; 0: never."""
        self._limit_s = limit_s
        self._quiet_s: dict[str, float] = {}
        self._heard: set[str] = set()
        self._looked_at: float | None = None

    def hear(self, readings: Iterable[Reading]) -> None:
        """Something has come, and not from the broker's own memory. Quick, for every reading comes by here."""
        self._heard.update(
            {
                reading.topic.site
                for reading in readings
                if reading.topic.channel is not Channel.STATUS and not reading.quality & _RETAINED
            }
        )

    def look(self, expected: Iterable[str], listening: bool, steady_s: float, now: int) -> list[Reading]:
        """What is known of each site, as readings.

        Args:
            expected: sites of which something should come.
            listening: whether the broker is connected.
            steady_s: seconds by a clock that nobody sets.
            now: epoch ms.

        Returns:
            A reading for each site that has spoken or has been silent for too long since the start: of the others
            nothing can be said yet, and what was said before stands.
        """
        passed = self._passed(steady_s) if listening else 0.0
        heard, self._heard = self._heard, set()
        before = self._quiet_s
        self._quiet_s = {site: 0.0 if site in heard else before.get(site, 0.0) + passed for site in expected}
        if not self._limit_s:
            return []
        silent = {site: True for site, quiet_s in self._quiet_s.items() if quiet_s >= self._limit_s}
        spoke = {site: False for site in self._quiet_s if site in heard}
        return [_reading(site, is_silent, now) for site, is_silent in (silent | spoke).items()]

    def _passed(self, steady_s: float) -> float:
        before, self._looked_at = self._looked_at, steady_s
        passed = 0.0 if before is None else steady_s - before
        return passed if passed <= _HELD_UP_S else 0.0


def silent_in(readings: Iterable[Reading], sites: Mapping[str, Site]) -> list[Site]:
    """The sites that these call silent."""
    codes = (reading.topic.site for reading in readings if reading.fields["site_silent"])
    return [sites[code] for code in codes if code in sites]


def _reading(site: str, is_silent: bool, now: int) -> Reading:
    topic = Topic(site, Kind.SYSTEM, LINK, Channel.TELEMETRY)
    return Reading(topic, {"site_silent": is_silent}, measured_at=now, received_at=now, key=now * _NANOSECONDS)
