"""The alarm's state table: complete, consistent with ISA-18.2, and every refusal with its reason."""

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.alarms.lifecycle.states import (
    BECAUSE,
    LATCHED,
    LATCHES,
    TABLE,
    WAITING,
    Event,
    NotPermitted,
    Refusal,
    State,
    StepRefused,
    after,
    outcome,
)
from tests.docs.alarm_drawing import DOCUMENT, drawn

N, U, A = State.NORMAL, State.UNACKNOWLEDGED, State.ACKNOWLEDGED
R, LU, LA = State.RETURNED_UNACKNOWLEDGED, State.LATCHED_UNACKNOWLEDGED, State.LATCHED_ACKNOWLEDGED
SHORT = {
    "N": N, "U": U, "A": A, "R": R, "LU": LU, "LA": LA,
    "over": Refusal.NOT_OPEN, "active": Refusal.ACTIVE_ALREADY, "back": Refusal.RETURNED_ALREADY,
    "known": Refusal.ACKNOWLEDGED_ALREADY, "stands": Refusal.CONDITION_STANDS, "gone": Refusal.CONDITION_OVER,
    "nothing": Refusal.NOTHING_TO_RESET, "waits": Refusal.WAITS_ALREADY,
}  # fmt: skip
STEPS = {
    #   raised   returned  acknowledged  reset     re-alarmed  silenced  commented
    N:  "U       over      over          over      over        over      N",
    U:  "active  R         A             nothing   waits       U         U",
    A:  "active  N         known         nothing   U           known     A",
    R:  "U       back      N             nothing   waits       R         R",
    LU: "U       back      LA            R         waits       LU        LU",
    LA: "U       back      known         N         gone        known     LA",
}  # fmt: skip
"""What becomes of an alarm that does not latch, and of what latches already."""
LATCHING = STEPS | {
    U:  "active  LU        A             stands    waits       U         U",
    A:  "active  LA        known         stands    U           known     A",
}  # fmt: skip
PAIRS = list(itertools.product(State, Event))


@pytest.mark.parametrize(("state", "event"), PAIRS)
@pytest.mark.parametrize(("latching", "steps"), [(False, STEPS), (True, LATCHING)])
def test_every_event_in_every_state_leads_on_or_is_refused_by_name(
    state: State, event: Event, latching: bool, steps: dict[State, str]
) -> None:
    expected = SHORT[dict(zip(Event, steps[state].split(), strict=True))[event]]
    assert outcome(state, event, latching=latching) is expected
    if isinstance(expected, State):
        assert after(state, event, latching=latching) is expected
        return
    with pytest.raises(StepRefused, match=f"{state} cannot be {event}: {BECAUSE[expected]}") as refused:
        after(state, event, latching=latching)
    assert (refused.value.state, refused.value.event, refused.value.reason) == (state, event, expected)


def test_every_pair_is_in_the_table_and_every_reason_has_a_sentence_and_a_use() -> None:
    assert set(TABLE) == set(PAIRS)
    assert set(LATCHES) < set(PAIRS)
    assert {found for found in (*TABLE.values(), *LATCHES.values()) if isinstance(found, Refusal)} == set(Refusal)
    assert set(BECAUSE) == set(Refusal)


def test_who_waits_and_who_latches_is_what_their_names_say() -> None:
    assert {state for state in State if state.endswith("unacknowledged")} == WAITING
    assert {state for state in State if state.startswith("latched")} == LATCHED


def test_the_drawing_in_the_documents_is_the_table() -> None:
    assert drawn() in DOCUMENT.read_text(encoding="utf-8"), "draw it anew: python -m tests.docs.alarm_drawing"


class AlarmLife(RuleBasedStateMachine):
    """Any sequence of events against a model of three facts: active, acknowledged, latched."""

    @initialize(latching=st.booleans())
    def begin(self, latching: bool) -> None:
        self.latching = latching
        self.state = N
        self.active, self.acknowledged, self.latched = False, True, False

    def step(self, event: Event, *, permitted: bool) -> bool:
        try:
            self.state = after(self.state, event, latching=self.latching)
        except NotPermitted:
            assert not permitted, f"{event} was refused in {self.state}"
            return False
        assert permitted, f"{event} should have been refused"
        return True

    @rule()
    def condition_begins(self) -> None:
        if self.step(Event.RAISED, permitted=not self.active):
            self.active, self.acknowledged, self.latched = True, False, False

    @rule()
    def condition_ends(self) -> None:
        if self.step(Event.RETURNED, permitted=self.active):
            self.active, self.latched = False, self.latching

    @rule()
    def person_acknowledges(self) -> None:
        if self.step(Event.ACKNOWLEDGED, permitted=not self.acknowledged):
            self.acknowledged = True

    @rule()
    def person_resets(self) -> None:
        if self.step(Event.RESET, permitted=self.latched):
            self.latched = False

    @rule()
    def person_silences(self) -> None:
        self.step(Event.SILENCED, permitted=not self.acknowledged)

    @rule()
    def person_comments(self) -> None:
        self.step(Event.COMMENTED, permitted=True)

    @rule()
    def time_passes(self) -> None:
        if self.step(Event.RE_ALARMED, permitted=self.active and self.acknowledged):
            self.acknowledged = False

    @invariant()
    def normal_means_over_and_known(self) -> None:
        if hasattr(self, "state"):
            over = not self.active and self.acknowledged and not self.latched
            assert (self.state is N) is over
            assert (self.state in {A, LA, N}) is self.acknowledged
            assert (self.state in {LU, LA}) is self.latched


TestAlarmLife = AlarmLife.TestCase
TestAlarmLife.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
