"""Identity of an alarm: rule, equipment and part. Pure."""

from typing import Final, NamedTuple


class Key(NamedTuple):
    """Identity of an alarm: there is at most one open alarm for each."""

    site: str
    equipment: str
    part: str
    rule: str

    def __str__(self) -> str:
        return "/".join(self)


CLOCKS_DIFFER_MS: Final = 60_000
"""Largest assumed difference between the clocks of two machines of one service."""


class Scope(NamedTuple):
    """One equipment, or a whole site ("" as its code)."""

    site: str
    equipment: str = ""
