"""The leader's lease: a row with an epoch, and on SQLite also a lock on the data folder.

Every decision transaction checks the epoch. A process that was suspended past the end of its lease finds another epoch
and must not write; its own clock (`tenure.py`) shows the end of the lease without a query. A new leader ends the
database sessions of the previous one, even inside a statement: their locks would block every writer.
"""

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import Database
from gateway.storage.postgres.connections import end_sessions
from gateway.storage.tables import lease

log = structlog.get_logger(__name__)

OWNER: Final = "alarms"
LIFETIME_MS: Final = 6_000
"""A leader that has not renewed the lease for this time can be replaced."""


_SEPARATOR: Final = ":"


class LeaseLost(Exception):
    """Another process is the leader now; nothing of this transaction may be written."""


class FolderInUse(Exception):
    """Another process uses this data folder."""


def holder_of(database: Database) -> str:
    """The name under which this process holds the lease."""
    if database.is_sqlite:  # the folder's lock decides; there is no need to wait for the last lease to expire
        return "folder"
    # The process number alone would not do: in containers every process is number 1.
    return f"{socket.gethostname()[:64]}{_SEPARATOR}{os.getpid()}{_SEPARATOR}{database.session_name}"


async def shared_clock(database: Database, own: Callable[[], int]) -> int:
    """Now, in epoch ms, by the clock that all candidates share: PostgreSQL's."""
    if database.is_sqlite:
        return own()
    async with database.unqueued() as connection:
        return int(await connection.scalar(text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")))


async def take(database: Database, holder: str, now: int) -> int | None:
    """Become the leader if the lease is free, expired or already held by this process.

    Returns:
        The new epoch, or None while another process holds the lease.
    """
    wanted = select(lease.c.holder, lease.c.epoch, lease.c.expires_at).where(lease.c.name == OWNER)
    async with database.reading() as connection:  # a standby polls each second and writes nothing
        found = (await connection.execute(wanted)).one_or_none()
        if _is_held(found, holder, now):
            return None
        if found is not None and not database.is_sqlite:
            await _cut_off(connection, found.holder, holder)
    async with database.transaction() as connection:  # the only writer: no other process can intervene
        found = (await connection.execute(wanted.with_for_update())).one_or_none()
        if _is_held(found, holder, now):
            return None
        epoch = 1 if found is None else int(found.epoch) + 1
        row = {"name": OWNER, "holder": holder, "epoch": epoch, "expires_at": now + LIFETIME_MS}
        await connection.execute(
            insert(lease).values(row) if found is None else update(lease).where(lease.c.name == OWNER).values(row)
        )
        return epoch


async def _cut_off(connection: AsyncConnection, before: str, holder: str) -> None:
    """End the sessions of the previous holder, whose lease has expired: inside a statement they would never end."""
    name = before.rpartition(_SEPARATOR)[2]
    if name and before != holder and await end_sessions(connection, name):
        log.warning("the sessions of the previous leader were ended: its lease has expired", holder=before)


def _is_held(found: Any, holder: str, now: int) -> bool:
    """Whether another process holds it. An expiry beyond one lifetime was written before the clock was set back."""
    return found is not None and found.holder != holder and now < found.expires_at <= now + LIFETIME_MS


async def renew(database: Database, epoch: int, now: int) -> None:
    """Extend the lease. Waits for no writer. Raises LeaseLost."""
    async with database.unqueued() as connection:
        held = await connection.execute(
            update(lease).where(lease.c.name == OWNER, lease.c.epoch == epoch).values(expires_at=now + LIFETIME_MS)
        )
        if held.rowcount == 0:
            raise LeaseLost("another process is the leader")


async def release(database: Database, epoch: int) -> None:
    """Let the next process take over at once."""
    async with database.unqueued() as connection:
        await connection.execute(
            update(lease).where(lease.c.name == OWNER, lease.c.epoch == epoch).values(expires_at=0, holder="")
        )


async def verify(connection: AsyncConnection, epoch: int) -> None:
    """Check, inside a transaction, that this process is still the leader.

    The next leader begins its epoch as the only writer, so none begins during this transaction. The row is not
    locked: a long decision must not block the renewal of its own lease.

    Raises:
        LeaseLost: another epoch has begun.
    """
    current = await connection.scalar(select(lease.c.epoch).where(lease.c.name == OWNER))
    if current != epoch:
        raise LeaseLost(f"epoch {epoch} is over, {current} has begun")


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep a second process out of a data folder.

    Raises:
        FolderInUse: another process holds it; the text says which and what to do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "gengfu.lock").open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise FolderInUse(
                f"another gengfu (process {file.read().strip() or 'unknown'}) works in {folder.resolve()}; "
                "stop it, or choose another folder (storage.data_dir)"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
