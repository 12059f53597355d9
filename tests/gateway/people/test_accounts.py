"""Accounts: what is changed, by whom, and that it is written down; who is let in is in `test_logins.py`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.people.accounts import (
    Accounts,
    LastAdministrator,
    NewPerson,
    NoSuchPerson,
    NotAName,
    PersonRecord,
    StalePerson,
    UsernameTaken,
    WeakPassword,
)
from gateway.people.audit.entry import Cause, Via
from gateway.people.authentication.secret_seal import SecretSeal
from gateway.people.people import People, enter_demo_people, make_people
from gateway.people.permissions import ALL_SITES, Role
from gateway.storage.database import Database
from gateway.storage.tables import audit, person
from tests.builders.alarms import T0, rows_of
from tests.servers.api_server import DEMO_HASH

PASSWORD = "nine kettles sing before dawn"
BOSS = Cause("somebody", Via.WEB, "192.0.2.7")
NAME = {"en": "Wei Zhang", "zh-CN": "张伟"}


@pytest.fixture
async def people(database: Database, tmp_path: Path) -> AsyncIterator[People]:
    made = make_people(database, 15, SecretSeal(tmp_path / "second_factor.key"), demo=False)
    await made.hashes.open()
    yield made
    made.hashes.close()


@pytest.fixture
def accounts(people: People) -> Accounts:
    return people.accounts


async def add(accounts: Accounts, username: str, *grants: tuple[str, Role]) -> PersonRecord:
    return await accounts.add(NewPerson(username, NAME, PASSWORD, grants), BOSS, T0)


async def test_an_account_is_opened_found_and_called_by_its_name(accounts: Accounts) -> None:
    assert accounts.present is False
    record = await add(accounts, " Wei.Zhang ", ("HQ", Role.GUARD), ("*", Role.VIEWER))
    assert (record.username, record.grants) == ("wei.zhang", {"*": [Role.VIEWER], "HQ": [Role.GUARD]})
    assert (record.password_temporary, record.disabled_at, record.version) == (True, None, 1)
    assert await accounts.named("WEI.ZHANG") == await accounts.find(record.id) == record
    assert accounts.name_of(record.id) == NAME
    assert accounts.present is True


async def test_a_password_is_kept_as_argon2id_and_never_as_it_is(accounts: Accounts, database: Database) -> None:
    await add(accounts, "wei")
    (row,) = await rows_of(database, person)
    assert row["password_hash"].startswith("$argon2id$")
    assert PASSWORD not in str(row)
    assert PASSWORD not in str(await rows_of(database, audit))


@pytest.mark.parametrize("username", ["", " ", "a b", "a\nb", "a/b", "x" * 65, "<b>", "a\0"])
async def test_a_user_name_is_letters_digits_and_a_few_signs(accounts: Accounts, username: str) -> None:
    with pytest.raises(NotAName):
        await add(accounts, username)


@pytest.mark.parametrize("site", ["", "a b", "**", "x" * 65])
async def test_a_role_is_for_a_site_that_can_be(accounts: Accounts, site: str) -> None:
    with pytest.raises(NotAName):
        await add(accounts, "wei", (site, Role.GUARD))


async def test_no_two_have_one_name_however_it_is_written(accounts: Accounts) -> None:
    await add(accounts, "wei")
    with pytest.raises(UsernameTaken):
        await add(accounts, "WEI")


async def test_a_weak_password_opens_nothing(accounts: Accounts, database: Database) -> None:
    for password in ("short", "password1234567", "wei zhang wei zhang"):
        with pytest.raises(WeakPassword):
            await accounts.add(NewPerson("wei", NAME, password), BOSS, T0)
    assert await rows_of(database, person) == []


async def test_every_change_has_its_audit_row_and_names_people_by_id_only(
    accounts: Accounts, database: Database
) -> None:
    record = await add(accounts, "wei", ("HQ", Role.GUARD))
    record = await accounts.grant(record.id, record.version, "B", Role.GUARD, BOSS, T0 + 1)
    record = await accounts.revoke(record.id, record.version, "HQ", Role.GUARD, BOSS, T0 + 2)
    record = await accounts.disable(record.id, record.version, BOSS, T0 + 3)
    record = await accounts.enable(record.id, record.version, BOSS, T0 + 4)
    record = await accounts.reset(record.id, record.version, PASSWORD, BOSS, T0 + 5, second_factor=True)
    await accounts.choose_password(record.id, PASSWORD, "", BOSS, T0 + 6)
    rows = await rows_of(database, audit)
    assert [row["act"] for row in rows] == [
        "person.add", "person.grant", "person.revoke", "person.disable", "person.enable", "person.reset",
        "person.password",
    ]  # fmt: skip
    assert {(row["thing"], row["actor"], row["origin"]) for row in rows} == {
        (f"person:{record.id}", "somebody", "192.0.2.7")
    }
    assert rows[1]["before"]["grants"] == {"HQ": ["guard"]}
    assert rows[1]["after"]["grants"] == {"B": ["guard"], "HQ": ["guard"]}
    assert "Zhang" not in str(rows)
    assert "wei" not in str(rows)


async def test_a_change_of_what_has_changed_since_is_refused(accounts: Accounts) -> None:
    record = await add(accounts, "wei")
    await accounts.disable(record.id, record.version, BOSS, T0)
    with pytest.raises(StalePerson):
        await accounts.enable(record.id, record.version, BOSS, T0)
    with pytest.raises(NoSuchPerson):
        await accounts.disable("nobody", 1, BOSS, T0)


async def test_the_last_administrator_stays(accounts: Accounts, database: Database) -> None:
    first = await add(accounts, "ann", ("*", Role.ADMIN))
    await add(accounts, "of-one-site", ("HQ", Role.ADMIN))
    for refused in (
        accounts.disable(first.id, first.version, BOSS, T0),
        accounts.revoke(first.id, first.version, "*", Role.ADMIN, BOSS, T0),
    ):
        with pytest.raises(LastAdministrator):
            await refused
    assert await accounts.administrators() == 1
    assert len(await rows_of(database, audit)) == 2, "what was refused left nothing behind"
    second = await add(accounts, "bo", ("*", Role.ADMIN))
    await accounts.disable(first.id, first.version, BOSS, T0)
    with pytest.raises(LastAdministrator):
        await accounts.revoke(second.id, second.version, "*", Role.ADMIN, BOSS, T0)


async def test_two_administrators_who_disable_each_other_at_once_do_not_both_succeed(accounts: Accounts) -> None:
    records = [await add(accounts, name, ("*", Role.ADMIN)) for name in ("ann", "bo")]
    permissions = [accounts.disable(record.id, record.version, BOSS, T0) for record in records]
    results = await asyncio.gather(*permissions, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["LastAdministrator", "PersonRecord"]


async def test_a_demos_people_are_nobody_to_a_real_service_on_the_same_data(
    people: People, database: Database, tmp_path: Path
) -> None:
    """Their password stands on every screen."""
    demo = make_people(database, 15, SecretSeal(tmp_path / "second_factor.key"), demo=True)
    await enter_demo_people(demo, T0, DEMO_HASH)
    await enter_demo_people(demo, T0, DEMO_HASH)  # started again on the same folder
    assert [record.username for record in await demo.accounts.everyone()] == sorted(Role)
    assert (await demo.accounts.named("admin")).grants == {ALL_SITES: [Role.ADMIN]}
    await people.accounts.refresh()
    assert (await people.accounts.everyone(), people.accounts.present) == ([], False)
    assert await people.accounts.administrators() == 0
    await add(people.accounts, "admin", ("*", Role.ADMIN))
    demo.hashes.close()


async def test_who_acts_by_itself_is_the_platform(accounts: Accounts) -> None:
    assert accounts.name_of("system:rules")["zh-CN"] == "更夫系统"
    assert accounts.name_of("local")["zh-CN"] == "本机"
    assert accounts.name_of("gone")["en"] == "gone"
