"""`gengfu backup` and `gengfu restore`."""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import URL, make_url

from gateway.app import database_url
from gateway.backup.backup import make_backup
from gateway.backup.restore import restore_backup
from gateway.backup.sealed_file import read_header
from gateway.cli.errors import NoPlace
from gateway.clocks import wall_ms
from gateway.settings import Settings

Say = Callable[[str], None]


async def back_up(settings: Settings, folder: Path | None, with_history: bool, say: Say) -> None:
    """Make a backup now.

    Raises:
        NoPlace, ProgramFailed, BackupDamaged, sqlite3.Error, OSError: there is no backup; the text says why.
    """
    target = folder or (Path(settings.backup.folder) if settings.backup.folder else None)
    if target is None:
        raise NoPlace("name a folder with --to, or set backup.folder")
    url = make_url(database_url(settings))
    _require_database(url)
    made = await make_backup(
        settings, url, target, wall_ms(), say, with_history=with_history or settings.backup.with_history
    )
    say(f"{made.file}: {made.files} files, {made.size:,} bytes, {'' if made.encrypted else 'not '}encrypted, read back")


def _require_database(url: URL) -> None:
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise NoPlace(f"{url.database}: no such database; name its folder with --data-dir")


def needs_passphrase(file: Path) -> bool:
    """Whether a backup is encrypted. Raises BackupDamaged, OSError."""
    with file.open("rb") as reading:
        return read_header(reading)[0].encrypted


async def restore_into(file: Path, folder: Path, passphrase: str, settings: Settings, say: Say) -> None:
    """Restore, and show the next steps. Raises the same as `restore_backup`."""
    url = make_url(database_url(settings))
    database = None if url.get_backend_name() == "sqlite" else url
    files = await restore_backup(file, folder, passphrase, database, say)
    say(f"{files} files restored into {folder}. Passwords are not among the settings: set them again.")
    say(f"Next: gengfu verify-audit --data-dir {folder}, then gengfu serve --data-dir {folder}")
    if database is None and (folder / "gengfu.dump").is_file():
        say("The database was PostgreSQL: set storage.database_url to an empty one, and load gengfu.dump: pg_restore.")
