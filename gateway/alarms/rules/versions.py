"""What sites change in the rules: a version for each change, none is ever lost; to roll back is a new version too.

Nothing here judges: the owner of the alarms takes up a version at its next tick.
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
    """Somebody has changed the rule at this place since it was looked at."""


class NoSuchVersion(Exception):
    """The rule has no such version at this place."""


class TwoPeopleNeeded(Exception):
    """It decides over lives, and one person alone asks for it."""


class Wish(NamedTuple):
    """A change as somebody asks for it. `version` is the one on the screen, 0 where nothing was ever changed."""

    place: RuleScope
    changes: Mapping[str, Any]
    version: int
    note: str = ""
    equals: int | None = None
    """The version that it is rolled back to."""


async def overrides(connection: AsyncConnection, until: int | None = None) -> list[Override]:
    """The newest version at each place; with `until` as it was when that row's id was the newest."""
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
    """A row as the rulebook works with it."""
    return Override(RuleScope(row["rule"], row["site"], row["equipment"]), row["version"], row["changes"])


async def versions_after(connection: AsyncConnection, row: int) -> list[dict[str, Any]]:
    """The versions that came after a row, oldest first."""
    later = select(rule_version).where(after(rule_version.c.id, row)).order_by(rule_version.c.id)
    found = await connection.execute(later)
    return [dict(version) for version in found.mappings()]


async def change(
    database: Database, rules: Sequence[Rule], wish: Wish, cause: Cause, second_person: str | None, now: int
) -> dict[str, Any]:
    """Write the next version of a rule at a place, with audit and fact. Returns its row.

    Raises:
        RuleError: the rule could not work so, or may not be changed so.
        StaleRule: it has changed since `wish.version`.
        TwoPeopleNeeded: it decides over lives, and there is no second person.
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
    """Let an older version hold again, as a new one; `wish.equals` says which, 0 as it is without any change.

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
    news = after.problems  # also of what equipment has changed, which would not fit on this any more
    if news:
        raise RuleError("; ".join(news))


def _why_two(rulebook: Rulebook, wish: Wish, before: Mapping[str, Any]) -> str:
    """Critical is a rule that is so in its file, and one that its site has made so: for all of the site's equipment."""
    place = wish.place
    known = [rule for rule in (rulebook.filed.get(place.rule), rulebook.described(*place)) if rule is not None]
    if not known and before.get("priority") == Priority.CRITICAL.value:  # and cannot be used any more
        return f"{place.rule} watches over lives: a second person has to agree to change it"
    return next((why for rule in known if (why := needs_two(rule, wish.changes, before))), "")


async def current_rulebook(database: Database, filed: Sequence[Rule], estate: Estate) -> Rulebook:
    """The rules of the files with what the sites have changed, as it is now."""
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
    """Note of a version at a place which one took its place; 0: there was none before."""
    return update(rule_version).where(*_is_at(place), rule_version.c.version == version).values(superseded_by=by)


def _record(transaction: Transaction, row: Mapping[str, Any], before: Override, cause: Cause, now: int) -> None:
    place = before.place
    was = {"equipment": place.equipment, "version": before.version, "changes": dict(before.changes)}
    after = {name: row[name] for name in (*was, "note", "second_person", "equals")}
    transaction.add_audit(audited(now, place.site, cause, CHANGED, place.rule, was, after))
    body = {"equipment": place.equipment, "version": row["version"]}
    transaction.add_facts(NewFact(now, place.site, CHANGED, place.rule, body))
