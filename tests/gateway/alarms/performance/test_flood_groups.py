"""Floods: when there is one, what is folded under what, and that nothing urgent ever disappears in one."""

from typing import Any

import pytest
from aiohttp import WSMsgType
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from sqlalchemy import insert, select

from gateway.alarms.lifecycle.operator_actions import acknowledge
from gateway.alarms.performance.alarm_gauges import AlarmGauges
from gateway.alarms.performance.duty_positions import ONE_DESK, DutyPositions
from gateway.alarms.performance.flood import WINDOW_MS, since
from gateway.alarms.performance.flood_groups import OpenAlarm, grouped
from gateway.alarms.performance.flood_watch import Flood, floods_now
from gateway.api.live.floods import LiveFloods
from gateway.people.permissions import Role
from gateway.storage.database import Database
from gateway.storage.tables import activation, alarm, equipment_link
from tests.builders.alarms import OPERATOR, T0, Desk, bearing, fire_rule, make_rule, open_desk, panel_event, rows_of
from tests.servers.api_server import ApiServer

PRIORITIES = ("low", "medium", "high", "critical")


def one(identity: str, equipment: str = "P-1", rule: str = "hot", priority: str = "high", at: int = 0) -> OpenAlarm:
    return OpenAlarm(identity, "HQ", equipment, rule, priority, priority == "critical", at)


def told(alarms: list[OpenAlarm], parents: Any = None) -> dict[str, list[str]]:
    return {group.cause: group.members for group in grouped(alarms, parents or {})}


ALARMS = st.lists(
    st.builds(
        one, st.uuids().map(str), st.sampled_from("ABCD"), st.sampled_from(["r1", "r2"]), st.sampled_from(PRIORITIES),
        st.integers(0, 5) | st.integers(0, 900_000),
    ),
    max_size=30,
)  # fmt: skip
PARENTS = st.dictionaries(
    st.sampled_from("ABCD").map(lambda code: ("HQ", code)), st.lists(st.sampled_from("ABCD"), max_size=2), max_size=4
)


@given(ALARMS, PARENTS)
def test_life_safety_is_in_no_group_and_nothing_stands_under_what_is_less_urgent(
    alarms: list[OpenAlarm], parents: Any
) -> None:
    groups = grouped(alarms, parents)
    known = {alarm.id: alarm for alarm in alarms}
    grouped_ids = [identity for group in groups for identity in (group.cause, *group.members)]
    assert len(grouped_ids) == len(set(grouped_ids)), "each stands once"
    assert not any(known[identity].life_safety for identity in grouped_ids)
    for group in groups:
        assert group.members
        assert {PRIORITIES.index(known[member].priority) <= PRIORITIES.index(known[group.cause].priority)
                for member in group.members} == {True}  # fmt: skip


@given(ALARMS, PARENTS)
def test_the_order_in_which_alarms_are_read_changes_nothing(alarms: list[OpenAlarm], parents: Any) -> None:
    assert grouped(alarms, parents) == grouped(alarms[::-1], parents)


def test_what_feeds_an_equipment_is_the_cause_even_if_it_is_noticed_later() -> None:
    alarms = [one("pump", "P-1", at=0), one("lift", "L-1", "stopped", at=10), one("mains", "M-1", "lost", at=60_000)]
    parents = {("HQ", "P-1"): ["board"], ("HQ", "board"): ["M-1"], ("HQ", "L-1"): ["M-1"]}
    assert told(alarms, parents) == {"mains": ["pump", "lift"]}


def test_without_links_the_first_of_the_equipment_or_of_the_rule_is_the_cause() -> None:
    alarms = [
        one("a", "P-1", "hot", at=0), one("b", "P-1", "leak", at=1),  # the same pump
        one("c", "P-2", "gone", "medium", at=2), one("d", "P-3", "gone", "medium", at=3),  # the same rule
    ]  # fmt: skip
    assert told(alarms) == {"a": ["b", "c", "d"]}, "and all of it under the first of the flood"


def test_what_is_more_urgent_than_the_first_stands_by_itself() -> None:
    alarms = [
        one("first", priority="low"),
        one("worse", "P-2", "leak", "high", at=1),
        one("x", "P-3", "z", "low", at=2),
    ]
    assert told(alarms) == {"first": ["x"]}


def test_links_in_a_ring_fold_nothing_under_itself() -> None:
    parents = {("HQ", "A"): ["B"], ("HQ", "B"): ["A"]}
    assert told([one("a", "A", "r1"), one("b", "B", "r2", at=1)], parents) == {"b": ["a"]}


def test_a_spreading_fire_is_not_grouped_away() -> None:
    points = [one(f"point {number}", "FP-1", "fire", "critical", number) for number in range(300)]
    assert grouped([*points, one("pump"), one("lift", "L-1", at=400)], {}) == grouped(
        [one("pump"), one("lift", "L-1", at=400)], {}
    )


@pytest.mark.parametrize(("count", "flood"), [(10, None), (11, 10_000)])
def test_more_than_ten_in_ten_minutes_begin_a_flood(count: int, flood: int | None) -> None:
    assert since([number * 1000 for number in range(count)], 60_000) == flood


def test_it_ends_when_fewer_than_five_are_left() -> None:
    times = [number * 1000 for number in range(11)]
    assert since(times, times[6] + WINDOW_MS - 1) == 10_000
    assert since(times, times[6] + WINDOW_MS) is None


# -- in the tables -------------------------------------------------------------------------------------


async def raise_many(desk: Desk, count: int) -> None:
    await desk.decide(*(bearing(90, T0 + number * 1000, pump=f"P-{number}") for number in range(count)))


async def look(desk: Desk, duty: DutyPositions = ONE_DESK) -> list[Flood]:
    return await floods_now(desk.database, duty, desk.clock.now)


async def test_the_eleventh_alarm_is_a_flood_and_a_restart_changes_nothing(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await raise_many(desk, 10)
    assert await look(desk) == []
    await desk.decide(bearing(90, T0 + 10_000, pump="P-10"))
    (flood,) = before = await look(desk)
    assert (flood.position, flood.since, flood.activations) == ("control room", T0 + 10_000, {"HQ": 11})
    assert [len(group.members) for group in flood.groups["HQ"]] == [10]
    desk = await open_desk(database, make_rule(), clock=desk.clock)
    assert await look(desk) == before
    desk.clock.now = T0 + 6_000 + WINDOW_MS
    assert await look(desk) == [], "fewer than five are left"


async def test_what_nobody_was_told_is_no_flood(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await raise_many(desk, 20)
    async with database.transaction() as connection:
        await connection.execute(alarm.update().values(annunciated=False))
    assert await look(desk) == []


async def test_an_alarm_that_chatters_is_no_flood(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    for number in range(40):
        await desk.decide(bearing(90 if number % 2 == 0 else 20, T0 + number * 1000))
    assert await look(desk) == []


async def test_positions_flood_apart(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await raise_many(desk, 12)
    (flood,) = await look(desk, DutyPositions({"west": ["HQ"]}))
    assert flood.position == "west"


async def test_links_of_the_ledger_say_what_is_the_cause(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await raise_many(desk, 12)
    link = {"site": "HQ", "parent": "P-11", "relation": "power", "created_at": T0}
    async with database.transaction() as connection:
        await connection.execute(insert(equipment_link), [{**link, "child": f"P-{number}"} for number in range(11)])
    rows = {row["equipment"]: row["id"] for row in await rows_of(database, alarm)}
    (flood,) = await look(desk)
    assert [group.cause for group in flood.groups["HQ"]] == [rows["P-11"]]


async def test_fires_in_a_flood_stay_on_top(database: Database) -> None:
    desk = await open_desk(database, make_rule(), fire_rule())
    await raise_many(desk, 12)
    await desk.decide(*(panel_event(T0 + number, address=str(number)) for number in range(100)))
    (flood,) = await look(desk)
    assert flood.activations == {"HQ": 112}
    fires = {row["id"] for row in await rows_of(database, alarm) if row["life_safety"]}
    assert len(fires) == 100
    assert not fires & {identity for group in flood.groups["HQ"] for identity in (group.cause, *group.members)}


async def test_what_stands_is_shown_as_metrics(database: Database) -> None:
    desk, registry = await open_desk(database, make_rule()), CollectorRegistry()
    await raise_many(desk, 11)
    (row, *_) = await rows_of(database, alarm)
    await acknowledge(database, row["id"], row["version"], "", OPERATOR, desk.clock.now)
    metrics = AlarmGauges(registry)
    metrics.note(await look(desk))
    await metrics.look(database, desk.clock.now + 2 * 86_400_000)
    value = registry.get_sample_value
    assert value("gengfu_alarm_flood", {"position": "control room"}) == 1
    assert (value("gengfu_alarms_open", {"priority": "high"}), value("gengfu_alarms_unacknowledged")) == (11, 10)
    assert value("gengfu_alarms_stale") == 11
    metrics.note([])
    assert value("gengfu_alarm_flood", {"position": "control room"}) == 0


# -- told ----------------------------------------------------------------------------------------------


async def test_the_live_feed_and_the_api_tell_of_a_flood_and_of_its_end(api: ApiServer) -> None:
    desk = await open_desk(api.services.database, make_rule(), clock=api.clock)
    await raise_many(desk, 14)
    floods = LiveFloods(api.services, api.feed)
    await floods.look()
    api.log_in(Role.OPERATOR)
    _, page = await api.get("/api/v1/alarms/floods")
    assert [(flood["site"], flood["activations"]) for flood in page["items"]] == [("HQ", 14)]
    async with api.client.ws_connect(
        "/api/v1/live", headers={"Origin": str(api.client.make_url("/")).rstrip("/")}
    ) as live:
        first = await next_flood(live)
        assert (first["flood"]["activations"], len(first["flood"]["groups"][0]["members"])) == (14, 13)
        api.clock.now += 2 * WINDOW_MS
        await floods.look()
        assert (await next_flood(live))["flood"] is None
    await api.log_in_with({"B": (Role.OPERATOR,)})
    assert (await api.get("/api/v1/alarms/floods"))[1]["items"] == []


async def test_a_flood_over_two_sites_tells_a_listener_of_one_nothing_about_the_other(api: ApiServer) -> None:
    """One desk answers for both; how many alarms the other site has is not for everybody who watches this one."""
    desk = await open_desk(api.services.database, make_rule(), clock=api.clock)
    await raise_many(desk, 14)
    async with api.services.database.transaction() as connection:
        theirs = alarm.c.equipment.in_([f"P-{number}" for number in range(3)])
        ids = list(await connection.scalars(select(alarm.c.id).where(theirs)))
        await connection.execute(alarm.update().where(alarm.c.id.in_(ids)).values(site="B"))
        await connection.execute(activation.update().where(activation.c.alarm.in_(ids)).values(site="B"))
    await LiveFloods(api.services, api.feed).look()
    await api.log_in_with({"B": (Role.OPERATOR,)})
    _, page = await api.get("/api/v1/alarms/floods")
    assert [(flood["site"], flood["activations"]) for flood in page["items"]] == [("B", 3)]
    async with api.client.ws_connect(
        "/api/v1/live", headers={"Origin": str(api.client.make_url("/")).rstrip("/")}
    ) as live:
        told = await next_flood(live)
        assert (told["site"], told["flood"]["activations"]) == ("B", 3)
        members = {member for group in told["flood"]["groups"] for member in (group["cause"], *group["members"])}
        assert members <= set(ids)


async def next_flood(live: Any) -> dict[str, Any]:
    async for message in live:
        assert message.type is WSMsgType.TEXT
        told: dict[str, Any] = message.json()
        if told["type"] == "flood":
            return told
    raise AssertionError("the feed ended")
