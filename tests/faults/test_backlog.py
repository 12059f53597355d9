"""The service with more to do than it can: it answers, keeps its lease and its session, and stops in time."""

import asyncio
import json
import threading
import time
from pathlib import Path

import pytest

from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service, wait_until
from tests.servers.wire import Item, send

pytestmark = pytest.mark.server
MESSAGES, SAMPLES = 6, 10_000
STOP_S = 10.0


def flickering(message: int, samples: int) -> Item:
    """One pump's buffered samples; now and then it is hot for a while: activations to be written."""
    now = time.time_ns() // 1_000_000 - 100_000
    body = [
        {"at": now + message * samples + number, "bearing_temperature": 97.0 if number % 500 >= 490 else 55.0}
        for number in range(samples)
    ]
    return f"gengfu/hq/pump/P-{message}/telemetry", json.dumps(body).encode()


class Looks:
    """Asks for `/healthz` again and again, and keeps the longest wait."""

    def __init__(self, service: Service) -> None:
        self.longest_s = 0.0
        self.count = 0
        self._service = service
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            self._service.get("/healthz")
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            self.count += 1

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def test_messages_of_ten_thousand_samples_do_not_silence_the_service(mosquitto: Mosquitto, tmp_path: Path) -> None:
    service = Service(tmp_path / "data", mosquitto.port).start_ready()
    try:
        service.pause()  # so that they all wait
        asyncio.run(send(mosquitto.port, [flickering(message, SAMPLES) for message in range(MESSAGES)]))
        service.resume()
        looks, began = Looks(service), time.monotonic()
        wait_until(lambda: service.metric("gengfu_messages_acknowledged_total") == MESSAGES, "all is judged", 120)
        took_s = time.monotonic() - began
        looks.stop()
        assert service.metric("gengfu_readings_total") == MESSAGES * SAMPLES
        assert looks.longest_s < took_s / 4, f"{looks.count} answers, the longest wait {looks.longest_s:.1f} s"
        assert service.components()["leader"] == "ready"
        assert "another process" not in service.log.read_text()
    finally:
        service.stop()


def test_a_service_that_stalls_with_a_backlog_handles_each_message_once_and_stops_in_time(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    service = Service(tmp_path / "data", mosquitto.port).start_ready()
    now = time.time_ns() // 1_000_000
    items = [
        (f"gengfu/hq/pump/P-{number % 50}/telemetry", b'{"at":%d,"flow":1}' % (now + number // 50))
        for number in range(60_000)
    ]
    asyncio.run(send(mosquitto.port, items[:30_000]))
    for _ in range(5):  # bursts of processor time, as on a machine with other work
        service.pause()
        time.sleep(0.3)
        service.resume()
        time.sleep(0.1)
    wait_until(lambda: service.metric("gengfu_messages_acknowledged_total") == 30_000, "the first half is handled")
    assert service.metric("gengfu_messages_total") == 30_000
    assert service.log.read_text().count("broker connected") == 1
    asyncio.run(send(mosquitto.port, items[30_000:]))
    began = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - began < STOP_S
    service.start_ready()
    wait_until(lambda: service.metric("gengfu_messages_waiting") == 0, "the rest is handled")
    service.stop()
