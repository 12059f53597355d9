"""Throttling of login attempts, counted for all services on one database and over restarts.

An attempt reads its counts by key; its own count is written a second later, together with all others of that second. So
an attempt costs no transaction and does not delay the writer of alarms. Several services count separately for that
second, and a service that is killed loses it.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable
from typing import Final

import structlog
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.people.authentication.login_rows import digest_of
from gateway.people.authentication.throttle import SLOWING, Attempt, Counted, Key, Throttle, account_of
from gateway.storage.database import Database
from gateway.storage.database_errors import DatabaseTrouble
from gateway.storage.queries.chunked_writes import delete_in_chunks
from gateway.storage.queries.chunks import in_portions
from gateway.storage.tables import login_failure

log = structlog.get_logger(__name__)

_KEEP_S: Final = 1.0
_FORGET_EVERY: Final = 3_600
_LONGEST: Final = max(rule.forget for rule in SLOWING.values())


class SharedThrottle:
    """The counts of all services."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._throttle = Throttle()
        self._added: dict[Key, tuple[int, int]] = {}
        """Counted here and not yet written: number and time of the last one."""
        self._forgiven: set[Key] = set()
        """To be removed before the counts are added."""
        self._written = 0

    async def admit(self, attempt: Attempt, now: int) -> int:
        """Count an attempt, unless it has to wait. Returns the milliseconds to wait; 0: check it now.

        It is counted before its password is checked, so that concurrent attempts all count.
        """
        await self._learn(attempt, now)
        wait = self._throttle.wait(attempt, now)
        if not wait:
            self._throttle.count(attempt, now)
            for key in attempt.counted_by():
                self._added[key] = self._added.get(key, (0, 0))[0] + 1, now
        return wait

    def forgive(self, attempt: Attempt, now: int) -> None:
        """The attempt was successful. See `Throttle.forgive`."""
        for key, taken in self._throttle.forgive(attempt, now).items():
            count, at = self._added.pop(key, (0, 0))
            if key[0] in {Counted.ADDRESS, Counted.ACCOUNT}:
                self._added[key] = count - taken, at
            else:
                self._forgiven.add(key)
        self._added[attempt.success()] = self._added.get(attempt.success(), (0, 0))[0] + 1, now

    async def forget_account(self, username: str) -> None:
        """Clear the counts of an account after a reset by an administrator, for every service."""
        self._throttle.forget_account(username)
        for key in [key for key in self._added if account_of(key) == username]:
            self._added.pop(key)
        await forget_failures(self._database, username)

    async def run(self, clock: Callable[[], int]) -> None:
        """Write counts each second until cancelled."""
        for second in itertools.count(1):
            await asyncio.sleep(_KEEP_S)
            try:
                await self.keep()
                if second % _FORGET_EVERY == 1:
                    await self.forget_old(clock())
            except DatabaseTrouble as error:
                log.warning("failed logins are counted in this process only: the database fails", why=str(error))

    async def keep(self) -> None:
        """Write counts and removals since the last time."""
        added, forgiven = dict(self._added), set(self._forgiven)
        if not added and not forgiven:
            return
        async with self._database.transaction() as connection:
            await _remove(connection, forgiven)
            before = await _read(connection, added)
            await _remove(connection, before)
            rows = [_row(key, before.get(key, (0, 0)), more) for key, more in added.items()]
            kept = [row for row in rows if int(str(row["count"])) > 0]
            if kept:
                await connection.execute(insert(login_failure), kept)
        self._written += 1
        for key, (count, _) in added.items():
            left, at = self._added.get(key, (count, 0))
            self._added[key] = left - count, at
            if left == count:
                self._added.pop(key)
        self._forgiven -= forgiven

    async def forget_old(self, now: int) -> None:
        """Remove expired counts."""
        await delete_in_chunks(self._database, login_failure, login_failure.c.last_at < now - _LONGEST)

    async def _learn(self, attempt: Attempt, now: int) -> None:
        """Read what all services have counted for this attempt."""
        keys = attempt.slowed_by()
        while True:
            written = self._written
            async with self._database.reading() as connection:
                found = await _read(connection, keys)
            if written == self._written:  # otherwise our own counts would be read back and count twice or not at all
                break
        for key in keys:
            count, at = (0, 0) if key in self._forgiven else found.get(key, (0, 0))
            if now - at >= SLOWING[key[0]].forget:
                count = 0
            more, more_at = self._added.get(key, (0, 0))
            self._throttle.set(key, max(0, count + more), max(at, more_at))


async def forget_failures(database: Database, username: str) -> None:
    """Remove the counts of an account: one row for each address with failed attempts."""
    await delete_in_chunks(database, login_failure, login_failure.c.account == digest_of(username))


def _digest(key: Key) -> str:
    return digest_of(f"{key[0].value} {key[1]}")


def _row(key: Key, before: tuple[int, int], more: tuple[int, int]) -> dict[str, object]:
    count, at = before
    last = max(at, more[1])
    if last - at >= SLOWING[key[0]].forget:
        count = 0
    account = account_of(key)
    return {
        "digest": _digest(key),
        "account": digest_of(account) if account else "",
        "count": count + more[0],
        "last_at": last,
    }


async def _read(connection: AsyncConnection, keys: Iterable[Key]) -> dict[Key, tuple[int, int]]:
    named = {_digest(key): key for key in keys}
    found: dict[Key, tuple[int, int]] = {}
    columns = (login_failure.c.digest, login_failure.c.count, login_failure.c.last_at)
    for part in in_portions(list(named)):
        rows = await connection.execute(select(*columns).where(login_failure.c.digest.in_(part)))
        found |= {named[digest]: (count, at) for digest, count, at in rows}
    return found


async def _remove(connection: AsyncConnection, keys: Iterable[Key]) -> None:
    for part in in_portions([_digest(key) for key in keys]):
        await connection.execute(delete(login_failure).where(login_failure.c.digest.in_(part)))
