"""Recognises damaged SQLite files and renames them.

A damaged file stays in its folder under a dated name, for the administrator, and a new file is created, so that
monitoring continues without the old content.
"""

import sqlite3
import time
from pathlib import Path
from typing import Final

import msgspec
import structlog

log = structlog.get_logger(__name__)

MARK: Final = ".damaged-"
"""Separates the original name of a renamed file from the time or reason of renaming."""
_BESIDE: Final = ("-wal", "-shm")
"""Files that SQLite keeps beside a database; they belong to it."""
_DAMAGE_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_IOERR_SHORT_READ,
        sqlite3.SQLITE_IOERR_CORRUPTFS,
        sqlite3.SQLITE_READONLY_DBMOVED,
    }
)
_DAMAGE_WORDS: Final = (
    "no such table",
    "no such column",
    "has no column named",
    "malformed JSON",
    "Could not decode to UTF-8",
)
"""Messages of SQLite, or of Python's module for it, for a file with intact pages but foreign content."""
_PRIMARY: Final = 0xFF
"""The lower byte of an extended result code is the primary one (sqlite.org/rescode.html)."""


class ForeignFile(sqlite3.DatabaseError):
    """An intact database of another program, or of a later version of this one."""


def is_damage(error: BaseException) -> bool:
    """Whether an error means that the file will never be readable, rather than locked, full or unreachable."""
    if isinstance(error, ForeignFile | msgspec.DecodeError | UnicodeDecodeError):
        return True
    if not isinstance(error, sqlite3.Error):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and ({code, code & _PRIMARY} & _DAMAGE_CODES):
        return True
    return isinstance(error, sqlite3.OperationalError) and any(words in str(error) for words in _DAMAGE_WORDS)


def keep_aside(path: Path, why: str) -> Path:
    """Rename a damaged database and its companion files; return its new path. Raises OSError.

    A file that was removed meanwhile is skipped.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = path.with_name(f"{path.name}{MARK}{stamp}")
    number = 1
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}{MARK}{stamp}-{number}")
    if path.exists():
        path.replace(kept)
    for suffix in _BESIDE:
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.replace(kept.with_name(kept.name + suffix))
    log.error("a database file is damaged; it was renamed and a new one is created",
              file=str(path), kept_as=str(kept), why=why)  # fmt: skip
    return kept


def kept_aside(folder: Path) -> list[Path]:
    """Damaged files in a data folder and in those of its collectors, until the administrator removes them."""
    patterns = (f"*.db{MARK}*", f"collect-*/*.db{MARK}*", f"spool/*{MARK}*")
    found = [path for pattern in patterns for path in folder.glob(pattern)]
    return sorted(path for path in found if not path.name.endswith(_BESIDE))
