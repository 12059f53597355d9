"""The service's two clocks: what follows the data, and what stays on the wall."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from collectors.mqtt.message import Message
from collectors.payloads.format_by_topic import Decoder
from gateway.clocks import ClockName, DataClock, FolderOfOtherClock, claim_folder, name_of, wall_ms
from gateway.ingest.dated_source import DatedSource
from gateway.people.authentication.lifetimes import LIFETIMES
from gateway.people.permissions import Role
from gateway.storage.database import Database
from tests.servers.api_server import open_api_server

PUMP = "gengfu/HQ/pump/P-1/telemetry"


class Given:
    """A source that has these messages."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.acknowledged: list[Message] = []

    async def next_batch(self, most: int) -> list[Message]:
        return self.messages

    def acknowledge(self, messages: Sequence[Message]) -> None:
        self.acknowledged += messages


def message(payload: bytes, topic: str = PUMP) -> Message:
    return Message(topic, payload, mid=7, connection=1, received_ns=wall_ms() * 1_000_000)


async def dated(*messages: Message) -> list[int]:
    """When each message counts as received, in milliseconds."""
    source, times = DatedSource(Given(*messages), Decoder(), DataClock()), []
    while len(times) < len(messages):
        times += [found.received_ns // 1_000_000 for found in await source.next_batch(10)]
    return times


def test_the_data_clock_never_goes_back() -> None:
    clock = DataClock()
    assert clock() == 0
    for at, now in ((5, 5), (9, 9), (7, 9)):
        clock.see(at)
        assert clock() == now


async def test_a_message_counts_as_received_at_the_newest_time_in_the_data() -> None:
    times = await dated(
        message(b'{"at": 5000, "flow": 1}'),
        message(b'[{"at": 8000, "flow": 1}, {"at": 6000, "flow": 1}]'),
        message(b'{"at": 7000, "flow": 1}'),  # late, and stays so
    )
    assert times == [5000, 8000, 8000]


# payload, topic: what has no time of its own moves no clock
TIMELESS = [
    (b'{"flow": 1}', PUMP),
    (b'{"online": false}', "gengfu/HQ/pump/P-1/status"),  # a last will
    (b"no json", PUMP),
    (b'{"at": 9000}', "nowhere/else"),
]


@pytest.mark.parametrize(("payload", "topic"), TIMELESS)
async def test_what_says_no_time_counts_as_received_with_what_came_before(payload: bytes, topic: str) -> None:
    assert await dated(message(b'{"at": 5000, "flow": 1}'), message(payload, topic)) == [5000, 5000]


async def test_what_is_acknowledged_is_what_the_broker_knows() -> None:
    given = Given(message(b'{"at": 5000, "flow": 1}'))
    source = DatedSource(given, Decoder(), DataClock())
    source.acknowledge(await source.next_batch(1))
    assert [(found.mid, found.connection) for found in given.acknowledged] == [(7, 1)]


def test_a_folder_keeps_the_times_of_the_clock_that_it_began_with(tmp_path: Path) -> None:
    data, wall = tmp_path / "data", tmp_path / "wall"
    for folder in (data, wall):
        folder.mkdir()
    claim_folder(data, ClockName.DATA)
    claim_folder(data, ClockName.DATA)
    with pytest.raises(FolderOfOtherClock, match="would run on the wall clock; choose another folder"):
        claim_folder(data, ClockName.WALL)
    claim_folder(wall, ClockName.WALL)
    (wall / "gengfu.db").touch()
    with pytest.raises(FolderOfOtherClock, match="holds times of the wall clock"):
        claim_folder(wall, ClockName.DATA)


async def test_logins_end_by_the_wall_whatever_the_data_says(database: Database, tmp_path: Path) -> None:
    clock = DataClock()
    async with open_api_server(database, tmp_path, now=clock) as api:
        assert await api.get("/healthz") == (200, {"status": "alive", "clock": "data"})
        api.log_in(Role.OPERATOR)
        lifetime = LIFETIMES[Role.OPERATOR].absolute
        clock.see(api.clock() + 10 * lifetime)
        assert (await api.get("/api/v1/me"))[0] == 200
        api.clock.now += lifetime
        assert (await api.get("/api/v1/me"))[0] == 401


def test_each_clock_is_known_by_its_name() -> None:
    assert (name_of(DataClock()), name_of(wall_ms)) == (ClockName.DATA, ClockName.WALL)
