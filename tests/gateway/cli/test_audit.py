"""`gengfu verify-audit`, as it is typed."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.main import cli
from gateway.storage.database import Database
from tests.builders.alarms import sqlite_address
from tests.builders.audit_book import Book, open_book
from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service, wait_until

RUNNER = CliRunner()


@pytest.fixture
async def book(migrated_file: Path, tmp_path: Path) -> Book:
    shutil.copy(migrated_file, tmp_path / "gengfu.db")
    database = Database(sqlite_address(tmp_path / "gengfu.db"))
    book = await open_book(database, tmp_path)
    await book.write_days(2)
    await database.close()
    return book


def verify(folder: Path, *options: str) -> tuple[int, str]:
    result = RUNNER.invoke(cli, ["verify-audit", "--data-dir", str(folder), *options])
    return result.exit_code, result.output


def test_a_whole_audit_is_said_to_be_whole(book: Book, tmp_path: Path) -> None:
    code, output = verify(tmp_path, "--checkpoints", str(book.checkpoints))
    assert (code, output) == (0, "8 rows (1 to 8), 2 signed days, 2 checkpoints, 1 heads\nThe audit is whole.\n")


def test_a_changed_row_is_named_and_the_command_fails(book: Book, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "gengfu.db")) as database, database:
        database.execute("UPDATE audit SET thing = 'another' WHERE seq = 3")
    code, output = verify(tmp_path)
    assert code == 1
    assert "changed: row 3 was changed" in output
    assert "gengfu: the audit is not whole" in output


@pytest.mark.parametrize("text", ["{", "[1, 2]", '{"last": "x"}', ""])
def test_a_body_that_is_nothing_is_a_changed_row_and_no_crash(book: Book, tmp_path: Path, text: str) -> None:
    with closing(sqlite3.connect(tmp_path / "gengfu.db")) as database, database:
        database.execute("UPDATE audit SET before = ?, act = 'audit.erase' WHERE seq = 3", (text,))
    code, output = verify(tmp_path)
    assert (code, "changed: row 3 was changed" in output) == (1, True)


def test_an_export_is_verified_with_nothing_but_the_public_key(book: Book, tmp_path: Path) -> None:
    file, elsewhere = tmp_path / "audit.jsonl", tmp_path / "elsewhere"
    assert verify(tmp_path, "--export", str(file))[0] == 0
    (key,) = book.checkpoints.glob("*.pub")
    code, output = verify(elsewhere, "--file", str(file), "--key", str(key))
    assert (code, output.splitlines()[-1]) == (0, "The audit is whole.")
    file.write_text(file.read_text().replace("p-7", "p-8", 1))
    assert verify(elsewhere, "--file", str(file), "--key", str(key))[0] == 1


def test_where_there_is_nothing_to_verify_it_says_what_to_do(book: Book, tmp_path: Path) -> None:
    code, output = verify(tmp_path / "nowhere")
    assert code == 1
    assert "give one with --key" in output
    (key,) = book.checkpoints.glob("*.pub")
    code, output = verify(tmp_path / "nowhere", "--key", str(key))
    assert code == 1
    assert "name its folder with --data-dir" in output


@pytest.mark.parametrize(
    ("revision", "told"),
    [("0004", "older version"), (None, "no tables of Gengfu"), ("9999", "later version")],
)
def test_a_database_of_another_version_is_said_to_be_so_and_what_to_do(
    book: Book, tmp_path: Path, revision: str | None, told: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "gengfu.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?" if revision else "DROP TABLE alembic_version",
                         (revision,) if revision else ())  # fmt: skip
        database.execute("DROP TABLE audit_day")
    code, output = verify(tmp_path)
    assert (code, told in output, "Traceback" in output) == (1, True, False)
    assert len(output.strip().splitlines()) == 1


@pytest.mark.server
def test_a_key_that_cannot_be_used_is_told_and_keeps_no_service_from_its_watch(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "audit.key").write_text("readable by all")
    (folder / "audit.key").chmod(0o644)
    service = Service(folder, mosquitto.port)
    try:
        service.start_ready()
        wait_until(lambda: "chmod 600" in service.get("/readyz")["components"]["audit"], "it is told")
        (folder / "audit.key").unlink()
        wait_until(lambda: service.get("/readyz")["components"]["audit"] == "ready", "a new key is made")
        assert service.is_ready()
    finally:
        service.kill()
