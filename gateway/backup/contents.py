"""The contents of a backup, and copying them while the service writes."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from gateway.backup.stoppable import Stopping
from gateway.people.audit.head import HEAD_FILE, RESTORED_FILE
from gateway.people.audit.key import PUBLIC_PATTERN, checkpoints_folder, key_file
from gateway.people.authentication.secret_seal import seal_file
from gateway.settings import Settings

DATABASE: Final = "gengfu.db"
DUMP: Final = "gengfu.dump"
HISTORY: Final = "history.db"
SETTINGS: Final = "settings.toml"
KEY: Final = "audit.key"
SEAL_KEY: Final = "second_factor.key"
_SMALL_DATABASES: Final = ("sequences.db", "dirty-minutes.db")
_PAGES: Final = 4_096
_HIDDEN: Final = frozenset({("storage", "database_url")})
"""Settings that may contain a password although they do not have the secret type."""


def copy_sqlite(source: Path, target: Path, stopping: Stopping) -> None:
    """Copy a consistent snapshot of a SQLite file while others write it, and check the copy. Raises sqlite3.Error."""
    address = f"{source.absolute().as_uri()}?mode=rw"  # never creates an empty database
    with (
        closing(sqlite3.connect(address, uri=True, isolation_level=None)) as reading,
        closing(sqlite3.connect(target)) as writing,
    ):
        # One open snapshot: otherwise the copy restarts with each commit of others, and under load never ends.
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM sqlite_master").fetchone()
        reading.backup(writing, pages=_PAGES, sleep=0, progress=lambda *_: stopping())
        writing.execute("PRAGMA journal_mode = DELETE")
    check_sqlite(target)


def check_sqlite(file: Path) -> None:
    """Check a file with SQLite. Raises sqlite3.DatabaseError if it is damaged."""
    with closing(sqlite3.connect(file)) as database:
        found = [row[0] for row in database.execute("PRAGMA integrity_check(5)")]
    if found != ["ok"]:
        raise sqlite3.DatabaseError(f"{file.name}: {'; '.join(found)}")


def copy_rest(settings: Settings, target: Path, stopping: Stopping, *, with_history: bool, with_key: bool) -> None:
    """Copy all stored data into a folder; files removed meanwhile were no longer needed.

    Args:
        settings: locations of the data.
        target: folder that becomes the content of the backup.
        stopping: called between files.
        with_history: include readings, if they are in SQLite.
        with_key: include the keys of the audit and of second factors; for encrypted backups only.

    Raises:
        sqlite3.Error, OSError.
    """
    folder = settings.storage.data_dir
    # Before the history: a reading written to it meanwhile is in both, which is harmless.
    for source, name in _files(settings, with_key=with_key):
        stopping()
        _copy_file(source, target / name)
    (target / SETTINGS).write_text(settings_without_secrets(settings), encoding="utf-8")
    for name in (*_SMALL_DATABASES, *((HISTORY,) if with_history else ())):
        if (folder / name).is_file():
            copy_sqlite(folder / name, target / name, stopping)


def copy_audit_record(settings: Settings, target: Path, stopping: Stopping) -> None:
    """Copy the audit's copies outside the database; before the database, so that they are never ahead of it."""
    folder = settings.storage.data_dir
    kept = ((folder / name, name) for name in (HEAD_FILE, RESTORED_FILE) if (folder / name).is_file())
    for source, name in (*kept, *_tree(checkpoints_folder(settings), "checkpoints")):
        stopping()
        _copy_file(source, target / name)


def _files(settings: Settings, *, with_key: bool) -> Iterator[tuple[Path, str]]:
    folder, key = settings.storage.data_dir, key_file(settings)
    yield from _tree(folder / "spool", "spool")
    yield from _tree(settings.storage.attachments, "attachments")
    yield from ((file, file.name) for file in sorted(key.parent.glob(PUBLIC_PATTERN)))
    for private, name in ((key, KEY), (seal_file(settings), SEAL_KEY)):
        if with_key and private.is_file():
            yield private, name
    own = (*settings.alarms.rule_files, *(Path(name) for name in settings.collect.mappings))
    for number, file in enumerate(file for file in own if file.is_file()):
        yield file, f"rules_and_mappings/{number}-{file.name}"


def _tree(folder: Path, name: str) -> Iterator[tuple[Path, str]]:
    for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if file.is_file() and not file.is_symlink():
            yield file, f"{name}/{file.relative_to(folder).as_posix()}"


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        return
    target.chmod(0o600)


def settings_without_secrets(settings: Settings) -> str:
    """The effective settings as TOML, without passwords, tokens and unset values."""
    lines = ["# Effective settings at the time of the backup, without passwords and tokens: set them again."]
    for section in type(settings).model_fields:
        lines.append(f"\n[{section}]")
        values: dict[str, Any] = dict(getattr(settings, section))
        for key, value in values.items():
            if value is None or isinstance(value, SecretStr) or (section, key) in _HIDDEN:
                continue
            lines.append(f"{key} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
