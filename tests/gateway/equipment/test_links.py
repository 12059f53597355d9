"""What feeds and carries equipment: kept, held in memory, by role, without loops."""

import asyncio

import pytest

from gateway.equipment.ledger import Ledger
from gateway.equipment.links import LinkLoop, Links, NoSuchLink, NotInLedger
from gateway.equipment.topology import Link, Relation
from gateway.people.audit.entry import CLOCK
from gateway.people.permissions import Role
from gateway.storage.tables import audit, equipment_link, fact
from tests.builders.alarms import OPERATOR, T0, rows_of
from tests.servers.api_server import ApiServer

PUMP = "/api/v1/equipment/HQ:P-1/links"
PANEL = "/api/v1/equipment/HQ:FP-1/links"
FED = Link("HQ", "P-1", "FP-1", Relation.POWER)


async def test_a_link_is_made_shown_at_both_ends_and_taken_back(api: ApiServer) -> None:
    api.log_in(Role.ENGINEER)
    status, links = await api.post(PUMP, {"parent": "HQ:FP-1", "relation": "power"})
    assert (status, links["parents"]) == (200, [{"equipment": "HQ:FP-1", "relation": "power"}])
    assert (await api.get(PANEL))[1]["children"] == [{"equipment": "HQ:P-1", "relation": "power"}]
    assert (await api.post(PUMP, {"parent": "HQ:FP-1", "relation": "power"}))[0] == 200, "said again, it stays"
    status, links = await api.ask("DELETE", f"{PUMP}/power/HQ:FP-1")
    assert (status, links["parents"]) == (200, [])
    assert (await api.ask("DELETE", f"{PUMP}/power/HQ:FP-1"))[1]["code"] == "not_permitted_in_state"
    assert (await api.ask("DELETE", f"{PUMP}/water/HQ:FP-1"))[1]["code"] == "not_found"
    rows = await rows_of(api.services.database, audit)
    link = {"parent": "FP-1", "relation": "power"}
    assert [(row["act"], row["before"], row["after"]) for row in rows if "link" in row["act"]] == [
        ("equipment.link", None, link), ("equipment.unlink", link, None),
    ]  # fmt: skip
    kinds = [row["kind"] for row in await rows_of(api.services.database, fact) if row["thing"] == "HQ:P-1"]
    assert kinds[-2:] == ["equipment.linked", "equipment.unlinked"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (PUMP, {"parent": "B:P-1", "relation": "power"}, 400, "bad_request"),
        (PUMP, {"parent": "HQ:X-9", "relation": "power"}, 400, "bad_request"),
        (PUMP, {"parent": "HQ:FP-1", "relation": "water"}, 400, "bad_request"),
        (PUMP, {"parent": "HQ:P-1", "relation": "network"}, 409, "link_loop"),
        (PANEL, {"parent": "HQ:P-1", "relation": "network"}, 409, "link_loop"),
        ("/api/v1/equipment/HQ:X-9/links", {"parent": "HQ:P-1", "relation": "power"}, 404, "not_found"),
    ],
)
async def test_what_cannot_be_linked_is_refused(
    api: ApiServer, path: str, body: dict[str, str], status: int, code: str
) -> None:
    await api.services.ledger.links.link(FED, CLOCK, T0)
    api.log_in(Role.ADMIN)
    found, problem = await api.post(path, body)
    assert (found, problem["code"]) == (status, code)
    assert len(await rows_of(api.services.database, equipment_link)) == 1


async def test_a_loop_is_named(api: ApiServer) -> None:
    links = api.services.ledger.links
    await links.link(FED, CLOCK, T0)
    with pytest.raises(LinkLoop, match="FP-1 -> P-1 -> FP-1"):
        await links.link(Link("HQ", "FP-1", "P-1", Relation.NETWORK), CLOCK, T0)
    with pytest.raises(NotInLedger, match="X-9"):
        await links.link(Link("HQ", "P-1", "X-9", Relation.POWER), CLOCK, T0)
    with pytest.raises(NoSuchLink):
        await links.unlink(Link("HQ", "P-1", "FP-1", Relation.NETWORK), CLOCK, T0)


async def test_two_who_link_at_once_close_no_loop_between_them(api: ApiServer) -> None:
    one, other = Links(api.services.database), Links(api.services.database)
    found = await asyncio.gather(
        one.link(FED, OPERATOR, T0), other.link(Link("HQ", "FP-1", "P-1", Relation.POWER), OPERATOR, T0),
        return_exceptions=True,
    )  # fmt: skip
    assert sorted(map(str, map(type, found))) == ["<class 'NoneType'>", str(LinkLoop)]


async def test_another_process_knows_it_by_its_fact_and_after_a_start(api: ApiServer) -> None:
    database = api.services.database
    other = Ledger(database, 10, "UTC")
    await other.load()
    await api.services.ledger.links.link(FED, CLOCK, T0)
    assert other.links.topology.links == frozenset()
    await other.learn(["HQ:P-1"])
    assert other.links.topology.links == {FED}
    await api.services.ledger.links.unlink(FED, CLOCK, T0)
    await other.learn(["B:P-1"])
    assert other.links.topology.links == {FED}, "another site's"
    await other.learn(["HQ:FP-1"])
    assert other.links.topology.links == frozenset()
