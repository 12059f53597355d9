"""Which duty position responds to the alarms of which site, by the settings. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

CONTROL_ROOM: Final = "control room"
"""The position of every site that the settings do not assign."""


class DutyPositions:
    """Position -> its sites; all others are the control room's."""

    def __init__(self, positions: Mapping[str, Sequence[str]]) -> None:
        self._of = {site: position for position, sites in positions.items() for site in sites}

    def of(self, site: str) -> str:
        """The position that responds to the alarms of a site."""
        return self._of.get(site, CONTROL_ROOM)


ONE_DESK: Final = DutyPositions({})
"""One control room responds for all sites."""
