"""What a site may change in a rule, for all its equipment or for one, and what requires two people. No I/O.

A change is applied to the rule of the file, and the result passes the same checks as a file.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.alarms.rules.files import RuleError, read_rule
from gateway.alarms.rules.rule import PROBE_RULE_ID, Priority, Rule, RuleType

Changes = Mapping[str, Any]
"""Keys of a rule file and their new values; `enabled: false` disables the rule."""

OF_EVERY_TYPE: Final = (
    "enabled", "priority", "title", "advice", "ticket", "playbook",
    "latching", "re_alarm", "despite_parent", "release_after",
)  # fmt: skip
"""Not `suppresses` and `suppressed_by`: they are checked over all files, so that there are no loops."""
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
    RuleType.RESPONSE_TIMEOUT: ("after",),
}
"""Keys that decide when a rule of a type is breached. Its inputs (field, match, parts) cannot be changed."""
_OWN_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SUPPRESSING: Final = frozenset({"suppressed_by", "despite_parent"})
_ONLY_TEXTS: Final = frozenset({"title", "advice"})


def permitted(rule: Rule) -> tuple[str, ...]:
    """The keys that may be changed in a rule."""
    return OF_TYPE[rule.type] + OF_EVERY_TYPE


def check_changes(rule: Rule, changes: Changes) -> None:
    """Raises RuleError if a change of a rule of the files is not permitted; the text names what is."""
    _check_not_built_in(rule.id)
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
            "enabled: a critical rule cannot be disabled; take the equipment out of service while it is being worked on"
        )
    if changes.get("priority", Priority.CRITICAL.value) != Priority.CRITICAL.value:
        raise RuleError("priority: a rule that is critical in its file stays critical")


def needs_two(rule: Rule, changes: Changes, before: Changes) -> str:
    """Why a change requires two people, "" if one may do it alone.

    Args:
        rule: as in its file, or as it applies in the scope until now.
        changes: the new changes.
        before: the changes until now.
    """
    if not rule.life_safety:
        return ""
    critical = [
        name
        for name in dict.fromkeys((*changes, *before))
        if name not in _ONLY_TEXTS and changes.get(name) != before.get(name)
    ]
    return f"{rule.id} is a life-safety rule: a second person has to agree to {', '.join(critical)}" if critical else ""


def changed(rule: Rule, changes: Changes, place: str) -> Rule:
    """A rule with changes. Raises RuleError if it is invalid; `place` is used in the error.

    A rule that becomes critical is life safety: the suppression keys of its file no longer apply.
    """
    written = {**rule.written, **_without_enabled(changes)}
    if written.get("priority") == Priority.CRITICAL.value:
        written = {name: value for name, value in written.items() if name not in _SUPPRESSING or name in changes}
    return read_rule(written, place)


def own_rule(identity: str, changes: Changes, place: str) -> Rule:
    """A site's own rule, with the keys of a rule file. Raises RuleError as `changed` does."""
    if changes.get("id", identity) != identity or _OWN_ID.fullmatch(identity) is None:
        raise RuleError(f"{place}: id: up to 64 letters, digits, and _ . -; leave it out of the changes")
    _check_enabled(changes)
    rule = read_rule({**_without_enabled(changes), "id": identity}, place)
    for taken in (identity, *rule.instead_of):
        _check_not_built_in(taken)
    return rule


def _check_not_built_in(identity: str) -> None:
    if identity == PROBE_RULE_ID:
        raise RuleError(f"{identity} is built in: it cannot be changed or replaced")


def _check_enabled(changes: Changes) -> None:
    if not isinstance(changes.get("enabled", True), bool):
        raise RuleError("enabled: true or false")


def _without_enabled(changes: Changes) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if name != "enabled"}
