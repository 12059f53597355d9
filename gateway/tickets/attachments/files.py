"""The files of attachments: received, checked, kept under their id, read. What is attached to what, the rows say.

`incoming/` holds what is on its way, `<first two of id>/<id>` what is kept, `unreferenced/` what no row tells of any
more. A file gets its place before its row is written, so no row stands without its file; and outside the row's
transaction, so a slow disk keeps nobody waiting who writes. What has its place and no row may get it for `PLACING_S`.
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
"""Bytes of the disk that no upload takes: alarms are written there too."""
AT_ONCE: Final = 8
OF_ONE: Final = 3
"""Uploads at once, of all and of one person."""
SILENT_S: Final = 30.0
LONGEST_S: Final = 600.0
"""How long an upload may be silent, and last."""
ABANDONED_S: Final = 3600.0
"""What is on its way for so long has been left there by a crash."""
UNREFERENCED_S: Final = 7 * 24 * 3600.0
"""For so long a file without a row is set aside: a database that was exchanged by mistake can be put back."""
PLACING_S: Final = 600.0
"""For so long after a file got its place its row may still be on its way."""
_CHUNK: Final = 256 * 1024
_THREADS: Final = 2
_INCOMING: Final = "incoming"
_UNREFERENCED: Final = "unreferenced"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class Checked(msgspec.Struct, frozen=True):
    """A file that may be kept: where it lies, and what it is."""

    file: Path
    media_type: str
    size: int
    sha256: str


class AttachmentFiles:
    """Owns the folder, and the threads that work in it."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Describe it; nothing is made before the first upload.

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

    # -- on its way ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def place(self, person: str) -> Iterator[Path]:
        """A file for an upload, while the block lasts; whatever happens, nothing stays of it. Raises Refused."""
        if len(self._under_way) >= AT_ONCE or self._under_way.count(person) >= OF_ONE:
            raise Refused("uploads_busy", "other files are just being received; try again in a moment")
        self._under_way.append(person)
        target = self._folder / _INCOMING / secrets.token_hex(16)
        try:
            yield target
        finally:
            self._under_way.remove(person)
            for file in (target, _cleaned(target)):
                with contextlib.suppress(OSError):  # the sweep takes what cannot be removed now
                    file.unlink(missing_ok=True)

    async def receive(self, read: Callable[[int], Awaitable[bytes]], target: Path) -> None:
        """Write what is read, a piece at a time, until it ends.

        Raises:
            Refused: it is too large or too slow, or the disk is full.
        """
        try:
            with await self._run(self._begin, target) as file:
                async with asyncio.timeout(LONGEST_S):
                    await self._take(read, file)
        except TimeoutError:
            raise Refused(
                "upload_too_slow", "it stopped on its way; send it again where the network is better"
            ) from None

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
        """What to do with a file that is larger."""
        return f"a file has at most {self.limit // 1024 // 1024} MB; send it smaller, or in parts"

    def _begin(self, target: Path) -> IO[bytes]:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if shutil.disk_usage(target.parent).free < RESERVE + 2 * self.limit:
            raise OSError(errno.ENOSPC, "the rest of the disk is kept for alarms")
        # Not buffered: an error of the disk is met where the piece is written, never at the close.
        return os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)

    async def check(self, file: Path, declared: MediaType, *, keep_position: bool) -> Checked:
        """Hold a file against what it was said to be, and cut out what does not stay. Raises Refused."""
        return await self._run(_check, file, declared, keep_position)

    # -- kept ------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def one_at_a_time(self, identity: str) -> AsyncIterator[None]:
        """Hold back whoever sends the same id at the same time, until the first answer is known."""
        turn = self._turns.get(identity)
        if turn is None:
            turn = self._turns[identity] = asyncio.Lock()
        async with turn:
            yield

    async def put(self, checked: Checked, identity: str) -> None:
        """Give a file its place, on disk before this returns.

        Raises:
            Refused: another file is just being attached under this id, or the disk does not take it.
        """
        await self._run(self._put, checked, identity)

    def _put(self, checked: Checked, identity: str) -> None:
        target = self._path(identity)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:  # as one step, also between several processes
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            if _is_being_placed(target) and _digest(target) != checked.sha256:
                raise Refused("uploads_busy", "another file is just being received; try again in a moment") from None
        self._place(checked.file, target)

    def _place(self, file: Path, target: Path) -> None:
        os.utime(file)
        file.replace(target)
        for folder in (target.parent, self._folder):
            _sync_folder(folder)

    async def open(self, identity: str) -> IO[bytes]:
        """A kept file, to be read and closed. Raises FileNotFoundError, or Refused where the disk does not answer."""
        return await self._run(self._path(identity).open, "rb")

    def _path(self, identity: str) -> Path:
        """Of an id that a row has: never of what somebody sends."""
        return self._folder / identity[:2] / identity

    # -- without a row ---------------------------------------------------------------------------------------------

    async def kept(self) -> list[str]:
        """The ids of all files that are kept, but for those that have just got their place."""
        return await self._run(
            lambda: sorted(file.name for file in self._folder.glob("??/*") if not _is_being_placed(file))
        )

    async def set_aside(self) -> list[str]:
        """The ids of all files that no row told of."""
        return await self._run(lambda: sorted(file.name for file in (self._folder / _UNREFERENCED).glob("*")))

    async def move_aside(self, identities: Iterable[str]) -> None:
        """Take away files that no row tells of; their week begins."""
        await self._run(self._move_aside, list(identities))

    def _move_aside(self, identities: Iterable[str]) -> None:
        (self._folder / _UNREFERENCED).mkdir(mode=0o700, exist_ok=True)
        for identity in identities:
            aside = self._folder / _UNREFERENCED / identity
            if not _is_being_placed(self._path(identity)):
                self._path(identity).replace(aside)
                os.utime(aside)

    async def put_back(self, identities: Iterable[str]) -> None:
        """A row tells of them after all."""
        await self._run(self._put_back, list(identities))

    def _put_back(self, identities: Iterable[str]) -> None:
        for identity in identities:
            aside = self._folder / _UNREFERENCED / identity
            if self._path(identity).exists():  # sent again meanwhile: that is what the row tells of
                aside.unlink()
            else:
                self._path(identity).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._place(aside, self._path(identity))

    async def forget_old(self) -> int:
        """Remove what was set aside a week ago, and what uploads that broke off have left. Returns how many."""
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
        """Off the event loop. Trouble with the disk is told as such."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*args, **options))
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in _FULL:
                raise Refused("disk_full", "tell the administrator; the file is not kept, alarms go on") from error
            raise Refused("attachments_unavailable", "the disk does not take or give it; try again") from error


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
    """All of it: a disk that is almost full takes a part first."""
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]


def _require_end(reading: IO[bytes]) -> None:
    """A PDF that is cut short has no end mark. What is in it is not looked into."""
    size = reading.seek(0, os.SEEK_END)
    reading.seek(max(0, size - 1024))
    if b"%%EOF" not in reading.read():
        raise Refused("not_what_it_says", "the PDF ends in the middle; send it again")


def _require_readable(file: Path, declared: MediaType, size: tuple[int, int]) -> None:
    """Whether Pillow finds the picture that we have found; it reads the head only."""
    try:
        with Image.open(file, formats=(declared.pillow,)) as image:
            found = image.size
    except Exception as error:
        raise Refused("not_what_it_says", "the picture cannot be read; take or send it anew") from error
    if found != size:
        raise Refused("not_what_it_says", "the picture's size is not what it says; take or send it anew")


def _sealed(file: Path, declared: MediaType) -> Checked:
    """On disk, with its size and checksum."""
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
    """Whether it has got its place so lately that its row may still be on its way."""
    return time.time() - file.stat().st_mtime < PLACING_S


def _cleaned(file: Path) -> Path:
    return file.with_name(f"{file.name}.cleaned")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
