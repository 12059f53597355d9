"""A babbling device: what of it passes, when it begins and ends, and that its neighbours feel nothing of it."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from collectors.babbling import GRACE_MS, QUIET_MS, SUSTAINED_MS, TURN_MS, Babble, Babbling, Sender
from collectors.collector import Collector, as_sent
from collectors.message_reader import Quarantined
from collectors.metrics import IngestMetrics
from collectors.mqtt.broker import Broker, BrokerAddress
from collectors.sequences import SequenceMemory
from collectors.wire.fields import Kind
from collectors.wire.reading import Quality, Reading, Value
from collectors.wire.topics import SUBSCRIPTION, Topic, parse_topic
from gateway.alarms.rules.files import load_rules
from gateway.equipment.ledger import Equipment, Ledger
from gateway.storage.database import Database
from gateway.storage.tables import activation, alarm
from gateway.supervision.message_rates import event_of, protected_fields, still_babbling
from tests.builders.alarms import T0, bearing, fire_rule, make_rule, only_row, open_desk, rows_of, sample
from tests.servers.mosquitto import Mosquitto
from tests.servers.waiting import until
from tests.servers.wire import send

LIMIT = 100
PUMP = "gengfu/HQ/pump/{}/telemetry"
LOUD = Sender("HQ", "P-1", "pump")


class Line:
    """Babbling with a clock: each second so many samples."""

    def __init__(self, **options: Any) -> None:
        self.said: list[Babble] = []
        self.now = T0
        self.address = options.pop("address", as_sent)
        given: dict[str, Any] = {"protected": {Kind.PUMP: {"drive_fault"}}, "grace_ms": 0, **options}
        self.babbling = Babbling(LIMIT, make_event=self._make_event, now=self.now, **given)

    def _make_event(self, babble: Babble, now: int) -> Reading:
        self.said.append(babble)
        return event_of(babble, now)

    def second(self, samples: Sequence[dict[str, Value]], topic: str = PUMP.format("P-1")) -> list[Reading]:
        """A second with these samples, spread over it; what of them passes, and what the turn adds."""
        passed: list[Reading] = []
        for number, fields in enumerate(samples):
            at = self.now + number * TURN_MS // len(samples)
            self.babbling.count([topic], 1, at)
            reading = sample(topic, fields, at)
            reading.topic = self.address(reading.topic)
            passed += self.babbling.sift([reading], at)
        self.now += TURN_MS
        passed += self.babbling.turn(self.now, self.sender_of)
        return passed

    def sender_of(self, text: str) -> Topic | None:
        return self.address(parse_topic(text))

    def become_loud(self) -> None:
        while not self.said:
            self.second(noise(5 * LIMIT))


def noise(count: int) -> list[dict[str, Value]]:
    return [{"flow": float(number)} for number in range(count)]


def test_what_is_above_the_limit_for_long_enough_is_told_once() -> None:
    line = Line()
    for _ in range(SUSTAINED_MS // TURN_MS):
        assert len(line.second(noise(500))) == 500, "nothing is left out before it is told"
    assert line.said == []
    line.second(noise(500))
    for _ in range(5):
        line.second(noise(500))
    assert line.said == [Babble(LOUD, began=True, rate=500)]


def test_of_the_telemetry_the_newest_of_each_second_passes_and_the_rest_is_counted() -> None:
    line = Line()
    line.become_loud()
    before = line.babbling.sampled
    passed = [reading for _ in range(10) for reading in line.second(noise(500))]
    assert 10 <= len(passed) <= 21
    line.second([])
    held = line.babbling.sampled - before
    assert held + len(passed) in (5000, 4999), "the newest one may still be held"
    values = [reading.fields["flow"] for reading in passed]
    assert values.count(499.0) >= 9, "the last of a second is among them"


def test_a_clock_that_is_set_back_neither_holds_values_back_nor_ends_the_count() -> None:
    line = Line()
    line.become_loud()
    line.now -= 3_600_000
    passed = [reading for _ in range(5) for reading in line.second(noise(500))]
    assert len(passed) >= 4, "one a second, as before"
    while len(line.said) < 2:
        line.second([])
    assert line.said[1] == Babble(LOUD, began=False, rate=0)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["auto", "off"]), st.sampled_from([0.0, 7.0])), min_size=1))
def test_every_change_of_a_boolean_a_text_and_a_protected_number_passes(changes: list[tuple[bool, str, float]]) -> None:
    line = Line()
    line.become_loud()
    samples: list[dict[str, Value]] = [
        {"running": running, "mode": mode, "drive_fault": fault, "flow": float(number)}
        for number, (running, mode, fault) in enumerate(changes)
    ]
    passed = line.second(samples)

    def runs(of: Sequence[dict[str, Value]]) -> list[Any]:
        seen: list[Any] = []
        for fields in of:
            state = (fields["running"], fields["mode"], fields["drive_fault"])
            if not seen or seen[-1] != state:
                seen.append(state)
        return seen

    assert runs([reading.fields for reading in passed if "running" in reading.fields]) == runs(samples)


def test_events_and_status_are_never_sampled() -> None:
    line = Line()
    line.become_loud()
    for channel in ("event", "status"):
        topic = f"gengfu/HQ/pump/P-1/{channel}"
        assert len(line.second([{"online": True}] * 300, topic)) >= 300


def test_it_ends_by_itself_when_it_has_been_quiet_and_gives_out_what_it_held() -> None:
    line = Line()
    line.become_loud()
    line.second(noise(500))
    seconds = 0
    while len(line.said) < 2:
        line.second(noise(LIMIT // 2 - 1))
        seconds += 1
    assert not line.said[-1].began
    assert QUIET_MS <= seconds * TURN_MS <= QUIET_MS + 2 * TURN_MS
    assert len(line.second(noise(50))) == 50
    assert not line.babbling.restless


def test_between_half_the_limit_and_the_limit_nothing_changes() -> None:
    line = Line()
    line.become_loud()
    for _ in range(30):
        line.second(noise(80))
    assert len(line.said) == 1
    line = Line()
    for _ in range(30):
        line.second(noise(80))
    assert line.said == []


def test_a_burst_is_no_babbling() -> None:
    line = Line()
    for _ in range(3):
        line.second(noise(2000))
    for _ in range(20):
        line.second(noise(1))
    assert line.said == []
    assert line.babbling.sampled == 0


def test_what_was_measured_at_a_permitted_pace_is_no_babbling_however_fast_it_comes() -> None:
    line, topic = Line(), PUMP.format("P-1")
    for _ in range(20):
        for number in range(500):  # one an hour ago, one a second later, ...
            line.babbling.count([topic], 1, line.now)
            line.babbling.sift([sample(topic, {"flow": 1.0}, T0 - 3_600_000 + number * 1000, line.now)], line.now)
        line.now += TURN_MS
        line.babbling.turn(line.now, parse_topic)
    assert line.said == []


def test_nobody_is_judged_by_what_the_broker_had_kept() -> None:
    line = Line(grace_ms=GRACE_MS)
    for _ in range(GRACE_MS // TURN_MS - 1):
        topic = PUMP.format("P-1")
        line.babbling.count([topic] * 500, 1, line.now)
        line.babbling.sift([sample(topic, {"flow": 1.0}, line.now, quality=int(Quality.NO_TIME))], line.now)
        line.now += TURN_MS
        line.babbling.turn(line.now, parse_topic)
    assert line.said == []


def test_neighbours_are_not_touched() -> None:
    line = Line()
    line.become_loud()
    others = [sample(PUMP.format(f"P-{number}"), {"flow": 1.0}, line.now) for number in range(2, 202)]
    assert line.babbling.sift(others, line.now) == others


def test_who_babbled_before_a_restart_has_to_be_seen_quiet() -> None:
    line = Line(babbling=[LOUD])
    for _ in range(QUIET_MS // TURN_MS):
        line.second([])
    assert line.said == [Babble(LOUD, began=False, rate=0)]


def test_rubbish_counts_though_nothing_of_it_can_be_read() -> None:
    line, topic = Line(), PUMP.format("P-1")
    while not line.said:
        line.babbling.count([topic] * 500, 1, line.now)
        line.now += TURN_MS
        line.babbling.turn(line.now, parse_topic)
    assert line.now - T0 <= SUSTAINED_MS + 2 * TURN_MS


def test_what_rules_of_life_safety_look_at_is_protected() -> None:
    protected = protected_fields(load_rules(()))
    assert protected[Kind.ELEVATOR] >= {"alarm_button", "fault_code", "moving", "occupied", "door"}
    assert protected[Kind.SENSOR] == {"smoke", "gas", "carbon_monoxide", "heat", "panic"}


async def test_one_alarm_names_the_device_and_ends_with_it(database: Database) -> None:
    (rule,) = [rule for rule in load_rules(()) if rule.id == "system.babbling"]
    desk, ledger = await open_desk(database, rule), Ledger(database, 10, "UTC")
    await desk.decide(event_of(Babble(LOUD, began=True, rate=5012), T0))
    await ledger.meet([bearing(20, T0)], T0)
    assert await still_babbling(database, ledger) == [LOUD]
    await desk.decide(event_of(Babble(LOUD, began=False, rate=3), T0 + 60_000))
    row = await only_row(database, alarm)
    assert (row["part"], row["value"], row["active"]) == ("HQ:P-1", "5012 messages a second", False)
    assert await still_babbling(database, ledger) == []


async def test_a_renamed_device_babbles_under_its_code_of_today_and_what_stands_under_the_former_one_ends(
    database: Database,
) -> None:
    (rule,) = [rule for rule in load_rules(()) if rule.id == "system.babbling"]
    desk, ledger = await open_desk(database, rule), Ledger(database, 10, "UTC")
    renamed = Equipment("HQ", "CW-01", "pump", {"en": "Pump", "zh-CN": "泵"}, former_codes=["P-1"])
    ledger.replace((), [renamed])
    line = Line(address=ledger.address_of)
    line.become_loud()
    assert [babble.who for babble in line.said] == [LOUD._replace(equipment="CW-01")]
    assert len(line.second(noise(500))) < LIMIT, "it is sampled too"
    await desk.decide(event_of(Babble(LOUD, began=True, rate=500), T0))
    assert await still_babbling(database, ledger) == [LOUD], "by the code that its alarm names"


# -- with Mosquitto ------------------------------------------------------------------------------------

FIRES, NEIGHBOURS, NOISE = 5, 200, 5_000


@contextlib.asynccontextmanager
async def listening(database: Database, folder: Path, port: int, registry: CollectorRegistry) -> AsyncIterator[Any]:
    """A real broker and collector before real decisions; what is written is only kept in a list."""
    (rule,) = [rule for rule in load_rules(()) if rule.id == "system.babbling"]
    desk = await open_desk(database, rule, make_rule(), fire_rule())
    written: list[Reading] = []

    async def decide(readings: Sequence[Reading]) -> None:
        desk.clock.now = time.time_ns() // 1_000_000
        await desk.alarms.decide(readings)

    class Keeper:
        async def write(self, readings: Sequence[Reading]) -> None:
            written.extend(readings)

    async def put_aside(_messages: Sequence[Quarantined]) -> None:
        return

    sequences = SequenceMemory(folder / "sequences.db")
    await sequences.open()
    broker = Broker(BrokerAddress(port=port), [SUBSCRIPTION])
    babbling = Babbling(LIMIT, {}, event_of, now=time.time_ns() // 1_000_000, grace_ms=0)
    collector = Collector(
        broker, Keeper(), sequences, put_aside, IngestMetrics(registry), decide, babbling=babbling
    )  # fmt: skip
    tasks = [asyncio.create_task(broker.run()), asyncio.create_task(collector.run())]
    try:
        await until(lambda: broker.connected, "the broker has us")
        yield written, babbling
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await broker.close()
        await sequences.close()


async def latencies(database: Database, port: int, first: int) -> float:
    """Raise fires one after the other, among normal neighbours; the median of the seconds until each is committed."""
    took: list[float] = []
    for number in range(first, first + FIRES):
        now = time.time_ns() // 1_000_000
        usual = [(PUMP.format(f"N-{one}"), b'{"at":%d,"flow":1}' % now) for one in range(NEIGHBOURS)]
        began = time.monotonic()
        await send(port, [*usual, ("gengfu/HQ/fire_panel/FP-1/event", b'{"type":"fire","address":"%d"}' % number)])

        async def is_there(part: str = f"-{number}") -> bool:
            return any(row["part"] == part for row in await rows_of(database, alarm))

        while not await is_there():
            assert time.monotonic() - began < 20
            await asyncio.sleep(0.01)
        took.append(time.monotonic() - began)
    return statistics.median(took)


@pytest.mark.server
async def test_a_device_with_five_thousand_messages_a_second_is_one_alarm_and_fires_beside_it_are_heard(
    database: Database, tmp_path: Path
) -> None:
    mosquitto, registry = Mosquitto(tmp_path / "mosquitto").start(), CollectorRegistry()
    try:
        async with listening(database, tmp_path, mosquitto.port, registry) as (written, babbling):
            quiet = await latencies(database, mosquitto.port, 0)
            stop, sent = asyncio.Event(), [0]

            async def babble() -> None:
                while not stop.is_set():
                    began = time.monotonic()
                    now = time.time_ns() // 1_000_000
                    await send(
                        mosquitto.port,
                        [
                            (PUMP.format("P-1"), b'{"at":%d,"seq":%d,"flow":1}' % (now, sent[0] + one))
                            for one in range(NOISE)
                        ],
                    )
                    sent[0] += NOISE
                    await asyncio.sleep(max(0, 1 - (time.monotonic() - began)))

            babbler = asyncio.create_task(babble())
            await until(lambda: babbling.sampled > NOISE, "the noise is sampled", 60)
            loud = await latencies(database, mosquitto.port, FIRES)
            stop.set()
            await babbler
            rows = await rows_of(database, alarm)
            assert [row["part"] for row in rows if row["rule"] == "system.babbling"] == ["HQ:P-1"]
            assert loud < 10 * quiet + 2, "a loose bound: tests share the machine"
            total, acknowledged = sent[0] + 2 * FIRES * (NEIGHBOURS + 1), "gengfu_messages_acknowledged_total"
            await until(lambda: registry.get_sample_value(acknowledged) == total, "all is acknowledged", 30)

            def accounted_for() -> bool:
                return sum(one.topic.equipment == "P-1" for one in written) + babbling.sampled == sent[0]

            await until(accounted_for, "each reading of the noise is written or counted")
            assert len([one for one in written if one.topic.equipment.startswith("N-")]) == 2 * FIRES * NEIGHBOURS
            assert len(await rows_of(database, activation)) == 2 * FIRES + 1
    finally:
        mosquitto.stop()
