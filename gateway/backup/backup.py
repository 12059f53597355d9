"""Makes a backup while the service runs, and verifies it before it gets its final name."""

import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Final, cast

import msgspec
from sqlalchemy import URL

from gateway.backup.contents import DATABASE, DUMP, copy_audit_record, copy_rest, copy_sqlite
from gateway.backup.schedule import backup_name
from gateway.backup.sealed_file import CHUNK, BackupDamaged, Header, SealedReader, SealedWriter
from gateway.backup.stoppable import StoppableThread, Stopping
from gateway.settings import Settings
from gateway.storage.migrate import newest_revision
from gateway.storage.postgres.programs import check_dump, dump

MANIFEST: Final = "manifest.json"
Say = Callable[[str], None]


class Made(msgspec.Struct, frozen=True):
    """A complete backup."""

    file: Path
    size: int
    files: int
    encrypted: bool


class Entry(msgspec.Struct, frozen=True):
    """The manifest's entry of a file."""

    size: int
    sha256: str


async def make_backup(settings: Settings, url: URL, folder: Path, now: int, say: Say, *, with_history: bool) -> Made:
    """Copy everything, pack it, verify it, and only then give it its final name.

    Args:
        settings: locations of the data; `backup.passphrase` turns encryption on.
        url: of the database.
        folder: target folder; created if it is missing.
        now: epoch ms, for its name.
        say: called with progress messages.
        with_history: include readings, if they are in SQLite.

    Raises:
        ProgramFailed, BackupDamaged, sqlite3.Error, OSError: there is no backup, and no temporary file is left.
    """
    passphrase = settings.backup.passphrase.get_secret_value()
    header = Header(now, version("gengfu"), newest_revision())
    thread = StoppableThread()
    with _staging(folder) as staging:
        content, partial = staging / "content", staging / "backup"
        await thread.run(copy_audit_record, settings, content, thread.stopping)
        say("copying the database")
        await _copy_database(url, content, thread)
        say("copying files")
        kinds = {"with_history": with_history, "with_key": bool(passphrase)}
        await thread.run(copy_rest, settings, content, thread.stopping, **kinds)
        say("packing and encrypting" if passphrase else "packing")
        await thread.run(_pack, content, partial, header, passphrase, thread.stopping)
        say("reading back")
        files = await thread.run(verify_backup, partial, passphrase, thread.stopping)
        target = folder / backup_name(now)
        size = _give_name(partial, target)
    return Made(target, size, files, bool(passphrase))


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A temporary folder on the disk of the backup."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".gengfu-", dir=folder) as staging:
        (Path(staging) / "content").mkdir()
        yield Path(staging)


def _give_name(partial: Path, target: Path) -> int:
    """Give the backup its final name. Returns its size. Raises FileExistsError: nothing is overwritten."""
    target.hardlink_to(partial)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return target.stat().st_size


async def _copy_database(url: URL, folder: Path, thread: StoppableThread) -> None:
    if url.get_backend_name() == "sqlite":
        await thread.run(copy_sqlite, Path(url.database or ""), folder / DATABASE, thread.stopping)
        return
    await dump(url, folder / DUMP)
    await check_dump(folder / DUMP)


def _pack(content: Path, target: Path, header: Header, passphrase: str, stopping: Stopping) -> None:
    entries: dict[str, Entry] = {}
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        sealed = SealedWriter(file, header, passphrase)
        with tarfile.open(
            fileobj=cast("IO[bytes]", sealed), mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK
        ) as tar:
            for path in sorted(path for path in content.rglob("*") if path.is_file()):
                name = path.relative_to(content).as_posix()
                with path.open("rb") as reading:
                    counted = _Counted(reading, stopping)
                    tar.addfile(_tar_info(name, path.stat().st_size), counted)
                    entries[name] = counted.entry()
            manifest = msgspec.json.encode(entries)
            tar.addfile(_tar_info(MANIFEST, len(manifest)), io.BytesIO(manifest))
        sealed.finish()
        file.flush()
        os.fsync(file.fileno())


def _tar_info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o600
    return info


class _Counted:
    """A file that computes its size and checksum while it is read once."""

    def __init__(self, file: IO[bytes], stopping: Stopping) -> None:
        self._file = file
        self._stopping = stopping
        self._digest = sha256()
        self._size = 0

    def read(self, size: int = -1) -> bytes:
        self._stopping()
        content = self._file.read(size)
        self._digest.update(content)
        self._size += len(content)
        return content

    def entry(self) -> Entry:
        return Entry(self._size, self._digest.hexdigest())


def verify_backup(file: Path, passphrase: str, stopping: Stopping = lambda: None) -> int:
    """Read a backup to its end and check every file against the manifest. Returns the number of files.

    Raises:
        BackupDamaged, PassphraseNeeded, OSError.
    """
    return unpack(file, passphrase, lambda _name: None, stopping)


def unpack(
    file: Path, passphrase: str, open_target: Callable[[str], IO[bytes] | None], stopping: Stopping = lambda: None
) -> int:
    """Read a backup and copy each file to the target that `open_target` opens for its name; None: only check it.

    Raises:
        BackupDamaged, PassphraseNeeded, OSError: discard everything written so far.
    """
    found: dict[str, Entry] = {}
    manifest: dict[str, Entry] | None = None
    with file.open("rb") as reading:
        sealed = SealedReader(reading, passphrase)
        try:
            with tarfile.open(fileobj=cast("IO[bytes]", sealed), mode="r|", bufsize=CHUNK) as tar:
                for member in tar:
                    content: Any = tar.extractfile(member) if member.isreg() else None
                    if content is None or manifest is not None:
                        raise BackupDamaged(f"{member.name} does not belong in a backup")
                    if member.name == MANIFEST:
                        manifest = msgspec.json.decode(content.read(), type=dict[str, Entry])
                    else:
                        found[member.name] = _take(member.name, content, open_target, stopping)
        except (tarfile.TarError, msgspec.MsgspecError, EOFError) as error:
            raise BackupDamaged(f"its content cannot be read: {error}") from error
        sealed.finish()
    if manifest is None or manifest != found:
        raise BackupDamaged("its files do not match its manifest")
    return len(found)


def _take(name: str, content: IO[bytes], open_target: Callable[[str], IO[bytes] | None], stopping: Stopping) -> Entry:
    parts = Path(name).parts
    if name.startswith("/") or ".." in parts or not parts:
        raise BackupDamaged(f"{name!r} is not a valid file name in a backup")
    counted = _Counted(content, stopping)
    target = open_target(name)
    if target is None:
        while counted.read(CHUNK):
            pass
    else:
        with target:
            shutil.copyfileobj(counted, target, CHUNK)
            target.flush()
            os.fsync(target.fileno())
    return counted.entry()
