"""Logging in and out, and who I am."""

from gateway.api.bodies import Login, Me, Page, SiteBody, Texts
from gateway.api.problems import ProblemError
from gateway.api.routes import Call, Reply, Route
from gateway.equipment.ledger import Site
from gateway.people.accounts import Accounts, Person
from gateway.people.permissions import Act, permitted_acts


def texts(value: dict[str, str]) -> Texts:
    """A text as the tables keep it, for JSON."""
    return Texts(value["en"], value["zh-CN"])


def me_body(person: Person, accounts: Accounts) -> Me:
    return Me(
        id=person.id,
        username=person.username,
        name=texts(person.name),
        roles={site: [str(role) for role in held] for site, held in person.grants.items()},
        acts=[act.value for act in permitted_acts(person.grants)],
        account=accounts.present,
        demo=accounts.demo,
    )


def site_body(site: Site) -> SiteBody:
    return SiteBody(site.code, texts(site.name), site.time_zone)


async def log_in(call: Call) -> Reply:
    login: Login = call.body
    entered = call.services.accounts.log_in(login.username, login.password, call.services.wall())
    if entered is None:
        raise ProblemError("bad_credentials")
    person, token = entered
    return Reply(me_body(person, call.services.accounts), cookie=token)


async def log_out(call: Call) -> Reply:
    if call.cookie:
        call.services.accounts.log_out(call.cookie)
    return Reply(None, status=204, cookie="")


async def who_am_i(call: Call) -> Me:
    if call.person is None:
        raise ProblemError("not_signed_in")
    return me_body(call.person, call.services.accounts)


async def list_sites(call: Call) -> Page[SiteBody]:
    permitted = call.sites(Act.WATCH)
    sites = sorted(call.services.ledger.sites.values(), key=lambda site: site.code)
    return Page([site_body(site) for site in sites if permitted is None or site.code in permitted])


ROUTES = (
    Route("POST", "/session", Act.PUBLIC, log_in, "Log in; the answer sets a cookie", Me, request=Login),
    Route("DELETE", "/session", Act.PUBLIC, log_out, "Log out", None, status=204),
    Route("GET", "/me", Act.SIGNED_IN, who_am_i, "Who I am and which roles I have", Me),
    Route("GET", "/sites", Act.WATCH, list_sites, "Sites that I may see", Page[SiteBody]),
)
