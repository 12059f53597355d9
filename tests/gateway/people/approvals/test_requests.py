"""Two people check: what one asks for is done when another approves it, once, and never by one alone."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete, update

from gateway.api.alarms.operator_actions import acknowledge_alarm
from gateway.api.http.addresses import Entrance
from gateway.api.http.route import Call, NeedsSecondPerson
from gateway.api.http.server import route_table
from gateway.people.approvals.requests import MOST_WAITING
from gateway.people.approvals.rules import (
    NEVER_BY_SETTING,
    WITH_SECRETS,
    ApprovalRules,
    NotForTwo,
    Verdict,
    read_rules,
    verdict,
)
from gateway.people.audit.entry import CLOCK
from gateway.people.authentication.tokens import NewToken
from gateway.people.permissions import PERMITTED, Permission, Role
from gateway.storage.database import Database
from gateway.storage.outbox.outbox import newest_fact
from gateway.storage.tables import approval, audit, equipment, journal, person, role_grant, shelf
from tests.builders.alarms import rows_of
from tests.gateway.api.equipment.test_adoption import hear_smoke
from tests.servers.api_server import NO_HURRY, ApiServer, open_api_server
from tests.servers.waiting import until

ADOPT = "/api/v1/equipment/HQ:S-1/adopt"
APPROVALS = "/api/v1/approvals"
LIFETIME_MS = 1_200_000
"""Shorter than an administrator's login stands idle."""
NAMED = {"version": 1, "name": {"en": "Smoke", "zh-CN": "烟感"}}


@pytest.fixture
async def api(database: Database, tmp_path: Path) -> AsyncIterator[ApiServer]:
    """A api where adopting needs two people; wei and lan may both adopt on HQ, bo on B only, eve nowhere."""
    rules = ApprovalRules(frozenset({Permission.ADOPT_EQUIPMENT}), LIFETIME_MS)
    async with open_api_server(database, tmp_path, approval_rules=rules) as opened:
        await hear_smoke(opened)
        await opened.enter(
            {
                "wei": {"HQ": (Role.ADMIN,)},
                "lan": {"HQ": (Role.ADMIN,)},
                "bo": {"B": (Role.ADMIN,)},
                "eve": {"HQ": (Role.OPERATOR,)},
            }
        )
        yield opened


def come(api: ApiServer, who: str) -> None:
    api.show(f"login-of-{who}")


async def ask(api: ApiServer, who: str = "wei", body: dict[str, Any] = NAMED) -> dict[str, Any]:
    come(api, who)
    status, answer = await api.post(ADOPT, body)
    assert status == 202, answer
    return dict(answer)


async def decide(api: ApiServer, who: str, what: dict[str, Any], how: str = "approve") -> tuple[int, Any]:
    come(api, who)
    return await api.post(f"{APPROVALS}/{what['id']}/{how}", {"version": what["version"], "note": "seen it"})


async def adopted(api: ApiServer) -> bool:
    return {row["code"]: row["adopted"] for row in await rows_of(api.services.database, equipment)}["S-1"]


async def audit_of(api: ApiServer, *permissions: str) -> list[dict[str, Any]]:
    return [row for row in await rows_of(api.services.database, audit) if row["act"] in permissions]


async def test_what_one_asks_for_is_done_when_another_approves_it(api: ApiServer) -> None:
    waiting = await ask(api)
    assert not await adopted(api)
    assert (waiting["state"], waiting["site"], waiting["thing"]) == ("waiting", "HQ", "HQ:S-1")
    (change,) = waiting["changes"]
    assert change["act"] == "equipment.adopt"
    assert (change["before"]["adopted"], change["after"]["adopted"]) == (False, True), "the second sees what it changes"
    status, approved = await decide(api, "lan", waiting)
    assert (status, approved["state"], approved["outcome"]) == (200, "approved", "done")
    assert await adopted(api)
    assert api.services.ledger.equipment["HQ", "S-1"].adopted


async def test_the_audit_names_both_for_the_request_the_approval_and_the_change(api: ApiServer) -> None:
    waiting = await ask(api)
    await decide(api, "lan", waiting)
    requested, done, approved = await audit_of(api, "approval.request", "equipment.adopt", "approval.approve")
    assert (requested["actor"], approved["actor"], done["actor"]) == ("demo:wei", "demo:lan", "demo:wei")
    assert done["cause"] == f"approval {waiting['id']} by demo:lan"
    assert requested["cause"] == approved["cause"] == f"approval {waiting['id']}"
    assert (approved["after"]["requested_by"], approved["after"]["decided_by"]) == ("demo:wei", "demo:lan")


async def test_nobody_approves_what_they_have_asked_for_from_no_login_either(api: ApiServer) -> None:
    waiting = await ask(api)
    status, problem = await decide(api, "wei", waiting)
    assert (status, problem["code"]) == (403, "same_person")
    api.log_out()
    body = {"username": "wei", "password": "gengfu-demo"}
    assert (await api.post("/api/v1/session", body))[0] == 200, "a second login of the same person"
    for how in ("approve", "refuse"):
        status, problem = await api.post(f"{APPROVALS}/{waiting['id']}/{how}", {"version": 1})
        assert (status, problem["code"]) == (403, "same_person")
    assert not await adopted(api)


async def test_who_may_not_do_it_on_that_site_neither_sees_it_nor_decides_it(api: ApiServer) -> None:
    waiting = await ask(api)
    for who in ("bo", "eve"):
        come(api, who)
        assert (await api.get(APPROVALS))[1]["items"] == []
        assert (await api.get(f"{APPROVALS}/{waiting['id']}"))[0] == 404
        assert (await decide(api, who, waiting))[0] == 404
    for who in ("wei", "lan"):
        come(api, who)
        assert [one["id"] for one in (await api.get(f"{APPROVALS}?state=waiting"))[1]["items"]] == [waiting["id"]]
        assert (await api.get(f"{APPROVALS}/{waiting['id']}"))[1] == waiting
    assert (await api.get(f"{APPROVALS}?state=refused"))[1]["items"] == []


async def test_a_machine_may_ask_and_never_approves_nor_does_who_made_its_token(api: ApiServer) -> None:
    tokens, now = api.people.tokens, api.clock()
    new = NewToken("import", ["HQ"], [Permission.WATCH, Permission.ADOPT_EQUIPMENT], 1)
    first, secret = await tokens.add(new, msgspec.structs.replace(CLOCK, actor="demo:wei"), now)
    _, other = await tokens.add(new, CLOCK, now)
    api.log_out()
    as_machine = {"headers": {"Authorization": f"Bearer {secret}"}}
    status, waiting = await api.ask("POST", ADOPT, json=NAMED, **as_machine)
    assert status == 202, waiting
    assert waiting["requested_by"] == first.id
    for bearer in (secret, other):
        headers = {"Authorization": f"Bearer {bearer}"}
        path = f"{APPROVALS}/{waiting['id']}/approve"
        status, _ = await api.ask("POST", path, json={"version": 1}, headers=headers)
        assert status in {403, 404}
    status, problem = await decide(api, "wei", waiting)
    assert (status, problem["code"]) == (403, "same_person"), "else a token would be one's own second person"
    assert (await decide(api, "lan", waiting))[1]["outcome"] == "done"


async def test_refused_or_withdrawn_it_is_never_done(api: ApiServer) -> None:
    waiting = await ask(api)
    assert (await decide(api, "lan", waiting, "withdraw"))[1]["code"] == "forbidden"
    assert (await decide(api, "lan", waiting, "refuse"))[1]["state"] == "refused"
    again = await ask(api)
    assert again["id"] != waiting["id"]
    assert (await decide(api, "wei", again, "withdraw"))[1]["state"] == "withdrawn"
    for over in (waiting, again):
        for how in ("approve", "refuse"):
            status, problem = await decide(api, "lan", over, how)
            assert (status, problem["code"]) == (409, "not_permitted_in_state")
    assert not await adopted(api)
    assert [row["actor"] for row in await audit_of(api, "approval.refuse", "approval.withdraw")] == [
        "demo:lan", "demo:wei",
    ]  # fmt: skip


async def test_two_who_approve_at_once_do_it_once(api: ApiServer) -> None:
    await api.enter({"min": {"*": (Role.ADMIN,)}})
    waiting = await ask(api)
    path, body = f"{APPROVALS}/{waiting['id']}/approve", {"version": 1}
    cookies = [{"headers": {"Cookie": f"gengfu_login=login-of-{who}"}} for who in ("lan", "min", "lan", "min")]
    api.log_out()
    answers = await asyncio.gather(*(api.ask("POST", path, json=body, **cookie) for cookie in cookies))
    assert sorted(status for status, _ in answers) == [200, 409, 409, 409]
    assert len(await audit_of(api, "equipment.adopt")) == 1
    (row,) = await rows_of(api.services.database, approval)
    assert (row["state"], row["outcome"]) == ("approved", "done")


async def test_what_changed_meanwhile_is_not_done_and_the_answer_says_so(api: ApiServer) -> None:
    waiting = await ask(api)
    await api.services.ledger.learn(["HQ:S-1"])
    api.services.ledger.equipment["HQ", "S-1"] = msgspec.structs.replace(
        api.services.ledger.equipment["HQ", "S-1"], version=2
    )
    status, failed = await decide(api, "lan", waiting)
    assert (status, failed["state"], failed["outcome"]) == (200, "failed", "stale_version")
    assert (failed["decided_by"], await adopted(api)) == ("demo:lan", False)
    assert [row["actor"] for row in await audit_of(api, "approval.fail")] == ["demo:lan"]


@pytest.mark.parametrize(("what", "outcome"), [("disabled", "requester_gone"), ("role", "requester_not_permitted")])
async def test_who_has_asked_must_still_be_permitted_when_it_is_done(api: ApiServer, what: str, outcome: str) -> None:
    waiting = await ask(api)
    async with api.services.database.transaction() as connection:
        if what == "disabled":
            await connection.execute(update(person).where(person.c.id == "demo:wei").values(disabled_at=1))
        else:
            await connection.execute(delete(role_grant).where(role_grant.c.person == "demo:wei"))
    _, failed = await decide(api, "lan", waiting)
    assert (failed["state"], failed["outcome"]) == ("failed", outcome) or failed["outcome"] == "not_found"
    assert not await adopted(api)


async def test_an_approver_whose_role_has_just_gone_approves_nothing(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The login is believed for a second; the transaction itself looks again."""
    waiting, approvals = await ask(api), api.people.approvals
    real = approvals.claim

    def lose_the_role_then_claim(*given: Any) -> Any:
        claim = real(*given)
        begin = claim.begin

        async def late(connection: Any) -> None:
            await connection.execute(delete(role_grant).where(role_grant.c.person == "demo:lan"))
            await begin(connection)

        claim.begin = late
        return claim

    monkeypatch.setattr(approvals, "claim", lose_the_role_then_claim)
    _, failed = await decide(api, "lan", waiting)
    assert (failed["state"], failed["outcome"]) == ("failed", "approver_not_permitted")
    assert not await adopted(api)


async def test_a_failure_in_the_middle_leaves_it_waiting_and_nothing_done(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Approval and change are one transaction: as after a crash, both are there or neither."""
    waiting = await ask(api)

    async def fall(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("gateway.storage.transaction.Transaction.flush", fall)
        assert (await decide(api, "lan", waiting))[0] == 500
    (row,) = await rows_of(api.services.database, approval)
    assert (row["state"], await adopted(api)) == ("waiting", False)
    assert (await decide(api, "lan", waiting))[1]["outcome"] == "done"


async def test_what_nobody_decides_in_time_expires(api: ApiServer) -> None:
    waiting = await ask(api)
    api.clock.now += LIFETIME_MS
    come(api, "lan")
    assert (await api.get(f"{APPROVALS}/{waiting['id']}"))[1]["state"] == "expired"
    assert (await api.get(f"{APPROVALS}?state=waiting"))[1]["items"] == []
    assert (await decide(api, "lan", waiting))[1]["code"] == "not_permitted_in_state"
    await api.people.approvals.expire(api.clock())
    await api.people.approvals.expire(api.clock())
    assert [row["actor"] for row in await audit_of(api, "approval.expire")] == ["system:clock"]
    assert [one["id"] for one in (await api.get(f"{APPROVALS}?state=expired"))[1]["items"]] == [waiting["id"]]


async def test_who_may_not_do_it_or_comes_too_late_hears_it_at_once_and_nothing_waits(api: ApiServer) -> None:
    come(api, "wei")
    for path, body, expected in (
        (ADOPT, {**NAMED, "version": 7}, (409, "stale_version")),
        ("/api/v1/equipment/HQ:NONE/adopt", NAMED, (404, "not_found")),
        ("/api/v1/equipment/B:P-1/adopt", NAMED, (404, "not_found")),
        (ADOPT, {"name": 1}, (400, "bad_request")),
    ):
        status, problem = await api.post(path, body)
        assert (status, problem["code"]) == expected
    come(api, "eve")
    assert (await api.post(ADOPT, NAMED))[0] == 403
    assert await rows_of(api.services.database, approval) == []
    assert await audit_of(api, "equipment.adopt") == []


async def test_the_same_request_waits_once_and_nobody_fills_the_table(api: ApiServer) -> None:
    first = await ask(api)
    assert (await ask(api))["id"] == first["id"], "pressed twice"
    for number in range(MOST_WAITING - 1):
        await ask(api, body={**NAMED, "name": {"en": f"Smoke {number}", "zh-CN": "烟感"}})
    status, problem = await api.post(ADOPT, {**NAMED, "name": {"en": "One more", "zh-CN": "烟感"}})
    assert (status, problem["code"]) == (429, "too_many_requests")
    assert len(await rows_of(api.services.database, approval)) == MOST_WAITING
    page = (await api.get(f"{APPROVALS}?limit=60"))[1]
    rest = (await api.get(f"{APPROVALS}?limit=60&cursor={page['next']}"))[1]
    assert len({one["id"] for one in page["items"] + rest["items"]}) == MOST_WAITING


async def test_a_handler_may_ask_for_a_second_person_by_itself(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As shelving of life safety does: two people, whatever the settings say."""
    seconds = []

    async def handler(call: Call) -> Any:
        if call.second_person is None:
            raise NeedsSecondPerson("life safety is never put aside by one person alone")
        seconds.append(call.second_person)
        return await acknowledge_alarm(call)

    table = [
        (path, route._replace(handler=handler) if route.handler is acknowledge_alarm else route)
        for path, route in route_table()
    ]
    monkeypatch.setattr("gateway.api.http.server.route_table", lambda: table)
    async with open_api_server(database, tmp_path) as api:
        row, _ = await api.raise_fire()
        await api.enter({"eve": {"HQ": (Role.OPERATOR,)}, "min": {"HQ": (Role.SHIFT_LEADER,)}})
        come(api, "eve")
        path = f"/api/v1/alarms/{row['id']}/acknowledge"
        status, waiting = await api.post(path, {"version": row["version"], "note": "drill"})
        assert (status, waiting["reason"]) == (202, "life safety is never put aside by one person alone")
        assert await _acknowledged(api) == []
        status, approved = await decide(api, "min", waiting)
        assert (status, approved["outcome"]) == (200, "done")
        assert seconds[-1] == "demo:min"
        (done,) = await _acknowledged(api)
        assert (done["actor"], done["note"]) == ("demo:eve", "drill")


async def test_a_fire_is_shelved_by_a_shift_leader_and_another_one(api: ApiServer) -> None:
    row, _ = await api.raise_fire()
    leaders = {name: {"HQ": (Role.SHIFT_LEADER,)} for name in ("min", "tao")}
    await api.enter(leaders)
    come(api, "min")
    wanted = {"version": row["version"], "minutes": 10, "reason": "painters on the third floor"}
    status, waiting = await api.post(f"/api/v1/alarms/{row['id']}/shelve", wanted)
    assert (status, waiting["reason"]) == (202, "shelving a life-safety alarm needs two people")
    assert await rows_of(api.services.database, shelf) == []
    assert (await decide(api, "min", waiting))[1]["code"] == "same_person"
    assert (await decide(api, "tao", waiting))[1]["outcome"] == "done"
    (shelved,) = await rows_of(api.services.database, shelf)
    assert (shelved["person"], shelved["second_person"]) == ("demo:min", "demo:tao")


async def test_without_accounts_nobody_could_approve_so_it_is_refused_and_says_what_to_do(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer of 202 would promise a second person who can never come."""
    rules = ApprovalRules(frozenset({Permission.ADOPT_EQUIPMENT}), LIFETIME_MS)
    async with open_api_server(database, tmp_path, Entrance(local=True, paces=NO_HURRY), approval_rules=rules) as api:
        await hear_smoke(api)
        row, _ = await api.raise_fire()
        monkeypatch.setattr(api.people.accounts, "demo", False)
        monkeypatch.setattr(api.people.accounts, "present", False)
        api.log_out()
        assert (await api.get("/api/v1/me"))[1]["username"] == "local"
        wanted = {"version": row["version"], "minutes": 10, "reason": "painters"}
        for path, body in ((f"/api/v1/alarms/{row['id']}/shelve", wanted), (ADOPT, NAMED)):
            status, problem = await api.post(path, body)
            assert (status, problem["code"]) == (403, "accounts_needed")
            assert "gengfu user add" in problem["detail"]
        status, problem = await api.post(f"/api/v1/alarms/{row['id']}/shelve", {**wanted, "version": 9})
        assert (status, problem["code"]) == (409, "stale_version")
        assert await rows_of(database, approval) == []
        assert await rows_of(database, shelf) == []


async def test_what_ends_silence_waits_for_nobody_whatever_the_setting_says(database: Database, tmp_path: Path) -> None:
    """Else two people would be needed to hear an alarm again that was put aside by mistake."""
    permissions = {Permission.SHELVE_ALARM, Permission.TAKE_OUT_OF_SERVICE, Permission.PLAN_MAINTENANCE}
    async with open_api_server(
        database, tmp_path, approval_rules=ApprovalRules(frozenset(permissions), LIFETIME_MS)
    ) as api:
        row = await api.raise_hot()
        leaders = {name: {"HQ": (Role.SHIFT_LEADER,)} for name in ("min", "tao")}
        await api.enter(leaders)
        alarm, pump = f"/api/v1/alarms/{row['id']}", "/api/v1/equipment/HQ:P-1"
        hours = {"starts_at": "2025-11-22T08:30:00Z", "ends_at": "2025-11-22T09:30:00Z"}
        for path, body in (
            (f"{alarm}/shelve", {"version": 1, "reason": "x", "minutes": 5}),
            (f"{pump}/out-of-service", {"reason": "x", "planned_end": hours["ends_at"]}),
            ("/api/v1/maintenance-windows", {"site": "HQ", "equipment": "HQ:P-1", "reason": "x", **hours}),
        ):
            come(api, "min")
            status, waiting = await api.post(path, body)
            assert status == 202, waiting
            assert (await decide(api, "tao", waiting))[1]["outcome"] == "done"
        come(api, "min")
        (window,) = (await api.get("/api/v1/maintenance-windows"))[1]["items"]
        for path, body in (
            (f"{alarm}/unshelve", {"version": 2}),
            (f"{pump}/return-to-service", {}),
            (f"/api/v1/maintenance-windows/{window['id']}/cancel", {"version": window["version"]}),
        ):
            status, answer = await api.post(path, body)
            assert status == 200, answer


async def test_the_second_of_life_safety_may_be_an_operator_who_could_not_ask_for_it(api: ApiServer) -> None:
    """At night there are one shift leader and one operator: two leaders would mean one who lends out a password."""
    row, _ = await api.raise_fire()
    await api.enter({"min": {"HQ": (Role.SHIFT_LEADER,)}, "oli": {"HQ": (Role.OPERATOR,)}})
    await api.enter({"elsewhere": {"B": (Role.SHIFT_LEADER,)}, "fay": {"HQ": (Role.MANAGER,)}})
    wanted = {"version": row["version"], "minutes": 10, "reason": "painters on the third floor"}
    come(api, "oli")
    assert (await api.post(f"/api/v1/alarms/{row['id']}/shelve", wanted))[1]["code"] == "forbidden"
    come(api, "min")
    _, waiting = await api.post(f"/api/v1/alarms/{row['id']}/shelve", wanted)
    for who in ("elsewhere", "fay"):  # of another site; of a role that does not shelve
        assert (await decide(api, who, waiting))[0] == 404
    assert (await decide(api, "oli", waiting))[1]["outcome"] == "done"
    (shelved,) = await rows_of(api.services.database, shelf)
    assert (shelved["person"], shelved["second_person"]) == ("demo:min", "demo:oli")


async def test_a_shift_leader_who_is_none_any_more_shelves_no_life_safety(api: ApiServer) -> None:
    """An operator may still shelve: that alone is not what was asked for."""
    row, _ = await api.raise_fire()
    await api.enter({"min": {"HQ": (Role.SHIFT_LEADER, Role.OPERATOR)}, "oli": {"HQ": (Role.OPERATOR,)}})
    come(api, "min")
    wanted = {"version": row["version"], "minutes": 10, "reason": "painters on the third floor"}
    _, waiting = await api.post(f"/api/v1/alarms/{row['id']}/shelve", wanted)
    async with api.services.database.transaction() as connection:
        leader = (role_grant.c.person == "demo:min") & (role_grant.c.role == Role.SHIFT_LEADER.value)
        await connection.execute(delete(role_grant).where(leader))
    status, failed = await decide(api, "oli", waiting)
    assert (status, failed["state"], failed["outcome"]) == (200, "failed", "forbidden")
    assert await rows_of(api.services.database, shelf) == []


async def _acknowledged(api: ApiServer) -> list[dict[str, Any]]:
    return [row for row in await rows_of(api.services.database, journal) if row["event"] == "acknowledged"]


async def test_who_may_decide_hears_of_it_at_once_and_nobody_else(api: ApiServer) -> None:
    running = asyncio.create_task(api.feed.run(await newest_fact(api.services.database)))
    sockets = {}
    for who in ("wei", "lan", "bo", "eve"):
        come(api, who)
        sockets[who] = await api.client.ws_connect("/api/v1/live")
        assert (await sockets[who].receive_json(timeout=20))["type"] == "snapshot"
    waiting = await ask(api)
    for who in ("wei", "lan"):
        assert await told(sockets[who]) == (waiting["id"], "waiting")
    come(api, "lan")
    late = await api.client.ws_connect("/api/v1/live")
    assert await told(late) == (waiting["id"], "waiting"), "also who comes later"
    await decide(api, "lan", waiting)
    for socket in (sockets["wei"], sockets["lan"], late):
        assert await told(socket) == (waiting["id"], "approved")
    for who in ("bo", "eve"):
        beats = 0
        while beats < 2:
            message = await sockets[who].receive_json(timeout=20)
            assert message["type"] != "approval"
            beats += message["type"] == "beat"
    for socket in (*sockets.values(), late):
        await socket.close()
    await until(lambda: api.feed.listeners == 0, "nobody listens")
    running.cancel()


async def told(socket: Any) -> tuple[str, str]:
    while True:
        message = await socket.receive_json(timeout=20)
        if message["type"] == "approval":
            return message["approval"]["id"], message["approval"]["state"]


# -- rules ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["no_such_act", "manage_people", "public", "own_account", "watch", "act_on_ticket", "read_alarm_performance"],
)
def test_an_act_that_cannot_need_two_people_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(NotForTwo, match=name):
        read_rules([name], 24)


def test_what_may_need_two_people_has_a_route_that_changes_something_and_no_secret() -> None:
    changing = {route.act for _, route in route_table() if route.method != "GET"}
    offered = set(PERMITTED) - NEVER_BY_SETTING
    assert offered <= changing
    assert Permission.ADOPT_EQUIPMENT in offered
    assert read_rules([act.value for act in offered], 1).permissions == offered
    for _, route in route_table():
        if route.act in WITH_SECRETS:
            assert not route.may_wait


@pytest.mark.parametrize(
    ("grants", "who", "machine", "expected"),
    [
        ({"HQ": (Role.ADMIN,)}, "b", False, Verdict.MAY),
        ({"*": (Role.ADMIN,)}, "b", False, Verdict.MAY),
        ({"HQ": (Role.ADMIN,)}, "a", False, Verdict.SAME_PERSON),
        ({"HQ": (Role.ADMIN,)}, "b", True, Verdict.MACHINE),
        ({"HQ": (Permission.ADOPT_EQUIPMENT,)}, "b", True, Verdict.MACHINE),
        ({"B": (Role.ADMIN,)}, "b", False, Verdict.NO_ROLE),
        ({"HQ": (Role.MANAGER,)}, "b", False, Verdict.NO_ROLE),
        (None, "b", False, Verdict.NO_ROLE),
    ],
)
def test_who_may_be_the_second_person(grants: Any, who: str, machine: bool, expected: Verdict) -> None:
    found = verdict(grants, Permission.ADOPT_EQUIPMENT, "HQ", who=who, asked={"a"}, machine=machine)
    assert found is expected
