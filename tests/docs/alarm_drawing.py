"""Draws the life of an alarm from its table, as Mermaid text: `python -m tests.docs.alarm_drawing` puts it in its place."""

import re
from pathlib import Path
from typing import Final

from gateway.alarms.lifecycle.states import LATCHES, TABLE, Event, State

DOCUMENT: Final = Path(__file__).resolve().parent.parent / "docs" / "alarms.md"
_PLACE: Final = re.compile(r"(<!-- states -->\n).*?(<!-- end -->)", re.DOTALL)
_NAMES: Final = {
    State.NORMAL: "Normal",
    State.UNACKNOWLEDGED: "Unacknowledged",
    State.ACKNOWLEDGED: "Acknowledged",
    State.RETURNED_UNACKNOWLEDGED: "Returned, unacknowledged",
    State.LATCHED_UNACKNOWLEDGED: "Latched, unacknowledged",
    State.LATCHED_ACKNOWLEDGED: "Latched, acknowledged",
}
_WORDS: Final = {
    Event.RAISED: "condition begins",
    Event.RETURNED: "condition ends",
    Event.ACKNOWLEDGED: "acknowledge",
    Event.RESET: "reset",
    Event.RE_ALARMED: "re-alarm",
    Event.SILENCED: "silence",
    Event.COMMENTED: "comment",
}


def drawn() -> str:
    """Every step that leads to another state; those of alarms that latch are marked."""
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f'    state "{name}" as {state}' for state, name in _NAMES.items()]
    lines.append(f"    [*] --> {State.NORMAL}")
    for mark, steps in (("", TABLE), (" (latching)", LATCHES)):
        lines += [
            f"    {state} --> {following}: {_WORDS[event]}{mark}"
            for (state, event), following in steps.items()
            if isinstance(following, State) and following is not state
        ]
    return "\n".join([*lines, "```", ""])


def main() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert _PLACE.search(text), f"{DOCUMENT.name} has no <!-- states --> and <!-- end -->"
    DOCUMENT.write_text(_PLACE.sub(lambda found: found[1] + drawn() + found[2], text), encoding="utf-8")


if __name__ == "__main__":
    main()
