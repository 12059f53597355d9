"""What is under way when a password is reset or a login ends: it comes to nothing, whatever it had passed before."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pyotp
import pytest
from aiohttp import WSMsgType
from sqlalchemy import delete, func, insert, select, update

from gateway.api.live import feed as live_feed
from gateway.people.audit.entry import CLOCK
from gateway.people.authentication import login_rows
from gateway.people.authentication.tokens import NewToken
from gateway.people.people import DEMO_PASSWORD
from gateway.people.permissions import ALL_SITES, Permission, Role
from gateway.storage.outbox.outbox import newest_fact
from gateway.storage.tables import known_device, login, maintenance_window, person, role_grant
from tests.builders.alarms import T0, rows_of
from tests.servers.api_server import ApiServer
from tests.servers.waiting import until

FRESH = "nine kettles sing before dawn"
ANOTHER = "seven lanterns hang by the gate"
SESSION = "/api/v1/session"
Meanwhile = Callable[[ApiServer], Awaitable[Any]]
OPERATOR = "demo:operator"


async def version_of(api: ApiServer, identity: str) -> int:
    return (await api.people.accounts.find(identity)).version


async def reset(api: ApiServer, identity: str = OPERATOR) -> None:
    await api.people.accounts.reset(identity, await version_of(api, identity), FRESH, CLOCK, api.clock())


async def disable(api: ApiServer) -> None:
    await api.people.accounts.disable(OPERATOR, await version_of(api, OPERATOR), CLOCK, api.clock())


async def forget(api: ApiServer) -> None:
    await api.people.forget("operator", CLOCK, api.clock())


async def confirm_second_factor(api: ApiServer) -> None:
    factors, now = api.people.second_factors, api.clock()
    secret, _ = await factors.begin(OPERATOR, "operator", CLOCK, now)
    await factors.confirm(OPERATOR, pyotp.TOTP(secret).at(now / 1000), CLOCK, now)


@contextlib.asynccontextmanager
async def slow_password_check(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Event]:
    """Checking a password ends only when the block ends. The event is set when one has been found right."""
    checked, go_on = asyncio.Event(), asyncio.Event()
    right = api.people.hashes.is_right

    async def is_right(hashed: str | None, password: str) -> bool:
        found = await right(hashed, password)
        checked.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(api.people.hashes, "is_right", is_right)
    try:
        yield checked
    finally:
        go_on.set()


@pytest.mark.parametrize("meanwhile", [reset, disable, forget, confirm_second_factor])
async def test_a_log_in_under_way_does_not_outlive_the_credentials_it_was_checked_against(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch, meanwhile: Meanwhile
) -> None:
    async with slow_password_check(api, monkeypatch) as checked:
        asking = asyncio.create_task(api.post(SESSION, {"username": "operator", "password": DEMO_PASSWORD}))
        await checked.wait()
        await meanwhile(api)
    status, problem = await asking
    assert (status, problem["code"]) == (401, "bad_credentials")
    whose = [row["person"] for row in await rows_of(api.services.database, login) if row["origin"] == "127.0.0.1"]
    assert whose == []


async def test_a_code_of_a_second_factor_that_was_taken_away_meanwhile_lets_nobody_in(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reset of password and factor comes while the code is being looked at."""
    factors, now = api.people.second_factors, api.clock()
    secret, _ = await factors.begin(OPERATOR, "operator", CLOCK, now)
    await factors.confirm(OPERATOR, pyotp.TOTP(secret).at(now / 1000), CLOCK, now)
    api.clock.now += 60_000
    take = api.people.passwords._take_code

    async def take_and_reset(row: Any, code: str, at: int) -> None:
        await take(row, code, at)
        version = await version_of(api, OPERATOR)
        await api.people.accounts.reset(OPERATOR, version, FRESH, CLOCK, at, second_factor=True)

    monkeypatch.setattr(api.people.passwords, "_take_code", take_and_reset)
    code = pyotp.TOTP(secret).at(api.clock() / 1000)
    status, problem = await api.post(SESSION, {"username": "operator", "password": DEMO_PASSWORD, "code": code})
    assert (status, problem["code"]) == (401, "bad_credentials")


async def test_a_change_of_roles_keeps_nobody_out_who_logs_in_at_that_moment(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with slow_password_check(api, monkeypatch) as checked:
        asking = asyncio.create_task(api.post(SESSION, {"username": "operator", "password": DEMO_PASSWORD}))
        await checked.wait()
        await api.people.accounts.grant(OPERATOR, None, "HQ", Role.VIEWER, CLOCK, api.clock())
    status, me = await asking
    assert (status, me["roles"]["HQ"]) == (200, ["viewer"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/me/password", {"old": DEMO_PASSWORD, "new": ANOTHER}),
        ("/api/v1/me/second-factor", {"password": DEMO_PASSWORD}),
    ],
)
async def test_a_reset_is_not_undone_by_what_the_old_password_had_begun(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, str]
) -> None:
    api.log_in(Role.MANAGER)
    async with slow_password_check(api, monkeypatch) as checked:
        asking = asyncio.create_task(api.post(path, body))
        await checked.wait()
        await reset(api, "demo:manager")
    status, _ = await asking
    assert status in {401, 403}
    monkeypatch.undo()
    assert (await api.post(SESSION, {"username": "manager", "password": FRESH}))[0] == 200
    row = next(row for row in await rows_of(api.services.database, person) if row["id"] == "demo:manager")
    assert row["totp_secret"] is None


# -- requests that were admitted before ----------------------------------------------------------------


async def log_out_elsewhere(api: ApiServer) -> None:
    async with api.services.database.transaction() as connection:
        await connection.execute(delete(login).where(login.c.person == "demo:manager"))


async def disable_elsewhere(api: ApiServer) -> None:
    async with api.services.database.transaction() as connection:
        await connection.execute(update(person).where(person.c.id == "demo:manager").values(disabled_at=T0))


async def take_role_elsewhere(api: ApiServer) -> None:
    async with api.services.database.transaction() as connection:
        await connection.execute(delete(role_grant).where(role_grant.c.person == "demo:manager"))
        lesser = {"person": "demo:manager", "site": ALL_SITES, "role": Role.VIEWER.value, "granted_at": T0}
        await connection.execute(insert(role_grant).values(**lesser))


async def half_sent(api: ApiServer, meanwhile: Meanwhile, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """A request that changes something, of which the last byte comes after `meanwhile`."""
    sent = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'{"name": {"en": "North", "zh-CN": "\xe5\x8c\x97"}, "code": "N", "time_zone": "Asia/Shanghai"'
        await sent.wait()
        yield b"}"

    kind = {"Content-Type": "application/json", **(headers or {})}
    asking = asyncio.create_task(api.ask("POST", "/api/v1/sites", data=body(), headers=kind))
    await until(lambda: api.people.logins._used, "the request has been admitted")
    await meanwhile(api)
    sent.set()
    return await asking


@pytest.mark.parametrize(
    ("meanwhile", "expected"),
    [(log_out_elsewhere, 401), (disable_elsewhere, 401), (take_role_elsewhere, 403)],
)
async def test_a_request_admitted_before_its_login_ended_changes_nothing(
    api: ApiServer, meanwhile: Meanwhile, expected: int
) -> None:
    api.log_in(Role.ADMIN)
    async with api.services.database.transaction() as connection:
        await connection.execute(update(login).where(login.c.person == "demo:admin").values(person="demo:manager"))
        more = {"person": "demo:manager", "site": ALL_SITES, "role": Role.ADMIN.value, "granted_at": T0}
        await connection.execute(insert(role_grant).values(**more))
    status, problem = await half_sent(api, meanwhile)
    assert (status, problem["status"]) == (expected, expected)
    assert "N" not in api.services.ledger.sites


async def test_a_request_of_a_token_revoked_meanwhile_changes_nothing(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = api.services.wall()
    wanted = NewToken("a machine", ["*"], [Permission.WATCH, Permission.PLAN_MAINTENANCE], 10)
    token, secret = await api.people.tokens.add(wanted, CLOCK, now)
    api.log_out()
    entered = asyncio.Event()
    noted = api.people.logins.note_use

    def note_use(session: Any, at: int) -> None:
        noted(session, at)
        entered.set()

    monkeypatch.setattr(api.people.logins, "note_use", note_use)
    sent = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'{"site": "HQ", "equipment": "HQ:P-1", "reason": "tank", "starts_at": "2025-11-23T00:00:00Z", '
        await sent.wait()
        yield b'"ends_at": "2025-11-23T01:00:00Z"}'

    kind = {"Content-Type": "application/json", "Authorization": f"Bearer {secret}"}
    asking = asyncio.create_task(api.ask("POST", "/api/v1/maintenance-windows", data=body(), headers=kind))
    await entered.wait()
    await api.people.tokens.revoke(token.id, CLOCK, now)
    sent.set()
    status, problem = await asking
    assert (status, problem["code"]) == (401, "not_signed_in")
    assert await rows_of(api.services.database, maintenance_window) == []


# -- the live feed -------------------------------------------------------------------------------------


@pytest.mark.parametrize("meanwhile", [log_out_elsewhere, disable_elsewhere, take_role_elsewhere])
async def test_a_live_socket_that_never_reads_is_cut_off_with_its_login(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch, meanwhile: Meanwhile
) -> None:
    """It does not read, so it never agrees to a close: what it was is over for the server all the same."""
    monkeypatch.setattr(live_feed, "_CLOSING_S", 0.1)
    api.log_in(Role.MANAGER)
    database = api.services.database
    running = asyncio.create_task(api.feed.run(await newest_fact(database)))
    socket = await api.client.ws_connect("/api/v1/live", autoclose=False, autoping=False)
    assert (await socket.receive()).type is WSMsgType.TEXT
    socket._response.connection.transport.pause_reading()  # type: ignore[union-attr]
    try:
        await meanwhile(api)
        api.clock.now += 2_000  # what was read of a login is believed for a second
        await until(lambda: api.feed.listeners == 0, "the server holds the socket no more")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await socket.close()


# -- how many ------------------------------------------------------------------------------------------


async def test_logins_and_known_browsers_of_one_person_are_bounded(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_rows, "MOST_LOGINS", 3)
    monkeypatch.setattr(login_rows, "MOST_DEVICES", 2)
    for _ in range(5):
        api.log_out()
        assert (await api.post(SESSION, {"username": "operator", "password": DEMO_PASSWORD}))[0] == 200
    assert (await api.get("/api/v1/me"))[0] == 200, "the newest is never the one that ends"
    async with api.services.database.reading() as connection:
        counts = [
            await connection.scalar(select(func.count()).select_from(table).where(table.c.person == OPERATOR))
            for table in (login, known_device)
        ]
    assert counts == [3, 2]
