"""Rules: list those in force at a place, list their versions, change them, and roll back."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import select

from collectors.wire.fields import Kind
from collectors.wire.reading import to_datetime
from gateway.alarms.rules.files import RuleError
from gateway.alarms.rules.rule import Rule
from gateway.alarms.rules.rulebook import Rulebook, RuleScope
from gateway.alarms.rules.tunable import settings_of
from gateway.alarms.rules.versions import (
    NoSuchVersion,
    StaleRule,
    TwoPeopleNeeded,
    Wish,
    change,
    current_rulebook,
    roll_back,
)
from gateway.api.alarms.rule_bodies import ChangeRule, RollBackRule, RuleBody, RuleSetting, RuleVersionBody
from gateway.api.http.bodies import Page, texts
from gateway.api.http.pages import branches_of, page_of, places
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, NeedsSecondPerson, Route
from gateway.people.permissions import Permission, may
from gateway.storage.queries.keyset import Branch
from gateway.storage.tables import rule_version


class RuleQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    site: str = ""
    equipment: str = ""
    """`{site}:{code}`: the rules that watch it."""
    kind: Kind | None = None


class PlaceQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    site: str = ""
    equipment: str = ""
    """`{site}:{code}`."""


class VersionQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    site: str | None = None
    equipment: str | None = None
    """`{site}:{code}`."""
    cursor: int | None = None
    limit: int = 100


class _Where(NamedTuple):
    """The requested place; both "" for the files."""

    site: str
    equipment: str


async def list_rules(call: Call) -> Page[RuleBody]:
    query: RuleQuery = call.query
    where, rulebook = _where(call, query.site, query.equipment, Permission.WATCH), await rulebook_of(call)
    kind = query.kind
    if where.equipment:
        its_kind = Kind(call.services.ledger.equipment[where].kind)
        if kind not in (None, its_kind):
            return Page([])
        kind = its_kind
    found = [(rulebook.described(identity, *where), identity) for identity in rulebook.ids(where.site, kind)]
    rules = [rule for rule, _ in found if rule is not None and (kind is None or rule.kind is kind)]
    return Page([_rule_body(rulebook, rule, where) for rule in rules])


async def show_rule(call: Call) -> RuleBody:
    query: PlaceQuery = call.query
    where, rulebook = _where(call, query.site, query.equipment, Permission.WATCH), await rulebook_of(call)
    return _found(rulebook, call.path["id"], where)


async def list_rule_versions(call: Call) -> Page[RuleVersionBody]:
    query: VersionQuery = call.query
    _where(call, query.site or "", query.equipment or "", Permission.WATCH)
    if query.cursor is not None and not 0 < query.cursor < 2**63:
        raise ProblemError("bad_query", "cursor is invalid: use the `next` of a page")
    of_rule = (rule_version.c.rule, call.path["id"])
    looked_at = places(call.sites(Permission.WATCH), query.site, query.equipment, call.services.ledger.codes_of)
    branches = [Branch([of_rule, *one.along]) for one in branches_of(rule_version, looked_at)]
    key, versions = rule_version.c.id, select(rule_version)
    rows, following = await page_of(call, versions, key, query.cursor, query.limit, branches)
    return Page([_version_body(call, dict(row)) for row in rows], None if following is None else str(following))


async def change_rule(call: Call) -> RuleVersionBody:
    wanted: ChangeRule = call.body
    where = _where(call, wanted.site, wanted.equipment, Permission.MANAGE_RULES)
    _require_kind(call, await rulebook_of(call), wanted.rule, where)
    return await _write(call, Wish(RuleScope(wanted.rule, *where), wanted.changes, wanted.version, wanted.note))


async def roll_back_rule(call: Call) -> RuleVersionBody:
    wanted: RollBackRule = call.body
    where = _where(call, wanted.site, wanted.equipment, Permission.MANAGE_RULES)
    place = RuleScope(call.path["id"], *where)
    return await _write(call, Wish(place, {}, wanted.version, wanted.note, wanted.to), back=True)


async def _write(call: Call, wish: Wish, *, back: bool = False) -> RuleVersionBody:
    services, act = call.services, roll_back if back else change
    try:
        row = await act(services.database, services.rules, wish, call.cause, call.second_person, services.clock())
    except NoSuchVersion as error:
        raise ProblemError("not_found", str(error)) from error
    except StaleRule as error:
        raise ProblemError("stale_version", str(error)) from error
    except TwoPeopleNeeded as error:
        raise NeedsSecondPerson(str(error)) from error
    except RuleError as error:
        raise ProblemError("rule_refused", str(error)) from error
    return _version_body(call, row)


def _where(call: Call, site: str, equipment: str, act: Permission) -> _Where:
    """The requested place. Raises ProblemError if it does not exist or may not be seen."""
    of_site, _, code = equipment.partition(":")
    if site and equipment and of_site != site:
        raise ProblemError("bad_query", "the equipment is on another site")
    if not (site or equipment):
        return _Where("", "")
    grants = call.person.grants if call.person else None
    ledger = call.services.ledger
    item = ledger.find(of_site, code) if equipment else None
    where = _Where(of_site, item.code) if item else _Where(site, "")
    is_there = item is not None if equipment else site in ledger.sites
    if not is_there or not may(grants, Permission.WATCH, where.site).permitted:
        raise ProblemError("not_found", "there is no such site or equipment")
    if not may(grants, act, where.site).permitted:
        raise ProblemError("forbidden")
    return where


async def rulebook_of(call: Call) -> Rulebook:
    """The rules in force now, with the sites' changes."""
    return await current_rulebook(call.services.database, call.services.rules, call.services.ledger.estate)


def _found(rulebook: Rulebook, identity: str, where: _Where) -> RuleBody:
    rule = rulebook.described(identity, *where)
    if rule is None:
        raise ProblemError("not_found", "there is no rule with this id here")
    return _rule_body(rulebook, rule, where)


def _require_kind(call: Call, rulebook: Rulebook, identity: str, where: _Where) -> None:
    rule = rulebook.described(identity, where.site, "")
    if where.equipment and rule is not None and call.services.ledger.equipment[where].kind != rule.kind.value:
        raise ProblemError("rule_refused", f"equipment: {identity} is for equipment of the kind {rule.kind}")


def _rule_body(rulebook: Rulebook, rule: Rule, where: _Where) -> RuleBody:
    return RuleBody(
        id=rule.id,
        kind=rule.kind.value,
        type=rule.type.value,
        title=texts(rule.title),
        advice=texts(rule.advice),
        priority=rule.priority.value,
        life_safety=rule.life_safety,
        enabled=rulebook.is_enabled(rule.id, *where),
        source=rule.source,
        file=rule.file,
        field=rule.field,
        site=where.site,
        equipment=f"{where.site}:{where.equipment}" if where.equipment else "",
        site_version=rulebook.versions.get(RuleScope(rule.id, where.site, ""), 0),
        equipment_version=rulebook.versions.get(RuleScope(rule.id, *where), 0) if where.equipment else 0,
        settings=[RuleSetting(**setting._asdict()) for setting in settings_of(rulebook, rule, *where)],
    )


def _version_body(call: Call, row: Mapping[str, Any]) -> RuleVersionBody:
    accounts, second = call.services.accounts, row["second_person"]
    return RuleVersionBody(
        id=row["id"],
        rule=row["rule"],
        site=row["site"],
        equipment=f"{row['site']}:{row['equipment']}" if row["equipment"] else "",
        version=row["version"],
        changes=row["changes"],
        equals=row["equals"],
        person=row["person"],
        person_name=texts(accounts.name_of(row["person"])),
        second_person=second,
        second_person_name=None if second is None else texts(accounts.name_of(second)),
        at=to_datetime(row["at"]),
        note=row["note"],
    )


ROUTES = (
    Route(
        "GET", "/rules", Permission.WATCH, list_rules, "The rules in force at a place, and where each value was set",
        Page[RuleBody], query=RuleQuery,
    ),
    Route("GET", "/rules/{id}", Permission.WATCH, show_rule, "One rule in force", RuleBody, query=PlaceQuery),
    Route(
        "POST", "/rules", Permission.MANAGE_RULES, change_rule,
        "Change a rule for a site or one equipment, or add a rule of the site's own", RuleVersionBody,
        request=ChangeRule,
    ),
    Route(
        "GET", "/rules/{id}/versions", Permission.WATCH, list_rule_versions, "Versions of a rule, newest first",
        Page[RuleVersionBody], query=VersionQuery,
    ),
    Route(
        "POST", "/rules/{id}/roll-back", Permission.MANAGE_RULES, roll_back_rule, "Roll back to an older version",
        RuleVersionBody, request=RollBackRule,
    ),
)  # fmt: skip
