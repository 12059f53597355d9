"""A person's own account: logins, password, second factor. Not for machines."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import segno

from collectors.wire.reading import to_datetime
from gateway.api.http.bodies import Page
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, Reply, Route
from gateway.api.people.bodies import (
    ChoosePassword,
    ConfirmCode,
    LoginBody,
    OwnPassword,
    RecoveryCodes,
    SecondFactorBody,
)
from gateway.api.people.session import refused
from gateway.people.accounts import WeakPassword
from gateway.people.authentication.identity_proof import LoginRefused
from gateway.people.authentication.logins import LoginRecord, NoSuchLogin, Session, Way
from gateway.people.authentication.second_factor import NotBegun, WrongCode
from gateway.people.passwords.hashes import TooManyLogins
from gateway.people.permissions import Permission


def own(call: Call) -> Session:
    """The caller's login. Machines and the local person have no account. Raises ProblemError."""
    if call.session is None or call.session.way is not Way.COOKIE:
        raise ProblemError("forbidden", "only a person with a login has an account: log in")
    return call.session


def login_bodies(records: Sequence[LoginRecord], current: str) -> Page[LoginBody]:
    return Page(
        [
            LoginBody(
                record.id, to_datetime(record.created_at), to_datetime(record.last_used_at), record.origin,
                record.agent, record.id == current,
            )
            for record in records
        ]
    )  # fmt: skip


async def list_own_logins(call: Call) -> Page[LoginBody]:
    session = own(call)
    records = await call.services.people.logins.of_person(session.person.id, call.services.wall())
    return login_bodies(records, session.login)


async def revoke_own_login(call: Call) -> Reply:
    session = own(call)
    try:
        await call.services.people.logins.revoke(
            session.person.id, call.path["login"], call.cause, call.services.wall()
        )
    except NoSuchLogin as error:
        raise ProblemError("not_found", str(error)) from error
    return Reply(None, status=204)


async def choose_password(call: Call) -> Reply:
    """Change the password. The caller's login gets a new cookie; every other one ends."""
    session, wanted = own(call), call.body
    people, now = call.services.people, call.services.wall()
    async with _password_shown(call, session, wanted.old):
        try:
            await people.accounts.choose_password(session.person.id, wanted.new, session.login, call.cause, now)
        except WeakPassword as error:
            raise ProblemError(error.weakness.value, str(error)) from error
    return Reply(None, status=204, cookie=await people.logins.renew(session))


async def begin_second_factor(call: Call) -> SecondFactorBody:
    session = own(call)
    person = session.person
    async with _password_shown(call, session, call.body.password):
        try:
            secret, address = await call.services.people.second_factors.begin(
                person.id, person.username, call.cause, call.services.wall()
            )
        except NotBegun as error:
            raise ProblemError("not_permitted_in_state", str(error)) from error
    image = segno.make(address).svg_data_uri(scale=4, light="white")
    return SecondFactorBody(secret, address, image)


async def confirm_second_factor(call: Call) -> RecoveryCodes:
    session, people = own(call), call.services.people
    try:
        codes = await people.second_factors.confirm(session.person.id, call.body.code, call.cause, call.services.wall())
    except NotBegun as error:
        raise ProblemError("not_permitted_in_state", str(error)) from error
    except WrongCode as error:
        raise ProblemError("wrong_code", str(error)) from error
    return RecoveryCodes(codes)


async def remove_second_factor(call: Call) -> Reply:
    session = own(call)
    async with _password_shown(call, session, call.body.password):
        try:
            await call.services.people.second_factors.remove(session.person.id, call.cause, call.services.wall())
        except NotBegun as error:
            raise ProblemError("not_permitted_in_state", str(error)) from error
    return Reply(None, status=204)


@asynccontextmanager
async def _password_shown(call: Call, session: Session, password: str) -> AsyncIterator[None]:
    """Check the password again; the first transaction of the block commits only if it is still valid then."""
    people, now = call.services.people, call.services.wall()
    attempt = await people.logins.attempt(session.person.username, call.place)
    try:
        proven = await people.passwords.is_own(session.person.id, password, attempt, now)
        with call.services.database.accompanied(people.passwords.holding(proven)):
            yield
    except LoginRefused as error:
        # Not 401: the login is still valid, and the page must not treat this as its end.
        code = "wrong_password" if error.wait_ms == 0 else error.reason.value
        raise ProblemError(code, retry_after=refused(error).retry_after) from error
    except TooManyLogins as error:
        raise ProblemError("busy", "try again in a moment", retry_after=2) from error


_FACTOR = "/me/second-factor"
ROUTES = (
    Route("GET", "/me/logins", Permission.OWN_ACCOUNT, list_own_logins, "My logins", Page[LoginBody]),
    Route(
        "POST", "/me/logins/{login}/revoke", Permission.OWN_ACCOUNT, revoke_own_login, "Log out another browser", None,
        status=204,
    ),
    Route(
        "POST", "/me/password", Permission.OWN_ACCOUNT, choose_password, "Change the password; other logins end", None,
        request=ChoosePassword, status=204,
    ),
    Route(
        "POST", _FACTOR, Permission.SECOND_FACTOR, begin_second_factor, "A new secret for an authenticator app",
        SecondFactorBody, request=OwnPassword,
    ),
    Route(
        "POST", f"{_FACTOR}/confirm", Permission.SECOND_FACTOR, confirm_second_factor,
        "Turn the second factor on; the answer shows the recovery codes once", RecoveryCodes, request=ConfirmCode,
    ),
    Route(
        "POST", f"{_FACTOR}/remove", Permission.SECOND_FACTOR, remove_second_factor, "Turn the second factor off", None,
        request=OwnPassword, status=204,
    ),
)  # fmt: skip
