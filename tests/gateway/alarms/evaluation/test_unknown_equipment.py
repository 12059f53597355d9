"""Equipment that nobody has adopted is made up by whoever may publish: what is remembered of it is bounded."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.timeseries.latest import LatestTable
from collectors.wire.fields import Kind
from collectors.wire.reading import Reading
from collectors.wire.topics import parse_topic
from gateway.alarms.evaluation.channel_state import MOST_INSTANCES, MOST_VALUES
from gateway.alarms.evaluation.evaluator import RuleEvaluator
from gateway.alarms.evaluation.unknown_equipment import MOST_UNKNOWN, UnknownEquipment
from gateway.alarms.rules.files import shipped_rules
from gateway.storage.database import Database
from gateway.storage.tables import alarm, rule_memory
from tests.builders.alarms import (
    PANEL,
    T0,
    WINDOW_MS,
    bearing,
    fire_rule,
    make_rule,
    open_desk,
    panel_event,
    rows_of,
    sample,
    smoke_rule,
)  # fmt: skip

MOST = 100
MADE_UP = 20_000


def nobody(_site: str, _code: str) -> bool:
    return False


def pump(number: int, celsius: float = 50.0, at: int = T0) -> Reading:
    return bearing(celsius, at, pump=f"MADE-UP-{number}")


def topic(number: int, channel: str = "telemetry") -> str:
    return f"gengfu/HQ/pump/P-{number}/{channel}"


def test_twenty_thousand_made_up_pumps_leave_what_is_remembered_within_its_cap() -> None:
    unknown = UnknownEquipment(nobody, MOST_UNKNOWN)
    instances = RuleEvaluator(shipped_rules(), {}, WINDOW_MS, unknown=unknown)
    for number in range(MADE_UP):
        instances.take([pump(number, at=T0 + number)])
    schedule = instances._schedule
    channel_states = len(instances._channel_states)
    assert channel_states <= 2 * (MOST_UNKNOWN + MOST_UNKNOWN // 8), "telemetry and status of each"
    assert unknown.forgotten >= MADE_UP - MOST_UNKNOWN - MOST_UNKNOWN // 8
    assert len(instances._known._memories) == 0
    assert len(schedule._due) + len(schedule.waiting) + len(schedule.counting) <= 20 * channel_states


def test_adopted_equipment_is_never_forgotten() -> None:
    unknown = UnknownEquipment(lambda _site, code: code == "P-1", MOST)
    instances = RuleEvaluator([make_rule()], {}, WINDOW_MS, unknown=unknown)
    instances.take([bearing(91, T0)])
    for number in range(3 * MOST):
        instances.take([pump(number)])
    assert [bool(item.change.raised) for item in instances.take([bearing(50, T0 + 1)]).decisions] == [False]


async def test_a_made_up_fire_is_an_alarm_however_many_pumps_were_made_up_before_it(database: Database) -> None:
    desk = await open_desk(database, make_rule(), fire_rule(), smoke_rule())
    desk.alarms._unknown = unknown = UnknownEquipment(nobody, MOST)
    await desk.alarms.load()
    for first in range(0, 5 * MOST, MOST):
        await desk.decide(*(pump(number) for number in range(first, first + MOST)))
    await desk.decide(panel_event(T0))
    assert [row["rule"] for row in await rows_of(database, alarm)] == ["fire_panel.fire"]
    assert unknown.forgotten > 0
    assert desk.registry.get_sample_value("gengfu_unknown_equipment_forgotten_total") == unknown.forgotten
    assert len(await rows_of(database, rule_memory)) <= 2 * MOST


async def test_an_alarm_of_equipment_that_was_forgotten_stands_and_ends_when_it_is_heard_to(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    desk.alarms._unknown = UnknownEquipment(nobody, MOST)
    await desk.alarms.load()
    await desk.decide(pump(0, 91))
    await desk.decide(*(pump(number, at=T0 + 1) for number in range(1, 3 * MOST)))
    assert parse_topic("gengfu/HQ/pump/MADE-UP-0/telemetry") not in desk.alarms._evaluator._channel_states
    await desk.decide(pump(0, 92, T0 + 2_000))
    assert [(row["active"], row["activations"]) for row in await rows_of(database, alarm)] == [(True, 1)]
    await desk.decide(*(pump(number, at=T0 + 3_000) for number in range(1, 3 * MOST)))
    await desk.decide(pump(0, 50, T0 + 4_000))
    assert [row["active"] for row in await rows_of(database, alarm)] == [False]


@given(st.lists(st.integers(0, 400), max_size=600))
def test_who_was_heard_lately_stays_and_never_are_there_more_than_an_eighth_too_many(heard: list[int]) -> None:
    unknown, known = UnknownEquipment(nobody, MOST), set[int]()
    for number in heard:
        if number in known:
            unknown.receive(parse_topic(topic(number)))
        else:
            unknown.meet(parse_topic(topic(number)))
            known.add(number)
        for gone in unknown.surplus(lambda _channels: False):
            known.discard(int(gone.equipment.removeprefix("P-")))
    assert len(unknown) == len(known) <= MOST + MOST // 8
    lately = list(dict.fromkeys(reversed(heard)))[: MOST - 1]
    assert set(lately) <= known


def test_a_device_that_makes_up_ever_new_fields_is_remembered_by_those_that_rules_look_at() -> None:
    instances = RuleEvaluator([make_rule()], {}, WINDOW_MS)
    instances.take([bearing(91, T0)])
    for number in range(5 * MOST_VALUES):
        instances.take([sample("gengfu/HQ/pump/P-1/telemetry", {f"made_up_{number}": 1.0}, T0 + number)])
    (channel_state,) = (one for one in instances._channel_states.values() if one.instances)
    assert len(channel_state.values) <= MOST_VALUES
    assert len(channel_state.times) <= MOST_VALUES
    assert channel_state.values["bearing_temperature"] == 91.0


def test_a_panel_that_makes_up_ever_new_addresses_is_remembered_by_those_on_which_something_stands() -> None:
    instances = RuleEvaluator([fire_rule(latching=False)], {}, WINDOW_MS)
    instances.take([panel_event(T0, address="stands")])
    for number in range(MOST_INSTANCES + 10):
        on = panel_event(T0 + number, address=f"made-up-{number}")
        off = panel_event(T0 + number, address=f"made-up-{number}", active=False)
        instances.take([on, off])
    channel_state = instances._channel_states[parse_topic(PANEL)]
    assert len(channel_state.instances) <= MOST_INSTANCES
    assert any(key.part == "1-stands" and instance.memory.active for key, instance in channel_state.instances.items())


def test_newest_values_of_forgotten_equipment_go() -> None:
    table = LatestTable()
    table.absorb([pump(number) for number in range(3)])
    table.forget([("HQ", "MADE-UP-1"), ("HQ", "never-heard")])
    assert sorted(code for _, code in table) == ["MADE-UP-0", "MADE-UP-2"]
    with contextlib.suppress(KeyError):
        pytest.fail(str(table["HQ", "MADE-UP-1"]))
    assert table["HQ", "MADE-UP-0"].kind == Kind.PUMP.value
