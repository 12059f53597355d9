"""What goes on for equipment with another code or another device, and what only two people may end."""

from typing import Any

import pytest

from collectors.timeseries.store import Latest
from collectors.wire.fields import Kind
from collectors.wire.reading import to_datetime
from gateway.alarms.rules.rule import Priority
from gateway.api.equipment.lifecycle import correct, replace, retire
from gateway.api.equipment.lifecycle_bodies import CorrectEquipment, ReplaceEquipment, RetireEquipment
from gateway.api.http.route import Handler, NeedsSecondPerson
from gateway.people.permissions import Role
from gateway.storage.tables import alarm, ticket
from tests.builders.alarms import PUMP, SMOKE, T0, caught_up, make_rule, open_desk, rows_of, sample
from tests.builders.equipment_scene import AT, Scene, open_scene
from tests.gateway.api.alarms.test_shelving import call_of
from tests.servers.api_server import ApiServer

HOT = {"bearing_temperature": 88.0, "running": True}
COOL = {"bearing_temperature": 30.0, "running": True}
LISTS = ("alarms", "activations", "tickets", "shelves", "maintenance-windows")


def pump(at: int, fields: dict[str, Any], code: str = "P-1") -> Any:
    return sample(PUMP.replace("P-1", code), fields, at)


async def everything_of(api: ApiServer, code: str) -> dict[str, Any]:
    """What every list has of an equipment, under one of its codes, without the code itself."""
    found: dict[str, Any] = {}
    for name in LISTS:
        path = f"/api/v1/{name}" + ("" if name == "shelves" else f"?equipment=HQ:{code}")
        status, page = await api.get(path)
        assert status == 200, (path, page)
        found[name] = len(page["items"])
    _, links = await api.get(f"{AT}HQ:{code}/links")
    _, item = await api.get(f"{AT}HQ:{code}")
    latest = {name: entry["value"] for name, entry in item["latest"].items()}
    _, rule = await api.get(f"/api/v1/rules/pump.bearing_hot?equipment=HQ:{code}")
    outages = [one["reason"] for one in item["out_of_service"]]
    found["off_delay"] = next(one["value"] for one in rule["settings"] if one["key"] == "off_delay")
    return {**found, "links": [one["equipment"] for one in links["parents"]], "latest": latest, "outages": outages}


async def test_a_rename_carries_over_all_that_is_known_and_a_restart_changes_nothing(api: ApiServer) -> None:
    scene = await open_scene(api)
    await scene.say(pump(T0, HOT), pump(T0 + 120_000, HOT))
    await caught_up(scene.desk)
    (row,) = await scene.alarms()
    now = to_datetime(scene.desk.clock.now).timestamp()
    later = [to_datetime(int(now * 1000) + hours * 3_600_000).isoformat() for hours in (1, 2)]
    api.log_in(Role.ADMIN)
    await api.post(AT + "HQ:P-1/links", {"parent": "HQ:FP-1", "relation": "power"})
    change = {"rule": row["rule"], "site": "HQ", "equipment": "HQ:P-1", "version": 0, "changes": {"off_delay": "9min"}}
    status, answer = await api.post("/api/v1/rules", {**change, "note": "slow to cool"})
    assert status == 200, answer
    api.log_in(Role.OPERATOR)
    shelved = {"version": row["version"], "reason": "known", "minutes": 60}
    status, answer = await api.post(f"/api/v1/alarms/{row['id']}/shelve", shelved)
    assert status == 200, answer
    api.log_in(Role.ENGINEER)
    outage = {"reason": "seal", "planned_end": later[0]}
    status, answer = await api.post(AT + "HQ:P-1/out-of-service", outage)
    assert status == 200, answer
    work = {"site": "HQ", "equipment": "HQ:P-1", "starts_at": later[0], "ends_at": later[1], "reason": "oil"}
    status, answer = await api.post("/api/v1/maintenance-windows", work)
    assert status in (200, 201), answer
    api.log_in(Role.ADMIN)
    before = await everything_of(api, "P-1")
    status, answer = await api.post(AT + "HQ:P-1/rename", {"version": scene.version("P-1"), "code": "CW-01"})
    assert status == 200, answer
    assert min(value for value in before.values() if isinstance(value, int)) > 0, before
    for code in ("P-1", "CW-01"):
        assert await everything_of(api, code) == before
    await scene.desk.alarms.tick()
    await scene.desk.alarms.load()
    await api.services.ledger.load()
    assert await everything_of(api, "CW-01") == before
    await scene.say(pump(T0 + 300_000, HOT), pump(T0 + 500_000, HOT))
    await caught_up(scene.desk)
    (after,), (one,) = await scene.alarms(), await rows_of(api.services.database, ticket)
    assert (after["id"], after["equipment"], one["equipment"]) == (row["id"], "CW-01", "CW-01")
    await scene.say(pump(T0 + 600_000, COOL), pump(T0 + 600_000 + 8 * 60_000, COOL))
    assert (await scene.alarms())[0]["active"], "the changed off-delay holds"
    await scene.say(pump(T0 + 600_000 + 10 * 60_000, COOL))
    assert not (await scene.alarms())[0]["active"]


LIVES = {"equipment": ("P-*",), "priority": Priority.CRITICAL}


async def one_rule(api: ApiServer, **of_rule: Any) -> Scene:
    """A desk with one rule for the bearing."""
    ledger = api.services.ledger
    rule = make_rule("pump.special", **of_rule)
    desk = await open_desk(api.services.database, rule, clock=api.clock, estate=lambda: ledger.estate)
    return Scene(api, desk)


@pytest.mark.parametrize(
    ("named", "is_watched"), [({"equipment": ("P-1",)}, True), ({"equipment": ("P-*",)}, False), (LIVES, True)]
)
async def test_a_rule_that_names_a_code_goes_on_after_a_rename_and_a_pattern_goes_by_the_new_code_but_for_life_safety(
    api: ApiServer, named: dict[str, Any], is_watched: bool
) -> None:
    scene = await one_rule(api, **named)
    await scene.say(pump(T0, HOT))
    assert len(await scene.alarms()) == 1
    api.log_in(Role.ADMIN)
    await api.post(AT + "HQ:P-1/rename", {"version": 1, "code": "CW-01"})
    for _ in range(2):  # by the owner that goes on, and by one that starts
        await scene.say(pump(T0 + 60_000, HOT))
        assert [row["active"] for row in await scene.alarms()] == [is_watched] * len(await scene.alarms())
        await scene.desk.alarms.load()


async def test_a_rule_that_names_a_replaced_device_watches_the_new_one(api: ApiServer) -> None:
    scene = await one_rule(api, equipment=("P-1",))
    await scene.say(pump(T0, COOL), pump(T0, COOL, "P-9"))
    await scene.act(replace, "HQ:P-1", ReplaceEquipment(1, "P-9", "burnt"))
    await scene.desk.alarms.tick()
    await scene.say(pump(T0 + 60_000, HOT, "P-9"))
    assert await scene.names() == [("P-9", "pump.special")]


async def test_what_a_replaced_device_still_sends_is_not_in_the_history_of_the_new_one(api: ApiServer) -> None:
    scene = await open_scene(api)
    await scene.say(pump(T0, COOL))
    await scene.act(replace, "HQ:P-1", ReplaceEquipment(1, "P-9", "burnt"))
    await scene.say(pump(T0 + 60_000, HOT), pump(T0 + 90_000, COOL, "P-9"))
    api.log_in(Role.ADMIN)
    start, end = (to_datetime(at).isoformat().replace("+", "%2B") for at in (T0 - 1, T0 + 100_000))
    between = f"field=bearing_temperature&start={start}&end={end}"
    _, new = await api.get(f"{AT}HQ:P-9/history?{between}")
    _, old = await api.get(f"{AT}HQ:P-1/history?{between}")
    assert [bucket["max"] for bucket in new["buckets"]] == [30, 30]
    assert [bucket["max"] for bucket in old["buckets"]] == [30, 88], "nothing is lost: it is under its own code"
    _, item = await api.get(f"{AT}HQ:P-9")
    assert item["latest"]["bearing_temperature"]["value"] == 30


END_IT = (
    (retire, RetireEquipment(1, "gone")),
    (replace, ReplaceEquipment(1, "S-9", "new")),
    (correct, CorrectEquipment(1, kind=Kind.PUMP)),
)


async def alone(api: ApiServer, handler: Handler, body: Any) -> Any:
    """What one administrator does without anybody else."""
    return await handler(call_of(api, Role.ADMIN, {"equipment": "HQ:S-1"}, body, None))


@pytest.mark.parametrize(("handler", "body"), END_IT)
async def test_a_sensor_that_measures_only_is_ended_by_one_person(api: ApiServer, handler: Handler, body: Any) -> None:
    scene = await open_scene(api)
    await scene.say(sample(SMOKE, {"temperature": 20.0}, T0))
    assert (await alone(api, handler, body)).version in (1, 2)


@pytest.mark.parametrize(("handler", "body"), END_IT)
async def test_a_detector_is_ended_by_two_people_though_nothing_stands(
    api: ApiServer, handler: Handler, body: Any
) -> None:
    scene = await open_scene(api)
    await scene.say(sample(SMOKE, {"temperature": 20.0, "smoke": False}, T0))
    with pytest.raises(NeedsSecondPerson):
        await alone(api, handler, body)
    assert (scene.version("S-1"), scene.ledger.equipment["HQ", "S-1"].kind) == (1, "sensor")


@pytest.mark.parametrize(("handler", "body"), END_IT[:2])
async def test_an_open_alarm_of_life_safety_ends_by_two_people_whatever_the_rules_say_now(
    api: ApiServer, handler: Handler, body: Any
) -> None:
    scene = await open_scene(api)
    await scene.say(sample(SMOKE, {"smoke": True}, T0))
    (before,) = await scene.alarms()
    api.services.store._latest.put(("HQ", "S-1"), Latest("sensor", T0, {}))  # history has lost what it has sent
    with pytest.raises(NeedsSecondPerson):
        await alone(api, handler, body)
    (after,) = [row for row in await rows_of(api.services.database, alarm) if row["id"] == before["id"]]
    assert (after["open_key"], scene.version("S-1")) == (before["open_key"], 1)
