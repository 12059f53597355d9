"""Readings on disk: everything that was appended comes out once and in order, or is counted as lost."""

import contextlib
import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from collectors.spool import spool as spool_module
from collectors.spool.frames import HEADER_BYTES, READINGS_A_FRAME, pack
from collectors.spool.spool import Loss, Spool
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Quality, Reading
from collectors.wire.topics import Topic

PUMP = Topic("garden", Kind.PUMP, "P1", Channel.TELEMETRY)
ROOMY = 1 << 30
FRAME_BYTES = len(pack([Reading(PUMP, {"flow": 0.5}, 0, 0, 0)] * READINGS_A_FRAME, 0))


def numbered(first: int, count: int) -> list[Reading]:
    return [Reading(PUMP, {"flow": float(number)}, number, number, number) for number in range(first, first + count)]


def numbers(readings: list[Reading]) -> list[int]:
    return [reading.key for reading in readings]


class Desk:
    """A spool in a folder, what it lost, and what it told of when it was opened."""

    def __init__(self, folder: Path, most_bytes: int = ROOMY, segment_bytes: int = 4 * FRAME_BYTES) -> None:
        self.folder = folder
        self._sizes = most_bytes, segment_bytes
        self.lost: dict[Loss, int] = {}
        self.reopen()

    def reopen(self) -> None:
        """As after a crash: nothing is closed, nothing remembered."""
        self.heard: list[int] = []
        most_bytes, segment_bytes = self._sizes
        self.spool = Spool(self.folder, most_bytes, self._lose, segment_bytes)
        self.spool.open(lambda readings: self.heard.extend(numbers(list(readings))))

    def drain(self, most: int = 1000) -> list[int]:
        drained: list[int] = []
        while readings := self.spool.take(most):
            drained += numbers(readings)
            self.spool.settle()
        self.spool.settle()
        return drained

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())

    def _lose(self, reason: Loss, count: int) -> None:
        assert count > 0, "a counter never goes back"
        self.lost[reason] = self.lost.get(reason, 0) + count


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "spool")


# -- in and out ----------------------------------------------------------------------------------------


def test_what_was_appended_comes_out_in_order_and_leaves_nothing_on_disk(desk: Desk) -> None:
    for first in range(0, 5000, 500):
        desk.spool.append(numbered(first, 500))
    assert desk.spool.waiting == 5000
    assert len(desk.files) > 2, "several files"
    assert desk.spool.bytes == sum(file.stat().st_size for file in desk.files)
    assert desk.drain() == list(range(5000))
    assert (desk.spool.waiting, desk.spool.bytes, desk.files, desk.lost) == (0, 0, [], {})


def test_a_reading_comes_out_as_it_went_in(desk: Desk) -> None:
    every_part = Reading(
        PUMP, {"flow": 60.0, "running": True, "mode": "手动", "leak": False}, 1, 2, 3, seq=4,
        quality=int(Quality.NO_TIME | Quality.UNKNOWN_FIELD), part="p", redelivered=True,
    )  # fmt: skip
    desk.spool.append([every_part])
    (back,) = desk.spool.take(1)
    assert back == every_part
    assert type(back.fields["flow"]) is float, "a whole number stays a float64"


def test_what_was_taken_and_not_settled_comes_again_after_a_crash(desk: Desk) -> None:
    desk.spool.append(numbered(0, 600))
    assert numbers(desk.spool.take(600)) == list(range(600))
    desk.reopen()
    assert desk.heard == list(range(600)), "the newest values are known at once"
    assert desk.drain() == list(range(600))


def test_appending_goes_on_after_a_crash(desk: Desk) -> None:
    desk.spool.append(numbered(0, 300))
    desk.reopen()
    desk.spool.append(numbered(300, 300))
    desk.reopen()
    assert desk.drain() == list(range(600))
    assert desk.lost == {}


# -- crashes and bad disks -----------------------------------------------------------------------------


def test_a_torn_end_is_cut_wherever_it_tears(tmp_path: Path) -> None:
    whole = pack(numbered(0, 3), 0) + pack(numbered(3, 3), 3)
    first_bytes = len(pack(numbered(0, 3), 0))
    for size in range(len(whole)):
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / f"{0:020d}.spool").write_bytes(whole[:size])
        desk = Desk(folder)
        kept = [0, 1, 2] if size >= first_bytes else []
        desk.spool.append(numbered(len(kept), 2))
        assert desk.drain() == [*kept, len(kept), len(kept) + 1], f"torn after {size} bytes"
        assert desk.lost == {}, "what is torn was never acknowledged"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_flipped_byte_costs_one_frame_which_is_counted(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        desk = Desk(Path(name) / "spool")
        desk.spool.append(numbered(0, 5 * READINGS_A_FRAME))
        desk.spool.append(numbered(5 * READINGS_A_FRAME, 10))
        last = desk.files[-1]
        file = data.draw(st.sampled_from(desk.files))
        content = bytearray(file.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        file.write_bytes(content)
        desk.reopen()
        drained, total = desk.drain(), 5 * READINGS_A_FRAME + 10
        assert drained == sorted(set(drained))
        assert total - len(drained) in {READINGS_A_FRAME, 10}
        in_last_header = file == last and at < HEADER_BYTES
        if not in_last_header:  # that one looks like a torn end, which nobody was promised
            assert desk.lost == {Loss.SPOOL_DAMAGED: total - len(drained)}


def test_damage_while_the_service_runs_is_found_when_it_is_read(desk: Desk) -> None:
    desk.spool.append(numbered(0, 3 * READINGS_A_FRAME))
    content = bytearray(desk.files[0].read_bytes())
    content[FRAME_BYTES // 2] ^= 1
    desk.files[0].write_bytes(content)
    assert desk.drain() == list(range(READINGS_A_FRAME, 3 * READINGS_A_FRAME))
    assert desk.lost == {Loss.SPOOL_DAMAGED: READINGS_A_FRAME}


@pytest.mark.parametrize("at", [0, HEADER_BYTES - 1, HEADER_BYTES + 5])
def test_damage_to_all_that_a_file_holds_is_counted_too(desk: Desk, at: int) -> None:
    desk.spool.append(numbered(0, 10))
    content = bytearray(desk.files[0].read_bytes())
    content[at] ^= 1
    desk.files[0].write_bytes(content)
    assert desk.drain() == []
    assert desk.lost == {Loss.SPOOL_DAMAGED: 10}
    assert desk.spool.waiting == 0


# -- no room -------------------------------------------------------------------------------------------


def test_a_full_spool_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "spool", most_bytes=10 * FRAME_BYTES, segment_bytes=2 * FRAME_BYTES)
    for first in range(0, 40 * READINGS_A_FRAME, READINGS_A_FRAME):
        desk.spool.append(numbered(first, READINGS_A_FRAME))
        assert desk.spool.bytes <= 10 * FRAME_BYTES
    drained = desk.drain()
    assert drained == list(range(40 * READINGS_A_FRAME - len(drained), 40 * READINGS_A_FRAME)), "the newest are kept"
    assert len(drained) >= 8 * READINGS_A_FRAME
    assert desk.lost == {Loss.SPOOL_FULL: 40 * READINGS_A_FRAME - len(drained)}


def test_what_is_on_its_way_into_the_store_is_not_counted_as_dropped(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "spool", most_bytes=4 * FRAME_BYTES, segment_bytes=2 * FRAME_BYTES)
    desk.spool.append(numbered(0, 2 * READINGS_A_FRAME))
    on_the_way = numbers(desk.spool.take(READINGS_A_FRAME))
    for first in range(2 * READINGS_A_FRAME, 8 * READINGS_A_FRAME, READINGS_A_FRAME):
        desk.spool.append(numbered(first, READINGS_A_FRAME))
    desk.spool.settle()
    drained = on_the_way + desk.drain()
    assert len(drained) + desk.lost[Loss.SPOOL_FULL] == 8 * READINGS_A_FRAME
    assert drained == sorted(set(drained))


def test_a_file_that_was_taken_whole_is_dropped_without_a_loss(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "spool", most_bytes=9 * FRAME_BYTES, segment_bytes=2 * FRAME_BYTES)
    for first in range(0, 8 * READINGS_A_FRAME, READINGS_A_FRAME):
        desk.spool.append(numbered(first, READINGS_A_FRAME))
    on_the_way = numbers(desk.spool.take(3 * READINGS_A_FRAME))  # into the second file
    desk.spool.append(numbered(8 * READINGS_A_FRAME, READINGS_A_FRAME))
    assert desk.lost == {}
    desk.spool.settle()
    assert on_the_way + desk.drain() == list(range(9 * READINGS_A_FRAME))


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of 256 KiB; where none may be mounted, a fake that answers as a full one does."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=False).returncode == 0
    if not mounted:
        _fill_up(monkeypatch, folder)
    yield folder
    if mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _fill_up(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    write = os.write

    def write_while_there_is_room(file: int, data: bytes) -> int:
        room = 256 * 1024 - sum(path.stat().st_size for path in folder.rglob("*.spool"))
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, bytes(data)[:room])

    monkeypatch.setattr(os, "write", write_while_there_is_room)


def test_a_full_disk_drops_the_oldest_and_counts_them(small_disk: Path) -> None:
    desk = Desk(small_disk / "spool", segment_bytes=2 * FRAME_BYTES)
    for first in range(0, 40 * READINGS_A_FRAME, READINGS_A_FRAME):
        desk.spool.append(numbered(first, READINGS_A_FRAME))
    drained = desk.drain()
    assert drained == list(range(40 * READINGS_A_FRAME - len(drained), 40 * READINGS_A_FRAME))
    assert desk.lost == {Loss.SPOOL_FULL: 40 * READINGS_A_FRAME - len(drained)}
    assert drained


def test_a_disk_that_others_have_filled_is_an_error_and_leaves_no_half_file(small_disk: Path) -> None:
    desk = Desk(small_disk / "spool")
    filler = small_disk / "filler.spool"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)) == 4096 and filler.stat().st_size < 256 * 1024:
            pass
    with pytest.raises(OSError, match="No space left"):
        desk.spool.append(numbered(0, 100))
    filler.unlink()
    desk.spool.append(numbered(100, 100))
    assert desk.drain() == list(range(100, 200))
    assert desk.lost == {}, "who could not append knows it, and decides"


def test_a_file_that_cannot_be_opened_for_a_moment_costs_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.spool.append(numbered(0, 4 * READINGS_A_FRAME))
    desk.spool.append(numbered(4 * READINGS_A_FRAME, 4 * READINGS_A_FRAME))
    second, troubles, real = desk.files[1], [OSError(errno.EMFILE, "Too many open files")], Path.open

    def open_(path: Path, *arguments: str) -> IO[bytes]:
        if path == second and troubles:
            raise troubles.pop()
        return real(path, *arguments)  # type: ignore[call-overload,no-any-return]  # passed on as it came

    monkeypatch.setattr(Path, "open", open_)
    assert desk.drain(10_000) == list(range(8 * READINGS_A_FRAME))
    assert troubles == []


def test_a_file_that_stays_unreadable_is_counted_and_what_is_behind_it_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_TRIES_TO_READ", 3)
    for first in range(0, 8 * READINGS_A_FRAME, READINGS_A_FRAME):
        desk.spool.append(numbered(first, READINGS_A_FRAME))
    held = int(desk.files[1].stem)
    desk.files[0].unlink()
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            desk.spool.take(1000)
    assert desk.drain() == list(range(held, 8 * READINGS_A_FRAME))
    assert desk.lost == {Loss.SPOOL_DAMAGED: held}


def test_a_folder_that_cannot_be_synced_for_a_moment_costs_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    troubles, real = [OSError(errno.EIO, "Input/output error")], desk.spool._sync_folder

    def sync() -> None:
        if troubles:
            raise troubles.pop()
        real()

    monkeypatch.setattr(desk.spool, "_sync_folder", sync)
    with pytest.raises(OSError, match="Input/output error"):
        desk.spool.append(numbered(0, 10))
    desk.spool.append(numbered(0, 5 * READINGS_A_FRAME))
    desk.spool.append(numbered(5 * READINGS_A_FRAME, 10))
    assert desk.drain() == list(range(5 * READINGS_A_FRAME + 10))


def test_a_file_that_cannot_be_read_at_the_start_is_left_out_and_the_others_are_taken_up(desk: Desk) -> None:
    """A folder in its place: what root cannot read either."""
    desk.spool.append(numbered(0, 3))
    desk.spool.close()
    (file,) = desk.folder.glob("*.spool")
    torn = desk.folder / f"{7:020d}.spool"
    torn.mkdir()
    desk.reopen()
    assert len(desk.spool.take(10)) == 3
    assert not torn.exists()
    assert torn.with_name(torn.name + ".damaged-unreadable").exists()
    assert file.exists()


def test_what_else_lies_in_the_folder_is_left_alone(desk: Desk) -> None:
    desk.spool.append(numbered(0, 10))
    copy = desk.folder / f"{desk.files[0].stem} (copy).spool"
    copy.write_bytes(b"whatever")
    desk.reopen()
    assert desk.drain() == list(range(10))
    assert desk.files == [copy]


def test_of_a_large_spool_the_newest_readings_are_told_at_the_start(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_RESTORED_BYTES", 3 * FRAME_BYTES)
    for first in range(0, 12 * READINGS_A_FRAME, READINGS_A_FRAME):
        desk.spool.append(numbered(first, READINGS_A_FRAME))
    desk.reopen()
    assert desk.heard == list(range(12 * READINGS_A_FRAME - len(desk.heard), 12 * READINGS_A_FRAME))
    assert 3 * READINGS_A_FRAME <= len(desk.heard) < 12 * READINGS_A_FRAME
    assert desk.drain() == list(range(12 * READINGS_A_FRAME))


# -- the whole life ------------------------------------------------------------------------------------


class SpoolLife(RuleBasedStateMachine):
    """A store that has taken some, a crash at any moment: beside a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.desk = Desk(Path(self._folder.name) / "spool", segment_bytes=2 * FRAME_BYTES)
        self.appended = 0
        self.stored = 0
        """Readings 0 to this are in the store."""
        self.taken: list[int] = []

    @rule(count=st.integers(1, 700))
    def append(self, count: int) -> None:
        self.desk.spool.append(numbered(self.appended, count))
        self.appended += count

    @rule(most=st.integers(1, 900))
    def take(self, most: int) -> None:
        taken = numbers(self.desk.spool.take(most))
        assert taken == list(range(self._after_taken(), self._after_taken() + len(taken)))
        assert taken or self._after_taken() == self.appended, "at least one, while there are any"
        self.taken += taken

    @precondition(lambda self: self.taken)
    @rule()
    def settle(self) -> None:
        self.desk.spool.settle()
        self.stored, self.taken = self.taken[-1] + 1, []

    @rule()
    def crash(self) -> None:
        self.desk.reopen()
        again = self.desk.heard[0] if self.desk.heard else self.appended
        assert again <= self.stored, "nothing is missing between the store and the spool"
        assert self.desk.heard == list(range(again, self.appended))
        self.stored, self.taken = again, []

    @invariant()
    def what_waits_is_what_the_store_has_not(self) -> None:
        assert self.desk.spool.waiting == self.appended - self.stored
        assert self.desk.lost == {}

    def teardown(self) -> None:
        assert self.taken + self.desk.drain() == list(range(self.stored, self.appended))
        assert self.desk.files == []
        self._folder.cleanup()

    def _after_taken(self) -> int:
        return self.taken[-1] + 1 if self.taken else self.stored


SpoolLife.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSpoolLife = SpoolLife.TestCase
