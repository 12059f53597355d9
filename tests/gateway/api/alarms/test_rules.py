"""Rules through HTTP: what is shown to whom, who may change them, and what a refusal says."""

from typing import Any

import pytest

from gateway.people.permissions import Role
from gateway.storage.tables import rule_version
from tests.builders.alarms import rows_of
from tests.servers.api_server import ApiServer

RULE = "pump.bearing_hot"
PATH = "/api/v1/rules"


def body(changes: dict[str, Any], version: int = 0, **more: Any) -> dict[str, Any]:
    return {"rule": RULE, "site": "HQ", "changes": changes, "version": version, **more}


async def setting(api: ApiServer, key: str, query: str = "site=HQ") -> dict[str, Any]:
    status, found = await api.get(f"{PATH}/{RULE}?{query}")
    assert status == 200, found
    value: dict[str, Any] = next(item for item in found["settings"] if item["key"] == key)
    return value


async def test_a_rule_shows_each_value_with_its_unit_and_beside_that_of_the_file(api: ApiServer) -> None:
    api.log_in(Role.ADMIN)
    assert (await api.post(PATH, body({"above": 90})))[0] == 200
    here = body({"above": 85, "on_delay": "20s"}, equipment="HQ:P-1", note="the old bearing")
    status, version = await api.post(PATH, here)
    assert (status, version["version"], version["equipment"], version["person"]) == (200, 1, "HQ:P-1", "demo:admin")
    assert version["person_name"]["en"]
    api.log_in(Role.VIEWER)
    assert await setting(api, "above", "equipment=HQ:P-1") == {
        "key": "above", "value": 85, "unit": "°C", "given_by": "equipment", "file_value": 82,
    }  # fmt: skip
    assert (await setting(api, "above"))["value"] == 90
    assert (await setting(api, "above", ""))["given_by"] == "file"
    assert (await setting(api, "above", "site=B"))["given_by"] == "file"


async def test_the_list_is_of_a_kind_or_of_what_watches_an_equipment(api: ApiServer) -> None:
    api.log_in(Role.VIEWER)
    _, pumps = await api.get(f"{PATH}?kind=pump")
    assert {item["kind"] for item in pumps["items"]} == {"pump"}
    _, panel = await api.get(f"{PATH}?equipment=HQ:FP-1")
    assert {item["kind"] for item in panel["items"]} == {"fire_panel"}
    assert (await api.get(f"{PATH}?equipment=HQ:FP-1&kind=pump"))[1]["items"] == []
    _, everything = await api.get(PATH)
    assert len(everything["items"]) == len(api.services.rules)


async def test_who_changed_what_when_newest_first_and_back_again(api: ApiServer) -> None:
    api.log_in(Role.ADMIN)
    await api.post(PATH, body({"above": 90}, note="summer"))
    await api.post(PATH, body({"above": 95}, 1))
    status, version = await api.post(f"{PATH}/{RULE}/roll-back", {"site": "HQ", "to": 1, "version": 2})
    assert (status, version["changes"], version["equals"]) == (200, {"above": 90}, 1)
    _, first = await api.get(f"{PATH}/{RULE}/versions?limit=2")
    _, second = await api.get(f"{PATH}/{RULE}/versions?limit=2&cursor={first['next']}")
    assert [item["version"] for item in (*first["items"], *second["items"])] == [3, 2, 1]
    assert (second["items"][0]["note"], second["next"]) == ("summer", None)
    assert (await api.get(f"{PATH}/{RULE}?site=HQ"))[1]["site_version"] == 3


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        (body({"above": 90}, 7), 409, "stale_version"),
        (body({"field": "flow"}), 422, "rule_refused"),
        (body({"deadband": -1}), 422, "rule_refused"),
        (body({"above": 90}, equipment="HQ:FP-1"), 422, "rule_refused"),
        (body({"above": 90}, equipment="HQ:P-9"), 404, "not_found"),
        (body({"above": 90}, equipment="B:P-1"), 400, "bad_query"),
        ({**body({}), "site": "nowhere"}, 404, "not_found"),
        ({**body({"above": 1}), "rule": "no.such"}, 422, "rule_refused"),
        ({**body({"above": 1}), "rule": "sensor.smoke", "changes": {"enabled": False}}, 422, "rule_refused"),
        ({**body({}), "more": 1}, 400, "bad_request"),
    ],
)
async def test_what_is_refused_changes_nothing_and_says_why(
    api: ApiServer, wanted: dict[str, Any], status: int, code: str
) -> None:
    api.log_in(Role.ADMIN)
    answer, problem = await api.post(PATH, wanted)
    assert (answer, problem["code"]) == (status, code), problem
    assert problem["detail"] or code == "not_found"
    assert await rows_of(api.services.database, rule_version) == []


async def test_brackets_without_end_are_refused(api: ApiServer) -> None:
    api.log_in(Role.ADMIN)
    deep = b'{"rule": "x", "site": "HQ", "version": 0, "changes": {"when": ' + b'{"not": ' * 50_000
    headers = {"Content-Type": "application/json"}
    status, problem = await api.ask("POST", PATH, data=deep, headers=headers)
    assert (status, problem["code"]) == (400, "bad_request")
    nested: dict[str, Any] = {"field": "flow", "below": 1}
    for _ in range(100):
        nested = {"not": nested}
    status, problem = await api.post(PATH, {**body({"when": nested}), "rule": "pump.dry_run"})
    assert (status, problem["code"]) == (422, "rule_refused")
    assert "deep" in problem["detail"]


@pytest.mark.parametrize("form", ["not", "all"])
async def test_whatever_the_depth_it_is_an_answer_and_no_failure(api: ApiServer, form: str) -> None:
    """Between what is read and what is too deep to be read lies no depth at which the service fails."""
    api.log_in(Role.ADMIN)
    opens, closes = ('{"not": ', "}") if form == "not" else ('{"all": [', "]}")
    for depth in range(15, 1_100, 45):
        when = opens * depth + '{"field": "flow", "below": 1}' + closes * depth
        for path, text in (
            (PATH, '{"rule": "pump.dry_run", "site": "HQ", "version": 99, "changes": {"when": %s}}'),
            (PATH, '{"rule": "my.own", "site": "HQ", "version": 0, "changes": {"id": %s, "kind": %s}}'),
            (f"{PATH}/test", '{"equipment": "HQ:P-1", "rule_id": "pump.dry_run", "changes": {"when": %s}}'),
            (f"{PATH}/test", '{"equipment": "HQ:P-1", "rule": {"when": %s}}'),
        ):
            sent = text.replace("%s", when).encode()
            status, problem = await api.ask("POST", path, data=sent, headers={"Content-Type": "application/json"})
            assert status in {200, 400, 409, 422}, (path, depth, problem)


async def test_a_rule_has_no_more_words_and_conditions_than_somebody_can_read(api: ApiServer) -> None:
    """Its title stands in every alarm; each condition is looked at with every reading."""
    api.log_in(Role.ADMIN)
    long = {"title": {"en": "x" * 300, "zh-CN": "热"}}, {"advice": {"en": "x" * 3000, "zh-CN": "查看。"}}
    for changes in long:
        assert (await api.post(PATH, body(changes)))[1]["code"] == "rule_refused"
    wide = {"all": [{"field": "flow", "below": number} for number in range(1, 200)]}
    for path, sent in (
        (PATH, {**body({"when": wide}), "rule": "pump.dry_run"}),
        (f"{PATH}/test", {"equipment": "HQ:P-1", "rule_id": "pump.dry_run", "changes": {"when": wide}}),
    ):
        status, problem = await api.post(path, sent)
        assert (status, problem["code"]) == (422, "rule_refused")
        assert "conditions" in problem["detail"]


@pytest.mark.parametrize("role", Role)
async def test_only_an_administrator_of_the_site_changes_rules(api: ApiServer, role: Role) -> None:
    await api.enter({"here": {"HQ": (role,)}, "there": {"B": (role,)}})
    for who, permitted in (("here", {200}), ("there", {404})):
        api.show(f"login-of-{who}")
        expected = permitted if role is Role.ADMIN else {403}
        assert (await api.post(PATH, body({"above": 90})))[0] in expected
        back = {"site": "HQ", "to": 0, "version": 1}
        assert (await api.post(f"{PATH}/{RULE}/roll-back", back))[0] in expected


async def test_who_watches_one_site_sees_no_change_of_another(api: ApiServer) -> None:
    api.log_in(Role.ADMIN)
    await api.post(PATH, body({"above": 90}))
    await api.log_in_with({"B": (Role.OPERATOR,)})
    assert (await api.get(f"{PATH}/{RULE}/versions"))[1]["items"] == []
    assert (await api.get(f"{PATH}/{RULE}/versions?site=HQ"))[0] == 404
    assert (await api.get(f"{PATH}/{RULE}?site=HQ"))[0] == 404
    assert (await api.get(f"{PATH}?equipment=HQ:P-1"))[0] == 404
    assert (await setting(api, "above", "site=B"))["value"] == 82


async def test_a_rule_of_the_sites_own_is_made_shown_and_taken_back(api: ApiServer) -> None:
    api.log_in(Role.ADMIN)
    own = {
        "kind": "pump", "type": "limit", "field": "flow", "above": 30, "priority": "low", "source": "the plate",
        "title": {"en": "Flow high", "zh-CN": "流量高"}, "advice": {"en": "Look.", "zh-CN": "查看。"},
    }  # fmt: skip
    assert (await api.post(PATH, {**body(own), "rule": "pump.flow_high"}))[0] == 200
    status, found = await api.get(f"{PATH}/pump.flow_high?site=HQ")
    assert (status, found["file"], found["title"]["en"]) == (200, "", "Flow high")
    assert (await api.get(f"{PATH}/pump.flow_high?site=B"))[0] == 404
    assert (await api.post(PATH, {**body({}, 1), "rule": "pump.flow_high"}))[0] == 200
    assert (await api.get(f"{PATH}/pump.flow_high?site=HQ"))[0] == 404


async def test_what_decides_over_lives_waits_for_a_second_administrator_and_is_then_done_in_both_names(
    api: ApiServer,
) -> None:
    await api.enter({"wei": {"HQ": (Role.ADMIN,)}, "lan": {"HQ": (Role.ADMIN,)}})
    api.show("login-of-wei")
    wanted = {"rule": "elevator.entrapment", "site": "HQ", "changes": {"on_delay": "2min"}, "version": 0}
    status, waiting = await api.post(PATH, wanted)
    assert (status, waiting["act"]) == (202, "manage_rules")
    assert await rows_of(api.services.database, rule_version) == []
    api.show("login-of-lan")
    decision = {"version": waiting["version"]}
    status, approved = await api.post(f"/api/v1/approvals/{waiting['id']}/approve", decision)
    assert (status, approved["outcome"]) == (200, "done"), approved
    (row,) = await rows_of(api.services.database, rule_version)
    assert (row["person"], row["second_person"], row["changes"]) == ("demo:wei", "demo:lan", {"on_delay": "2min"})


@pytest.mark.parametrize(
    "changes", [{"above": 9_000}, {"priority": "low"}, {}], ids=["another limit", "less urgent", "as in the file"]
)
@pytest.mark.parametrize("equipment", ["", "HQ:P-1"], ids=["for the site", "for one equipment"])
async def test_what_a_site_has_made_critical_one_person_alone_does_not_weaken_again(
    api: ApiServer, changes: dict[str, Any], equipment: str
) -> None:
    await api.enter({"wei": {"HQ": (Role.ADMIN,)}})
    api.show("login-of-wei")
    assert (await api.post(PATH, body({"priority": "critical", "on_delay": "0s"})))[0] == 200
    version = 0 if equipment else 1
    status, answer = await api.post(PATH, {**body(changes, version), "equipment": equipment})
    weakens = bool(changes) or not equipment
    assert status == (202 if weakens else 200), answer
    assert len(await rows_of(api.services.database, rule_version)) == (1 if weakens else 2)
