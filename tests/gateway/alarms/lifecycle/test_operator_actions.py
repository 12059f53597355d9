"""What people, the panel and the clock do to alarms: acknowledge, silence, reset, comment, re-alarm."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from collectors.wire.topics import parse_topic
from gateway.alarms.lifecycle.operator_actions import acknowledge, comment, reset, silence
from gateway.alarms.lifecycle.rows import NoSuchAlarm, StaleVersion
from gateway.alarms.lifecycle.states import NotPermitted, Refusal, StepRefused
from gateway.alarms.lifecycle.verification import VERIFIED
from gateway.alarms.rules.rule import Priority, Rule, TicketWish
from gateway.people.permissions import Role
from gateway.storage.database import Database
from gateway.storage.tables import alarm, audit, fact, journal, ticket
from gateway.tickets.lifecycle.states import CLOSED, FIRST_STATE, STEPS, Action, TicketType
from gateway.tickets.tickets import FACTS_TAKE_MS, act
from tests.builders.alarms import (
    OPERATOR,
    PANEL,
    T0,
    Desk,
    bearing,
    fire_rule,
    make_rule,
    only_row,
    open_desk,
    panel_event,
    rows_of,
)
from tests.servers.api_server import ApiServer

LATCHING = make_rule(latching=True)
FIRE = fire_rule(latching=True)
FAULT = fire_rule(
    match={"type": frozenset({"fault"})}, priority=Priority.HIGH, ticket=TicketWish.REPAIR, latching=True
)  # fmt: skip
HALF_AN_HOUR = 30 * 60_000
Doing = Callable[[Database, str, int, str, Any, int], Awaitable[None]]


async def do(desk: Desk, what: Doing, note: str = "") -> dict[str, Any]:
    """Do it to the only alarm; returns it as it is then."""
    row = await only_row(desk.database, alarm)
    await what(desk.database, row["id"], row["version"], note, OPERATOR, desk.clock.now)
    return await only_row(desk.database, alarm)


def panel_reset(at: int, **fields: Any) -> Any:
    return panel_event(at, type="reset", loop=None, address=None, **fields)


async def told(database: Database) -> list[str]:
    return [row["kind"] for row in await rows_of(database, fact)]


# -- reset ---------------------------------------------------------------------------------------------


async def test_what_latches_stays_after_its_condition_until_a_person_resets_it(database: Database) -> None:
    desk = await open_desk(database, LATCHING)
    await desk.decide(bearing(91, T0))
    await do(desk, acknowledge)
    await desk.decide(bearing(50, T0 + 1))
    row = await only_row(database, alarm)
    assert (row["state"], row["active"], row["open_key"]) == ("latched_acknowledged", False, "HQ/P-1//pump.hot")
    row = await do(desk, reset, "bearing greased")
    assert (row["state"], row["open_key"]) == ("normal", None)
    line = (await rows_of(database, journal))[-1]
    assert (line["event"], line["actor"], line["note"]) == ("reset", "demo:operator", "bearing greased")
    assert (await rows_of(database, audit))[-1]["act"] == "alarm.reset"
    assert (await told(database))[-1] == "alarm.reset"


async def test_a_reset_does_not_acknowledge(database: Database) -> None:
    desk = await open_desk(database, LATCHING)
    await desk.decide(bearing(91, T0), bearing(50, T0 + 1))
    assert (await do(desk, reset))["state"] == "returned_unacknowledged"
    assert (await do(desk, acknowledge))["state"] == "normal"


async def test_a_reset_while_the_condition_stands_is_refused_and_says_why(database: Database) -> None:
    desk = await open_desk(database, LATCHING)
    await desk.decide(bearing(91, T0))
    with pytest.raises(StepRefused, match="end the cause first") as refused:
        await do(desk, reset)
    assert refused.value.reason is Refusal.CONDITION_STANDS
    assert len(await rows_of(database, journal)) == 1


async def test_what_latches_and_comes_again_is_the_same_alarm_and_waits_again(database: Database) -> None:
    desk = await open_desk(database, LATCHING)
    await desk.decide(bearing(91, T0))
    await do(desk, acknowledge)
    await desk.decide(bearing(50, T0 + 1), bearing(92, T0 + 2))
    row = await only_row(database, alarm)
    assert (row["state"], row["activations"]) == ("unacknowledged", 2)


async def test_an_alarm_that_latches_still_does_after_a_restart(database: Database) -> None:
    desk = await open_desk(database, LATCHING)
    await desk.decide(bearing(91, T0), bearing(50, T0 + 1))
    again = await open_desk(database, LATCHING, clock=desk.clock)
    assert (await only_row(database, alarm))["state"] == "latched_unacknowledged"
    assert (await do(again, reset))["state"] == "returned_unacknowledged"


# -- the panel's own reset -----------------------------------------------------------------------------


async def test_the_panels_reset_lets_go_of_all_its_latched_points_in_one_act(database: Database) -> None:
    desk = await open_desk(database, FAULT)
    points = [panel_event(T0 + number, type="fault", address=str(number)) for number in range(3)]
    await desk.decide(*points)
    for row in await rows_of(database, alarm):
        await acknowledge(database, row["id"], row["version"], "", OPERATOR, T0 + 5)
    await desk.decide(panel_event(T0 + 6, type="fault", address="0", active=False))  # over before, and latched
    event = panel_reset(T0 + 10)
    await desk.decide(event)
    assert {row["state"] for row in await rows_of(database, alarm)} == {"normal"}
    resets = [row for row in await rows_of(database, audit) if row["act"] == "alarm.reset"]
    assert {(row["at"], row["actor"], row["cause"]) for row in resets} == {
        (T0 + 10, "system:rules", f"event {event.digest}")
    }
    assert len(resets) == 3


async def test_the_panels_reset_acknowledges_nothing(database: Database) -> None:
    desk = await open_desk(database, FAULT)
    await desk.decide(panel_event(T0, type="fault"), panel_reset(T0 + 10))
    row = await only_row(database, alarm)
    assert (row["state"], row["open_key"] is None) == ("returned_unacknowledged", False)


async def test_the_panels_reset_after_a_restart_finds_what_latches(database: Database) -> None:
    desk = await open_desk(database, FAULT)
    await desk.decide(panel_event(T0, type="fault"), panel_event(T0 + 1, type="fault", active=False))
    assert (await do(desk, acknowledge))["state"] == "latched_acknowledged"
    again = await open_desk(database, FAULT, clock=desk.clock)
    await again.decide(panel_reset(T0 + 10))
    assert (await only_row(database, alarm))["state"] == "normal"


async def test_the_panels_reset_concerns_no_other_panel(database: Database) -> None:
    desk = await open_desk(database, FAULT)
    await desk.decide(panel_event(T0, type="fault"), panel_event(T0 + 1, type="fault", active=False))
    other = panel_reset(T0 + 10)
    other.topic = parse_topic(PANEL.replace("FP-1", "FP-2"))
    await desk.decide(other)
    assert (await only_row(database, alarm))["state"] == "latched_unacknowledged"


async def test_a_second_delivery_of_the_panels_reset_lets_go_of_nothing_that_came_after(database: Database) -> None:
    desk = await open_desk(database, FAULT)
    once = panel_reset(T0 + 10)
    await desk.decide(panel_event(T0, type="fault"), once)
    await desk.decide(panel_event(T0 + 20, type="fault"), panel_event(T0 + 21, type="fault", active=False))
    await desk.decide(once)
    assert (await only_row(database, alarm))["state"] == "latched_unacknowledged"


async def test_an_old_reset_that_comes_late_lets_go_of_nothing_newer(database: Database) -> None:
    desk = await open_desk(database, FAULT)
    await desk.decide(panel_event(T0 + 20, type="fault"), panel_event(T0 + 21, type="fault", active=False))
    await desk.decide(panel_reset(T0 + 10))
    assert (await only_row(database, alarm))["state"] == "latched_unacknowledged"


async def fire_with_ticket(database: Database) -> Desk:
    desk = await open_desk(database, FIRE)
    await desk.decide(panel_event(T0))
    desk.clock.now += FACTS_TAKE_MS
    await desk.tickets.tick()
    return desk


async def step(desk: Desk, *actions: Action) -> None:
    for action in actions:
        row = (await rows_of(desk.database, ticket))[-1]
        await act(desk.database, row["number"], action, row["version"], "", OPERATOR, desk.clock.now)


async def test_no_reset_of_the_panel_lets_go_of_an_emergency_without_its_ticket(database: Database) -> None:
    desk = await open_desk(database, FIRE)
    await desk.decide(panel_event(T0), panel_reset(T0 + 10))
    assert (await only_row(database, alarm))["state"] == "latched_unacknowledged"
    line = (await rows_of(database, journal))[-1]
    assert (line["event"], line["before"], line["after"]) == ("reset_held",) + ("latched_unacknowledged",) * 2
    assert "not verified yet" in line["note"]


@pytest.mark.parametrize(
    ("done", "state"),
    [
        ([], "latched_acknowledged"),
        ([Action.ACKNOWLEDGE], "latched_acknowledged"),  # answered for, and nobody has looked
        ([Action.ACKNOWLEDGE, Action.RESPOND], "latched_acknowledged"),  # on the way
        ([Action.ACKNOWLEDGE, Action.RESPOND, Action.ARRIVE], "normal"),
        ([Action.STAND_DOWN], "normal"),  # found false
    ],
)
async def test_the_panels_reset_lets_go_of_an_emergency_only_when_somebody_has_verified_it(
    database: Database, done: list[Action], state: str
) -> None:
    desk = await fire_with_ticket(database)
    await do(desk, acknowledge)
    await step(desk, *done)
    await desk.decide(panel_reset(T0 + 60_000))
    assert (await only_row(database, alarm))["state"] == state


async def test_what_was_verified_before_says_nothing_of_the_next_fire(database: Database) -> None:
    """The first was false and is stood down; the second comes at the same point, and its ticket is not there yet."""
    desk = await fire_with_ticket(database)
    await do(desk, acknowledge)
    await step(desk, Action.STAND_DOWN)
    await desk.decide(panel_event(T0 + 60_000, active=False), panel_event(T0 + 61_000))
    await desk.decide(panel_reset(T0 + 62_000))
    assert (await only_row(database, alarm))["state"] == "latched_unacknowledged"
    await desk.decide(panel_event(T0 + 70_000, seq=7), panel_reset(T0 + 70_001))  # within one batch
    assert (await only_row(database, alarm))["state"] == "latched_unacknowledged"


async def test_a_person_may_reset_what_the_panel_may_not(database: Database) -> None:
    desk = await fire_with_ticket(database)
    await do(desk, acknowledge)
    await desk.decide(panel_reset(T0 + 60_000))
    assert (await do(desk, reset, "guard Li has looked: steam"))["state"] == "normal"


def test_the_states_that_count_as_verified_are_the_tickets_from_the_scene_on() -> None:
    """Alarms do not import tickets: this holds the two together."""
    steps = STEPS[TicketType.EMERGENCY]
    states = {FIRST_STATE, *steps.values()}
    assert states - VERIFIED == {FIRST_STATE, "acknowledged", "responding"}
    assert states >= VERIFIED
    assert CLOSED[TicketType.EMERGENCY] <= VERIFIED


# -- silence -------------------------------------------------------------------------------------------


async def test_silencing_is_not_acknowledging(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    row = await do(desk, silence)
    assert (row["state"], row["silenced_at"], row["silenced_by"]) == ("unacknowledged", T0, "demo:operator")
    assert row["acknowledged_by"] is None
    await desk.decide(bearing(50, T0 + 1))
    row = await only_row(database, alarm)
    assert (row["state"], row["silenced_at"]) == ("returned_unacknowledged", T0)


async def test_a_silenced_alarm_that_comes_again_sounds_again(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    await do(desk, silence)
    await desk.decide(bearing(50, T0 + 1), bearing(92, T0 + 2))
    row = await only_row(database, alarm)
    assert (row["silenced_at"], row["silenced_by"]) == (None, None)


async def test_what_is_acknowledged_makes_no_sound_that_could_be_silenced(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    await do(desk, acknowledge)
    with pytest.raises(NotPermitted, match="makes no sound"):
        await do(desk, silence)


# -- comment -------------------------------------------------------------------------------------------


async def test_a_comment_is_recorded_and_changes_nothing(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    before = await only_row(database, alarm)
    await comment(database, before["id"], "smells of oil", OPERATOR, T0 + 5)
    assert await only_row(database, alarm) == before
    line = (await rows_of(database, journal))[-1]
    assert (line["event"], line["note"], line["before"], line["after"]) == (
        "commented", "smells of oil", "unacknowledged", "unacknowledged",
    )  # fmt: skip
    row = (await rows_of(database, audit))[-1]
    assert (row["act"], row["actor"], "oil" in str(row)) == ("alarm.commented", "demo:operator", False)
    assert (await told(database))[-1] == "alarm.commented"


async def test_an_alarm_that_is_over_can_still_be_commented_on_and_stays_over_since_then(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0), bearing(50, T0 + 1))
    closed = await do(desk, acknowledge)
    await comment(database, closed["id"], "it was the sensor", OPERATOR, T0 + 99_000)
    assert await only_row(database, alarm) == closed


async def test_acts_on_what_has_changed_or_never_was_are_refused(database: Database) -> None:
    desk = await open_desk(database, LATCHING)
    await desk.decide(bearing(91, T0))
    row = await only_row(database, alarm)
    for doing in (acknowledge, silence, reset):
        with pytest.raises(StaleVersion):
            await doing(database, row["id"], row["version"] - 1, "", OPERATOR, T0)
        with pytest.raises(NoSuchAlarm):
            await doing(database, "nowhere", 1, "", OPERATOR, T0)
    with pytest.raises(NoSuchAlarm):
        await comment(database, "nowhere", "?", OPERATOR, T0)


# -- re-alarm ------------------------------------------------------------------------------------------


def re_alarming(**changes: Any) -> Rule:
    return make_rule(re_alarm=HALF_AN_HOUR, **changes)


async def test_what_still_stands_acknowledged_after_the_set_time_asks_again(database: Database) -> None:
    desk = await open_desk(database, re_alarming())
    await desk.decide(bearing(91, T0))
    row = await do(desk, silence)
    row = await do(desk, acknowledge)
    assert row["re_alarm_at"] == T0 + HALF_AN_HOUR
    desk.clock.now = T0 + HALF_AN_HOUR - 1
    await desk.alarms.tick()
    assert (await only_row(database, alarm))["state"] == "acknowledged"
    desk.clock.now += 1
    await desk.alarms.tick()
    row = await only_row(database, alarm)
    assert (row["state"], row["re_alarm_at"], row["silenced_at"], row["activations"]) == (
        "unacknowledged", None, None, 1,
    )  # fmt: skip
    line = (await rows_of(database, journal))[-1]
    assert (line["event"], line["actor"], line["at"]) == ("re_alarmed", "system:clock", desk.clock.now)
    assert (await rows_of(database, audit))[-1]["act"] == "alarm.re_alarmed"
    assert (await told(database))[-1] == "alarm.re_alarmed"
    await desk.alarms.tick()
    assert len(await rows_of(database, journal)) == 4  # once


async def test_acknowledging_again_begins_the_time_anew(database: Database) -> None:
    desk = await open_desk(database, re_alarming())
    await desk.decide(bearing(91, T0))
    for turn in range(3):
        row = await do(desk, acknowledge)
        assert row["re_alarm_at"] == T0 + (turn + 1) * HALF_AN_HOUR
        desk.clock.now += HALF_AN_HOUR
        await desk.alarms.tick()
        assert (await only_row(database, alarm))["state"] == "unacknowledged"


async def test_what_is_over_asks_no_more(database: Database) -> None:
    desk = await open_desk(database, re_alarming(latching=True))
    await desk.decide(bearing(91, T0))
    await do(desk, acknowledge)
    await desk.decide(bearing(50, T0 + 1))
    desk.clock.now += 10 * HALF_AN_HOUR
    await desk.alarms.tick()
    row = await only_row(database, alarm)
    assert (row["state"], row["re_alarm_at"]) == ("latched_acknowledged", None)


async def test_the_time_of_the_re_alarm_survives_a_restart_and_a_change_of_the_rule(database: Database) -> None:
    desk = await open_desk(database, re_alarming())
    await desk.decide(bearing(91, T0))
    await do(desk, acknowledge)
    again = await open_desk(database, make_rule(), clock=desk.clock)
    again.clock.now += HALF_AN_HOUR
    await again.alarms.tick()
    assert (await only_row(database, alarm))["state"] == "unacknowledged"


async def test_hundreds_that_are_due_at_once_ask_again_by_the_five_hundred_a_tick(database: Database) -> None:
    desk = await open_desk(database, re_alarming())
    await desk.decide(*(bearing(91, T0, pump=f"P-{number}") for number in range(600)))
    for row in await rows_of(database, alarm):
        await acknowledge(database, row["id"], row["version"], "", OPERATOR, T0)
    desk.clock.now += HALF_AN_HOUR
    await desk.alarms.tick()
    assert {row["state"] for row in await rows_of(database, alarm)} == {"unacknowledged", "acknowledged"}
    await desk.alarms.tick()
    assert {row["state"] for row in await rows_of(database, alarm)} == {"unacknowledged"}


# -- through the API -----------------------------------------------------------------------------------


async def test_an_operator_silences_comments_and_acknowledges_through_the_api(api: ApiServer) -> None:
    row, _ = await api.raise_fire()
    api.log_in(Role.OPERATOR)
    path = f"/api/v1/alarms/{row['id']}"
    status, body = await api.post(f"{path}/silence", {"version": row["version"]})
    assert (status, body["state"], body["silenced_by"]["en"]) == (200, "unacknowledged", "Operator")
    status, body = await api.post(f"{path}/comment", {"note": "The guard is on his way."})
    assert (status, body["version"]) == (200, row["version"] + 1)
    status, body = await api.post(f"{path}/acknowledge", {"version": body["version"]})
    assert (status, body["state"]) == (200, "acknowledged")
    status, body = await api.post(f"{path}/reset", {"version": body["version"]})
    assert (status, body["code"]) == (409, "not_permitted_in_state")
    assert body["detail"] == (
        "an alarm that is acknowledged cannot be reset: it is not latched; it closes when its condition has ended "
        "and it is acknowledged"
    )
    _, detail = await api.get(path)
    assert [(line["event"], line["note"]) for line in detail["journal"]] == [
        ("raised", ""), ("silenced", ""), ("commented", "The guard is on his way."), ("acknowledged", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("note", ["", " \n", "x" * 2_001, None, 5])
async def test_a_comment_has_something_to_say_and_not_too_much(api: ApiServer, note: Any) -> None:
    row, _ = await api.raise_fire()
    api.log_in(Role.ENGINEER)
    status, body = await api.post(f"/api/v1/alarms/{row['id']}/comment", {"note": note})
    assert (status, body["code"]) == (400, "bad_request")
