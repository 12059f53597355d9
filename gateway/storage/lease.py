"""One owner of the alarms: a lease row with an epoch, and on SQLite a lock on the data folder as well.

Every decision transaction checks the epoch. A process that slept through its lease finds another epoch there
and must not write.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import Database
from gateway.storage.tables import lease

OWNER: Final = "alarms"
LIFETIME_MS: Final = 6_000
"""An owner that is silent for so long has lost the alarms to the next one."""


class LeaseLost(Exception):
    """Another process owns the alarms now; nothing of this transaction may be written."""


class FolderInUse(Exception):
    """Another process works in this data folder."""


async def take(database: Database, holder: str, now: int) -> int | None:
    """Become the owner, where the lease is free, ended or our own.

    Returns:
        The new epoch, or None while another process holds the lease.
    """
    async with database.transaction() as connection:
        taken = await connection.execute(
            update(lease)
            .where(lease.c.name == OWNER, or_(lease.c.expires_at <= now, lease.c.holder == holder))
            .values(holder=holder, epoch=lease.c.epoch + 1, expires_at=now + LIFETIME_MS)
        )
        if taken.rowcount == 0:
            with contextlib.suppress(IntegrityError):
                async with connection.begin_nested():
                    row = {"name": OWNER, "holder": holder, "epoch": 1, "expires_at": now + LIFETIME_MS}
                    await connection.execute(insert(lease).values(row))
        found = await connection.execute(select(lease.c.holder, lease.c.epoch).where(lease.c.name == OWNER))
        owner, epoch = found.one()
        return int(epoch) if owner == holder else None


async def renew(database: Database, epoch: int, now: int) -> None:
    """Hold on. Raises LeaseLost."""
    async with database.transaction() as connection:
        held = await connection.execute(
            update(lease).where(lease.c.name == OWNER, lease.c.epoch == epoch).values(expires_at=now + LIFETIME_MS)
        )
        if held.rowcount == 0:
            raise LeaseLost("another process owns the alarms")


async def release(database: Database, epoch: int) -> None:
    """Let the next process take over at once."""
    async with database.transaction() as connection:
        await connection.execute(
            update(lease).where(lease.c.name == OWNER, lease.c.epoch == epoch).values(expires_at=0, holder="")
        )


async def verify(connection: AsyncConnection, epoch: int) -> None:
    """Check, inside a transaction, that we still own the alarms; locks the row where the database can.

    Raises:
        LeaseLost: another epoch has begun.
    """
    current = await connection.scalar(select(lease.c.epoch).where(lease.c.name == OWNER).with_for_update(read=True))
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
