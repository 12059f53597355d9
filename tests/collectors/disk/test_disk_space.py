"""What stops and what is released when a disk fills up: as a table, and on files of a real folder."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from collectors.disk.disk_space import DiskSpace, Space
from collectors.disk.disk_states import RESERVE_CHUNKS, DiskState, Found, decide, limits_of, missing_of_reserve

RESERVE = 16 * 1024
LIMITS = limits_of(RESERVE, 1 << 40)
MUCH = 100 * RESERVE
amounts = st.integers(0, 4 * RESERVE)
found_disks = st.builds(Found, amounts, st.integers(0, RESERVE), st.booleans(), st.booleans())


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (Found(MUCH, RESERVE), DiskState.NORMAL),
        (Found(LIMITS.stop_below - 1, RESERVE), DiskState.STOP_HISTORY),
        (Found(LIMITS.stop_below, RESERVE), DiskState.NORMAL),
        (Found(LIMITS.stop_below, RESERVE, is_stopped=True), DiskState.STOP_HISTORY),
        (Found(LIMITS.resume_above, RESERVE, is_stopped=True), DiskState.NORMAL),
        (Found(MUCH, RESERVE - 1), DiskState.STOP_HISTORY),
        (Found(0, RESERVE), DiskState.FREE_RESERVE),
        (Found(0, RESERVE // 2), DiskState.STOP_HISTORY),
        (Found(0, RESERVE // 2, database_full=True), DiskState.FREE_RESERVE),
        (Found(0, 0), DiskState.EXHAUSTED),
        (Found(0, 0, database_full=True), DiskState.EXHAUSTED),
    ],
)
def test_history_stops_first_and_the_rest_of_the_reserve_is_kept_for_an_alarm(found: Found, state: DiskState) -> None:
    assert decide(found, LIMITS) is state


@given(found_disks)
def test_a_database_that_finds_no_room_gets_the_reserve_while_there_is_any(found: Found) -> None:
    state = decide(found._replace(database_full=True), LIMITS)
    assert state is (DiskState.FREE_RESERVE if found.reserve_left else DiskState.EXHAUSTED)


@given(found_disks, amounts)
def test_with_more_space_never_more_is_stopped(found: Found, more: int) -> None:
    order = [DiskState.NORMAL, DiskState.STOP_HISTORY, DiskState.FREE_RESERVE, DiskState.EXHAUSTED]
    roomier = found._replace(free=found.free + more)
    assert order.index(decide(roomier, LIMITS)) <= order.index(decide(found, LIMITS))


@given(found_disks)
def test_the_reserve_is_only_enlarged_where_history_can_go_on_afterwards(found: Found) -> None:
    missing = missing_of_reserve(found, LIMITS)
    after = Found(found.free - missing, found.reserve_left + missing, is_stopped=True)
    assert not missing or decide(after, LIMITS) is DiskState.NORMAL


def test_on_a_small_disk_the_reserve_is_a_sixteenth_of_it() -> None:
    assert limits_of(64 << 20, 64 << 20).reserve == 4 << 20


class Disk:
    """A disk of which others take `taken` bytes; the reserves are real files on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.size, self.taken = folder, MUCH, 0
        self.space = DiskSpace(folder, RESERVE, self._measure)

    def _measure(self, folder: Path) -> Space:
        used = sum(path.stat().st_size for path in folder.glob("reserve.*"))
        return Space(max(0, self.size - self.taken - used), 1 << 40)

    @property
    def left(self) -> tuple[int, int]:
        sizes = [self.folder / name for name in ("reserve.alarms", "reserve.readings")]
        return tuple(path.stat().st_size if path.exists() else 0 for path in sizes)  # type: ignore[return-value]  # two

    def fill(self) -> None:
        """Another program takes all that is free."""
        self.taken += self._measure(self.folder).free


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    disk = Disk(tmp_path)
    disk.space.open()
    return disk


def test_the_reserves_are_made_at_the_start_and_are_whole_again_when_there_is_space(disk: Disk) -> None:
    whole = (RESERVE, RESERVE // 4)
    assert disk.left == whole
    disk.fill()
    assert disk.space.make_room()
    assert disk.space.make_room_for_readings()
    assert disk.space.reserve_in_use
    disk.taken = 0
    disk.space.look()
    assert disk.left == whole
    assert (disk.space.state, disk.space.trouble) == (DiskState.NORMAL, "")


def test_a_new_folder_on_a_disk_with_space_is_no_trouble(tmp_path: Path) -> None:
    with capture_logs() as said:
        Disk(tmp_path).space.open()
    assert [line for line in said if line["log_level"] != "info"] == []


def test_another_program_that_writes_on_takes_a_portion_at_a_time(disk: Disk) -> None:
    for _ in range(RESERVE_CHUNKS):
        disk.fill()
        assert disk.space.make_room()
    disk.fill()
    assert not disk.space.make_room()
    assert disk.space.state is DiskState.EXHAUSTED
    assert "alarms may stop" in disk.space.trouble


def test_readings_take_their_own_reserve_and_nothing_that_was_released_for_alarms(disk: Disk) -> None:
    disk.fill()
    assert disk.space.make_room()
    assert not disk.space.take_room_for_readings(100)
    assert disk.space.make_room_for_readings()
    chunk = RESERVE // 4 // RESERVE_CHUNKS
    disk.taken += RESERVE // RESERVE_CHUNKS  # somebody else has taken what was released for alarms
    assert disk.space.take_room_for_readings(chunk)
    assert not disk.space.take_room_for_readings(1)


def test_an_error_that_may_have_other_causes_costs_no_reserve_while_there_is_space(disk: Disk) -> None:
    assert not disk.space.make_room(surely=False)
    assert disk.left[0] == RESERVE
    disk.fill()
    assert disk.space.make_room(surely=False)


def test_a_start_on_a_full_disk_has_the_reserve_of_the_run_before(disk: Disk) -> None:
    disk.fill()
    again = Disk(disk.folder)
    again.taken = disk.taken
    again.space.open()
    assert again.left[0] == RESERVE - RESERVE // RESERVE_CHUNKS
    assert again.space.history_stopped
