"""Tickets: they open once for each alarm that wants one, follow it, and have a number of their site's day."""

import asyncio
import contextlib
import itertools
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, update
from sqlalchemy.exc import IntegrityError
from structlog.testing import capture_logs

from collectors.wire.reading import to_milliseconds
from gateway.alarms.lifecycle.operator_actions import acknowledge
from gateway.alarms.rules.rule import Priority, TicketWish
from gateway.equipment.ledger import Ledger, Site
from gateway.people.audit.entry import CLOCK, RULES
from gateway.storage.database import Database
from gateway.storage.leadership import lease
from gateway.storage.outbox import outbox as facts_module
from gateway.storage.outbox.outbox import Fact
from gateway.storage.tables import (
    alarm,
    audit,
    dead_letter,
    fact,
    journal,
    ticket,
    ticket_activation,
    ticket_alarm,
)
from gateway.storage.transaction import Transaction
from gateway.tickets.alarm_to_ticket import What
from gateway.tickets.floors import floor_order
from gateway.tickets.lifecycle.states import CLOSED, FIRST_STATE, STEPS, Action, NotPermitted, TicketType, after
from gateway.tickets.numbers import day_of, format_number, take_numbers
from gateway.tickets.tickets import FACTS_TAKE_MS, LONGEST_PATIENCE_MS, NoSuchTicket, StaleVersion, act
from tests.builders.alarms import (
    OPERATOR,
    T0,
    Desk,
    bearing,
    fire_rule,
    make_rule,
    only_row,
    open_desk,
    panel_event,
    rows_of,
    sqlite_address,
)

R, E = TicketType.REPAIR, TicketType.EMERGENCY

# -- states --------------------------------------------------------------------------------------------


def walk(kind: TicketType, *actions: Action) -> str:
    state = FIRST_STATE
    for action in actions:
        state = after(kind, state, action)
    return state


def test_a_repair_goes_its_way() -> None:
    steps = (Action.ASSIGN, Action.ACCEPT, Action.ARRIVE, Action.FINISH, Action.VERIFY, Action.CLOSE)
    assert walk(R, *steps) == "closed"
    assert walk(R, *steps[:4], Action.REOPEN) == "open"
    assert walk(R, Action.ASSIGN, Action.ASSIGN) == "assigned"  # to somebody else
    assert walk(R, Action.ASSIGN, Action.CANCEL) == "cancelled"


def test_an_emergency_goes_its_way() -> None:
    steps = (
        Action.ACKNOWLEDGE, Action.RESPOND, Action.ARRIVE, Action.CONTAIN, Action.RESOLVE, Action.REVIEW,
    )  # fmt: skip
    assert walk(E, *steps) == "reviewed"
    for count in range(4):  # until it is contained it may prove false
        assert walk(E, *steps[:count], Action.STAND_DOWN) == "stood_down"


@pytest.mark.parametrize("kind", list(TicketType))
def test_every_step_outside_the_table_is_refused_and_the_text_says_what_is_permitted(
    kind: TicketType,
) -> None:
    states = {FIRST_STATE, *CLOSED[kind], *(state for state, _ in STEPS[kind]), *STEPS[kind].values()}
    for state, action in itertools.product(states, Action):
        if (state, action) in STEPS[kind]:
            assert after(kind, state, action) in states
            continue
        with pytest.raises(NotPermitted) as refused:
            after(kind, state, action)
        permitted = {name for before, name in STEPS[kind] if before == state}
        assert all(name in str(refused.value) for name in permitted or {"nothing more"})


@pytest.mark.parametrize("kind", list(TicketType))
def test_what_is_over_stays_over(kind: TicketType) -> None:
    assert not [step for step in STEPS[kind] if step[0] in CLOSED[kind]]


@given(st.sampled_from(TicketType), st.lists(st.sampled_from(Action), max_size=30))
def test_no_sequence_of_acts_leaves_the_table(kind: TicketType, actions: list[Action]) -> None:
    state = FIRST_STATE
    known = {FIRST_STATE, *STEPS[kind].values()}
    for action in actions:
        if (state, action) in STEPS[kind]:
            state = after(kind, state, action)
        assert state in known


# -- numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "zone", "day"),
    [
        ("2026-11-22T15:59:59.999Z", "Asia/Shanghai", "20261122"),  # a millisecond before midnight there
        ("2026-11-22T16:00:00Z", "Asia/Shanghai", "20261123"),
        ("2026-11-22T16:00:00Z", "UTC", "20261122"),
        ("2026-03-29T01:30:00Z", "Europe/Berlin", "20260329"),  # the night without three o'clock
        ("2026-01-01T05:00:00Z", "America/New_York", "20260101"),
        ("2026-01-01T04:59:59Z", "America/New_York", "20251231"),
    ],
)
def test_the_day_is_the_sites(moment: str, zone: str, day: str) -> None:
    assert day_of(to_milliseconds(datetime.fromisoformat(moment)), zone) == day


def test_a_number_reads_as_the_contract_says() -> None:
    assert format_number(E, "hq", "20261122", 1) == "E-HQ-20261122-0001"
    assert format_number(R, "HQ", "20261122", 12345) == "R-HQ-20261122-12345"


async def enter_sites(database: Database, *sites: tuple[str, str]) -> None:
    ledger = Ledger(database, 10, "UTC")
    places = [Site(code, {"en": code, "zh-CN": code}, zone) for code, zone in sites]
    await ledger.enter(places, [], CLOCK, T0)


async def numbers_at(database: Database, *wanted: tuple[str, TicketType, str]) -> list[str]:
    found = []
    for moment, kind, site in wanted:
        async with database.transaction() as connection:
            now = to_milliseconds(datetime.fromisoformat(moment).astimezone(UTC))
            found += await take_numbers(connection, [(kind, site)], now)
    return found


async def test_numbers_count_by_site_type_and_day(database: Database) -> None:
    await enter_sites(database, ("HQ", "Asia/Shanghai"), ("B", "UTC"))
    evening, midnight = "2026-11-22T15:59:59Z", "2026-11-22T16:00:00Z"  # in Shanghai
    expected = {
        (evening, R, "HQ"): "R-HQ-20261122-0001",
        (evening, E, "HQ"): "E-HQ-20261122-0001",
        (midnight, R, "HQ"): "R-HQ-20261123-0001",
        (midnight, R, "B"): "R-B-20261122-0001",
    }
    assert await numbers_at(database, *expected) == list(expected.values())
    assert await numbers_at(database, (evening, R, "HQ")) == ["R-HQ-20261122-0002"]


async def test_sites_that_differ_in_capitals_only_never_share_a_number(database: Database) -> None:
    await enter_sites(database, ("hq", "UTC"), ("HQ", "UTC"))
    noon = "2026-11-22T12:00:00Z"
    numbers = await numbers_at(database, (noon, R, "hq"), (noon, R, "HQ"), (noon, R, "hq"))
    assert len(set(numbers)) == 3


async def test_a_number_that_was_rolled_back_is_given_again(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as connection:
            assert await take_numbers(connection, [(R, "HQ")], T0) == ["R-HQ-20251122-0001"]
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await numbers_at(database, ("2025-11-22T12:00:00Z", R, "HQ")) == ["R-HQ-20251122-0001"]


# -- opening -------------------------------------------------------------------------------------------


async def tickets_of(desk: Desk) -> list[dict[str, Any]]:
    return await rows_of(desk.database, ticket)


async def caught_up(desk: Desk) -> None:
    """Let both followers work off every fact there is."""
    async with desk.following():
        while True:
            newest = max([row["id"] for row in await rows_of(desk.database, fact)], default=0)
            places = [desk.tickets._consumer.place, desk.alarms._tickets.place]
            if min(places) >= newest:
                return
            await asyncio.sleep(0.005)


async def test_an_alarm_has_its_ticket_within_a_moment(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Woken by the commit: looking again each second is switched off here."""
    monkeypatch.setattr(facts_module, "_LOOK_AGAIN_S", 3_600.0)
    desk = await open_desk(database, fire_rule())
    async with desk.following():
        await asyncio.sleep(0)
        started = asyncio.get_running_loop().time()
        await desk.decide(panel_event(T0))
        while not await tickets_of(desk):
            assert asyncio.get_running_loop().time() - started < 20, "no ticket came"
            await asyncio.sleep(0.005)
    row = await only_row(database, ticket)
    found = await only_row(database, alarm)
    assert (row["number"], row["type"], row["state"]) == ("E-HQ-20251122-0001", "emergency", "open")
    assert (row["alarm"], row["open_key"]) == (found["id"], "HQ/FP-1/fire:critical:fire")
    assert (row["playbook"], row["priority"], row["title"]) == ("fire", "critical", found["title"])
    (line,) = [line for line in await rows_of(database, journal) if line["subject"] == "ticket"]
    assert (line["thing"], line["event"], line["actor"]) == (row["number"], "opened", "system:tickets")
    assert "ticket.opened" in {record["act"] for record in await rows_of(database, audit)}
    assert "ticket.opened" in {told["kind"] for told in await rows_of(database, fact)}
    assert (await only_row(database, ticket_activation))["ticket"] == row["number"]


async def test_an_alarm_that_wants_no_ticket_gets_none(database: Database) -> None:
    desk = await open_desk(database, make_rule(ticket=TicketWish.NONE))
    await desk.decide(bearing(91, T0))
    await caught_up(desk)
    await tick(desk)
    assert await tickets_of(desk) == []


async def tick(desk: Desk) -> None:
    """A tick that comes when facts should have done their work."""
    desk.clock.now += FACTS_TAKE_MS
    await desk.tickets.tick()


async def lose_facts(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(delete(fact))


async def test_where_the_fact_is_lost_the_tick_opens_the_ticket(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    await lose_facts(database)
    await tick(desk)
    row = await only_row(database, ticket)
    assert (row["number"], row["type"]) == ("R-HQ-20251122-0001", "repair")
    await tick(desk)
    assert await tickets_of(desk) == [row]


async def test_the_tick_leaves_a_moment_to_the_fact(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    with capture_logs() as logged:
        await desk.tickets.tick()
    assert (await tickets_of(desk), logged) == ([], [])


async def test_fact_and_tick_at_once_open_one_ticket(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    for number in range(20):
        await desk.decide(bearing(91, T0 + number, pump=f"P-{number}"))
    async with desk.following():
        await asyncio.gather(*(tick(desk) for _ in range(5)))
    await caught_up(desk)
    assert len(await rows_of(database, ticket_activation)) == 20
    assert len(await tickets_of(desk)) == 20
    assert len({row["open_key"] for row in await tickets_of(desk)}) == 20


async def test_a_second_open_ticket_of_one_key_is_refused_by_the_database_itself(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    await tick(desk)
    second = {**await only_row(database, ticket), "number": "R-HQ-1", "id": "another"}
    with pytest.raises(IntegrityError, match="open_key"):
        async with database.transaction() as connection:
            await connection.execute(insert(ticket).values(**second))


async def test_while_a_ticket_is_open_new_activations_join_it(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0), bearing(50, T0 + 1), bearing(92, T0 + 2))
    await caught_up(desk)
    row = await only_row(database, ticket)
    assert [joined["ticket"] for joined in await rows_of(database, ticket_activation)] == [row["number"]] * 2
    events = [line["event"] for line in await rows_of(database, journal) if line["subject"] == "ticket"]
    assert events == ["opened", "condition_returned", "activation_joined"]


async def test_a_new_alarm_of_the_same_key_joins_the_ticket_that_is_still_open(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    first = await only_row(database, alarm)
    await acknowledge(database, first["id"], first["version"], "", OPERATOR, T0)
    await desk.decide(bearing(50, T0 + 1), bearing(92, T0 + 2))
    await caught_up(desk)
    row = await only_row(database, ticket)
    newer = next(found for found in await rows_of(database, alarm) if found["id"] != first["id"])
    assert row["alarm"] == newer["id"]
    assert len(await rows_of(database, ticket_activation)) == 2


async def test_the_tick_finds_an_activation_that_was_not_joined(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    await caught_up(desk)
    await desk.decide(bearing(50, T0 + 1), bearing(92, T0 + 2))
    await lose_facts(database)
    await tick(desk)
    assert len(await rows_of(database, ticket_activation)) == 2
    await only_row(database, ticket)


async def close_repair(desk: Desk) -> None:
    row = await only_row(desk.database, ticket)
    await act(desk.database, row["number"], Action.CANCEL, row["version"], "", OPERATOR, T0)


async def test_a_ticket_closed_while_the_alarm_stands_is_not_opened_again_until_it_raises_again(
    database: Database,
) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    await caught_up(desk)
    await close_repair(desk)
    with capture_logs() as logged:
        for _ in range(3):
            await tick(desk)
    assert len(await tickets_of(desk)) == 1
    assert logged == []  # each second the same line would hide every other
    await desk.decide(bearing(50, T0 + 1), bearing(92, T0 + 2))
    await caught_up(desk)
    assert [row["open_key"] for row in await tickets_of(desk)] == [None, "HQ/P-1//pump.hot"]


async def test_two_sites_that_differ_in_capitals_both_get_their_tickets(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    other = bearing(91, T0)
    other.topic = type(other.topic)("hq", other.topic.kind, "P-1", other.topic.channel)
    await desk.decide(bearing(91, T0), other)
    await caught_up(desk)
    assert sorted(row["site"] for row in await tickets_of(desk)) == ["HQ", "hq"]


async def test_who_lost_the_lease_opens_no_ticket(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    await lease.take(database, "another", T0 + lease.LIFETIME_MS)
    with pytest.raises(lease.LeaseLost):
        await tick(desk)
    with pytest.raises(lease.LeaseLost):
        await asyncio.wait_for(desk.tickets.follow_alarms(), 5)
    assert await tickets_of(desk) == []


# -- many at once --------------------------------------------------------------------------------------


async def count_transactions(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted, real = [0], desk.database.transaction

    @contextlib.asynccontextmanager
    async def transaction() -> AsyncIterator[Transaction]:
        counted[0] += 1
        async with real() as connection:
            yield connection

    monkeypatch.setattr(desk.database, "transaction", transaction)
    return counted


async def test_a_thousand_alarms_get_a_ticket_each_in_a_few_transactions_and_numbers_without_a_gap(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(*(bearing(91, T0, pump=f"P-{number}") for number in range(1_000)))
    transactions = await count_transactions(desk, monkeypatch)
    await caught_up(desk)
    assert transactions[0] < 10
    rows = await tickets_of(desk)
    assert [row["number"] for row in rows] == [f"R-HQ-20251122-{number:04d}" for number in range(1, 1_001)]
    assert {row["alarm"] for row in rows} == {row["id"] for row in await rows_of(database, alarm)}
    for table, column in ((ticket_alarm, "ticket"), (ticket_activation, "ticket")):
        assert sorted(row[column] for row in await rows_of(database, table)) == [row["number"] for row in rows]
    for table, column in ((journal, "event"), (audit, "act"), (fact, "kind")):
        opened = "opened" if table is journal else "ticket.opened"
        assert [row[column] for row in await rows_of(database, table)].count(opened) == 1_000


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=30), st.data())
async def test_in_whatever_batches_facts_are_taken_the_tickets_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, migrated_file: Path, steps: list[tuple[int, bool]], data: st.DataObject
) -> None:
    """One by one, all together, or cut anywhere."""
    written = []
    cuts = data.draw(st.lists(st.integers(1, 10), min_size=30, max_size=30))
    for sizes in ([1] * 60, [60], cuts):
        file = tmp_path_factory.mktemp("batches") / "gengfu.db"
        shutil.copy(migrated_file, file)
        database = Database(sqlite_address(file))
        desk = await open_desk(database, make_rule())
        for at, (pump, is_hot) in enumerate(steps):
            await desk.decide(bearing(91 if is_hot else 50, T0 + at, pump=f"P-{pump}"))
        told = [Fact(**row) for row in await rows_of(database, fact) if row["kind"] in set(What)]
        for size in sizes:
            async with database.transaction() as connection:
                await desk.tickets._take(connection, told[:size])
            del told[:size]
        lines = [line for line in await rows_of(database, journal) if line["subject"] == "ticket"]
        written.append(
            (
                [(row["number"], row["open_key"], row["version"], row["state"]) for row in await tickets_of(desk)],
                [(line["thing"], line["event"]) for line in lines],
                len(await rows_of(database, ticket_activation)),
            )
        )
        await database.close()
    assert written[0] == written[1] == written[2]


# -- what cannot be worked off -------------------------------------------------------------------------


async def test_an_alarm_whose_ticket_cannot_be_opened_holds_back_no_other_and_is_tried_again_ever_more_seldom(
    database: Database,
) -> None:
    desk = await open_desk(database, make_rule())
    for number in range(5):
        await desk.decide(bearing(91, T0 + number, pump=f"P-{number}"))
    guilty = (await rows_of(database, alarm))[2]["id"]
    await spoil(database, guilty, "fax")
    await caught_up(desk)
    assert len(await tickets_of(desk)) == 4
    assert (await only_row(database, dead_letter))["thing"] == guilty
    assert desk.tickets.notice == "1 dead letters in the last 24 h, see the log"
    tries = []
    for second in range(40):
        with capture_logs() as logged:
            await tick(desk)
        if any(line["log_level"] == "error" for line in logged):
            tries.append(second)
    assert tries == [0, 1, 3, 7, 15, 31]
    assert "1 alarms have no ticket" in desk.tickets.notice
    await spoil(database, guilty, "repair")
    desk.clock.now += LONGEST_PATIENCE_MS
    await tick(desk)
    await tick(desk)
    assert len(await tickets_of(desk)) == 5
    assert "have no ticket" not in desk.tickets.notice


async def spoil(database: Database, identity: str, wish: str) -> None:
    """Make an alarm want a ticket that there is not."""
    async with database.transaction() as connection:
        await connection.execute(update(alarm).where(alarm.c.id == identity).values(wants_ticket=wish))


# -- fire ----------------------------------------------------------------------------------------------


async def test_further_fire_points_of_a_building_join_its_open_emergency(database: Database) -> None:
    desk = await open_desk(database, fire_rule())
    await desk.decide(panel_event(T0, zone="3F"))
    await caught_up(desk)
    await desk.decide(panel_event(T0 + 1, address="24", zone="4F"), panel_event(T0 + 2, address="25"))
    await caught_up(desk)
    row = await only_row(database, ticket)
    first, *_ = alarms = await rows_of(database, alarm)
    assert [found["state"] for found in alarms] == ["unacknowledged"] * 3
    assert (row["alarm"], row["version"]) == (first["id"], 3)
    assert {joined["alarm"] for joined in await rows_of(database, ticket_alarm)} == {found["id"] for found in alarms}
    assert len(await rows_of(database, ticket_activation)) == 3
    lines = [(line["event"], line["note"]) for line in await rows_of(database, journal) if line["subject"] == "ticket"]
    assert lines == [("opened", "3F · 1-23"), ("alarm_joined", "4F · 1-24"), ("alarm_joined", "1-25")]


async def test_what_is_no_fire_of_this_building_never_joins(database: Database) -> None:
    gas = fire_rule(match={"type": frozenset({"supervisory"})}, playbook="gas")
    high = fire_rule(match={"type": frozenset({"feedback"})}, priority=Priority.HIGH)
    fault = fire_rule(match={"type": frozenset({"fault"})}, ticket=TicketWish.REPAIR)
    rules = [msgspec.structs.replace(rule, id=f"fire_panel.{name}") for name, rule in
             (("gas", gas), ("high", high), ("fault", fault))]  # fmt: skip
    desk = await open_desk(database, fire_rule(), *rules)
    other = panel_event(T0 + 5)
    other.topic = type(other.topic)("HQ", other.topic.kind, "FP-2", other.topic.channel)
    other.digest = other.digest[::-1]
    await desk.decide(panel_event(T0), other)
    await desk.decide(*(panel_event(T0 + 1, type=name) for name in ("supervisory", "feedback", "fault")))
    await desk.decide(panel_event(T0 + 2, type="fault", address="9"))
    await caught_up(desk)
    assert sorted(row["open_key"] for row in await tickets_of(desk)) == [
        "HQ/FP-1/1-23/fire_panel.fault",
        "HQ/FP-1/1-9/fire_panel.fault",
        "HQ/FP-1/fire:critical:fire",
        "HQ/FP-1/fire:critical:gas",
        "HQ/FP-1/fire:high:fire",
        "HQ/FP-2/fire:critical:fire",
    ]


async def test_a_new_fire_point_sounds_although_its_emergency_is_acknowledged(database: Database) -> None:
    desk, row = await emergency(database)
    await act(database, row["number"], Action.ACKNOWLEDGE, row["version"], "", OPERATOR, T0 + 9)
    await desk.decide(panel_event(T0 + 10, address="24"))
    await caught_up(desk)
    assert [found["state"] for found in await rows_of(database, alarm)] == ["acknowledged", "unacknowledged"]
    assert (await only_row(database, ticket))["state"] == "acknowledged"


async def test_acknowledging_one_fire_point_answers_for_the_emergency_and_for_no_other_point(
    database: Database,
) -> None:
    desk = await open_desk(database, fire_rule())
    await desk.decide(panel_event(T0), panel_event(T0 + 1, address="24"))
    await caught_up(desk)
    _, second = await rows_of(database, alarm)
    await acknowledge(database, second["id"], second["version"], "", OPERATOR, T0 + 9)
    await caught_up(desk)
    assert [found["state"] for found in await rows_of(database, alarm)] == ["unacknowledged", "acknowledged"]
    assert (await only_row(database, ticket))["state"] == "acknowledged"


async def test_acknowledging_the_emergency_acknowledges_what_it_has_gathered_and_nothing_later(
    database: Database,
) -> None:
    desk = await open_desk(database, fire_rule())
    await desk.decide(panel_event(T0), panel_event(T0 + 1, address="24"), panel_event(T0 + 2, address="25"))
    await caught_up(desk)
    row = await only_row(database, ticket)
    await act(database, row["number"], Action.ACKNOWLEDGE, row["version"], "", OPERATOR, T0 + 9)
    # Before the fact is heard: one point comes again, and a new one joins.
    await desk.decide(panel_event(T0 + 10, address="24", active=False), panel_event(T0 + 11, address="24"))
    await desk.decide(panel_event(T0 + 12, address="26"))
    await caught_up(desk)
    states = {found["part"]: found["state"] for found in await rows_of(database, alarm)}
    assert states == {
        "1-23": "acknowledged", "1-24": "unacknowledged", "1-25": "acknowledged", "1-26": "unacknowledged",
    }  # fmt: skip


async def test_fire_again_at_an_active_point_is_no_new_activation(database: Database) -> None:
    desk, row = await emergency(database)
    await desk.decide(panel_event(T0 + 50))
    await caught_up(desk)
    assert (await only_row(database, alarm))["activations"] == 1
    assert await only_row(database, ticket) == row


async def test_after_the_emergency_is_over_the_next_fire_point_opens_a_new_one(database: Database) -> None:
    desk, row = await emergency(database)
    await act(database, row["number"], Action.STAND_DOWN, row["version"], "burnt toast", OPERATOR, T0 + 9)
    await desk.decide(panel_event(T0 + 10, address="24"))
    await caught_up(desk)
    assert [found["state"] for found in await tickets_of(desk)] == ["stood_down", "open"]


@pytest.mark.parametrize(
    ("zones", "ordered"),
    [
        (["10F", "2F", "1F", "B1", "B2"], ["B2", "B1", "1F", "2F", "10F"]),
        (["3楼", "地下1层", "屋顶", "12楼"], ["地下1层", "3楼", "12楼", "屋顶"]),
        (["", "-1F", "Zone 2", "Lobby 1"], ["-1F", "Lobby 1", "Zone 2", ""]),
        (["AB12", "3"], ["3", "AB12"]),
    ],
)
def test_zones_are_in_the_order_of_floors(zones: list[str], ordered: list[str]) -> None:
    assert sorted(zones, key=floor_order) == ordered


# -- acts ----------------------------------------------------------------------------------------------


async def emergency(database: Database) -> tuple[Desk, dict[str, Any]]:
    desk = await open_desk(database, fire_rule())
    await desk.decide(panel_event(T0))
    await caught_up(desk)
    return desk, await only_row(database, ticket)


async def test_acknowledging_the_alarm_acknowledges_its_emergency(database: Database) -> None:
    desk, _ = await emergency(database)
    found = await only_row(database, alarm)
    await acknowledge(database, found["id"], found["version"], "", OPERATOR, T0 + 9)
    await caught_up(desk)
    row = await only_row(database, ticket)
    assert row["state"] == "acknowledged"
    line = [line for line in await rows_of(database, journal) if line["thing"] == row["number"]][-1]
    assert (line["event"], line["actor"]) == ("acknowledge", "demo:operator")


async def test_acknowledging_the_emergency_acknowledges_its_alarm(database: Database) -> None:
    desk, row = await emergency(database)
    await act(database, row["number"], Action.ACKNOWLEDGE, row["version"], "", OPERATOR, T0 + 9)
    await caught_up(desk)
    found = await only_row(database, alarm)
    assert (found["state"], found["acknowledged_by"]) == ("acknowledged", "demo:operator")
    assert (await only_row(database, ticket))["version"] == row["version"] + 1  # and it does not echo


async def test_acknowledging_the_alarm_leaves_a_repair_as_it_is(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    await caught_up(desk)
    found = await only_row(database, alarm)
    await acknowledge(database, found["id"], found["version"], "", OPERATOR, T0)
    await caught_up(desk)
    assert (await only_row(database, ticket))["state"] == "open"


async def test_an_act_moves_the_ticket_and_says_who_did_it(database: Database) -> None:
    _, row = await emergency(database)
    await act(database, row["number"], Action.STAND_DOWN, row["version"], "burnt toast", OPERATOR, T0 + 9)
    moved = await only_row(database, ticket)
    assert (moved["state"], moved["closed_at"], moved["open_key"]) == ("stood_down", T0 + 9, None)
    line = (await rows_of(database, journal))[-1]
    assert (line["event"], line["before"], line["after"], line["note"]) == (
        "stand-down", "open", "stood_down", "burnt toast",
    )  # fmt: skip
    record = (await rows_of(database, audit))[-1]
    assert (record["act"], record["actor"], record["before"]["state"]) == (
        "ticket.stand-down", "demo:operator", "open",
    )  # fmt: skip


async def test_unknown_stale_and_illegal_acts_change_nothing(database: Database) -> None:
    _, row = await emergency(database)
    lines = len(await rows_of(database, journal))
    with pytest.raises(NoSuchTicket):
        await act(database, "E-HQ-1", Action.ACKNOWLEDGE, 1, "", OPERATOR, T0)
    with pytest.raises(StaleVersion):
        await act(database, row["number"], Action.ACKNOWLEDGE, row["version"] + 1, "", OPERATOR, T0)
    with pytest.raises(NotPermitted, match="permits acknowledge, stand-down; not close"):
        await act(database, row["number"], Action.CLOSE, row["version"], "", OPERATOR, T0)
    assert await only_row(database, ticket) == row
    assert len(await rows_of(database, journal)) == lines


async def test_of_two_who_act_at_once_the_second_is_told_that_it_changed(database: Database) -> None:
    _, row = await emergency(database)
    found = await asyncio.gather(
        *(act(database, row["number"], Action.ACKNOWLEDGE, row["version"], "", RULES, T0) for _ in range(2)),
        return_exceptions=True,
    )
    assert {type(item) for item in found} == {type(None), StaleVersion}


async def test_a_drill_stays_a_drill(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    async with database.transaction() as connection:
        await connection.execute(update(alarm).values(drill=True))
    await caught_up(desk)
    assert (await only_row(database, ticket))["drill"] is True
