"""Alarm lifecycle as a table (ISA-18.2 process states): each event leads to a state, or is refused with a reason."""

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Process states. Shelving, suppression and out of service are independent of them."""

    NORMAL = "normal"
    UNACKNOWLEDGED = "unacknowledged"
    ACKNOWLEDGED = "acknowledged"
    RETURNED_UNACKNOWLEDGED = "returned_unacknowledged"
    LATCHED_UNACKNOWLEDGED = "latched_unacknowledged"
    LATCHED_ACKNOWLEDGED = "latched_acknowledged"


class Event(StrEnum):
    """What happens to an alarm."""

    RAISED = "raised"
    RETURNED = "returned"
    ACKNOWLEDGED = "acknowledged"
    RESET = "reset"
    """A person, or the panel itself, resets a latched alarm."""
    RE_ALARMED = "re_alarmed"
    """It has been active since its acknowledgement for the re-alarm time."""
    SILENCED = "silenced"
    """The sound stops at every console; the alarm stays unacknowledged."""
    COMMENTED = "commented"
    EQUIPMENT_RETIRED = "equipment_retired"
    """Its equipment was retired: the alarm ends whatever its state."""


class Refusal(StrEnum):
    """Why an event is not permitted."""

    NOT_OPEN = "not_open"
    ACTIVE_ALREADY = "active_already"
    RETURNED_ALREADY = "returned_already"
    ACKNOWLEDGED_ALREADY = "acknowledged_already"
    CONDITION_STANDS = "condition_stands"
    CONDITION_OVER = "condition_over"
    NOTHING_TO_RESET = "nothing_to_reset"
    WAITS_ALREADY = "waits_already"


BECAUSE: Final[dict[Refusal, str]] = {
    Refusal.NOT_OPEN: "it is closed; no action is needed",
    Refusal.ACTIVE_ALREADY: "its condition is already active; a repeat is no new activation",
    Refusal.RETURNED_ALREADY: "its condition has already ended",
    Refusal.ACKNOWLEDGED_ALREADY: "it is already acknowledged and makes no sound",
    Refusal.CONDITION_STANDS: "its condition is still active; end the cause first, then reset",
    Refusal.CONDITION_OVER: "its condition has ended; it only waits for its reset",
    Refusal.NOTHING_TO_RESET: "it is not latched; it closes when its condition has ended and it is acknowledged",
    Refusal.WAITS_ALREADY: "it is already unacknowledged",
}
"""Refusal -> the explanation shown to a person."""


class NotPermitted(Exception):
    """This cannot be done to an alarm as it is; the text is a sentence that says why."""


class StepRefused(NotPermitted):
    """The table refuses it."""

    def __init__(self, state: State, event: Event, reason: Refusal) -> None:
        super().__init__(f"an alarm that is {state} cannot be {event}: {BECAUSE[reason]}")
        self.state = state
        self.event = event
        self.reason = reason


_N, _U, _A = State.NORMAL, State.UNACKNOWLEDGED, State.ACKNOWLEDGED
_R, _LU, _LA = State.RETURNED_UNACKNOWLEDGED, State.LATCHED_UNACKNOWLEDGED, State.LATCHED_ACKNOWLEDGED

TABLE: Final[dict[tuple[State, Event], State | Refusal]] = {
    (_N, Event.RAISED): _U,
    (_N, Event.RETURNED): Refusal.NOT_OPEN,
    (_N, Event.ACKNOWLEDGED): Refusal.NOT_OPEN,
    (_N, Event.RESET): Refusal.NOT_OPEN,
    (_N, Event.RE_ALARMED): Refusal.NOT_OPEN,
    (_N, Event.SILENCED): Refusal.NOT_OPEN,
    (_N, Event.COMMENTED): _N,  # later findings may be added
    (_N, Event.EQUIPMENT_RETIRED): Refusal.NOT_OPEN,
    (_U, Event.RAISED): Refusal.ACTIVE_ALREADY,
    (_U, Event.RETURNED): _R,
    (_U, Event.ACKNOWLEDGED): _A,
    (_U, Event.RESET): Refusal.NOTHING_TO_RESET,
    (_U, Event.RE_ALARMED): Refusal.WAITS_ALREADY,
    (_U, Event.SILENCED): _U,
    (_U, Event.COMMENTED): _U,
    (_U, Event.EQUIPMENT_RETIRED): _N,
    (_A, Event.RAISED): Refusal.ACTIVE_ALREADY,
    (_A, Event.RETURNED): _N,
    (_A, Event.ACKNOWLEDGED): Refusal.ACKNOWLEDGED_ALREADY,
    (_A, Event.RESET): Refusal.NOTHING_TO_RESET,
    (_A, Event.RE_ALARMED): _U,
    (_A, Event.SILENCED): Refusal.ACKNOWLEDGED_ALREADY,
    (_A, Event.COMMENTED): _A,
    (_A, Event.EQUIPMENT_RETIRED): _N,
    (_R, Event.RAISED): _U,
    (_R, Event.RETURNED): Refusal.RETURNED_ALREADY,
    (_R, Event.ACKNOWLEDGED): _N,
    (_R, Event.RESET): Refusal.NOTHING_TO_RESET,
    (_R, Event.RE_ALARMED): Refusal.WAITS_ALREADY,
    (_R, Event.SILENCED): _R,
    (_R, Event.COMMENTED): _R,
    (_R, Event.EQUIPMENT_RETIRED): _N,
    (_LU, Event.RAISED): _U,
    (_LU, Event.RETURNED): Refusal.RETURNED_ALREADY,
    (_LU, Event.ACKNOWLEDGED): _LA,
    (_LU, Event.RESET): _R,  # reset, but not acknowledged
    (_LU, Event.RE_ALARMED): Refusal.WAITS_ALREADY,
    (_LU, Event.SILENCED): _LU,
    (_LU, Event.COMMENTED): _LU,
    (_LU, Event.EQUIPMENT_RETIRED): _N,
    (_LA, Event.RAISED): _U,  # a new activation is annunciated, though the one before was acknowledged
    (_LA, Event.RETURNED): Refusal.RETURNED_ALREADY,
    (_LA, Event.ACKNOWLEDGED): Refusal.ACKNOWLEDGED_ALREADY,
    (_LA, Event.RESET): _N,
    (_LA, Event.RE_ALARMED): Refusal.CONDITION_OVER,
    (_LA, Event.SILENCED): Refusal.ACKNOWLEDGED_ALREADY,
    (_LA, Event.COMMENTED): _LA,
    (_LA, Event.EQUIPMENT_RETIRED): _N,
}
"""(state, event) -> the state that follows, or why it is refused. Every pair is here."""

LATCHES: Final[dict[tuple[State, Event], State | Refusal]] = {
    (_U, Event.RETURNED): _LU,
    (_A, Event.RETURNED): _LA,
    (_U, Event.RESET): Refusal.CONDITION_STANDS,
    (_A, Event.RESET): Refusal.CONDITION_STANDS,
}
"""What differs for a latching alarm: it stays until it is reset."""

LATCHED: Final = frozenset({_LU, _LA})
"""The condition has ended; the alarm stays until it is reset."""
WAITING: Final = frozenset({_U, _R, _LU})
"""States in which an alarm is not acknowledged."""


def outcome(state: State, event: Event, *, latching: bool) -> State | Refusal:
    """The state that follows, or why none does."""
    step = (state, event)
    return LATCHES.get(step, TABLE[step]) if latching else TABLE[step]


def after(state: State, event: Event, *, latching: bool) -> State:
    """The state that follows. Raises StepRefused."""
    following = outcome(state, event, latching=latching)
    if isinstance(following, Refusal):
        raise StepRefused(state, event, following)
    return following
