"""Shelving and out of service through HTTP: by role, with reasons, for a limited time, and with a second person."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from collectors.wire.reading import to_datetime
from gateway.api.alarms.bodies import AlarmBody
from gateway.api.alarms.out_of_service import put_out_of_service
from gateway.api.alarms.shelving import shelve_alarm
from gateway.api.alarms.suppression_bodies import OutOfService, Shelve
from gateway.api.equipment.bodies import EquipmentBody
from gateway.api.http.route import Call, NeedsSecondPerson
from gateway.people.accounts import Person
from gateway.people.authentication.logins import ClientInfo, Session, Way
from gateway.people.permissions import Role
from gateway.storage.outbox.outbox import facts_after
from gateway.storage.tables import alarm, shelf
from tests.builders.alarms import T0, bearing, make_rule, only_row, open_desk, rows_of
from tests.servers.api_server import ApiServer

HOUR = 3600
PUMP = "/api/v1/equipment/HQ:P-1"


def moment(seconds: float) -> str:
    return (to_datetime(T0) + timedelta(seconds=seconds)).isoformat()


def ways(row: dict[str, Any]) -> tuple[str, str]:
    return f"/api/v1/alarms/{row['id']}/shelve", f"/api/v1/alarms/{row['id']}/unshelve"


async def test_an_operator_shelves_and_takes_back(api: ApiServer) -> None:
    row = await api.raise_hot()
    shelve, unshelve = ways(row)
    api.log_in(Role.OPERATOR)
    status, body = await api.post(shelve, {"version": 1, "reason": " loose plug ", "minutes": 30})
    assert status == 200, body
    assert (body["annunciated"], body["state"], body["version"]) == (False, "unacknowledged", 2)
    (kept,) = body["suppressions"]
    assert (kept["reason"], kept["why"], kept["source"], kept["second_person"]) == ("shelved", "loose plug", "", None)
    assert kept["person"]["en"]
    assert kept["until"] == "2025-11-22T08:56:40Z"
    _, found = await api.get("/api/v1/alarms?annunciated=false")
    assert [item["id"] for item in found["items"]] == [row["id"]]
    assert (await api.get("/api/v1/alarms?annunciated=true"))[1]["items"] == []
    _, shelves = await api.get("/api/v1/shelves")
    assert [(item["alarm"], item["open"], item["reason"]) for item in shelves["items"]] == [
        (row["id"], True, "loose plug")
    ]
    status, body = await api.post(unshelve, {"version": 2, "note": "plug is in"})
    assert (status, body["annunciated"], body["suppressions"]) == (200, True, [])
    assert (await api.get("/api/v1/shelves"))[1]["items"] == []
    assert (await api.post(unshelve, {"version": 3}))[1]["code"] == "not_permitted_in_state"


async def test_a_shelf_whose_alarm_is_over_is_still_shown_and_taken_back_by_it(api: ApiServer) -> None:
    """Else the next activation would be quiet and nobody could see why."""
    row = await api.raise_hot()
    shelve, unshelve = ways(row)
    api.log_in(Role.OPERATOR)
    await api.post(shelve, {"version": 1, "reason": "x", "minutes": 30})
    await api.post(f"/api/v1/alarms/{row['id']}/acknowledge", {"version": 2})
    desk = await open_desk(api.services.database, make_rule(), clock=api.clock)
    await desk.decide(bearing(50, T0 + 1))
    (item,) = (await api.get("/api/v1/shelves"))[1]["items"]
    assert (item["alarm"], item["open"]) == (row["id"], False)
    status, _ = await api.post(unshelve, {"version": item["version"]})
    assert status == 200
    assert await rows_of(api.services.database, shelf) == []


async def test_shelves_come_in_pages_each_with_its_newest_alarm_and_of_ones_own_sites_only(api: ApiServer) -> None:
    desk = await open_desk(api.services.database, make_rule(), clock=api.clock)
    await desk.decide(*(bearing(91, T0, pump=f"P-{number}") for number in range(5)))
    api.log_in(Role.OPERATOR)
    for row in await rows_of(api.services.database, alarm):
        status, body = await api.post(ways(row)[0], {"version": 1, "reason": "x", "minutes": 30})
        assert status == 200, body
    _, first = await api.get("/api/v1/shelves?limit=3")
    _, second = await api.get(f"/api/v1/shelves?limit=3&cursor={first['next']}")
    assert (len(first["items"]), len(second["items"]), second["next"]) == (3, 2, None)
    listed = {item["equipment"] for item in first["items"] + second["items"]}
    assert listed == {f"HQ:P-{number}" for number in range(5)}
    assert (await api.get("/api/v1/shelves?limit=0"))[1]["code"] == "bad_query"
    await api.log_in_with({"B": (Role.OPERATOR,)})
    assert (await api.get("/api/v1/shelves"))[1]["items"] == []


REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("no reason", {"minutes": 5, "reason": "  "}, 400, "bad_request"),
    ("no end", {}, 400, "bad_request"),
    ("two ends", {"minutes": 5, "until": moment(60)}, 400, "bad_request"),
    ("an end that is over", {"until": moment(-1)}, 400, "bad_request"),
    ("longer than permitted", {"minutes": 8 * 60 + 1}, 422, "shelved_too_long"),
    ("until later than permitted", {"until": moment(8 * HOUR + 1)}, 422, "shelved_too_long"),
    ("of an older version", {"version": 0, "minutes": 5}, 409, "stale_version"),
    ("a year without a zone", {"until": "2026-01-01T00:00:00"}, 400, "bad_request"),
]


@pytest.mark.parametrize(("body", "status", "code"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
async def test_what_is_no_shelving_changes_nothing(
    api: ApiServer, body: dict[str, Any], status: int, code: str
) -> None:
    row = await api.raise_hot()
    api.log_in(Role.OPERATOR)
    answered, problem = await api.post(ways(row)[0], {"version": 1, "reason": "x", **body})
    assert (answered, problem["code"]) == (status, code), problem
    assert (await only_row(api.services.database, alarm))["annunciated"]
    assert await rows_of(api.services.database, shelf) == []


async def test_one_shot_alone_lasts_for_the_longest_time_at_most(api: ApiServer) -> None:
    row = await api.raise_hot()
    api.log_in(Role.OPERATOR)
    _, body = await api.post(ways(row)[0], {"version": 1, "reason": "x", "one_shot": True})
    assert body["suppressions"][0]["until"] == "2025-11-22T16:26:40Z"
    assert (await only_row(api.services.database, shelf))["one_shot"]


# -- two people ----------------------------------------------------------------------------------------------------


def call_of(api: ApiServer, role: Role, path: dict[str, str], body: msgspec.Struct, second: str | None) -> Call:
    """A request as it reaches the handler, with who has approved it."""
    person = Person(f"demo:{role}", role.value, {"en": role.value, "zh-CN": role.value}, {"*": (role,)})
    session = Session(person, Way.COOKIE, "", "", T0)
    return Call(api.services, session, ClientInfo("192.0.2.7"), path, None, body, second_person=second)


async def test_life_safety_is_shelved_by_a_shift_leader_and_somebody_else(api: ApiServer) -> None:
    row, _ = await api.raise_fire()
    api.log_in(Role.OPERATOR)
    status, problem = await api.post(ways(row)[0], {"version": 1, "reason": "x", "minutes": 5})
    assert (status, problem["code"]) == (403, "forbidden")
    wanted = Shelve(row["version"], "test of the detectors", minutes=5)
    asked = call_of(api, Role.SHIFT_LEADER, {"id": row["id"]}, wanted, None)
    with pytest.raises(NeedsSecondPerson):
        await shelve_alarm(asked)
    assert await rows_of(api.services.database, shelf) == []
    body = await shelve_alarm(msgspec.structs.replace(asked, second_person="demo:manager"))
    assert isinstance(body, AlarmBody)
    assert not body.annunciated
    assert body.suppressions[0].second_person is not None
    kept = await only_row(api.services.database, shelf)
    assert (kept["person"], kept["second_person"]) == ("demo:shift_leader", "demo:manager")


async def test_equipment_is_out_of_service_with_its_life_safety_only_by_two(api: ApiServer) -> None:
    wanted = OutOfService("new panel", to_datetime(T0 + 60_000), life_safety=True)
    path = {"equipment": "HQ:FP-1"}
    with pytest.raises(NeedsSecondPerson):
        await put_out_of_service(call_of(api, Role.SHIFT_LEADER, path, wanted, None))
    body = await put_out_of_service(call_of(api, Role.SHIFT_LEADER, path, wanted, "demo:manager"))
    assert isinstance(body, EquipmentBody)
    assert body.out_of_service[0].second_person is not None
    api.log_in(Role.ENGINEER)
    status, problem = await api.post(
        "/api/v1/equipment/HQ:FP-1/out-of-service", {"reason": "x", "planned_end": moment(60), "life_safety": True}
    )
    assert (status, problem["code"]) == (403, "forbidden")


# -- out of service ------------------------------------------------------------------------------------------------


async def test_an_engineer_takes_a_pump_out_of_service_and_returns_it(api: ApiServer) -> None:
    api.log_in(Role.ENGINEER)
    wanted = {"reason": "new bearing", "planned_end": moment(HOUR), "part": "motor"}
    status, body = await api.post(f"{PUMP}/out-of-service", wanted)
    assert status == 200, body
    assert [(item["part"], item["reason"], item["planned_end"]) for item in body["out_of_service"]] == [
        ("motor", "new bearing", "2025-11-22T09:26:40Z")
    ]
    listed = (await api.get("/api/v1/equipment?q=pump"))[1]["items"]
    assert [len(item["out_of_service"]) for item in listed] == [0, 1]
    assert (await api.post(f"{PUMP}/return-to-service", {}))[1]["code"] == "not_permitted_in_state"
    status, body = await api.post(f"{PUMP}/return-to-service", {"part": "motor"})
    assert (status, body["out_of_service"]) == (200, [])


@pytest.mark.parametrize("changes", [{"reason": ""}, {"planned_end": moment(-1)}, {"planned_end": moment(400 * 86400)}])
async def test_an_outage_has_a_reason_and_an_end_within_a_year(api: ApiServer, changes: dict[str, Any]) -> None:
    api.log_in(Role.ENGINEER)
    wanted = {"reason": "new bearing", "planned_end": moment(HOUR), **changes}
    assert (await api.post(f"{PUMP}/out-of-service", wanted))[0] == 400
    assert (await api.get(PUMP))[1]["out_of_service"] == []


async def test_the_live_feed_tells_both(api: ApiServer) -> None:
    row = await api.raise_hot()
    api.log_in(Role.SHIFT_LEADER)
    tell: Callable[..., Awaitable[Any]] = api.feed._send_facts
    async with api.client.ws_connect("/api/v1/live") as socket:
        snapshot = await socket.receive_json()
        assert [(item["annunciated"], item["suppressions"]) for item in snapshot["alarms"]] == [(True, [])]
        await api.post(ways(row)[0], {"version": 1, "reason": "x", "minutes": 5})
        await api.post(f"{PUMP}/out-of-service", {"reason": "x", "planned_end": moment(HOUR)})
        await tell(await every_fact(api))
        told = {}
        while not {"alarm", "equipment"} <= set(told):
            message = await socket.receive_json()
            told[message["type"]] = message
    assert told["alarm"]["alarm"]["suppressions"][0]["reason"] == "shelved"
    assert told["equipment"]["equipment"]["out_of_service"][0]["reason"] == "x"


async def every_fact(api: ApiServer) -> list[Any]:
    async with api.services.database.reading() as connection:
        return [fact for fact in await facts_after(connection, 0) if "entered" not in fact.kind]
