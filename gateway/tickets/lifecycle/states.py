"""Lifecycles of tickets as tables of the permitted transitions."""

from enum import StrEnum
from typing import Final


class TicketType(StrEnum):
    """Repair: something needs repair. Emergency: somebody is or may be in danger."""

    REPAIR = "repair"
    EMERGENCY = "emergency"


class Action(StrEnum):
    """Actions of people, or of the ticket's alarm."""

    ACKNOWLEDGE = "acknowledge"
    ASSIGN = "assign"
    ACCEPT = "accept"
    ARRIVE = "arrive"
    FINISH = "finish"
    VERIFY = "verify"
    CLOSE = "close"
    CANCEL = "cancel"
    REOPEN = "reopen"
    RESPOND = "respond"
    CONTAIN = "contain"
    RESOLVE = "resolve"
    REVIEW = "review"
    STAND_DOWN = "stand-down"


class NotPermitted(Exception):
    """The action is not permitted in this state; the text lists permitted ones."""


FIRST_STATE: Final = "open"
CLOSED: Final = {
    TicketType.REPAIR: frozenset({"closed", "cancelled"}),
    TicketType.EMERGENCY: frozenset({"reviewed", "stood_down"}),
}
"""Final states of a ticket."""
GATHERS_NO_MORE: Final = {
    TicketType.REPAIR: CLOSED[TicketType.REPAIR],
    TicketType.EMERGENCY: CLOSED[TicketType.EMERGENCY] | {"resolved"},
}
"""States in which its alarms may open a new ticket: an emergency that only awaits review dispatches nobody."""

STEPS: Final[dict[TicketType, dict[tuple[str, Action], str]]] = {
    TicketType.REPAIR: {
        ("open", Action.ASSIGN): "assigned",
        ("assigned", Action.ASSIGN): "assigned",
        ("assigned", Action.ACCEPT): "accepted",
        ("accepted", Action.ARRIVE): "on_site",
        ("on_site", Action.FINISH): "done",
        ("done", Action.VERIFY): "verified",
        ("verified", Action.CLOSE): "closed",
        ("done", Action.REOPEN): "open",
        ("verified", Action.REOPEN): "open",
        **{(state, Action.CANCEL): "cancelled" for state in ("open", "assigned", "accepted", "on_site")},
    },
    TicketType.EMERGENCY: {
        ("open", Action.ACKNOWLEDGE): "acknowledged",
        ("acknowledged", Action.RESPOND): "responding",
        ("responding", Action.ARRIVE): "on_scene",
        ("on_scene", Action.CONTAIN): "contained",
        ("contained", Action.RESOLVE): "resolved",
        ("resolved", Action.REVIEW): "reviewed",
        **{(state, Action.STAND_DOWN): "stood_down" for state in ("open", "acknowledged", "responding", "on_scene")},
    },
}
"""Type -> (state, action) -> state."""


def after(kind: TicketType, state: str, action: Action) -> str:
    """The state that follows. Raises NotPermitted."""
    following = STEPS[kind].get((state, action))
    if following is None:
        permitted = ", ".join(name for before, name in STEPS[kind] if before == state) or "nothing more"
        raise NotPermitted(f"the ticket ({kind}, {state}) permits {permitted}; not {action}")
    return following
