"""No query of a tick, of the alarm path or of a list page reads a table that grows with time from end to end."""

import asyncio
import enum
import itertools
import re
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Select, func, insert, select, text, update
from yarl import URL

from collectors.wire.reading import Reading, to_datetime
from gateway.alarms.alarms import RULES_TAKEN_UP
from gateway.alarms.lifecycle import operator_actions as acts
from gateway.alarms.lifecycle.states import State
from gateway.alarms.performance.alarm_gauges import AlarmGauges
from gateway.alarms.performance.duty_positions import ONE_DESK
from gateway.alarms.performance.flood_watch import floods_now
from gateway.alarms.rules.files import shipped_rules
from gateway.alarms.rules.rule import RuleType
from gateway.alarms.rules.rulebook import RuleScope
from gateway.alarms.rules.versions import Wish, change
from gateway.alarms.suppression.maintenance_windows import note_turns
from gateway.alarms.suppression.reasons import Shelf
from gateway.alarms.suppression.shelving import shelve
from gateway.api.alarms.alarms import open_alarm_bodies
from gateway.api.alarms.maintenance import open_window_bodies
from gateway.api.http.server import PREFIX, route_table
from gateway.api.live.floods import LiveFloods
from gateway.api.tickets.tickets import open_ticket_bodies
from gateway.people.audit.key import open_key
from gateway.people.audit.sealer import Sealer
from gateway.people.permissions import Role
from gateway.retention.retention import Retention
from gateway.settings import RetentionSettings
from gateway.storage.database import Database
from gateway.storage.leadership import lease
from gateway.storage.outbox.outbox import move_cursor
from gateway.storage.queries.statistics import keep_statistics_fresh, refresh_statistics
from gateway.storage.tables import activation, alarm, alarm_is_open, journal, metadata, ticket, ticket_is_open
from gateway.tickets.lifecycle.states import STEPS, Action
from gateway.tickets.tickets import FACTS_TAKE_MS, _without_tickets
from gateway.tickets.tickets import act as act_on_ticket
from tests.builders.alarms import (
    OPERATOR,
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
    sample,
)
from tests.builders.changeable_rules import RULES as CHANGEABLE
from tests.builders.past import DAY_MS, fill
from tests.gateway.storage.query_plans import GROWING, LIMITED, Asked, recorded, scans_of_postgres, scans_of_sqlite
from tests.servers.api_server import ApiServer

PAST: Final = 6_000
"""So many that PostgreSQL does not think a table small enough to read it all."""
RULES: Final = (
    fire_rule(),
    make_rule(re_alarm=60_000),
    make_rule("pump.late", type=RuleType.RESPONSE_TIMEOUT, of="pump.hot", after=1_000),
    make_rule("pump.drive", type=RuleType.STATE, field="drive_fault", values=frozenset({1.0})),
    make_rule(
        "pump.no_start", type=RuleType.STATE, field="running", values=frozenset({False}), suppressed_by=("pump.drive",)
    ),
)


def test_of_each_table_it_is_said_whether_it_grows() -> None:
    assert GROWING | LIMITED.keys() == metadata.tables.keys()
    assert not GROWING & LIMITED.keys()


async def explained(database: Database, asked: Sequence[Asked], **how: bool) -> list[str]:
    if database.is_sqlite:
        return scans_of_sqlite(str(database.engine.url.database), asked)
    return await scans_of_postgres(database.url, asked, **how)


async def require_no_scan(
    database: Database, asked: Sequence[Asked], *, pages: bool = False, along_indexes: bool = False
) -> None:
    """With statistics, and without any; of pages also that nothing is sorted for them, once there are statistics."""
    assert len(asked) > 10
    await forget_statistics(database)
    found = await explained(database, asked, pages=False, along_indexes=along_indexes)
    await refresh_statistics(database)
    found += await explained(database, asked, pages=pages, along_indexes=along_indexes)
    assert not found, "\n\n".join(found)


async def forget_statistics(database: Database) -> None:
    async with database.transaction() as connection:
        if database.is_sqlite:
            await connection.execute(text("ANALYZE"))  # so that there is a table to empty
            await connection.execute(text("DELETE FROM sqlite_stat1"))
        else:
            await connection.execute(text("DELETE FROM pg_statistic WHERE starelid >= 16384"))


# -- the owner ------------------------------------------------------------------------------------------


async def test_no_tick_and_no_step_of_an_alarm_scans_what_grows(database: Database, tmp_path: Path) -> None:
    await fill(database, PAST)
    async with database.transaction() as connection:
        await move_cursor(connection, RULES_TAKEN_UP, PAST)
    with recorded(database) as asked:
        desk = await open_desk(database, *RULES)
        await go_through_alarms(desk)
        await AlarmGauges(CollectorRegistry()).look(database, desk.clock())
        await floods_now(database, ONE_DESK, desk.clock())
        await note_turns(database, desk.epoch, desk.clock())
        await rule_change(desk)
        key = open_key(tmp_path / "audit.key")
        head, folder = tmp_path / "audit.head", tmp_path / "checkpoints"
        await Sealer(database, desk.epoch, key, folder, head, 3_650, desk.clock).seal()
    read = {table for one in asked for table in GROWING if f"FROM {table}" in one.statement}
    assert {"alarm", "activation", "fact", "audit", "event", "maintenance_window", "rule_version"} <= read
    await require_no_scan(database, asked)


async def go_through_alarms(desk: Desk) -> None:
    """Raise, suppress, answer too late, acknowledge, shelve, re-alarm, reset and close, each with its tick."""
    database, clock = desk.database, desk.clock
    await desk.decide(
        bearing(91, T0), panel_event(T0), pump({"drive_fault": 1.0}, T0), pump({"running": False}, T0 + 1)
    )
    clock.now += FACTS_TAKE_MS
    await tick(desk)
    hot = await open_alarm(database, "pump.hot")
    await acts.acknowledge(database, hot["id"], hot["version"], "", OPERATOR, clock())
    clock.now += 60_000
    await tick(desk)
    hot = await open_alarm(database, "pump.hot")
    shelf = Shelf(since=clock(), until=clock() + 1_000, one_shot=False, person="demo:operator", second_person=None,
                  reason="noise")  # fmt: skip
    await shelve(database, hot["id"], hot["version"], shelf, OPERATOR)
    emergency = await only_open(database, select(ticket).where(ticket_is_open, ticket.c.type == "emergency"))
    number, version = emergency["number"], emergency["version"]
    await act_on_ticket(database, number, Action.ACKNOWLEDGE, version, "", OPERATOR, clock())
    await caught_up(desk)
    clock.now += 1_000
    await tick(desk)
    await desk.decide(pump({"drive_fault": 0.0}, clock()), panel_event(clock(), type="reset"), bearing(20, clock()))
    await tick(desk)


async def tick(desk: Desk) -> None:
    await desk.alarms.tick()
    await desk.tickets.tick()
    await caught_up(desk)


async def rule_change(desk: Desk) -> None:
    wish = Wish(RuleScope("pump.hot", "HQ", ""), {"above": 85}, 0, "a test")
    await change(desk.database, CHANGEABLE, wish, OPERATOR, "demo:manager", desk.clock())
    await desk.alarms.tick()


def pump(fields: dict[str, Any], at: int) -> Reading:
    return sample(PUMP, fields, at)


async def open_alarm(database: Database, rule: str) -> dict[str, Any]:
    return await only_open(database, select(alarm).where(alarm_is_open, alarm.c.rule == rule))


async def only_open(database: Database, statement: Select[Any]) -> dict[str, Any]:
    async with database.reading() as connection:
        return dict((await connection.execute(statement)).mappings().one())


# -- the pages ------------------------------------------------------------------------------------------

VALUES: Final[dict[str, Sequence[str]]] = {
    "act": ["alarm.raised"],
    "actor": ["system:rules"],
    "alarm": ["00a1000003"],
    "end": [to_datetime(T0 - 100 * DAY_MS).isoformat()],
    "equipment": ["HQ:P-1"],
    "field": ["flow"],
    "limit": ["2"],
    "points": ["10"],
    "q": ["P-1"],
    "site": ["HQ"],
    "start": [to_datetime(T0 - 300 * DAY_MS).isoformat()],
    "thing": ["00a1000003"],
    "under": ["00a1000003"],
}
"""What each filter of a list is tried with, beside those that name their values themselves."""
STATES: Final = {
    "/api/v1/alarms": ["open", *State],
    "/api/v1/tickets": sorted({"open", *(state for steps in STEPS.values() for state in steps.values())}),
}
PATHS: Final = {
    "/api/v1/alarms/{id}": "00a1000003",
    "/api/v1/tickets/{number}": "R-PAST-1000003",
    "/api/v1/tickets/{number}/attachments": "R-PAST-1000003",
    "/api/v1/people/{person}": "demo:operator",
    "/api/v1/people/{person}/logins": "demo:operator",
    "/api/v1/equipment/{equipment}/latest": "HQ:P-1",
    "/api/v1/equipment/{equipment}/history": "HQ:P-1",
    "/api/v1/equipment/{equipment}/links": "HQ:P-1",
    "/api/v1/maintenance-windows/{window}": "00e1000003",
    "/api/v1/rules/{id}": shipped_rules()[0].id,
    "/api/v1/rules/{id}/versions": "pump.3",
    "/api/v1/approvals/{approval}": "00f1000003",
    "/api/v1/equipment/{equipment}": "HQ:P-1",
}
"""Routes about one thing, and one that is there."""
EVERYWHERE: Final = {"*": (Role.ADMIN, Role.MANAGER, Role.OPERATOR)}
TWO_SITES: Final = {"HQ": (Role.ADMIN, Role.MANAGER, Role.OPERATOR), "B": (Role.ADMIN, Role.MANAGER, Role.OPERATOR)}


@pytest.mark.parametrize("grants", [EVERYWHERE, TWO_SITES], ids=["everywhere", "two sites"])
async def test_no_page_of_a_list_scans_what_grows_however_it_is_narrowed(
    api: ApiServer, grants: dict[str, tuple[Role, ...]]
) -> None:
    """Every list of the table of routes with each filter, each two of them, and all: a new one is tried by itself."""
    database = api.services.database
    await api.raise_fire()
    await fill(database, PAST)
    await api.log_in_with(grants)
    with recorded(database) as asked:
        for path, query in list(requests()):
            status, body = await api.get(URL(path).with_query(query))
            assert status == 200 or (status == 404 and not query), (path, query, body)
            if isinstance(body, dict) and body.get("next"):
                status, _ = await api.get(URL(path).with_query({**query, "cursor": body["next"]}))
                assert status == 200, (path, query)
        await open_alarm_bodies(api.services, None)
        await open_ticket_bodies(database, frozenset({"HQ"}))
        await open_window_bodies(api.services, frozenset({"HQ"}))
        await LiveFloods(api.services, api.feed).look()
    assert len(asked) > 60
    await require_no_scan(database, asked, pages=True)


def requests() -> Iterator[tuple[str, dict[str, str]]]:
    for path, route in route_table():
        if route.method != "GET" or route.gives or not path.startswith(PREFIX):
            continue
        assert "{" not in path or path in PATHS, f"say in PATHS with which thing {path} is tried"
        yield from ((path_of(path), query) for query in queries_of(path, route.query))


def path_of(path: str) -> str:
    return re.sub(r"{\w+}", PATHS[path], path) if "{" in path else path


def queries_of(path: str, query: type[msgspec.Struct] | None) -> Iterator[dict[str, str]]:
    names = [] if query is None else [name for name in query.__struct_fields__ if name != "cursor"]
    values = {} if query is None else {name: values_of(path, name, query) for name in names}
    always = {name: values[name][0] for name in names if name == "limit" or name in required(query)}
    filters = [name for name in names if name not in always]
    chosen = [one for size in (0, 1, 2, len(filters)) for one in itertools.combinations(filters, size)]
    for some in dict.fromkeys(chosen):
        few = {name: values[name] if len(some) == 1 else values[name][:2] for name in some}
        for combined in itertools.product(*few.values()):
            yield always | dict(zip(some, combined, strict=True))


def required(query: type[msgspec.Struct] | None) -> set[str]:
    return set() if query is None else {one.name for one in msgspec.structs.fields(query) if one.required}


def values_of(path: str, name: str, query: type[msgspec.Struct]) -> Sequence[str]:
    """Every value where the type names them, else what VALUES says."""
    if name == "state" and path in STATES:
        return STATES[path]
    types = typing.get_type_hints(query)[name]
    for one in (types, *typing.get_args(types)):
        if isinstance(one, type) and issubclass(one, enum.Enum):
            return [str(member.value) for member in one]
        if one is bool:
            return ["true", "false"]
    assert name in VALUES, f"say in VALUES what the filter {name} of {path} is tried with"
    return VALUES[name]


async def test_what_retention_removes_is_found_without_a_scan(database: Database, tmp_path: Path) -> None:
    """Of every table that it erases from, and of every table whose rows go with them or hold them back."""
    await fill(database, PAST)
    epoch = await lease.take(database, "test", T0)
    assert epoch is not None
    async with database.transaction() as connection:
        await move_cursor(connection, RULES_TAKEN_UP, PAST)
    ten_days = RetentionSettings.model_construct(None, **dict.fromkeys(RetentionSettings.model_fields, 390))
    same_size = itertools.count(0.0, 0.030).__next__  # by this stopwatch all transactions take as many rows
    with recorded(database) as asked:
        removed = await Retention(database, epoch, ten_days, Clock(), same_size).enforce()
    assert {"ticket", "alarm", "maintenance_window", "approval", "event", "fact", "dead_letter"} <= removed.keys()
    await require_no_scan(database, asked, along_indexes=True)


async def test_statistics_that_cannot_be_made_end_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = asyncio.Event()

    async def fail(*_: object) -> None:
        failed.set()
        raise ValueError("a damaged table")

    monkeypatch.setattr("gateway.storage.queries.statistics.refresh_statistics", fail)
    keeping = asyncio.create_task(keep_statistics_fresh(database))
    await asyncio.wait_for(failed.wait(), 30)
    await asyncio.sleep(0)
    assert not keeping.done()
    keeping.cancel()


async def test_an_alarm_that_flickers_for_a_year_costs_the_tick_no_more(database: Database) -> None:
    """Its activations have their ticket: none of them is read again."""
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    desk.clock.now += FACTS_TAKE_MS
    await desk.tickets.tick()
    hot = await open_alarm(database, "pump.hot")
    await fill(database, 50, "alarm", "activation")
    async with database.transaction() as connection:
        await connection.execute(update(activation).where(activation.c.alarm != hot["id"]).values(alarm=hot["id"]))
        found = await _without_tickets(connection, desk.clock())
        assert found == []
        # Passed while nobody was to know of it: read once more, and never again.
        line = {"subject": "alarm", "thing": hot["id"], "at": T0, "event": "annunciated", "before": "", "after": "",
                "actor": "", "note": ""}  # fmt: skip
        await connection.execute(insert(journal), line)
        await connection.execute(update(activation).where(activation.c.ended_at < T0).values(ticketed_at=None))
        assert len(await _without_tickets(connection, desk.clock())) > 40
    await desk.tickets.tick()
    async with database.reading() as connection:
        assert await _without_tickets(connection, desk.clock()) == []
        tickets = await connection.scalar(select(func.count()).select_from(ticket))
    assert tickets == 1
