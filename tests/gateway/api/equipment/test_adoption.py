"""Unknown equipment over HTTP and by the command: listed with its last message, adopted by who may."""

from typing import Any

import pytest

from collectors.mqtt.message import Message
from gateway.api.equipment.bodies import payload_text
from gateway.cli.api_client import RemoteError, adopt, list_unknown, logged_in
from gateway.people.permissions import Role
from tests.builders.alarms import SMOKE, T0, sample
from tests.servers.api_server import ApiServer

UNKNOWN = "/api/v1/equipment?adopted=false"


async def hear_smoke(api: ApiServer, payload: bytes = b'{"smoke":true}') -> None:
    ledger, readings = api.services.ledger, [sample(SMOKE, {"smoke": True}, T0)]
    ledger.hear(Message("zigbee2mqtt/S-1", payload, 1, 1, T0 * 1_000_000), readings)
    await ledger.meet(readings, T0)
    await ledger.keep_last_messages()


async def test_unknown_equipment_is_listed_with_its_last_message(api: ApiServer) -> None:
    await hear_smoke(api)
    api.log_in(Role.ADMIN)
    status, page = await api.get(UNKNOWN)
    (item,) = page["items"]
    assert (status, item["id"], item["adopted"]) == (200, "HQ:S-1", False)
    assert item["last_message"] == {
        "topic": "zigbee2mqtt/S-1", "received_at": "2025-11-22T08:26:40Z", "payload": '{"smoke":true}',
        "encoding": "utf-8", "size": 14, "count": 1,
    }  # fmt: skip
    assert len((await api.get("/api/v1/equipment?adopted=true"))[1]["items"]) == 3
    assert len((await api.get("/api/v1/equipment"))[1]["items"]) == 4
    api.log_in(Role.OPERATOR)
    (item,) = (await api.get(UNKNOWN))[1]["items"]
    assert item["last_message"] is None, "what a device sent is for the administrator"


async def test_one_call_adopts_it(api: ApiServer) -> None:
    await hear_smoke(api)
    path = "/api/v1/equipment/HQ:S-1/adopt"
    api.log_in(Role.SHIFT_LEADER)
    assert (await api.post(path, {"version": 1}))[0] == 403
    api.log_in(Role.ADMIN)
    body: dict[str, Any] = {
        "version": 1,
        "name": {"en": "Smoke", "zh-CN": "烟感"},
        "place": {"en": "2F", "zh-CN": "二楼"},
    }
    status, problem = await api.post(path, {**body, "version": 7})
    assert (status, problem["code"]) == (409, "stale_version")
    for wrong in ({"name": {"en": " ", "zh-CN": "烟感"}}, {"place": {"en": "x" * 201, "zh-CN": ""}}, {"colour": "red"}):
        status, problem = await api.post(path, {**body, **wrong})
        assert (status, problem["code"]) == (400, "bad_request"), wrong
    status, item = await api.post(path, body)
    assert (status, item["adopted"], item["version"], item["name"]["zh-CN"]) == (200, True, 2, "烟感")
    status, problem = await api.post(path, body)
    assert (status, problem["code"]) == (409, "not_permitted_in_state")
    assert (await api.get(UNKNOWN))[1]["items"] == []
    assert (await api.post("/api/v1/equipment/HQ:nothing/adopt", body))[0] == 404


async def test_the_commands_list_and_adopt_at_the_running_service(api: ApiServer) -> None:
    await hear_smoke(api, b"\xff\x00" * 900)
    told: list[str] = []
    url = str(api.client.make_url("/"))
    async with logged_in(url, "admin", "gengfu-demo") as remote:
        await list_unknown(remote, told.append)
        await adopt(remote, "HQ:S-1", "Kitchen", "2F", told.append)
        await list_unknown(remote, told.append)
        with pytest.raises(RemoteError, match="adopted already"):
            await adopt(remote, "HQ:S-1", "", "", told.append)
        with pytest.raises(RemoteError, match=r"name the equipment as \{site\}:\{code\}"):
            await adopt(remote, "S-1", "", "", told.append)
    assert told[0].startswith("HQ:S-1  sensor")
    assert told[1].endswith("zigbee2mqtt/S-1")
    assert told[2].startswith("  ff00ff00")
    assert told[2].endswith(" ...")
    assert told[-2:] == ["HQ:S-1 (sensor) is adopted as Kitchen.", "No unknown equipment."]


async def test_a_command_says_why_it_could_not(api: ApiServer) -> None:
    url = str(api.client.make_url("/"))
    with pytest.raises(RemoteError, match="Name or password is wrong"):
        async with logged_in(url, "admin", "wrong"):
            pass
    async with logged_in(url, "operator", "gengfu-demo") as remote:
        await hear_smoke(api)
        with pytest.raises(RemoteError, match="Your role does not permit this"):
            await adopt(remote, "HQ:S-1", "", "", print)
    async with logged_in("http://127.0.0.1:1", "", "") as remote:
        with pytest.raises(RemoteError, match="does not answer like Gengfu"):
            await list_unknown(remote, print)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ("烟".encode(), ("烟", "utf-8")),
        ("烟感".encode()[:-1], ("烟", "utf-8")),  # cut in the middle of a character
        (b"\xff\x00", ("ff00", "hex")),
    ],
)
def test_a_payload_is_shown_as_text_where_it_is_text(payload: bytes, text: tuple[str, str]) -> None:
    assert payload_text(payload) == text
