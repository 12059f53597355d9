"""Chatter: an alarm that comes and goes faster than anybody can act, and the off-delay that would prevent it. Pure.

Every activation is counted. The return is damped: while a key chatters its alarm stays active, so that it is not
annunciated again and again; it returns when it has been quiet for a set time. Nothing is hidden: a damped alarm is in
the list all the time. Life safety is never damped.
"""

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

CHATTER: Final = 3
"""Activations of one key within a minute (Hollifield & Habibi's starting criterion, common in the industry)."""
WITHIN_MS: Final = 60_000
_OFF_DELAYS_S: Final = (1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600)
"""Delays that are proposed: round values."""
_HELPS: Final = 0.5
"""A delay is proposed when it leaves at most this share of the activations."""


class OffDelay(msgspec.Struct, frozen=True):
    """A longer off-delay, and how many of the known activations it would have left."""

    seconds: int
    activations: int
    would_have_been: int


def proposed_off_delay(active: Sequence[tuple[int, int | None]]) -> OffDelay | None:
    """The shortest delay that halves the activations, or a longer one that halves them again; None if none does.

    Args:
        active: when the key became active and when it ended (epoch ms), oldest first; None: still active.
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
    """When each key became active in the last minute; a repeated activation counts once.

    It is bounded by the number of keys and not by the clock: a backlog was measured earlier than now.
    """

    def __init__(self) -> None:
        self._times: dict[Hashable, dict[str, int]] = {}

    def is_chatter(self, key: Hashable, identity: str, at: int) -> bool:
        """Add an activation. Returns whether it is at least the third within a minute."""
        times = self._times.pop(key, {})
        times[identity] = at
        near = {one: moment for one, moment in times.items() if at - WITHIN_MS < moment}
        self._times[key] = near
        if len(self._times) > _KEYS_REMEMBERED:
            del self._times[next(iter(self._times))]
        return sum(moment <= at for moment in near.values()) >= CHATTER
