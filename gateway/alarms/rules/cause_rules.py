"""Checks the keys for suppression by design, `suppresses` and `suppressed_by`. Pure."""

from collections.abc import Mapping
from typing import Final

from gateway.alarms.rules.rule import Rule

_HOUR_MS: Final = 3_600_000


def suppression_complaint(rule: Rule) -> str | None:
    """What is wrong with a rule's own suppression keys, or None."""
    if rule.life_safety and (rule.suppressed_by or rule.despite_parent):
        return "life safety is never suppressed: leave suppressed_by and despite_parent out"
    if rule.momentary and rule.suppresses:
        return "a momentary rule returns at once and suppresses nothing"
    return "release_after is at most 1h" if rule.release_after > _HOUR_MS else None


def named_cause_complaint(rule: Rule, rules: Mapping[str, Rule]) -> str | None:
    """What is wrong with the rules that a rule names as causes, or with its `release_after`; or None."""
    for identity in rule.suppressed_by:
        cause = rules.get(identity)
        if cause is None:
            return f"there is no rule {identity} whose alarm could suppress it"
        if cause.kind is not rule.kind:
            return f"{identity} is a rule for {cause.kind}: it never applies to the same equipment"
        if cause.momentary:
            return f"{identity} is momentary: it returns at once and suppresses nothing"
    loop = _loop_from(rule, rules)
    if loop:
        return f"suppressed_by forms a loop: {' -> '.join(loop)}; no alarm would be annunciated"
    named = any(rule.id in other.suppressed_by for other in rules.values())
    if rule.release_after and not (rule.suppresses or named):
        return "release_after is only for a rule that suppresses others; leave it out"
    return None


def _loop_from(rule: Rule, rules: Mapping[str, Rule]) -> list[str]:
    """The path by `suppressed_by` from a rule back to itself; [] if there is none."""
    paths = [[rule.id]]
    seen: set[str] = set()
    while paths:
        path = paths.pop()
        for identity in rules[path[-1]].suppressed_by:
            if identity == rule.id:
                return [*path, identity]
            if identity in rules and identity not in seen:
                seen.add(identity)
                paths.append([*path, identity])
    return []
