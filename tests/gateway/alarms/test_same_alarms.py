"""The same messages give the same alarms, activations and tickets, however busy the machine is that judges them."""

import asyncio
import itertools
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from collectors.wire.reading import Reading
from gateway.alarms.evaluation.progress import Backlog
from gateway.alarms.rules.files import load_rules
from gateway.alarms.rules.rule import Rule, RuleType
from gateway.storage.database import Database
from gateway.storage.tables import activation, alarm, ticket
from tests.builders.alarms import (
    PUMP,
    T0,
    Clock,
    Desk,
    bearing,
    caught_up,
    fire_rule,
    make_rule,
    open_desk,
    panel_event,
    rows_of,
    sample,
    smoke_rule,
    sqlite_address,
)
from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service, wait_until
from tests.servers.wire import send

RULES: list[Rule] = [
    make_rule("pump.hot", on_delay=10_000),
    make_rule("pump.very_hot", above=90.0, deadband=2.0, off_delay=3_000),
    make_rule("pump.off", type=RuleType.STATE, field="mode", values=frozenset({"off"}), on_delay=4_000),
    smoke_rule(),
    fire_rule(),
]
Step = tuple[int, str, float]
"""After how many ms it is measured, what it says, and how many ms later it is received."""
STEPS = st.tuples(
    st.sampled_from([1, 3, 501, 2_003, 6_007, 11_009]),
    st.sampled_from(["60", "84", "95", "off", "auto", "fire", "clear"]),
    st.integers(0, 400),
)
STREAMS = st.lists(STEPS, min_size=2, max_size=9)
ENOUGH_MS = 16_000
TICK_MS = 2_000


def stream(steps: Sequence[Step]) -> list[Reading]:
    """Readings in the order of their measurement, received a little later and in that order."""
    found: list[Reading] = []
    at = received_at = T0
    for number, (after, says, late) in enumerate(steps):
        at += after
        received_at = max(received_at, at + round(late))
        if says in {"fire", "clear"}:
            found.append(panel_event(at, received_at, active=says == "fire", text=str(number)))
        elif says.isdecimal():
            found.append(bearing(float(says), at, received_at))
        else:
            found.append(sample(PUMP, {"mode": says}, at, received_at))
    return found


class Machine:
    """Judges readings in batches, each at a time of its own, with ticks in between."""

    def __init__(self, desk: Desk, readings: list[Reading]) -> None:
        self._desk = desk
        self._left = readings
        backlog = Backlog(lambda: self._left[0].received_at if self._has_come() else 0, lambda: True)
        desk.alarms._progress = backlog.look

    def _has_come(self) -> bool:
        return bool(self._left) and self._left[0].received_at <= self._desk.clock.now

    async def tick_until(self, moment: int) -> None:
        """Let the time pass, with ticks."""
        while self._desk.clock.now + TICK_MS <= moment:
            self._desk.clock.now += TICK_MS
            await self._desk.alarms.tick()
        self._desk.clock.now = max(self._desk.clock.now, moment)

    async def judge(self, count: int, busy_ms: int) -> None:
        """Judge so many readings, the machine being busy with something else before it comes to that."""
        batch, rest = self._left[:count], self._left[count:]
        await self.tick_until(batch[0].received_at)
        await self.tick_until(max(batch[-1].received_at, self._desk.clock.now) + busy_ms)
        self._left = rest
        await self._desk.alarms.decide(batch)
        await self._desk.alarms.tick()


async def outcome(
    file: Path, steps: Sequence[Step], batches: Sequence[tuple[int, int]], *, follow_each: bool
) -> dict[str, Any]:
    """What became of the stream, judged in batches of (readings, ms for which the machine was busy before)."""
    database = Database(sqlite_address(file))
    try:
        desk = await open_desk(database, *RULES, clock=Clock(T0))
        left = stream(steps)
        machine = Machine(desk, left)
        done = 0
        for count, busy_ms in itertools.chain(batches, itertools.repeat((1, 0))):
            if done >= len(left):
                break
            await machine.judge(count, busy_ms)
            done += count
            if follow_each:
                await caught_up(desk)
        await machine.tick_until(desk.clock.now + ENOUGH_MS)
        await caught_up(desk)
        names = ("equipment", "part", "rule")
        return {
            "alarms": sorted(
                tuple(row[name] for name in (*names, "state", "raised_at", "activations", "value"))
                for row in await rows_of(database, alarm)
            ),
            "activations": sorted(
                tuple(row[name] for name in (*names, "started_at", "ended_at", "damped", "disproved", "value"))
                for row in await rows_of(database, activation)
            ),
            "tickets": sorted((row["type"], row["open_key"]) for row in await rows_of(database, ticket)),
        }
    finally:
        await database.close()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=STREAMS,
    batches=st.lists(st.tuples(st.integers(1, 6), st.sampled_from([0, 700, 12_000])), max_size=4),
    follow_each=st.booleans(),
)
@example(steps=[(1, "84", 0), (3, "60", 0)], batches=[(1, 0), (1, 12_000)], follow_each=False)  # waits while it is hot
@example(steps=[(1, "84", 0), (11_009, "60", 0)], batches=[(2, 0)], follow_each=False)  # a batch shows what a tick did
@example(steps=[(1, "95", 0), (1, "60", 0)] * 3, batches=[(2, 0), (2, 12_000), (2, 12_000)], follow_each=True)
def test_alarms_depend_neither_on_batches_nor_on_ticks_nor_on_how_busy_the_machine_is(
    migrated_file: Path,
    tmp_path: Path,
    steps: list[Step],
    batches: list[tuple[int, int]],
    follow_each: bool,
) -> None:
    found: list[dict[str, Any]] = []
    for number, (cut, following) in enumerate([([], True), (batches, follow_each)]):
        file = tmp_path / f"{number}.db"
        for old in tmp_path.glob(f"{file.name}*"):
            old.unlink()
        shutil.copy(migrated_file, file)
        found.append(asyncio.run(outcome(file, steps, cut, follow_each=following)))
    assert found[1] == found[0]


def test_a_shipped_limit_below_a_higher_one_of_the_same_field_is_suppressed_by_it() -> None:
    rules = [rule for rule in load_rules(()) if rule.type is RuleType.LIMIT and not rule.life_safety]
    pairs = [
        (lower, higher)
        for lower in rules
        for higher in rules
        if (lower.kind, lower.field) == (higher.kind, higher.field)
        and (lower.above < higher.above < float("inf") or -float("inf") < higher.below < lower.below)
    ]
    assert [(lower.id, higher.id) for lower, higher in pairs] == [("pump.bearing_hot", "pump.bearing_very_hot")]
    assert all(higher.id in lower.suppressed_by for lower, higher in pairs)


HELD_S = 4.0
"""Longer than the delay of the rule below, and than a process may be held up without noticing."""
SITE_RULES = """
rules:
  - id: pump.warm
    kind: pump
    type: limit
    field: bearing_temperature
    above: 80
    on_delay: 2s
    suppressed_by: [pump.bearing_very_hot]
    priority: high
    ticket: repair
    title: {en: Warm, zh-CN: 温}
    advice: {en: Look., zh-CN: 看。}
    source: a test
"""


@pytest.mark.server
def test_one_hot_bearing_asks_once_though_the_service_is_held_up_while_messages_wait(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Pump 19 is beyond both limits in the end; pump 7 was hot, and is denied by a message that waits meanwhile."""
    rules = tmp_path / "site.rules.yaml"
    rules.write_text(SITE_RULES, encoding="utf-8")
    service = Service(tmp_path / "data", mosquitto.port, "--rules", str(rules)).start_ready()
    now = time.time_ns() // 1_000_000
    items = [
        (
            f"gengfu/hq/pump/P-{one % 20}/telemetry",
            f'{{"at":{now + one // 20},"bearing_temperature":{hot(one)}}}'.encode(),
        )
        for one in range(4_000)
    ]
    try:
        asyncio.run(send(mosquitto.port, items[:2_000]))
        wait_until(lambda: service.metric("gengfu_messages_acknowledged_total") >= 2_000, "the first half is judged")
        service.pause()
        asyncio.run(send(mosquitto.port, items[2_000:]))
        time.sleep(HELD_S)  # nothing but time may end the delay, and the process must not run meanwhile
        service.resume()
        wait_until(lambda: service.metric("gengfu_messages_acknowledged_total") >= 4_000, "all is judged")
        wait_until(lambda: len(bearings(service)) == 2, "the delay of the lower limit is over")
        assert {row["equipment"] for row in bearings(service)} == {"hq:P-19"}, "pump 7 was hot for a millisecond"
        assert [row["rule"] for row in bearings(service) if row["annunciated"]] == ["pump.bearing_very_hot"]
        assert len(service.get("/api/v1/tickets")["items"]) == 1
    finally:
        service.stop()


def hot(number: int) -> float:
    return 95.0 if number == 3_999 else 85.0 if number == 1_987 else 55.0


def bearings(service: Service) -> list[dict[str, Any]]:
    found = service.get("/api/v1/alarms")["items"]
    return [row for row in found if row["rule"] in {"pump.warm", "pump.bearing_very_hot"}]
