"""Replays an alarm's journal by the state table: it must lead to the alarm's current state. Pure."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from gateway.alarms.lifecycle.states import Event, Refusal, State, outcome

Line: TypeAlias = Any
"""A line of the journal: `event`, `before` and `after` by name."""


_EVENTS = frozenset(Event)


class Fault(StrEnum):
    """What is wrong with a journal."""

    GAP = "gap"
    """A line does not begin where the one before it ended."""
    NOT_PERMITTED = "not_permitted"
    """The table refuses it."""
    ELSEWHERE = "elsewhere"
    """The table leads to another state than the line."""


class Replay(NamedTuple):
    """The resulting state; `fault` is the first one at line `number` from 1, None if there is none."""

    state: State
    fault: Fault | None = None
    number: int = 0


def replay(lines: Iterable[Line], *, latching: bool) -> Replay:
    """Replay lines, oldest first. An entry that is no event of the table (a mark, a note) must not change the state."""
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
