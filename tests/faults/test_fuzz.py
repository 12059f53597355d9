"""Tens of thousands of hostile messages in one run: nothing falls over, memory stays flat, the quarantine bounded.

Real payloads with bytes changed, cut, doubled and mixed; bytes at random; topics that MQTT permits and nobody expects.
They go through the whole of ingest: every shipped mapping, the ledger, the rules that ship, alarms, history.
"""

import asyncio
import ctypes
import gc
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select

from collectors.collector import Collector
from collectors.message_reader import Quarantined
from collectors.metrics import HistoryMetrics, IngestMetrics
from collectors.mqtt.message import Message
from collectors.payloads.format_by_topic import Decoder
from collectors.payloads.mapping import Defaults, load_mappings, shipped_names
from collectors.sequences import SequenceMemory
from collectors.spool.spool import Spool
from collectors.timeseries.sqlite.store import SqliteStore
from collectors.timeseries.store import Refused
from collectors.wire.reading import Reading
from collectors.write_buffer import WriteBuffer
from gateway.alarms.rules.files import shipped_rules
from gateway.equipment.ledger import Ledger
from gateway.storage.database import Database
from gateway.storage.received import quarantine
from gateway.storage.received.quarantine import Quarantine
from gateway.storage.tables import equipment
from tests.builders.alarms import T0, open_desk
from tests.servers.waiting import until

MESSAGES = [60_000, pytest.param(200_000, marks=pytest.mark.soak)]
WARM = 30_000
"""Messages after which whatever is bounded has reached its bounds."""
GROWTH_MB = 40
"""A leak of 250 bytes a message of the long run would be as much."""
UNKNOWN = 200

SEEDS: list[tuple[str, bytes]] = [
    ("gengfu/hq/pump/P-{}/telemetry", b'{"at":1763800000000,"seq":7,"flow":41.5,"running":true,"mode":"auto"}'),
    ("gengfu/hq/pump/P-{}/telemetry", b'{"seq":7,"bearing_temperature":96.5,"vibration":2.1}'),
    ("gengfu/hq/elevator/L-{}/telemetry", b'{"service_mode":"normal","floor":"3","door":"open","alarm_button":true}'),
    ("gengfu/hq/fire_panel/F-{}/event", b'{"type":"fire","loop":"1","address":"23","zone":"A","device_type":"smoke"}'),
    ("gengfu/hq/fire_panel/F-{}/event", b'{"type":"reset"}'),
    ("gengfu/hq/patrol_reader/R-{}/event", b'{"tag":"04A1B2C3","card":"12345678","at":"2025-11-22T08:26:40Z"}'),
    ("gengfu/hq/sensor/S-{}/telemetry", b'[{"at":1763800000000,"leak":false},{"at":1763800001000,"smoke":true}]'),
    ("gengfu/hq/sensor/S-{}/status", b'{"online":false}'),
    ("zigbee2mqtt/leak{}", b'{"battery":100,"water_leak":true,"linkquality":84,"voltage":3015}'),
    ("tele/tasmota_{}/SENSOR", b'{"Time":"2025-11-22T08:26:40","AM2301":{"Temperature":21.4,"Humidity":55.0}}'),
    ("shellyplus{}/events/rpc", b'{"src":"s","method":"NotifyStatus","params":{"ts":1.0,"switch:0":{"apower":8.9}}}'),
    ("application/1/device/{}/event/up", b'{"deviceInfo":{"devEui":"a1"},"object":{"temperature":21.5,"leak":0}}'),
    ("wmbusmeters/meter{}", b'{"media":"water","meter":"multical21","id":"76348799","total_m3":6.408}'),
    ("v1/gateway/telemetry", b'{"Device {}":[{"ts":1483228800000,"values":{"temperature":42,"humidity":80}}]}'),
]
SPLINTERS = [
    b"", b"\x00", b"\xff\xfe", b"{", b"}", b"[", b"]", b'"', b",", b":", b"null", b"true", b"NaN", b"-Infinity",
    b"1e999", b"9" * 400, b'"at":', b'"seq":1', b'"active":"false"', b'"\\ud800"', b"\\u0000", "三楼火警".encode(),
    "三楼火警".encode("gb18030"), b"[" * 2_000, b'{"a":' * 500, b" " * 9_000, b'{"type":"fire"}',
]  # fmt: skip
LETTERS = "abcXYZ019_.-/ $\t\x7f\u200b火🔥\ufffd'\"\\%"


class Hostile:
    """A source of hostile messages, the same ones each time."""

    def __init__(self, messages: int) -> None:
        self._messages = messages
        self.sent = 0
        self.acknowledged = 0
        self._rng = random.Random(20251122)

    async def next_batch(self, most: int) -> list[Message]:
        if self.sent >= self._messages:
            await asyncio.Event().wait()
        batch = [self._message(self.sent + number) for number in range(min(most, self._messages - self.sent))]
        self.sent += len(batch)
        await asyncio.sleep(0)
        return batch

    def acknowledge(self, messages: Sequence[Message]) -> None:
        self.acknowledged += len(messages)

    def _message(self, number: int) -> Message:
        rng = self._rng
        topic, payload = rng.choice(SEEDS)
        topic = topic.replace("{}", str(rng.randrange(40)))
        how = rng.random()
        if how < 0.1:
            topic = self._topic()
        if how > 0.2:
            payload = self._mutated(payload)
        if how > 0.9:
            payload = rng.randbytes(rng.randrange(200))
        received_ns = (T0 + number) * 1_000_000
        return Message(topic, payload, number % 65_535 + 1, 1, received_ns, how < 0.02, 0.3 < how < 0.32)

    def _topic(self) -> str:
        """As MQTT permits: no NUL and no wildcard, up to 65,535 bytes."""
        rng = self._rng
        levels = ["".join(rng.choices(LETTERS, k=rng.choice([0, 1, 8, 64, 65]))) for _ in range(rng.randrange(1, 8))]
        if rng.random() < 0.01:
            levels.append("x" * 60_000)
        return "/".join(["gengfu", *levels] if rng.random() < 0.7 else levels)

    def _mutated(self, payload: bytes) -> bytes:
        rng, changed = self._rng, bytearray(payload)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(changed) + 1)
            match rng.randrange(5):
                case 0:
                    changed[at : at + 1] = rng.randbytes(1)
                case 1:
                    del changed[at : at + rng.randrange(8)]
                case 2:
                    changed[at:at] = rng.choice(SPLINTERS)
                case 3:
                    changed[at : at + rng.randrange(8)] = rng.choice(SPLINTERS)
                case 4:
                    changed += changed[at:]
        return bytes(changed)


async def settled_mb(buffer: WriteBuffer) -> float:
    """Resident memory without what waits for a slow disk, and without what was freed and is kept for later use."""
    await until(lambda: not buffer.is_behind, "the store has caught up", 60)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return resident_mb()


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.timeout(300)
@pytest.mark.parametrize("messages", MESSAGES)
async def test_whatever_comes_nothing_falls_over_and_memory_stays_flat(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: int
) -> None:
    monkeypatch.setattr(quarantine, "KEPT", 3_000)  # reached early: what follows must not grow
    store, sequences = SqliteStore(tmp_path / "history.db"), SequenceMemory(tmp_path / "sequences.db")
    await store.open()
    await sequences.open()
    desk, ledger = await open_desk(database, *shipped_rules()), Ledger(database, UNKNOWN, "Asia/Shanghai")
    await ledger.load()
    registry, kept_aside = CollectorRegistry(), [0]
    aside = Quarantine(database, registry)

    async def decide(readings: Sequence[Reading]) -> None:
        desk.clock.now = max(desk.clock.now, *(reading.received_at for reading in readings), 0)
        await ledger.meet(readings, desk.clock.now)
        await desk.alarms.decide(readings)

    async def keep_aside(messages: Sequence[Quarantined]) -> None:
        kept_aside[0] += len(messages)
        await aside.keep(messages)

    source = Hostile(messages)
    decoder = Decoder(load_mappings(shipped_names(), Defaults("hq")))
    history = HistoryMetrics(registry)
    spool = Spool(tmp_path / "spool", 1 << 30, history.lose)
    buffer = WriteBuffer(store, spool, nothing_refused, history)
    await buffer.open()
    collector = Collector(source, buffer, sequences, keep_aside, IngestMetrics(registry), decide,
                          decoder=decoder, receive=ledger.hear)  # fmt: skip
    running = asyncio.create_task(collector.run())
    draining = asyncio.create_task(buffer.run())
    try:
        await until(passed(source, WARM, running), "the first part is acknowledged", 120)
        before = await settled_mb(buffer)
        await until(passed(source, messages, running), "everything is acknowledged", 120)
        grown = await settled_mb(buffer) - before
    finally:
        running.cancel()
        draining.cancel()
        await asyncio.gather(running, draining, return_exceptions=True)
    rows, kept_bytes = await measure(database)
    assert rows == 3_000
    assert kept_bytes <= quarantine.KEPT_BYTES
    names = ("gengfu_quarantine_evicted_total", "gengfu_quarantine_dropped_total")
    counted = sum(registry.get_sample_value(name) or 0 for name in names)
    assert kept_aside[0] - counted == rows, "each is kept, or counted"
    assert registry.get_sample_value("gengfu_messages_acknowledged_total") == messages
    assert (registry.get_sample_value("gengfu_readings_total") or 0) > messages / 10, "and some could be read"
    async with database.reading() as connection:
        assert await connection.scalar(select(func.count()).select_from(equipment)) <= UNKNOWN
    assert grown < GROWTH_MB, f"{grown:.0f} MB more after {messages - WARM} messages"
    await buffer.close()
    await store.close()
    await sequences.close()


async def nothing_refused(refused: Sequence[Refused]) -> None:
    raise AssertionError(refused)


def passed(source: Hostile, count: int, running: "asyncio.Task[None]") -> Callable[[], bool]:
    def look() -> bool:
        if running.done():
            running.result()  # raises what it fell over
        return source.acknowledged >= count

    return look


async def measure(database: Database) -> tuple[int, int]:
    columns = quarantine.quarantine.c
    size = func.length(columns.payload) + func.length(columns.topic) + func.length(columns.detail)
    async with database.reading() as connection:
        rows, total = (await connection.execute(select(func.count(), func.sum(size)))).one()
        return int(rows), int(total)
