"""A person is forgotten: nothing says any more who they were, and what happened can still be proved."""

from pathlib import Path

import pytest
from sqlalchemy import text

from gateway.people.accounts import LastAdministrator, NoSuchPerson
from gateway.people.audit.entry import CLOCK
from gateway.people.authentication.tokens import NewToken
from gateway.people.permissions import Permission, Role
from gateway.storage.tables import audit, journal, metadata
from tests.builders.alarms import rows_of
from tests.builders.audit_book import open_book
from tests.servers.api_server import ApiServer

NAME, USERNAME = "Eleonora Brandt", "eleonora.brandt"


async def everything(api: ApiServer) -> str:
    """All rows of all tables."""
    async with api.services.database.reading() as connection:
        found = [(await connection.execute(text(f'SELECT * FROM "{name}"'))).all() for name in metadata.tables]
    return str(found)


async def work_a_day(api: ApiServer) -> None:
    """She logs in, fails once, makes a token, acknowledges an alarm."""
    people, now = api.people, api.clock()
    await api.enter({USERNAME: {"HQ": (Role.OPERATOR,)}})
    row, _ = await api.raise_fire()
    api.log_out()
    await api.post("/api/v1/session", {"username": USERNAME, "password": "a wrong one"})
    await people.throttle.keep()
    assert (await api.post("/api/v1/session", {"username": USERNAME, "password": "gengfu-demo"}))[0] == 200
    status, _ = await api.post(f"/api/v1/alarms/{row['id']}/acknowledge", {"version": row["version"]})
    assert status == 200
    cause = CLOCK.__class__(f"demo:{USERNAME}", CLOCK.via)
    await people.tokens.add(NewToken("pump room", ["HQ"], [Permission.WATCH], 1), cause, now)


async def test_nothing_says_who_it_was_and_the_chain_verifies(api: ApiServer, tmp_path: Path) -> None:
    await work_a_day(api)
    database = api.services.database
    book = await open_book(database, tmp_path / "book")
    await book.sealer.tick()
    before = await rows_of(database, audit)
    acknowledged = [row for row in await rows_of(database, journal) if row["actor"] == f"demo:{USERNAME}"]
    assert USERNAME in await everything(api)
    tokens = await api.people.forget(USERNAME, CLOCK, api.clock())
    assert tokens == ["pump room"]
    await book.sealer.tick()
    left = (await everything(api)).replace(f"demo:{USERNAME}", "the id")  # of the demo, ids hold the name
    assert USERNAME not in left
    assert NAME not in left
    after = await rows_of(database, audit)
    assert [row["hash"] for row in after[: len(before)]] == [row["hash"] for row in before]
    assert [row["act"] for row in after[len(before) :]] == ["person.forget"]
    assert await book.named() == [], "the audit is whole"
    assert [row for row in await rows_of(database, journal) if row["actor"] == f"demo:{USERNAME}"] == acknowledged
    assert (await api.get("/api/v1/me"))[0] == 401, "her login is over"


async def test_the_name_is_free_and_the_newcomer_is_somebody_else(api: ApiServer) -> None:
    await api.enter({USERNAME: {"HQ": (Role.OPERATOR,)}})
    await api.people.forget(USERNAME, CLOCK, api.clock())
    with pytest.raises(NoSuchPerson):
        await api.people.accounts.named(USERNAME)
    assert api.people.accounts.name_of(f"demo:{USERNAME}")["en"] == f"demo:{USERNAME}"


async def test_the_last_administrator_is_not_forgotten(api: ApiServer) -> None:
    with pytest.raises(LastAdministrator):
        await api.people.forget("admin", CLOCK, api.clock())
    assert (await api.people.accounts.named("admin")).username == "admin"
