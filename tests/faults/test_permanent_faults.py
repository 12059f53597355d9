"""A fault of the database that no further try mends is told and put aside; it holds up nobody, and nothing is tried for
ever."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from sqlalchemy import text

from gateway.storage.database import Database
from gateway.storage.tables import alarm, dead_letter, ticket
from tests.builders.alarms import T0, bearing, caught_up, fire_rule, make_rule, open_desk, panel_event, rows_of

HUNG_S = 60.0
"""Nothing here waits for anything: after that it hangs."""


@contextlib.asynccontextmanager
async def without_column(database: Database, table: str, column: str) -> AsyncIterator[None]:
    """As somebody's own change of the schema, or a migration that was half undone, leaves it."""

    async def rename(before: str, after: str) -> None:
        async with database.transaction() as connection:
            await connection.execute(text(f"ALTER TABLE {table} RENAME COLUMN {before} TO {after}"))

    await rename(column, "gone")
    yield
    await rename("gone", column)


async def test_a_decision_that_the_schema_does_not_take_is_put_aside_and_told_and_decided_anew_when_it_does(
    database: Database,
) -> None:
    desk = await open_desk(database, make_rule(), fire_rule())
    async with asyncio.timeout(HUNG_S):
        async with without_column(database, "rule_memory", "body"):
            await desk.decide(bearing(91, T0))
            assert "not judged in the last 24 h" in desk.alarms.notice
            assert not desk.alarms.trouble, "it is not tried again and again"
        await desk.decide(bearing(92, T0 + 1_000), panel_event(T0 + 1_000))
    assert {row["rule"] for row in await rows_of(database, alarm)} == {"pump.hot", "fire_panel.fire"}


async def test_telemetry_is_judged_while_events_cannot_be_looked_up(database: Database) -> None:
    desk = await open_desk(database, make_rule(), fire_rule())
    async with asyncio.timeout(HUNG_S), without_column(database, "event", "digest"):
        await desk.decide(bearing(91, T0), panel_event(T0))
        assert "HQ:FP-1" in desk.alarms.notice
    assert {row["rule"] for row in await rows_of(database, alarm)} >= {"pump.hot"}


async def test_a_part_of_the_tick_that_the_schema_does_not_take_is_told_and_delays_end_all_the_same(
    database: Database,
) -> None:
    desk = await open_desk(database, make_rule(on_delay=30_000))
    await desk.decide(bearing(91, T0))
    desk.clock.now = T0 + 30_000
    async with asyncio.timeout(HUNG_S), without_column(database, "alarm", "re_alarm_at"):
        await desk.alarms.tick()
        assert "re-alarm cannot be processed" in desk.alarms.notice
    desk.clock.now += 1_000
    await desk.decide(bearing(91, desk.clock.now))
    await desk.alarms.tick()
    assert "re-alarm" not in desk.alarms.notice
    assert [row["active"] for row in await rows_of(database, alarm)] == [True]


async def test_a_fact_that_the_schema_does_not_take_is_set_aside_and_the_next_one_is_worked_off(
    database: Database,
) -> None:
    desk = await open_desk(database, make_rule(), fire_rule())
    async with asyncio.timeout(HUNG_S):
        async with without_column(database, "ticket_alarm", "joined_at"):
            await desk.decide(bearing(91, T0))
            await caught_up(desk)
            assert "dead letters" in desk.tickets.notice
        await desk.decide(panel_event(T0 + 1))
        await caught_up(desk)
    assert [row["kind"] for row in await rows_of(database, dead_letter)] == ["alarm.raised"]
    assert [row["type"] for row in await rows_of(database, ticket)] == ["emergency"]
