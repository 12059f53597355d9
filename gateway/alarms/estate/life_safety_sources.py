"""Which equipment is a source of life safety, by the fields it has sent. Pure."""

from collections.abc import Collection, Iterable

from collectors.wire.fields import UNREADABLE
from gateway.alarms.rules.rule import Rule, RuleType, inputs_of


def is_life_safety_source(rules: Iterable[Rule], sent: Collection[str] | None) -> bool:
    """Whether an equipment has signals of life safety.

    Args:
        rules: those that apply to it.
        sent: the fields that it has sent so far; None if it has sent nothing: then the fields of its kind count.
    """
    return any(rule.life_safety and _looks_at(rule, sent) for rule in rules)


def _looks_at(rule: Rule, sent: Collection[str] | None) -> bool:
    if rule.type is RuleType.EVENT:
        return not _is_about_unreadable(rule)
    return sent is None or any(name in sent for name in inputs_of(rule))


def _is_about_unreadable(rule: Rule) -> bool:
    """Rules on unreadable messages exist for every kind with life-safety fields, whether it sends them or not."""
    return set(rule.match.get("type", ())) == {UNREADABLE}
