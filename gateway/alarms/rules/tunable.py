"""The values of a rule that may be changed, with units and origin, for display. No I/O."""

from typing import Any, Final, Literal, NamedTuple

from collectors.wire.fields import Channel, fields_of
from gateway.alarms.rules.changes import permitted
from gateway.alarms.rules.rule import Rule, RuleType
from gateway.alarms.rules.rulebook import Rulebook, RuleScope

_MEASURED: Final = frozenset({"above", "below", "deadband"})


class Setting(NamedTuple):
    """One value. `given_by` is its origin: "nobody" if it is not set and the default applies."""

    key: str
    value: Any
    unit: str
    given_by: Literal["file", "site", "equipment", "nobody"]
    file_value: Any


def settings_of(rulebook: Rulebook, rule: Rule, site: str, equipment: str) -> list[Setting]:
    """Every value of a rule that may be changed, as it applies in a scope."""
    return [_setting(rulebook, rule, site, equipment, key) for key in permitted(rule)]


def _setting(rulebook: Rulebook, rule: Rule, site: str, equipment: str, key: str) -> Setting:
    filed = rulebook.filed.get(rule.id)
    file_value = filed.written.get(key) if filed else None
    unit = unit_for(rule) if key in _MEASURED else ""
    if key == "enabled":
        file_value = True if filed else None
    for place, given_by in ((RuleScope(rule.id, site, equipment), "equipment"), (RuleScope(rule.id, site, ""), "site")):
        override = rulebook.overrides.get(place)
        if override is not None and key in override.changes and (given_by == "site" or equipment):
            return Setting(key, override.changes[key], unit, given_by, file_value)  # type: ignore[arg-type]
    return Setting(key, file_value, unit, "nobody" if file_value is None else "file", file_value)


def unit_for(rule: Rule) -> str:
    """Unit of its limit: a rate is a change per minute, a count has none."""
    if rule.type is RuleType.COUNT:
        return ""
    unit = unit_of(rule)
    return f"{unit}/min" if rule.type is RuleType.RATE else unit


def unit_of(rule: Rule) -> str:
    """Unit of the field that a rule uses."""
    field = fields_of(rule.kind, Channel.TELEMETRY).get(rule.field)
    return field.unit if field else ""
