"""One owner of the alarms: a lease row with an epoch, and on SQLite a lock on the data folder as well.

Every decision transaction checks the epoch. A process that slept through its lease finds another epoch there
and must not write.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import insert, select, text, update
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


async def shared_clock(database: Database, own: Callable[[], int]) -> int:
    """Now, in epoch ms, by the one clock that everybody who wants the lease asks: PostgreSQL's."""
    if database.is_sqlite:
        return own()
    async with database.reading() as connection:
        return int(await connection.scalar(text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")))


async def take(database: Database, holder: str, now: int) -> int | None:
    """Become the owner, where the lease is free, ended or our own.

    Returns:
        The new epoch, or None while another process holds the lease.
    """
    wanted = select(lease.c.holder, lease.c.epoch, lease.c.expires_at).where(lease.c.name == OWNER)
    async with database.reading() as connection:  # who stands by asks each second and writes nothing
        if _is_held((await connection.execute(wanted)).one_or_none(), holder, now):
            return None
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


def _is_held(found: Any, holder: str, now: int) -> bool:
    """Whether another process holds it. One that ends later than any can was taken before the clock was set back."""
    return found is not None and found.holder != holder and now < found.expires_at <= now + LIFETIME_MS


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
