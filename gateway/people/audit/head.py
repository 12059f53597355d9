"""The head of the audit, outside the database: a signed count and hash in a file of the data folder.

A person with write access to the database can remove the newest rows together with their signatures. The file then
shows that there were more. It is written after each sealing, so after a crash it may be one sealing behind; it is never
ahead of the database and never moves back.
"""

import os
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from gateway.people.audit.key import Statement
from gateway.settings import Settings

HEAD_FILE: Final = "audit.head"
RESTORED_FILE: Final = "audit.restored"


class Identity(Statement, frozen=True):
    """The beginning of a database's audit: its id, and the end of the chain at that moment.

    A database without it has never been sealed, or was emptied.
    """

    database: str
    at: int
    last: int
    """0 for a new database; more if earlier rows were sealed by a version without this statement."""
    hash: str
    key: str
    signature: str = ""
    PURPOSE: ClassVar[bytes] = b"gengfu audit database\n"


class Head(Statement, frozen=True):
    """The last sealed row of a database: its number and its hash."""

    database: str
    last: int
    hash: str
    day: str
    """The newest day, UTC; "" before the first row."""
    at: int
    key: str
    signature: str = ""
    PURPOSE: ClassVar[bytes] = b"gengfu audit head\n"


class Restore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A restore of a backup: data written between the two moments (epoch ms) is not in the database."""

    backup_at: int
    restored_at: int


class NotReadable(Exception):
    """A file is invalid; the text names it."""


def head_file(settings: Settings) -> Path:
    """The file of this service's head."""
    return settings.storage.data_dir / HEAD_FILE


def read_head(file: Path) -> Head | None:
    """The head in a file, None if there is none. Raises NotReadable, OSError."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Head)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise NotReadable(f"{file}: {error}") from error


def write_head(file: Path, head: Head) -> None:
    """Write the head to its file, atomically. Raises OSError."""
    write_durably(file, msgspec.json.encode(head) + b"\n")


def read_restores(folder: Path) -> list[Restore]:
    """The recorded restores into a data folder, oldest first. Raises NotReadable, OSError."""
    try:
        return msgspec.json.decode((folder / RESTORED_FILE).read_bytes(), type=list[Restore])
    except FileNotFoundError:
        return []
    except msgspec.MsgspecError as error:
        raise NotReadable(f"{folder / RESTORED_FILE}: {error}") from error


def note_restore(folder: Path, restore: Restore) -> None:
    """Record a restore beside those recorded in the backup. Raises NotReadable, OSError."""
    write_durably(folder / RESTORED_FILE, msgspec.json.encode([*read_restores(folder), restore]) + b"\n")


def write_durably(file: Path, content: bytes) -> None:
    """Write a file atomically: after a power failure it has the old or the new content. Raises OSError."""
    partial = file.with_name(f"{file.name}.part")
    with partial.open("wb") as writing:
        writing.write(content)
        writing.flush()
        os.fsync(writing.fileno())
    partial.replace(file)
    descriptor = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
