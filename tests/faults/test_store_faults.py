"""The history's store fails in every way it can; alarms notice nothing, and afterwards everything is there once.

A real service between a real Mosquitto and a real InfluxDB; a proxy before InfluxDB makes it slow or busy. The control
room is a listener on the live feed: what counts is when an alarm is seen there.
"""

import json
import random
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.servers.alarm_watch import AlarmWatch
from tests.servers.faulty_proxy import FaultyProxy
from tests.servers.influxdb import InfluxDB
from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service, wait_until

pytestmark = [pytest.mark.server, pytest.mark.timeout(280)]

SEEN_WITHIN_S = 3.0
"""A limit that a loaded machine keeps and a store that is waited for does not."""
KILLS = 20
PUMPS = 10
FIRE_EVERY_S = 0.5


class Load:
    """Samples of pumps at a rate, each with a time and number of its own, and a fire now and then."""

    def __init__(self, port: int, rate: int) -> None:
        self.rate = rate
        self.values: dict[str, dict[int, float]] = {f"P-{number}": {} for number in range(PUMPS)}
        """Pump -> time key (ns) -> value: what must be in the store."""
        self.fires: dict[str, float] = {}
        """Address -> time.monotonic() when it was sent."""
        self._stop = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="load", clean_session=False)
        self._client.max_inflight_messages_set(2000)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._infos: list[object] = []
        self._last = None
        self._start_ms = time.time_ns() // 1_000_000
        self._number = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; return when the broker has everything."""
        self._stop.set()
        self._thread.join()
        wait_until(lambda: not self._client.want_write() and self._last.is_published(), "the broker has all", 60)
        self._client.disconnect()
        self._client.loop_stop()

    def abandon(self) -> None:
        self._stop.set()
        self._client.loop_stop()

    @property
    def samples(self) -> int:
        return sum(map(len, self.values.values()))

    def _run(self) -> None:
        began, next_fire = time.monotonic(), 0.0
        while not self._stop.wait(0.01):
            elapsed = time.monotonic() - began
            while self._number < self.rate * elapsed:
                self._send_sample(self._number)
                self._number += 1
            if elapsed >= next_fire:
                self._send_fire(str(len(self.fires)))
                next_fire += FIRE_EVERY_S

    def _send_sample(self, number: int) -> None:
        pump, at, value = f"P-{number % PUMPS}", self._start_ms + number // PUMPS, float(number)
        sample = json.dumps({"at": at, "flow": value})
        self._last = self._client.publish(f"gengfu/hq/pump/{pump}/telemetry", sample, qos=1)
        self.values[pump][at * 1_000_000] = value

    def _send_fire(self, address: str) -> None:
        event = json.dumps({"at": time.time_ns() // 1_000_000, "type": "fire", "loop": "1", "address": address})
        self.fires[address] = time.monotonic()
        self._last = self._client.publish("gengfu/hq/fire_panel/F-1/event", event, qos=1)


@contextmanager
def load_on(mosquitto: Mosquitto, rate: int = 400) -> Iterator[Load]:
    load = Load(mosquitto.port, rate)
    try:
        yield load
    finally:
        load.abandon()


@pytest.fixture
def influx(tmp_path: Path) -> Iterator[InfluxDB]:
    """One of its own: it is stopped and started."""
    server = InfluxDB(tmp_path / "influxdb").start()
    yield server
    server.close()


@pytest.fixture
def proxy(influx: InfluxDB) -> Iterator[FaultyProxy]:
    with FaultyProxy(influx.url) as proxy:
        yield proxy


@contextmanager
def service_on(mosquitto: Mosquitto, url: str, folder: Path, more: str = "") -> Iterator[Service]:
    settings = folder / "gengfu.toml"
    settings.write_text(f'[history]\nstore = "influxdb"\nurl = "{url}"\n{more}', encoding="utf-8")
    service = Service(folder / "data", mosquitto.port, "--settings", str(settings))
    try:
        yield service.start_ready()
    finally:
        service.kill()


def check_alarms(load: Load, watch: AlarmWatch) -> None:
    wait_until(lambda: len(fires_seen(watch)) == len(load.fires), "every fire was seen", 30)
    lags = {address: fires_seen(watch)[address] - sent for address, sent in load.fires.items()}
    assert max(lags.values()) < SEEN_WITHIN_S, sorted(lags.items(), key=lambda item: -item[1])[:5]


def fires_seen(watch: AlarmWatch) -> dict[str, float]:
    return {part.removeprefix("1-"): at for (rule, part), at in list(watch.seen.items()) if rule == "fire_panel.fire"}


def stored(influx: InfluxDB) -> dict[str, dict[int, float]]:
    """What InfluxDB itself says that it has."""
    query = urllib.parse.urlencode({"db": "gengfu", "q": "SELECT flow FROM pump GROUP BY equipment", "epoch": "ns"})
    with urllib.request.urlopen(f"{influx.url}/query?{query}", timeout=60) as answer:
        (result,) = json.loads(answer.read())["results"]
    return {series["tags"]["equipment"]: dict(series["values"]) for series in result.get("series", ())}


def wait_until_stored(service: Service, load: Load) -> None:
    def is_everything_acknowledged() -> bool:
        return service.metric("gengfu_messages_acknowledged_total") >= load.samples + len(load.fires)

    wait_until(is_everything_acknowledged, "everything is acknowledged", 60)
    wait_until(lambda: service.metric("gengfu_spool_readings") == 0, "the spool is empty", 120)


def test_influxdb_stopped_for_a_minute_costs_no_alarm_and_no_reading(
    mosquitto: Mosquitto, influx: InfluxDB, tmp_path: Path
) -> None:
    with service_on(mosquitto, influx.url, tmp_path) as service, AlarmWatch(service.http_port) as watch:
        with load_on(mosquitto) as load:
            wait_until(lambda: service.metric("gengfu_messages_acknowledged_total") > 400, "readings come in")
            influx.stop()
            stopped = time.monotonic()
            wait_until(lambda: ("system.history_unreachable", "") in watch.seen, "the platform says so itself", 60)
            assert service.metric("gengfu_spool_readings") > 0
            assert service.metric("gengfu_history_reachable") == 0
            shown = service.get("/api/v1/equipment/hq:P-1/latest")["latest"]["flow"]["value"]
            wait_until(
                lambda: service.get("/api/v1/equipment/hq:P-1/latest")["latest"]["flow"]["value"] > shown,
                "the newest values go on",
            )
            wait_until(lambda: time.monotonic() - stopped >= 60, "a minute is over", 90)
            influx.start()
            wait_until(lambda: service.metric("gengfu_history_reachable") == 1, "it is found again", 30)
            load.stop()
        wait_until_stored(service, load)
        check_alarms(load, watch)
        assert service.metric('gengfu_history_lost_readings_total{reason="spool_full"}') == 0
    assert stored(influx) == load.values


@pytest.mark.parametrize(("fault", "value", "seconds"), [("delay_s", 5.0, 16.0), ("status", 503, 10.0)])
def test_a_store_that_is_slow_or_busy_under_load_costs_no_alarm_and_no_reading(
    mosquitto: Mosquitto, influx: InfluxDB, proxy: FaultyProxy, tmp_path: Path, fault: str, value: float, seconds: float
) -> None:
    with service_on(mosquitto, proxy.url, tmp_path) as service, AlarmWatch(service.http_port) as watch:
        with load_on(mosquitto) as load:
            wait_until(lambda: service.metric("gengfu_messages_acknowledged_total") > 400, "readings come in")
            setattr(proxy, fault, type(getattr(proxy, fault))(value))
            began = time.monotonic()
            wait_until(lambda: service.metric("gengfu_spool_readings") > 0, "readings wait on disk", 30)
            wait_until(lambda: time.monotonic() - began >= seconds, "it lasts", 30)
            setattr(proxy, fault, 0)
            load.stop()
        wait_until_stored(service, load)
        check_alarms(load, watch)
    assert stored(influx) == load.values


def test_kill_9_while_the_spool_is_being_emptied_loses_nothing_and_doubles_nothing(
    mosquitto: Mosquitto, influx: InfluxDB, proxy: FaultyProxy, tmp_path: Path
) -> None:
    rng = random.Random(20)
    with service_on(mosquitto, proxy.url, tmp_path) as service:
        with load_on(mosquitto, rate=1_500) as load:
            proxy.status = 503
            wait_until(lambda: service.metric("gengfu_spool_readings") > 12_000, "much waits on disk", 60)
            load.rate = 100
            proxy.status, proxy.delay_s = 0, 0.4
            for _ in range(KILLS):
                writes = proxy.writes
                wait_until(lambda before=writes: proxy.writes > before, "the spool is being emptied")
                time.sleep(rng.uniform(0, 0.6))  # a random moment of it is the point of this test
                service.kill()
                service.start()
                wait_until(service.is_ready, "the service is ready", 30)
                if service.metric("gengfu_spool_readings") == 0:
                    refill(service, proxy)
            proxy.delay_s = 0.0
            load.stop()
        wait_until(lambda: service.metric("gengfu_messages_waiting") == 0, "all has come", 30)
        wait_until(lambda: is_all_there(influx, load), "everything is in the store", 60)
        assert service.metric("gengfu_spool_readings") == 0
        assert service.metric('gengfu_history_lost_readings_total{reason="spool_damaged"}') == 0
    assert stored(influx) == load.values


def refill(service: Service, proxy: FaultyProxy) -> None:
    """Make something wait on disk again, so that the next kill has something to interrupt."""
    proxy.status = 503
    wait_until(lambda: service.metric("gengfu_spool_readings") > 0, "readings wait on disk")
    proxy.status = 0


def is_all_there(influx: InfluxDB, load: Load) -> bool:
    return sum(map(len, stored(influx).values())) == load.samples


def test_a_full_spool_drops_the_oldest_history_and_says_so_while_alarms_go_on(
    mosquitto: Mosquitto, influx: InfluxDB, proxy: FaultyProxy, tmp_path: Path
) -> None:
    more = "spool_mb = 4\n"
    with service_on(mosquitto, proxy.url, tmp_path, more) as service, AlarmWatch(service.http_port) as watch:
        proxy.status = 503
        with load_on(mosquitto, rate=1_500) as load:
            for rule in ("system.spool_filling", "system.losing_readings"):
                wait_until(lambda rule=rule: (rule, "") in watch.seen, f"{rule} is raised", 60)
            load.stop()
        lost = 'gengfu_history_lost_readings_total{reason="spool_full"}'
        wait_until(lambda: service.metric("gengfu_messages_waiting") == 0, "all has come")
        proxy.status = 0
        wait_until_stored(service, load)
        check_alarms(load, watch)
        found = stored(influx)
        assert sum(map(len, found.values())) + service.metric(lost) == load.samples, "each is there or counted"
        for pump, points in found.items():
            assert points.items() <= load.values[pump].items()
            assert max(points) == max(load.values[pump]), "the newest are kept"
