"""Sorts zones by floor, as far as their names contain it. Pure."""

import re
from typing import Final

_FLOOR: Final = re.compile(r"((?:(?<!\w)[Bb]|-|地下|负)\s*)?(\d{1,4})")
"""The first number in a name, and whether it counts downward."""


def floor_order(zone: str) -> tuple[bool, int, str]:
    """Sort key in the order of floors: B2 before B1 before 1F, 2F before 10F; names without a number come last."""
    found = _FLOOR.search(zone)
    if found is None:
        return True, 0, zone
    below, number = found.groups()
    return False, -int(number) if below else int(number), zone
