"""Describes errors of files and disks in a sentence for operators. The detail goes to the log."""

import errno
import sqlite3
from typing import Final

DISK_FULL: Final = "the disk is full: free space on it"
_OF_FILES: Final = {
    errno.ENOSPC: DISK_FULL,
    errno.EDQUOT: "the quota of the service on this disk is used up: enlarge it or free space",
    errno.EROFS: "the disk is read-only: check it for faults and mount it for writing",
    errno.EACCES: "the service may not write there: give its user write permission on the data folder",
    errno.EPERM: "the service may not write there: give its user write permission on the data folder",
    errno.ENOENT: "a folder or file is missing: check storage.data_dir",
    errno.EIO: "the disk does not respond or is damaged: check it",
    errno.EMFILE: "too many files are open: raise LimitNOFILE",
    errno.ENFILE: "too many files are open on this machine: raise fs.file-max, or end what opens them",
    errno.ENOTDIR: "a file is where a folder should be: move it away, or check storage.data_dir",
    errno.EEXIST: "a file is where a folder should be: move it away, or check storage.data_dir",
    errno.EISDIR: "a folder is where a file should be: move it away, or check storage.data_dir",
    errno.ENXIO: "the device of the disk is gone: check the disk and mount it again",
    errno.ENODEV: "the device of the disk is gone: check the disk and mount it again",
    errno.ESTALE: "the network drive has lost the file: mount it again",
    errno.ETIMEDOUT: "the network drive does not respond: check it and the network",
    errno.ENOMEM: "the machine has no memory left",
    errno.EBUSY: "another program uses the file or its disk; end it",
    errno.EFBIG: "the file is larger than its disk or a limit permits: raise the limit, or move the data folder",
}
_OF_SQLITE: Final = {
    sqlite3.SQLITE_FULL: DISK_FULL,
    sqlite3.SQLITE_BUSY: "another program holds the file locked; end it",
    sqlite3.SQLITE_LOCKED: "another program holds the file locked; end it",
    sqlite3.SQLITE_IOERR: "the disk does not respond, is full or is damaged: check it",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened: check the data folder and its permissions",
    sqlite3.SQLITE_READONLY: "the file or its disk is read-only: check the permissions and the disk",
    sqlite3.SQLITE_PERM: "the service may not write the file: give its user write permission on the data folder",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore it from a backup",
    sqlite3.SQLITE_NOTADB: "the file is damaged: restore it from a backup",
    sqlite3.SQLITE_NOMEM: "the machine has no memory left",
    sqlite3.SQLITE_ERROR: "the file does not have the expected tables: run `gengfu migrate`",
}
_OTHER: Final = "a file cannot be used now; see the log for details"


def is_disk_full(error: BaseException | None) -> bool:
    """Whether SQLite or the system found the disk full."""
    if isinstance(error, sqlite3.Error):
        return sqlite_code(error) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


def sqlite_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code (https://www.sqlite.org/rescode.html); 0 if the driver gives none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def words_for_file(error: BaseException) -> str:
    """A sentence for an error of a file, a disk or SQLite."""
    if isinstance(error, sqlite3.Error):
        return _OF_SQLITE.get(sqlite_code(error), _OTHER)
    return _words_for_system(error) if isinstance(error, OSError) else _OTHER


def _words_for_system(error: OSError) -> str:
    """The error, its file and the remedy; the system's code if the error is not in the table."""
    if error.errno in _OF_FILES:
        words = _OF_FILES[error.errno]
    else:
        code = errno.errorcode.get(error.errno or 0, "an unknown code")
        words = f"the system reports {code} for a file: check the file, the permissions of its folder and the disk"
    return f"{words}; the file is {error.filename}" if error.filename else words
