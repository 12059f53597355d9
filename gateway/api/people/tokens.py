"""Tokens of machines: created, listed and revoked by administrators of their sites."""

from collectors.wire.reading import to_datetime
from gateway.api.http.bodies import Page, texts
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, Route, Services
from gateway.api.people.bodies import AddToken, FreshToken, TokenBody
from gateway.people.authentication.tokens import NewToken, NoSuchToken, NotAToken, TokenRecord
from gateway.people.permissions import Permission, may


def token_body(token: TokenRecord, services: Services) -> TokenBody:
    return TokenBody(
        id=token.id,
        name=token.name,
        sites=token.sites,
        permissions=token.permissions,
        created_at=to_datetime(token.created_at),
        created_by=texts(services.accounts.name_of(token.created_by)),
        expires_at=to_datetime(token.expires_at),
        last_used_at=None if token.last_used_at is None else to_datetime(token.last_used_at),
        revoked_at=None if token.revoked_at is None else to_datetime(token.revoked_at),
    )


async def list_tokens(call: Call) -> Page[TokenBody]:
    tokens = await call.services.people.tokens.every()
    return Page([token_body(token, call.services) for token in tokens if _is_ours(call, token.sites)])


async def add_token(call: Call) -> FreshToken:
    wanted: AddToken = call.body
    if wanted.sites and not _is_ours(call, wanted.sites):
        raise ProblemError("forbidden", "you can make tokens for your own sites only")
    new = NewToken(wanted.name, wanted.sites, wanted.permissions, wanted.days)
    try:
        token, secret = await call.services.people.tokens.add(new, call.cause, call.services.wall())
    except NotAToken as error:
        raise ProblemError("bad_request", str(error)) from error
    return FreshToken(token_body(token, call.services), secret)


async def revoke_token(call: Call) -> TokenBody:
    tokens = call.services.people.tokens
    try:
        found = await tokens.find(call.path["token"])
        if not _is_ours(call, found.sites):
            raise ProblemError("not_found", "there is no such token")
        revoked = await tokens.revoke(found.id, call.cause, call.services.wall())
    except NoSuchToken as error:
        raise ProblemError("not_found", str(error)) from error
    return token_body(revoked, call.services)


def _is_ours(call: Call, sites: list[str]) -> bool:
    """Whether the caller manages people on all of these sites."""
    grants = call.person.grants if call.person else None
    return all(may(grants, Permission.MANAGE_PEOPLE, site).permitted for site in sites)


ROUTES = (
    Route("GET", "/tokens", Permission.MANAGE_PEOPLE, list_tokens, "Tokens of machines, newest first", Page[TokenBody]),
    Route(
        "POST", "/tokens", Permission.MANAGE_PEOPLE, add_token, "Make a token; the answer shows it once", FreshToken,
        request=AddToken,
    ),
    Route("POST", "/tokens/{token}/revoke", Permission.MANAGE_PEOPLE, revoke_token, "Revoke a token", TokenBody),
)  # fmt: skip
