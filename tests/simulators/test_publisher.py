"""Publisher, simulation and replay against a real Mosquitto."""

import asyncio
import gc
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from simulators.estate import load_estate
from simulators.faults.scenario import load_scenario
from simulators.lines import OwnLines, SharedLine
from simulators.publisher import BrokerAddress, Publisher, PublisherError
from simulators.replays.mapping import load_mapping
from simulators.replays.replay import replay_file
from simulators.run import Pace, simulate
from simulators.simulation import Message
from tests.servers.mosquitto import Mosquitto as Server
from tests.servers.mosquitto import free_port, require_mosquitto

pytestmark = pytest.mark.server
HEADER = (
    "datetime;Accelerometer1RMS;Accelerometer2RMS;Current;Pressure;Temperature;Thermocouple;Voltage;Volume Flow RateRMS"
)


class Mosquitto(Server):
    """A broker that knows the user `sim`, password `secret`."""

    def __init__(self, folder: Path, *, anonymous: bool, extra: str = "") -> None:
        require_mosquitto()
        folder.mkdir(parents=True, exist_ok=True)
        passwords = folder / "passwords"
        subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "sim", "secret"], check=True)
        passwords.chmod(0o644)
        super().__init__(folder, f"allow_anonymous {str(anonymous).lower()}\npassword_file {passwords}\n{extra}")
        self.address = BrokerAddress(port=self.port)


def brokers(tmp_path: Path, *, anonymous: bool) -> Iterator[Mosquitto]:
    server = Mosquitto(tmp_path / "mosquitto", anonymous=anonymous)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    yield from brokers(tmp_path, anonymous=True)


@pytest.fixture
def closed_broker(tmp_path: Path) -> Iterator[Mosquitto]:
    yield from brokers(tmp_path, anonymous=False)


class Listener:
    """What a subscriber got: topic, object, whether the broker had kept it."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any], bool]] = []

    async def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 15
        while len(self.got) < count:
            assert time.monotonic() < deadline, f"{len(self.got)} of {count} messages came"
            await asyncio.sleep(0.02)


@asynccontextmanager
async def listening(address: BrokerAddress) -> AsyncIterator[Listener]:
    listener = Listener()
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda c, *_: c.subscribe("gengfu/#", qos=1)

    def subscribed(*_: object) -> None:
        loop.call_soon_threadsafe(ready.set)

    client.on_subscribe = subscribed
    client.on_message = lambda _c, _u, m: listener.got.append((m.topic, json.loads(m.payload), m.retain))
    client.connect(address.host, address.port)
    client.loop_start()
    try:
        await asyncio.wait_for(ready.wait(), 10)
        yield listener
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_all_messages_arrive_in_order(broker: Mosquitto) -> None:
    async with listening(broker.address) as listener:
        async with Publisher(broker.address, in_flight=20) as publisher:
            for number in range(500):
                await publisher.publish("gengfu/a/pump/P-1/telemetry", b'{"seq": %d}' % number)
            await publisher.flush()
            assert publisher.acknowledged == 500
        await listener.wait_for(500)
    assert [fields["seq"] for _, fields, _ in listener.got] == list(range(500))


async def test_publisher_waits_while_the_broker_is_away_and_loses_nothing(broker: Mosquitto) -> None:
    async with Publisher(broker.address, in_flight=10) as publisher:
        await publisher.publish("gengfu/a/pump/P-1/telemetry", b'{"seq": 0}')
        await publisher.flush()
        broker.stop()

        async def publish_all() -> None:
            for number in range(1, 31):
                await publisher.publish("gengfu/a/pump/P-1/telemetry", b'{"seq": %d}' % number)

        task = asyncio.create_task(publish_all())
        _, waiting = await asyncio.wait({task}, timeout=0.5)
        assert waiting, "more than ten messages were taken without an acknowledgement"
        broker.start()
        await asyncio.wait_for(task, 20)
        await asyncio.wait_for(publisher.flush(), 20)
        assert publisher.acknowledged == 31


async def test_missing_broker_is_a_clear_error_in_time() -> None:
    address = BrokerAddress(port=free_port())
    began = time.monotonic()
    with pytest.raises(
        PublisherError, match=f"no MQTT broker answers at 127.0.0.1:{address.port} within 0.5 s .*refused"
    ):
        async with Publisher(address, connect_within_s=0.5):
            pytest.fail("connected to nobody")
    assert time.monotonic() - began < 5


async def test_wrong_password_is_refused_at_once(closed_broker: Mosquitto) -> None:
    address = BrokerAddress(port=closed_broker.address.port, username="sim", password="wrong")
    with pytest.raises(PublisherError, match="refused the connection: Not authorized"):
        async with Publisher(address):
            pytest.fail("connected with a wrong password")


async def test_right_password_is_let_in(closed_broker: Mosquitto) -> None:
    address = BrokerAddress(port=closed_broker.address.port, username="sim", password="secret")
    async with Publisher(address) as publisher:
        await publisher.publish("gengfu/a/pump/P-1/telemetry", b"{}")
    assert publisher.acknowledged == 1


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    made, key = folder / "cert.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(made), "-keyout", str(key)]
    subprocess.run([*command, *names], check=True, stderr=subprocess.DEVNULL)
    return made, key


# paho leaves the refused socket to the garbage collector, which complains
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_tls_is_checked_against_the_given_authority(broker: Mosquitto, tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    ours, key = make_certificate(tmp_path / "ours")
    theirs, _ = make_certificate(tmp_path / "theirs")
    key.chmod(0o644)
    secure = Mosquitto(tmp_path / "secure", anonymous=True, extra=f"certfile {ours}\nkeyfile {key}\n")
    secure.start()
    try:
        async with Publisher(msgspec.structs.replace(secure.address, ca_file=ours)) as publisher:
            await publisher.publish("gengfu/a/pump/P-1/telemetry", b"{}")
        assert publisher.acknowledged == 1
        with pytest.raises(PublisherError, match="certificate verify failed"):
            await Publisher(msgspec.structs.replace(secure.address, ca_file=theirs), connect_within_s=1).__aenter__()
    finally:
        secure.stop()
        gc.collect()  # here, not in another test


async def test_broker_that_dies_before_the_last_acknowledgement_is_told(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulators.publisher._PARTING_S", 0.3)
    publisher = await Publisher(broker.address).__aenter__()
    broker.stop()
    await publisher.publish("gengfu/a/pump/P-1/telemetry", b"{}")
    with pytest.raises(PublisherError, match="did not acknowledge the last messages"):
        await publisher.__aexit__(None, None, None)


async def test_simulated_estate_speaks_and_leaves_its_status_behind(broker: Mosquitto) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(2.5, stop.set)
    estate = load_estate()
    async with listening(broker.address) as listener, Publisher(broker.address) as publisher:
        lines = SharedLine(publisher)
        await simulate(estate, load_scenario(), lines, seed=1, pace=Pace(clock=now_ms), stop=stop)
        await publisher.flush()
        await listener.wait_for(publisher.acknowledged)
    talking = {topic.split("/")[3] for topic, _, _ in listener.got if topic.endswith("telemetry")}
    assert talking == {item.code for item in estate.equipment if item.kind != "patrol_reader"}
    assert all(abs(fields["at"] - now_ms()) < 60_000 for _, fields, _ in listener.got)
    async with listening(broker.address) as late:
        await late.wait_for(len(estate.equipment))
    assert {(fields["online"], kept) for _, fields, kept in late.got} == {(False, True)}


async def test_replayed_file_arrives_whole(broker: Mosquitto, tmp_path: Path) -> None:
    lines = [f"2020-03-09 10:34:{n % 60:02};0.02;0.04;0.9;0.05;75;25;240;{30 + n / 100}" for n in range(300)]
    lines[7] = "2020-03-09 10:34:07;0.02;0.04;0.9;oops;75;25;240;31"
    path = tmp_path / "data.csv"
    path.write_text("\n".join([HEADER, *lines]), "utf-8")
    async with listening(broker.address) as listener:
        async with Publisher(broker.address) as publisher:
            summary = await replay_file(path, load_mapping("skab"), publisher, speed=0, keep_times=False, clock=now_ms)
        await listener.wait_for(300)
    assert (summary.rows, summary.sent, summary.cells_left_out) == (300, 300, 1)
    assert {topic for topic, _, _ in listener.got} == {"gengfu/demo/pump/SKAB-1/telemetry"}
    assert [fields["seq"] for _, fields, _ in listener.got] == list(range(1, 301))
    assert "discharge_pressure" not in listener.got[7][1]
    assert "flow" in listener.got[7][1]


async def test_a_broken_line_of_its_own_leaves_a_last_will_and_comes_back(broker: Mosquitto) -> None:
    estate, topic = load_estate(), "gengfu/demo/fire_panel/F-1/status"
    async with listening(broker.address) as listener, OwnLines(broker.address, estate) as lines:
        await lines.send(Message("gengfu/demo/fire_panel/F-1/telemetry", b'{"mains": true}'))
        await lines.send(Message(topic, b'{"online": false, "seq": 7}', retained=True, line_broken=True))
        await listener.wait_for(2)
        await lines.send(Message(topic, b'{"online": true, "seq": 8}', retained=True))
        await listener.wait_for(3)
    assert [(t, fields) for t, fields, _ in listener.got] == [
        ("gengfu/demo/fire_panel/F-1/telemetry", {"mains": True}),
        (topic, {"online": False}),  # the broker's own words: without the number
        (topic, {"online": True, "seq": 8}),
    ]


async def test_lines_of_their_own_end_with_a_good_bye_and_no_last_will(broker: Mosquitto) -> None:
    async with listening(broker.address) as listener:
        async with OwnLines(broker.address, load_estate()):
            pass
        async with Publisher(broker.address) as publisher:
            await publisher.publish("gengfu/a/pump/P-1/telemetry", b"{}")
        await listener.wait_for(1)
    assert [topic for topic, _, _ in listener.got] == ["gengfu/a/pump/P-1/telemetry"]


async def test_lines_to_a_missing_broker_are_one_clear_error() -> None:
    lines = OwnLines(BrokerAddress(port=free_port()), load_estate())
    with pytest.raises(PublisherError, match="no MQTT broker answers"):
        await lines.__aenter__()
