"""Suppression by design: which alarms an active cause suppresses. Pure.

Two keys of a rule name a cause. `suppresses` is on the parent's rule: it suppresses the alarms of equipment below it in
that relation. `suppressed_by` is on the child's rule: another alarm of the same equipment suppresses this one. In doubt
nothing is suppressed: never life safety, nor rules with `despite_parent`, nor what began long before the cause; and a
cause that people have suppressed suppresses nothing, or neither alarm would be annunciated.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from gateway.alarms.key import CLOCKS_DIFFER_MS, Key, Scope
from gateway.alarms.rules.rule import Rule
from gateway.alarms.rules.rulebook import Rulebook
from gateway.alarms.suppression.reasons import BY_PEOPLE, Reason, Source, Subject, Suppression, Turn
from gateway.equipment.topology import Topology

EARLIER_MS: Final = 300_000
"""An alarm that began earlier than this before its parent's cause is not suppressed by it.

Five minutes: the longest in which a shipped rule may notice a silent pump before it notices the silent gateway.
"""


class CauseRules:
    """Which rules are causes, and what they suppress, on each equipment."""

    def __init__(self, rulebook: Rulebook) -> None:
        self._rulebook = rulebook
        every = rulebook.every_rule()
        named = {identity for rule in every for identity in rule.suppressed_by}
        causes = [rule for rule in every if rule.suppresses or rule.id in named]
        self.ids = frozenset(rule.id for rule in causes)
        self.longest_release = max((rule.release_after for rule in causes), default=0)
        """The longest `release_after` of all causes, in ms."""

    def of(self, key: Key) -> Rule | None:
        """The rule of an alarm as it applies to its equipment; None if it no longer exists."""
        return self._rulebook.described(key.rule, key.site, key.equipment)

    def release_after(self, key: Key) -> int:
        """How long (ms) suppressed alarms wait after the cause has ended."""
        rule = self.of(key)
        return 0 if rule is None else rule.release_after


class ActiveCause(NamedTuple):
    """An alarm that suppresses others."""

    alarm: str
    """Its id."""
    subject: Subject
    until: int | None = None
    """Its condition has ended and it releases what it suppresses then, epoch ms; None while it is active."""

    @property
    def since(self) -> int:
        """When it began, epoch ms."""
        return self.subject.raised_at


class CauseBook(NamedTuple):
    """The causes at one point in time."""

    rules: CauseRules
    topology: Topology
    causes: Mapping[str, ActiveCause] = {}
    """By the alarm's id."""

    def after(self, alarms: Iterable[tuple[Subject, Mapping[str, Any]]], disproved: frozenset[str]) -> "CauseBook":
        """The causes after some alarms have changed.

        Args:
            alarms: each with its row as it is now.
            disproved: ids of those whose last activation is disproved: it suppresses nothing.
        """
        causes = dict(self.causes)
        for subject, alarm in alarms:
            if subject.key.rule in self.rules.ids:
                cause = self._cause(subject, alarm, disproved=alarm["id"] in disproved)
                causes.pop(alarm["id"], None)
                causes |= {} if cause is None else {cause.alarm: cause}
        return self._replace(causes=causes)

    def _cause(self, subject: Subject, alarm: Mapping[str, Any], *, disproved: bool) -> ActiveCause | None:
        if alarm["active"]:
            return ActiveCause(alarm["id"], subject)
        if disproved or alarm["returned_at"] is None:
            return None
        return ActiveCause(alarm["id"], subject, alarm["returned_at"] + self.rules.release_after(subject.key))

    def concerned(self, subject: Subject) -> set[Scope]:
        """Where an alarm may suppress others: on its own equipment, and on all equipment below it."""
        site, code = subject.key.site, subject.key.equipment
        rule = self.rules.of(subject.key)
        below = self.topology.below(site, code) if rule is not None and rule.suppresses else ()
        return {Scope(site, code), *(Scope(site, child) for child in below)}

    def reached_from(self, places: Iterable[Scope]) -> dict[Scope, Scope]:
        """Some places, and those where a cause there suppresses alarms: each with the place it is reached from."""
        reached = {place: place for place in places}
        for cause in self.causes.values():
            site, code = cause.subject.key[:2]
            start = reached.get(Scope(site, code)) or reached.get(Scope(site))
            if start is not None:
                reached = dict.fromkeys(self.concerned(cause.subject), start) | reached
        return reached

    def source(self, people: tuple[Source, ...] = ()) -> "Causes":
        """As a source of suppression; `people` are the sources by which people suppress alarms."""
        return Causes(self.causes.values(), self.rules, self.topology, people)


class Causes:
    """Every cause that is active or not yet released: one of the sources of suppression."""

    def __init__(
        self,
        causes: Iterable[ActiveCause],
        rules: CauseRules,
        topology: Topology,
        people: tuple[Source, ...] = (),
    ) -> None:
        """Index causes by place; `people` are the sources by which people suppress alarms."""
        self._rules = rules
        self._topology = topology
        self._people = people
        self._by_place: dict[Scope, list[ActiveCause]] = {}
        for cause in sorted(causes, key=lambda cause: (cause.since, cause.alarm)):
            key = cause.subject.key
            self._by_place.setdefault(Scope(key.site, key.equipment), []).append(cause)

    def applying(self, subject: Subject, now: int) -> Iterator[Suppression]:
        """What suppresses an alarm now: at most the topmost cause of its parents, and one named by its rule."""
        rule = self._rules.of(subject.key)
        if not self._by_place or rule is None or subject.life_safety:
            return
        cause = self._by_parent(subject, rule, now)
        if cause is not None:
            yield _suppression(Reason.PARENT, self._topmost(cause, now), subject)
        cause = self._by_rule(subject.key, rule, now)
        if cause is not None:
            yield _suppression(Reason.RULE, cause, subject)

    def turns(self) -> Iterator[Turn]:
        """When causes that have ended release what they suppressed."""
        for place, causes in self._by_place.items():
            yield from (Turn(cause.until, Scope(place.site)) for cause in causes if cause.until is not None)

    def _by_parent(self, subject: Subject, rule: Rule, now: int) -> ActiveCause | None:
        if rule.despite_parent:
            return None
        site = subject.key.site
        for code, relation in self._topology.ancestors(site, subject.key.equipment):
            for cause in self._by_place.get(Scope(site, code), ()):
                of_cause = self._rules.of(cause.subject.key)
                explains = of_cause is not None and relation in of_cause.suppresses
                if explains and self._counts(cause, now) and self._is_in_time(subject, cause, now):
                    return cause
        return None

    def _is_in_time(self, subject: Subject, cause: ActiveCause, now: int) -> bool:
        """Whether it began with the cause, or has been under it since: the cause may have returned and come again."""
        if subject.raised_at >= cause.since - EARLIER_MS:
            return True
        return bool(subject.explained) and subject.explained_since(self._topmost(cause, now).alarm) is not None

    def _topmost(self, cause: ActiveCause, now: int) -> ActiveCause:
        """Links make no loop, so this ends: each step goes up."""
        rule = self._rules.of(cause.subject.key)
        above = None if rule is None or cause.subject.life_safety else self._by_parent(cause.subject, rule, now)
        return cause if above is None else self._topmost(above, now)

    def _by_rule(self, key: Key, rule: Rule, now: int) -> ActiveCause | None:
        here = self._by_place.get(Scope(key.site, key.equipment), ())
        return next(
            (cause for cause in here if cause.subject.key.rule in rule.suppressed_by and self._counts(cause, now)), None
        )

    def _counts(self, cause: ActiveCause, now: int) -> bool:
        if cause.until is not None and not self._still_explains(cause, cause.until, now):
            return False
        by_people = (item for source in self._people for item in source.applying(cause.subject, now))
        return not any(item.reason in BY_PEOPLE for item in by_people)

    def _still_explains(self, cause: ActiveCause, until: int, now: int) -> bool:
        """False for an end far in the future: the clock was set back since, so the real end is not known."""
        ended = until - self._rules.release_after(cause.subject.key)
        return ended <= now + CLOCKS_DIFFER_MS and now < until


def _suppression(reason: Reason, cause: ActiveCause, subject: Subject) -> Suppression:
    """The suppression by a cause; `since` is kept for an alarm that is already under it."""
    since = subject.explained_since(cause.alarm)
    return Suppression(
        reason=reason, by=cause.alarm, since=cause.since if since is None else since, why=cause.subject.key.rule
    )
