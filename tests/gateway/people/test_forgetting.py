"""A person is forgotten: nothing says any more who they were, and what happened can still be proved."""

from pathlib import Path

import pytest
from sqlalchemy import text

from gateway.people.accounts import LastAdministrator, NoSuchPerson
from gateway.people.audit.entry import CLOCK
from gateway.people.authentication.tokens import NewToken
from gateway.people.permissions import Act, Role
from gateway.storage.tables import audit, journal, metadata
from tests.builders.alarms import rows_of
from tests.builders.audit_book import open_book
from tests.servers.api_server import House

NAME, USERNAME = "Eleonora Brandt", "eleonora.brandt"


async def everything(house: House) -> str:
    """All rows of all tables."""
    async with house.services.database.reading() as connection:
        found = [(await connection.execute(text(f'SELECT * FROM "{name}"'))).all() for name in metadata.tables]
    return str(found)


async def work_a_day(house: House) -> None:
    """She logs in, fails once, makes a token, acknowledges an alarm."""
    people, now = house.people, house.clock()
    await house.enter({USERNAME: {"HQ": (Role.OPERATOR,)}})
    row, _ = await house.raise_fire()
    house.log_out()
    await house.post("/api/v1/session", {"username": USERNAME, "password": "a wrong one"})
    await people.throttle.keep()
    assert (await house.post("/api/v1/session", {"username": USERNAME, "password": "gengfu-demo"}))[0] == 200
    status, _ = await house.post(f"/api/v1/alarms/{row['id']}/acknowledge", {"version": row["version"]})
    assert status == 200
    cause = CLOCK.__class__(f"demo:{USERNAME}", CLOCK.via)
    await people.tokens.add(NewToken("pump room", ["HQ"], [Act.WATCH], 1), cause, now)


async def test_nothing_says_who_it_was_and_the_chain_verifies(house: House, tmp_path: Path) -> None:
    await work_a_day(house)
    database = house.services.database
    book = await open_book(database, tmp_path / "book")
    await book.sealer.tick()
    before = await rows_of(database, audit)
    acknowledged = [row for row in await rows_of(database, journal) if row["actor"] == f"demo:{USERNAME}"]
    assert USERNAME in await everything(house)
    tokens = await house.people.forget(USERNAME, CLOCK, house.clock())
    assert tokens == ["pump room"]
    await book.sealer.tick()
    left = (await everything(house)).replace(f"demo:{USERNAME}", "the id")  # of the demo, ids hold the name
    assert USERNAME not in left
    assert NAME not in left
    after = await rows_of(database, audit)
    assert [row["hash"] for row in after[: len(before)]] == [row["hash"] for row in before]
    assert [row["act"] for row in after[len(before) :]] == ["person.forget"]
    assert await book.named() == [], "the audit is whole"
    assert [row for row in await rows_of(database, journal) if row["actor"] == f"demo:{USERNAME}"] == acknowledged
    assert (await house.get("/api/v1/me"))[0] == 401, "her login is over"


async def test_the_name_is_free_and_the_newcomer_is_somebody_else(house: House) -> None:
    await house.enter({USERNAME: {"HQ": (Role.OPERATOR,)}})
    await house.people.forget(USERNAME, CLOCK, house.clock())
    with pytest.raises(NoSuchPerson):
        await house.people.accounts.named(USERNAME)
    assert house.people.accounts.name_of(f"demo:{USERNAME}")["en"] == f"demo:{USERNAME}"


async def test_the_last_administrator_is_not_forgotten(house: House) -> None:
    with pytest.raises(LastAdministrator):
        await house.people.forget("admin", CLOCK, house.clock())
    assert (await house.people.accounts.named("admin")).username == "admin"
