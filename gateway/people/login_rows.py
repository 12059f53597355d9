"""Rows of logins: what other acts on an account do to them, in their own transaction."""

import hashlib

from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.tables import login


def digest_of(secret: str) -> str:
    """What is kept of a cookie or a token. Both are 256 bits of chance: one round of SHA-256 cannot be guessed back."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


async def end_logins(connection: AsyncConnection, person: str, keep: str = "") -> None:
    """End every login of a person but the one whose id is `keep`."""
    await connection.execute(delete(login).where(login.c.person == person, login.c.id != keep))


async def mark_for_rotation(connection: AsyncConnection, person: str) -> None:
    """Who may do something else now gets another cookie with the next answer."""
    await connection.execute(update(login).where(login.c.person == person).values(rotate=True))
