"""What names an alarm and where it is: the rule, the equipment, the point. Pure."""

from typing import Final, NamedTuple


class Key(NamedTuple):
    """What an alarm is about: there is at most one open alarm for each."""

    site: str
    equipment: str
    part: str
    rule: str

    def __str__(self) -> str:
        return "/".join(self)


CLOCKS_DIFFER_MS: Final = 60_000
"""By so much at most, between two machines of one service."""


class Scope(NamedTuple):
    """Whose alarms something is about: one equipment, or ("" as its code) a whole site."""

    site: str
    equipment: str = ""
