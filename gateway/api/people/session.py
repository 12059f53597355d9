"""Login, logout, and the caller's identity."""

import structlog

from gateway.api.equipment.bodies import SiteBody
from gateway.api.equipment.sites import site_body
from gateway.api.http.bodies import Page, texts
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, Reply, Route
from gateway.api.people.bodies import Login, Me
from gateway.people.accounts import NoSuchPerson
from gateway.people.authentication.identity_proof import Claim, LoginRefused
from gateway.people.authentication.logins import NoSuchLogin, Session, Way
from gateway.people.passwords.hashes import TooManyLogins
from gateway.people.people import People
from gateway.people.permissions import Permission, permissions_of

log = structlog.get_logger(__name__)


async def me_body(session: Session, people: People) -> Me:
    person, accounts = session.person, people.accounts
    is_account = session.way is Way.COOKIE
    try:
        record = await accounts.find(person.id) if is_account else None
    except NoSuchPerson:
        raise ProblemError("not_signed_in") from None
    return Me(
        id=person.id,
        username=person.username,
        name=texts(person.name),
        roles={site: [str(held) for held in roles] for site, roles in person.grants.items()},
        permissions=[act.value for act in permissions_of(person.grants)],
        account=is_account,
        demo=accounts.demo,
        password_length=accounts.least,
        password_temporary=record is not None and record.password_temporary,
        second_factor=record is not None and record.second_factor,
    )


def refused(error: LoginRefused) -> ProblemError:
    """The problem for a refused login."""
    return ProblemError(error.reason.value, retry_after=error.wait_ms / 1000 if error.wait_ms else None)


async def log_in(call: Call) -> Reply:
    wanted: Login = call.body
    people, now = call.services.people, call.services.wall()
    claim = Claim(wanted.username, wanted.password, wanted.code)
    try:
        entered = await people.logins.log_in(claim, call.place, call.session, now)
    except LoginRefused as error:
        # Without the name: people type their password into that field by mistake.
        log.warning("login refused", why=error.reason.value, address=call.place.address)
        raise refused(error) from error
    except (TooManyLogins, NoSuchLogin) as error:
        raise ProblemError("busy", "try again in a moment", retry_after=2) from error
    body = await me_body(entered.session, people)
    return Reply(body, cookie=entered.cookie, device=entered.device)


async def log_out(call: Call) -> Reply:
    session = call.session
    if session is not None and session.way is Way.COOKIE:
        try:
            await call.services.people.logins.end(session, call.cause, call.services.wall())
        except NoSuchLogin:  # by another request at the same moment
            return Reply(None, status=204, cookie="")
    return Reply(None, status=204, cookie="")


async def who_am_i(call: Call) -> Me:
    if call.session is None:
        raise ProblemError("not_signed_in")
    return await me_body(call.session, call.services.people)


async def list_sites(call: Call) -> Page[SiteBody]:
    permitted = call.sites(Permission.WATCH)
    sites = sorted(call.services.ledger.sites.values(), key=lambda site: site.code)
    return Page([site_body(site) for site in sites if permitted is None or site.code in permitted])


ROUTES = (
    Route("POST", "/session", Permission.PUBLIC, log_in, "Log in; the answer sets a cookie", Me, request=Login),
    Route("DELETE", "/session", Permission.PUBLIC, log_out, "Log out", None, status=204),
    Route("GET", "/me", Permission.SIGNED_IN, who_am_i, "The caller and their roles", Me),
    Route("GET", "/sites", Permission.WATCH, list_sites, "Sites that the caller may see", Page[SiteBody]),
)
