"""Versions of rule changes: one for each change, none is ever deleted; a rollback is a new version too.

The leader applies a version at its next tick.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, RowMapping, Update, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.alarms.rules.changes import check_changes, needs_two
from gateway.alarms.rules.files import RuleError
from gateway.alarms.rules.rule import Priority, Rule
from gateway.alarms.rules.rulebook import Override, Rulebook, RuleScope
from gateway.equipment.estate import Estate
from gateway.people.audit.entry import Cause, audited
from gateway.storage.database import Database
from gateway.storage.queries.index_use import after
from gateway.storage.records import NewFact
from gateway.storage.tables import rule_version
from gateway.storage.transaction import Transaction

CHANGED: Final = "rule.changed"
"""The fact of each version."""


class StaleRule(Exception):
    """The rule was changed in this scope since it was read."""


class NoSuchVersion(Exception):
    """The rule has no such version in this scope."""


class TwoPeopleNeeded(Exception):
    """It is a life-safety rule, and there is no second person."""


class Wish(NamedTuple):
    """A requested change. `version` is the one on the screen, 0 if nothing was ever changed."""

    place: RuleScope
    changes: Mapping[str, Any]
    version: int
    note: str = ""
    equals: int | None = None
    """The version to roll back to."""


async def overrides(connection: AsyncConnection, until: int | None = None) -> list[Override]:
    """The newest version in each scope; with `until` as of the time when that row's id was the newest."""
    superseded_by = rule_version.c.superseded_by
    wanted: list[ColumnElement[bool]] = [superseded_by.is_(None)]
    if until is not None:
        then = rule_version.c.id <= until
        wanted = [superseded_by.is_(None) & then, after(superseded_by, until) & then]
    held: list[Override] = []
    for condition in wanted:
        found = await connection.execute(select(rule_version).where(condition))
        held += [override_of(row) for row in found.mappings()]
    return held


def override_of(row: RowMapping) -> Override:
    """The override of a row."""
    return Override(RuleScope(row["rule"], row["site"], row["equipment"]), row["version"], row["changes"])


async def versions_after(connection: AsyncConnection, row: int) -> list[dict[str, Any]]:
    """The versions after a row, oldest first."""
    later = select(rule_version).where(after(rule_version.c.id, row)).order_by(rule_version.c.id)
    found = await connection.execute(later)
    return [dict(version) for version in found.mappings()]


async def change(
    database: Database, rules: Sequence[Rule], wish: Wish, cause: Cause, second_person: str | None, now: int
) -> dict[str, Any]:
    """Write the next version of a rule in a scope, with audit and fact. Returns its row.

    Raises:
        RuleError: the changed rule is invalid, or the change is not permitted.
        StaleRule: it has changed since `wish.version`.
        TwoPeopleNeeded: it is a life-safety rule, and there is no second person.
    """
    async with database.transaction() as transaction:
        rulebook = Rulebook(rules, await overrides(transaction))
        before = await _newest(transaction, wish.place)
        if before.version != wish.version:
            raise StaleRule(f"the rule is at version {before.version} here, not {wish.version}")
        _check(rulebook, wish, before.changes, second_person)
        row = {
            **wish.place._asdict(),
            "version": before.version + 1,
            "changes": dict(wish.changes),
            "equals": wish.equals,
            "person": cause.actor,
            "second_person": second_person,
            "at": now,
            "note": wish.note,
        }
        written = await transaction.execute(insert(rule_version).returning(rule_version.c.id), row)
        identity = written.scalar_one()
        await transaction.execute(_supersede(wish.place, before.version, identity))
        _record(transaction, row, before, cause, now)
        return {**row, "id": identity}


async def roll_back(
    database: Database,
    rules: Sequence[Rule],
    wish: Wish,
    cause: Cause,
    second_person: str | None,
    now: int,
) -> dict[str, Any]:
    """Restore an older version as a new one; `wish.equals` is its number, 0 for no change at all.

    Raises as `change` does, and NoSuchVersion.
    """
    async with database.reading() as connection:
        older = await _at(connection, wish.place, wish.equals or 0)
    return await change(database, rules, wish._replace(changes=older.changes), cause, second_person, now)


def _check(rulebook: Rulebook, wish: Wish, before: Mapping[str, Any], second_person: str | None) -> None:
    filed = rulebook.filed.get(wish.place.rule)
    if filed is not None:
        check_changes(filed, wish.changes)
    why = _why_two(rulebook, wish, before)
    if why and second_person is None:
        raise TwoPeopleNeeded(why)
    others = [item for place, item in rulebook.overrides.items() if place != wish.place]
    after = rulebook.with_overrides([*others, Override(wish.place, wish.version + 1, wish.changes)])
    news = after.problems  # also of equipment's changes that would no longer be valid on top of this
    if news:
        raise RuleError("; ".join(news))


def _why_two(rulebook: Rulebook, wish: Wish, before: Mapping[str, Any]) -> str:
    """A rule is critical if it is in its file, or if its site has made it so for all its equipment."""
    place = wish.place
    known = [rule for rule in (rulebook.filed.get(place.rule), rulebook.described(*place)) if rule is not None]
    if not known and before.get("priority") == Priority.CRITICAL.value:  # and can no longer be applied
        return f"{place.rule} is a life-safety rule: a second person has to agree to change it"
    return next((why for rule in known if (why := needs_two(rule, wish.changes, before))), "")


async def current_rulebook(database: Database, filed: Sequence[Rule], estate: Estate) -> Rulebook:
    """The rules of the files with the current changes of the sites."""
    async with database.reading() as connection:
        return Rulebook(filed, await overrides(connection), estate)


async def _newest(connection: AsyncConnection, place: RuleScope) -> Override:
    found = await connection.execute(_at_place(place).order_by(rule_version.c.version.desc()).limit(1))
    row = found.mappings().one_or_none()
    return Override(place, 0, {}) if row is None else override_of(row)


async def _at(connection: AsyncConnection, place: RuleScope, version: int) -> Override:
    if version == 0:
        return Override(place, 0, {})
    found = await connection.execute(_at_place(place).where(rule_version.c.version == version))
    row = found.mappings().one_or_none()
    if row is None:
        raise NoSuchVersion(f"{place.rule} has no version {version} for {place}")
    return override_of(row)


def _at_place(place: RuleScope) -> Any:
    return select(rule_version).where(*_is_at(place))


def _is_at(place: RuleScope) -> list[ColumnElement[bool]]:
    return [rule_version.c[name] == value for name, value in place._asdict().items()]


def _supersede(place: RuleScope, version: int, by: int) -> Update:
    """Mark a version in a scope as superseded; 0: there was none before."""
    return update(rule_version).where(*_is_at(place), rule_version.c.version == version).values(superseded_by=by)


def _record(transaction: Transaction, row: Mapping[str, Any], before: Override, cause: Cause, now: int) -> None:
    place = before.place
    was = {"equipment": place.equipment, "version": before.version, "changes": dict(before.changes)}
    after = {name: row[name] for name in (*was, "note", "second_person", "equals")}
    transaction.add_audit(audited(now, place.site, cause, CHANGED, place.rule, was, after))
    body = {"equipment": place.equipment, "version": row["version"]}
    transaction.add_facts(NewFact(now, place.site, CHANGED, place.rule, body))
