"""What is older than it is kept goes, what is younger stays, and what is open never goes. On both databases."""

import asyncio
import contextlib
import itertools
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Table, UniqueConstraint, func, insert, select, update

from collectors.chunks import FIRST
from gateway.retention import retention as job
from gateway.retention.expired_rows import DAY_MS, fitting, limits, rules
from gateway.retention.retention import Retention
from gateway.settings import RetentionSettings
from gateway.storage.database import Database
from gateway.storage.leadership import lease
from gateway.storage.leadership.lease import LeaseLost
from gateway.storage.tables import (
    activation,
    alarm,
    approval,
    attachment,
    audit,
    consumer_offset,
    dead_letter,
    event,
    fact,
    journal,
    maintenance_window,
    metadata,
    quarantine,
    ticket,
    ticket_activation,
    ticket_alarm,
)
from gateway.storage.transaction import Transaction
from tests.builders.alarms import T0, Clock, fire_rule, open_desk, panel_event, rows_of
from tests.gateway.storage.transactions import Transactions
from tests.servers.mosquitto import free_port
from tests.servers.service import Service, wait_until
from tests.servers.waiting import until

DAYS = RetentionSettings(
    alarm_days=100, approval_days=300, fire_days=500, maintenance_days=400, patrol_days=200, technical_days=30
)


def ago(days: float) -> int:
    return T0 - int(days * DAY_MS)


def an_alarm(identity: str, closed: float | None, kind: str = "pump") -> dict[str, Any]:
    """Closed so many days ago; None: open."""
    return {
        "id": identity, "site": "HQ", "equipment": "P-1", "kind": kind, "part": "", "zone": "", "rule": "r",
        "open_key": identity if closed is None else None, "title": {}, "advice": {}, "priority": "high",
        "life_safety": False, "latching": False, "state": "normal", "active": False, "raised_at": ago(3000),
        "received_at": ago(3000), "closed_at": None if closed is None else ago(closed), "activations": 1,
        "field": "", "unit": "", "wants_ticket": "none", "playbook": "", "drill": False, "version": 1,
    }  # fmt: skip


def an_activation(of: str) -> dict[str, Any]:
    return {
        "id": f"activation of {of}", "identity": of, "alarm": of, "site": "HQ", "equipment": "P-1", "part": "",
        "rule": "r", "priority": "high", "started_at": ago(3000), "received_at": ago(3000), "disproved": False,
        "drill": False,
    }  # fmt: skip


def a_ticket(number: str, closed: float | None, kind: str = "repair") -> dict[str, Any]:
    return {
        "number": number, "id": number, "type": kind, "site": "HQ", "equipment": "P-1", "title": {}, "priority": "high",
        "state": "open", "playbook": "", "opened_at": ago(3000), "drill": False, "version": 1,
        "open_key": number if closed is None else None, "closed_at": None if closed is None else ago(closed),
    }  # fmt: skip


def an_attachment(number: str) -> dict[str, Any]:
    return {"id": f"of {number}", "ticket": number, "site": "HQ", "name": "a.jpg", "media_type": "image/jpeg",
            "size": 1, "sha256": "", "position": False, "person": "p", "at": ago(3000)}  # fmt: skip


def a_line(subject: str, thing: str) -> dict[str, Any]:
    return {"subject": subject, "thing": thing, "at": ago(3000), "event": "e", "before": "", "after": "", "actor": "p",
            "note": ""}  # fmt: skip


def an_event(digest: str, days: float, kind: str) -> dict[str, Any]:
    return {"digest": digest, "site": "HQ", "kind": kind, "equipment": "E", "fields": {}, "quality": 0,
            "measured_at": ago(3000), "received_at": ago(days)}  # fmt: skip


def a_fact(identity: int, days: float) -> dict[str, Any]:
    return {"id": identity, "at": ago(days), "site": "HQ", "kind": "alarm.raised", "thing": "a", "body": {}}


async def put(database: Database, table: Table, *rows: dict[str, Any]) -> None:
    async with database.transaction() as connection:
        await connection.execute(insert(table), list(rows))


async def keys(database: Database, table: Table, column: str) -> list[Any]:
    return sorted(row[column] for row in await rows_of(database, table))


async def make_retention(database: Database, stopwatch: Callable[[], float] = time.monotonic) -> Retention:
    epoch = await lease.take(database, "test", T0)
    assert epoch is not None
    return Retention(database, epoch, DAYS, Clock(), stopwatch)


def slow() -> Callable[[], float]:
    """A stopwatch by which every transaction takes ten seconds: one row, then, at a time."""
    return itertools.count(0.0, 10.0).__next__


# -- a test a table ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "days"), [("pump", 100), ("elevator", 100), ("sensor", 100), ("fire_panel", 500), ("patrol_reader", 200)]
)
async def test_an_alarm_goes_when_its_kinds_period_after_its_end_is_over(
    kind: str, days: int, database: Database
) -> None:
    await put(
        database,
        alarm,
        an_alarm("older", days + 0.01, kind),
        an_alarm("younger", days - 0.01, kind),
        an_alarm("open", None, kind),
    )
    for name in ("older", "younger", "open"):
        await put(database, activation, an_activation(name))
        await put(database, journal, a_line("alarm", name))
    removed = await (await make_retention(database)).enforce()
    assert removed == {"alarm": 1}
    assert await keys(database, alarm, "id") == ["open", "younger"]
    assert await keys(database, activation, "alarm") == ["open", "younger"]
    assert await keys(database, journal, "thing") == ["open", "younger"]


@pytest.mark.parametrize(("kind", "days"), [("repair", 400), ("emergency", 100)])
async def test_a_ticket_goes_when_its_types_period_after_its_end_is_over(
    kind: str, days: int, database: Database
) -> None:
    await put(
        database,
        ticket,
        a_ticket("older", days + 0.01, kind),
        a_ticket("younger", days - 0.01, kind),
        a_ticket("open", None, kind),
    )
    for name in ("older", "younger", "open"):
        await put(database, journal, a_line("ticket", name))
        await put(database, attachment, an_attachment(name))
    assert await (await make_retention(database)).enforce() == {"ticket": 1}
    assert await keys(database, ticket, "number") == ["open", "younger"]
    assert await keys(database, journal, "thing") == ["open", "younger"]
    assert await keys(database, attachment, "ticket") == ["open", "younger"]


@pytest.mark.parametrize(("kind", "days"), [("pump", 100), ("fire_panel", 500), ("patrol_reader", 200)])
async def test_an_event_goes_when_its_kinds_period_is_over(kind: str, days: int, database: Database) -> None:
    await put(database, event, an_event("older", days + 0.01, kind), an_event("younger", days - 0.01, kind))
    assert await (await make_retention(database)).enforce() == {"event": 1}
    assert await keys(database, event, "digest") == ["younger"]


async def test_a_fact_goes_when_it_is_old_and_everybody_has_read_it(database: Database) -> None:
    await put(database, fact, a_fact(1, 31), a_fact(2, 31), a_fact(3, 31), a_fact(4, 29))
    retention = await make_retention(database)
    assert await retention.enforce() == {}, "nobody has read any"
    await put(database, consumer_offset, {"consumer": "quick", "fact": 4}, {"consumer": "slow", "fact": 2})
    assert await retention.enforce() == {"fact": 2}
    assert await keys(database, fact, "id") == [3, 4]
    async with database.transaction() as connection:
        await connection.execute(update(consumer_offset).values(fact=4))
    assert await retention.enforce() == {"fact": 1}
    assert await keys(database, fact, "id") == [4]


async def test_a_fact_that_was_set_aside_goes_after_the_technical_period(database: Database) -> None:
    rows = [{**a_fact(0, days), "fact": number, "consumer": "c", "error": "e"} for number, days in ((1, 31), (2, 29))]
    for row in rows:
        del row["id"]
    await put(database, dead_letter, *rows)
    assert await (await make_retention(database)).enforce() == {"dead_letter": 1}
    assert await keys(database, dead_letter, "fact") == [2]


async def test_a_message_that_could_not_be_read_goes_after_the_technical_period(database: Database) -> None:
    row = {"topic": "t", "payload": b"x", "size": 1, "reason": "not_json", "detail": ""}
    await put(database, quarantine, {**row, "received_at": ago(31)}, {**row, "received_at": ago(29)})
    assert await (await make_retention(database)).enforce() == {"quarantine": 1}
    assert await keys(database, quarantine, "received_at") == [ago(29)]


# -- what refers to what -------------------------------------------------------------------------------------------


async def with_ticket(database: Database, alarms: Sequence[dict[str, Any]], of: dict[str, Any]) -> None:
    """A ticket with alarms, each with its activation."""
    await put(database, alarm, *alarms)
    await put(database, activation, *(an_activation(row["id"]) for row in alarms))
    await put(database, ticket, {**of, "alarm": alarms[0]["id"]})
    await put(
        database, ticket_alarm, *({"ticket": of["number"], "alarm": row["id"], "joined_at": T0} for row in alarms)
    )
    joined = ({"ticket": of["number"], "activation": f"activation of {row['id']}"} for row in alarms)
    await put(database, ticket_activation, *joined)


async def test_an_alarm_stays_as_long_as_its_ticket(database: Database) -> None:
    await with_ticket(database, [an_alarm("first", 399), an_alarm("second", 399)], a_ticket("R", 399))
    retention = await make_retention(database)
    assert await retention.enforce() == {}
    await close_ticket(database, 401)
    assert await retention.enforce() == {"ticket": 1, "alarm": 2}
    for table in (alarm, activation, ticket, ticket_alarm, ticket_activation):
        assert await rows_of(database, table) == []


async def close_ticket(database: Database, days: float) -> None:
    async with database.transaction() as connection:
        await connection.execute(update(ticket).values(closed_at=ago(days)))


async def test_an_emergency_of_a_fire_panel_is_kept_like_the_fire(database: Database) -> None:
    await with_ticket(database, [an_alarm("fire", 600, "fire_panel")], a_ticket("E", 499, "emergency"))
    retention = await make_retention(database)
    assert await retention.enforce() == {}
    await close_ticket(database, 501)
    assert await retention.enforce() == {"ticket": 1, "alarm": 1}


@pytest.mark.parametrize("closed", [None, 99])
async def test_a_ticket_stays_while_one_of_its_alarms_does(closed: float | None, database: Database) -> None:
    await with_ticket(database, [an_alarm("over", 900), an_alarm("kept", closed)], a_ticket("R", 900))
    assert await (await make_retention(database)).enforce() == {}


async def test_whatever_its_age_nothing_open_goes(database: Database) -> None:
    await with_ticket(database, [an_alarm("over", 2900), an_alarm("open", None)], a_ticket("R", None))
    await with_ticket(database, [an_alarm("of an open ticket", 2900)], a_ticket("E", None, "emergency"))
    assert await (await make_retention(database)).enforce() == {}


def a_request(identity: str, decided: float | None) -> dict[str, Any]:
    """Decided so many days ago; None: it waits."""
    return {
        "id": identity, "site": "HQ", "act": "adopt_equipment", "method": "POST", "route": "/", "path": {}, "query": {},
        "body": None, "changes": [], "thing": "HQ:P-1", "reason": "", "requested_by": "p", "via": "web", "origin": "",
        "at": ago(3000), "expires_at": ago(2999), "state": "waiting" if decided is None else "refused",
        "decided_by": None if decided is None else "q", "decided_at": None if decided is None else ago(decided),
        "note": "", "outcome": "", "version": 1,
    }  # fmt: skip


async def test_a_request_that_was_decided_goes_and_one_that_waits_stays(database: Database) -> None:
    await put(database, approval, a_request("older", 301), a_request("younger", 299), a_request("waiting", None))
    assert await (await make_retention(database)).enforce() == {"approval": 1}
    assert sorted(await keys(database, approval, "id")) == ["waiting", "younger"]


def a_window(identity: str, ended: float, cancelled: float | None = None) -> dict[str, Any]:
    return {
        "id": identity, "site": "HQ", "kind": "pump", "equipment": "", "part": "", "zone": "", "starts_at": ago(3000),
        "ends_at": ago(ended), "person": "p", "second_person": None, "reason": "seals", "created_at": ago(3000),
        "cancelled_at": None if cancelled is None else ago(cancelled), "version": 1,
    }  # fmt: skip


async def test_planned_work_goes_with_its_journal_after_the_longer_of_its_periods(database: Database) -> None:
    await put(
        database, maintenance_window, a_window("older", 501), a_window("younger", 499), a_window("to come", -10),
        a_window("called off", -10, 501),
    )  # fmt: skip
    await put(
        database, journal, *(a_line("maintenance", name) for name in ("older", "younger")), a_line("alarm", "older")
    )
    assert await (await make_retention(database)).enforce() == {"maintenance_window": 2}
    assert sorted(await keys(database, maintenance_window, "id")) == ["to come", "younger"]
    left = [(row["subject"], row["thing"]) for row in await rows_of(database, journal)]
    assert sorted(left) == [("alarm", "older"), ("maintenance", "younger")]


# -- the job -------------------------------------------------------------------------------------------------------


async def test_a_run_leaves_one_audit_row_a_table_however_many_transactions_it_takes(database: Database) -> None:
    number = 2 * FIRST.rows + 1
    await put(database, event, *(an_event(f"{at}", 101, "pump") for at in range(number)))
    retention = await make_retention(database)
    assert await retention.enforce() == {"event": number}
    (row,) = await rows_of(database, audit)
    assert (row["actor"], row["act"], row["thing"]) == ("system:retention", "retention.remove", "event")
    assert row["after"]["rows"] == number
    assert row["after"]["over_before"]["alarm"] == ago(100)
    assert await retention.enforce() == {}
    assert len(await rows_of(database, audit)) == 1, "where nothing goes nothing is noted"


async def test_a_transaction_takes_as_many_rows_as_the_stopwatch_allows(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(database, event, *(an_event(f"{at:03}", 101, "pump") for at in range(FIRST.rows + 3)))
    retention = await make_retention(database, slow())
    counted = Transactions(database, monkeypatch, event)
    await retention.enforce()
    assert counted.removed == [FIRST.rows, 1, 1, 1]


async def with_a_long_journal(database: Database) -> int:
    """A ticket and its alarm, both over, each with more journal than one transaction takes; how many rows in all."""
    await with_ticket(database, [an_alarm("A", 900)], a_ticket("R", 900))
    lines = FIRST.rows + 7
    for subject, thing in (("ticket", "R"), ("alarm", "A")):
        await put(database, journal, *(a_line(subject, thing) for _ in range(lines)))
    await put(database, attachment, an_attachment("R"))
    return 2 * lines + 6


OF_TICKETS = (ticket, alarm, activation, journal, ticket_alarm, ticket_activation, attachment)


async def test_what_goes_with_a_row_goes_in_several_transactions_where_it_is_much(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = await with_a_long_journal(database)
    retention = await make_retention(
        database, itertools.count(0.0, 0.030).__next__
    )  # within the limit: no more, no less
    counted = Transactions(database, monkeypatch, *OF_TICKETS)
    assert await retention.enforce() == {"ticket": 1, "alarm": 1}
    assert max(counted.removed) == FIRST.rows
    assert sum(counted.removed) == rows


@pytest.mark.parametrize("at", range(4))
async def test_what_a_kill_between_two_transactions_leaves_is_whole_and_goes_with_the_next_run(
    at: int, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole: what is left refers to nothing that is gone, and no row went before what belongs to it."""
    await with_a_long_journal(database)
    await with_ticket(database, [an_alarm("kept", 99)], a_ticket("kept", None))
    retention = await make_retention(database, slow())
    begin, begun = database.transaction, itertools.count()

    @contextlib.asynccontextmanager
    async def killed() -> AsyncIterator[Transaction]:
        if next(begun) == (1, 4, 9, 20)[at]:
            raise ConnectionAbortedError("killed")
        async with begin() as connection:
            yield connection

    monkeypatch.setattr(database, "transaction", killed)
    with pytest.raises(ConnectionAbortedError):
        await retention.enforce()
    monkeypatch.undo()
    things = {*(await keys(database, ticket, "number")), *(await keys(database, alarm, "id"))}
    assert {row["thing"] for row in await rows_of(database, journal)} <= things
    assert {row["ticket"] for row in await rows_of(database, attachment)} <= things
    await (await make_retention(database)).enforce()
    left = [await rows_of(database, table) for table in OF_TICKETS]
    assert [len(rows) for rows in left] == [1, 1, 1, 0, 1, 1, 0], "what is kept, and nothing else"


async def test_an_alarm_is_decided_between_two_transactions(database: Database) -> None:
    await put(database, event, *(an_event(f"{at}", 101, "pump") for at in range(FIRST.rows + 10)))
    desk = await open_desk(database, fire_rule())
    working = asyncio.create_task(Retention(database, desk.epoch, DAYS, desk.clock, slow()).enforce())
    await until_some_are_gone(database)
    await desk.decide(panel_event(T0))
    left = len(await rows_of(database, event))
    assert await keys(database, alarm, "kind") == ["fire_panel"]
    assert left > 2, "the alarm was committed before the job had finished"
    await working
    assert [row["kind"] for row in await rows_of(database, event)] == ["fire_panel"]


async def until_some_are_gone(database: Database) -> None:
    while len(await rows_of(database, event)) == FIRST.rows + 10:  # noqa: ASYNC110 - a condition of the database
        await asyncio.sleep(0.005)


async def test_it_leaves_the_turn_to_whoever_waits_after_each_transaction(database: Database) -> None:
    """Counted: of two writers who want to write all the time, neither has two turns in a row."""
    await put(database, event, *(an_event(f"{at}", 101, "pump") for at in range(FIRST.rows + 20)))
    retention = await make_retention(database, slow())
    working = asyncio.create_task(retention.enforce())
    left = []
    while not working.done():
        async with database.transaction() as connection:
            left.append(await connection.scalar(select(func.count()).select_from(event)))
    falls = [before - after for before, after in itertools.pairwise(left)]
    assert left[-1] <= 1
    assert max(falls) <= FIRST.rows
    assert sorted(falls)[-2] <= 1, "between two of its transactions the other one always wrote"


@given(weights=st.lists(st.integers(1, 500), min_size=1, max_size=60), rows=st.integers(1, 1_000))
def test_a_transaction_takes_as_many_keys_as_fit_with_all_that_goes_with_them(weights: list[int], rows: int) -> None:
    number = fitting(weights, rows)
    assert 1 <= number <= len(weights)
    assert sum(weights[:number]) <= rows or number == 1
    assert number == len(weights) or sum(weights[: number + 1]) > rows


def test_every_reference_has_an_index_that_begins_with_it() -> None:
    """Else each deleted row costs a look at every row that might refer to it."""
    for table in metadata.sorted_tables:
        indexed = {next(iter(index.columns)).name for index in table.indexes}
        indexed |= {next(iter(table.primary_key.columns)).name}
        indexed |= {next(iter(rule.columns)).name for rule in table.constraints if isinstance(rule, UniqueConstraint)}
        for reference in table.foreign_keys:
            assert reference.parent.name in indexed, f"{table.name}.{reference.parent.name}"


async def test_who_owns_the_alarms_no_more_removes_nothing(database: Database) -> None:
    await put(database, event, an_event("older", 101, "pump"))
    retention = await make_retention(database)
    assert await lease.take(database, "another", T0 + 3_600_000) is not None
    with pytest.raises(LeaseLost):
        await retention.enforce()
    assert await keys(database, event, "digest") == ["older"]
    assert await rows_of(database, audit) == []


async def test_it_runs_at_the_start_and_goes_on_after_trouble(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "_AGAIN_S", 0.01)
    await put(database, event, an_event("older", 101, "pump"))
    retention = await make_retention(database)
    enforce, runs = retention.enforce, iter([OSError("the disk is full")])

    async def troubled() -> dict[str, int]:
        for error in runs:
            raise error
        return await enforce()

    monkeypatch.setattr(retention, "enforce", troubled)
    running = asyncio.create_task(retention.run())
    gone: list[bool] = []
    while not gone:
        if not await rows_of(database, event):
            gone.append(True)
        await asyncio.sleep(0.01)
    await until(lambda: gone, "the old event is gone")
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def test_the_service_does_it_at_its_start(tmp_path: Path, migrated_file: Path) -> None:
    """Its alarms do not wait for a broker that is away, and neither does this."""
    (tmp_path / "data").mkdir()
    file = Path(shutil.copy(migrated_file, tmp_path / "data" / "gengfu.db"))
    now = int(time.time() * 1000)
    rows = [("older", now - 367 * DAY_MS), ("younger", now - 365 * DAY_MS)]
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        statement = "INSERT INTO event VALUES (?, 'HQ', 'pump', 'P-1', '{}', 0, 0, ?)"
        database.executemany(statement, rows)
    service = Service(tmp_path / "data", free_port()).start()
    try:
        wait_until(lambda: digests(file) == [("younger",)], "what is over is gone")
    finally:
        service.kill()


def digests(file: Path) -> list[tuple[str]]:
    with contextlib.closing(sqlite3.connect(file)) as database:
        return database.execute("SELECT digest FROM event").fetchall()


async def test_every_rule_names_its_own_key(database: Database) -> None:
    """A portion is taken by its keys: a statement that selected another column would remove other rows."""
    for rule in rules(limits(DAYS, T0)):
        (selected,) = rule.over.selected_columns
        assert selected is rule.key
        assert rule.key.table is rule.table
        async with database.reading() as connection:
            assert (await connection.execute(select(rule.key).limit(1))).all() == []


def test_by_default_it_is_kept_as_long_as_the_trade_asks() -> None:
    years = {"alarm": 1, "fire": 5, "maintenance": 4, "patrol": 2}
    days = RetentionSettings().model_dump()
    assert {name: days[f"{name}_days"] // 365 for name in years} == years


async def test_after_a_large_removal_the_planner_knows_what_is_left(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []

    async def look(_database: Database, tables: Sequence[str]) -> None:
        looked_at.extend(tables)

    monkeypatch.setattr(job, "try_to_refresh", look)
    monkeypatch.setattr(job, "_MANY", 3)
    await put(database, event, *(an_event(f"old {at}", 1000, "pump") for at in range(3)))
    retention = await make_retention(database)
    await retention.enforce()
    assert looked_at == ["event"]
    await retention.enforce()
    assert looked_at == ["event"], "nothing went, nothing is looked at"
