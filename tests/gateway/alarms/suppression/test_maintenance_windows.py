"""Planned work acts: over HTTP by role, and on the alarms of what it covers."""

from typing import Any

import pytest

from collectors.wire.fields import Kind
from gateway.alarms.rules.rule import Rule, RuleType, TicketWish
from gateway.alarms.suppression.maintenance_windows import note_turns
from gateway.people.permissions import Role
from gateway.storage.tables import alarm, audit, fact, journal, maintenance_window, ticket
from gateway.tickets.tickets import FACTS_TAKE_MS
from tests.builders.alarms import T0, Desk, bearing, fire_rule, make_rule, open_desk, panel_event, rows_of
from tests.servers.api_server import ApiServer
from tests.servers.waiting import until_awaited

WINDOWS = "/api/v1/maintenance-windows"
HOUR = 3_600_000
FAULT = make_rule(
    "fire_panel.fault", kind=Kind.FIRE_PANEL, type=RuleType.EVENT, match={"type": frozenset({"fault"})},
    per=("loop", "address"), ticket=TicketWish.REPAIR,
)  # fmt: skip
RULES: tuple[Rule, ...] = (make_rule(), fire_rule(), FAULT)


def at(offset_ms: int) -> str:
    seconds, ms = divmod(T0 + offset_ms - 1_763_800_000_000, 1000)
    minutes, second = divmod(26 * 60 + 40 + seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"2025-11-22T{8 + hours:02}:{minute:02}:{second:02}.{ms:03}Z"


def wish(**changes: Any) -> dict[str, Any]:
    return {
        "site": "HQ", "equipment": "HQ:P-1", "starts_at": at(0), "ends_at": at(HOUR), "reason": "new seals", **changes,
    }  # fmt: skip


async def plan(api: ApiServer, **changes: Any) -> dict[str, Any]:
    status, window = await api.post(WINDOWS, wish(**changes))
    assert status == 200, window
    return dict(window)


@pytest.fixture
async def desk(api: ApiServer) -> Desk:
    return await open_desk(api.services.database, *RULES, clock=api.clock)


async def annunciated(desk: Desk) -> dict[str, bool]:
    """Equipment and part -> whether its alarm is told."""
    return {f"{row['equipment']} {row['part']}": row["annunciated"] for row in await rows_of(desk.database, alarm)}


async def test_a_window_is_planned_listed_changed_and_cancelled(api: ApiServer) -> None:
    api.log_in(Role.ENGINEER)
    window = await plan(api, starts_at=at(HOUR), ends_at=at(2 * HOUR))
    assert (window["phase"], window["equipment"], window["life_safety"]) == ("upcoming", "HQ:P-1", False)
    one = f"{WINDOWS}/{window['id']}"
    status, window = await api.ask("PATCH", one, json={"version": 1, "starts_at": at(1_000)})
    assert (status, window["version"], window["reason"]) == (200, 2, "new seals")
    assert (await api.ask("PATCH", one, json={"version": 1, "reason": "x"}))[1]["code"] == "stale_version"
    for phase, number in (("upcoming", 1), ("on", 0), ("over", 0), ("cancelled", 0)):
        assert len((await api.get(f"{WINDOWS}?phase={phase}&site=HQ"))[1]["items"]) == number, phase
    status, window = await api.post(f"{one}/cancel", {"version": 2})
    assert (status, window["phase"]) == (200, "cancelled")
    assert (await api.post(f"{one}/cancel", {"version": 3}))[1]["code"] == "not_permitted_in_state"
    assert (await api.ask("PATCH", one, json={"version": 3, "reason": "x"}))[1]["code"] == "not_permitted_in_state"
    _, detail = await api.get(one)
    assert [line["event"] for line in detail["journal"]] == ["planned", "changed", "cancelled"]
    acts = [row["act"] for row in await rows_of(api.services.database, audit)]
    assert [act for act in acts if act.startswith("maintenance")] == [
        "maintenance.planned", "maintenance.changed", "maintenance.cancelled",
    ]  # fmt: skip
    assert len((await api.get(f"{WINDOWS}?equipment=HQ:P-1"))[1]["items"]) == 1


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"equipment": "HQ:FP-1"}, 422, "zone_needed"),
        ({"equipment": "", "kind": "fire_panel"}, 422, "zone_needed"),
        ({"ends_at": at(25 * HOUR)}, 422, "window_too_long"),
        ({"equipment": ""}, 400, "bad_request"),
        ({"equipment": "HQ:X-9"}, 400, "bad_request"),
        ({"equipment": "B:P-1"}, 400, "bad_request"),
        ({"zone": "3F"}, 400, "bad_request"),
        ({"reason": "  "}, 400, "bad_request"),
        ({"ends_at": at(0)}, 400, "bad_request"),
        ({"starts_at": "2025-11-22T08:26:40"}, 400, "bad_request"),
        ({"site": "nowhere"}, 400, "bad_request"),
    ],
)
async def test_what_cannot_be_planned_is_refused_and_says_why(
    api: ApiServer, changes: dict[str, Any], status: int, code: str
) -> None:
    api.log_in(Role.SHIFT_LEADER)
    if changes.get("ends_at") == at(25 * HOUR):
        changes = {**changes, "ends_at": "2025-11-23T09:26:40Z"}
    found, problem = await api.post(WINDOWS, wish(**changes))
    assert (found, problem["code"]) == (status, code)
    assert problem["detail"]
    assert await rows_of(api.services.database, maintenance_window) == []


async def test_alarms_are_kept_quiet_while_it_is_on_and_what_still_stands_is_told_at_its_end(
    api: ApiServer, desk: Desk
) -> None:
    api.log_in(Role.ENGINEER)
    await plan(api, starts_at=at(HOUR), ends_at=at(2 * HOUR))
    async with desk.following():
        await desk.decide(bearing(91, T0 + HOUR - 1, pump="P-2"), bearing(91, T0 + HOUR + 1))
        assert await annunciated(desk) == {"P-2 ": True, "P-1 ": False}
        await until_awaited(lambda: has_ticket(desk, "P-2"), "the other pump has its ticket")
        assert not await has_ticket(desk, "P-1")
        desk.clock.now = T0 + 2 * HOUR
        await desk.alarms.tick()
        assert await annunciated(desk) == {"P-2 ": True, "P-1 ": True}
        await until_awaited(lambda: has_ticket(desk, "P-1"), "what still stands has its ticket")


async def has_ticket(desk: Desk, equipment: str) -> bool:
    return any(row["equipment"] == equipment for row in await rows_of(desk.database, ticket))


async def test_an_alarm_that_stands_goes_quiet_when_a_window_begins_and_a_cancelled_one_gives_it_back(
    api: ApiServer, desk: Desk
) -> None:
    await desk.decide(bearing(91, T0))
    api.log_in(Role.MANAGER)
    window = await plan(api)

    async def is_told(*, told: bool) -> bool:
        return (await annunciated(desk))["P-1 "] is told

    async with desk.following():
        await until_awaited(lambda: is_told(told=False), "the window is taken up")
        await api.post(f"{WINDOWS}/{window['id']}/cancel", {"version": 1})
        await until_awaited(lambda: is_told(told=True), "the window is over")


async def test_work_on_a_zone_of_a_fire_panel_silences_no_other_zone_and_no_fire(api: ApiServer, desk: Desk) -> None:
    api.log_in(Role.ENGINEER)
    await plan(api, equipment="HQ:FP-1", zone="3F")
    await desk.decide(
        panel_event(T0 + 1, type="fault", address="1", zone="3F"),
        panel_event(T0 + 2, type="fault", address="2", zone="4F"),
        panel_event(T0 + 3, type="fault", address="3"),
        panel_event(T0 + 4, type="fire", address="4", zone="3F"),
    )
    assert await annunciated(desk) == {"FP-1 1-1": False, "FP-1 1-2": True, "FP-1 1-3": True, "FP-1 1-4": True}


async def test_beginning_and_end_are_recorded_once_also_over_a_restart(api: ApiServer, desk: Desk) -> None:
    api.log_in(Role.ENGINEER)
    window = await plan(api, starts_at=at(HOUR), ends_at=at(2 * HOUR))
    database = api.services.database
    for now in (T0, T0 + HOUR, T0 + HOUR + 1, T0 + 2 * HOUR, T0 + 3 * HOUR):
        await note_turns(database, desk.epoch, now)
    missed = await plan(api, reason="nobody owned the alarms meanwhile")
    await note_turns(database, desk.epoch, T0 + 9 * HOUR)
    events = {
        one["id"]: [row["event"] for row in await rows_of(database, journal) if row["thing"] == one["id"]]
        for one in (window, missed)
    }
    assert set(map(tuple, events.values())) == {("planned", "started", "ended")}
    told = [row["kind"] for row in await rows_of(database, fact) if row["thing"] == window["id"]]
    assert told == ["maintenance.planned", "maintenance.started", "maintenance.ended"]


async def test_a_restart_within_a_window_keeps_quiet_what_it_covers(api: ApiServer, desk: Desk) -> None:
    api.log_in(Role.ENGINEER)
    await plan(api)
    await desk.decide(bearing(91, T0 + 1))
    again = await open_desk(desk.database, *RULES, clock=desk.clock)
    assert (await annunciated(again))["P-1 "] is False
    again.clock.now = T0 + HOUR + FACTS_TAKE_MS
    third = await open_desk(desk.database, *RULES, clock=desk.clock)
    assert (await annunciated(third))["P-1 "] is True
    await third.tickets.tick()
    assert await has_ticket(third, "P-1")


async def test_life_safety_is_quiet_only_when_a_second_person_has_agreed(api: ApiServer, desk: Desk) -> None:
    body = wish(equipment="HQ:FP-1", zone="3F", life_safety=True)
    api.log_in(Role.ENGINEER)
    assert (await api.post(WINDOWS, body))[0] == 403, "that is for a shift leader to ask"
    api.log_in(Role.SHIFT_LEADER)
    status, waiting = await api.post(WINDOWS, body)
    assert status == 202
    assert await rows_of(api.services.database, maintenance_window) == []
    await api.log_in_with({"*": (Role.SHIFT_LEADER,)}, "lan")
    status, decided = await api.post(f"/api/v1/approvals/{waiting['id']}/approve", {"version": waiting["version"]})
    assert (status, decided["outcome"]) == (200, "done"), decided
    (window,) = await rows_of(api.services.database, maintenance_window)
    assert (window["person"], window["second_person"]) == ("demo:shift_leader", "demo:lan")
    fires = (panel_event(T0 + place, address=str(place), zone=f"{place}F") for place in (3, 4))
    await desk.decide(*fires)
    assert await annunciated(desk) == {"FP-1 1-3": False, "FP-1 1-4": True}
