"""Reasons for which an alarm is not annunciated (ISA-18.2), independent of its process state. Pure.

The rule continues to be evaluated. An alarm is annunciated while no reason applies to it; in doubt none does.
Everything that may suppress an alarm is a `Source`; `active_reasons` alone decides what of it counts.
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
    """A person has shelved it, until a time or until it returns to normal."""
    OUT_OF_SERVICE = "out_of_service"
    """A person has taken the equipment, or a part of it, out of service."""
    MAINTENANCE = "maintenance"
    """A maintenance window covers it."""
    PARENT = "parent"
    """The cause is active on equipment that feeds or carries this one."""
    RULE = "rule"
    """Its rule names another alarm that suppresses it."""


BY_PEOPLE: Final = frozenset({Reason.SHELVED, Reason.OUT_OF_SERVICE, Reason.MAINTENANCE})
"""Reasons set by people. Only these may suppress life safety, and only if a second person has agreed."""
BY_CAUSES: Final = frozenset({Reason.PARENT, Reason.RULE})
"""Reasons set by another alarm, the cause."""


class Suppression(msgspec.Struct, frozen=True, kw_only=True):
    """One reason that applies to one alarm now. Times are epoch ms."""

    reason: Reason
    by: str
    """Id of the person, of the window, or of the alarm that is the cause."""
    since: int
    until: int | None = None
    """When it ends by itself; None: with its cause."""
    why: str = ""
    second_person: str | None = None
    """Id of the person who has agreed; without one it suppresses no life-safety alarm."""


class Subject(NamedTuple):
    """The fields of an alarm that decide which suppressions apply to it."""

    key: Key
    kind: str
    zone: str
    life_safety: bool
    raised_at: int = 0
    """When it became active last, epoch ms."""
    explained: tuple[tuple[str, int], ...] = ()
    """Ids of the causes that already suppress it, and since when (epoch ms)."""

    def explained_since(self, cause: str) -> int | None:
        """Since when a cause has suppressed it without a break; None if it does not."""
        return dict(self.explained).get(cause)


class Turn(NamedTuple):
    """A time (epoch ms) at which a source changes, by time alone, what applies to the alarms of a place."""

    at: int
    place: Scope


class Source(Protocol):
    """Something that suppresses alarms, as read from the tables at one point in time. Pure."""

    def applying(self, subject: Subject, now: int) -> Iterable[Suppression]:
        """The suppressions of this source that apply to an alarm now."""
        ...

    def turns(self) -> Iterable[Turn]:
        """Every time at which the result of `applying` changes by time alone."""
        ...


class Shelf(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm that a person has shelved, across its activations and whether it is open or not."""

    since: int
    until: int
    one_shot: bool
    """It ends when the condition ends."""
    person: str
    second_person: str | None
    reason: str


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """An equipment, or a part of it, that a person has taken out of service. It lasts until it is returned.

    With a second person it suppresses life safety too, but never longer than planned.
    """

    since: int
    planned_end: int
    person: str
    second_person: str | None
    reason: str


def _has_begun(since: int, now: int) -> bool:
    """Allows for different clocks of two machines; a beginning far in the future does not count."""
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
        """For each equipment with an outage, whether one is past its planned end."""
        return {
            place: any(outage.planned_end <= now for outage in parts.values())
            for place, parts in self.by_place.items()
        }  # fmt: skip


class Plans(NamedTuple):
    """Everything that may suppress alarms, as read from the tables at one point in time."""

    shelves: Shelves = Shelves({})
    outages: Outages = Outages({})
    further: tuple[Source, ...] = ()
    """Maintenance windows, active causes."""

    @property
    def sources(self) -> tuple[Source, ...]:
        return (self.shelves, self.outages, *self.further)

    def with_further(self, source: Source) -> "Plans":
        """These plans and one more source."""
        return self._replace(further=(*self.further, source))


NOTHING_PLANNED: Final = Plans()


def active_reasons(subject: Subject, plans: Plans, now: int) -> tuple[Suppression, ...]:
    """Why an alarm is not annunciated now; empty: it is annunciated.

    Args:
        subject: the alarm.
        plans: all that may suppress it.
        now: epoch ms.
    """
    found = (item for source in plans.sources for item in source.applying(subject, now))
    return tuple(item for item in found if _counts(item, subject))


def _counts(item: Suppression, subject: Subject) -> bool:
    if subject.kind == Kind.SYSTEM.value and item.reason is not Reason.SHELVED:
        return False  # an alarm of the platform is not the equipment's, such as an overdue outage
    if not subject.life_safety:
        return True
    return item.reason in BY_PEOPLE and item.second_person is not None and item.second_person != item.by


def turns_after(plans: Plans, moment: int) -> list[Turn]:
    """Changes by time alone after a time (epoch ms), the next one first."""
    return sorted(turn for source in plans.sources for turn in source.turns() if turn.at > moment)
