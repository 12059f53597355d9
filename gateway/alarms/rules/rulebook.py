"""The rules in force: those of the files, with what each site has changed for all its equipment or for one. No I/O.

What is nearer to the equipment wins, key by key: the equipment's change, then its site's, then the file.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from collectors.wire.fields import Kind
from gateway.alarms.rules.cause_rules import named_cause_complaint
from gateway.alarms.rules.changes import changed, check_changes, own_rule
from gateway.alarms.rules.files import RuleError
from gateway.alarms.rules.rule import Rule, RuleType, is_for

_ALL: Final = ("*",)


class RuleScope(NamedTuple):
    """Where a rule is changed: for one equipment, or with "" for all of a site."""

    rule: str
    site: str
    equipment: str

    def __str__(self) -> str:
        return f"{self.site}:{self.equipment}" if self.equipment else self.site

    def covers(self, rule: str, site: str, equipment: str) -> bool:
        """Whether a change here is one for that equipment."""
        return (rule, site) == self[:2] and self.equipment in ("", equipment)


class Override(msgspec.Struct, frozen=True):
    """What differs at a place from the rule below it, by the keys of a rule file."""

    place: RuleScope
    version: int
    changes: Mapping[str, Any]


class Rulebook:
    """Which rules watch an equipment, and how."""

    def __init__(self, rules: Iterable[Rule], overrides: Iterable[Override] = ()) -> None:
        self.filed = {rule.id: rule for rule in rules}
        """Rules as their files have them, by id."""
        self.overrides: dict[RuleScope, Override] = {}
        """What is changed and can be used."""
        self.versions: dict[RuleScope, int] = {}
        """The newest version at each place where something was ever changed."""
        self.problems: list[str] = []
        """What is changed and cannot be used, and why: what lies below it holds instead."""
        self._made: dict[RuleScope, Rule] = {}
        self._by_kind: dict[Kind, list[str]] = {}
        self._own: dict[str, list[str]] = {}
        # Most equipment has what its site has: worked out once for all of it.
        self._of_site: dict[tuple[str, Kind], list[Rule]] = {}
        self._changed_equipment: set[tuple[str, str]] = set()
        for rule in self.filed.values():
            self._by_kind.setdefault(rule.kind, []).append(rule.id)
        for override in sorted(overrides, key=lambda item: item.place):  # a site's before those of its equipment
            self.versions[override.place] = override.version
            if override.changes:
                self._lay_over(override)

    def _lay_over(self, override: Override) -> None:
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
            raise RuleError(f"{name}: instead_of: nothing takes the place of a critical rule: {', '.join(critical)}")
        if rule.of and rule.of not in self.filed:
            raise RuleError(f"{name}: of: there is no rule {rule.of} whose alarm could wait for an answer")
        complaint = named_cause_complaint(rule, {**self.filed, rule.id: rule})
        if complaint:
            raise RuleError(f"{name}: {complaint}")
        return rule

    def with_overrides(self, overrides: Iterable[Override]) -> "Rulebook":
        """The same files with other changes."""
        return Rulebook(self.filed.values(), overrides)

    def every_rule(self) -> list[Rule]:
        """Each as the files have it, and as it is changed at some place."""
        return [*self.filed.values(), *self._made.values()]

    def of_type(self, kind: RuleType) -> list[Rule]:
        """Those of a type."""
        return [rule for rule in self.every_rule() if rule.type is kind]

    def ids(self, site: str, kind: Kind | None = None) -> list[str]:
        """Every rule of the files (of a kind), and those that the site has made for itself."""
        filed = list(self.filed) if kind is None else self._by_kind.get(kind, [])
        return [*filed, *self._own.get(site, ())]

    def in_force(self, rule: str, site: str, equipment: str) -> Rule | None:
        """A rule as it holds for an equipment ("" for its site as a whole); None where it is not in force."""
        return self.described(rule, site, equipment) if self.is_enabled(rule, site, equipment) else None

    def described(self, rule: str, site: str, equipment: str) -> Rule | None:
        """The same, also where it is out of force; None where there is no such rule."""
        of_site = self._made.get(RuleScope(rule, site, ""), self.filed.get(rule))
        return self._made.get(RuleScope(rule, site, equipment), of_site) if equipment else of_site

    def is_enabled(self, rule: str, site: str, equipment: str) -> bool:
        """Whether nobody has taken it out of force here."""
        for place in (RuleScope(rule, site, equipment), RuleScope(rule, site, "")):
            override = self.overrides.get(place)
            if override is not None and "enabled" in override.changes:
                return override.changes["enabled"] is True
        return True

    def rules_for(self, site: str, kind: Kind, equipment: str) -> list[Rule]:
        """The rules that watch an equipment: without those in the place of which another one stands."""
        if (site, equipment) in self._changed_equipment:
            found = self._in_force(site, kind, equipment)
        else:
            found = self._of_site.get((site, kind)) or self._in_force(site, kind, "")
            self._of_site[site, kind] = found
        rules = [rule for rule in found if rule.equipment == _ALL or is_for(rule, equipment)]
        replaced = {identity for rule in rules for identity in rule.instead_of}
        return [rule for rule in rules if rule.id not in replaced]

    def _in_force(self, site: str, kind: Kind, equipment: str) -> list[Rule]:
        found = [self.in_force(identity, site, equipment) for identity in self.ids(site, kind)]
        return [rule for rule in found if rule is not None and rule.kind is kind]
