"""Rows of logins: functions for the transactions of other changes of an account."""

import hashlib
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.tables import known_device, login

MOST_LOGINS: Final = 100
"""Logins of one person at a time. Each needs only a right password, so without a limit their number would be
unbounded."""
MOST_DEVICES: Final = 100
"""Known browsers of one person."""


def digest_of(secret: str) -> str:
    """The stored digest of a cookie or a token. Both have 256 random bits, so one round of SHA-256 is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


async def end_logins(connection: AsyncConnection, person: str, keep: str = "") -> None:
    """End every login of a person except the one with the id `keep`."""
    await connection.execute(delete(login).where(login.c.person == person, login.c.id != keep))


async def end_surplus_logins(connection: AsyncConnection, person: str, newest: str) -> list[str]:
    """End the oldest logins of a person beyond `MOST_LOGINS`, never the one with the id `newest`. Returns their ids."""
    others = select(login.c.id).where(login.c.person == person, login.c.id != newest)
    oldest = others.order_by(login.c.created_at.desc(), login.c.id.desc()).offset(MOST_LOGINS - 1)
    ended = list((await connection.execute(oldest)).scalars())
    for one in ended:
        await connection.execute(delete(login).where(login.c.id == one))
    return ended


async def forget_surplus_devices(connection: AsyncConnection, person: str) -> None:
    """Keep the `MOST_DEVICES` most recently used browsers of a person."""
    theirs = select(known_device.c.digest).where(known_device.c.person == person)
    oldest = theirs.order_by(known_device.c.last_used_at.desc(), known_device.c.digest).offset(MOST_DEVICES)
    for digest in (await connection.execute(oldest)).scalars().all():
        of_this_person = (known_device.c.digest == digest) & (known_device.c.person == person)
        await connection.execute(delete(known_device).where(of_this_person))


async def mark_for_rotation(connection: AsyncConnection, person: str) -> None:
    """After a change of roles the next answer sets a new cookie."""
    await connection.execute(update(login).where(login.c.person == person).values(rotate=True))
