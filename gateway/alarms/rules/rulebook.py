"""The rules in force: those of the files, with each site's changes for all its equipment or for one. No I/O.

The most specific scope wins, key by key: the equipment's change, then its site's, then the file.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from collectors.wire.fields import Kind
from gateway.alarms.rules.cause_rules import named_cause_complaint
from gateway.alarms.rules.changes import changed, check_changes, own_rule
from gateway.alarms.rules.files import RuleError
from gateway.alarms.rules.rule import Rule, RuleType, is_for
from gateway.equipment.estate import Estate

NOTHING_CHANGED: Final = Estate()
_ALL: Final = ("*",)
_NEEDS_MESSAGES: Final = frozenset({RuleType.NO_DATA, RuleType.ABSENCE, RuleType.RESPONSE_TIMEOUT})


class RuleScope(NamedTuple):
    """The scope of a rule change: one equipment, or with "" all of a site."""

    rule: str
    site: str
    equipment: str

    def __str__(self) -> str:
        return f"{self.site}:{self.equipment}" if self.equipment else self.site

    def covers(self, rule: str, site: str, equipment: str) -> bool:
        """Whether a change in this scope applies to that equipment."""
        return (rule, site) == self[:2] and self.equipment in ("", equipment)


class Override(msgspec.Struct, frozen=True):
    """The changes in a scope from the less specific rule, by the keys of a rule file."""

    place: RuleScope
    version: int
    changes: Mapping[str, Any]


class Rulebook:
    """Which rules apply to an equipment, and with which values."""

    def __init__(
        self,
        rules: Iterable[Rule],
        overrides: Iterable[Override] = (),
        estate: Estate = NOTHING_CHANGED,
    ) -> None:
        self._estate = estate
        self.filed = {rule.id: rule for rule in rules}
        """Rules of the files, by id."""
        self.overrides: dict[RuleScope, Override] = {}
        """The changes that can be applied."""
        self.versions: dict[RuleScope, int] = {}
        """The newest version in each scope with changes, past or present."""
        self.problems: list[str] = []
        """Changes that cannot be applied, and why: the less specific rule applies instead."""
        self._every_override = tuple(overrides)
        self._made: dict[RuleScope, Rule] = {}
        self._by_kind: dict[Kind, list[str]] = {}
        self._own: dict[str, list[str]] = {}
        # Most equipment has the rules of its site: computed once for all of it.
        self._of_site: dict[tuple[str, Kind], list[Rule]] = {}
        self._changed_equipment: set[tuple[str, str]] = set()
        for rule in self.filed.values():
            self._by_kind.setdefault(rule.kind, []).append(rule.id)
        for override in sorted(
            self._every_override, key=lambda item: item.place
        ):  # a site's changes before those of its equipment
            self.versions[override.place] = override.version
            if override.changes:
                self._apply_override(override)

    def _apply_override(self, override: Override) -> None:
        place, name = override.place, f"version {override.version} for {override.place}"
        filed = self.filed.get(place.rule)
        below = self._made.get(place._replace(equipment=""), filed)
        try:
            if below is not None:
                check_changes(filed or below, override.changes)
                rule = changed(below, override.changes, name)
            else:
                rule = self._own_rule(place, override.changes, name)
                self._own.setdefault(place.site, []).append(place.rule)
        except RuleError as error:
            self.problems.append(f"{place.rule}: {error}")
            return
        self._made[place], self.overrides[place] = rule, override
        self._changed_equipment.add((place.site, place.equipment))

    def _own_rule(self, place: RuleScope, changes: Mapping[str, Any], name: str) -> Rule:
        if place.equipment:
            raise RuleError(f"{name}: there is no rule {place.rule} on this site")
        rule = own_rule(place.rule, changes, name)
        critical = [item for item in rule.instead_of if item in self.filed and self.filed[item].life_safety]
        if critical:
            raise RuleError(f"{name}: instead_of: a critical rule cannot be replaced: {', '.join(critical)}")
        if rule.of and rule.of not in self.filed:
            raise RuleError(f"{name}: of: there is no rule {rule.of} whose alarm could be acknowledged")
        complaint = named_cause_complaint(rule, {**self.filed, rule.id: rule})
        if complaint:
            raise RuleError(f"{name}: {complaint}")
        return rule

    def with_overrides(self, overrides: Iterable[Override]) -> "Rulebook":
        """The same files with other changes."""
        return Rulebook(self.filed.values(), overrides, self._estate)

    def with_estate(self, estate: Estate) -> "Rulebook":
        """The same rules with another state of the equipment: renamed, replaced or retired."""
        return Rulebook(self.filed.values(), self._every_override, estate)

    def every_rule(self) -> list[Rule]:
        """All rules of the files, and all with changes in some scope."""
        return [*self.filed.values(), *self._made.values()]

    def of_type(self, kind: RuleType) -> list[Rule]:
        """All rules of a type."""
        return [rule for rule in self.every_rule() if rule.type is kind]

    def ids(self, site: str, kind: Kind | None = None) -> list[str]:
        """Ids of the rules of the files (of a kind), and of the site's own rules."""
        filed = list(self.filed) if kind is None else self._by_kind.get(kind, [])
        return [*filed, *self._own.get(site, ())]

    def in_force(self, rule: str, site: str, equipment: str) -> Rule | None:
        """A rule as it applies to an equipment ("" for its site as a whole); None if it is not in force."""
        return self.described(rule, site, equipment) if self.is_enabled(rule, site, equipment) else None

    def described(self, rule: str, site: str, equipment: str) -> Rule | None:
        """The same, also if it is disabled; None if there is no such rule."""
        of_site = self._made.get(RuleScope(rule, site, ""), self.filed.get(rule))
        return self._made.get(RuleScope(rule, site, equipment), of_site) if equipment else of_site

    def is_enabled(self, rule: str, site: str, equipment: str) -> bool:
        """Whether a rule is enabled in this scope."""
        for place in (RuleScope(rule, site, equipment), RuleScope(rule, site, "")):
            override = self.overrides.get(place)
            if override is not None and "enabled" in override.changes:
                return override.changes["enabled"] is True
        return True

    def rules_for(self, site: str, kind: Kind, equipment: str) -> list[Rule]:
        """The rules that apply to an equipment, without those that another one replaces.

        A rule that names a code still applies to equipment that had this code before, and to its replacement. Patterns
        match the current code, but a rename removes no life-safety rule. No messages are expected of retired equipment,
        but its life-safety signals are alarms.
        """
        if (site, equipment) in self._changed_equipment:
            found = self._in_force(site, kind, equipment)
        else:
            found = self._of_site.get((site, kind)) or self._in_force(site, kind, "")
            self._of_site[site, kind] = found
        earlier = self._estate.earlier_codes.get((site, equipment), frozenset())
        rules = [
            rule
            for rule in found
            if rule.equipment == _ALL or is_for(rule, equipment) or any(_goes_on(rule, code) for code in earlier)
        ]
        replaced = {identity for rule in rules for identity in rule.instead_of}
        watching = [rule for rule in rules if rule.id not in replaced]
        if (site, equipment) in self._estate.retired:
            return [rule for rule in watching if rule.life_safety and rule.type not in _NEEDS_MESSAGES]
        return watching

    def _in_force(self, site: str, kind: Kind, equipment: str) -> list[Rule]:
        found = [self.in_force(identity, site, equipment) for identity in self.ids(site, kind)]
        return [rule for rule in found if rule is not None and rule.kind is kind]


def _goes_on(rule: Rule, earlier_code: str) -> bool:
    return is_for(rule, earlier_code) if rule.life_safety else earlier_code in rule.equipment
