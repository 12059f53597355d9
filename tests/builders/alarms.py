"""Builders that the gateway's tests share: rules, readings, a database, and the owner's side of alarms and tickets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry
from sqlalchemy import Table, select

from collectors.payloads.native import decode
from collectors.wire.fields import Kind
from collectors.wire.reading import Reading, Value
from collectors.wire.topics import parse_topic
from gateway.alarms.alarm_counters import AlarmCounters
from gateway.alarms.alarms import Alarms
from gateway.alarms.built_in.rule_failures import Failures
from gateway.alarms.rules.rule import Priority, Rule, RuleType, TicketWish
from gateway.equipment.estate import Estate
from gateway.people.audit.entry import Cause, Via
from gateway.storage.database import Database
from gateway.storage.leadership import lease
from gateway.storage.outbox.outbox import OutboxMetrics, newest_fact
from gateway.storage.received.quarantine import Quarantine
from gateway.tickets.tickets import Tickets

T0 = 1_763_800_000_000
"""2025-11-22 08:26:40 UTC."""
WINDOW_MS = 60_000
OPERATOR = Cause("demo:operator", Via.WEB, "192.0.2.7")

PUMP = "gengfu/HQ/pump/P-1/telemetry"
PUMP_STATUS = "gengfu/HQ/pump/P-1/status"
PANEL = "gengfu/HQ/fire_panel/FP-1/event"
SMOKE = "gengfu/HQ/sensor/S-1/telemetry"


class Clock:
    """Stands still until it is set."""

    def __init__(self, now: int = T0) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def make_rule(identity: str = "pump.hot", **changes: Any) -> Rule:
    """A limit rule on a pump's bearing (above 80, deadband 5), with changes."""
    given: dict[str, Any] = {
        "id": identity,
        "kind": Kind.PUMP,
        "type": RuleType.LIMIT,
        "title": {"en": identity, "zh-CN": identity},
        "advice": {"en": "Look.", "zh-CN": "查看。"},
        "priority": Priority.HIGH,
        "source": "a test",
        "field": "bearing_temperature",
        "above": 80.0,
        "deadband": 5.0,
        "ticket": TicketWish.REPAIR,
    }
    if changes.get("type", RuleType.LIMIT) is not RuleType.LIMIT:
        del given["above"], given["deadband"], given["field"]
    if "below" in changes:
        del given["above"]
    return Rule(**given | changes)


def fire_rule(**changes: Any) -> Rule:
    """Fire, point by point, with an emergency ticket."""
    given: dict[str, Any] = {
        "kind": Kind.FIRE_PANEL,
        "type": RuleType.EVENT,
        "match": {"type": frozenset({"fire"})},
        "per": ("loop", "address"),
        "priority": Priority.CRITICAL,
        "ticket": TicketWish.EMERGENCY,
        "playbook": "fire",
    }
    return make_rule("fire_panel.fire", **given | changes)


def smoke_rule(**changes: Any) -> Rule:
    """A state rule of life safety."""
    given: dict[str, Any] = {
        "kind": Kind.SENSOR,
        "type": RuleType.STATE,
        "field": "smoke",
        "values": frozenset({True}),
        "priority": Priority.CRITICAL,
        "ticket": TicketWish.EMERGENCY,
    }
    return make_rule("sensor.smoke", **given | changes)


def sample(topic: str, fields: dict[str, Value], at: int, received_at: int | None = None, quality: int = 0) -> Reading:
    """A reading of periodic state, received when it was measured unless said otherwise."""
    received_at = at if received_at is None else received_at
    return Reading(parse_topic(topic), dict(fields), at, received_at, at * 1_000_000, None, quality)


def bearing(celsius: float, at: int, received_at: int | None = None, pump: str = "P-1") -> Reading:
    return sample(PUMP.replace("P-1", pump), {"bearing_temperature": float(celsius)}, at, received_at)


def panel_event(at: int, received_at: int | None = None, **fields: Any) -> Reading:
    """An event of the fire panel as it comes off the wire: with its digest."""
    body = {"at": at, "type": "fire", "loop": "1", "address": "23", **fields}
    payload = encode({name: value for name, value in body.items() if value is not None})
    (reading,) = decode(parse_topic(PANEL), payload, at if received_at is None else received_at).readings
    return reading


def encode(body: Any) -> bytes:
    return msgspec.json.encode(body)


async def rows_of(database: Database, table: Table) -> list[dict[str, Any]]:
    """Every row of a table, in the order of its key."""
    async with database.reading() as connection:
        found = await connection.execute(select(table).order_by(*table.primary_key.columns))
        return [dict(row) for row in found.mappings()]


async def only_row(database: Database, table: Table) -> dict[str, Any]:
    (row,) = await rows_of(database, table)
    return row


class Desk:
    """The owner's side on one database: alarms and tickets under one lease and one clock."""

    def __init__(
        self,
        database: Database,
        rules: Sequence[Rule],
        clock: Clock,
        epoch: int,
        steps: Callable[[], int],
        estate: Callable[[], Estate],
    ) -> None:
        self.database = database
        self.clock = clock
        self.epoch = epoch
        self.registry = CollectorRegistry()
        metrics, failures = OutboxMetrics(self.registry), Failures(self.registry, clock)
        self.alarms = Alarms(
            database, rules, WINDOW_MS, epoch, AlarmCounters(self.registry), metrics, failures,
            Quarantine(database, self.registry), clock, steps=steps, estate=estate,
        )  # fmt: skip
        self.tickets = Tickets(database, epoch, metrics, clock)

    async def decide(self, *readings: Reading) -> None:
        """Decide on readings; the clock goes on to when the last one was received."""
        self.clock.now = max(self.clock.now, *(reading.received_at for reading in readings))
        await self.alarms.decide(readings)

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Tickets follow alarms and alarms follow tickets, while the block lasts."""
        tasks = [
            asyncio.create_task(self.tickets.follow_alarms()),
            asyncio.create_task(self.alarms.follow_tickets()),
            asyncio.create_task(self.alarms.suppressor.follow()),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            failed = [found for found in results if isinstance(found, Exception)]
            assert not failed, failed


async def open_desk(
    database: Database,
    *rules: Rule,
    clock: Clock | None = None,
    steps: Callable[[], int] = lambda: 0,
    estate: Callable[[], Estate] = Estate,
) -> Desk:
    """Take the lease and take up the rules' memory, as an owner does when it starts."""
    clock = clock or Clock()
    epoch = await lease.take(database, "test", clock.now)
    assert epoch is not None
    desk = Desk(database, rules, clock, epoch, steps, estate)
    await desk.alarms.load()
    return desk


async def caught_up(desk: Desk) -> None:
    """Let every follower work off every fact there is."""
    async with desk.following():
        while True:
            newest = await newest_fact(desk.database)
            consumers = (desk.tickets._consumer, desk.alarms._tickets, desk.alarms.suppressor._consumer)
            if min(consumer.place for consumer in consumers) >= newest:
                return
            await asyncio.sleep(0.005)


def sqlite_address(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"
