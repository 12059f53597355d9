"""Maintenance windows: which alarms a window suppresses, and which windows are refused. Pure.

A window covers one thing: an equipment, a part or a zone of it, or all of one kind on a site. Work on a fire panel
never silences its other zones, so a panel is never covered whole.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import groupby
from typing import Final, NamedTuple

import msgspec

from collectors.wire.fields import Kind
from gateway.alarms.key import Scope
from gateway.alarms.suppression.reasons import Reason, Subject, Suppression, Turn

_LATE_MS: Final = 60_000
"""How far in the past a window may begin that is meant to begin now."""


class WindowScope(msgspec.Struct, frozen=True, kw_only=True):
    """What a window covers; "" where not given."""

    site: str
    kind: str = ""
    equipment: str = ""
    """The code of one equipment; without it the window covers all of `kind` on the site."""
    part: str = ""
    zone: str = ""
    """As a fire panel names it."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the windows' table. Times are epoch ms; `ends_at` is exclusive."""

    id: str
    scope: WindowScope
    starts_at: int
    ends_at: int
    person: str
    second_person: str | None
    """The person who has agreed that it covers life safety; without one it does not."""
    reason: str
    cancelled_at: int | None
    created_at: int
    version: int


class Phase(StrEnum):
    """The phase of a window."""

    UPCOMING = "upcoming"
    ON = "on"
    OVER = "over"
    CANCELLED = "cancelled"


def phase_of(window: Window, now: int) -> Phase:
    """The phase of a window at a point in time."""
    if window.cancelled_at is not None:
        return Phase.CANCELLED
    if now < window.starts_at:
        return Phase.UPCOMING
    return Phase.ON if now < window.ends_at else Phase.OVER


class Refusal(StrEnum):
    """Why a window is refused."""

    NOTHING_NAMED = "nothing_named"
    NOT_OF_THIS_KIND = "not_of_this_kind"
    PART_WITHOUT_EQUIPMENT = "part_without_equipment"
    ZONE_NEEDED = "zone_needed"
    NO_ZONES = "no_zones"
    PLATFORM = "platform"
    ENDS_BEFORE_IT_BEGINS = "ends_before_it_begins"
    IN_THE_PAST = "in_the_past"
    TOO_LONG = "too_long"


WHAT_TO_DO: Final[Mapping[Refusal, str]] = {
    Refusal.NOTHING_NAMED: "name an equipment, or a kind for all of it on the site",
    Refusal.NOT_OF_THIS_KIND: "the equipment is of another kind; leave the kind out",
    Refusal.PART_WITHOUT_EQUIPMENT: "a part or a zone belongs to an equipment: name that too",
    Refusal.ZONE_NEEDED: "work on a fire panel names the zone or the point; plan one window for each zone",
    Refusal.NO_ZONES: "only a fire panel has zones",
    Refusal.PLATFORM: "the platform cannot be under maintenance",
    Refusal.ENDS_BEFORE_IT_BEGINS: "the end must come after the beginning",
    Refusal.IN_THE_PAST: "it cannot begin in the past",
    Refusal.TOO_LONG: "it is longer than permitted; plan a shorter one, and the next after it",
}


class Span(NamedTuple):
    """Start and end, epoch ms."""

    starts_at: int
    ends_at: int


def scope_refusal(scope: WindowScope, kind_of_equipment: str) -> Refusal | None:
    """Why a window cannot cover this.

    Args:
        scope: the requested scope.
        kind_of_equipment: of the equipment that it names; "" if it names none.
    """
    kind = kind_of_equipment or scope.kind
    if not kind:
        return Refusal.PART_WITHOUT_EQUIPMENT if scope.part or scope.zone else Refusal.NOTHING_NAMED
    if scope.equipment and scope.kind not in {"", kind_of_equipment}:
        return Refusal.NOT_OF_THIS_KIND
    if kind == Kind.SYSTEM.value:
        return Refusal.PLATFORM
    if not scope.equipment and (scope.part or scope.zone):
        return Refusal.PART_WITHOUT_EQUIPMENT
    if kind == Kind.FIRE_PANEL.value:
        return None if scope.part or scope.zone else Refusal.ZONE_NEEDED
    return Refusal.NO_ZONES if scope.zone else None


def span_refusal(span: Span, longest_ms: int, now: int, *, began: int | None = None) -> Refusal | None:
    """Why a window cannot have this span.

    Args:
        span: the requested span.
        longest_ms: how long one may last.
        now: epoch ms.
        began: the former beginning of a window that is changed: it may stay, even in the past.
    """
    if span.ends_at <= span.starts_at:
        return Refusal.ENDS_BEFORE_IT_BEGINS
    if span.ends_at <= now or (span.starts_at < now - _LATE_MS and span.starts_at != began):
        return Refusal.IN_THE_PAST
    return Refusal.TOO_LONG if span.ends_at - span.starts_at > longest_ms else None


def covers(scope: WindowScope, subject: Subject) -> bool:
    """Whether a window covers an alarm. An alarm without a zone is in none."""
    key = subject.key
    if scope.site != key.site or scope.equipment not in {"", key.equipment}:
        return False
    if not scope.equipment and (scope.kind != subject.kind or subject.kind == Kind.FIRE_PANEL.value):
        return False
    if subject.kind == Kind.FIRE_PANEL.value and not (scope.part or scope.zone):
        return False  # cannot be planned; if it is in the table anyway, the panel is annunciated
    return scope.part in {"", key.part} and scope.zone in {"", subject.zone}


class Windows(NamedTuple):
    """Current and upcoming windows by site: one of the sources of suppression."""

    by_site: Mapping[str, tuple[Window, ...]]

    def applying(self, subject: Subject, now: int) -> Iterator[Suppression]:
        """The windows that cover an alarm now."""
        for window in self.by_site.get(subject.key.site, ()):
            if phase_of(window, now) is Phase.ON and covers(window.scope, subject):
                agreed = window.second_person if window.second_person != window.person else None
                yield Suppression(
                    reason=Reason.MAINTENANCE, by=window.id, since=window.starts_at, until=window.ends_at,
                    why=window.reason, second_person=agreed,
                )  # fmt: skip

    def turns(self) -> Iterator[Turn]:
        """Each beginning and each end."""
        for windows in self.by_site.values():
            for window in windows:
                place = Scope(window.scope.site, window.scope.equipment)
                yield Turn(window.starts_at, place)
                yield Turn(window.ends_at, place)


def windows_of(windows: Iterable[Window]) -> Windows:
    """Windows that are not cancelled, ordered by beginning."""
    standing = sorted(
        (window for window in windows if window.cancelled_at is None),
        key=lambda window: (window.scope.site, window.starts_at, window.id),
    )
    return Windows({site: tuple(found) for site, found in groupby(standing, key=lambda window: window.scope.site)})
