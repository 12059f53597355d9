"""The owner weighs alarms: at each raise, when people change a plan, when a time ends and at the start.

On SQLite and on PostgreSQL; what people do is done as another process would, beside the owner.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.alarms.key import Scope
from gateway.alarms.lifecycle.operator_actions import acknowledge
from gateway.alarms.lifecycle.rows import StaleVersion
from gateway.alarms.lifecycle.states import NotPermitted
from gateway.alarms.rules.files import shipped_rules
from gateway.alarms.rules.rule import Rule
from gateway.alarms.suppression.out_of_service import return_to_service, take_out_of_service
from gateway.alarms.suppression.reasons import Outage, Shelf, Source, Subject, Suppression, Turn
from gateway.alarms.suppression.shelving import HOUR_MS, shelve, unshelve
from gateway.alarms.suppression.suppressed_alarms import suppressed_alarms
from gateway.storage.database import Database
from gateway.storage.tables import alarm, audit, fact, journal, out_of_service, shelf, ticket, ticket_activation
from gateway.tickets.tickets import FACTS_TAKE_MS
from tests.builders.alarms import (
    OPERATOR,
    T0,
    Desk,
    bearing,
    caught_up,
    fire_rule,
    make_rule,
    only_row,
    open_desk,
    panel_event,
    rows_of,
)

PUMP = Scope("HQ", "P-1")
OVERDUE = next(rule for rule in shipped_rules() if rule.id == "system.out_of_service_overdue")


def wanted(now: int, minutes: int = 60, **changes: Any) -> Shelf:
    given = {"since": now, "until": now + minutes * 60_000, "one_shot": False, "person": OPERATOR.actor,
             "second_person": None, "reason": "sensor is being changed"}  # fmt: skip
    return Shelf(**given | changes)


async def shelve_it(desk: Desk, minutes: int = 60, **changes: Any) -> None:
    row = await newest(desk)
    await shelve(desk.database, row["id"], row["version"], wanted(desk.clock(), minutes, **changes), OPERATOR)


async def take_out(desk: Desk, minutes: int = 60, part: str = "", **changes: Any) -> None:
    now = desk.clock()
    given = {"since": now, "planned_end": now + minutes * 60_000, "person": OPERATOR.actor, "second_person": None,
             "reason": "new bearing"}  # fmt: skip
    await take_out_of_service(desk.database, PUMP, part, Outage(**given | changes), OPERATOR, now)


async def newest(desk: Desk) -> dict[str, Any]:
    return (await rows_of(desk.database, alarm))[-1]


async def reasons(desk: Desk) -> list[str]:
    row = await newest(desk)
    assert row["annunciated"] is not bool(row["suppressions"])
    return [item["reason"] for item in row["suppressions"]]


async def events(desk: Desk) -> list[str]:
    return [line["event"] for line in await rows_of(desk.database, journal) if line["subject"] == "alarm"]


async def pass_time(desk: Desk, milliseconds: int) -> None:
    desk.clock.now += milliseconds
    await desk.alarms.tick()


async def restarted(desk: Desk, *rules: Rule) -> Desk:
    return await open_desk(desk.database, *(rules or (make_rule(),)), clock=desk.clock)


# -- shelving ------------------------------------------------------------------------------------------------------


async def test_who_shelves_is_on_record_and_the_state_goes_on(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    await shelve_it(desk)
    row = await newest(desk)
    assert (row["annunciated"], row["state"], row["active"], row["version"]) == (False, "unacknowledged", True, 2)
    (kept,) = row["suppressions"]
    assert (kept["reason"], kept["by"], kept["until"], kept["why"]) == (
        "shelved", OPERATOR.actor, T0 + HOUR_MS, "sensor is being changed",
    )  # fmt: skip
    line = (await rows_of(database, journal))[-1]
    assert (line["event"], line["before"], line["after"], line["actor"], line["note"]) == (
        "shelved", "unacknowledged", "unacknowledged", OPERATOR.actor, "sensor is being changed",
    )  # fmt: skip
    assert [record["act"] for record in await rows_of(database, audit)][-2:] == ["alarm.shelve", "alarm.suppressed"]
    assert "being changed" not in str(await rows_of(database, audit)), "the audit has no words of people"
    assert [told["kind"] for told in await rows_of(database, fact)][-2:] == ["alarm.suppressed", "alarm.shelved"]
    await desk.decide(bearing(50, T0 + 1))
    assert (await newest(desk))["state"] == "returned_unacknowledged"
    assert await reasons(desk) == ["shelved"]


async def test_a_decision_knows_of_a_shelf_whose_fact_nobody_has_followed_yet(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0), bearing(50, T0 + 1))
    await shelve_it(desk)
    row = await newest(desk)
    await acknowledge(database, row["id"], row["version"], "", OPERATOR, T0 + 2)  # it is over, the shelf is not
    await desk.decide(bearing(92, T0 + 3))
    assert len(await rows_of(database, alarm)) == 2
    assert await reasons(desk) == ["shelved"]
    assert (await events(desk))[-2:] == ["raised", "shelved"]
    raised = [told["kind"] for told in await rows_of(database, fact)][-2:]
    assert raised == ["alarm.raised", "alarm.suppressed"], "in the transaction of the raise"


async def test_the_end_of_a_shelf_is_noticed_by_the_next_tick(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    await shelve_it(desk, minutes=5)
    await caught_up(desk)
    await pass_time(desk, 5 * 60_000 - 1)
    assert await reasons(desk) == ["shelved"]
    await pass_time(desk, 1)
    assert await reasons(desk) == []
    assert (await events(desk))[-2:] == ["unshelved", "annunciated"]
    assert await rows_of(database, shelf) == []
    assert [told["kind"] for told in await rows_of(database, fact)][-1] == "alarm.released"
    records = await rows_of(database, audit)
    assert [(record["act"], record["actor"]) for record in records][-2:] == [
        ("alarm.unshelve", "system:clock"), ("alarm.released", "system:clock"),
    ]  # fmt: skip


async def test_a_shelf_ends_also_when_nobody_owned_the_alarms_at_that_time(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    await shelve_it(desk, minutes=5)
    desk.clock.now += HOUR_MS
    again = await restarted(desk)
    assert await reasons(again) == []
    assert await rows_of(database, shelf) == []


async def test_a_shelf_survives_a_restart(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    await shelve_it(desk, minutes=5)
    again = await restarted(desk)
    assert (await newest(again))["version"] == 2, "nothing has changed"
    await pass_time(again, 4 * 60_000)
    await again.decide(bearing(50, again.clock()))
    await again.decide(bearing(91, again.clock() + 1))
    assert await reasons(again) == ["shelved"]
    await pass_time(again, 60_000)
    assert await reasons(again) == []


async def test_one_shot_ends_with_the_condition_and_the_next_activation_is_heard(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    await shelve_it(desk, one_shot=True)
    await desk.decide(bearing(92, T0 + 1), bearing(50, T0 + 2))
    assert await reasons(desk) == []
    assert (await newest(desk))["state"] == "returned_unacknowledged"
    assert await rows_of(database, shelf) == []
    await desk.decide(bearing(91, T0 + 3))
    assert await reasons(desk) == []


async def test_one_shot_ends_too_when_its_alarm_closes_by_the_return(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    row = await newest(desk)
    await acknowledge(database, row["id"], row["version"], "", OPERATOR, T0)
    await shelve_it(desk, one_shot=True)
    await desk.decide(bearing(50, T0 + 1), bearing(91, T0 + 2))
    assert len(await rows_of(database, alarm)) == 2
    assert await reasons(desk) == []
    assert await rows_of(database, shelf) == []


async def test_one_shot_ends_at_its_longest_time_where_the_condition_stays(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    await shelve_it(desk, minutes=5, one_shot=True)
    await caught_up(desk)
    await pass_time(desk, 5 * 60_000)
    assert await reasons(desk) == []


HOT, COOL = 91.0, 50.0
WAYS: list[tuple[list[float | str], str]] = [
    ([HOT], "unacknowledged"),
    ([HOT, "ack"], "acknowledged"),
    ([HOT, COOL], "returned_unacknowledged"),
    ([HOT, COOL, HOT], "unacknowledged"),
    ([HOT, "ack", COOL], "normal"),
    ([HOT, COOL, "ack"], "normal"),
]


@pytest.mark.parametrize(("steps", "state"), WAYS, ids=[f"{'-'.join(map(str, steps))}" for steps, _ in WAYS])
async def test_on_release_the_true_state_shows(database: Database, steps: list[float | str], state: str) -> None:
    """Whatever has become of it while it was quiet."""
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(HOT, T0))
    await shelve_it(desk)
    await desk.decide(bearing(COOL, T0 + 1), bearing(HOT, T0 + 2))
    for number, step in enumerate(steps[1:], 3):
        if step == "ack":
            row = await newest(desk)
            await acknowledge(database, row["id"], row["version"], "", OPERATOR, T0 + number)
        else:
            await desk.decide(bearing(float(step), T0 + number))
    row = await newest(desk)
    assert (row["state"], row["annunciated"]) == (state, False)
    await unshelve(database, row["id"], row["version"], "done", OPERATOR, T0 + 9)
    after = await newest(desk)
    assert (after["state"], after["active"], after["annunciated"]) == (state, row["active"], True)
    assert (await events(desk))[-2:] == ["unshelved", "annunciated"]


async def test_acts_on_stale_closed_or_unshelved_alarms_change_nothing(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0), bearing(50, T0 + 1))
    row = await newest(desk)
    with pytest.raises(StaleVersion):
        await shelve(database, row["id"], row["version"] + 1, wanted(T0), OPERATOR)
    with pytest.raises(NotPermitted, match="not shelved"):
        await unshelve(database, row["id"], row["version"], "", OPERATOR, T0)
    await acknowledge(database, row["id"], row["version"], "", OPERATOR, T0)
    closed = await newest(desk)
    with pytest.raises(NotPermitted, match="is over"):
        await shelve(database, closed["id"], closed["version"], wanted(T0), OPERATOR)
    assert await newest(desk) == closed
    assert await rows_of(database, shelf) == []


async def test_shelving_anew_begins_a_new_time(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    await shelve_it(desk, minutes=5)
    desk.clock.now += 60_000
    await shelve_it(desk, minutes=5)
    await caught_up(desk)
    await pass_time(desk, 4 * 60_000)
    assert await reasons(desk) == ["shelved"]
    await pass_time(desk, 60_000)
    assert await reasons(desk) == []
    assert (await events(desk))[-4:] == ["shelved", "shelved", "unshelved", "annunciated"]


async def test_a_tick_with_nothing_due_asks_the_database_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand open alarms are not looked at each second."""
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    await shelve_it(desk, minutes=5)
    await caught_up(desk)

    def refuse(*_: Any) -> None:
        raise AssertionError("a tick has asked")

    monkeypatch.setattr(database, "transaction", refuse)
    monkeypatch.setattr(database, "reading", refuse)
    desk.clock.now += 60_000
    await desk.alarms.suppressor.tick()
    assert desk.alarms.suppressor.overdue() == []


# -- out of service ------------------------------------------------------------------------------------------------


async def test_all_alarms_of_what_is_out_of_service_are_quiet_until_it_is_returned(database: Database) -> None:
    rules = (make_rule(), make_rule("pump.warm", above=60.0))
    desk = await open_desk(database, *rules)
    await desk.decide(bearing(70, T0), bearing(70, T0, pump="P-2"))
    await take_out(desk)
    await desk.decide(bearing(91, T0 + 1), bearing(91, T0 + 1, pump="P-2"))
    await caught_up(desk)
    rows = await rows_of(database, alarm)
    assert {(row["equipment"], row["rule"]): row["annunciated"] for row in rows} == {
        ("P-1", "pump.hot"): False, ("P-1", "pump.warm"): False, ("P-2", "pump.hot"): True, ("P-2", "pump.warm"): True,
    }  # fmt: skip
    again = await restarted(desk, *rules)
    await return_to_service(database, PUMP, "", OPERATOR, T0 + 2)
    await caught_up(again)
    assert all(row["annunciated"] and row["state"] == "unacknowledged" for row in await rows_of(database, alarm))
    released = [line for line in await rows_of(database, journal) if line["event"] == "returned_to_service"]
    assert [line["actor"] for line in released] == [OPERATOR.actor, OPERATOR.actor]


async def test_a_part_out_of_service_leaves_the_rest_in_service(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await take_out(desk, part="motor")
    await desk.decide(bearing(91, T0))
    assert await reasons(desk) == []


async def test_life_safety_is_quiet_out_of_service_only_with_two_people_and_no_longer_than_planned(
    database: Database,
) -> None:
    panel, now = Scope("HQ", "FP-1"), T0
    desk = await open_desk(database, fire_rule(), OVERDUE)
    alone = Outage(since=now, planned_end=now + 60_000, person="ann", second_person=None, reason="new panel")
    await take_out_of_service(database, panel, "", alone, OPERATOR, now)
    await desk.decide(panel_event(T0))
    assert await reasons(desk) == []
    both = Outage(since=now, planned_end=now + 60_000, person="ann", second_person="bob", reason="new panel")
    await take_out_of_service(database, panel, "", both, OPERATOR, now)
    await caught_up(desk)
    assert await reasons(desk) == ["out_of_service"]
    await pass_time(desk, 60_000)
    fire = next(row for row in await rows_of(database, alarm) if row["rule"] == "fire_panel.fire")
    assert fire["annunciated"]


async def test_overdue_is_an_alarm_of_its_own_until_it_is_returned_or_gets_a_new_end(database: Database) -> None:
    desk = await open_desk(database, make_rule(), OVERDUE)
    await take_out(desk, minutes=10)
    await desk.decide(bearing(91, T0))
    await caught_up(desk)
    await pass_time(desk, 9 * 60_000)
    assert await overdue(desk) == []
    await pass_time(desk, 60_000)
    assert await overdue(desk) == [("P-1", "unacknowledged", True, True)]
    hot = next(row for row in await rows_of(database, alarm) if row["rule"] == "pump.hot")
    assert not hot["annunciated"], "it stays out of service until somebody returns it"
    again = await restarted(desk, make_rule(), OVERDUE)
    await pass_time(again, 1_000)
    assert await overdue(again) == [("P-1", "unacknowledged", True, True)]
    await take_out(again, minutes=10)
    await caught_up(again)
    await pass_time(again, 1_000)
    assert await overdue(again) == [("P-1", "returned_unacknowledged", False, True)]
    assert (await only_row(database, out_of_service))["since"] == T0
    await pass_time(again, 10 * 60_000)
    assert (await overdue(again))[0][1:3] == ("unacknowledged", True)
    await return_to_service(database, PUMP, "", OPERATOR, again.clock())
    last = await restarted(again, make_rule(), OVERDUE)  # nobody has followed the fact
    await pass_time(last, 1_000)
    assert (await overdue(last))[0][1:3] == ("returned_unacknowledged", False)


async def overdue(desk: Desk) -> list[tuple[str, str, bool, bool]]:
    return [
        (row["equipment"], row["state"], row["active"], row["annunciated"])
        for row in await rows_of(desk.database, alarm) if row["rule"] == OVERDUE.id
    ]  # fmt: skip


# -- in doubt ------------------------------------------------------------------------------------------------------


async def test_a_reason_that_nobody_knows_keeps_nothing_quiet(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    unheard = [{"reason": "of a later version", "by": "x", "since": T0}]
    async with database.transaction() as connection:
        await connection.execute(update(alarm).values(suppressions=unheard, annunciated=False))
    again = await restarted(desk)
    assert await reasons(again) == []
    assert (await events(again))[-1] == "annunciated"


class Broken:
    """A source whose plan cannot be read."""

    def applying(self, subject: Subject, now: int) -> Sequence[Suppression]:
        raise ValueError("broken")

    def turns(self) -> Iterator[Turn]:
        return iter(())


async def test_a_plan_that_cannot_be_told_keeps_nothing_quiet_and_holds_up_no_alarm(database: Database) -> None:
    desk = await open_desk(database, make_rule())

    async def broken(_connection: AsyncConnection) -> Source:
        return Broken()

    desk.alarms.suppressor._further = (broken,)
    await desk.alarms.suppressor.load()
    await desk.decide(bearing(91, T0))
    assert await reasons(desk) == []


async def test_what_is_quiet_now_can_be_listed_with_every_reason(database: Database) -> None:
    desk = await open_desk(database, make_rule(), make_rule("pump.warm", above=60.0))
    await desk.decide(bearing(91, T0))
    await shelve_it(desk)
    await take_out(desk)
    await caught_up(desk)
    async with database.reading() as connection:
        found = await suppressed_alarms(connection, ["HQ"])
        assert await suppressed_alarms(connection, ["B"]) == []
    assert sorted((item.key.rule, item.suppression.reason.value, item.suppression.by) for item in found) == [
        ("pump.hot", "out_of_service", OPERATOR.actor),
        ("pump.warm", "out_of_service", OPERATOR.actor),
        ("pump.warm", "shelved", OPERATOR.actor),
    ]


# -- tickets -------------------------------------------------------------------------------------------------------


async def seen_to(desk: Desk) -> list[str]:
    """Numbers of the tickets, after facts and tick have done their work."""
    await caught_up(desk)
    desk.clock.now += FACTS_TAKE_MS
    await desk.tickets.tick()
    return [row["number"] for row in await rows_of(desk.database, ticket)]


async def test_a_quiet_alarm_opens_no_ticket_and_the_release_opens_it_while_it_is_active(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await take_out(desk)
    await desk.decide(bearing(91, T0), bearing(50, T0 + 1), bearing(92, T0 + 2))
    assert await seen_to(desk) == []
    await return_to_service(database, PUMP, "", OPERATOR, desk.clock())
    await caught_up(desk)  # by the fact
    assert len(await rows_of(database, ticket)) == 1
    assert await seen_to(desk) == ["R-HQ-20251122-0001"]
    assert len(await rows_of(database, ticket_activation)) == 1, "what came and went meanwhile asks for nothing"


async def test_where_the_fact_is_lost_the_tick_opens_the_ticket_of_a_released_alarm(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await take_out(desk)
    await desk.decide(bearing(91, T0))
    await return_to_service(database, PUMP, "", OPERATOR, T0)
    again = await restarted(desk)
    again.clock.now += FACTS_TAKE_MS
    await again.tickets.tick()
    assert len(await rows_of(database, ticket)) == 1


async def test_what_has_returned_by_the_release_opens_no_ticket(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await take_out(desk)
    await desk.decide(bearing(91, T0), bearing(50, T0 + 1))
    await return_to_service(database, PUMP, "", OPERATOR, T0 + 2)
    assert await seen_to(desk) == []
    await desk.decide(bearing(91, desk.clock()))  # a new one is heard
    assert len(await seen_to(desk)) == 1
    assert len(await rows_of(database, ticket_activation)) == 1


async def test_an_open_ticket_stays_and_takes_further_activations_in(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    assert len(await seen_to(desk)) == 1
    await shelve_it(desk)
    await desk.decide(bearing(50, desk.clock()), bearing(91, desk.clock() + 1))
    assert len(await seen_to(desk)) == 1
    assert len(await rows_of(database, ticket_activation)) == 2


async def test_a_raise_that_is_told_only_after_the_release_opens_no_ticket_when_it_has_returned(
    database: Database,
) -> None:
    """Whichever follower comes first: who opens tickets may be behind."""
    desk = await open_desk(database, make_rule())
    await take_out(desk)
    await desk.decide(bearing(91, T0), bearing(50, T0 + 1))
    await return_to_service(database, PUMP, "", OPERATOR, T0 + 2)
    again = await restarted(desk)  # weighs first
    assert (await newest(again))["annunciated"]
    assert await seen_to(again) == []
