"""`gengfu user` as people type it: accounts, roles, logins and tokens, and what is refused in one sentence."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.storage.database import Database
from gateway.storage.tables import audit
from tests.builders.alarms import rows_of, sqlite_address
from tests.servers.service import GENGFU

PASSWORD = "nine kettles sing before dawn"
Done = subprocess.CompletedProcess[str]
Type = Callable[..., Done]


@pytest.fixture
def user(tmp_path: Path) -> Type:
    """Type `gengfu user ...` in an empty folder; `password` is what stands on standard input."""

    def run(*arguments: str, password: str = "") -> Done:
        return subprocess.run(
            [GENGFU, "user", *arguments, "--data-dir", str(tmp_path / "data")], input=password, capture_output=True,
            text=True, timeout=120, check=False, cwd=tmp_path, env={**os.environ},
        )  # fmt: skip

    return run


def good(done: Done) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(done: Done) -> str:
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


async def test_a_life_of_an_account(user: Type, tmp_path: Path) -> None:
    assert "No accounts yet" in good(user("list"))
    assert "admin" in good(user("add", "ann", password=f"{PASSWORD}\n")), "the first is an administrator's"
    added = good(user("add", "wei", "--name", "张伟", "--role", "operator", "--role", "guard@hq", password=PASSWORD))
    assert "wei  张伟  operator, guard@hq  never seen" in added
    assert "has no role yet" in good(user("add", "bo", password=PASSWORD))
    assert "shift_leader@hq" in good(user("grant", "wei", "shift_leader", "--site", "hq"))
    assert "operator" not in good(user("revoke", "wei", "operator"))
    assert "disabled" in good(user("disable", "WEI"))
    assert "disabled" not in good(user("enable", "wei"))
    assert "new password" in good(user("reset", "wei", "--second-factor", password=PASSWORD))
    assert good(user("logins", "wei")) == ""
    assert "forgotten" in good(user("forget", "bo", "--yes"))
    assert "Aborted" in refused(user("forget", "wei")), "it is asked first"
    assert [line.split()[0] for line in good(user("list")).splitlines()] == ["ann", "wei"]
    database = Database(sqlite_address(tmp_path / "data" / "gengfu.db"))
    rows = await rows_of(database, audit)
    await database.close()
    assert [row["act"] for row in rows] == [
        "person.add", "person.add", "person.add", "person.grant", "person.revoke", "person.disable", "person.enable",
        "person.reset", "person.forget",
    ]  # fmt: skip
    assert {(row["actor"], row["via"]) for row in rows} == {("system:command", "command")}
    assert all(row["origin"] for row in rows), "the user of the operating system"


def test_what_cannot_be_done_is_said_in_one_sentence(user: Type) -> None:
    assert "standard input" in refused(user("add", "ann"))
    assert "at least 15 characters" in refused(user("add", "ann", password="short\n"))
    assert "easy to guess" in refused(user("add", "ann", password="password1234567\n"))
    assert "letters, digits" in refused(user("add", "a b", password=PASSWORD))
    assert "is not a role" in refused(user("add", "ann", "--role", "king", password=PASSWORD))
    good(user("add", "ann", password=PASSWORD))
    assert "taken" in refused(user("add", "ann", "--role", "guard", password=PASSWORD))
    assert "last administrator" in refused(user("disable", "ann"))
    assert "last administrator" in refused(user("revoke", "ann", "admin"))
    assert "last administrator" in refused(user("forget", "ann", "--yes"))
    assert "no such account" in refused(user("disable", "nobody"))
    assert "no such login" in refused(user("logins", "ann", "--end", "nothing"))
    assert "no such token" in refused(user("token", "revoke", "nothing"))
    assert "a token cannot permit manage_people" in refused(user("token", "add", "m", "--act", "manage_people"))


def test_a_password_is_never_an_argument(user: Type) -> None:
    assert "password" not in user("add", "--help").stdout.replace("Prompts for the password", "").split("Options")[1]


def test_a_token_is_shown_once(user: Type) -> None:
    done = user("token", "add", "prometheus", "--act", "read_metrics", "--days", "30")
    secret = good(done).strip()
    assert secret.startswith("gengfu_")
    listed = good(user("token", "list"))
    assert "prometheus" in listed
    assert "read_metrics on *" in listed
    assert secret not in listed
    identity = listed.split()[0]
    assert "is revoked" in good(user("token", "revoke", identity))
    assert "revoked" in good(user("token", "list"))
