"""Key files: created once, atomically, and readable by their owner only."""

import contextlib
import os
from pathlib import Path


class KeyReadable(Exception):
    """Others can read the file; the text says what to do."""


def make_key_file(file: Path, content: bytes) -> None:
    """Write a key if there is none yet; a key of another process stays. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # Complete before it gets its name: a key truncated by a power failure would be lost for good.
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as writing:
        writing.write(content)
        writing.flush()
        os.fsync(writing.fileno())
    try:
        with contextlib.suppress(FileExistsError):  # another process was faster: its key is used
            file.hardlink_to(partial)
    finally:
        partial.unlink()


def require_private(file: Path) -> None:
    """Raises KeyReadable if others may read it, OSError."""
    if file.stat().st_mode & 0o077:
        raise KeyReadable(f"{file}: other users can read this key; run chmod 600 {file}")
