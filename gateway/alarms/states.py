"""The life of an alarm as a table (ISA-18.2 process states): what is not in the table is not permitted."""

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Process states. Shelving, suppression and out of service stand beside them, never instead of them."""

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
    RE_ALARMED = "re_alarmed"


class NotPermitted(Exception):
    """This cannot happen to an alarm in this state; the text says which and why."""


_N, _U, _A = State.NORMAL, State.UNACKNOWLEDGED, State.ACKNOWLEDGED
_R, _LU, _LA = State.RETURNED_UNACKNOWLEDGED, State.LATCHED_UNACKNOWLEDGED, State.LATCHED_ACKNOWLEDGED

TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (_N, Event.RAISED): _U,
    (_U, Event.RETURNED): _R,
    (_U, Event.ACKNOWLEDGED): _A,
    (_A, Event.RETURNED): _N,
    (_A, Event.RE_ALARMED): _U,
    (_R, Event.RAISED): _U,
    (_R, Event.ACKNOWLEDGED): _N,
    (_LU, Event.RAISED): _U,
    (_LU, Event.ACKNOWLEDGED): _LA,
    (_LU, Event.RESET): _R,
    (_LA, Event.RAISED): _U,  # a new activation must be heard, though the one before was acknowledged
    (_LA, Event.RESET): _N,
}
"""(state, event) -> state, for alarms that do not latch."""

LATCHES: Final[dict[tuple[State, Event], State]] = {(_U, Event.RETURNED): _LU, (_A, Event.RETURNED): _LA}
"""What a latching alarm does instead: it stays until it is reset."""


def after(state: State, event: Event, *, latching: bool) -> State:
    """The state that follows.

    Raises:
        NotPermitted: the table has no such step.
    """
    step = (state, event)
    following = LATCHES.get(step) if latching else None
    following = following or TRANSITIONS.get(step)
    if following is None:
        raise NotPermitted(f"an alarm that is {state} cannot be {event}")
    return following
