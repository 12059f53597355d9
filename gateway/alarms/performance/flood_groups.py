"""An alarm flood: whether there is one, and which alarms are grouped under which probable cause. Pure.

During a flood the list is grouped: under what feeds the equipment, under the first alarm of the same equipment, of the
same rule, or else under the first of the flood. Three invariants hold: life safety is in no group, neither as cause nor
as member; no alarm is under a less urgent one; every alarm is listed once.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from gateway.alarms.rules.rule import Priority

_SLACK_MS: Final = 120_000
"""A cause may be detected later than its consequences: a silent gateway by this much."""
_URGENCY: Final = {priority.value: rank for rank, priority in enumerate(reversed(Priority))}


class OpenAlarm(NamedTuple):
    """The fields of an open alarm that decide its group."""

    id: str
    site: str
    equipment: str
    rule: str
    priority: str
    life_safety: bool
    raised_at: int


class Group(msgspec.Struct, frozen=True):
    """Alarms by id: the probable cause, and its group in the order of time."""

    cause: str
    members: list[str]


Parents = Mapping[tuple[str, str], Sequence[str]]
"""(site, equipment) -> the equipment that feeds or carries it, the nearest ones only."""


def grouped(alarms: Iterable[OpenAlarm], parents: Parents) -> list[Group]:
    """The groups of two or more, the first cause first."""
    ordered = sorted((one for one in alarms if not one.life_safety), key=lambda one: (one.raised_at, one.id))
    cause_of: dict[str, OpenAlarm] = {}
    firsts = _Firsts(ordered)
    for one in ordered:
        for cause in firsts.candidates(one, parents):
            root = _root(cause, cause_of)
            if root.id != one.id and _URGENCY[one.priority] <= _URGENCY[root.priority]:
                cause_of[one.id] = cause
                break
    members: dict[str, list[str]] = {}
    for one in ordered:
        root = _root(one, cause_of)
        if root.id != one.id:
            members.setdefault(root.id, []).append(one.id)
    return [Group(one.id, members[one.id]) for one in ordered if one.id in members]


def _root(alarm: OpenAlarm, cause_of: Mapping[str, OpenAlarm]) -> OpenAlarm:
    while alarm.id in cause_of:
        alarm = cause_of[alarm.id]
    return alarm


class _Firsts:
    """The first alarm of each equipment, of each rule of a site, and of each site."""

    def __init__(self, ordered: Iterable[OpenAlarm]) -> None:
        self.of_equipment: dict[tuple[str, str], OpenAlarm] = {}
        self.of_rule: dict[tuple[str, str], OpenAlarm] = {}
        self.of_site: dict[str, OpenAlarm] = {}
        for one in ordered:
            self.of_equipment.setdefault((one.site, one.equipment), one)
            self.of_rule.setdefault((one.site, one.rule), one)
            self.of_site.setdefault(one.site, one)

    def candidates(self, one: OpenAlarm, parents: Parents) -> list[OpenAlarm]:
        """The possible causes of an alarm, the most probable first."""
        above = [
            found for place in _ancestors((one.site, one.equipment), parents)
            if (found := self.of_equipment.get(place)) is not None and found.raised_at <= one.raised_at + _SLACK_MS
        ]  # fmt: skip
        beside = (self.of_equipment[one.site, one.equipment], self.of_rule[one.site, one.rule], self.of_site[one.site])
        return [*above, *beside]


def _ancestors(place: tuple[str, str], parents: Parents) -> list[tuple[str, str]]:
    """What feeds or carries an equipment, nearest first; a cycle ends where it began."""
    found: dict[tuple[str, str], None] = {}
    waiting = [place]
    while waiting:
        at = waiting.pop(0)
        above = [(at[0], code) for code in parents.get(at, ()) if (at[0], code) not in found]
        found |= dict.fromkeys(above)
        waiting += above
    found.pop(place, None)
    return list(found)
