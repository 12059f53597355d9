"""The dead-man's URL: it answers 200 only while a made-up alarm really goes the whole way of a real one."""

import asyncio
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.alarms.built_in.synthetic_probe import PROBE_FACT, PROBE_TOPIC, Code, SyntheticProbe
from gateway.cli.demo import embedded_broker
from gateway.storage.outbox.outbox import Fact
from tests.servers.mosquitto import Mosquitto, free_port
from tests.servers.service import Service, wait_until
from tests.servers.waiting import until

WITHIN_S = 6.0
T0 = 1_790_000_000_000


class Hands:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def steady(self) -> float:
        return self.seconds

    def wall(self) -> int:
        return T0 + int(self.seconds * 1000)


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def dog(hands: Hands) -> SyntheticProbe:
    watchdog = SyntheticProbe(60, hands.wall, hands.steady)
    watchdog.own()
    return watchdog


def fact(number: int | str, at: int = T0) -> Fact:
    return Fact(1, at, "platform", PROBE_FACT, str(number), {})


def code(dog: SyntheticProbe) -> Code:
    return dog.finding().code


def test_before_the_first_beat_has_come_through_nothing_is_well(dog: SyntheticProbe) -> None:
    assert code(dog) is Code.STARTING


def test_what_is_told_is_how_far_the_beat_has_come(dog: SyntheticProbe, hands: Hands) -> None:
    sent = dog.begin()
    assert code(dog) is Code.NOT_RECEIVED
    readings = dog.read(sent, hands.wall() * 1_000_000)
    assert code(dog) is Code.NOT_DECIDED
    dog.decided(readings)
    assert code(dog) is Code.NOT_TOLD
    dog.delivered([fact(int(sent))])
    assert code(dog) is Code.OK


def test_a_beat_is_good_from_its_beginning_so_that_a_slow_way_does_not_look_quick(
    dog: SyntheticProbe, hands: Hands
) -> None:
    sent = dog.begin()
    hands.seconds += 59
    dog.delivered([fact(int(sent))])
    assert code(dog) is Code.OK
    hands.seconds += 2
    assert code(dog) is not Code.OK


def test_the_oldest_beat_shows_where_they_are_stuck(dog: SyntheticProbe, hands: Hands) -> None:
    first = dog.begin()
    dog.read(first, 0)
    hands.seconds += 20
    dog.begin()
    assert code(dog) is Code.NOT_DECIDED


def test_without_the_broker_it_says_so(dog: SyntheticProbe) -> None:
    dog.begin()
    dog.cut_off()
    assert code(dog) is Code.BROKER_UNREACHABLE


@pytest.mark.parametrize("payload", [b"", b"1", b"-1", b"9" * 400, b"\xff", "٣".encode(), b"1.5", b"true"])
def test_who_does_not_know_the_number_cannot_fake_a_beat(dog: SyntheticProbe, payload: bytes) -> None:
    dog.begin()
    assert dog.read(payload, 0) == []
    assert code(dog) is Code.NOT_RECEIVED


def test_beats_are_dated_one_after_the_other_also_where_the_clock_is_set_back(dog: SyntheticProbe) -> None:
    times = [reading.measured_at for at in (T0, T0 - 3_600_000, 0) for reading in dog.read(dog.begin(), at * 1_000_000)]
    assert times == sorted(set(times))
    assert len(times) == 6


def test_who_stands_by_answers_by_the_owners_facts_and_dates_them(dog: SyntheticProbe, hands: Hands) -> None:
    dog.stand_by()
    assert code(dog) is Code.OWNER_SILENT
    dog.delivered([fact(7, hands.wall() - 61_000)])
    assert code(dog) is Code.OWNER_SILENT, "an old fact that came late tells nothing of now"
    dog.delivered([fact(8, hands.wall() - 1_000)])
    assert code(dog) is Code.OK
    hands.seconds += 60
    assert code(dog) is Code.OWNER_SILENT


def test_a_beat_is_due_three_times_within_the_time(dog: SyntheticProbe, hands: Hands) -> None:
    assert dog.is_due
    dog.begin()
    assert not dog.is_due
    hands.seconds += 20
    assert dog.is_due


class Watched:
    """A service whose way of an alarm is watched, with its broker."""

    def __init__(self, folder: Path, mosquitto: Mosquitto) -> None:
        self.mosquitto = mosquitto
        environment = {"GENGFU_ALARMS__WATCHDOG_S": str(WITHIN_S)}
        self.service = Service(folder, mosquitto.port, **environment).start_ready()
        self.database = folder / "gengfu.db"

    def asked(self) -> tuple[int, Any]:
        return self.service.ask("/watchdog")

    def is_well(self) -> bool:
        return self.asked() == (200, {"ok": True, "code": "ok"})

    def has_failed(self) -> bool:
        return self.asked()[0] == 503

    def rows(self, statement: str) -> Any:
        with sqlite3.connect(self.database) as connection:
            return connection.execute(statement).fetchall()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    mosquitto = Mosquitto(tmp_path / "mosquitto").start()
    found = Watched(tmp_path / "data", mosquitto)
    try:
        wait_until(found.is_well, "a beat comes through")
        yield found
    finally:
        found.service.stop()
        mosquitto.kill()


@pytest.mark.server
def test_a_broker_that_hangs_is_told_in_time_and_so_is_that_it_goes_on(watched: Watched) -> None:
    watched.mosquitto.pause()
    try:
        wait_until(watched.has_failed, "the URL fails", WITHIN_S + 2)
        assert watched.asked()[1]["code"] in {"not_received", "broker_unreachable"}
    finally:
        watched.mosquitto.resume()
    wait_until(watched.is_well, "beats come through again", 30)


@pytest.mark.server
def test_a_broker_that_is_gone_is_named(watched: Watched) -> None:
    watched.mosquitto.kill()
    wait_until(lambda: watched.asked() == (503, {"ok": False, "code": "broker_unreachable"}), "it is named", 20)
    watched.mosquitto.start()
    wait_until(watched.is_well, "beats come through again", 40)


@pytest.mark.server
def test_a_database_that_is_locked_is_told_in_time_and_readyz_stays_as_it_is(watched: Watched) -> None:
    before = set(watched.service.components())
    lock = sqlite3.connect(watched.database, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        wait_until(watched.has_failed, "the URL fails", WITHIN_S + 2)
        assert watched.asked()[1] == {"ok": False, "code": "not_decided"}
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    wait_until(watched.is_well, "beats come through again", 40)
    assert set(watched.service.components()) == before


@pytest.mark.server
def test_beats_leave_no_trace_in_alarms_records_history_and_figures(watched: Watched) -> None:
    wait_until(lambda: watched.rows(f"SELECT count(*) FROM fact WHERE kind = '{PROBE_FACT}'")[0][0] >= 3, "beats come")
    for table in ("alarm", "activation", "journal", "event", "quarantine", "last_message", "ticket"):
        assert watched.rows(f"SELECT count(*) FROM {table}") == [(0,)], table
    assert watched.rows("SELECT count(*) FROM audit WHERE thing LIKE '%watchdog%'") == [(0,)]
    assert watched.rows("SELECT code FROM equipment") == [("gengfu",)]
    for metric in ("gengfu_messages_total", "gengfu_messages_acknowledged_total", "gengfu_readings_total"):
        assert watched.service.metric(metric) == 0, metric
    with sqlite3.connect(watched.service.folder / "history.db") as history:
        assert history.execute("SELECT count(*) FROM reading").fetchall() == [(0,)]
    assert 0 <= watched.service.metric("gengfu_watchdog_age_seconds") <= WITHIN_S


@pytest.mark.server
def test_what_others_say_on_the_topic_changes_nothing(watched: Watched) -> None:
    subprocess.run(
        ["mosquitto_pub", "-p", str(watched.mosquitto.port), "-t", PROBE_TOPIC, "-q", "1", "-m", "12345"], check=True
    )
    seen = watched.rows("SELECT count(*) FROM fact")[0][0]
    wait_until(lambda: watched.rows("SELECT count(*) FROM fact")[0][0] > seen, "beats go on")
    assert watched.rows("SELECT count(*) FROM quarantine") == [(0,)]
    assert watched.is_well()


@pytest.mark.server
def test_the_beat_goes_on_after_a_kill(watched: Watched) -> None:
    watched.service.kill()
    watched.service.start_ready()
    wait_until(watched.is_well, "beats come through again", 20)


@pytest.mark.server
async def test_beats_come_through_the_embedded_broker_too(tmp_path: Path) -> None:
    port = free_port()
    async with embedded_broker(port):
        service = Service(tmp_path / "data", port, GENGFU_BROKER__PROTOCOL="4")
        try:
            await asyncio.to_thread(service.start_ready)
            await until(lambda: service.ask("/watchdog")[0] == 200, "a beat comes through")
        finally:
            await asyncio.to_thread(service.stop)
