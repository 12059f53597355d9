"""Over a real broker: kept messages of a fire are heard, a restarted gateway's second fire, and wrong clocks."""

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from collectors.collector import Collector, Quarantined
from collectors.device_clocks import DeviceClocks
from collectors.metrics import IngestMetrics
from collectors.mqtt.broker import Broker, BrokerAddress
from collectors.sequences import SequenceMemory
from collectors.wire.reading import Reading
from collectors.wire.topics import SUBSCRIPTION
from gateway.alarms.built_in.doubtful_clocks import clock_event
from gateway.alarms.rules.files import load_rules
from gateway.storage.database import Database
from gateway.storage.tables import activation, alarm
from tests.builders.alarms import PANEL, SMOKE, Desk, fire_rule, open_desk, rows_of, smoke_rule
from tests.servers.mosquitto import Mosquitto
from tests.servers.waiting import until
from tests.servers.wire import CONNECT, DISCONNECT, PUBLISH, packet, publish, send

RETAIN = 0x01


def keep(port: int, topic: str, payload: bytes) -> None:
    """Publish a retained message, and make sure by a second one with QoS 1 that the broker has it."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(packet(CONNECT, b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack("!H", 0)))
        name = topic.encode()
        connection.sendall(packet(PUBLISH | RETAIN, struct.pack("!H", len(name)) + name + payload))
        connection.sendall(publish("other/topic", b"{}", 1) + packet(DISCONNECT, b""))
        while connection.recv(64):
            continue


@contextlib.asynccontextmanager
async def watching(database: Database, folder: Path, port: int) -> AsyncIterator[Desk]:
    """A real broker's client and collector before real decisions; history is not kept."""
    clock_rules = [rule for rule in load_rules(()) if rule.id == "system.device_clock"]
    desk = await open_desk(database, smoke_rule(), fire_rule(), *clock_rules)

    async def decide(readings: Sequence[Reading]) -> None:
        desk.clock.now = time.time_ns() // 1_000_000
        await desk.alarms.decide(readings)

    class Keeper:
        async def write(self, _readings: Sequence[Reading]) -> None:
            return

    async def put_aside(_messages: Sequence[Quarantined]) -> None:
        return

    sequences = SequenceMemory(folder / "sequences.db")
    await sequences.open()
    broker = Broker(BrokerAddress(port=port), [SUBSCRIPTION])
    collector = Collector(
        broker, Keeper(), sequences, put_aside, IngestMetrics(CollectorRegistry()), decide,
        clocks=DeviceClocks(clock_event),
    )  # fmt: skip
    tasks = [asyncio.create_task(broker.run()), asyncio.create_task(collector.run())]
    try:
        await until(lambda: broker.connected, "the broker has us")
        yield desk
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await broker.close()
        await sequences.close()


async def rows_become(database: Database, table: Any, count: int, rule: str) -> list[dict[str, Any]]:
    async with asyncio.timeout(60):
        while True:
            rows = [row for row in await rows_of(database, table) if row["rule"] == rule]
            if len(rows) >= count:
                return rows
            await asyncio.sleep(0.02)


@pytest.mark.server
@pytest.mark.parametrize("engine", ["sqlite"])
async def test_kept_smoke_a_restarted_gateway_s_second_fire_and_a_clock_of_1970_are_all_told(
    database: Database, tmp_path: Path
) -> None:
    mosquitto = Mosquitto(tmp_path / "mosquitto").start()
    try:
        await asyncio.to_thread(keep, mosquitto.port, SMOKE, b'{"smoke": true}')
        async with watching(database, tmp_path, mosquitto.port):
            (kept,) = await rows_become(database, alarm, 1, "sensor.smoke")
            assert kept["active"]
            telemetry = PANEL.replace("/event", "/telemetry")
            life = [(telemetry, {"seq": 0, "mains": True}), (telemetry, {"seq": 1, "mains": True}),
                    (PANEL, {"seq": 2, "type": "fire"}), (PANEL, {"seq": 3, "type": "reset"})]  # fmt: skip
            for messages in (life, life[:3]):
                await send(mosquitto.port, [(topic, json.dumps(fields).encode()) for topic, fields in messages])
            await rows_become(database, activation, 2, "fire_panel.fire")
            wrong = SMOKE.replace("S-1", "S-9")
            await send(mosquitto.port, [(wrong, b'{"at": 60000, "temperature": 96}')])
            (found,) = await rows_become(database, alarm, 1, "system.device_clock")
            assert found["part"] == "HQ:S-9"
    finally:
        mosquitto.stop()
