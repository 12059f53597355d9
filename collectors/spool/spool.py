"""Readings on disk, oldest first: appended with fsync, taken in chunks, removed when the store has them.

    append -> 00000000000000000000.spool 00000000000000058880.spool ... -> take -> (the store has them) -> settle

Each file is named by the number of its first reading and closed at 16 MiB. The position inside a file is not stored:
after a crash the oldest file is written again from its beginning, which changes nothing in the store. All methods
block; one thread calls them.
"""

import contextlib
import errno
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec
import structlog

from collectors.disk.damaged_files import MARK
from collectors.spool.frames import Damage, Frame, pack, scan
from collectors.wire.reading import Reading

log = structlog.get_logger(__name__)

SEGMENT_BYTES: Final = 16 * 1024 * 1024
_SUFFIX: Final = ".spool"
_DIGITS: Final = 20
_TRIES_TO_READ: Final = 12
"""Five seconds apart: a minute in total."""
_RESTORED_BYTES: Final = 64 * 1024 * 1024
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Loss(StrEnum):
    """Why readings were lost. The alarms that follow from them were raised before."""

    SPOOL_FULL = "spool_full"
    """The oldest readings were dropped to make room for new ones."""
    SPOOL_DAMAGED = "spool_damaged"
    """Their bytes on disk have changed."""
    NO_DISK = "no_disk"
    """Neither the store nor the disk accepted them."""


Lose = Callable[[Loss, int], None]
"""Receives the reason and the number of lost readings."""
Restore = Callable[[Sequence[Reading]], None]


class Room(Protocol):
    """The space on the disk that readings may take; see `disk_space.DiskSpace`."""

    def take_room_for_readings(self, size: int) -> bool: ...
    def make_room_for_readings(self) -> bool: ...


class WholeDisk:
    """The room of a spool that has a disk of its own."""

    def take_room_for_readings(self, _size: int) -> bool:
        """Always: the disk itself reports when it is full."""
        return True

    def make_room_for_readings(self) -> bool:
        """There is no reserve to release."""
        return False


class _Segment(msgspec.Struct):
    """A file: the number of its first reading, the number after its last one, its bytes."""

    path: Path
    first: int
    stop: int
    size: int


class _Place(NamedTuple):
    """A segment (by its first number), an offset in it, and the number of the reading at that offset."""

    segment: int
    offset: int
    number: int


class Spool:
    """The spooled readings in one folder. Raises OSError if the disk fails."""

    def __init__(
        self,
        folder: Path,
        most_bytes: int,
        lose: Lose,
        segment_bytes: int = SEGMENT_BYTES,
        room: Room | None = None,
    ) -> None:
        self._folder = folder
        self._room = room or WholeDisk()
        self._most_bytes = most_bytes
        self._segment_bytes = min(segment_bytes, most_bytes // 4)
        self._lose = lose
        self._segments: deque[_Segment] = deque()
        self.bytes = 0
        """Bytes on disk."""
        self._file: int | None = None
        """The last segment, while it is being written."""
        self._next = 0
        self._settled = _Place(0, 0, 0)
        """The store has all readings before this place."""
        self._taken = _Place(0, 0, 0)
        """Readings before this place were taken."""
        self._failures = 0
        """Failed attempts to read the next file."""

    @property
    def waiting(self) -> int:
        """Readings that are not in the store yet."""
        return self._next - self._settled.number

    @property
    def used(self) -> float:
        """Share of the permitted size, 0 to 1."""
        return self.bytes / self._most_bytes

    def open(self, restore: Restore) -> None:
        """Find the files of an earlier run; cut a torn end; pass the newest readings to `restore`, oldest first.

        Of a large spool 64 MiB are passed, in half a second: alarms wait for this. The store shows the others when
        they are written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._segments.clear()
        self.bytes = 0
        left_out = sum(path.stat().st_size for path in self._files()) - _RESTORED_BYTES
        for path in self._files():
            left_out -= path.stat().st_size
            try:
                self._recover(path, restore if left_out < 0 else None)
            except OSError as error:
                self._leave_out(path, error)
        self._segments = deque(self._join(self._segments))
        self._next = self._segments[-1].stop if self._segments else 0
        self._taken = self._settled = self._beginning()

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None  # the descriptor may be reused at once, even if close fails
            os.close(file)

    def append(self, readings: Sequence[Reading]) -> None:
        """Return when the readings are on disk; if there is no room, the oldest ones are dropped."""
        data = pack(readings, self._next)
        while len(self._segments) > 1 and self.bytes + len(data) > self._most_bytes:
            self._drop_oldest()
        while True:
            try:
                self._require_room(len(data))
                self._write(data, len(readings))
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._make_room(error)
            else:
                return

    def take(self, most: int) -> list[Reading]:
        """The next readings, at least one while there are any, and little more than `most`."""
        readings: list[Reading] = []
        for segment in list(self._segments):
            if segment.first < self._taken.segment:
                continue
            if segment.first > self._taken.segment:
                self._enter(segment)
            try:
                self._take_from(segment, readings, most)
            except OSError as error:
                if readings:
                    break  # the readings taken before it must not be skipped
                self._give_up_reading(segment, error)
            else:
                self._failures = 0
            if len(readings) >= most:
                break
        return readings

    def settle(self) -> None:
        """Remove what was taken: the store has it."""
        self._settled = self._taken
        while self._segments:
            oldest = self._segments[0]
            is_over = oldest.first < self._settled.segment or self._settled.number >= oldest.stop
            if not is_over:
                return
            self._remove_oldest()

    # -- writing ---------------------------------------------------------------------------------------

    def _require_room(self, size: int) -> None:
        """Raises OSError if the rest of the disk is reserved for alarms."""
        if not self._room.take_room_for_readings(size):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))

    def _make_room(self, error: OSError) -> None:
        """Release the reserve for readings; else drop the oldest. Raises the error if there are none."""
        if self._room.make_room_for_readings():
            return
        if not self._segments:
            raise error
        self._drop_oldest()

    def _write(self, data: bytes, count: int) -> None:
        if self._file is None or self._segments[-1].size + len(data) > self._segment_bytes:
            self._begin_segment()
        assert self._file is not None  # noqa: S101 - just begun
        segment = self._segments[-1]
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
            os.fsync(self._file)
        except OSError:
            self._give_up_segment(segment)
            raise
        segment.size += len(data)
        self.bytes += len(data)
        segment.stop += count
        self._next = segment.stop

    def _begin_segment(self) -> None:
        self.close()
        path = self._folder / f"{self._next:0{_DIGITS}d}{_SUFFIX}"
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND, 0o640)
        self._segments.append(_Segment(path, self._next, self._next, 0))
        if len(self._segments) == 1:
            self._taken = self._settled = self._beginning()
        try:
            self._sync_folder()
        except OSError:
            self._give_up_segment(self._segments[-1])
            raise

    def _give_up_segment(self, segment: _Segment) -> None:
        """After a failed write or fsync the end of the file is undefined: cut it off, continue in a new file."""
        assert self._file is not None  # noqa: S101 - its write has just failed
        with contextlib.suppress(OSError):  # the numbers show a reader that nothing is missing
            os.ftruncate(self._file, segment.size)
        self.close()
        if segment.size == 0:
            self._segments.pop()
            segment.path.unlink(missing_ok=True)

    def _sync_folder(self) -> None:
        """The name of a new file must be on disk too, or a power cut loses the file."""
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _drop_oldest(self) -> None:
        oldest = self._segments[0]
        lost = max(0, oldest.stop - max(self._taken.number, oldest.first))  # taken may be in the next file already
        self._remove_oldest()
        if lost:
            self._lose(Loss.SPOOL_FULL, lost)
            log.error("the oldest readings were dropped: no room in the spool", readings=lost, folder=str(self._folder))

    def _remove_oldest(self) -> None:
        oldest = self._segments.popleft()
        self.bytes -= oldest.size
        if not self._segments:
            self.close()
        oldest.path.unlink(missing_ok=True)
        if self._settled.segment <= oldest.first:
            self._settled = self._beginning()
        if self._taken.segment <= oldest.first:
            self._taken = self._beginning()

    def _beginning(self) -> _Place:
        first = self._segments[0].first if self._segments else self._next
        return _Place(first, 0, first)

    # -- reading ---------------------------------------------------------------------------------------

    def _enter(self, segment: _Segment) -> None:
        """Continue with the next segment; a gap before its number was lost at the end of the one before."""
        self._count_missing(segment.first)
        self._taken = _Place(segment.first, 0, segment.first)

    def _take_from(self, segment: _Segment, readings: list[Reading], most: int) -> None:
        base = self._taken.offset
        with segment.path.open("rb") as file:
            file.seek(base)
            data = file.read(segment.size - base)
        for item in scan(data):
            if isinstance(item, Frame):
                self._count_missing(item.first)
                readings += self._decode(item)
                self._taken = _Place(segment.first, base + item.stop, item.first + item.held)
            if len(readings) >= most:
                return
        self._count_missing(segment.stop)
        self._taken = _Place(segment.first, segment.size, segment.stop)

    def _give_up_reading(self, segment: _Segment, error: OSError) -> None:
        """Raise the error again, until it has failed so often that the files behind this one cannot wait any longer."""
        self._failures += 1
        if self._failures < _TRIES_TO_READ:
            raise error
        self._failures = 0
        log.error("a file of the spool cannot be read and is given up", file=segment.path.name, why=str(error))
        self._count_missing(segment.stop)
        self._taken = _Place(segment.first, segment.size, segment.stop)

    def _decode(self, frame: Frame) -> list[Reading]:
        try:
            return frame.readings()
        except msgspec.DecodeError as error:
            self._lose(Loss.SPOOL_DAMAGED, frame.held)
            log.error("readings in the spool have an unknown format and are lost", readings=frame.held, why=str(error))
            return []

    def _count_missing(self, number: int) -> None:
        missing = number - self._taken.number
        if missing > 0:
            self._lose(Loss.SPOOL_DAMAGED, missing)
            log.error("the spool is damaged: readings are lost", readings=missing, folder=str(self._folder))

    # -- after a restart -------------------------------------------------------------------------------

    def _files(self) -> list[Path]:
        """The spool's files, oldest first; other files in the folder are ignored."""
        return sorted(self._folder.glob("[0-9]" * _DIGITS + _SUFFIX))

    def _recover(self, path: Path, restore: Restore | None) -> None:
        data = path.read_bytes()
        segment = _Segment(path, int(path.stem), int(path.stem), len(data))
        torn = None
        for item in scan(data):
            torn = item if isinstance(item, Damage) and item.after is None else None
            if isinstance(item, Frame):
                segment.stop = item.first + item.held
                if restore is not None:
                    with contextlib.suppress(msgspec.DecodeError):  # counted when it is taken
                        restore(item.readings())
            elif item.after is not None:
                segment.stop = item.after
        if torn is not None:
            self._cut(segment, torn)
        if segment.size:
            self._segments.append(segment)
            self.bytes += segment.size
        else:
            path.unlink()

    def _leave_out(self, path: Path, error: OSError) -> None:
        """Rename a file that cannot be read; the numbers show what is missing."""
        aside = path.with_name(f"{path.name}{MARK}unreadable")
        log.error("a file of the spool cannot be read and is left out", file=str(path), kept_as=str(aside),
                  why=str(error))  # fmt: skip
        path.rename(aside)

    def _cut(self, segment: _Segment, torn: Damage) -> None:
        """A torn end was never acknowledged: the broker sends it again."""
        log.warning("the unfinished end of a spool file was cut", file=segment.path.name, bytes=torn.stop - torn.start)
        os.truncate(segment.path, torn.start)
        segment.size = torn.start

    @staticmethod
    def _join(segments: Sequence[_Segment]) -> Iterator[_Segment]:
        """The number of the next segment shows what was lost at a segment's damaged end."""
        for index, segment in enumerate(segments):
            if index + 1 < len(segments):
                segment.stop = segments[index + 1].first
            yield segment
