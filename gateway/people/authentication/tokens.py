"""API tokens for machines: named, limited to permissions and sites, with an expiry, and shown once."""

import secrets
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.people.accounts import Accounts
from gateway.people.audit.entry import Cause, audited
from gateway.people.authentication.login_rows import digest_of
from gateway.people.permissions import ALL_SITES, NEVER_A_MACHINES, Permission
from gateway.storage.database import Database
from gateway.storage.identity import new_id
from gateway.storage.tables import api_token

TOKEN_PREFIX: Final = "gengfu_"  # noqa: S105 - by it people, and scanners of secrets, know what they have found
_DAY_MS: Final = 24 * 3_600_000
MOST_DAYS: Final = 730


class TokenRecord(msgspec.Struct, frozen=True):
    """A token without its secret. Times are epoch milliseconds."""

    id: str
    digest: str
    name: str
    sites: list[str]
    permissions: list[Permission]
    created_by: str
    created_at: int
    expires_at: int
    last_used_at: int | None
    revoked_at: int | None

    @property
    def grants(self) -> dict[str, list[Permission]]:
        """Its permissions, as an argument of `may`."""
        return dict.fromkeys(self.sites, self.permissions)


class NewToken(msgspec.Struct, frozen=True):
    """A token to create, valid for `days` days."""

    name: str
    sites: Sequence[str]
    permissions: Sequence[Permission]
    days: int


class NotAToken(Exception):
    """An invalid token; the text says why."""


class NoSuchToken(Exception):
    """There is no such token, or it is revoked already."""


class Tokens:
    """Creates, lists and revokes tokens."""

    def __init__(self, database: Database, accounts: Accounts) -> None:
        self._database = database
        self._accounts = accounts

    async def add(self, new: NewToken, cause: Cause, now: int) -> tuple[TokenRecord, str]:
        """Create a token. Returns it and its secret, which is not stored. Raises NotAToken."""
        _check(new)
        secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
        row = {
            "id": f"token:{new_id(now)}",
            "digest": digest_of(secret),
            "name": new.name,
            "sites": sorted(set(new.sites)),
            "permissions": sorted({act.value for act in new.permissions}),
            "demo": self._accounts.demo,
            "created_by": cause.actor,
            "created_at": now,
            "expires_at": now + new.days * _DAY_MS,
            "last_used_at": None,
            "revoked_at": None,
        }
        async with self._database.transaction() as transaction:
            await transaction.execute(insert(api_token).values(**row))
            after = {name: row[name] for name in ("sites", "permissions", "expires_at")}
            record = audited(now, ALL_SITES, cause, "token.add", str(row["id"]), None, after)
            transaction.add_audit(record)
        await self._accounts.refresh()
        return _record(row), secret

    async def every(self) -> list[TokenRecord]:
        """All tokens, newest first, including revoked and expired ones."""
        statement = select(api_token).where(api_token.c.demo == self._accounts.demo).order_by(api_token.c.id.desc())
        async with self._database.reading() as connection:
            return [_record(row) for row in (await connection.execute(statement)).mappings()]

    async def find(self, identity: str) -> TokenRecord:
        """One token. Raises NoSuchToken."""
        found = [token for token in await self.every() if token.id == identity]
        if not found:
            raise NoSuchToken("there is no such token")
        return found[0]

    async def revoke(self, identity: str, cause: Cause, now: int) -> TokenRecord:
        """Revoke a token. Raises NoSuchToken."""
        await self.find(identity)
        async with self._database.transaction() as transaction:
            revoked = await transaction.execute(
                update(api_token)
                .where(api_token.c.id == identity, api_token.c.revoked_at.is_(None))
                .values(revoked_at=now)
            )
            if revoked.rowcount == 0:
                raise NoSuchToken("it is revoked already")
            record = audited(now, ALL_SITES, cause, "token.revoke", identity, None, {"revoked_at": now})
            transaction.add_audit(record)
        self._accounts.changes += 1
        return await self.find(identity)


async def read_tokens(
    connection: AsyncConnection, digests: Sequence[str], now: int, *, demo: bool
) -> list[TokenRecord]:
    """Tokens that are valid now."""
    statement = select(api_token).where(
        api_token.c.digest.in_(digests), api_token.c.revoked_at.is_(None), api_token.c.expires_at > now,
        api_token.c.demo == demo,
    )  # fmt: skip
    return [_record(row) for row in (await connection.execute(statement)).mappings()]


async def token_is_good(connection: AsyncConnection, identity: str, now: int) -> bool:
    """Whether the token with this id is valid."""
    statement = select(api_token.c.id).where(
        api_token.c.id == identity, api_token.c.revoked_at.is_(None), api_token.c.expires_at > now
    )
    return (await connection.execute(statement)).first() is not None


async def write_token_use(connection: AsyncConnection, identity: str, at: int) -> None:
    """Record the last use."""
    await connection.execute(update(api_token).where(api_token.c.id == identity).values(last_used_at=at))


def _check(new: NewToken) -> None:
    if not (new.name.strip() and len(new.name) <= 64 and new.name.isprintable()):
        raise NotAToken("a token needs a name of 1 to 64 characters: name the machine")
    if not new.sites or not new.permissions:
        raise NotAToken("a token needs at least one site and one permission")
    forbidden = sorted(set(new.permissions) & NEVER_A_MACHINES)
    if forbidden:
        raise NotAToken(f"a token cannot permit {', '.join(forbidden)}")
    if not 1 <= new.days <= MOST_DAYS:
        raise NotAToken(f"a token is valid for 1 to {MOST_DAYS} days")


def _record(row: Any) -> TokenRecord:
    fields = {name: row[name] for name in TokenRecord.__struct_fields__}
    return TokenRecord(**{**fields, "permissions": [Permission(act) for act in row["permissions"]]})
