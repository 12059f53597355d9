"""Logins over HTTP: how one begins, how long it is good, what ends it, and that it is then over everywhere."""

import asyncio
from pathlib import Path
from typing import Any

import pyotp
import pytest
from sqlalchemy import update

from gateway.api.live import feed as live_feed
from gateway.people.audit.entry import CLOCK
from gateway.people.authentication.lifetimes import LIFETIMES, ends_at, lifetime_of
from gateway.people.authentication.secret_seal import SecretSeal
from gateway.people.people import DEMO_PASSWORD, make_people
from gateway.people.permissions import Role
from gateway.storage.outbox.outbox import newest_fact
from gateway.storage.tables import api_token, audit, known_device, login, person, recovery_code
from tests.builders.alarms import T0, rows_of
from tests.servers.api_server import COOKIE, ApiServer
from tests.servers.waiting import until

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FRESH = "nine kettles sing before dawn"
SESSION = "/api/v1/session"


async def enter(api: ApiServer, username: str, password: str = DEMO_PASSWORD, **more: str) -> tuple[int, Any]:
    return await api.post(SESSION, {"username": username, "password": password, **more})


def cookie_of(api: ApiServer, name: str = COOKIE) -> str:
    return next(item.value for item in api.client.session.cookie_jar if item.key == name)


async def is_in(api: ApiServer) -> bool:
    return (await api.get("/api/v1/me"))[0] == 200


async def version_of(api: ApiServer, identity: str) -> int:
    return (await api.people.accounts.find(identity)).version


# -- beginning -----------------------------------------------------------------------------------------


async def test_a_phone_that_writes_the_first_letter_large_gets_in(api: ApiServer) -> None:
    status, me = await enter(api, " Operator ")
    assert (status, me["username"], me["account"]) == (200, "operator", True)


@pytest.mark.parametrize(
    ("username", "password"),
    [("operator", "wrong"), ("nobody", DEMO_PASSWORD), ("operator", ""), ("", ""), ("operator", DEMO_PASSWORD + " ")],
)
async def test_a_wrong_name_or_password_lets_nobody_in(api: ApiServer, username: str, password: str) -> None:
    status, problem = await enter(api, username, password)
    assert (status, problem["code"]) == (401, "bad_credentials")
    assert COOKIE not in [item.key for item in api.client.session.cookie_jar]


async def test_what_is_kept_of_a_login_does_not_let_anybody_in(api: ApiServer) -> None:
    await enter(api, "operator")
    secrets = [cookie_of(api), cookie_of(api, "gengfu_device")]
    for table in (login, known_device, audit):
        kept = str(await rows_of(api.services.database, table))
        assert not [secret for secret in secrets if secret in kept]
    api.show((await rows_of(api.services.database, login))[-1]["digest"])
    assert not await is_in(api)


async def test_beginning_and_ending_stand_in_the_audit(api: ApiServer) -> None:
    await enter(api, "operator")
    await api.ask("DELETE", SESSION)
    rows = await rows_of(api.services.database, audit)
    assert [(row["act"], row["actor"], row["origin"]) for row in rows if row["act"].startswith("login")] == [
        ("login.begin", "demo:operator", "127.0.0.1"), ("login.end", "demo:operator", "127.0.0.1"),
    ]  # fmt: skip


async def test_guesses_are_slowed_and_a_known_browser_is_not(api: ApiServer) -> None:
    await enter(api, "guard")
    device = cookie_of(api, "gengfu_device")
    api.log_out()
    answers = [await enter(api, "guard", "guess") for _ in range(6)]
    assert [status for status, _ in answers] == [401, 401, 401, 401, 401, 429]
    async with api.client.post(SESSION, json={"username": "guard", "password": DEMO_PASSWORD}) as answer:
        assert answer.status == 429, "the right password does not help a guesser either"
        assert int(answer.headers["Retry-After"]) >= 1
    api.client.session.cookie_jar.update_cookies({"gengfu_device": device}, api.client.make_url("/"))
    assert (await enter(api, "guard"))[0] == 200
    api.log_out()
    api.clock.now += 1_000
    assert (await enter(api, "operator"))[0] == 200, "other people behind this address are not slowed"


async def test_several_people_share_a_control_rooms_browser(api: ApiServer) -> None:
    for name in ("operator", "shift_leader", "operator"):
        assert (await enter(api, name))[0] == 200
    known = await rows_of(api.services.database, known_device)
    assert sorted(row["person"] for row in known) == ["demo:operator", "demo:shift_leader"]
    assert len({row["digest"] for row in known}) == 1


async def test_while_passwords_are_checked_nobody_else_waits(api: ApiServer) -> None:
    """Argon2id works beside the event loop: each answer comes well before a password is checked."""
    api.log_in(Role.VIEWER)
    loop = asyncio.get_running_loop()
    checking = [asyncio.create_task(api.people.hashes.is_right(None, "guess")) for _ in range(8)]
    await asyncio.sleep(0)
    longest = 0.0
    while not all(task.done() for task in checking):
        began = loop.time()
        await asyncio.sleep(0.001)
        longest = max(longest, loop.time() - began)
    assert longest < 0.5, "the loop stood still"


# -- how long ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
async def test_a_login_ends_by_itself_as_its_role_says(api: ApiServer, role: Role) -> None:
    life = LIFETIMES[role]
    api.log_in(role)
    assert await is_in(api)
    if life.idle is not None:
        api.clock.now += life.idle - 1
        assert await is_in(api), "used in time"
        api.clock.now += life.idle
        assert not await is_in(api)
    else:
        api.clock.now = T0 + life.absolute - 1
        assert await is_in(api), "a screen in a control room stays"
        api.clock.now = T0 + life.absolute
        assert not await is_in(api)


async def test_an_administrator_who_is_always_there_logs_in_again_after_half_a_day(api: ApiServer) -> None:
    api.log_in(Role.ADMIN)
    while api.clock.now < T0 + 12 * HOUR_MS:
        assert await is_in(api)
        api.clock.now += 20 * 60_000
    assert not await is_in(api)


def test_of_several_roles_the_shortest_life_holds() -> None:
    both = lifetime_of([Role.OPERATOR, Role.ADMIN])
    assert (both.absolute, both.idle) == (12 * HOUR_MS, HOUR_MS // 2)
    assert ends_at([Role.OPERATOR], T0, T0) == T0 + 30 * DAY_MS
    assert ends_at([], T0, T0) < T0 + HOUR_MS


async def test_uses_are_kept_and_what_is_over_is_removed(api: ApiServer) -> None:
    api.log_in(Role.GUARD)
    api.clock.now += 2 * DAY_MS
    assert await is_in(api)
    await api.people.logins.keep_uses()
    api.clock.now += 2 * DAY_MS
    await api.people.logins.forget_ended(api.clock())
    left = {row["person"] for row in await rows_of(api.services.database, login)}
    assert left == {"demo:guard", "demo:operator", "demo:shift_leader", "demo:viewer"}
    assert {"demo:engineer"} - left
    (seen,) = [row for row in await rows_of(api.services.database, person) if row["username"] == "guard"]
    assert seen["last_seen_at"] == T0 + 2 * DAY_MS


# -- rotation ------------------------------------------------------------------------------------------


async def test_whose_roles_change_gets_another_cookie_and_may_do_the_new_thing_at_once(api: ApiServer) -> None:
    api.log_in(Role.VIEWER)
    assert await is_in(api)
    old = cookie_of(api)
    await api.people.accounts.grant("demo:viewer", None, "*", Role.ENGINEER, CLOCK, api.clock())
    _, me = await api.get("/api/v1/me")
    assert "act_on_ticket" in me["permissions"]
    fresh = cookie_of(api)
    assert fresh != old
    api.show(old)
    assert await is_in(api), "requests that were under way carry it still"
    assert cookie_of(api) == old, "but it is not rotated again"
    api.clock.now += 30_000
    assert not await is_in(api)
    api.show(fresh)
    assert await is_in(api)


# -- ending --------------------------------------------------------------------------------------------


async def test_my_logins_are_listed_and_each_can_be_ended(api: ApiServer) -> None:
    await enter(api, "operator")
    _, page = await api.get("/api/v1/me/logins")
    assert sorted(item["current"] for item in page["items"]) == [False, True]
    (other,) = [item["id"] for item in page["items"] if not item["current"]]
    assert (await api.ask("POST", f"/api/v1/me/logins/{other}/revoke"))[0] == 204
    mine = cookie_of(api)
    api.log_in(Role.OPERATOR)
    assert not await is_in(api)
    api.show(mine)
    assert await is_in(api)
    assert (await api.ask("POST", f"/api/v1/me/logins/{other}/revoke"))[0] == 404


async def test_a_new_password_ends_every_other_login_and_changes_the_cookie(api: ApiServer) -> None:
    await enter(api, "operator")
    before = cookie_of(api)
    wrong = {"old": "wrong", "new": FRESH}
    assert (await api.post("/api/v1/me/password", wrong))[1]["code"] == "wrong_password"
    for weak, code in (("short", "password_too_short"), ("password1234567", "password_guessable")):
        status, problem = await api.post("/api/v1/me/password", {"old": DEMO_PASSWORD, "new": weak})
        assert (status, problem["code"]) == (422, code)
    status, _ = await api.post("/api/v1/me/password", {"old": DEMO_PASSWORD, "new": FRESH})
    assert status == 204
    assert await is_in(api)
    for stolen in (before, "login-of-operator"):
        api.show(stolen)
        assert not await is_in(api)
    assert (await enter(api, "operator"))[0] == 401
    assert (await enter(api, "operator", FRESH))[1]["password_temporary"] is False


@pytest.mark.parametrize("how", ["disable", "reset"])
async def test_who_is_disabled_or_reset_is_out_at_once(api: ApiServer, how: str) -> None:
    api.log_in(Role.GUARD)
    assert await is_in(api)
    api.log_in(Role.ADMIN)
    body: dict[str, Any] = {"version": await version_of(api, "demo:guard")}
    if how == "reset":
        body["password"] = FRESH
    status, shown = await api.post(f"/api/v1/people/demo:guard/{how}", body)
    assert (status, shown["disabled"]) == (200, how == "disable")
    api.log_in(Role.GUARD)
    assert not await is_in(api)
    assert (await enter(api, "guard"))[0] == 401
    assert (await enter(api, "guard", FRESH))[0] == (401 if how == "disable" else 200)


async def test_an_administrator_sees_and_ends_somebodys_logins(api: ApiServer) -> None:
    api.log_in(Role.ADMIN)
    _, page = await api.get("/api/v1/people/demo:guard/logins")
    (found,) = page["items"]
    assert (found["origin"], found["agent"], found["current"]) == ("192.0.2.7", "a test", False)
    assert (await api.ask("POST", f"/api/v1/people/demo:guard/logins/{found['id']}/revoke"))[0] == 204
    api.log_in(Role.GUARD)
    assert not await is_in(api)


async def test_what_another_process_changes_is_seen_within_a_second(api: ApiServer, tmp_path: Path) -> None:
    api.log_in(Role.GUARD)
    assert await is_in(api)
    other = make_people(api.services.database, 15, SecretSeal(tmp_path / "second_factor.key"), demo=True)
    await other.accounts.disable("demo:guard", 1, CLOCK, api.clock())
    other.hashes.close()
    api.clock.now += 1_000
    assert not await is_in(api)


@pytest.mark.parametrize("how", ["log_out", "disable", "revoke", "expiry", "role", "token"])
async def test_a_live_feed_ends_with_its_login_within_two_seconds(api: ApiServer, how: str) -> None:
    running = asyncio.create_task(api.feed.run(await newest_fact(api.services.database)))
    headers = {}
    if how == "token":
        api.log_in(Role.ADMIN)
        body = {"name": "wall", "sites": ["*"], "permissions": ["watch"], "days": 1}
        _, made = await api.post("/api/v1/tokens", body)
        headers = {"Authorization": f"Bearer {made['secret']}"}
    else:
        api.log_in(Role.ENGINEER)
    async with api.client.ws_connect("/api/v1/live", headers=headers) as socket:
        assert (await socket.receive_json(timeout=20))["type"] == "snapshot"
        began = asyncio.get_running_loop().time()
        accounts, now = api.people.accounts, api.clock()
        if how == "log_out":
            await api.ask("DELETE", SESSION)
        elif how == "disable":
            await accounts.disable("demo:engineer", 1, CLOCK, now)
        elif how == "revoke":
            await api.people.logins.revoke("demo:engineer", "login-engineer", CLOCK, now)
        elif how == "role":
            await accounts.grant("demo:engineer", 1, "*", Role.GUARD, CLOCK, now)
        elif how == "token":
            await api.people.tokens.revoke(made["token"]["id"], CLOCK, now)
        else:
            api.clock.now += LIFETIMES[Role.ENGINEER].absolute
        while (message := await socket.receive(timeout=20)).type.name == "TEXT":
            continue
        assert asyncio.get_running_loop().time() - began < 2
        assert message.data == (1013 if how == "role" else 1008)  # with another role: a new snapshot
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_database_that_is_away_for_a_moment_ends_no_live_feed(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wall screen must not go dark because nobody can be asked whose it is."""
    asked = 0

    async def fail(*_: Any) -> Any:
        nonlocal asked
        asked += 1
        raise ConnectionRefusedError("away")

    monkeypatch.setattr(live_feed, "_LOGINS_S", 0.05)
    running = asyncio.create_task(api.feed.run(await newest_fact(api.services.database)))
    api.log_in(Role.VIEWER)
    async with api.client.ws_connect("/api/v1/live") as socket:
        await socket.receive_json(timeout=20)
        monkeypatch.setattr(api.people.logins, "still", fail)
        await until(lambda: asked > 3, "the logins were asked for")
        assert (await socket.receive_json(timeout=20))["type"] in {"system", "beat"}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_whether_the_service_is_ready_can_be_asked_while_nobody_can_be_looked_up(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> Any:
        raise ConnectionRefusedError("away")

    api.log_in(Role.OPERATOR)
    monkeypatch.setattr(api.people.logins, "whose", fail)
    assert (await api.get("/readyz"))[0] == 200
    async with api.client.get("/api/v1/me") as answer:
        assert (answer.status, (await answer.json())["code"]) == (503, "database_unavailable")
        assert answer.headers["Retry-After"] == "1"


# -- the second factor ---------------------------------------------------------------------------------


def code_of(api: ApiServer, secret: str, steps: int = 0) -> str:
    return pyotp.TOTP(secret).at(api.clock() // 1000 + 30 * steps)


async def set_up(api: ApiServer) -> tuple[str, list[str]]:
    """Give the manager a second factor: its secret and its recovery codes."""
    api.log_in(Role.MANAGER)
    _, begun = await api.post("/api/v1/me/second-factor", {"password": DEMO_PASSWORD})
    assert begun["secret"] in begun["address"]
    status, problem = await api.post("/api/v1/me/second-factor/confirm", {"code": "000000"})
    assert (status, problem["code"]) == (403, "wrong_code")
    code = code_of(api, begun["secret"])
    status, made = await api.post("/api/v1/me/second-factor/confirm", {"code": code})
    assert (status, len(set(made["codes"]))) == (200, 10)
    api.log_out()
    return begun["secret"], made["codes"]


async def test_with_a_second_factor_the_password_alone_is_not_enough(api: ApiServer) -> None:
    secret, _ = await set_up(api)
    status, problem = await enter(api, "manager")
    assert (status, problem["code"]) == (401, "second_factor_needed")
    status, problem = await enter(api, "manager", code="123")
    assert (status, problem["code"]) == (401, "second_factor_wrong")
    status, problem = await enter(api, "manager", "wrong", code=code_of(api, secret, 1))
    assert (status, problem["code"]) == (401, "bad_credentials"), "the code is looked at after the password"
    api.clock.now += 30_000
    code = code_of(api, secret)
    assert (await enter(api, "manager", code=code))[1]["second_factor"] is True
    api.log_out()
    assert (await enter(api, "manager", code=code))[0] == 401, "no code is good twice"


async def test_a_recovery_code_is_good_once_and_kept_as_a_digest(api: ApiServer) -> None:
    _, codes = await set_up(api)
    kept = str(await rows_of(api.services.database, recovery_code))
    assert not [code for code in codes if code in kept]
    assert (await enter(api, "manager", code=codes[0].upper()))[0] == 200
    api.log_out()
    assert (await enter(api, "manager", code=codes[0]))[0] == 401
    assert (await enter(api, "manager", code=codes[1]))[0] == 200


async def test_a_second_factor_is_replaced_only_after_it_was_taken_away_with_the_password(api: ApiServer) -> None:
    await set_up(api)
    api.log_in(Role.MANAGER)
    status, problem = await api.post("/api/v1/me/second-factor", {"password": DEMO_PASSWORD})
    assert (status, problem["code"]) == (409, "not_permitted_in_state")
    assert (await api.post("/api/v1/me/second-factor/remove", {"password": "wrong"}))[0] == 403
    assert (await api.post("/api/v1/me/second-factor/remove", {"password": DEMO_PASSWORD}))[0] == 204
    assert (await enter(api, "manager"))[0] == 200
    assert await rows_of(api.services.database, recovery_code) == []


async def test_an_administrator_takes_a_lost_phone_away(api: ApiServer) -> None:
    await set_up(api)
    api.log_in(Role.ADMIN)
    body = {"version": await version_of(api, "demo:manager"), "password": FRESH, "second_factor": True}
    assert (await api.post("/api/v1/people/demo:manager/reset", body))[1]["second_factor"] is False
    assert (await enter(api, "manager", FRESH))[0] == 200


# -- machines ------------------------------------------------------------------------------------------


async def make_token(api: ApiServer, **changes: Any) -> tuple[int, Any]:
    api.log_in(Role.ADMIN)
    body = {"name": "BMS", "sites": ["HQ"], "permissions": ["watch", "read_metrics"], "days": 30, **changes}
    answer = await api.post("/api/v1/tokens", body)
    api.log_out()
    return answer


async def bearing(api: ApiServer, secret: str, path: str) -> int:
    async with api.client.get(path, headers={"Authorization": f"Bearer {secret}"}) as answer:
        return answer.status


async def test_a_machine_may_what_its_token_names_where_it_names_it(api: ApiServer) -> None:
    _, made = await make_token(api)
    secret = made["secret"]
    assert secret not in str(await rows_of(api.services.database, api_token))
    assert await bearing(api, secret, "/api/v1/equipment/HQ:P-1") == 200
    assert await bearing(api, secret, "/api/v1/equipment/B:P-1") == 404
    assert await bearing(api, secret, "/api/v1/tickets") == 403
    assert await bearing(api, secret, "/metrics") == 200
    assert await bearing(api, secret, "/api/v1/me") == 200
    assert await bearing(api, secret, "/api/v1/me/logins") == 403, "it has no account"
    assert await bearing(api, secret + "x", "/api/v1/me") == 401
    api.show(secret)
    assert not await is_in(api), "a token is no cookie"


async def test_a_token_ends_by_its_time_and_by_being_revoked(api: ApiServer) -> None:
    _, made = await make_token(api, days=1)
    api.clock.now += DAY_MS - 1
    assert await bearing(api, made["secret"], "/api/v1/me") == 200
    api.clock.now += 1
    assert await bearing(api, made["secret"], "/api/v1/me") == 401
    async with api.services.database.transaction() as connection:
        await connection.execute(update(login).values(created_at=api.clock(), last_used_at=api.clock()))
    api.people.accounts.changes += 1
    _, made = await make_token(api)
    assert await bearing(api, made["secret"], "/api/v1/me") == 200
    api.log_in(Role.ADMIN)
    path = f"/api/v1/tokens/{made['token']['id']}/revoke"
    status, shown = await api.ask("POST", path)
    assert (status, shown["revoked_at"] is not None) == (200, True)
    assert (await api.ask("POST", path))[0] == 404
    api.log_out()
    assert await bearing(api, made["secret"], "/api/v1/me") == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"permissions": ["manage_people"]},  # a machine that lets people in would be one more way in
        {"permissions": ["own_account"]},
        {"permissions": []},
        {"permissions": ["fly"]},
        {"sites": []},
        {"name": ""},
        {"name": "a\nb"},
        {"days": 0},
        {"days": 10_000},
    ],
)
async def test_a_token_that_cannot_be_is_refused(api: ApiServer, changes: dict[str, Any]) -> None:
    status, problem = await make_token(api, **changes)
    assert (status, problem["code"]) == (400, "bad_request")
    assert await rows_of(api.services.database, api_token) == []


async def test_what_a_machine_does_stands_in_the_audit_as_the_machines(api: ApiServer) -> None:
    row, _ = await api.raise_fire()
    _, made = await make_token(api, permissions=["watch", "acknowledge_alarm"])
    path, headers = f"/api/v1/alarms/{row['id']}/acknowledge", {"Authorization": f"Bearer {made['secret']}"}
    status, answer = await api.ask("POST", path, json={"version": row["version"]}, headers=headers)
    assert (status, answer["acknowledged_by"]["en"]) == (200, "BMS")
    (written,) = [row for row in await rows_of(api.services.database, audit) if row["via"] == "token"]
    assert written["actor"] == made["token"]["id"]
