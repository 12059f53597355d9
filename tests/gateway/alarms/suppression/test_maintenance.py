"""Planned work: what a window covers, which windows nobody may plan."""

from typing import NamedTuple

import pytest

from gateway.alarms.key import Key
from gateway.alarms.suppression.maintenance import (
    WHAT_TO_DO,
    Phase,
    Refusal,
    Span,
    Window,
    WindowScope,
    covers,
    phase_of,
    scope_refusal,
    span_refusal,
    windows_of,
)
from gateway.alarms.suppression.reasons import Plans, Reason, Subject, active_reasons
from tests.builders.alarms import T0

HOUR = 3_600_000


def subject(
    equipment: str = "P-1", kind: str = "pump", *, part: str = "", zone: str = "", life_safety: bool = False,
    site: str = "HQ",
) -> Subject:  # fmt: skip
    return Subject(Key(site, equipment, part, "a.rule"), kind, zone, life_safety, T0)


def panel(part: str = "1-23", zone: str = "3F", *, life_safety: bool = False) -> Subject:
    return subject("FP-1", "fire_panel", part=part, zone=zone, life_safety=life_safety)


def scope(**named: str) -> WindowScope:
    return WindowScope(site="HQ", **named)


class Case(NamedTuple):
    scope: WindowScope
    subject: Subject
    covered: bool


CASES = [
    Case(scope(equipment="P-1"), subject(), True),
    Case(scope(equipment="P-1"), subject("P-2"), False),
    Case(scope(equipment="P-1"), subject(site="B"), False),
    Case(scope(equipment="P-1", part="x"), subject(part="x"), True),
    Case(scope(equipment="P-1", part="x"), subject(), False),
    Case(scope(kind="pump"), subject("P-2"), True),
    Case(scope(kind="pump"), subject("L-1", "elevator"), False),
    # Work on a fire panel: its zone or point, and never another, nor what names none.
    Case(scope(equipment="FP-1", zone="3F"), panel(), True),
    Case(scope(equipment="FP-1", zone="3F"), panel(zone="4F"), False),
    Case(scope(equipment="FP-1", zone="3F"), panel(zone=""), False),
    Case(scope(equipment="FP-1", zone="3F"), panel("", ""), False),
    Case(scope(equipment="FP-1", part="1-23"), panel(), True),
    Case(scope(equipment="FP-1", part="1-24"), panel(), False),
    Case(scope(equipment="FP-1", part="1-23", zone="4F"), panel(), False),
    # Nobody can plan these; were they in the table all the same, the panel is heard.
    Case(scope(equipment="FP-1"), panel(), False),
    Case(scope(kind="fire_panel"), panel(), False),
    Case(scope(), panel(), False),
    Case(scope(), subject(), False),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_window_covers_what_it_names(case: Case) -> None:
    assert covers(case.scope, case.subject) is case.covered


def window(**changes: object) -> Window:
    given: dict[str, object] = {
        "id": "w", "scope": scope(equipment="P-1"), "starts_at": T0, "ends_at": T0 + HOUR, "person": "a",
        "second_person": None, "reason": "new seals", "cancelled_at": None, "created_at": T0 - HOUR, "version": 1,
    }  # fmt: skip
    return Window(**given | changes)  # type: ignore[arg-type]  # as the test gives them


@pytest.mark.parametrize(
    ("at", "changes", "phase"),
    [
        (T0 - 1, {}, Phase.UPCOMING),
        (T0, {}, Phase.ON),
        (T0 + HOUR - 1, {}, Phase.ON),
        (T0 + HOUR, {}, Phase.OVER),
        (T0, {"cancelled_at": T0 - 5}, Phase.CANCELLED),
    ],
)
def test_the_end_is_no_part_of_a_window(at: int, changes: dict[str, object], phase: Phase) -> None:
    found = window(**changes)
    assert phase_of(found, at) is phase
    reasons = [item.reason for item in active_reasons(subject(), Plans(further=(windows_of([found]),)), at)]
    assert reasons == ([Reason.MAINTENANCE] if phase is Phase.ON else [])


@pytest.mark.parametrize(("second", "quiet"), [(None, False), ("a", False), ("b", True)])
def test_life_safety_is_quiet_only_where_another_person_has_agreed(second: str | None, quiet: bool) -> None:
    plans = Plans(further=(windows_of([window(second_person=second)]),))
    assert bool(active_reasons(subject(life_safety=True), plans, T0)) is quiet
    assert active_reasons(subject(), plans, T0), "all else is quiet"


def test_a_window_tells_when_it_turns() -> None:
    windows = windows_of([window(), window(id="x", scope=scope(kind="pump")), window(id="y", cancelled_at=T0)])
    assert [(turn.at, turn.place.equipment) for turn in windows.turns()] == [
        (T0, "P-1"), (T0 + HOUR, "P-1"), (T0, ""), (T0 + HOUR, ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "kind", "refusal"),
    [
        (scope(equipment="P-1"), "pump", None),
        (scope(equipment="P-1", kind="pump", part="x"), "pump", None),
        (scope(kind="elevator"), "", None),
        (scope(equipment="FP-1", zone="3F"), "fire_panel", None),
        (scope(equipment="FP-1", part="1-23"), "fire_panel", None),
        (scope(), "", Refusal.NOTHING_NAMED),
        (scope(zone="3F"), "", Refusal.PART_WITHOUT_EQUIPMENT),
        (scope(kind="pump", part="x"), "", Refusal.PART_WITHOUT_EQUIPMENT),
        (scope(equipment="P-1", kind="elevator"), "pump", Refusal.NOT_OF_THIS_KIND),
        (scope(equipment="FP-1"), "fire_panel", Refusal.ZONE_NEEDED),
        (scope(kind="fire_panel"), "", Refusal.ZONE_NEEDED),
        (scope(equipment="P-1", zone="3F"), "pump", Refusal.NO_ZONES),
        (scope(kind="system"), "", Refusal.PLATFORM),
    ],
)
def test_a_fire_panel_is_never_covered_whole(asked: WindowScope, kind: str, refusal: Refusal | None) -> None:
    assert scope_refusal(asked, kind) is refusal


@pytest.mark.parametrize(
    ("span", "began", "refusal"),
    [
        (Span(T0, T0 + HOUR), None, None),
        (Span(T0 - 60_000, T0 + HOUR), None, None),
        (Span(T0 - 60_001, T0 + HOUR), None, Refusal.IN_THE_PAST),
        (Span(T0 - 60_001, T0 + HOUR), T0 - 60_001, None),
        (Span(T0 - HOUR, T0), T0 - HOUR, Refusal.IN_THE_PAST),
        (Span(T0 + 5, T0 + 5), None, Refusal.ENDS_BEFORE_IT_BEGINS),
        (Span(T0, T0 + 2 * HOUR), None, None),
        (Span(T0, T0 + 2 * HOUR + 1), None, Refusal.TOO_LONG),
    ],
)
def test_hours_that_nobody_may_plan(span: Span, began: int | None, refusal: Refusal | None) -> None:
    assert span_refusal(span, 2 * HOUR, T0, began=began) is refusal


def test_every_refusal_says_what_to_do() -> None:
    assert set(WHAT_TO_DO) == set(Refusal)
