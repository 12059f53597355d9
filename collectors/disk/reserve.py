"""A file that takes up space on a disk so that it can be released when nothing else is left."""

import contextlib
import os
from pathlib import Path


class Reserve:
    """One file. Every method blocks and raises OSError where the disk does not work."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def left(self) -> int:
        """Bytes that can be released; 0 where there is no file."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def enlarge(self, size: int) -> None:
        """Allocate blocks up to a size, on disk before this returns. Where there is no room, nothing has changed."""
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
        """Release what is beyond a size; the file goes with its last byte."""
        if size <= 0:
            self._path.unlink(missing_ok=True)
        else:
            os.truncate(self._path, size)
