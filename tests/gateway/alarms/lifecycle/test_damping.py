"""Chatter is damped: counted, told once, and nothing real is hidden; life safety is never damped."""

from typing import Any

from gateway.alarms.lifecycle.damping import CHATTER_QUIET_MS
from gateway.alarms.lifecycle.operator_actions import acknowledge
from gateway.alarms.rules.rule import Priority
from gateway.storage.database import Database
from gateway.storage.tables import activation, alarm, journal, ticket
from gateway.tickets.lifecycle.states import Action
from gateway.tickets.tickets import FACTS_TAKE_MS, act
from tests.builders.alarms import (
    OPERATOR,
    SMOKE,
    T0,
    Desk,
    bearing,
    fire_rule,
    make_rule,
    only_row,
    open_desk,
    panel_event,
    rows_of,
    sample,
    smoke_rule,
)

EVERY = 5_000
"""Between two changes of what chatters: six activations a minute."""


async def flicker(desk: Desk, times: int, start: int = T0) -> int:
    """Hot and cool again so many times; when the last change was."""
    for number in range(times):
        await desk.decide(bearing(90, start + number * 2 * EVERY))
        await desk.decide(bearing(20, start + (number * 2 + 1) * EVERY))
    return start + (times * 2 - 1) * EVERY


async def answer(desk: Desk) -> None:
    row = await open_alarm(desk)
    await acknowledge(desk.database, row["id"], row["version"], "", OPERATOR, desk.clock.now)


async def open_alarm(desk: Desk) -> dict[str, Any]:
    (row,) = [row for row in await rows_of(desk.database, alarm) if row["open_key"]]
    return row


async def test_the_third_activation_within_a_minute_marks_the_alarm(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await flicker(desk, 2)
    assert not (await open_alarm(desk))["chattering"]
    await flicker(desk, 1, T0 + 4 * EVERY)
    row = await open_alarm(desk)
    assert (row["chattering"], row["active"], row["state"]) == (True, True, "unacknowledged")


async def test_what_is_acknowledged_stays_so_while_it_chatters_and_every_activation_counts(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    at = await flicker(desk, 3)
    await answer(desk)
    version = (await open_alarm(desk))["version"]
    await flicker(desk, 20, at + EVERY)
    row = await only_row(database, alarm)
    assert (row["state"], row["active"], row["activations"]) == ("acknowledged", True, 23)
    assert row["version"] == version, "who acknowledges is not refused because it has flickered"
    rows = await rows_of(database, activation)
    assert [entry["damped"] for entry in rows] == [False] * 3 + [True] * 20
    assert all(entry["ended_at"] is not None for entry in rows)
    events = [entry["event"] for entry in await rows_of(database, journal) if entry["subject"] == "alarm"]
    assert events.count("chatter_raised") == 20
    assert events.count("raised") == 3


async def test_it_opens_no_ticket_anew(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await flicker(desk, 10)
    desk.clock.now += FACTS_TAKE_MS
    await desk.tickets.tick()
    await flicker(desk, 10, desk.clock.now)
    desk.clock.now += FACTS_TAKE_MS
    await desk.tickets.tick()
    assert desk.tickets.notice == ""
    (opened,) = await rows_of(database, ticket)
    assert opened["alarm"] == (await only_row(database, alarm))["id"]


async def test_a_ticket_that_is_closed_over_the_head_of_its_chatter_is_not_followed_by_another(
    database: Database,
) -> None:
    desk = await open_desk(database, make_rule())
    last = await flicker(desk, 3)
    desk.clock.now += FACTS_TAKE_MS
    await desk.tickets.tick()
    (opened,) = await rows_of(database, ticket)
    await act(database, opened["number"], Action.CANCEL, opened["version"], "a loose wire", OPERATOR, desk.clock.now)
    await flicker(desk, 3, last + EVERY)
    desk.clock.now += FACTS_TAKE_MS
    await desk.tickets.tick()
    assert len(await rows_of(database, ticket)) == 1
    assert [row["damped"] for row in await rows_of(database, activation)] == [False] * 3 + [True] * 3


async def test_when_it_has_been_quiet_it_returns_and_says_what_would_have_kept_it_so(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    last = await flicker(desk, 12)
    await answer(desk)
    desk.clock.now = last + CHATTER_QUIET_MS - 1
    await desk.alarms.tick()
    assert (await only_row(database, alarm))["active"]
    desk.clock.now += 1
    await desk.alarms.tick()
    row = await only_row(database, alarm)
    assert (row["state"], row["active"], row["chattering"], row["returned_at"]) == ("normal", False, False, last)
    (note,) = [entry["note"] for entry in await rows_of(database, journal) if entry["event"] == "chatter_ended"]
    assert note == "with an off-delay of 10 s these 12 activations would have been 1"
    await desk.decide(bearing(90, desk.clock.now + 1))
    assert (await open_alarm(desk))["state"] == "unacknowledged", "the next one is told like any other"


async def test_what_is_still_hot_when_it_is_quiet_stays_active(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    last = await flicker(desk, 3)
    await desk.decide(bearing(90, last + EVERY))
    desk.clock.now += CHATTER_QUIET_MS
    await desk.alarms.tick()
    row = await only_row(database, alarm)
    assert (row["active"], row["chattering"], row["state"]) == (True, False, "unacknowledged")


async def test_a_restart_damps_on_and_ends_it_all_the_same(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    last = await flicker(desk, 3)
    desk = await open_desk(database, make_rule(), clock=desk.clock)
    await flicker(desk, 3, last + EVERY)
    assert (await only_row(database, alarm))["activations"] == 6
    desk = await open_desk(database, make_rule(), clock=desk.clock)
    desk.clock.now += CHATTER_QUIET_MS
    await desk.alarms.tick()
    row = await only_row(database, alarm)
    assert (row["active"], row["state"]) == (False, "returned_unacknowledged")


async def test_two_before_a_restart_and_one_after_it_are_three(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    last = await flicker(desk, 2)
    desk = await open_desk(database, make_rule(), clock=desk.clock)
    await flicker(desk, 1, last + EVERY)
    assert (await open_alarm(desk))["chattering"]


async def test_a_fire_point_that_toggles_fifty_times_is_told_fifty_times(database: Database) -> None:
    desk = await open_desk(database, fire_rule())
    for number in range(50):
        await desk.decide(panel_event(T0 + number * 100, active=True))
        await desk.decide(panel_event(T0 + number * 100 + 50, active=False))
    row = await only_row(database, alarm)
    assert (row["activations"], row["chattering"], row["active"]) == (50, False, False)
    assert not any(entry["damped"] for entry in await rows_of(database, activation))


async def test_a_critical_state_that_toggles_is_never_damped(database: Database) -> None:
    desk = await open_desk(database, smoke_rule())
    for number in range(10):
        await desk.decide(sample(SMOKE, {"smoke": number % 2 == 0}, T0 + number * 1000))
    row = await only_row(database, alarm)
    assert (row["activations"], row["chattering"]) == (5, False)


async def test_a_spreading_fire_is_no_chatter(database: Database) -> None:
    desk = await open_desk(database, fire_rule())
    await desk.decide(*(panel_event(T0 + number, address=str(number)) for number in range(300)))
    rows = await rows_of(database, alarm)
    assert len(rows) == 300
    assert {(row["chattering"], row["state"], row["priority"]) for row in rows} == {
        (False, "unacknowledged", Priority.CRITICAL.value)
    }


async def test_every_call_that_wants_an_answer_is_told(database: Database) -> None:
    desk = await open_desk(database, fire_rule(priority=Priority.HIGH, momentary=True))
    for number in range(5):
        await desk.decide(panel_event(T0 + number * 1000, text=str(number)))
    row = await only_row(database, alarm)
    assert (row["activations"], row["chattering"]) == (5, False)
