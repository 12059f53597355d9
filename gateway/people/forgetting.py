"""Forgets a person: erases everything that identifies them; records stay, under an anonymous id.

Audit and journal name people by id only, so their rows do not change and the chain stays valid.
"""

from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.people.accounts import Accounts, LastAdministrator, administrators, shown
from gateway.people.audit.entry import Cause, audited
from gateway.people.authentication.shared_throttle import forget_failures
from gateway.people.permissions import ALL_SITES
from gateway.storage.database import Database
from gateway.storage.queries.chunked_writes import delete_in_chunks
from gateway.storage.tables import (
    api_token,
    known_device,
    login,
    person,
    recovery_code,
    role_grant,
)

_MANY: Final = (login, known_device)
"""One row for each login and for each browser."""
_OF_A_PERSON: Final = (login, known_device, recovery_code, role_grant)


async def forget_person(database: Database, accounts: Accounts, username: str, cause: Cause, now: int) -> list[str]:
    """Erase an account: name, password, second factor, roles, logins and devices; revoke the tokens they have made.

    Returns:
        Names of the revoked tokens.

    Raises:
        NoSuchPerson, LastAdministrator.
    """
    record = await accounts.named(username)

    async def check(connection: AsyncConnection) -> None:
        if await administrators(connection, demo=accounts.demo) == {record.id}:
            raise LastAdministrator(f"{record.username} is the last administrator of all sites")

    for table in _MANY:  # first, in transactions of their own: there may be very many
        await delete_in_chunks(database, table, table.c.person == record.id, check)
    await forget_failures(database, record.username)
    async with database.transaction() as transaction:
        await check(transaction)
        for table in _OF_A_PERSON:
            await transaction.execute(delete(table).where(table.c.person == record.id))
        await transaction.execute(delete(person).where(person.c.id == record.id))
        theirs = (api_token.c.created_by == record.id) & api_token.c.revoked_at.is_(None)
        tokens = list((await transaction.execute(select(api_token.c.name).where(theirs))).scalars())
        await transaction.execute(update(api_token).where(theirs).values(revoked_at=now))
        row = audited(now, ALL_SITES, cause, "person.forget", f"person:{record.id}", shown(record), None)
        transaction.add_audit(row)
    await accounts.refresh()
    return tokens
