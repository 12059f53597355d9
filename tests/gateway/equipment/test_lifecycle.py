"""The life of an equipment: corrected, renamed, retired, replaced; what becomes of its alarms and its history."""

from typing import Any

import pytest

from collectors.wire.reading import to_datetime
from gateway.alarms.estate.equipment_notices import QUIET_MS, EquipmentNotices, Notice
from gateway.alarms.key import Scope
from gateway.alarms.suppression.out_of_service import take_out_of_service
from gateway.alarms.suppression.reasons import Outage
from gateway.api.equipment.lifecycle import replace, retire
from gateway.api.equipment.lifecycle_bodies import ReplaceEquipment, RetireEquipment
from gateway.api.http.route import NeedsSecondPerson
from gateway.equipment.ledger import Ledger
from gateway.people.permissions import Role
from gateway.storage.tables import audit, equipment, fact, journal, out_of_service, rule_memory
from tests.builders.alarms import OPERATOR, PUMP, SMOKE, T0, panel_event, rows_of, sample
from tests.builders.equipment_scene import AT, Scene, open_scene
from tests.gateway.api.alarms.test_shelving import call_of
from tests.servers.api_server import ApiServer

HOT = {"bearing_temperature": 88.0, "running": True}
COOL = {"bearing_temperature": 30.0, "running": True}


def pump(at: int, fields: dict[str, Any], code: str = "P-1") -> Any:
    return sample(PUMP.replace("P-1", code), fields, at)


async def hot(scene: Scene, code: str = "P-1") -> None:
    """The pump is hot for long enough."""
    await scene.say(pump(T0, HOT, code), pump(T0 + 120_000, HOT, code))
    assert [of for of, _ in await scene.names()] == ["P-1"]


def history_of(code: str, start: int = T0 - 1, end: int = T0 + 1_000_000) -> str:
    moments = [(to_datetime(at)).isoformat().replace("+", "%2B") for at in (start, end)]
    return f"{AT}HQ:{code}/history?field=bearing_temperature&start={moments[0]}&end={moments[1]}"


async def test_a_name_and_a_place_are_corrected_after_adoption_by_the_version_on_the_screen(api: ApiServer) -> None:
    name = {"en": "Booster", "zh-CN": "增压泵"}
    api.log_in(Role.OPERATOR)
    assert (await api.ask("PATCH", AT + "HQ:P-1", json={"version": 1, "name": name}))[0] == 403
    api.log_in(Role.ENGINEER)
    status, body = await api.ask("PATCH", AT + "HQ:P-1", json={"version": 1, "name": name})
    assert (status, body["name"]["zh-CN"], body["place"]["en"], body["version"]) == (200, "增压泵", "Basement", 2)
    status, body = await api.ask("PATCH", AT + "HQ:P-1", json={"version": 1, "name": name})
    assert (status, body["code"]) == (409, "stale_version")
    record = (await rows_of(api.services.database, audit))[-1]
    assert (record["act"], record["before"]["name"]["en"], record["after"]["name"]["en"]) == (
        "equipment.correct", "Pump 1", "Booster",
    )  # fmt: skip
    assert (await rows_of(api.services.database, fact))[-1]["kind"] == "equipment.corrected"


async def test_a_renamed_equipment_keeps_its_alarm_its_history_and_what_it_sends_under_the_former_code(
    api: ApiServer,
) -> None:
    scene = await open_scene(api)
    await hot(scene)
    (before,) = await scene.alarms()
    api.log_in(Role.ADMIN)
    status, body = await api.post(AT + "HQ:P-1/rename", {"version": 1, "code": "CW-01"})
    assert (status, body["id"], body["former_codes"]) == (200, "HQ:CW-01", ["P-1"])
    (after,) = await scene.alarms()
    assert (after["id"], after["equipment"], after["state"]) == (before["id"], "CW-01", "unacknowledged")
    lines = [row["event"] for row in await rows_of(api.services.database, journal) if row["thing"] == before["id"]]
    assert "equipment_renamed" in lines
    await scene.say(pump(T0 + 130_000, HOT))
    assert (len(await scene.alarms(is_open=False)), len(scene.ledger.equipment)) == (1, 3)
    await scene.say(pump(T0 + 200_000, COOL), pump(T0 + 900_000, COOL))
    (over,) = await scene.alarms()
    assert over["state"] == "returned_unacknowledged", "the memory of the rule went with it"
    for code in ("P-1", "CW-01"):
        _, found = await api.get(f"/api/v1/alarms?equipment=HQ:{code}")
        assert [item["id"] for item in found["items"]] == [before["id"]]
        _, found = await api.get(history_of(code))
        assert sorted(bucket["max"] for bucket in found["buckets"]) == [30, 30, 88, 88, 88]
        _, found = await api.get(AT + f"HQ:{code}")
        assert found["latest"]["bearing_temperature"]["value"] == 30


async def test_alarms_closed_before_a_rename_are_found_under_both_codes(api: ApiServer) -> None:
    scene = await open_scene(api)
    await hot(scene)
    api.log_in(Role.OPERATOR)
    (row,) = await scene.alarms()
    await api.post(f"/api/v1/alarms/{row['id']}/acknowledge", {"version": row["version"]})
    await scene.say(pump(T0 + 200_000, COOL), pump(T0 + 900_000, COOL))
    assert await scene.alarms() == []
    api.log_in(Role.ADMIN)
    await api.post(AT + "HQ:P-1/rename", {"version": 1, "code": "CW-01"})
    for code in ("P-1", "CW-01"):
        _, found = await api.get(f"/api/v1/alarms?equipment=HQ:{code}")
        assert [item["id"] for item in found["items"]] == [row["id"]]
        _, found = await api.get(f"/api/v1/activations?equipment=HQ:{code}")
        assert len(found["items"]) == 1


@pytest.mark.parametrize("code", ["FP-1", "OLD"])
async def test_a_code_is_never_given_twice(api: ApiServer, code: str) -> None:
    api.log_in(Role.ADMIN)
    await api.post(AT + "HQ:FP-1/rename", {"version": 1, "code": "OLD"})
    status, body = await api.post(AT + "HQ:P-1/rename", {"version": 1, "code": code})
    assert (status, body["code"]) == (409, "code_taken")
    status, _ = await api.post(AT + "HQ:OLD/rename", {"version": 2, "code": "FP-1"})
    assert status == 200, "its own former code it may have back"


async def test_retiring_ends_alarms_memory_and_outages_and_keeps_history(api: ApiServer) -> None:
    scene = await open_scene(api)
    await hot(scene)
    outage = Outage(since=T0, planned_end=T0 + 10**9, person="demo:engineer", second_person=None, reason="seal")
    await take_out_of_service(api.services.database, Scope("HQ", "P-1"), "", outage, OPERATOR, T0)
    await scene.act(retire, "HQ:P-1", RetireEquipment(1, "scrapped"))
    assert await scene.alarms() == []
    (row,) = await scene.alarms(is_open=False)
    lines = [row for row in await rows_of(api.services.database, journal) if row["event"] == "equipment_retired"]
    assert (row["state"], row["active"], lines[0]["note"], lines[0]["thing"]) == (
        "normal",
        False,
        "scrapped",
        row["id"],
    )
    assert await rows_of(api.services.database, out_of_service) == []
    await scene.desk.alarms.tick()
    assert await rows_of(api.services.database, rule_memory) == []
    scene.desk.clock.now += 10 * 24 * 3_600_000
    await scene.desk.alarms.tick()
    assert await scene.alarms() == [], "nothing is expected of it: no no-data alarm"
    scene.desk.clock.now = T0 + 200_000  # logins end by this clock too
    api.log_in(Role.ADMIN)
    assert "HQ:P-1" not in [item["id"] for item in (await api.get("/api/v1/equipment"))[1]["items"]]
    (listed,) = (await api.get("/api/v1/equipment?retired=true"))[1]["items"]
    assert (listed["id"], listed["retired_at"] is not None) == ("HQ:P-1", True)
    assert len((await api.get(history_of("P-1")))[1]["buckets"]) == 2


async def test_a_message_of_retired_equipment_is_counted_and_reported_and_raises_only_life_safety(
    api: ApiServer,
) -> None:
    scene = await open_scene(api)
    await scene.act(retire, "HQ:P-1", RetireEquipment(1, "scrapped"))
    await scene.act(retire, "HQ:FP-1", RetireEquipment(1, "new panel"))
    await scene.say(pump(T0, HOT), pump(T0 + 120_000, HOT))
    assert await scene.alarms() == []
    await scene.say(panel_event(T0 + 121_000))
    assert [of for of, _ in await scene.names()] == ["FP-1"]
    messages = scene.ledger.last_messages
    assert {who: last.count for who, last in messages.items()} == {("HQ", "P-1"): 2, ("HQ", "FP-1"): 1}
    notices, now = EquipmentNotices(), T0 + 122_000
    await scene.desk.decide(*notices.look(scene.ledger.equipment.values(), messages, now))
    told = {row["part"]: row for row in await scene.alarms() if row["rule"] == "system.retired_speaks"}
    assert set(told) == {"HQ:P-1", "HQ:FP-1"}
    api.log_in(Role.ADMIN)
    _, page = await api.get("/api/v1/equipment?retired=true")
    assert {item["id"]: item["last_message"]["count"] for item in page["items"]} == {"HQ:P-1": 2, "HQ:FP-1": 1}
    await scene.desk.alarms.load()
    assert len(await scene.alarms()) == 3, "a restart ends neither the fire nor the notices"
    later = now + QUIET_MS
    await scene.desk.decide(*notices.look(scene.ledger.equipment.values(), messages, later))
    assert {row["active"] for row in await scene.alarms() if row["rule"] == "system.retired_speaks"} == {False}


async def test_life_safety_that_stood_at_the_retirement_is_raised_anew_by_the_next_message(api: ApiServer) -> None:
    scene = await open_scene(api)
    await scene.say(sample(SMOKE, {"smoke": True}, T0))
    assert len(await scene.alarms()) == 1
    await scene.act(retire, "HQ:S-1", RetireEquipment(1, "removed"))
    assert await scene.alarms() == []
    await scene.say(sample(SMOKE, {"smoke": True}, T0 + 60_000))
    assert [of for of, _ in await scene.names()] == ["S-1"]
    await scene.desk.alarms.tick()
    await scene.desk.alarms.load()
    assert [of for of, _ in await scene.names()] == ["S-1"]


async def test_life_safety_raised_before_the_owner_knew_of_the_retirement_still_returns(api: ApiServer) -> None:
    scene = await open_scene(api)
    await scene.say(sample(SMOKE, {"smoke": False}, T0))
    now, before = scene.desk.alarms._estate, scene.ledger.estate
    scene.desk.alarms._estate = lambda: before
    await scene.act(retire, "HQ:S-1", RetireEquipment(1, "removed"))
    await scene.say(sample(SMOKE, {"smoke": True}, T0 + 10_000))
    scene.desk.alarms._estate = now
    await scene.desk.alarms.tick()
    (raised,) = [row for row in await scene.alarms() if row["equipment"] == "S-1"]
    assert raised["active"]
    api.log_in(Role.ADMIN)
    assert (await api.post(AT + "HQ:S-1/adopt", {"version": 2}))[0] == 200
    await scene.desk.alarms.tick()
    await scene.say(*(sample(SMOKE, {"smoke": False}, T0 + at) for at in (20_000, 90_000)))
    (returned,) = [row for row in await scene.alarms(is_open=False) if row["equipment"] == "S-1"]
    assert (returned["id"], returned["active"]) == (raised["id"], False)


async def test_what_watches_over_lives_is_retired_and_replaced_by_two_people_only(api: ApiServer) -> None:
    scene = await open_scene(api)
    for handler, body in (
        (retire, RetireEquipment(1, "gone")),
        (replace, ReplaceEquipment(1, "FP-2", "new")),
    ):
        with pytest.raises(NeedsSecondPerson):
            await handler(call_of(api, Role.ADMIN, {"equipment": "HQ:FP-1"}, body, None))
    assert scene.version("FP-1") == 1
    api.log_in(Role.ENGINEER)
    status, problem = await api.post(AT + "HQ:FP-1/retire", {"version": 1, "reason": "gone"})
    assert (status, problem["code"]) == (403, "forbidden")
    api.log_in(Role.ADMIN)
    status, waiting = await api.post(AT + "HQ:FP-1/retire", {"version": 1, "reason": "gone"})
    assert (status, [change["act"] for change in waiting["changes"]]) == (202, ["equipment.retire"])
    assert scene.ledger.equipment["HQ", "FP-1"].in_use
    api.log_in(Role.SHIFT_LEADER)
    status, _ = await api.post(f"/api/v1/approvals/{waiting['id']}/approve", {"version": waiting["version"]})
    assert (status, scene.ledger.equipment["HQ", "FP-1"].in_use) == (200, False)


async def test_a_replacement_has_name_place_links_rule_changes_and_history_of_the_old_device(api: ApiServer) -> None:
    scene = await open_scene(api)
    api.log_in(Role.ADMIN)
    await api.post(AT + "HQ:P-1/links", {"parent": "HQ:FP-1", "relation": "power"})
    rule = next(rule.id for rule in api.services.rules if rule.id.startswith("pump.") and not rule.life_safety)
    change = {"rule": rule, "site": "HQ", "equipment": "HQ:P-1", "version": 0, "changes": {"enabled": False}}
    status, answer = await api.post("/api/v1/rules", {**change, "note": "noisy"})
    assert status == 200, answer
    await hot(scene)
    body = await scene.act(replace, "HQ:P-1", ReplaceEquipment(1, "P-9", "motor burnt"))
    assert (body.id, body.name.en, body.place.en, body.replaces) == ("HQ:P-9", "Pump 1", "Basement", "HQ:P-1")
    old = scene.ledger.equipment["HQ", "P-1"]
    assert (old.retired_at is not None, old.replaced_by, await scene.alarms()) == (True, "P-9", [])
    _, links = await api.get(AT + "HQ:P-9/links")
    assert [link["equipment"] for link in links["parents"]] == ["HQ:FP-1"]
    _, held = await api.get(f"/api/v1/rules/{rule}?site=HQ&equipment=HQ:P-9")
    assert held["enabled"] is False
    await scene.say(pump(T0 + 300_000, COOL, "P-9"))
    _, found = await api.get(history_of("P-9"))
    assert [bucket["max"] for bucket in found["buckets"]] == [88, 88, 30]
    _, past = await api.get("/api/v1/alarms?equipment=HQ:P-9")
    assert [item["equipment"] for item in past["items"]] == ["HQ:P-1"]
    status, problem = await api.post(AT + "HQ:P-1/adopt", {"version": 2})
    assert (status, problem["code"]) == (409, "not_permitted_in_state")


async def test_retired_equipment_is_taken_back_and_watched_again(api: ApiServer) -> None:
    scene = await open_scene(api)
    await scene.act(retire, "HQ:P-1", RetireEquipment(1, "by mistake"))
    await scene.desk.alarms.tick()
    api.log_in(Role.ADMIN)
    status, body = await api.post(AT + "HQ:P-1/adopt", {"version": 2})
    assert (status, body["retired_at"]) == (200, None)
    await hot(scene)


async def test_another_kind_only_without_open_alarms_and_the_history_of_the_old_one_stays(api: ApiServer) -> None:
    scene = await open_scene(api)
    await hot(scene)
    api.log_in(Role.ADMIN)
    status, problem = await api.ask("PATCH", AT + "HQ:P-1", json={"version": 1, "kind": "sensor"})
    assert (status, problem["code"]) == (409, "alarms_open")
    (row,) = await scene.alarms()
    await api.post(f"/api/v1/alarms/{row['id']}/acknowledge", {"version": row["version"]})
    api.log_in(Role.OPERATOR)
    await api.post(f"/api/v1/alarms/{row['id']}/acknowledge", {"version": row["version"]})
    await scene.say(pump(T0 + 200_000, COOL), pump(T0 + 900_000, COOL))
    assert await scene.alarms() == []
    api.log_in(Role.ADMIN)
    status, body = await api.ask("PATCH", AT + "HQ:P-1", json={"version": 1, "kind": "sensor"})
    assert (status, body["kind"], body["former_kinds"]) == (200, "sensor", ["pump"])
    assert len((await api.get(history_of("P-1")))[1]["buckets"]) == 4
    await scene.say(sample("gengfu/HQ/sensor/P-1/telemetry", {"temperature": 20.0}, T0 + 950_000))
    _, body = await api.get(AT + "HQ:P-1")
    assert set(body["latest"]) == {"temperature"}


async def test_two_kinds_under_one_code_are_two_rows_reported_and_not_merged(api: ApiServer) -> None:
    scene = await open_scene(api)
    lift = "gengfu/HQ/elevator/P-1/telemetry"
    await scene.say(pump(T0, COOL), sample(lift, {"motor_temperature": 40.0, "alarm_button": False}, T0 + 1))
    api.log_in(Role.ADMIN)
    _, page = await api.get("/api/v1/equipment?site=HQ")
    found = {item["id"]: item for item in page["items"]}
    assert set(found["HQ:P-1"]["latest"]) == {"bearing_temperature", "running"}
    second = found["HQ:P-1.elevator"]
    assert (second["kind"], second["adopted"], second["shares_code_with"]) == ("elevator", False, "HQ:P-1")
    assert set(second["latest"]) == {"motor_temperature", "alarm_button"}
    await scene.say(sample(lift, {"motor_temperature": 40.0, "alarm_button": True}, T0 + 2_000))
    assert [(row["equipment"], row["life_safety"]) for row in await scene.alarms()] == [("P-1.elevator", True)]
    notices = EquipmentNotices()
    await scene.desk.decide(*notices.look(scene.ledger.equipment.values(), {}, T0 + 3_000))
    assert ("gengfu", "system.two_kinds") in await scene.names()
    assert notices._standing == {Notice("two_kinds", "HQ:P-1")}


async def test_two_kinds_that_are_heard_first_in_one_batch_are_kept_apart(api: ApiServer) -> None:
    scene = await open_scene(api)
    both = [sample(f"gengfu/HQ/{kind}/X/telemetry", {"motor_temperature": 1.0}, T0) for kind in ("pump", "elevator")]
    await scene.say(*both)
    assert {(code, item.kind) for (_, code), item in scene.ledger.equipment.items() if code.startswith("X")} == {
        ("X", "pump"), ("X.elevator", "elevator"),
    }  # fmt: skip


async def test_the_kind_that_was_wrong_is_corrected_and_the_second_row_becomes_a_part_of_the_first(
    api: ApiServer,
) -> None:
    scene = await open_scene(api)
    await scene.say(sample("gengfu/HQ/elevator/X/telemetry", {"motor_temperature": 1.0}, T0), pump(T0 + 1, COOL, "X"))
    api.log_in(Role.ADMIN)
    status, body = await api.ask("PATCH", AT + "HQ:X", json={"version": 1, "kind": "pump"})
    assert (status, body["former_codes"], body["former_kinds"]) == (200, ["X.pump"], ["elevator"])
    await scene.say(pump(T0 + 2, COOL, "X"))
    assert {code for _, code in scene.ledger.equipment if code.startswith("X")} == {"X"}
    _, found = await api.get(history_of("X"))
    assert sum(bucket["count"] for bucket in found["buckets"]) == 2


async def test_the_ledger_of_another_process_learns_of_every_act(api: ApiServer) -> None:
    scene = await open_scene(api)
    other = Ledger(api.services.database, 10, "UTC")
    await other.load()
    api.log_in(Role.ADMIN)
    await api.post(AT + "HQ:P-1/rename", {"version": 1, "code": "CW-01"})
    await scene.act(retire, "HQ:FP-1", RetireEquipment(1, "gone"))
    facts = await rows_of(api.services.database, fact)
    await other.learn(row["thing"] for row in facts if row["kind"].startswith("equipment."))
    assert (other.equipment, other.estate) == (scene.ledger.equipment, scene.ledger.estate)
    assert {row["code"] for row in await rows_of(api.services.database, equipment) if row["site"] == "HQ"} == {
        "CW-01", "FP-1",
    }  # fmt: skip
