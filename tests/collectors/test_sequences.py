"""Samples with a sequence number and no time: a second delivery is the same sample."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from collectors import sequences
from collectors.disk.damaged_files import kept_aside
from collectors.payloads.native import decode
from collectors.sequences import REMEMBERED_MS, SequenceMemory, needs_memory
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading
from collectors.wire.topics import Topic
from tests.servers.waiting import until

NOW = 1_790_000_000_000
PANEL = Topic("garden", Kind.FIRE_PANEL, "F1", Channel.EVENT)
READER = Topic("garden", Kind.PATROL_READER, "R1", Channel.EVENT)
PUMP = Topic("garden", Kind.PUMP, "P1", Channel.TELEMETRY)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder that is not there yet" / "sequences.db"


@pytest.fixture
async def memory(file: Path) -> AsyncIterator[SequenceMemory]:
    memory = SequenceMemory(file)
    await memory.open()
    yield memory
    await memory.close()


def fire(received_at: int, payload: str = '{"seq":1,"type":"fire","loop":"1"}', topic: Topic = PANEL) -> Reading:
    (reading,) = decode(topic, payload.encode(), received_at).readings
    return reading


def tap(received_at: int, payload: str = '{"seq":1,"tag":"04A1","card":"1"}', topic: Topic = READER) -> Reading:
    return fire(received_at, payload, topic)


def identity(reading: Reading) -> tuple[int, int, str]:
    return reading.measured_at, reading.key, reading.digest


async def test_a_second_delivery_has_the_key_time_and_digest_of_the_first(memory: SequenceMemory) -> None:
    first, second = tap(NOW), tap(NOW + 60_000)
    assert first.digest != second.digest, "without the memory they would be two taps"
    await memory.recognise([first])
    await memory.recognise([second])
    assert identity(second) == identity(first) == identity(tap(NOW))
    assert second.received_at == NOW + 60_000


async def test_both_deliveries_in_one_batch_are_one_sample(memory: SequenceMemory) -> None:
    first, second = tap(NOW), tap(NOW + 1)
    await memory.recognise([first, second])
    assert identity(second) == identity(first)


@pytest.mark.parametrize(
    ("payload", "topic"),
    [
        ('{"seq":2,"tag":"04A1","card":"1"}', READER),  # the next message
        ('{"seq":1,"tag":"04A2","card":"1"}', READER),  # the counter began again: what it says is different
        (
            '{"seq":1,"type":"fire","loop":"1"}',
            Topic("garden", Kind.PATROL_READER, "F2", Channel.EVENT),
        ),  # another
    ],
)
async def test_another_sample_stays_another(memory: SequenceMemory, payload: str, topic: Topic) -> None:
    first, other = tap(NOW), tap(NOW + 1, payload, topic)
    await memory.recognise([first, other])
    assert other.measured_at == NOW + 1
    assert identity(other) != identity(first)


@pytest.mark.parametrize(
    ("later", "is_known"),
    [
        (REMEMBERED_MS, True),  # exactly an hour
        (REMEMBERED_MS + 1, False),  # a device that restarted counts from the beginning: a new tap
    ],
)
async def test_after_an_hour_it_is_a_new_sample(memory: SequenceMemory, later: int, is_known: bool) -> None:
    first, second = tap(NOW), tap(NOW + later)
    await memory.recognise([first])
    await memory.recognise([second])
    assert (identity(second) == identity(first)) is is_known


async def test_the_memory_survives_a_restart(file: Path) -> None:
    first, second = tap(NOW), tap(NOW + 5)
    for reading in (first, second):
        memory = SequenceMemory(file)
        await memory.open()
        await memory.recognise([reading])
        await memory.close()
    assert identity(second) == identity(first)


@pytest.mark.parametrize(
    ("payload", "needed"),
    [
        ('{"seq":1,"flow":1}', True),
        ('{"seq":1,"at":"yesterday","flow":1}', True),  # a time that cannot be read is none
        (f'{{"seq":1,"at":{NOW},"flow":1}}', False),  # its time says which sample it is
        ('{"flow":1}', False),  # nothing says which sample it is
    ],
)
async def test_only_samples_with_a_number_and_no_time_are_remembered(
    memory: SequenceMemory, payload: str, needed: bool
) -> None:
    first, second = fire(NOW, payload, PUMP), fire(NOW + 1, payload, PUMP)
    assert needs_memory(first) is needed
    before = identity(second)
    await memory.recognise([first, second])
    assert (identity(second) != before) is needed


async def test_telemetry_is_known_again_too(memory: SequenceMemory) -> None:
    first, second = (fire(NOW + late, '{"seq":8,"flow":1.5,"running":true}', PUMP) for late in (0, 9))
    await memory.recognise([first])
    await memory.recognise([second])
    assert second.key == first.key == NOW * 1_000_000 + 8


async def test_a_file_in_trouble_is_tried_again_and_nothing_is_half_remembered(
    memory: SequenceMemory, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequences, "_RETRY_S", 0.01)
    monkeypatch.setattr(sequences, "_TRIES", 10_000)
    change_file(
        file,
        'CREATE TRIGGER disk_full BEFORE INSERT ON seen WHEN instr(CAST(NEW.sample AS TEXT), \'"tag":"2"\')'
        " BEGIN SELECT RAISE(ABORT, 'disk full'); END",
    )
    other = '{"seq":1,"tag":"2"}'
    first, second = tap(NOW), tap(NOW, other)
    with capture_logs() as said:
        recognising = asyncio.create_task(memory.recognise([first, second]))
        await until(lambda: said, "the first try failed")
        assert not recognising.done()
        change_file(file, "DROP TRIGGER disk_full")
        await recognising
    assert said[0]["why"] == "disk full"
    again = [tap(NOW + 7), tap(NOW + 7, other)]
    await memory.recognise(again)
    assert [identity(one) for one in again] == [identity(first), identity(second)]


async def test_a_file_that_stays_in_trouble_holds_back_nobody(
    memory: SequenceMemory, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequences, "_RETRY_S", 0.01)
    change_file(file, "CREATE TRIGGER disk_full BEFORE INSERT ON seen BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with capture_logs() as said:
        await memory.recognise([tap(NOW)])
    assert said[-1]["log_level"] == "error"
    assert said[-1]["readings"] == 1
    change_file(file, "DROP TRIGGER disk_full")
    first, second = tap(NOW), tap(NOW + 7)
    await memory.recognise([first])
    await memory.recognise([second])
    assert identity(first) == identity(second), "it remembers again"


def change_file(file: Path, statement: str) -> None:
    """What an administrator, or a full disk, does to the file from outside."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(statement)


async def test_a_device_that_counts_from_the_beginning_again_is_heard(memory: SequenceMemory) -> None:
    before = tap(NOW)
    await memory.recognise([before, tap(NOW + 1, '{"seq":2,"tag":"04A2"}')])
    again = tap(NOW + 2)
    await memory.recognise([again])
    assert identity(again) != identity(before), "the same words, but another tap"


async def test_a_device_has_one_counter_for_all_its_channels(memory: SequenceMemory) -> None:
    before = tap(NOW, '{"seq":2,"tag":"04A1"}')
    telemetry = Topic("garden", Kind.PATROL_READER, "R1", Channel.TELEMETRY)
    await memory.recognise([before, fire(NOW + 1, '{"seq":0,"battery":90}', telemetry)])
    again = tap(NOW + 2, '{"seq":2,"tag":"04A1"}')
    await memory.recognise([again])
    assert identity(again) != identity(before)


async def test_what_the_broker_sends_again_is_known_also_from_the_beginning(memory: SequenceMemory) -> None:
    before = tap(NOW)
    await memory.recognise([before, tap(NOW + 1, '{"seq":2,"tag":"04A2"}')])
    repeated = tap(NOW + 2)
    repeated.redelivered = True
    await memory.recognise([repeated])
    assert identity(repeated) == identity(before)


@pytest.mark.parametrize("redelivered", [False, True])
async def test_an_event_is_never_a_repeat_by_its_number_alone(memory: SequenceMemory, redelivered: bool) -> None:
    first, second = fire(NOW), fire(NOW + 60_000)
    second.redelivered = redelivered
    await memory.recognise([first])
    await memory.recognise([second])
    assert identity(second) != identity(first)


def test_two_events_of_one_moment_with_one_number_are_two() -> None:
    """What waited in the broker comes in one millisecond: a fire, its reset, and after a restart the next fire."""
    payload = '{"seq":2,"type":"fire"}'
    digests = {decode(PANEL, payload.encode(), NOW, arrival).readings[0].digest for arrival in (7, 9)}
    assert len(digests) == 2


async def test_a_damaged_file_is_put_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    file = tmp_path / "sequences.db"
    file.write_bytes(b"this is no database, and it is long enough to be read as one" * 100)
    memory = SequenceMemory(file)
    await memory.open()
    await memory.close()
    (kept,) = kept_aside(tmp_path)
    assert kept.name.startswith("sequences.db.damaged-2")
    assert kept.read_bytes().startswith(b"this is no database")
    assert file.read_bytes().startswith(b"SQLite format 3")


async def test_damage_that_shows_only_in_use_begins_a_new_file_and_holds_back_nobody(
    memory: SequenceMemory, file: Path
) -> None:
    await memory.recognise([tap(NOW)])
    change_file(file, "PRAGMA wal_checkpoint(TRUNCATE)")
    file.write_bytes(b"\x07" * file.stat().st_size)
    with capture_logs() as said:
        first, second = tap(NOW), tap(NOW + 7)
        await memory.recognise([first])
        await memory.recognise([second])
    assert identity(first) == identity(second)
    assert [line["log_level"] for line in said] == ["error"], "told once, and nobody waited"
    assert len(kept_aside(file.parent)) == 1


async def test_a_file_that_cannot_be_opened_at_the_start_ends_nothing_and_is_opened_later(tmp_path: Path) -> None:
    file = tmp_path / "sequences.db"
    file.mkdir()
    memory = SequenceMemory(file)
    await memory.open()
    file.rmdir()
    first, second = tap(NOW), tap(NOW + 7)
    await memory.recognise([first])
    await memory.recognise([second])
    assert identity(first) == identity(second)
    await memory.close()


async def test_only_the_first_readings_wait_for_a_file_in_trouble(
    memory: SequenceMemory, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequences, "_RETRY_S", 0.01)
    change_file(file, "CREATE TRIGGER disk_full BEFORE INSERT ON seen BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    await memory.recognise([tap(NOW)])
    with capture_logs() as said:
        await memory.recognise([tap(NOW)])
    assert [line["log_level"] for line in said] == ["warning", "error"], "one try"


async def test_one_batch_forgets_a_bounded_number_of_old_samples_and_knows_none_of_the_others(
    memory: SequenceMemory, file: Path
) -> None:
    """Alarms wait behind it: an hour of samples that became old at once must not go in one transaction."""
    many = 1_000
    await memory.recognise([tap(NOW, f'{{"seq":{2 + at},"tag":"04A1"}}') for at in range(many)])
    late = NOW + REMEMBERED_MS + 1
    again = tap(late, f'{{"seq":{1 + many},"tag":"04A1"}}')
    await memory.recognise([again])
    assert again.measured_at == late, "it is as good as gone, whether its row is or not"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        (left,) = connection.execute("SELECT count(*) FROM seen WHERE received_at < ?", (late,)).fetchone()
    assert 0 < many - left <= 200
    for later in range(1, 20):
        await memory.recognise([tap(late + later, f'{{"seq":{5_000 + later},"tag":"04A1"}}')])
    with contextlib.closing(sqlite3.connect(file)) as connection:
        (left,) = connection.execute("SELECT count(*) FROM seen WHERE received_at < ?", (late,)).fetchone()
    assert left == 0, "all go, with what comes"
