"""The audit over HTTP: newest first, narrowed by what is asked for and by what the reader may see."""

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.people.audit.entry import Cause, Via, audited
from gateway.people.permissions import Role
from tests.builders.alarms import T0
from tests.servers.api_server import ApiServer


@pytest.fixture
async def rows(api: ApiServer) -> None:
    """Five further rows on two sites; the ledger of the api wrote its own when it was entered."""
    people = [
        Cause("demo:operator", Via.WEB, "192.0.2.7", grants={"HQ": (Role.OPERATOR,)}),
        Cause("system:x", Via.CLOCK),
    ]
    made = [
        audited(T0 + at, site, people[who], act, thing, {"state": "open"}, None)
        for at, site, who, act, thing in [
            (1, "HQ", 0, "ticket.accept", "R-1"), (2, "B", 0, "ticket.accept", "R-2"),
            (3, "HQ", 1, "ticket.accept", "R-3"), (4, "HQ", 0, "alarm.shelve", "a-1"), (5, "", 1, "audit.erase", "d"),
        ]
    ]  # fmt: skip
    async with api.services.database.transaction() as transaction:
        transaction.add_audit(*made)
    api.log_in(Role.MANAGER)


async def things(api: ApiServer, query: str) -> list[str]:
    status, page = await api.get(f"/api/v1/audit?start={stamp(1)}&{query}")
    assert status == 200, page
    return [item["thing"] for item in page["items"]]


def stamp(at: int) -> str:
    return datetime.fromtimestamp((T0 + at) / 1000, UTC).isoformat().replace("+00:00", "Z")


async def test_a_row_tells_who_did_what_from_where(api: ApiServer, rows: None) -> None:
    _, page = await api.get("/api/v1/audit?act=alarm.shelve")
    (item,) = page["items"]
    assert item["actor_name"]["zh-CN"] == "消控室值班员"
    wanted = {
        "site": "HQ", "actor": "demo:operator", "role": ["operator"], "via": "web", "origin": "192.0.2.7",
        "thing": "a-1", "before": {"state": "open"}, "after": None, "seq": None, "at": stamp(4),
    }  # fmt: skip
    assert {name: item[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["d", "a-1", "R-3", "R-2", "R-1"]),
        ("site=HQ", ["a-1", "R-3", "R-1"]),
        ("actor=system:x", ["d", "R-3"]),
        ("act=ticket.accept&site=B", ["R-2"]),
        ("thing=R-3", ["R-3"]),
        (f"end={stamp(3)}", ["R-2", "R-1"]),
        ("thing=' OR 1=1 --", []),
    ],
)
async def test_the_list_is_narrowed_by_what_is_asked_for(
    api: ApiServer, rows: None, query: str, expected: list[str]
) -> None:
    assert await things(api, query) == expected


async def test_pages_follow_on_each_other(api: ApiServer, rows: None) -> None:
    seen, cursor = [], ""
    while cursor is not None:
        _, page = await api.get(f"/api/v1/audit?start={stamp(1)}&limit=2{cursor and f'&cursor={cursor}'}")
        seen += [item["thing"] for item in page["items"]]
        cursor = page["next"]
    assert seen == ["d", "a-1", "R-3", "R-2", "R-1"]


async def test_a_manager_of_one_site_reads_that_site_only(api: ApiServer, rows: None) -> None:
    await api.log_in_with({"B": (Role.MANAGER,)})
    assert await things(api, "") == ["R-2"]
    assert await things(api, "site=HQ") == []


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "cursor=-1", "start=yesterday", "start=2025-01-01T00:00:00"])
async def test_what_cannot_be_asked_is_refused(api: ApiServer, rows: None, query: str) -> None:
    status, problem = await api.get(f"/api/v1/audit?{query}")
    assert (status, problem["code"]) == (400, "bad_query")


async def test_what_a_person_does_is_in_the_audit_with_role_and_address(api: ApiServer) -> None:
    raised, _ = await api.raise_fire()
    api.log_in(Role.OPERATOR)
    await api.post(f"/api/v1/alarms/{raised['id']}/acknowledge", {"version": raised["version"]})
    api.log_in(Role.ADMIN)
    _, page = await api.get(f"/api/v1/audit?actor=demo:operator&thing={raised['id']}")
    (item,) = page["items"]
    found: dict[str, Any] = {name: item[name] for name in ("actor", "role", "via", "origin")}
    assert found == {"actor": "demo:operator", "role": ["operator"], "via": "web", "origin": "127.0.0.1"}
