"""One owner of the alarms: a lease row with an epoch, and on SQLite a lock on the data folder as well.

Every decision transaction checks the epoch. A process that slept through its lease finds another epoch there
and must not write; by its own clock (`tenure.py`) it knows even before it asks. Who takes over ends the sessions of the
one before, whatever these are in the middle of: what they hold would keep every writer waiting.
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
"""An owner that is silent for so long has lost the alarms to the next one."""


_SEPARATOR: Final = ":"


class LeaseLost(Exception):
    """Another process owns the alarms now; nothing of this transaction may be written."""


class FolderInUse(Exception):
    """Another process works in this data folder."""


def holder_of(database: Database) -> str:
    """Under which name this process holds the lease."""
    if database.is_sqlite:  # whoever holds the folder's lock owns them, and need not wait for the last lease's end
        return "folder"
    # The process number alone would not do: in containers every process is number 1.
    return f"{socket.gethostname()[:64]}{_SEPARATOR}{os.getpid()}{_SEPARATOR}{database.session_name}"


async def shared_clock(database: Database, own: Callable[[], int]) -> int:
    """Now, in epoch ms, by the one clock that everybody who wants the lease asks: PostgreSQL's."""
    if database.is_sqlite:
        return own()
    async with database.unqueued() as connection:
        return int(await connection.scalar(text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")))


async def take(database: Database, holder: str, now: int) -> int | None:
    """Become the owner, where the lease is free, ended or our own.

    Returns:
        The new epoch, or None while another process holds the lease.
    """
    wanted = select(lease.c.holder, lease.c.epoch, lease.c.expires_at).where(lease.c.name == OWNER)
    async with database.reading() as connection:  # who stands by asks each second and writes nothing
        found = (await connection.execute(wanted)).one_or_none()
        if _is_held(found, holder, now):
            return None
        if found is not None and not database.is_sqlite:
            await _cut_off(connection, found.holder, holder)
    async with database.transaction() as connection:  # the one writer: nobody comes in between
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
    """End the sessions of the holder before, whose lease is over: frozen in a statement they would never end."""
    name = before.rpartition(_SEPARATOR)[2]
    if name and before != holder and await end_sessions(connection, name):
        log.warning("the sessions of the last owner of the alarms were ended: its lease is over", owner=before)


def _is_held(found: Any, holder: str, now: int) -> bool:
    """Whether another process holds it. One that ends later than any can was taken before the clock was set back."""
    return found is not None and found.holder != holder and now < found.expires_at <= now + LIFETIME_MS


async def renew(database: Database, epoch: int, now: int) -> None:
    """Hold on. Waits for no writer. Raises LeaseLost."""
    async with database.unqueued() as connection:
        held = await connection.execute(
            update(lease).where(lease.c.name == OWNER, lease.c.epoch == epoch).values(expires_at=now + LIFETIME_MS)
        )
        if held.rowcount == 0:
            raise LeaseLost("another process owns the alarms")


async def release(database: Database, epoch: int) -> None:
    """Let the next process take over at once."""
    async with database.unqueued() as connection:
        await connection.execute(
            update(lease).where(lease.c.name == OWNER, lease.c.epoch == epoch).values(expires_at=0, holder="")
        )


async def verify(connection: AsyncConnection, epoch: int) -> None:
    """Check, inside a transaction, that we still own the alarms.

    The next owner begins its epoch as the one writer, so none begins while this transaction lasts. The row is not
    locked: a decision that takes long must not keep its own lease from being renewed.

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
