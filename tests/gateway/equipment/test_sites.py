"""Sites over HTTP: entered and changed by who administers all of them, known everywhere at once."""

import asyncio
from typing import Any

import pytest

from gateway.equipment.ledger import Ledger
from gateway.equipment.sites import edit_site
from gateway.people.audit.entry import CLOCK
from gateway.people.permissions import Role
from gateway.storage.outbox.outbox import newest_fact
from gateway.storage.tables import audit, site
from tests.builders.alarms import rows_of
from tests.servers.api_server import ApiServer
from tests.servers.waiting import until

SITES = "/api/v1/sites"
NEW = {"code": "C-1", "name": {"en": "Garden", "zh-CN": "花园"}, "time_zone": "Asia/Shanghai"}


async def test_a_site_is_entered_and_changed_with_its_audit(api: ApiServer) -> None:
    api.log_in(Role.ADMIN)
    assert await api.post(SITES, NEW) == (200, {**NEW, "version": 1})
    status, changed = await api.ask("PATCH", f"{SITES}/C-1", json={"version": 1, "time_zone": "Asia/Urumqi"})
    assert (status, changed) == (200, {**NEW, "time_zone": "Asia/Urumqi", "version": 2})
    assert changed in (await api.get(SITES))[1]["items"]
    added, edited = [row for row in await rows_of(api.services.database, audit) if row["act"].startswith("site.")]
    assert (added["actor"], added["site"], added["before"]) == ("demo:admin", "C-1", None)
    assert (edited["before"]["time_zone"], edited["after"]["time_zone"]) == ("Asia/Shanghai", "Asia/Urumqi")


async def test_a_site_that_is_there_or_has_changed_is_not_written_over(api: ApiServer) -> None:
    api.log_in(Role.ADMIN)
    assert (await api.post(SITES, {**NEW, "code": "HQ"}))[1]["code"] == "site_taken"
    for version, expected in ((7, 409), (1, 200), (1, 409)):
        body = {"version": version, "name": {"en": "Head office", "zh-CN": "总部"}}
        assert (await api.ask("PATCH", f"{SITES}/HQ", json=body))[0] == expected
    assert (await api.ask("PATCH", f"{SITES}/NONE", json={"version": 1}))[0] == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"code": "a/b"}, {"code": "*"}, {"code": ""}, {"code": "x" * 65}, {"name": {"en": " ", "zh-CN": "花园"}},
        {"name": {"en": "x" * 101, "zh-CN": "花园"}}, {"time_zone": "Mars/Olympus"}, {"time_zone": ""},
        {"time_zone": "../../etc/passwd"}, {"time_zone": "Asia"}, {"colour": "red"},
    ],
)  # fmt: skip
async def test_what_cannot_be_a_site_is_refused(api: ApiServer, wrong: dict[str, Any]) -> None:
    api.log_in(Role.ADMIN)
    status, problem = await api.post(SITES, {**NEW, **wrong})
    assert (status, problem["code"]) == (400, "bad_request")
    assert len(await rows_of(api.services.database, site)) == 2


async def test_an_administrator_of_one_site_makes_and_changes_none(api: ApiServer) -> None:
    await api.log_in_with({"HQ": (Role.ADMIN,)})
    assert (await api.post(SITES, NEW))[1]["code"] == "forbidden"
    assert (await api.ask("PATCH", f"{SITES}/HQ", json={"version": 1}))[1]["code"] == "forbidden"
    assert (await api.ask("PATCH", f"{SITES}/B", json={"version": 1}))[1]["code"] == "not_found"


async def test_other_processes_and_open_pages_learn_of_it(api: ApiServer) -> None:
    running = asyncio.create_task(api.feed.run(await newest_fact(api.services.database)))
    api.log_in(Role.ADMIN)
    socket = await api.client.ws_connect("/api/v1/live")
    assert (await socket.receive_json(timeout=20))["type"] == "snapshot"
    elsewhere = Ledger(api.services.database, 10, "UTC")
    await elsewhere.load()
    mine = api.services.ledger
    await edit_site(api.services.database, elsewhere, "HQ", 1, {"time_zone": "Asia/Tokyo"}, CLOCK, api.clock())
    await until(lambda: mine.sites["HQ"].time_zone == "Asia/Tokyo", "the ledger has learned it")
    while not (await socket.receive(timeout=20)).type.name.startswith("CLOS"):
        continue
    again = await api.client.ws_connect("/api/v1/live")
    snapshot = await again.receive_json(timeout=20)
    assert {one["code"]: one["time_zone"] for one in snapshot["sites"]}["HQ"] == "Asia/Tokyo"
    await again.close()
    running.cancel()


async def test_what_is_entered_again_at_a_start_keeps_its_version(api: ApiServer) -> None:
    api.log_in(Role.ADMIN)
    await api.ask("PATCH", f"{SITES}/HQ", json={"version": 1, "time_zone": "UTC"})
    ledger = api.services.ledger
    await ledger.enter([ledger.sites["HQ"]], [], CLOCK, api.clock())
    assert ledger.sites["HQ"].version == 2
    assert {row["code"]: row["version"] for row in await rows_of(api.services.database, site)}["HQ"] == 2
