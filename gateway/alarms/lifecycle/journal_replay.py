"""Goes through an alarm's journal by the state table: what it says happened must lead to where the alarm is. Pure."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from gateway.alarms.lifecycle.states import Event, Refusal, State, outcome

Line: TypeAlias = Any
"""A line of the journal, oldest first: `event`, `before` and `after` by name, as the table has them."""


_EVENTS = frozenset(Event)


class Fault(StrEnum):
    """What is wrong with a journal."""

    GAP = "gap"
    """A line does not begin where the one before it ended."""
    NOT_PERMITTED = "not_permitted"
    """The table refuses it."""
    ELSEWHERE = "elsewhere"
    """The table leads somewhere else than the line says."""


class Replay(NamedTuple):
    """Where the journal leads; `fault` is the first one, None where there is none, at the line `number` from 1."""

    state: State
    fault: Fault | None = None
    number: int = 0


def replay(lines: Iterable[Line], *, latching: bool) -> Replay:
    """Go through the lines. What is no event of the table (a mark, a note of the platform) may change nothing."""
    state = State.NORMAL
    for number, line in enumerate(lines, 1):
        if line["before"] != state:
            return Replay(state, Fault.GAP, number)
        is_event = line["event"] in _EVENTS
        following = outcome(state, Event(line["event"]), latching=latching) if is_event else state
        if isinstance(following, Refusal):
            return Replay(state, Fault.NOT_PERMITTED, number)
        if line["after"] != following:
            return Replay(state, Fault.ELSEWHERE, number)
        state = following
    return Replay(state)
