"""The secret of a second factor is not in the database for who reads it, and without its key nobody makes a code."""

import stat
from pathlib import Path
from typing import Any

import pyotp
import pytest
from sqlalchemy import update

from gateway.people.authentication.secret_seal import CannotUnseal, SecretSeal
from gateway.people.people import DEMO_PASSWORD
from gateway.storage.tables import person
from tests.builders.alarms import rows_of
from tests.servers.api_server import ApiServer

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
FACTOR = "/api/v1/me/second-factor"
MANAGER = "demo:manager"


def test_what_is_sealed_opens_for_its_person_only(tmp_path: Path) -> None:
    seal = SecretSeal(tmp_path / "deep" / "key")
    sealed = seal.seal("wei", SECRET)
    assert len(sealed) == 64, "as much as the column holds"
    assert SECRET not in sealed
    assert seal.seal("wei", SECRET) != sealed
    assert SecretSeal(tmp_path / "deep" / "key").open("wei", sealed) == SECRET
    with pytest.raises(CannotUnseal, match="not the key"):
        seal.open("eve", sealed)
    assert stat.S_IMODE((tmp_path / "deep" / "key").stat().st_mode) == 0o600


@pytest.mark.parametrize("fault", ["missing", "another", "readable", "torn"])
def test_without_its_key_nothing_opens_and_the_text_names_the_file(tmp_path: Path, fault: str) -> None:
    file = tmp_path / "key"
    sealed = SecretSeal(file).seal("wei", SECRET)
    if fault == "readable":
        file.chmod(0o644)
    elif fault == "torn":
        file.write_bytes(b"AAAA")
    else:
        file.unlink()
    if fault == "another":
        SecretSeal(file).seal("wei", SECRET)
    with pytest.raises(CannotUnseal, match=str(file)):
        SecretSeal(file).open("wei", sealed)


async def set_up(api: ApiServer) -> tuple[str, list[str]]:
    """A second factor for the demo's manager: its secret and recovery codes."""
    api.show("login-of-manager")
    begun = (await api.post(FACTOR, {"password": DEMO_PASSWORD}))[1]
    code = pyotp.TOTP(begun["secret"]).at(api.clock() // 1000)
    status, answer = await api.post(f"{FACTOR}/confirm", {"code": code})
    assert status == 200, answer
    api.clock.now += 60_000
    return begun["secret"], answer["codes"]


async def enter(api: ApiServer, code: str) -> tuple[int, Any]:
    api.log_out()
    return await api.post("/api/v1/session", {"username": "manager", "password": DEMO_PASSWORD, "code": code})


async def secret_of(api: ApiServer) -> str:
    return str({row["id"]: row["totp_secret"] for row in await rows_of(api.services.database, person)}[MANAGER])


async def test_who_reads_the_database_makes_no_code(api: ApiServer) -> None:
    secret, _ = await set_up(api)
    assert secret not in str(await rows_of(api.services.database, person))
    assert (await enter(api, pyotp.TOTP(secret).at(api.clock() // 1000)))[0] == 200


async def test_what_an_earlier_version_left_plain_is_good_and_sealed_at_the_next_start(api: ApiServer) -> None:
    await set_up(api)
    async with api.services.database.transaction() as connection:
        await connection.execute(update(person).where(person.c.id == MANAGER).values(totp_secret=SECRET))
    assert (await enter(api, pyotp.TOTP(SECRET).at(api.clock() // 1000)))[0] == 200
    await api.people.second_factors.seal_plain()
    sealed = await secret_of(api)
    assert len(sealed) == 64
    await api.people.second_factors.seal_plain()
    assert await secret_of(api) == sealed, "once"
    api.clock.now += 60_000
    assert (await enter(api, pyotp.TOTP(SECRET).at(api.clock() // 1000)))[0] == 200


async def test_where_the_key_is_lost_a_recovery_code_lets_in_and_a_code_of_the_phone_does_not(
    api: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret, recovery = await set_up(api)
    api.people.passwords._seal = SecretSeal(tmp_path / "lost")
    status, problem = await enter(api, pyotp.TOTP(secret).at(api.clock() // 1000))
    assert (status, problem["code"]) == (401, "second_factor_wrong")
    assert "gengfu user reset NAME --second-factor" in capsys.readouterr().out
    assert (await enter(api, recovery[0]))[0] == 200
