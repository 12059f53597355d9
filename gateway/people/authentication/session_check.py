"""Checks in the transaction of a change that the request's login is still valid.

A request is admitted before its body has arrived and before its handler has waited for the database. In that time its
login may end, its account may be disabled or its token revoked. So the transaction of the change checks again: a login
that ended before the transaction began changes nothing.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.people.authentication.logins import Session, Way
from gateway.people.authentication.tokens import token_is_good
from gateway.storage.tables import login, person, role_grant


class Over(StrEnum):
    """Why a request may no longer change anything."""

    LOGIN_ENDED = "login_ended"
    ROLE_REVOKED = "role_revoked"


class AccessEnded(Exception):
    """The login or permission of the request is no longer valid."""

    def __init__(self, reason: Over) -> None:
        super().__init__(reason.value)
        self.reason = reason


class SessionCheck:
    """Takes part in the first transaction of a request (`storage.database.Companion`)."""

    def __init__(self, session: Session, now: int) -> None:
        self._session = session
        self._now = now

    async def begin(self, connection: AsyncConnection) -> None:
        """Raises AccessEnded."""
        session = self._session
        if session.way is Way.TOKEN:  # the permissions of a token never change
            if not await token_is_good(connection, session.login, self._now):
                raise AccessEnded(Over.LOGIN_ENDED)
        elif session.way is Way.COOKIE:
            await self._check_login(connection)

    async def end(self, connection: AsyncConnection) -> None:
        """Nothing to do: one transaction writes at a time."""

    async def _check_login(self, connection: AsyncConnection) -> None:
        statement = (
            select(role_grant.c.site, role_grant.c.role)
            .select_from(login)
            .join(person, person.c.id == login.c.person)
            .outerjoin(role_grant, role_grant.c.person == person.c.id)
            .where(login.c.id == self._session.login, person.c.disabled_at.is_(None))
        )
        rows = (await connection.execute(statement)).all()
        if not rows:
            raise AccessEnded(Over.LOGIN_ENDED)
        if not _pairs(self._session.person.grants) <= {(site, role) for site, role in rows}:
            raise AccessEnded(Over.ROLE_REVOKED)


def _pairs(grants: Mapping[str, Collection[Any]]) -> set[tuple[str, str]]:
    return {(site, str(role)) for site, held in grants.items() for role in held}
