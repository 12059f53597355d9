"""Rules that explain the alarms of others, or are explained: which of them cannot work. Pure."""

from collections.abc import Mapping
from typing import Final

from gateway.alarms.rules.rule import Rule

_HOUR_MS: Final = 3_600_000


def suppression_complaint(rule: Rule) -> str | None:
    """What keeps a rule, by itself, from suppressing or being suppressed; or None."""
    if rule.life_safety and (rule.suppressed_by or rule.despite_parent):
        return "life safety is never suppressed: leave suppressed_by and despite_parent out"
    if rule.momentary and rule.suppresses:
        return "what is over as soon as it is told suppresses nothing"
    return "release_after is at most 1h" if rule.release_after > _HOUR_MS else None


def named_cause_complaint(rule: Rule, rules: Mapping[str, Rule]) -> str | None:
    """What is wrong with the rules that one names as causes, or with the time after which it releases."""
    for identity in rule.suppressed_by:
        cause = rules.get(identity)
        if cause is None:
            return f"there is no rule {identity} whose alarm could suppress it"
        if cause.kind is not rule.kind:
            return f"{identity} is a rule for {cause.kind}: it never stands on the same equipment"
        if cause.momentary:
            return f"{identity} is over as soon as it is told and suppresses nothing"
    loop = _loop_from(rule, rules)
    if loop:
        return f"suppressed_by goes round: {' -> '.join(loop)}; nobody would be told"
    named = any(rule.id in other.suppressed_by for other in rules.values())
    if rule.release_after and not (rule.suppresses or named):
        return "release_after is for what suppresses something; leave it out"
    return None


def _loop_from(rule: Rule, rules: Mapping[str, Rule]) -> list[str]:
    """The way by `suppressed_by` from a rule back to itself; [] where there is none."""
    ways = [[rule.id]]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for identity in rules[way[-1]].suppressed_by:
            if identity == rule.id:
                return [*way, identity]
            if identity in rules and identity not in seen:
                seen.add(identity)
                ways.append([*way, identity])
    return []
