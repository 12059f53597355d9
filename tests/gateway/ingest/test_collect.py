"""`gengfu collect`: many at once write each sample of the history once, whatever dies; the service decides alone."""

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collectors.mqtt.in_hand import InHand
from collectors.mqtt.message import Message
from tests.faults.load import PUMPS, Load
from tests.faults.test_kill import check_alarms, wait_until_decided
from tests.servers.influxdb import InfluxDB
from tests.servers.mosquitto import Mosquitto
from tests.servers.service import GENGFU, Service, wait_until

pytestmark = pytest.mark.timeout(240)

_databases = itertools.count()


class Building:
    """One broker and one InfluxDB; a service that writes no history, and collectors that do nothing else."""

    def __init__(self, folder: Path, mosquitto: Mosquitto, influxdb: InfluxDB, database: str) -> None:
        self.folder, self.mosquitto = folder, mosquitto
        self._influxdb, self._database = influxdb, database
        self.service = Service(folder / "data", mosquitto.port, "--no-history")
        self.collectors = [self.collector(name) for name in ("1", "2")]

    def collector(self, name: str) -> Service:
        """All of them with one data folder in their settings: the name keeps them apart."""
        made = Service(self.folder / "data", self.mosquitto.port, "--name", name, command="collect")
        made.log = self.folder / f"collect-{name}.log"
        return made

    def start(self) -> "Building":
        for process in (self.service, *self.collectors):
            process.start_ready()
        return self

    def kill(self) -> None:
        for process in (self.service, *self.collectors):
            process.kill()

    def ask(self, statement: str) -> list[dict[str, Any]]:
        """Series of the answer to an InfluxQL statement."""
        query = urllib.parse.urlencode({"db": self._database, "q": statement, "epoch": "ns"})
        with urllib.request.urlopen(f"{self._influxdb.url}/query?{query}", timeout=20) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())["results"][0].get("series", [])
            return found

    def count(self, field: str = "bearing_temperature") -> int:
        return sum(series["values"][0][1] for series in self.ask(f'SELECT count("{field}") FROM pump'))

    def write(self, line: str) -> None:
        request = urllib.request.Request(f"{self._influxdb.url}/api/v2/write?bucket={self._database}", line.encode())
        with urllib.request.urlopen(request, timeout=20):
            pass

    def publish(self, topic: str, payload: str) -> None:
        command = ["mosquitto_pub", "-p", str(self.mosquitto.port), "-q", "1", "-t", topic, "-m", payload]
        subprocess.run(command, check=True, timeout=20)


@pytest.fixture
def building(
    mosquitto: Mosquitto, influxdb: InfluxDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Building]:
    database = f"collect{next(_databases)}"
    for key, value in {"STORE": "influxdb", "URL": influxdb.url, "BUCKET": database}.items():
        monkeypatch.setenv(f"GENGFU_HISTORY__{key}", value)
    building = Building(tmp_path, mosquitto, influxdb, database)
    yield building
    building.kill()


class MixedLoad(Load):
    """Every other pump has no clock: its samples carry a sequence number only."""

    def _sample(self, number: int, start_ms: int) -> dict[str, Any]:
        sample = super()._sample(number, start_ms)
        if number % 2:
            del sample["at"]
        return sample


# -- exactly once ------------------------------------------------------------------------------------------


@pytest.mark.server
@pytest.mark.parametrize(("protocol", "kills"), [(4, 2), (5, 2)])
def test_collectors_that_are_killed_lose_nothing_and_write_nothing_twice(
    protocol: int, kills: int, building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENGFU_BROKER__PROTOCOL", str(protocol))
    building.start()
    load = MixedLoad(building.mosquitto.port)
    try:
        for turn in range(kills):
            one = building.collectors[turn % 2]
            take_more(one, 300)
            one.kill()
            take_more(building.collectors[1 - turn % 2], 100)
            one.start_ready()
        load.stop()
    finally:
        load.abandon()
    wait_until(lambda: building.count() >= len(load.samples), "every sample is in the store", 60)
    wait_until_decided(building.service.folder, load)
    for process in (*building.collectors, building.service):
        assert process.stop() == 0, process.log.read_text()
    assert len(load.samples) > 1_000
    check_history(building, load)
    check_alarms(building.service.folder, load)


def take_more(collector: Service, messages: int) -> None:
    before = collector.metric("gengfu_messages_total")
    wait_until(lambda: collector.metric("gengfu_messages_total") > before + messages, "a collector goes on")


def check_history(building: Building, load: Load) -> None:
    stored: Counter[tuple[str, int]] = Counter()
    for series in building.ask('SELECT "bearing_temperature" FROM pump GROUP BY equipment'):
        for key, value in series["values"]:
            one = series["tags"]["equipment"], key % 1_000_000
            sample = load.samples[one]
            assert value == sample["bearing_temperature"]
            assert key // 1_000_000 == sample.get("at", key // 1_000_000)
            stored[one] += 1
    assert stored == Counter(load.samples.keys())
    assert len({pump for pump, _ in stored}) == PUMPS
    assert not (building.service.folder / "history.db").exists()


@pytest.mark.server
def test_each_collector_takes_a_share_and_the_service_decides_on_everything(building: Building) -> None:
    building.start()
    for number in range(40):
        building.publish("gengfu/hq/pump/P-1/telemetry", json.dumps({"flow": number}))  # neither time nor number
    building.publish("gengfu/hq/elevator/L-1/telemetry", '{"alarm_button": true}')
    wait_until(lambda: building.count("flow") == 40, "all of them are in the history")
    everyone = [*building.collectors, building.service]
    wait_until(lambda: sum(map(acknowledged, everyone)) == 2 * 41, "each message has come to its end twice")
    assert acknowledged(building.service) == 41
    assert min(map(acknowledged, everyone)) > 10
    (alarm,) = wait_until(lambda: building.service.get("/api/v1/alarms?state=open")["items"], "the alarm is there")
    assert alarm["rule"] == "elevator.alarm_button"
    history = building.service.get("/api/v1/equipment/hq:P-1/history?field=flow")
    assert sorted(bucket["mean"] for bucket in history["buckets"]) == [float(number) for number in range(40)]


def acknowledged(process: Service) -> float:
    return process.metric("gengfu_messages_acknowledged_total")


@pytest.mark.server
def test_what_comes_while_no_collector_runs_waits_for_them(building: Building) -> None:
    building.start()
    for one in building.collectors:
        assert one.stop() == 0
    for number in range(10):
        building.publish("gengfu/hq/pump/P-1/telemetry", json.dumps({"flow": number}))
    wait_until(lambda: building.service.metric("gengfu_messages_total") == 10, "the service has them")
    assert building.count("flow") == 0
    assert building.service.get("/api/v1/equipment/hq:P-1/latest")["latest"]["flow"]["value"] == 9, "live all the same"
    for one in building.collectors:
        one.start()
    wait_until(lambda: building.count("flow") == 10, "the broker kept them")


# -- what cannot be kept -----------------------------------------------------------------------------------


@pytest.mark.server
def test_what_cannot_be_read_is_in_the_services_quarantine_once_and_only_counted_here(building: Building) -> None:
    building.start()
    building.publish("gengfu/hq/pump/P-1/telemetry", "not json")
    (entry,) = wait_until(lambda: building.service.get("/api/v1/quarantine")["items"], "the service has it")
    assert entry["reason"] == "not_json"
    wait_until(lambda: sum(map(failures, building.collectors)) == 1, "one collector has counted it")
    assert [one.get("/quarantine")["items"] for one in building.collectors] == [[], []]


def failures(collector: Service) -> float:
    try:
        return collector.metric('gengfu_decode_failures_total{reason="not_json"}')
    except KeyError:
        return 0.0


@pytest.mark.server
def test_what_the_store_refuses_is_counted_and_kept_by_the_collector_that_had_it(building: Building) -> None:
    building.start()
    building.write('pump,site=hq,equipment=P-9,channel=telemetry flow="a text"')
    building.publish("gengfu/hq/pump/P-1/telemetry", '{"flow": 7, "voltage": 230}')
    wait_until(lambda: building.count("voltage") == 1, "the field beside it is kept")
    kept = wait_until(
        lambda: [item for one in building.collectors for item in one.get("/quarantine")["items"]], "it is kept"
    )
    assert [(item["topic"], item["reason"], item["payload"]) for item in kept] == [
        ("gengfu/hq/pump/P-1/telemetry", "refused_by_store", '{"flow":7.0}')
    ]
    refused = [one.metric("gengfu_history_refused_readings_total") for one in building.collectors]
    assert sum(refused) == 1


# -- for good ----------------------------------------------------------------------------------------------


def retire(building: Building, name: str) -> str:
    """What `gengfu collect --retire` says, when it has done it."""
    done = start_retiring(building, name)
    said, errors = done.communicate(timeout=60)
    assert done.returncode == 0, errors
    return said


def start_retiring(building: Building, name: str) -> subprocess.Popen[str]:
    ports = ("--mqtt-port", str(building.mosquitto.port), "--http-port", "0")
    command = [GENGFU, "collect", "--retire", "--name", name, "--data-dir", str(building.folder / "data"), *ports]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def publish_flows(building: Building, numbers: range) -> None:
    """Samples of minutes that are long over: their rollups are due at once."""
    for number in numbers:
        sample = {"flow": number, "at": LONG_AGO + number * 1000}
        building.publish("gengfu/hq/pump/P-1/telemetry", json.dumps(sample))


LONG_AGO = int(time.time() * 1000) - 24 * 3_600_000


@pytest.mark.server
@pytest.mark.parametrize("protocol", ["4", "5"])
def test_who_is_retired_finishes_what_waited_for_it_and_gets_nothing_more(
    protocol: str, building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENGFU_BROKER__PROTOCOL", protocol)
    first, second = (one.start_ready() for one in building.collectors)
    second.stop()
    publish_flows(building, range(12))  # the broker deals to who is away, too
    wait_until(lambda: acknowledged(first) > 0, "the one that is there has its share")
    assert building.count("flow") < 12
    said = retire(building, "2")
    (taken,) = re.findall(r"kept: (\d+) messages", said)
    assert int(taken) > 0
    wait_until(lambda: building.count("flow") == 12, "every sample is in the store")
    assert acknowledged(first) + int(taken) == 12
    assert marks(building, "2") == 0
    publish_flows(building, range(12, 20))
    wait_until(lambda: building.count("flow") == 20, "the other one gets everything from now on")
    assert "The broker has no session of this name" in retire(building, "2")


def marks(building: Building, name: str) -> int:
    with contextlib.closing(sqlite3.connect(building.folder / "data" / f"collect-{name}" / "dirty-minutes.db")) as file:
        return int(file.execute("SELECT count(*) FROM dirty").fetchone()[0])


@pytest.mark.server
def test_who_is_retired_waits_until_the_store_has_what_is_on_its_disk(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = os.environ["GENGFU_HISTORY__URL"]
    monkeypatch.setenv("GENGFU_HISTORY__URL", "http://127.0.0.1:9")  # nobody listens on port 9
    lonely = building.collector("3")
    building.collectors.append(lonely)
    lonely.start_ready()
    publish_flows(building, range(5))
    wait_until(lambda: acknowledged(lonely) == 5, "all are on its disk")
    lonely.stop()
    waiting = start_retiring(building, "3")
    wait_until(
        lambda: "Waiting until the store has" in (waiting.stdout.readline() if waiting.stdout else ""), "it says so"
    )
    waiting.send_signal(signal.SIGTERM)
    said, _ = waiting.communicate(timeout=60)
    assert "Interrupted: nothing is lost" in said
    monkeypatch.setenv("GENGFU_HISTORY__URL", right)
    assert "is retired" in retire(building, "3")
    assert building.count("flow") == 5


@pytest.mark.server
def test_a_collector_that_runs_is_not_retired(building: Building) -> None:
    building.collectors[0].start_ready()
    refused = start_retiring(building, "1")
    _, errors = refused.communicate(timeout=60)
    assert refused.returncode == 1
    assert "another gengfu" in errors
    assert building.collectors[0].is_ready()


# -- an operator's view ------------------------------------------------------------------------------------


@pytest.mark.server
def test_a_second_collector_of_one_name_is_refused(building: Building) -> None:
    first = building.collectors[0].start_ready()
    second = building.collector("1").start()
    assert second.wait() == 1
    said = second.log.read_text()
    assert "another gengfu" in said
    assert "give this collector another name (--name)" in said
    assert "Traceback" not in said
    assert first.is_ready()


@pytest.mark.server
def test_a_collector_says_what_it_waits_for(building: Building) -> None:
    one = building.collectors[0].start_ready()
    components = {"disk": "ready", "broker": "ready", "history": "ready"}
    assert one.get("/readyz") == {"ready": True, "components": components, "notices": []}
    assert one.get("/healthz") == {"status": "alive"}
    damaged = next(one.folder.glob("collect-*")) / "sequences.db.damaged-20260101T000000Z"
    damaged.write_bytes(b"rubbish")
    assert [str(damaged) in notice for notice in one.get("/readyz")["notices"]] == [True]
    assert one.metric("gengfu_damaged_files") == 1
    with socket.create_connection(("127.0.0.1", one.http_port), timeout=10) as connection:
        connection.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 400 ")
    assert one.metric("gengfu_http_malformed_total") == 1
    assert "Traceback" not in one.log.read_text()
    building.mosquitto.stop()
    components = wait_until(one.unready, "it says that the broker is gone")
    assert "connection lost" in components["broker"] or "cannot reach" in components["broker"]
    assert one.metric("gengfu_broker_connected") == 0
    building.mosquitto.start()
    wait_until(one.is_ready, "it is connected again")
    assert one.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("collect",), "history.write = false for gengfu serve"),
        (("serve", "--no-history"), 'set history.store = "influxdb"'),
    ],
)
def test_a_store_of_one_process_cannot_be_shared(arguments: tuple[str, ...], advice: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [GENGFU, *arguments, "--data-dir", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert advice in done.stderr
    assert "Traceback" not in done.stderr


# -- the end -----------------------------------------------------------------------------------------------


class FakeBroker:
    """A fake: gives the batches it was told to, and notes what is acknowledged."""

    def __init__(self) -> None:
        self.batches: asyncio.Queue[list[Message]] = asyncio.Queue()
        self.acknowledged: list[Message] = []

    async def next_batch(self, most: int) -> list[Message]:
        return await self.batches.get()

    def acknowledge(self, messages: list[Message]) -> None:
        self.acknowledged += messages


def message(mid: int) -> Message:
    return Message("gengfu/hq/pump/P-1/telemetry", b"{}", mid, 1, 0)


@pytest.fixture
def fake() -> FakeBroker:
    return FakeBroker()


async def test_what_is_in_hand_is_finished_and_nothing_more_is_taken(fake: FakeBroker) -> None:
    in_hand = InHand(fake)
    fake.batches.put_nowait([message(1), message(2)])
    taken = await in_hand.next_batch(10)
    ending = asyncio.create_task(in_hand.finish(10))
    await asyncio.sleep(0)
    fake.batches.put_nowait([message(3)])
    further = asyncio.create_task(in_hand.next_batch(10))
    await asyncio.sleep(0)
    assert not ending.done()
    in_hand.acknowledge(taken)
    assert await ending == 0
    assert fake.acknowledged == taken
    assert not further.done()
    further.cancel()


async def test_what_cannot_be_finished_is_left_to_the_broker(fake: FakeBroker) -> None:
    in_hand = InHand(fake)
    fake.batches.put_nowait([message(1), message(2)])
    await in_hand.next_batch(10)
    assert await in_hand.finish(0.01) == 2
    assert fake.acknowledged == []


async def test_with_empty_hands_the_end_is_at_once(fake: FakeBroker) -> None:
    assert await InHand(fake).finish(10) == 0
