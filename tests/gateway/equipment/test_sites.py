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
from tests.servers.api_server import House
from tests.servers.waiting import until

SITES = "/api/v1/sites"
NEW = {"code": "C-1", "name": {"en": "Garden", "zh-CN": "花园"}, "time_zone": "Asia/Shanghai"}


async def test_a_site_is_entered_and_changed_with_its_audit(house: House) -> None:
    house.log_in(Role.ADMIN)
    assert await house.post(SITES, NEW) == (200, {**NEW, "version": 1})
    status, changed = await house.ask("PATCH", f"{SITES}/C-1", json={"version": 1, "time_zone": "Asia/Urumqi"})
    assert (status, changed) == (200, {**NEW, "time_zone": "Asia/Urumqi", "version": 2})
    assert changed in (await house.get(SITES))[1]["items"]
    added, edited = [row for row in await rows_of(house.services.database, audit) if row["act"].startswith("site.")]
    assert (added["actor"], added["site"], added["before"]) == ("demo:admin", "C-1", None)
    assert (edited["before"]["time_zone"], edited["after"]["time_zone"]) == ("Asia/Shanghai", "Asia/Urumqi")


async def test_a_site_that_is_there_or_has_changed_is_not_written_over(house: House) -> None:
    house.log_in(Role.ADMIN)
    assert (await house.post(SITES, {**NEW, "code": "HQ"}))[1]["code"] == "site_taken"
    for version, expected in ((7, 409), (1, 200), (1, 409)):
        body = {"version": version, "name": {"en": "Head office", "zh-CN": "总部"}}
        assert (await house.ask("PATCH", f"{SITES}/HQ", json=body))[0] == expected
    assert (await house.ask("PATCH", f"{SITES}/NONE", json={"version": 1}))[0] == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"code": "a/b"}, {"code": "*"}, {"code": ""}, {"code": "x" * 65}, {"name": {"en": " ", "zh-CN": "花园"}},
        {"name": {"en": "x" * 101, "zh-CN": "花园"}}, {"time_zone": "Mars/Olympus"}, {"time_zone": ""},
        {"time_zone": "../../etc/passwd"}, {"time_zone": "Asia"}, {"colour": "red"},
    ],
)  # fmt: skip
async def test_what_cannot_be_a_site_is_refused(house: House, wrong: dict[str, Any]) -> None:
    house.log_in(Role.ADMIN)
    status, problem = await house.post(SITES, {**NEW, **wrong})
    assert (status, problem["code"]) == (400, "bad_request")
    assert len(await rows_of(house.services.database, site)) == 2


async def test_an_administrator_of_one_site_makes_and_changes_none(house: House) -> None:
    await house.log_in_with({"HQ": (Role.ADMIN,)})
    assert (await house.post(SITES, NEW))[1]["code"] == "forbidden"
    assert (await house.ask("PATCH", f"{SITES}/HQ", json={"version": 1}))[1]["code"] == "forbidden"
    assert (await house.ask("PATCH", f"{SITES}/B", json={"version": 1}))[1]["code"] == "not_found"


async def test_other_processes_and_open_pages_learn_of_it(house: House) -> None:
    running = asyncio.create_task(house.feed.run(await newest_fact(house.services.database)))
    house.log_in(Role.ADMIN)
    socket = await house.client.ws_connect("/api/v1/live")
    assert (await socket.receive_json(timeout=20))["type"] == "snapshot"
    elsewhere = Ledger(house.services.database, 10, "UTC")
    await elsewhere.load()
    mine = house.services.ledger
    await edit_site(house.services.database, elsewhere, "HQ", 1, {"time_zone": "Asia/Tokyo"}, CLOCK, house.clock())
    await until(lambda: mine.sites["HQ"].time_zone == "Asia/Tokyo", "the ledger has learned it")
    while not (await socket.receive(timeout=20)).type.name.startswith("CLOS"):
        continue
    again = await house.client.ws_connect("/api/v1/live")
    snapshot = await again.receive_json(timeout=20)
    assert {one["code"]: one["time_zone"] for one in snapshot["sites"]}["HQ"] == "Asia/Tokyo"
    await again.close()
    running.cancel()


async def test_what_is_entered_again_at_a_start_keeps_its_version(house: House) -> None:
    house.log_in(Role.ADMIN)
    await house.ask("PATCH", f"{SITES}/HQ", json={"version": 1, "time_zone": "UTC"})
    ledger = house.services.ledger
    await ledger.enter([ledger.sites["HQ"]], [], CLOCK, house.clock())
    assert ledger.sites["HQ"].version == 2
    assert {row["code"]: row["version"] for row in await rows_of(house.services.database, site)}["HQ"] == 2
