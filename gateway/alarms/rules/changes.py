"""What a site may change in a rule, for all its equipment or for one, and what two people have to look at. No I/O.

A change is laid over the rule as it stands in its file, and what comes of it passes the same checks as a file does.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.alarms.rules.files import RuleError, read_rule
from gateway.alarms.rules.rule import BEAT, Priority, Rule, RuleType

Changes = Mapping[str, Any]
"""Keys of a rule file and their new values; `enabled: false` takes the rule out of force."""

OF_EVERY_TYPE: Final = (
    "enabled", "priority", "title", "advice", "ticket", "playbook",
    "latching", "re_alarm", "despite_parent", "release_after",
)  # fmt: skip
"""Not `suppresses` and `suppressed_by`: which alarm explains which is checked over all files, so that none go round."""
_DELAYS: Final = ("on_delay", "off_delay")
OF_TYPE: Final[Mapping[RuleType, tuple[str, ...]]] = {
    RuleType.LIMIT: ("above", "below", "deadband", *_DELAYS, "while"),
    RuleType.STATE: (*_DELAYS, "while"),
    RuleType.EVENT: (),
    RuleType.COMBINATION: ("when", *_DELAYS),
    RuleType.RATE: ("above", "below", "deadband", "window", *_DELAYS),
    RuleType.COUNT: ("above", "deadband", "window"),
    RuleType.NO_DATA: ("after", "times", *_DELAYS),
    RuleType.ABSENCE: ("after",),
    RuleType.UNANSWERED: ("after",),
}
"""What decides when a rule of a type speaks. What the rule is about (field, match, parts) is no site's to change."""
_OWN_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SUPPRESSING: Final = frozenset({"suppressed_by", "despite_parent"})
_ONLY_TEXTS: Final = frozenset({"title", "advice"})


def permitted(rule: Rule) -> tuple[str, ...]:
    """The keys that may be changed in a rule."""
    return OF_TYPE[rule.type] + OF_EVERY_TYPE


def check_changes(rule: Rule, changes: Changes) -> None:
    """Raises RuleError where a rule, as its file has it, may not be changed so; the text names what may."""
    _check_not_ours(rule.id)
    foreign = [name for name in changes if name not in permitted(rule)]
    if foreign:
        raise RuleError(
            f"{', '.join(foreign)}: not to be changed in a rule of type {rule.type}; "
            f"what may be changed is {', '.join(permitted(rule))}"
        )
    _check_enabled(changes)
    if not rule.life_safety:
        return
    if changes.get("enabled") is False:
        raise RuleError(
            "enabled: a critical rule stays in force; take the equipment out of service while it is being worked on"
        )
    if changes.get("priority", Priority.CRITICAL.value) != Priority.CRITICAL.value:
        raise RuleError("priority: a rule that is critical in its file stays critical")


def needs_two(rule: Rule, changes: Changes, before: Changes) -> str:
    """Why two people have to look at it, "" where one may do it alone.

    Args:
        rule: as its file has it, or as it holds at the place until now.
        changes: from now on.
        before: until now.
    """
    if not rule.life_safety:
        return ""
    weighty = [
        name
        for name in dict.fromkeys((*changes, *before))
        if name not in _ONLY_TEXTS and changes.get(name) != before.get(name)
    ]
    return f"{rule.id} watches over lives: a second person has to agree to {', '.join(weighty)}" if weighty else ""


def changed(rule: Rule, changes: Changes, place: str) -> Rule:
    """A rule with what is changed in it. Raises RuleError where it could not work so; `place` stands before why.

    A rule that becomes critical is life safety: what its file says of its suppression holds no longer.
    """
    written = {**rule.written, **_without_enabled(changes)}
    if written.get("priority") == Priority.CRITICAL.value:
        written = {name: value for name, value in written.items() if name not in _SUPPRESSING or name in changes}
    return read_rule(written, place)


def own_rule(identity: str, changes: Changes, place: str) -> Rule:
    """A rule that a site has made for itself, as it would stand in a file. Raises RuleError as `changed` does."""
    if changes.get("id", identity) != identity or _OWN_ID.fullmatch(identity) is None:
        raise RuleError(f"{place}: id: up to 64 letters, digits, and _ . -; leave it out of the changes")
    _check_enabled(changes)
    rule = read_rule({**_without_enabled(changes), "id": identity}, place)
    for taken in (identity, *rule.instead_of):
        _check_not_ours(taken)
    return rule


def _check_not_ours(identity: str) -> None:
    if identity == BEAT:
        raise RuleError(f"{identity} proves that alarms come through: it is not to be changed or replaced")


def _check_enabled(changes: Changes) -> None:
    if not isinstance(changes.get("enabled", True), bool):
        raise RuleError("enabled: true or false")


def _without_enabled(changes: Changes) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if name != "enabled"}
