"""One cause, many alarms: on a real database, with tickets, restarts and late samples."""

from typing import Any

import msgspec
import pytest

from collectors.wire.fields import Kind
from collectors.wire.reading import Reading
from gateway.alarms.lifecycle.rows import alarms_by_id
from gateway.alarms.rules.rule import Priority, Rule, RuleType, TicketWish
from gateway.alarms.suppression.causes import EARLIER_MS
from gateway.alarms.suppression.reasons import Reason, Shelf
from gateway.alarms.suppression.shelving import shelve
from gateway.equipment.ledger import Equipment, Ledger, Site
from gateway.equipment.topology import Link, Relation
from gateway.people.audit.entry import CLOCK
from gateway.storage.database import Database
from gateway.storage.tables import alarm, journal, ticket
from gateway.tickets.tickets import FACTS_TAKE_MS
from tests.builders.alarms import OPERATOR, T0, Desk, bearing, make_rule, open_desk, rows_of, sample
from tests.servers.waiting import until_awaited

METER = "gengfu/HQ/sensor/M-1/telemetry"
LIFT = "gengfu/HQ/elevator/L-1/telemetry"
CUT = make_rule(
    "sensor.mains_lost", kind=Kind.SENSOR, type=RuleType.STATE, field="mains", values=frozenset({False}),
    suppresses=frozenset({Relation.POWER}), release_after=60_000,
)  # fmt: skip
TRAPPED = make_rule(
    "elevator.alarm_button", kind=Kind.ELEVATOR, type=RuleType.STATE, field="alarm_button", values=frozenset({True}),
    priority=Priority.CRITICAL, ticket=TicketWish.EMERGENCY,
)  # fmt: skip
STOPPED = make_rule(
    "elevator.stopped", kind=Kind.ELEVATOR, type=RuleType.STATE, field="power", values=frozenset({"off"})
)
DRIVE = make_rule("pump.drive", type=RuleType.STATE, field="drive_fault", values=frozenset({1.0}))
NO_START = make_rule(
    "pump.no_start", type=RuleType.STATE, field="running", values=frozenset({False}), suppressed_by=("pump.drive",)
)
RULES: tuple[Rule, ...] = (CUT, TRAPPED, STOPPED, DRIVE, NO_START, make_rule())


@pytest.fixture
async def ledger(database: Database) -> Ledger:
    """The mains feed a lift and two pumps."""
    ledger = Ledger(database, 10, "UTC")
    kinds = {"M-1": Kind.SENSOR, "L-1": Kind.ELEVATOR, "P-1": Kind.PUMP, "P-2": Kind.PUMP}
    items = [Equipment("HQ", code, kind.value, {"en": code, "zh-CN": code}) for code, kind in kinds.items()]
    await ledger.enter([Site("HQ", {"en": "HQ", "zh-CN": "HQ"}, "Asia/Shanghai")], items, CLOCK, T0)
    for code in ("L-1", "P-1", "P-2"):
        await ledger.links.link(Link("HQ", code, "M-1", Relation.POWER), CLOCK, T0)
    return ledger


def mains(*, there: bool, at: int, received_at: int | None = None) -> Reading:
    return sample(METER, {"mains": there}, at, received_at)


def pump(fields: dict[str, Any], at: int) -> Reading:
    return sample("gengfu/HQ/pump/P-1/telemetry", fields, at)


async def quiet(database: Database) -> dict[str, list[tuple[str, str]]]:
    """Equipment and rule -> why it is not annunciated and by which equipment's alarm."""
    rows = await rows_of(database, alarm)
    whose = {row["id"]: row["equipment"] for row in rows}
    for row in rows:
        assert row["annunciated"] is not bool(row["suppressions"])
    return {
        f"{row['equipment']} {row['rule']}": [
            (item["reason"], whose.get(item["by"], item["by"])) for item in row["suppressions"]
        ]
        for row in rows
    }


async def ticketed(desk: Desk) -> set[str]:
    """Equipment with a ticket, once all that is due has been done."""
    desk.clock.now += FACTS_TAKE_MS
    await desk.alarms.tick()
    await desk.tickets.tick()
    return {row["equipment"] for row in await rows_of(desk.database, ticket)}


UNDER = [(Reason.PARENT.value, "M-1")]


async def test_what_a_power_cut_brings_is_listed_under_it_and_opens_no_ticket(
    database: Database, ledger: Ledger
) -> None:
    desk = await open_desk(database, *RULES)
    await desk.decide(mains(there=False, at=T0))
    await desk.decide(
        sample(LIFT, {"power": "off"}, T0 + 500), bearing(91, T0 + 600), bearing(92, T0 + 700, pump="P-2")
    )
    assert await quiet(database) == {
        "M-1 sensor.mains_lost": [], "L-1 elevator.stopped": UNDER, "P-1 pump.hot": UNDER, "P-2 pump.hot": UNDER,
    }  # fmt: skip
    assert await ticketed(desk) == {"M-1"}


async def test_whoever_is_trapped_is_told_as_fast_as_without_a_power_cut(database: Database, ledger: Ledger) -> None:
    desk = await open_desk(database, *RULES)
    await desk.decide(mains(there=False, at=T0), sample(LIFT, {"power": "off", "alarm_button": True}, T0))
    found = await quiet(database)
    assert found["L-1 elevator.alarm_button"] == []
    assert found["L-1 elevator.stopped"] == UNDER
    desk.clock.now += FACTS_TAKE_MS
    await desk.tickets.tick()
    assert {row["type"] for row in await rows_of(database, ticket) if row["equipment"] == "L-1"} == {"emergency"}


@pytest.mark.parametrize("together", [True, False])
async def test_children_that_came_first_go_under_the_cause_and_their_tickets_stay(
    database: Database, ledger: Ledger, together: bool
) -> None:
    desk = await open_desk(database, *RULES)
    child, parent = bearing(91, T0), mains(there=False, at=T0 + 200, received_at=T0 + FACTS_TAKE_MS + 900)
    if together:
        await desk.decide(child, parent)
    else:
        await desk.decide(child)
        assert await ticketed(desk) == {"P-1"}
        await desk.decide(parent)
    assert (await quiet(database))["P-1 pump.hot"] == UNDER
    assert await ticketed(desk) == ({"M-1"} if together else {"M-1", "P-1"})
    lines = [(row["event"], row["note"]) for row in await rows_of(database, journal) if row["subject"] == "alarm"]
    assert ("suppressed", "sensor.mains_lost") in lines


async def test_what_stood_long_before_is_not_explained(database: Database, ledger: Ledger) -> None:
    desk = await open_desk(database, *RULES)
    await desk.decide(bearing(91, T0))
    await desk.decide(mains(there=False, at=T0 + EARLIER_MS + 1))
    assert (await quiet(database))["P-1 pump.hot"] == []


async def test_a_moment_after_the_power_is_back_what_still_stands_is_told_and_ticketed(
    database: Database, ledger: Ledger
) -> None:
    desk = await open_desk(database, *RULES)
    await desk.decide(mains(there=False, at=T0), bearing(91, T0 + 1), bearing(92, T0 + 1, pump="P-2"))
    await desk.decide(mains(there=True, at=T0 + 10_000), bearing(50, T0 + 10_001, pump="P-2"))
    desk.clock.now = T0 + 69_999
    await desk.alarms.tick()
    assert (await quiet(database))["P-1 pump.hot"] == UNDER, "devices need a moment to come back"
    await desk.decide(sample(LIFT, {"power": "off"}, T0 + 69_999))
    assert (await quiet(database))["L-1 elevator.stopped"] == UNDER, "also what comes in that moment"
    desk.clock.now = T0 + 70_000
    await desk.alarms.tick()
    assert not any((await quiet(database)).values())
    states = {row["equipment"]: (row["state"], row["active"]) for row in await rows_of(database, alarm)}
    assert states["P-1"] == ("unacknowledged", True)
    assert states["P-2"] == ("returned_unacknowledged", False), "its true state"
    assert await ticketed(desk) == {"M-1", "P-1", "L-1"}


async def test_a_power_cut_that_proves_wrong_releases_at_once(database: Database, ledger: Ledger) -> None:
    slow = msgspec.structs.replace(CUT, on_delay=2_000)
    desk = await open_desk(database, slow, *RULES[1:])
    await desk.decide(mains(there=False, at=T0), bearing(91, T0 + 1))
    desk.clock.now = T0 + 2_000
    await desk.alarms.tick()
    assert (await quiet(database))["P-1 pump.hot"] == UNDER
    await desk.decide(mains(there=True, at=T0 + 1_900, received_at=T0 + 2_500))  # it was on its way
    assert (await quiet(database))["P-1 pump.hot"] == []
    again = await open_desk(database, slow, *RULES[1:], clock=desk.clock)
    await again.decide(bearing(91, T0 + 3_000, pump="P-2"))
    assert (await quiet(database))["P-2 pump.hot"] == []


async def test_a_restart_during_the_power_cut_changes_nothing(database: Database, ledger: Ledger) -> None:
    desk = await open_desk(database, *RULES)
    await desk.decide(mains(there=False, at=T0), bearing(91, T0 + 1))
    before = await rows_of(database, alarm)
    again = await open_desk(database, *RULES, clock=desk.clock)
    assert await rows_of(database, alarm) == before
    await again.decide(bearing(92, T0 + 2, pump="P-2"))
    assert (await quiet(database))["P-2 pump.hot"] == UNDER
    await again.decide(mains(there=True, at=T0 + 1_000))
    third = await open_desk(database, *RULES, clock=desk.clock)
    assert (await quiet(database))["P-1 pump.hot"] == UNDER, "its moment is not over"
    third.clock.now = T0 + 61_000
    await third.alarms.tick()
    assert not any((await quiet(database)).values())


async def test_when_the_moment_is_over_while_nobody_owns_the_alarms_the_next_owner_releases(
    database: Database, ledger: Ledger
) -> None:
    desk = await open_desk(database, *RULES)
    await desk.decide(mains(there=False, at=T0), bearing(91, T0 + 1))
    await desk.decide(mains(there=True, at=T0 + 1_000))
    desk.clock.now = T0 + 61_000
    await open_desk(database, *RULES, clock=desk.clock)
    assert not any((await quiet(database)).values())


async def test_a_cause_that_somebody_shelves_releases_what_it_explains(database: Database, ledger: Ledger) -> None:
    """Else nobody would be told of either."""
    desk = await open_desk(database, *RULES)
    await desk.decide(mains(there=False, at=T0), bearing(91, T0 + 1))
    (cause,) = [row for row in await rows_of(database, alarm) if row["equipment"] == "M-1"]
    shelf = Shelf(
        since=desk.clock.now, until=desk.clock.now + 60_000, one_shot=False, person="a", second_person=None, reason="x"
    )
    await shelve(database, cause["id"], cause["version"], shelf, OPERATOR)
    async with desk.following():
        await until_quiet(database, "P-1 pump.hot", [])
    assert await ticketed(desk) >= {"P-1"}


async def test_a_link_that_is_made_or_taken_back_counts_at_once(database: Database, ledger: Ledger) -> None:
    desk = await open_desk(database, *RULES)
    await desk.decide(mains(there=False, at=T0), bearing(91, T0 + 1))
    link = Link("HQ", "P-1", "M-1", Relation.POWER)
    async with desk.following():
        await ledger.links.unlink(link, OPERATOR, T0 + 2)
        await until_quiet(database, "P-1 pump.hot", [])
        await ledger.links.link(link, OPERATOR, T0 + 3)
        await until_quiet(database, "P-1 pump.hot", UNDER)


async def test_a_rule_that_another_one_explains_is_told_when_that_is_over(database: Database, ledger: Ledger) -> None:
    desk = await open_desk(database, *RULES)
    await desk.decide(pump({"running": False, "drive_fault": 1.0}, T0))
    assert await quiet(database) == {"P-1 pump.drive": [], "P-1 pump.no_start": [(Reason.RULE.value, "P-1")]}
    await desk.decide(pump({"running": False, "drive_fault": 0.0}, T0 + 1_000))
    assert not any((await quiet(database)).values())
    assert len(await rows_of(database, ticket)) == 0
    await ticketed(desk)
    assert len(await rows_of(database, ticket)) == 2


async def test_what_cannot_be_written_is_no_cause(database: Database, ledger: Ledger) -> None:
    """The cause is read from the table: memory never runs ahead of it."""
    desk = await open_desk(database, *RULES)
    await desk.decide(mains(there=False, at=T0))
    async with database.transaction() as connection:
        (row,) = await rows_of(database, alarm)
        await alarms_by_id(connection, [row["id"]])
        await connection.execute(alarm.update().values(active=False, returned_at=T0 - 60_001))
    desk.alarms.suppressor._stale = True
    await desk.decide(bearing(91, T0 + 5))
    assert (await quiet(database))["P-1 pump.hot"] == []


async def until_quiet(database: Database, which: str, wanted: list[tuple[str, str]]) -> None:
    async def is_so() -> bool:
        return (await quiet(database))[which] == wanted

    await until_awaited(is_so, f"{which} is kept quiet by {wanted}")
