"""Where the audit ends, kept outside of the database: a signed count and hash in a file of the data folder.

Who may only write the database can remove the newest rows together with all that is signed of them. The file then says
that there were more. It is written after each sealing, so after a crash it may be one sealing behind; it is never ahead
of the database, and is never set back.
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
    """With this the audit of a database began: its id, and the end of the chain at that moment.

    A database without it has never been sealed, or somebody has emptied it.
    """

    database: str
    at: int
    last: int
    """0 of a fresh database; more where the rows before were sealed by a version that made no such statement."""
    hash: str
    key: str
    signature: str = ""
    PURPOSE: ClassVar[bytes] = b"gengfu audit database\n"


class Head(Statement, frozen=True):
    """The last sealed row of a database: how many there are, and the hash of the last."""

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
    """That a backup was restored: what was written between the two moments (epoch ms) is not in the database."""

    backup_at: int
    restored_at: int


class NotReadable(Exception):
    """A file is there and is not what it should be; the text says which."""


def head_file(settings: Settings) -> Path:
    """Where this service keeps the head."""
    return settings.storage.data_dir / HEAD_FILE


def read_head(file: Path) -> Head | None:
    """The head in a file, None where there is none. Raises NotReadable, OSError."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Head)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise NotReadable(f"{file}: {error}") from error


def write_head(file: Path, head: Head) -> None:
    """Put the head into its file, whole or not at all. Raises OSError."""
    write_durably(file, msgspec.json.encode(head) + b"\n")


def read_restores(folder: Path) -> list[Restore]:
    """What is noted of restores into a data folder, oldest first. Raises NotReadable, OSError."""
    try:
        return msgspec.json.decode((folder / RESTORED_FILE).read_bytes(), type=list[Restore])
    except FileNotFoundError:
        return []
    except msgspec.MsgspecError as error:
        raise NotReadable(f"{folder / RESTORED_FILE}: {error}") from error


def note_restore(folder: Path, restore: Restore) -> None:
    """Note a restore beside those that the backup knew of. Raises NotReadable, OSError."""
    write_durably(folder / RESTORED_FILE, msgspec.json.encode([*read_restores(folder), restore]) + b"\n")


def write_durably(file: Path, content: bytes) -> None:
    """Write a file so that after a power cut it is as before or as now. Raises OSError."""
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
