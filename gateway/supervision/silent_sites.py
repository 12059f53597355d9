"""Whether a whole site is silent: its line is cut, or its gateway is off. Pure apart from its state.

Only time with a working connection counts: no site is silent while the broker is unreachable or the service is blocked.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Quality, Reading
from collectors.wire.topics import Topic
from gateway.equipment.ledger import PLATFORM, Equipment, Site

LINK: Final = "gengfu"
"""Code of the platform's entry on each site, under which it reports its own findings."""
_HELD_UP_S: Final = 30.0
"""Between two checks that are further apart the service was blocked."""
_REGULAR: Final = frozenset({Kind.ELEVATOR.value, Kind.PUMP.value, Kind.SENSOR.value})
"""Kinds that report by themselves. A fire panel or a patrol reader may be silent for days."""
_RETAINED: Final = int(Quality.RETAINED)
_NANOSECONDS: Final = 1_000_000


def link_of(site: Site) -> Equipment:
    """The platform's link to a site, as an entry of the ledger."""
    name = {"en": "Link to the site", "zh-CN": "现场通信"}
    return Equipment(site.code, LINK, Kind.SYSTEM.value, name)


def sites_that_report(equipment: Iterable[Equipment]) -> frozenset[str]:
    """Sites with adopted equipment of a kind that reports by itself; never the platform's own."""
    return frozenset(
        item.site for item in equipment if item.adopted and item.kind in _REGULAR and item.site != PLATFORM
    )


class SilentSites:
    """How long each site has been silent."""

    def __init__(self, limit_s: float) -> None:
        """A site is silent after `limit_s` seconds; 0: never."""
        self._limit_s = limit_s
        self._quiet_s: dict[str, float] = {}
        self._reported: set[str] = set()
        self._looked_at: float | None = None

    def hear(self, readings: Iterable[Reading]) -> None:
        """Note sites that have reported; retained messages do not count. Fast: called for every reading."""
        self._reported.update(
            {
                reading.topic.site
                for reading in readings
                if reading.topic.channel is not Channel.STATUS and not reading.quality & _RETAINED
            }
        )

    def look(self, expected: Iterable[str], listening: bool, steady_s: float, now: int) -> list[Reading]:
        """The state of each site, as readings.

        Args:
            expected: sites that should report.
            listening: whether the broker is connected.
            steady_s: seconds of a monotonic clock.
            now: epoch ms.

        Returns:
            A reading for each site that has reported, or has been silent for too long, since the start. The state of
            the others is not known yet; their last reading applies.
        """
        passed = self._passed(steady_s) if listening else 0.0
        reported, self._reported = self._reported, set()
        before = self._quiet_s
        self._quiet_s = {site: 0.0 if site in reported else before.get(site, 0.0) + passed for site in expected}
        if not self._limit_s:
            return []
        silent = {site: True for site, quiet_s in self._quiet_s.items() if quiet_s >= self._limit_s}
        active = {site: False for site in self._quiet_s if site in reported}
        return [_reading(site, is_silent, now) for site, is_silent in (silent | active).items()]

    def _passed(self, steady_s: float) -> float:
        before, self._looked_at = self._looked_at, steady_s
        passed = 0.0 if before is None else steady_s - before
        return passed if passed <= _HELD_UP_S else 0.0


def silent_in(readings: Iterable[Reading], sites: Mapping[str, Site]) -> list[Site]:
    """The silent sites among the readings."""
    codes = (reading.topic.site for reading in readings if reading.fields["site_silent"])
    return [sites[code] for code in codes if code in sites]


def _reading(site: str, is_silent: bool, now: int) -> Reading:
    topic = Topic(site, Kind.SYSTEM, LINK, Channel.TELEMETRY)
    return Reading(topic, {"site_silent": is_silent}, measured_at=now, received_at=now, key=now * _NANOSECONDS)
