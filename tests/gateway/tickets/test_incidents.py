"""Life-safety alarms of one place are one incident with one emergency, whatever the number of sensors and rules."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.wire.fields import Kind
from collectors.wire.reading import Reading
from gateway.alarms.lifecycle.operator_actions import acknowledge
from gateway.alarms.rules.rule import Priority, Rule, RuleType, TicketWish
from gateway.equipment.ledger import Equipment, Ledger, Site
from gateway.people.audit.entry import CLOCK
from gateway.storage.database import Database
from gateway.storage.tables import alarm, consumer_offset, journal, ticket, ticket_activation, ticket_alarm
from gateway.tickets.incident_place import Reason, Scope, area_of, gathering_of
from gateway.tickets.lifecycle.states import Action
from gateway.tickets.tickets import FACTS_TAKE_MS, act
from tests.builders.alarms import (
    OPERATOR,
    T0,
    Desk,
    caught_up,
    make_rule,
    only_row,
    open_desk,
    rows_of,
    sample,
    smoke_rule,
)

ROOM, OTHER = "Tower 3, 12F, plant room", "Tower 3, 12F, store"
SENSORS = 32


def state_rule(field: str, **changes: Any) -> Rule:
    """A field that is true, as life safety with an emergency."""
    given: dict[str, Any] = {
        "kind": Kind.SENSOR, "type": RuleType.STATE, "field": field, "values": frozenset({True}),
        "priority": Priority.CRITICAL, "ticket": TicketWish.EMERGENCY, "playbook": "fire",
    }  # fmt: skip
    return make_rule(f"sensor.{field}", **given | changes)


SMOKE, HEAT = smoke_rule(playbook="fire"), state_rule("heat")
CO, PANIC = state_rule("carbon_monoxide", playbook="carbon_monoxide"), state_rule("panic", playbook="sos")
HOT = state_rule("hot", priority=Priority.HIGH, ticket=TicketWish.REPAIR, playbook="")
LIFT = state_rule("alarm_button", kind=Kind.ELEVATOR, playbook="lift_entrapment")
RULES = (SMOKE, HEAT, CO, PANIC, HOT, LIFT)


def sensor(number: int, at: int = T0, kind: str = "sensor", **fields: bool) -> Reading:
    return sample(f"gengfu/HQ/{kind}/S-{number}/telemetry", dict(fields), at)


def burning(number: int, at: int = T0) -> Reading:
    """Three rules of life safety and one of repair at once."""
    return sensor(number, at, smoke=True, heat=True, carbon_monoxide=True, hot=True)


async def place(database: Database, places: dict[int, str], kind: Kind = Kind.SENSOR) -> None:
    items = [
        Equipment("HQ", f"S-{number}", kind, {"en": "S", "zh-CN": "S"}, {"en": text, "zh-CN": text})
        for number, text in places.items()
    ]
    site = Site("HQ", {"en": "HQ", "zh-CN": "HQ"}, "UTC")
    await Ledger(database, 10, "UTC").enter([site], items, CLOCK, T0)


async def kinds_of(desk: Desk) -> list[str]:
    return [row["type"] for row in await rows_of(desk.database, ticket)]


async def tick(desk: Desk) -> None:
    desk.clock.now += FACTS_TAKE_MS
    await desk.tickets.tick()


async def end(desk: Desk, *steps: Action) -> None:
    """Take the only emergency through steps of its life."""
    for step in steps:
        row = next(row for row in await rows_of(desk.database, ticket) if row["type"] == "emergency")
        await act(desk.database, row["number"], step, row["version"], "", OPERATOR, desk.clock.now)


# -- one room ------------------------------------------------------------------------------------------


async def test_32_sensors_of_one_room_with_three_rules_each_are_one_emergency_and_no_repair(
    database: Database,
) -> None:
    await place(database, dict.fromkeys(range(SENSORS), ROOM))
    desk = await open_desk(database, *RULES)
    await desk.decide(*(burning(number) for number in range(SENSORS)))
    await caught_up(desk)
    await tick(desk)
    row = await only_row(database, ticket)
    assert (row["type"], row["open_key"]) == ("emergency", "HQ/place:tower 3 12f plant room")
    alarms = await rows_of(database, alarm)
    assert {(found["active"], found["annunciated"], found["state"]) for found in alarms} == {
        (True, True, "unacknowledged")
    }
    assert len(alarms) == len(await rows_of(database, ticket_alarm)) == 4 * SENSORS, "each alarm stays in the list"
    assert len(await rows_of(database, ticket_activation)) == 3 * SENSORS, (
        "each activation of life safety has its ticket"
    )
    lines = [line for line in await rows_of(database, journal) if line["subject"] == "ticket"]
    assert [line["event"] for line in lines] == ["opened"] + ["alarm_joined"] * (4 * SENSORS - 1)
    assert sum("(same place)" in line["note"] for line in lines) == 3 * SENSORS - 1
    assert sum("(same sensor)" in line["note"] for line in lines) == SENSORS


async def test_two_rooms_are_two_emergencies_and_an_unknown_place_joins_neither(database: Database) -> None:
    await place(database, {0: ROOM, 1: "TOWER 3 · 12F · Plant  Room", 2: OTHER, 3: "", 4: "unknown"})
    desk = await open_desk(database, *RULES)
    await desk.decide(*(burning(number) for number in range(6)))  # S-5 is in no ledger
    await caught_up(desk)
    assert sorted(row["open_key"] for row in await rows_of(database, ticket)) == [
        "HQ/S-3/incident", "HQ/S-4/incident", "HQ/S-5/incident",
        "HQ/place:tower 3 12f plant room", "HQ/place:tower 3 12f store",
    ]  # fmt: skip


async def test_facts_and_ticks_at_once_open_one_emergency_of_a_room(database: Database) -> None:
    await place(database, dict.fromkeys(range(8), ROOM))
    desk = await open_desk(database, *RULES)
    for number in range(8):
        await desk.decide(burning(number, T0 + number))
    async with desk.following():
        await asyncio.gather(*(tick(desk) for _ in range(4)))
    await caught_up(desk)
    await tick(desk)
    assert await kinds_of(desk) == ["emergency"]
    assert len(await rows_of(database, ticket_activation)) == 24


async def test_what_is_killed_between_alarm_and_ticket_is_joined_after_the_restart(database: Database) -> None:
    """Nobody follows the facts of the second sensor until another owner starts; the first ones come again."""
    await place(database, {0: ROOM, 1: ROOM})
    first = await open_desk(database, *RULES)
    await first.decide(burning(0))
    await caught_up(first)
    await first.decide(burning(1, T0 + 1))
    async with database.transaction() as connection:
        await connection.execute(consumer_offset.update().values(fact=0))
    second = await open_desk(database, *RULES)
    await caught_up(second)
    assert await kinds_of(second) == ["emergency"]
    assert len(await rows_of(database, ticket_activation)) == 6


async def test_an_emergency_that_is_resolved_gathers_no_new_fire(database: Database) -> None:
    await place(database, {0: ROOM, 1: ROOM})
    desk = await open_desk(database, *RULES)
    await desk.decide(sensor(0, smoke=True))
    await caught_up(desk)
    await end(desk, Action.ACKNOWLEDGE, Action.RESPOND, Action.ARRIVE, Action.CONTAIN, Action.RESOLVE)
    await desk.decide(sensor(1, T0 + 1, smoke=True))
    await caught_up(desk)
    assert [row["state"] for row in await rows_of(database, ticket)] == ["resolved", "open"]


async def test_an_alarm_stays_with_its_emergency_when_its_place_is_named_anew(database: Database) -> None:
    await place(database, {0: ROOM})
    desk = await open_desk(database, *RULES)
    await desk.decide(sensor(0, smoke=True))
    await caught_up(desk)
    await place(database, {0: OTHER})
    await desk.decide(sensor(0, T0 + 1, smoke=False), sensor(0, T0 + 2, smoke=True))
    await caught_up(desk)
    assert await kinds_of(desk) == ["emergency"]


async def test_the_most_urgent_playbook_wins(database: Database) -> None:
    await place(database, {0: ROOM, 1: ROOM})
    desk = await open_desk(database, *RULES)
    for number, field in ((0, "carbon_monoxide"), (1, "smoke"), (0, "heat")):
        await desk.decide(sensor(number, T0 + number, "sensor", **{field: True}))
        await caught_up(desk)
    row = await only_row(database, ticket)
    assert (row["playbook"], row["title"]["en"]) == ("fire", "sensor.smoke")


async def test_a_lift_and_a_call_for_help_never_join_the_fire_of_their_room(database: Database) -> None:
    await place(database, {0: ROOM, 1: ROOM})
    await place(database, {2: ROOM}, Kind.ELEVATOR)
    desk = await open_desk(database, *RULES)
    await desk.decide(sensor(0, smoke=True), sensor(1, panic=True), sensor(2, kind="elevator", alarm_button=True))
    await caught_up(desk)
    assert sorted(row["open_key"] for row in await rows_of(database, ticket)) == [
        "HQ/S-1/call", "HQ/S-2/call", "HQ/place:tower 3 12f plant room",
    ]  # fmt: skip


# -- one sensor ----------------------------------------------------------------------------------------


async def test_a_repair_of_a_sensor_waits_for_its_emergency_and_opens_when_that_is_over(database: Database) -> None:
    await place(database, {0: ROOM, 1: ROOM})
    desk = await open_desk(database, *RULES)
    await desk.decide(sensor(0, smoke=True))
    await caught_up(desk)
    await desk.decide(sensor(0, T0 + 1, smoke=True, hot=True), sensor(1, T0 + 1, hot=True))
    await caught_up(desk)
    await tick(desk)
    repairs = [row["equipment"] for row in await rows_of(database, ticket) if row["type"] == "repair"]
    assert repairs == ["S-1"], "another sensor's repair waits for nothing"
    await end(desk, Action.STAND_DOWN)
    await tick(desk)
    await tick(desk)
    repairs = [row["equipment"] for row in await rows_of(database, ticket) if row["type"] == "repair"]
    assert sorted(repairs) == ["S-0", "S-1"]


async def test_acknowledging_what_waits_for_a_repair_answers_for_no_emergency(database: Database) -> None:
    await place(database, {0: ROOM})
    desk = await open_desk(database, *RULES)
    await desk.decide(sensor(0, smoke=True, hot=True))
    await caught_up(desk)
    hot = next(row for row in await rows_of(database, alarm) if row["rule"] == HOT.id)
    await acknowledge(database, hot["id"], hot["version"], "", OPERATOR, T0 + 9)
    await caught_up(desk)
    assert (await only_row(database, ticket))["state"] == "open"


# -- place ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "floor", "building"),
    [
        ("Tower 3, 12F, plant room", "tower 3 12f", "tower 3"),
        ("Tower 3 / B2 / pump room", "tower 3 b2", "tower 3"),
        ("3号楼12层水泵房", "3号楼12层", "3号楼"),
        ("3号楼地下1层水泵房", "3号楼地下1层", "3号楼"),
        ("A座 5楼 501", "a座 5楼", "a座"),
        ("Block B, 3rd floor, kitchen", "block b 3rd floor", "block b"),
        ("12F, plant room", "12f", "12f"),  # which building it is nobody says
        ("plant room", "plant room", "plant room"),
        ("3号楼", "3号楼", "3号楼"),
        ("", "", ""),
        ("未知", "", ""),
    ],
)
def test_floor_and_building_are_read_from_a_place_and_never_guessed(text: str, floor: str, building: str) -> None:
    assert (area_of(text, "", Scope.FLOOR), area_of(text, "", Scope.BUILDING)) == (floor, building)


def test_a_zone_is_that_of_its_building_and_without_one_the_room_counts() -> None:
    assert area_of(ROOM, "Zone 2", Scope.ZONE) == "tower 3 zone zone 2"
    assert area_of(ROOM, "", Scope.ZONE) == area_of(ROOM, "Zone 2", Scope.ROOM) == "tower 3 12f plant room"


@given(st.text(max_size=500), st.text(max_size=128), st.sampled_from(Scope), st.booleans())
def test_every_place_has_a_key_that_the_database_can_hold(text: str, zone: str, scope: Scope, drill: bool) -> None:
    row = {
        "site": "s" * 64, "equipment": "e" * 64, "kind": "sensor", "part": "", "rule": "r", "zone": zone,
        "wants_ticket": "emergency", "life_safety": True, "playbook": "fire", "priority": "critical", "drill": drill,
    }  # fmt: skip
    found = gathering_of(row, {"en": text}, scope)
    assert len(found.key) <= 400
    assert found.key.count("/") == (1 if found.why is Reason.SAME_PLACE else 2)
