"""The files of attachments: receive, check, store under their id, read. The rows link them to tickets.

`incoming/` holds uploads in progress, `<first two of id>/<id>` stored files, `unreferenced/` files without a row. A
file is stored before its row is written, so no row lacks its file; and outside the row's transaction, so a slow disk
does not block other writers. A stored file without a row may still get it within `PLACING_S`.
"""

import asyncio
import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO, Any, Final, ParamSpec, TypeVar
from weakref import WeakValueDictionary

import msgspec
from PIL import Image

from gateway.tickets.attachments.picture_bytes import picture
from gateway.tickets.attachments.types import MediaType, Refused, require_type

RESERVE: Final = 512 * 1024 * 1024
"""Bytes of the disk reserved for alarms, which are written there too."""
AT_ONCE: Final = 8
OF_ONE: Final = 3
"""Concurrent uploads, in total and of one person."""
SILENT_S: Final = 30.0
LONGEST_S: Final = 600.0
"""Longest pause and longest duration of an upload."""
ABANDONED_S: Final = 3600.0
"""Older files in `incoming/` were left by a crash."""
UNREFERENCED_S: Final = 7 * 24 * 3600.0
"""How long a file without a row is quarantined: a database that was replaced by mistake can be restored."""
PLACING_S: Final = 600.0
"""How long after a file was stored its row may still be written."""
_CHUNK: Final = 256 * 1024
_THREADS: Final = 2
_INCOMING: Final = "incoming"
_UNREFERENCED: Final = "unreferenced"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class Checked(msgspec.Struct, frozen=True):
    """A checked file: its path and type."""

    file: Path
    media_type: str
    size: int
    sha256: str


class AttachmentFiles:
    """Owns the folder and the threads that work in it."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Create the object; the folder is created at the first upload.

        Args:
            folder: of the files.
            limit: bytes of one upload.
        """
        self.limit = limit
        self._folder = folder
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="attachments")
        self._under_way: list[str] = []
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    # -- uploads ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def place(self, person: str) -> Iterator[Path]:
        """A temporary file for an upload; it is removed at the end of the block. Raises Refused."""
        if len(self._under_way) >= AT_ONCE or self._under_way.count(person) >= OF_ONE:
            raise Refused("uploads_busy", "too many uploads at once; try again in a moment")
        self._under_way.append(person)
        target = self._folder / _INCOMING / secrets.token_hex(16)
        try:
            yield target
        finally:
            self._under_way.remove(person)
            for file in (target, _cleaned(target)):
                with contextlib.suppress(OSError):  # the sweep removes it later
                    file.unlink(missing_ok=True)

    async def receive(self, read: Callable[[int], Awaitable[bytes]], target: Path) -> None:
        """Write the upload in chunks until its end.

        Raises:
            Refused: it is too large or too slow, or the disk is full.
        """
        try:
            with await self._run(self._begin, target) as file:
                async with asyncio.timeout(LONGEST_S):
                    await self._take(read, file)
        except TimeoutError:
            raise Refused("upload_too_slow", "the upload stalled; send it again with a better connection") from None

    async def _take(self, read: Callable[[int], Awaitable[bytes]], file: IO[bytes]) -> None:
        received = 0
        while True:
            async with asyncio.timeout(SILENT_S):
                piece = await read(_CHUNK)
            if not piece:
                return
            received += len(piece)
            if received > self.limit:
                raise Refused("too_large", self.too_large)
            await self._run(_write, file, piece)

    @property
    def too_large(self) -> str:
        """The answer to a larger file."""
        return f"a file has at most {self.limit // 1024 // 1024} MB; send a smaller one, or split it"

    def _begin(self, target: Path) -> IO[bytes]:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if shutil.disk_usage(target.parent).free < RESERVE + 2 * self.limit:
            raise OSError(errno.ENOSPC, "the free space is reserved for alarms")
        # Unbuffered: a disk error occurs at the write, never at the close.
        return os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)

    async def check(self, file: Path, declared: MediaType, *, keep_position: bool) -> Checked:
        """Check a file against its declared type, and remove metadata. Raises Refused."""
        return await self._run(_check, file, declared, keep_position)

    # -- stored ----------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def one_at_a_time(self, identity: str) -> AsyncIterator[None]:
        """Serialize concurrent uploads of the same id."""
        turn = self._turns.get(identity)
        if turn is None:
            turn = self._turns[identity] = asyncio.Lock()
        async with turn:
            yield

    async def put(self, checked: Checked, identity: str) -> None:
        """Store a file; it is on disk before this returns.

        Raises:
            Refused: another file is being attached under this id, or the disk fails.
        """
        await self._run(self._put, checked, identity)

    def _put(self, checked: Checked, identity: str) -> None:
        target = self._path(identity)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:  # atomic, also across processes
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            if _is_being_placed(target) and _digest(target) != checked.sha256:
                raise Refused("uploads_busy", "another upload has this id; try again in a moment") from None
        self._place(checked.file, target)

    def _place(self, file: Path, target: Path) -> None:
        os.utime(file)
        file.replace(target)
        for folder in (target.parent, self._folder):
            _sync_folder(folder)

    async def open(self, identity: str) -> IO[bytes]:
        """Open a stored file. Raises FileNotFoundError, or Refused if the disk does not respond."""
        return await self._run(self._path(identity).open, "rb")

    def _path(self, identity: str) -> Path:
        """The path for an id of a row; never call it with input of a request."""
        return self._folder / identity[:2] / identity

    # -- without a row ---------------------------------------------------------------------------------------------

    async def kept(self) -> list[str]:
        """The ids of all stored files, except very recent ones."""
        return await self._run(
            lambda: sorted(file.name for file in self._folder.glob("??/*") if not _is_being_placed(file))
        )

    async def set_aside(self) -> list[str]:
        """The ids of all quarantined files."""
        return await self._run(lambda: sorted(file.name for file in (self._folder / _UNREFERENCED).glob("*")))

    async def move_aside(self, identities: Iterable[str]) -> None:
        """Quarantine files without a row for a week."""
        await self._run(self._move_aside, list(identities))

    def _move_aside(self, identities: Iterable[str]) -> None:
        (self._folder / _UNREFERENCED).mkdir(mode=0o700, exist_ok=True)
        for identity in identities:
            quarantined = self._folder / _UNREFERENCED / identity
            if not _is_being_placed(self._path(identity)):
                self._path(identity).replace(quarantined)
                os.utime(quarantined)

    async def put_back(self, identities: Iterable[str]) -> None:
        """Restore quarantined files that have a row after all."""
        await self._run(self._put_back, list(identities))

    def _put_back(self, identities: Iterable[str]) -> None:
        for identity in identities:
            quarantined = self._folder / _UNREFERENCED / identity
            if self._path(identity).exists():  # uploaded again meanwhile: the row refers to that file
                quarantined.unlink()
            else:
                self._path(identity).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._place(quarantined, self._path(identity))

    async def forget_old(self) -> int:
        """Remove files quarantined a week ago, and remains of aborted uploads. Returns their number."""
        return await self._run(self._forget_old)

    def _forget_old(self) -> int:
        removed = 0
        for name, lives_s in ((_INCOMING, ABANDONED_S), (_UNREFERENCED, UNREFERENCED_S)):
            for file in (self._folder / name).glob("*"):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - file.stat().st_mtime > lives_s:
                        file.unlink()
                        removed += 1
        return removed

    async def _run(
        self, work: Callable[Arguments, Answer], *args: Arguments.args, **options: Arguments.kwargs
    ) -> Answer:
        """Run in a thread. Disk errors become Refused."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*args, **options))
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in _FULL:
                raise Refused("disk_full", "the file is not stored; ask an administrator for disk space") from error
            raise Refused("attachments_unavailable", "the disk cannot write or read it; try again") from error


def _check(file: Path, declared: MediaType, keep_position: bool) -> Checked:
    with file.open("rb") as reading:
        head = reading.read(16)
        require_type(head, declared)
        if not declared.pillow:
            _require_end(reading)
            return _sealed(file, declared)
        with mmap(reading.fileno(), 0, access=ACCESS_READ) as data:
            kept = picture(data, declared, keep_position=keep_position)
            cleaned = _cleaned(file)
            with (
                os.fdopen(os.open(cleaned, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as writing,
                memoryview(data) as view,
            ):
                for piece in kept.pieces:
                    writing.write(piece if isinstance(piece, bytes) else view[piece[0] : piece[1]])
    _require_readable(cleaned, declared, (kept.width, kept.height))
    return _sealed(cleaned, declared)


def _write(file: IO[bytes], piece: bytes) -> None:
    """Write everything: a nearly full disk may accept only a part at first."""
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]


def _require_end(reading: IO[bytes]) -> None:
    """A truncated PDF has no end mark. Its content is not inspected."""
    size = reading.seek(0, os.SEEK_END)
    reading.seek(max(0, size - 1024))
    if b"%%EOF" not in reading.read():
        raise Refused("not_what_it_says", "the PDF is truncated; send it again")


def _require_readable(file: Path, declared: MediaType, size: tuple[int, int]) -> None:
    """Check with Pillow that type and size of the picture match; only its header is read."""
    try:
        with Image.open(file, formats=(declared.pillow,)) as image:
            found = image.size
    except Exception as error:
        raise Refused("not_what_it_says", "the picture cannot be read; take or send it again") from error
    if found != size:
        raise Refused("not_what_it_says", "the picture's size does not match its header; take or send it again")


def _sealed(file: Path, declared: MediaType) -> Checked:
    """Flush to disk; returns size and checksum."""
    digest = _digest(file)
    with file.open("rb+") as reading:
        size = reading.seek(0, os.SEEK_END)
        os.fsync(reading.fileno())
    return Checked(file, declared.name, size, digest)


def _digest(file: Path) -> str:
    digest: Any = sha256()
    with file.open("rb") as reading:
        while piece := reading.read(_CHUNK):
            digest.update(piece)
    return str(digest.hexdigest())


def _is_being_placed(file: Path) -> bool:
    """Whether it was stored so recently that its row may still be written."""
    return time.time() - file.stat().st_mtime < PLACING_S


def _cleaned(file: Path) -> Path:
    return file.with_name(f"{file.name}.cleaned")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
