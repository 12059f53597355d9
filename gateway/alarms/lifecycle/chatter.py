"""Chatter: an alarm that comes and goes faster than anybody can act, and the delay that would keep it quiet. Pure.

Every activation stays one and is counted. What is damped is its return: while a key chatters its alarm stays as it is,
active, so that nobody hears the same thing again and again; it returns when it has been quiet for a set time. Nothing
that is real is hidden: what is damped stands in the list all the time. Life safety is never damped.
"""

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

CHATTER: Final = 3
"""Activations of one key within a minute (Hollifield & Habibi's starting criterion, in use by the trade)."""
WITHIN_MS: Final = 60_000
_OFF_DELAYS_S: Final = (1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600)
"""Delays that a person would write."""
_HELPS: Final = 0.5
"""A delay is proposed when it leaves at most this share of the activations."""


class OffDelay(msgspec.Struct, frozen=True):
    """A longer off-delay, and how many activations would have been left of those it was worked out from."""

    seconds: int
    activations: int
    would_have_been: int


def proposed_off_delay(active: Sequence[tuple[int, int | None]]) -> OffDelay | None:
    """The delay by which most is won for the least waiting; None where none of at most ten minutes halves them.

    Args:
        active: when the key became active and when it ended (epoch ms), oldest first; None: it still stands.
    """
    pauses = [begins - ended for (_, ended), (begins, _) in pairwise(active) if ended is not None]
    best: OffDelay | None = None
    for seconds in _OFF_DELAYS_S:
        left = len(active) - sum(pause < seconds * 1000 for pause in pauses)
        if left <= _HELPS * len(active) and (best is None or left <= _HELPS * best.would_have_been):
            best = OffDelay(seconds, len(active), left)
    return best


_KEYS_REMEMBERED: Final = 20_000


class Recent:
    """When each key became active in the last minute; told the same activation twice, it counts it once.

    It forgets by how many keys there are and not by the clock: a backlog is measured at another time than now.
    """

    def __init__(self) -> None:
        self._times: dict[Hashable, dict[str, int]] = {}

    def is_chatter(self, key: Hashable, identity: str, at: int) -> bool:
        """Take an activation into account, and say whether it is the third within a minute, or a later one."""
        times = self._times.pop(key, {})
        times[identity] = at
        near = {one: moment for one, moment in times.items() if at - WITHIN_MS < moment}
        self._times[key] = near
        if len(self._times) > _KEYS_REMEMBERED:
            del self._times[next(iter(self._times))]
        return sum(moment <= at for moment in near.values()) >= CHATTER
