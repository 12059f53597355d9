"""Whether there is an alarm flood, and since when: its thresholds and the search. Pure.

ISA-18.2 and EEMUA 191: more than 10 activations in 10 minutes begin a flood.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

WINDOW_MS: Final = 10 * 60_000


FLOOD_BEGINS: Final = 10
"""More activations than this in ten minutes are a flood (EEMUA 191, ISA-18.2)."""


FLOOD_ENDS: Final = 5
"""It lasts until there are fewer than this in ten minutes."""


def floods(times: Sequence[int], now: int) -> list[tuple[int, int]]:
    """When floods began and ended; a current one ends `now`.

    A flood begins with the eleventh activation within ten minutes, and ends when fewer than five are left in the last
    ten minutes.
    """
    found: list[tuple[int, int]] = []
    began: int | None = None
    for index, at in enumerate(times):
        if began is not None and (ended := _quiet_from(times, index)) <= at:
            found.append((began, ended))
            began = None
        if began is None and index + 1 - bisect_right(times, at - WINDOW_MS) > FLOOD_BEGINS:
            began = at
    if began is not None:
        found.append((began, min(now, _quiet_from(times, len(times)))))
    return found


def _quiet_from(times: Sequence[int], index: int) -> int:
    """When fewer than five of the activations before `index` are in the last ten minutes, if no more follow."""
    return times[max(0, index - FLOOD_ENDS)] + WINDOW_MS


def since(times: Sequence[int], now: int) -> int | None:
    """When the current flood began; None: there is none.

    Args:
        times: of activations, sorted, from before any current flood.
        now: epoch ms.
    """
    if len(times) < FLOOD_ENDS or times[-FLOOD_ENDS] <= now - WINDOW_MS:
        return None
    found = floods(times, now)
    return found[-1][0] if found and found[-1][1] >= now else None
