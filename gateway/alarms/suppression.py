"""What stands beside an alarm's process state and keeps it from being annunciated (ISA-18.2). Pure.

The rule keeps running underneath. An alarm is annunciated while nothing here applies to it; where doubt remains
nothing does.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from gateway.alarms.stations import Key


class Reason(StrEnum):
    """Why an alarm is not annunciated."""

    SHELVED = "shelved"
    """A person has put it aside, until a time or until it clears."""
    OUT_OF_SERVICE = "out_of_service"
    """A person has taken the equipment, or a part of it, out of service."""
    MAINTENANCE = "maintenance"
    """Work that was planned ahead covers it."""
    PARENT = "parent"
    """The cause stands on what feeds or carries the equipment."""
    RULE = "rule"
    """A rule names another alarm, while which this one tells nothing new."""


class Suppression(msgspec.Struct, frozen=True, kw_only=True):
    """One reason that applies to one alarm now. Times are epoch ms."""

    reason: Reason
    by: str
    """Whom or what it rests on: a person's id, a window's id, the id of the alarm that is the cause."""
    since: int
    until: int | None = None
    """When it ends by itself; None: when its cause ends."""
    why: str = ""


class Subject(NamedTuple):
    """What of an alarm decides whether something applies to it."""

    key: Key
    kind: str
    zone: str
    life_safety: bool
