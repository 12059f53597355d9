"""The loop of ingest: what must have happened before a message is acknowledged; fakes hold each stage."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from collectors import collector as collector_module
from collectors import message_reader
from collectors.collector import Collector, as_quarantined
from collectors.message_reader import Quarantined
from collectors.metrics import HistoryMetrics, IngestMetrics
from collectors.mqtt.broker import Broker, BrokerAddress
from collectors.mqtt.message import Message
from collectors.payloads.faults import Reason
from collectors.payloads.format_by_topic import Decoder
from collectors.payloads.mapping import Defaults, load_mappings
from collectors.sequences import SequenceMemory
from collectors.spool.spool import Spool
from collectors.timeseries.sqlite.store import SqliteStore
from collectors.timeseries.store import Refused, Series
from collectors.wire.names import code_of
from collectors.wire.reading import Reading
from collectors.wire.topics import SUBSCRIPTION, parse_topic
from collectors.write_buffer import WriteBuffer
from tests.servers.mosquitto import Mosquitto
from tests.servers.waiting import parted, until
from tests.servers.wire import send

T0 = 1_790_000_000_000
PUMP, PANEL = "gengfu/garden/pump/P1/telemetry", "gengfu/garden/fire_panel/F1/event"


class Gate:
    """Lets through, or holds while it is shut; counts who came."""

    def __init__(self) -> None:
        self.came = 0
        self._open = asyncio.Event()
        self._open.set()

    async def pass_through(self) -> None:
        self.came += 1
        await self._open.wait()

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()


class Line:
    """A collector between fakes: source, decision, store and quarantine only note what they are given."""

    def __init__(self, folder: Path) -> None:
        self.registry = CollectorRegistry()
        self.events: list[str] = []
        """What happened, in order."""
        self.acknowledged: list[Message] = []
        self.decided: list[Reading] = []
        self.written: list[Reading] = []
        self.announced: list[Reading] = []
        self.aside: list[Quarantined] = []
        self.deciding, self.writing, self.quarantining = Gate(), Gate(), Gate()
        self.sequences = SequenceMemory(folder / "sequences.db")
        self._arrivals: asyncio.Queue[list[Message]] = asyncio.Queue()
        self._mid = 0

    def arrive(self, *items: tuple[str, str | bytes]) -> list[Message]:
        """One batch from the broker."""
        batch = []
        for topic, payload in items:
            self._mid += 1
            content = payload.encode() if isinstance(payload, str) else payload
            batch.append(Message(topic, content, self._mid, 1, (T0 + self._mid) * 1_000_000))
        self._arrivals.put_nowait(batch)
        return batch

    # the fakes

    async def next_batch(self, most: int) -> list[Message]:
        assert most == collector_module.BATCH
        return await self._arrivals.get()

    def acknowledge(self, messages: Sequence[Message]) -> None:
        self.events.append("acknowledged")
        self.acknowledged += messages

    async def decide(self, readings: Sequence[Reading]) -> None:
        await self.deciding.pass_through()
        self.events.append("decided")
        self.decided += readings

    async def write(self, readings: Sequence[Reading]) -> None:
        await self.writing.pass_through()
        self.events.append("written")
        self.written += readings

    async def quarantine(self, messages: Sequence[Quarantined]) -> None:
        await self.quarantining.pass_through()
        self.events.append("quarantined")
        self.aside += messages

    def announce(self, readings: Sequence[Reading]) -> None:
        self.events.append("announced")
        self.announced += readings

    # what is counted

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    async def all_acknowledged(self, count: int) -> None:
        await until(lambda: len(self.acknowledged) == count, f"{count} messages are acknowledged")


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    line = Line(tmp_path)
    await line.sequences.open()
    collector = Collector(
        line,
        line,  # type: ignore[arg-type]  # of a write buffer it has only the write
        line.sequences,
        line.quarantine,
        IngestMetrics(line.registry),
        line.decide,
        line.announce,
    )
    task = asyncio.create_task(collector.run())
    yield line
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await line.sequences.close()


def flow(number: int) -> tuple[str, str]:
    return PUMP, f'{{"at":{T0 + number},"flow":{number}}}'


# -- when a message is acknowledged --------------------------------------------------------------------


async def test_a_message_is_acknowledged_after_decision_quarantine_and_write(line: Line) -> None:
    messages = line.arrive(flow(1), (PUMP, "nonsense"))
    await line.all_acknowledged(2)
    assert line.acknowledged == messages
    assert line.events == ["decided", "quarantined", "written", "announced", "acknowledged"]


@pytest.mark.parametrize("stage", ["deciding", "writing", "quarantining"])
async def test_nothing_is_acknowledged_while_a_stage_is_not_done(line: Line, stage: str) -> None:
    gate: Gate = getattr(line, stage)
    gate.shut()
    line.arrive(flow(1), (PUMP, "nonsense"))
    await until(lambda: gate.came, f"{stage} has begun")
    await until(Idle(line), "everything that can happen has happened")
    assert line.acknowledged == []
    assert line.announced == [], "the live feed shows only what is durable"
    gate.open()
    await line.all_acknowledged(2)


class Idle:
    """True when nothing new has happened for twenty looks: the loop has had its turns."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._seen: list[str] = []
        self._looks = 0

    def __call__(self) -> bool:
        self._looks = self._looks + 1 if self._seen == self._line.events else 0
        self._seen = list(self._line.events)
        return self._looks >= 20


async def test_acknowledgements_keep_the_order_of_arrival(line: Line) -> None:
    line.writing.shut()
    messages = [message for number in range(4) for message in line.arrive(flow(number), (PUMP, "nonsense"))]
    await until(lambda: line.writing.came, "the first write has begun")
    line.writing.open()
    await line.all_acknowledged(8)
    assert line.acknowledged == messages


async def test_a_slow_store_does_not_hold_back_the_decision_of_the_next_batches(line: Line) -> None:
    line.writing.shut()
    for number in range(4):
        line.arrive(flow(number), (PANEL, f'{{"at":{T0 + number},"type":"fire","address":"{number}"}}'))
    await until(lambda: len(line.decided) == 8, "every batch is decided while the first write hangs")
    assert line.writing.came == 1
    assert line.acknowledged == []
    line.writing.open()
    await line.all_acknowledged(8)


async def test_alarms_go_on_while_the_store_hangs(line: Line) -> None:
    line.writing.shut()
    for number in range(200):
        line.arrive(flow(number))
        await until(lambda number=number: len(line.decided) == number + 1, "the decision does not wait for the store")
    line.writing.open()
    await line.all_acknowledged(200)
    assert [reading.fields["flow"] for reading in line.written] == [float(number) for number in range(200)]


async def test_memory_is_bounded_while_the_store_hangs(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector_module, "MOST_SETTLING", 5)
    line.writing.shut()
    for number in range(20):
        line.arrive(flow(number))
    await until(Idle(line), "everything that can happen has happened")
    assert len(line.decided) < 20, "what is not taken waits at the broker"
    line.writing.open()
    await line.all_acknowledged(20)
    assert [reading.fields["flow"] for reading in line.written] == [float(number) for number in range(20)]


async def test_a_message_of_many_samples_is_decided_in_parts_and_acknowledged_with_the_last(line: Line) -> None:
    samples = ",".join(f'{{"at":{T0 + number},"flow":{number}}}' for number in range(10_000))
    long, short = line.arrive((PUMP, f"[{samples}]"), flow(10_000))
    await line.all_acknowledged(2)
    assert line.acknowledged == [long, short]
    assert line.events.count("decided") >= 3
    assert line.events.index("acknowledged") > line.events.index("written")
    assert [reading.fields["flow"] for reading in line.written] == [float(number) for number in range(10_001)]
    assert line.count("gengfu_messages_total") == 2
    assert line.count("gengfu_readings_total") == 10_001


async def test_nothing_of_a_long_message_is_acknowledged_while_its_last_part_is_not_durable(line: Line) -> None:
    line.writing.shut()
    samples = ",".join(f'{{"at":{T0 + number},"flow":{number}}}' for number in range(9_000))
    line.arrive((PUMP, f"[{samples}]"))
    await until(lambda: len(line.decided) == 9_000, "all of it is decided")
    assert line.acknowledged == []
    line.writing.open()
    await line.all_acknowledged(1)
    assert len(line.written) == 9_000


async def test_others_have_their_turn_between_the_parts_and_slow_decisions_make_them_smaller(line: Line) -> None:
    sizes: list[int] = []
    turns = 0

    async def decide(readings: Sequence[Reading]) -> None:
        sizes.append(len(readings))
        began = time.thread_time()
        while time.thread_time() - began < len(readings) * 100e-6:  # a tenth of a millisecond of work for each
            continue
        line.decided += readings

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    line.decide = decide  # type: ignore[method-assign]
    collector = Collector(
        line,
        line,
        line.sequences,
        line.quarantine,
        IngestMetrics(CollectorRegistry()),
        decide,  # type: ignore[arg-type]
    )
    samples = ",".join(f'{{"at":{T0 + number},"flow":{number}}}' for number in range(10_000))
    messages = [Message(PUMP, f"[{samples}]".encode(), 1, 1, T0 * 1_000_000)]
    busy = asyncio.create_task(others())
    async for part in collector._chunks_of(messages):
        before = turns
        await collector._judge(part)
        assert turns > before
    busy.cancel()
    assert sum(sizes) == 10_000
    assert max(sizes[1:]) <= 1_000, "fifty milliseconds are worth five hundred of them here"


async def test_of_a_packet_that_is_too_large_the_head_is_kept(line: Line) -> None:
    batch = [
        Message(topic, b'{"type":"fire"}', mid, 1, T0 * 1_000_000, oversize=9_000_000)
        for mid, topic in enumerate((PUMP, PANEL), 1)
    ]
    line._arrivals.put_nowait(batch)
    await line.all_acknowledged(2)
    assert [(kept.topic, kept.reason, kept.size) for kept in line.aside] == [
        (PUMP, "too_large", 9_000_000), (PANEL, "too_large", 9_000_000),
    ]  # fmt: skip


@pytest.mark.server
async def test_starved_with_a_backlog_each_message_is_handled_once_and_the_session_is_kept(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Deciding holds the loop for longer than the keep-alive, again and again."""
    line = Line(tmp_path)
    await line.sequences.open()
    broker = Broker(BrokerAddress(port=mosquitto.port, keepalive_s=1), [SUBSCRIPTION])
    held = 0

    async def decide(readings: Sequence[Reading]) -> None:
        nonlocal held
        if held < 3 and readings:
            held += 1
            time.sleep(2)  # noqa: ASYNC251 - a loop that is held up is what is tested
        line.decided += readings

    metrics = IngestMetrics(line.registry)
    collector = Collector(broker, line, line.sequences, line.quarantine, metrics, decide)  # type: ignore[arg-type]
    running = asyncio.create_task(broker.run()), asyncio.create_task(collector.run())
    await until(lambda: broker.connected, "the broker lets us in")
    await send(mosquitto.port, [(PUMP, f'{{"at":{T0 + number},"flow":1}}'.encode()) for number in range(20_000)])
    await until(lambda: line.count("gengfu_messages_acknowledged_total") == 20_000, "all is handled", 60)
    assert held == 3
    assert len(line.decided) == line.count("gengfu_messages_total") == 20_000
    assert broker._inbox.connection == 0, "the connection was never lost"
    await broker.close()
    running[1].cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await line.sequences.close()


async def test_an_event_is_durable_by_its_decision_and_no_point_of_a_time_series(line: Line) -> None:
    line.arrive((PANEL, f'{{"at":{T0},"type":"fire"}}'))
    await line.all_acknowledged(1)
    assert [reading.fields for reading in line.decided] == [{"type": "fire"}]
    assert line.written == []
    assert line.events == ["decided", "acknowledged"]


async def test_a_reading_is_decided_and_written_as_one(line: Line) -> None:
    line.arrive((PUMP, '{"seq":1,"flow":1}'))
    line.arrive((PUMP, '{"seq":1,"flow":1}'))
    await line.all_acknowledged(2)
    first, second = line.decided
    assert first.key == second.key, "the sequence number is recognised before anything is decided"
    assert line.written == line.decided == line.announced


# -- what cannot be read -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        (PUMP, b"", Reason.EMPTY),
        (PUMP, b"offline", Reason.NOT_JSON),
        (PUMP, b"\xff\x00", Reason.NOT_JSON),
        (PUMP, b"[" * 100_000, Reason.NOT_JSON),
        (PUMP, b"17", Reason.NOT_OBJECT),
        (PUMP, b"{}", Reason.NO_FIELDS),
        (PUMP, b'{"running":true,"running":true}', Reason.DUPLICATE_KEY),
        (PUMP, b'{"running":true,"flow":"much"}', Reason.BAD_FIELD),
        (PUMP, b'{"running":true,"at":"yesterday"}', Reason.BAD_TIME),
        (PUMP, b'{"running":true,"at":1' + b"0" * 400 + b"}", Reason.BAD_TIME),
        (PUMP, b'{"running":true,"seq":1' + b"0" * 400 + b"}", Reason.BAD_FIELD),
        ("gengfu/garden/pump/P1/state", b"{}", Reason.BAD_TOPIC),
        ("gengfu/\ufffd/pump/P1/event", b"{}", Reason.BAD_TOPIC),
    ],
)
async def test_a_bad_message_is_counted_put_aside_acknowledged_and_blocks_nothing(
    line: Line, topic: str, payload: bytes, reason: Reason
) -> None:
    bad, good = line.arrive((topic, payload), flow(1))
    (later,) = line.arrive(flow(2))
    await line.all_acknowledged(3)
    assert line.acknowledged == [bad, good, later]
    assert [reading.fields["flow"] for reading in line.written if "flow" in reading.fields] == [1.0, 2.0]
    assert line.count("gengfu_decode_failures_total", reason=reason.value) == 1
    (kept,) = line.aside
    assert (kept.topic, kept.reason, kept.size) == (topic, reason.value, len(payload))
    assert kept.payload == payload[: 8 * 1024]
    assert kept.received_at == T0 + 1
    assert kept.detail


async def test_of_a_message_with_many_faults_a_few_are_shown_and_the_good_part_is_kept(line: Line) -> None:
    line.arrive((PUMP, f'[{",".join(["7"] * 1000)},{{"at":{T0},"flow":1}}]'))
    await line.all_acknowledged(1)
    assert len(line.aside) == 3
    assert [reading.fields for reading in line.written] == [{"flow": 1.0}]


async def test_a_message_of_nothing_but_rubbish_is_acknowledged(line: Line) -> None:
    line.arrive((PUMP, "rubbish"))
    await line.all_acknowledged(1)
    assert line.written == []


def test_what_the_store_never_takes_is_put_aside_with_its_reason() -> None:
    reading = Reading(parse_topic(PUMP), {"flow": 1.0}, T0, T0 + 1, T0)
    (kept,) = as_quarantined([Refused(reading, "field type conflict")])
    assert (kept.topic, kept.reason, kept.detail) == (PUMP, "refused_by_store", "field type conflict")
    assert (kept.payload, kept.received_at) == (b'{"flow":1.0}', T0 + 1)


async def test_messages_readings_and_doubts_are_counted(line: Line) -> None:
    line.arrive(flow(1), (PUMP, f'[{{"flow":1}},{{"at":{T0},"colour":1}}]'), (PUMP, "rubbish"))
    await line.all_acknowledged(3)
    assert line.count("gengfu_messages_total") == 3
    assert line.count("gengfu_messages_acknowledged_total") == 3
    assert line.count("gengfu_readings_total") == 3
    assert line.count("gengfu_doubtful_readings_total", flag="no_time") == 1
    assert line.count("gengfu_doubtful_readings_total", flag="unknown_field") == 1
    assert line.count("gengfu_acknowledgement_lag_seconds_count") == 1


async def test_topics_that_are_made_up_do_not_fill_the_memory(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_reader, "_KNOWN_TOPICS", 10)
    for number in range(50):
        line.arrive((f"gengfu/garden/pump/P{number}/telemetry", f'{{"at":{T0},"flow":{number}}}'))
    await line.all_acknowledged(50)
    assert [reading.topic.equipment for reading in line.written] == [f"P{number}" for number in range(50)]


# -- the real parts ------------------------------------------------------------------------------------


@pytest.mark.server
async def test_from_broker_to_store_poison_is_passed_by_and_nothing_comes_twice(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """The same with Mosquitto and SQLite; the decision and the quarantine stay fakes."""
    line, store = Line(tmp_path), SqliteStore(tmp_path / "history.db")
    await line.sequences.open()
    await store.open()
    poison = [(PUMP, b"\xff"), (PUMP, b'{"flow":1,"seq":1' + b"0" * 400 + b"}"), ("gengfu/a/b/c/d", b"{}")]
    items = [(PUMP, f'{{"at":{T0 + number},"flow":{number}}}'.encode()) for number in range(3_000)]
    items[1_000:1_000] = poison

    async def set_aside(refused: Sequence[Refused]) -> None:
        raise AssertionError(refused)

    history = HistoryMetrics(CollectorRegistry())
    buffer = WriteBuffer(store, Spool(tmp_path / "spool", 1 << 30, history.lose), set_aside, history)
    await buffer.open()
    for times, published in ((1, items), (2, items[:1])):  # nothing is left over from the first time
        broker = Broker(BrokerAddress(port=mosquitto.port), [SUBSCRIPTION])
        metrics = IngestMetrics(registry := CollectorRegistry())
        collector = Collector(broker, buffer, line.sequences, line.quarantine, metrics, line.decide, line.announce)
        running = asyncio.create_task(broker.run()), asyncio.create_task(collector.run())
        await until(partial(getattr, broker, "connected"), "the broker lets us in")
        await send(mosquitto.port, published)
        done = partial(registry.get_sample_value, "gengfu_messages_acknowledged_total")
        await until(partial(reaches, done, len(published)), "everything is acknowledged")
        await broker.close()
        running[1].cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await parted(mosquitto, times=times)
        assert done() == len(published)
    found = await store.history(Series("garden", "pump", "P1", "telemetry"), "flow", T0, T0 + 3_000, 5_000)
    assert [bucket.mean for bucket in found.buckets] == [float(number) for number in range(3_000)]
    assert sorted(kept.reason for kept in line.aside) == ["bad_field", "bad_topic", "not_json"]
    await buffer.close()
    await store.close()
    await line.sequences.close()


def reaches(figure: Callable[[], float | None], wanted: float) -> bool:
    return (figure() or 0) >= wanted


@pytest.mark.server
async def test_a_third_party_device_is_subscribed_to_and_read_by_its_mapping(
    mosquitto: Mosquitto, line: Line, tmp_path: Path
) -> None:
    decoder = Decoder(load_mappings(["zigbee2mqtt"], Defaults("hq")))
    broker = Broker(BrokerAddress(port=mosquitto.port), decoder.subscriptions)
    sequences = SequenceMemory(tmp_path / "own.db")
    await sequences.open()
    heard: list[tuple[str, int]] = []
    collector = Collector(
        broker, line, sequences, line.quarantine, IngestMetrics(CollectorRegistry()), line.decide,  # type: ignore[arg-type]
        decoder=decoder, receive=lambda message, readings: heard.append((message.topic, len(readings))),
    )  # fmt: skip
    running = asyncio.create_task(broker.run()), asyncio.create_task(collector.run())
    await until(partial(getattr, broker, "connected"), "the broker lets us in")
    await send(mosquitto.port, [("zigbee2mqtt/smoke 1", b'{"smoke":true}'), ("zigbee2mqtt/bridge/config", b"{}"),
                                ("zigbee2mqtt/smoke2", b"[]"), (PUMP, b'{"flow":1}')])  # fmt: skip
    await until(lambda: len(line.written) == 2, "both readings are written")
    assert [str(reading.topic) for reading in line.decided] == [
        f"gengfu/hq/sensor/{code_of('smoke 1')}/telemetry", PUMP,
    ]  # fmt: skip
    assert [kept.reason for kept in line.aside] == ["no_fields"]
    assert heard == [("zigbee2mqtt/smoke 1", 1), ("zigbee2mqtt/smoke2", 0), (PUMP, 1)]
    await broker.close()
    running[1].cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await sequences.close()


async def test_a_topic_that_no_mapping_takes_is_put_aside_with_that_reason(line: Line) -> None:
    line.arrive(("spBv1.0/g/NDATA/n", b"\x08\x01"), flow(1))
    await line.all_acknowledged(2)
    assert [kept.reason for kept in line.aside] == ["no_mapping"]
