"""The alarm's state table: complete, consistent with ISA-18.2, and closed against everything else."""

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.alarms.states import Event, NotPermitted, State, after

N, U, A = State.NORMAL, State.UNACKNOWLEDGED, State.ACKNOWLEDGED
R, LU, LA = State.RETURNED_UNACKNOWLEDGED, State.LATCHED_UNACKNOWLEDGED, State.LATCHED_ACKNOWLEDGED

STEPS = [
    (N, Event.RAISED, False, U),  # a condition begins
    (U, Event.RETURNED, False, R),  # gone before anybody looked: still to be acknowledged
    (U, Event.RETURNED, True, LU),  # latching: stays until it is reset
    (U, Event.ACKNOWLEDGED, False, A),
    (A, Event.RETURNED, False, N),  # known and gone: over
    (A, Event.RETURNED, True, LA),
    (A, Event.RE_ALARMED, False, U),  # still there after a set time: heard again
    (R, Event.RAISED, False, U),
    (R, Event.ACKNOWLEDGED, False, N),
    (LU, Event.ACKNOWLEDGED, True, LA),
    (LU, Event.RESET, True, R),
    (LU, Event.RAISED, True, U),
    (LA, Event.RESET, True, N),
    (LA, Event.RAISED, True, U),  # a new activation must be heard, though the last one was acknowledged
]


@pytest.mark.parametrize(("before", "event", "latching", "following"), STEPS)
def test_each_permitted_step_leads_where_isa_18_2_says(
    before: State, event: Event, latching: bool, following: State
) -> None:
    assert after(before, event, latching=latching) is following


@pytest.mark.parametrize(("before", "event"), list(itertools.product(State, Event)))
def test_every_other_step_is_refused_by_name(before: State, event: Event) -> None:
    if any(step[:2] == (before, event) for step in STEPS):
        return
    for latching in (False, True):
        with pytest.raises(NotPermitted, match=f"{before} cannot be {event}"):
            after(before, event, latching=latching)


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
