"""A load for tests that kill: samples of pumps that run hot now and then, and fire events, each with a time of its own.

The publisher is never killed, and keeps what the broker has acknowledged (PUBACK): that, and only that, must be found
afterwards.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.servers.mosquitto import Mosquitto
from tests.servers.service import wait_until

PUMPS = 20
HOT_EVERY = 40
"""Every fortieth sample of a pump begins ten hot ones: one activation."""
FIRE_EVERY = 150
RATE = 1_000
"""Messages a second: more would only lengthen a test."""
_PACKET_IDS = 65_000
WANTS_TICKET = "wants_ticket <> 'none' AND rule <> 'pump.bearing_hot'"
"""Which alarms have a ticket: the lower limit is suppressed while the higher one of the same bearing stands."""
ACTIVATIONS_OWED = (
    "activation WHERE NOT damped AND id NOT IN (SELECT activation FROM ticket_activation)"
    f" AND alarm IN (SELECT id FROM alarm WHERE {WANTS_TICKET})"
)
"""In no ticket, though one is due. The pumps chatter, and what is damped joins a ticket only before the first opens."""


class Load:
    """Publishes until told to stop; remembers every message that was acknowledged by the broker."""

    def __init__(self, port: int, rate: int = RATE) -> None:
        self._rate = rate
        self.samples: dict[tuple[str, int], dict[str, Any]] = {}
        self.fires: set[str] = set()
        # By packet id; a test sends fewer messages than there are ids.
        self._sent: dict[int, Callable[[], None]] = {}
        self._acknowledged: set[int] = set()
        self._stop = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="load", clean_session=False)
        self._client.max_inflight_messages_set(500)
        self._client.reconnect_delay_set(0.1, 0.5)
        self._client.on_publish = lambda _client, _data, mid, *_: self._acknowledged.add(mid)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._publish, name="load", daemon=True)
        self._thread.start()

    def abandon(self) -> None:
        self._stop.set()
        self._client.loop_stop()

    def stop(self) -> None:
        """Stop, and wait until the broker has acknowledged everything."""
        self._stop.set()
        self._thread.join()
        wait_until(lambda: self._acknowledged >= self._sent.keys(), "the broker has acknowledged everything", 60)
        for remember in self._sent.values():
            remember()
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self) -> None:
        began, number = time.monotonic(), 0
        start_ms = time.time_ns() // 1_000_000
        while not self._stop.is_set():
            if number > self._rate * (time.monotonic() - began):
                self._stop.wait(0.005)
                continue
            self._publish_sample(number, start_ms)
            if number % FIRE_EVERY == 0:
                self._publish_fire(number, start_ms)
            number += 1
            if len(self._sent) >= _PACKET_IDS:
                self._stop.wait()  # a slow machine has had enough by now: ids must not come twice

    def _publish_sample(self, number: int, start_ms: int) -> None:
        pump, turn = f"P-{number % PUMPS}", number // PUMPS
        sample = self._sample(number, start_ms)
        info = self._client.publish(f"gengfu/kill/pump/{pump}/telemetry", json.dumps(sample), qos=1)

        def remember() -> None:
            self.samples[pump, turn] = sample

        self._sent[info.mid] = remember

    def _sample(self, number: int, start_ms: int) -> dict[str, Any]:
        turn = number // PUMPS
        return {"at": start_ms + turn, "seq": turn, "bearing_temperature": 97.0 if is_hot(turn) else 55.0}

    def _publish_fire(self, number: int, start_ms: int) -> None:
        address = str(number // FIRE_EVERY)
        event = {"at": start_ms + number, "type": "fire", "loop": "1", "address": address}
        info = self._client.publish("gengfu/kill/fire_panel/F-1/event", json.dumps(event), qos=1)
        self._sent[info.mid] = lambda: self.fires.add(address)


@contextmanager
def load_on(mosquitto: Mosquitto, rate: int = RATE) -> Iterator[Load]:
    """A load that ends with its test, also with one that fails."""
    load = Load(mosquitto.port, rate)
    try:
        yield load
    finally:
        load.abandon()


def is_hot(turn: int) -> bool:
    return turn % HOT_EVERY >= HOT_EVERY - 10


def expected_activations(turns: int) -> int:
    return sum(is_hot(turn) and not is_hot(turn - 1) for turn in range(turns))
