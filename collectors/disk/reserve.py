"""A file that occupies disk space, which can be released when the disk is full."""

import contextlib
import os
from pathlib import Path


class Reserve:
    """One file. Every method blocks and raises OSError if the disk fails."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def left(self) -> int:
        """Bytes that can be released; 0 if there is no file."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def enlarge(self, size: int) -> None:
        """Allocate blocks up to a size, on disk before this returns. Without room for all of it nothing changes."""
        before = self.left
        file = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o640)
        try:
            os.posix_fallocate(file, 0, size)
            os.fsync(file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, before)
            raise
        finally:
            os.close(file)

    def shrink(self, size: int) -> None:
        """Release the bytes beyond a size; at 0 the file is removed."""
        if size <= 0:
            self._path.unlink(missing_ok=True)
        else:
            os.truncate(self._path, size)
