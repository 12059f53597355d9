"""What stands beside an alarm's process state and keeps it from being annunciated (ISA-18.2). Pure.

The rule keeps running underneath. An alarm is annunciated while nothing here applies to it; where doubt remains
nothing does. Everything that may keep an alarm quiet is a `Source`; what of it counts, `standing` decides alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

import msgspec

from collectors.wire.fields import Kind
from gateway.alarms.key import CLOCKS_DIFFER_MS, Key, Scope


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


BY_PEOPLE: Final = frozenset({Reason.SHELVED, Reason.OUT_OF_SERVICE, Reason.MAINTENANCE})
"""What people decide. Nothing else ever keeps life safety quiet, and these only where a second person has agreed."""
BY_CAUSES: Final = frozenset({Reason.PARENT, Reason.RULE})
"""What another alarm explains."""


class Suppression(msgspec.Struct, frozen=True, kw_only=True):
    """One reason that applies to one alarm now. Times are epoch ms."""

    reason: Reason
    by: str
    """Whom or what it rests on: a person's id, a window's id, the id of the alarm that is the cause."""
    since: int
    until: int | None = None
    """When it ends by itself; None: when its cause ends."""
    why: str = ""
    second_person: str | None = None
    """Who has agreed, by id; without one it keeps no alarm of life safety quiet."""


class Subject(NamedTuple):
    """What of an alarm decides whether something applies to it."""

    key: Key
    kind: str
    zone: str
    life_safety: bool
    raised_at: int = 0
    """When it became active last, epoch ms."""
    explained: tuple[tuple[str, int], ...] = ()
    """Ids of the causes under which it stands already, and since when (epoch ms)."""

    def explained_since(self, cause: str) -> int | None:
        """Since when it stands under a cause without a break; None where it does not."""
        return dict(self.explained).get(cause)


class Turn(NamedTuple):
    """A moment (epoch ms) at which a source says something else, by time alone, of the alarms of a place."""

    at: int
    place: Scope


class Source(Protocol):
    """Something that keeps alarms quiet, as the tables had it at one moment. Pure."""

    def applying(self, subject: Subject, now: int) -> Iterable[Suppression]:
        """What of it would apply to an alarm now."""
        ...

    def turns(self) -> Iterable[Turn]:
        """Every moment at which time alone changes what `applying` says."""
        ...


class Shelf(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm that a person has put aside: whichever activation it is at, and whether it is open or not."""

    since: int
    until: int
    one_shot: bool
    """It ends already when the condition does."""
    person: str
    second_person: str | None
    reason: str


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """An equipment, or a part of it, that a person has taken out of service. It lasts until it is returned.

    With a second person it keeps life safety quiet too, but never longer than was planned.
    """

    since: int
    planned_end: int
    person: str
    second_person: str | None
    reason: str


def _has_begun(since: int, now: int) -> bool:
    """Whoever put it there may have had another clock than who asks; what lies far ahead is in doubt."""
    return since <= now + CLOCKS_DIFFER_MS


class Shelves(NamedTuple):
    """Every shelf by the alarm's key."""

    by_key: Mapping[Key, Shelf]

    def applying(self, subject: Subject, now: int) -> Iterator[Suppression]:
        shelf = self.by_key.get(subject.key)
        if shelf is not None and _has_begun(shelf.since, now) and now < shelf.until:
            yield Suppression(
                reason=Reason.SHELVED, by=shelf.person, since=shelf.since, until=shelf.until, why=shelf.reason,
                second_person=shelf.second_person,
            )  # fmt: skip

    def turns(self) -> Iterator[Turn]:
        return (Turn(shelf.until, Scope(key.site, key.equipment)) for key, shelf in self.by_key.items())


class Outages(NamedTuple):
    """Every outage by equipment and part; "" is the whole equipment."""

    by_place: Mapping[Scope, Mapping[str, Outage]]

    def applying(self, subject: Subject, now: int) -> Iterator[Suppression]:
        parts = self.by_place.get(Scope(subject.key.site, subject.key.equipment), {})
        for part in dict.fromkeys(("", subject.key.part)):
            outage = parts.get(part)
            if outage is None or not _has_begun(outage.since, now):
                continue
            end = outage.planned_end if subject.life_safety else None
            if end is None or now < end:
                yield Suppression(
                    reason=Reason.OUT_OF_SERVICE, by=outage.person, since=outage.since, until=end,
                    why=outage.reason, second_person=outage.second_person,
                )  # fmt: skip

    def turns(self) -> Iterator[Turn]:
        return (
            Turn(outage.planned_end, place) for place, parts in self.by_place.items() for outage in parts.values()
        )  # fmt: skip

    def overdue(self, now: int) -> dict[Scope, bool]:
        """Of each equipment with an outage whether one of them should have ended."""
        return {
            place: any(outage.planned_end <= now for outage in parts.values())
            for place, parts in self.by_place.items()
        }  # fmt: skip


class Plans(NamedTuple):
    """Everything that may keep alarms quiet, as the tables had it at one moment."""

    shelves: Shelves = Shelves({})
    outages: Outages = Outages({})
    further: tuple[Source, ...] = ()
    """Windows of maintenance, causes that stand."""

    @property
    def sources(self) -> tuple[Source, ...]:
        return (self.shelves, self.outages, *self.further)

    def with_further(self, source: Source) -> "Plans":
        """These and one more."""
        return self._replace(further=(*self.further, source))


NOTHING_PLANNED: Final = Plans()


def active_reasons(subject: Subject, plans: Plans, now: int) -> tuple[Suppression, ...]:
    """Why an alarm is not annunciated now; nothing: it is.

    Args:
        subject: the alarm.
        plans: all that may keep it quiet.
        now: epoch ms.
    """
    found = (item for source in plans.sources for item in source.applying(subject, now))
    return tuple(item for item in found if _counts(item, subject))


def _counts(item: Suppression, subject: Subject) -> bool:
    if subject.kind == Kind.SYSTEM.value and item.reason is not Reason.SHELVED:
        return False  # what the platform says of itself is not the equipment's: that an outage is overdue, say
    if not subject.life_safety:
        return True
    return item.reason in BY_PEOPLE and item.second_person is not None and item.second_person != item.by


def turns_after(plans: Plans, moment: int) -> list[Turn]:
    """What time alone will change after a moment (epoch ms), the next one first."""
    return sorted(turn for source in plans.sources for turn in source.turns() if turn.at > moment)
