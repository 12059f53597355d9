"""Restores a backup into an empty place; never overwrites anything."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO

from sqlalchemy import URL, inspect
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.backup.backup import unpack
from gateway.backup.contents import DUMP, check_sqlite
from gateway.backup.sealed_file import read_header
from gateway.backup.stoppable import StoppableThread
from gateway.clocks import wall_ms
from gateway.people.audit.head import Restore, note_restore
from gateway.storage.postgres.programs import load

Say = Callable[[str], None]


class NotEmpty(Exception):
    """The target is not empty."""


async def restore_backup(file: Path, folder: Path, passphrase: str, database: URL | None, say: Say) -> int:
    """Unpack, check, and only then give the folder its final name. Returns the number of files.

    Args:
        file: the backup.
        folder: becomes the data folder; must be missing or empty.
        passphrase: of the backup; "" for none.
        database: an empty PostgreSQL database for a backup of one; None leaves the dump in the folder.
        say: called with progress messages.

    Raises:
        NotEmpty, BackupDamaged, PassphraseNeeded, ProgramFailed, sqlite3.Error, OSError: the folder is unchanged.
    """
    partial = _place_beside(folder)
    if database is not None:
        await _require_empty(database)
    with file.open("rb") as reading:
        made_at = read_header(reading)[0].made_at
    partial.mkdir(parents=True, mode=0o700)
    thread = StoppableThread()
    try:
        say("reading the backup")
        files = await thread.run(unpack, file, passphrase, _writer(partial), thread.stopping)
        say("checking the databases")
        for copy in partial.glob("*.db"):
            await thread.run(check_sqlite, copy)
        if database is not None and (partial / DUMP).is_file():
            say("loading PostgreSQL")
            await load(database, partial / DUMP)
        note_restore(partial, Restore(made_at, wall_ms()))
        partial.replace(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return files


def _place_beside(folder: Path) -> Path:
    """The temporary folder for the content until it is complete. Raises NotEmpty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NotEmpty(f"{folder} is not empty; name another folder, nothing is ever overwritten")
    partial = folder.with_name(f"{folder.name}.restoring")
    if partial.exists():
        raise NotEmpty(f"{partial} is left from an aborted restore; remove it")
    return partial


def _writer(folder: Path) -> Callable[[str], IO[bytes]]:
    def open_target(name: str) -> IO[bytes]:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    return open_target


async def _require_empty(url: URL) -> None:
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            tables = await connection.run_sync(lambda plain: inspect(plain).get_table_names())
    finally:
        await engine.dispose()
    if tables:
        raise NotEmpty(f"the database {url.database} has tables already; name an empty one, nothing is overwritten")
