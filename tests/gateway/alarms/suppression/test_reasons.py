"""What keeps an alarm from being annunciated: a table of cases, and what holds for every plan at every time."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alarms.key import Key, Scope
from gateway.alarms.suppression.reasons import (
    BY_PEOPLE,
    Outage,
    Outages,
    Plans,
    Reason,
    Shelf,
    Shelves,
    Subject,
    Suppression,
    Turn,
    active_reasons,
    turns_after,
)

KEY = Key("HQ", "L-1", "door", "elevator.door_open")
PLACE = Scope("HQ", "L-1")
SINCE, UNTIL = 100_000, 200_000
HOT = Subject(KEY, "elevator", "", life_safety=False)
TRAPPED = Subject(KEY, "elevator", "", life_safety=True)
OF_PLATFORM = Subject(KEY, "system", "", life_safety=False)


def shelf(**changes: Any) -> Shelf:
    given = {"since": SINCE, "until": UNTIL, "one_shot": False, "person": "ann", "second_person": None, "reason": "x"}
    return Shelf(**given | changes)


def outage(**changes: Any) -> Outage:
    given = {"since": SINCE, "planned_end": UNTIL, "person": "ann", "second_person": None, "reason": "x"}
    return Outage(**given | changes)


class Says(NamedTuple):
    """A further source, as windows and causes are."""

    items: tuple[Suppression, ...]

    def applying(self, subject: Subject, now: int) -> Iterable[Suppression]:
        return self.items

    def turns(self) -> Iterator[Turn]:
        return iter(())


def shelved(**changes: Any) -> Plans:
    return Plans(shelves=Shelves({KEY: shelf(**changes)}))


def out(part: str = "", **changes: Any) -> Plans:
    return Plans(outages=Outages({PLACE: {part: outage(**changes)}}))


def other(reason: Reason, second_person: str | None = None) -> Plans:
    item = Suppression(reason=reason, by="it", since=SINCE, second_person=second_person)
    return Plans(further=(Says((item,)),))


CASES: list[tuple[str, Subject, Plans, int, list[Reason]]] = [
    ("nothing planned", HOT, Plans(), SINCE, []),
    ("shelved", HOT, shelved(), SINCE, [Reason.SHELVED]),
    ("to the last millisecond", HOT, shelved(), UNTIL - 1, [Reason.SHELVED]),
    ("the time is over", HOT, shelved(), UNTIL, []),
    ("put there by a clock that is ahead", HOT, shelved(), SINCE - 60_000, [Reason.SHELVED]),
    ("the clock was set back", HOT, shelved(), SINCE - 60_001, []),
    ("another alarm is shelved", HOT._replace(key=KEY._replace(part="car")), shelved(), SINCE, []),
    ("life safety, one person", TRAPPED, shelved(), SINCE, []),
    ("life safety, twice the same person", TRAPPED, shelved(second_person="ann"), SINCE, []),
    ("life safety, two people", TRAPPED, shelved(second_person="bob"), SINCE, [Reason.SHELVED]),
    ("out of service", HOT, out(), SINCE, [Reason.OUT_OF_SERVICE]),
    ("its part out of service", HOT, out("door"), SINCE, [Reason.OUT_OF_SERVICE]),
    ("another part out of service", HOT, out("car"), SINCE, []),
    ("out of service, the clock was set back", HOT, out(), SINCE - 60_001, []),
    ("overdue: it lasts until it is returned", HOT, out(), UNTIL + 1, [Reason.OUT_OF_SERVICE]),
    ("out of service, life safety, one person", TRAPPED, out(), SINCE, []),
    ("out of service, life safety, two people", TRAPPED, out(second_person="bob"), SINCE, [Reason.OUT_OF_SERVICE]),
    ("overdue, life safety: no longer than planned", TRAPPED, out(second_person="bob"), UNTIL, []),
    ("what the platform says is not the equipment's", OF_PLATFORM, out(), SINCE, []),
    ("what the platform says may be shelved", OF_PLATFORM, shelved(), SINCE, [Reason.SHELVED]),
    ("maintenance", HOT, other(Reason.MAINTENANCE), SINCE, [Reason.MAINTENANCE]),
    ("maintenance, life safety, one person", TRAPPED, other(Reason.MAINTENANCE), SINCE, []),
    ("maintenance, life safety, two", TRAPPED, other(Reason.MAINTENANCE, "bob"), SINCE, [Reason.MAINTENANCE]),
    ("a parent's cause", HOT, other(Reason.PARENT), SINCE, [Reason.PARENT]),
    ("a parent's cause, life safety", TRAPPED, other(Reason.PARENT, "bob"), SINCE, []),
    ("a rule", HOT, other(Reason.RULE), SINCE, [Reason.RULE]),
    ("a rule, life safety", TRAPPED, other(Reason.RULE, "bob"), SINCE, []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("subject", "plans", "now", "reasons"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_keeps_an_alarm_quiet(subject: Subject, plans: Plans, now: int, reasons: list[Reason]) -> None:
    assert [item.reason for item in active_reasons(subject, plans, now)] == reasons


def test_reasons_stand_beside_each_other() -> None:
    plans = Plans(Shelves({KEY: shelf()}), Outages({PLACE: {"": outage(), "door": outage()}}))
    assert [item.reason for item in active_reasons(HOT, plans, SINCE)] == [
        Reason.SHELVED, Reason.OUT_OF_SERVICE, Reason.OUT_OF_SERVICE,
    ]  # fmt: skip


TIMES = st.integers(0, 40)
PEOPLE = st.sampled_from(["ann", "bob"])
SECOND = st.one_of(st.none(), PEOPLE)
SHELVES = st.builds(
    Shelf, since=TIMES, until=TIMES, one_shot=st.booleans(), person=PEOPLE, second_person=SECOND, reason=st.just("x")
)
OUTAGES = st.builds(Outage, since=TIMES, planned_end=TIMES, person=PEOPLE, second_person=SECOND, reason=st.just("x"))
ITEMS = st.builds(
    Suppression, reason=st.sampled_from(Reason), by=PEOPLE, since=TIMES, second_person=SECOND
)  # fmt: skip
PLANS = st.builds(
    lambda shelves, parts, items: Plans(Shelves(shelves), Outages({PLACE: parts}), (Says(tuple(items)),)),
    st.dictionaries(st.just(KEY), SHELVES),
    st.dictionaries(st.sampled_from(["", "door", "car"]), OUTAGES),
    st.lists(ITEMS, max_size=3),
)
SUBJECTS = st.sampled_from([HOT, TRAPPED, OF_PLATFORM])


@given(SUBJECTS, PLANS, TIMES)
def test_life_safety_is_never_quiet_by_one_person_or_by_design(subject: Subject, plans: Plans, now: int) -> None:
    for item in active_reasons(subject, plans, now):
        if subject.life_safety:
            assert item.reason in BY_PEOPLE
            assert item.second_person not in {None, item.by}


@given(SUBJECTS, PLANS, TIMES, TIMES)
def test_between_two_turns_time_changes_nothing(subject: Subject, plans: Plans, one: int, two: int) -> None:
    """So the owner need look only when a turn comes: every plan has begun when it is read."""
    begun = max((plan.since for plan in (*plans.shelves.by_key.values(), *plans.outages.by_place[PLACE].values())),
                default=0)  # fmt: skip
    earlier, later = sorted((one + begun, two + begun))
    if not [turn for turn in turns_after(plans, earlier) if turn.at <= later]:
        assert active_reasons(subject, plans, earlier) == active_reasons(subject, plans, later)


@given(PLANS, TIMES)
def test_turns_come_in_order_and_lie_ahead(plans: Plans, now: int) -> None:
    moments = [turn.at for turn in turns_after(plans, now)]
    assert moments == sorted(moments)
    assert all(moment > now for moment in moments)
