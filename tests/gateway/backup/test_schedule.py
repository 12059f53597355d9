"""When a backup is due: by the newest one that is there, and an hour after one that failed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backup.schedule import Due, backup_name, due, is_missed, made_at, newest, surplus
from tests.builders.alarms import T0

HOUR = 3600 * 1000
DAY = 24 * HOUR


@pytest.mark.parametrize(
    ("last", "failed_at", "expected"),
    [
        (None, None, Due.FIRST),
        (T0, None, Due.NOT_YET),
        (T0 - 7 * DAY + 1, None, Due.NOT_YET),
        (T0 - 7 * DAY, None, Due.OLD),
        (T0 - 70 * DAY, None, Due.OLD),
        (None, T0 - HOUR + 1, Due.TRIED_LATELY),
        (None, T0 - HOUR, Due.FIRST),
        (T0 - 7 * DAY, T0 - 1, Due.TRIED_LATELY),
        (T0 - 7 * DAY, T0 + 5, Due.OLD),  # the clock was set back meanwhile
        (T0 - DAY, T0 - 2 * DAY, Due.NOT_YET),
    ],
)
def test_when_a_backup_is_due(last: int | None, failed_at: int | None, expected: Due) -> None:
    assert due(last, failed_at, 7, T0) is expected


def test_one_is_missed_a_day_after_it_was_due() -> None:
    assert not is_missed(T0 - 8 * DAY, 7, T0)
    assert is_missed(T0 - 8 * DAY - 1, 7, T0)
    assert is_missed(None, 7, T0)


@given(st.integers(0, 4_000_000_000))
def test_a_name_says_when_it_was_made(seconds: int) -> None:
    assert made_at(backup_name(seconds * 1000 + 999)) == seconds * 1000


@pytest.mark.parametrize("name", ["gengfu.db", "gengfu-20261399T000000Z.backup", "gengfu-20261122T101500Z.backup.part"])
def test_other_files_are_no_backups(name: str) -> None:
    assert made_at(name) is None
    assert surplus([name] * 5, 1) == []


def test_one_from_the_future_does_not_count() -> None:
    names = [backup_name(T0 - DAY), backup_name(T0 + DAY), "notes.txt"]
    assert newest(names, T0) == (T0 - DAY) // 1000 * 1000
    assert newest(["notes.txt"], T0) is None


def test_the_oldest_go_first() -> None:
    names = [backup_name(T0 + day * DAY) for day in (3, 1, 0, 2)]
    assert surplus([*names, "notes.txt"], 2) == [backup_name(T0), backup_name(T0 + DAY)]
    assert surplus(names, 4) == []
