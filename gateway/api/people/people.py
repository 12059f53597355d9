"""All accounts, for administrators: each sees and changes those of their own sites."""

from collections.abc import Awaitable
from typing import Annotated, TypeVar

import msgspec

from collectors.wire.reading import to_datetime
from gateway.api.http.bodies import Page, texts
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, Reply, Route
from gateway.api.people.account import login_bodies
from gateway.api.people.bodies import AddPerson, ChangeRole, LoginBody, PersonAct, PersonBody, ResetPerson
from gateway.people.accounts import (
    LastAdministrator,
    NewPerson,
    NoSuchPerson,
    NotAName,
    PersonRecord,
    StalePerson,
    UsernameTaken,
    WeakPassword,
)
from gateway.people.authentication.logins import NoSuchLogin
from gateway.people.passwords.hashes import TooManyLogins
from gateway.people.permissions import ALL_SITES, Grants, Permission, may, may_manage, may_see

Result = TypeVar("Result")


class PeopleQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    q: str = ""
    """Substring of the user name or the name."""
    site: str | None = None
    """Only people with a role there, or on all sites."""
    cursor: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100


def person_body(record: PersonRecord) -> PersonBody:
    return PersonBody(
        id=record.id,
        username=record.username,
        name=texts(record.name),
        roles={site: [role.value for role in roles] for site, roles in record.grants.items()},
        disabled=record.disabled_at is not None,
        second_factor=record.second_factor,
        password_temporary=record.password_temporary,
        created_at=to_datetime(record.created_at),
        last_seen=None if record.last_seen_at is None else to_datetime(record.last_seen_at),
        version=record.version,
    )


def _visible(record: PersonRecord, grants: Grants | None) -> PersonBody:
    """An administrator of one site sees only the roles on that site."""
    body = person_body(record)
    roles = {
        site: held for site, held in body.roles.items() if may(grants, Permission.MANAGE_PEOPLE, site).permitted
    }  # fmt: skip
    return msgspec.structs.replace(body, roles=roles)


async def list_people(call: Call) -> Page[PersonBody]:
    """Sorted by user name; the cursor is the last one of the page."""
    query: PeopleQuery = call.query
    grants, wanted = _grants(call), query.q.casefold()
    found = [
        _visible(record, grants)
        for record in await call.services.accounts.everyone()
        if may_see(grants, record.grants).permitted
        and record.username > query.cursor
        and wanted in f"{record.username} {record.name['en']} {record.name['zh-CN']}".casefold()
        and (query.site is None or {query.site, ALL_SITES} & set(record.grants))
    ]
    page = found[: query.limit]
    return Page(page, page[-1].username if len(found) > len(page) else None)


async def show_person(call: Call) -> PersonBody:
    return _visible(await _find(call), _grants(call))


async def add_person(call: Call) -> PersonBody:
    wanted: AddPerson = call.body
    places = [grant.site for grant in wanted.roles] or [ALL_SITES]
    if not all(may(_grants(call), Permission.MANAGE_PEOPLE, place).permitted for place in places):
        raise ProblemError("forbidden", "grant a role on one of your own sites")
    new = NewPerson(
        wanted.username, {"en": wanted.name.en, "zh-CN": wanted.name.zh}, wanted.password,
        [(grant.site, grant.role) for grant in wanted.roles],
    )  # fmt: skip
    return _visible(
        await _done(call.services.accounts.add(new, call.cause, call.services.wall())), _grants(call)
    )  # fmt: skip


async def disable_person(call: Call) -> PersonBody:
    record = await _find_managed(call)
    accounts, now = call.services.accounts, call.services.wall()
    return person_body(await _done(accounts.disable(record.id, call.body.version, call.cause, now)))


async def enable_person(call: Call) -> PersonBody:
    record = await _find_managed(call)
    accounts, now = call.services.accounts, call.services.wall()
    return person_body(await _done(accounts.enable(record.id, call.body.version, call.cause, now)))


async def reset_person(call: Call) -> PersonBody:
    record, wanted = await _find_managed(call), call.body
    reset = call.services.accounts.reset(
        record.id, wanted.version, wanted.password, call.cause, call.services.wall(),
        second_factor=wanted.second_factor,
    )  # fmt: skip
    return person_body(await _done(reset))


async def grant_role(call: Call) -> PersonBody:
    record, wanted = await _find(call), call.body
    _require_place(call, wanted.site)
    accounts, now = call.services.accounts, call.services.wall()
    granted = accounts.grant(record.id, wanted.version, wanted.site, wanted.role, call.cause, now)
    return _visible(await _done(granted), _grants(call))


async def revoke_role(call: Call) -> PersonBody:
    record, wanted = await _find(call), call.body
    _require_place(call, wanted.site)
    accounts, now = call.services.accounts, call.services.wall()
    revoked = accounts.revoke(record.id, wanted.version, wanted.site, wanted.role, call.cause, now)
    return _visible(await _done(revoked), _grants(call))


async def list_logins(call: Call) -> Page[LoginBody]:
    record = await _find_managed(call)
    records = await call.services.people.logins.of_person(record.id, call.services.wall())
    return login_bodies(records, call.session.login if call.session else "")


async def revoke_login(call: Call) -> Reply:
    record = await _find_managed(call)
    try:
        await call.services.people.logins.revoke(record.id, call.path["login"], call.cause, call.services.wall())
    except NoSuchLogin as error:
        raise ProblemError("not_found", str(error)) from error
    return Reply(None, status=204)


def _grants(call: Call) -> Grants | None:
    return call.person.grants if call.person else None


def _require_place(call: Call, place: str) -> None:
    if not may(_grants(call), Permission.MANAGE_PEOPLE, place).permitted:
        raise ProblemError("forbidden", "you can grant roles on your own sites only")


async def _find(call: Call) -> PersonRecord:
    """The person in the path. Raises ProblemError `not_found` if there is none or the caller may not see them."""
    try:
        record = await call.services.accounts.find(call.path["person"])
    except NoSuchPerson as error:
        raise ProblemError("not_found", str(error)) from error
    if not may_see(_grants(call), record.grants).permitted:
        raise ProblemError("not_found", "there is no such account")
    return record


async def _find_managed(call: Call) -> PersonRecord:
    record = await _find(call)
    if not may_manage(_grants(call), record.grants).permitted:
        raise ProblemError("forbidden", "this person has roles on sites that you do not administer")
    return record


async def _done(act: Awaitable[Result]) -> Result:
    """Run a change of an account; turn its errors into problems."""
    try:
        return await act
    except NoSuchPerson as error:
        raise ProblemError("not_found", str(error)) from error
    except StalePerson as error:
        raise ProblemError("stale_version", str(error)) from error
    except LastAdministrator as error:
        raise ProblemError("last_administrator", str(error)) from error
    except UsernameTaken as error:
        raise ProblemError("username_taken", str(error)) from error
    except NotAName as error:
        raise ProblemError("bad_request", str(error)) from error
    except WeakPassword as error:
        raise ProblemError(error.weakness.value, str(error)) from error
    except TooManyLogins as error:
        raise ProblemError("busy", "try again in a moment", retry_after=2) from error


_ONE = "/people/{person}"
_A = Permission.MANAGE_PEOPLE
ROUTES = (
    Route("GET", "/people", _A, list_people, "Accounts, by user name", Page[PersonBody], query=PeopleQuery),
    Route("POST", "/people", _A, add_person, "Create an account", PersonBody, request=AddPerson),
    Route("GET", _ONE, _A, show_person, "One account", PersonBody),
    Route("POST", f"{_ONE}/disable", _A, disable_person, "Disable an account", PersonBody, request=PersonAct),
    Route("POST", f"{_ONE}/enable", _A, enable_person, "Enable an account", PersonBody, request=PersonAct),
    Route("POST", f"{_ONE}/reset", _A, reset_person, "Set a new password", PersonBody, request=ResetPerson),
    Route("POST", f"{_ONE}/grant", _A, grant_role, "Grant a role on a site", PersonBody, request=ChangeRole),
    Route("POST", f"{_ONE}/revoke", _A, revoke_role, "Revoke a role", PersonBody, request=ChangeRole),
    Route("GET", f"{_ONE}/logins", _A, list_logins, "Logins of a person", Page[LoginBody]),
    Route("POST", f"{_ONE}/logins/{{login}}/revoke", _A, revoke_login, "End a login of a person", None, status=204),
)
