"""`gengfu backup` and `gengfu restore` as they are typed, on a service under load that then dies."""

import json
import shutil
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.main import cli
from tests.builders.photos import photo
from tests.faults.load import load_on
from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service, wait_until

RUNNER = CliRunner()
SECRET = {"GENGFU_BACKUP__PASSPHRASE": "correct horse battery staple"}
TABLES = {
    "alarm": "id", "activation": "id", "ticket": "number", "event": "digest", "audit": "id", "journal": "id",
    "attachment": "id",
}  # fmt: skip


def gengfu(*arguments: str | Path, answer: str = "", **environment: str) -> Result:
    return RUNNER.invoke(cli, [str(argument) for argument in arguments], env=environment, input=answer)


@pytest.fixture
def service(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "data", mosquitto.port)
    yield service
    service.kill()


def keys(folder: Path) -> dict[str, set[str]]:
    with closing(sqlite3.connect(folder / "gengfu.db")) as database:
        return {
            table: {str(row[0]) for row in database.execute(f"SELECT {column} FROM {table}")}
            for table, column in TABLES.items()
        }


def rows(folder: Path, table: str) -> dict[str, tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "gengfu.db")) as database:
        found = database.execute(f"SELECT {TABLES[table]}, * FROM {table}").fetchall()
        return {str(row[0]): row[1:] for row in found}


def attach(service: Service) -> dict[str, Any]:
    """A photo to a ticket, while everything else goes on."""
    number = min(keys(service.folder)["ticket"])
    address = f"http://127.0.0.1:{service.http_port}/api/v1/tickets/{number}/attachments"
    request = urllib.request.Request(address, photo(), {"Content-Type": "image/jpeg"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        body: dict[str, Any] = json.load(answer)
    assert attachment_of(service, body["id"]) == body["sha256"]
    return body


def attachment_of(service: Service, identity: str) -> str:
    """Checksum of what is read."""
    address = f"http://127.0.0.1:{service.http_port}/api/v1/attachments/{identity}"
    with urllib.request.urlopen(address, timeout=10) as answer:
        return sha256(answer.read()).hexdigest()


@pytest.mark.server
@pytest.mark.timeout(240)
def test_a_service_that_died_under_load_comes_back_as_it_was_when_its_backup_was_made(
    service: Service, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    service.start_ready()
    with load_on(mosquitto) as load:
        wait_until(lambda: len(keys(service.folder)["ticket"]) > 10, "there is something to lose")
        attached = attach(service)
        before = keys(service.folder)
        made = gengfu("backup", "--to", tmp_path / "backups", "--data-dir", service.folder, "--with-history", **SECRET)
        assert made.exit_code == 0, made.output
        at_backup = keys(service.folder)
        wait_until(lambda: keys(service.folder)["alarm"] > at_backup["alarm"], "the load goes on")
        service.kill()
        lost = tmp_path / "lost"
        shutil.move(service.folder, lost)
        load.stop()
    (file,) = (tmp_path / "backups").glob("*.backup")
    result = gengfu("restore", file, "--into", service.folder, **SECRET)
    assert result.exit_code == 0, result.output

    restored = keys(service.folder)
    for table, wanted in before.items():
        assert wanted <= restored[table] <= keys(lost)[table], table
    for table in ("event", "audit"):  # what is never changed is the same to the letter, but for the seal
        there = rows(lost, table)
        assert {key: row[:11] for key, row in rows(service.folder, table).items()} == {
            key: there[key][:11] for key in restored[table]
        }
    verified = gengfu("verify-audit", "--data-dir", service.folder)
    assert (verified.exit_code, verified.output.splitlines()[-1]) == (0, "The audit is whole.")

    service.start_ready()
    assert attachment_of(service, attached["id"]) == attached["sha256"]
    wait_until(lambda: keys(service.folder)["alarm"] > restored["alarm"], "it takes up what the broker kept")
    assert service.stop() == 0
    assert gengfu("verify-audit", "--data-dir", service.folder).exit_code == 0


@pytest.fixture
def folder(migrated_file: Path, tmp_path: Path) -> Path:
    shutil.copy(migrated_file, tmp_path / "gengfu.db")
    return tmp_path


def test_a_passphrase_that_is_not_set_is_asked_for(folder: Path) -> None:
    assert gengfu("backup", "--to", folder / "b", "--data-dir", folder, **SECRET).exit_code == 0
    (file,) = (folder / "b").glob("*.backup")
    wrong = gengfu("restore", file, "--into", folder / "new", answer="wrong\n")
    assert (wrong.exit_code, "wrong passphrase" in wrong.output) == (1, True)
    right = gengfu("restore", file, "--into", folder / "new", answer=SECRET["GENGFU_BACKUP__PASSPHRASE"] + "\n")
    assert right.exit_code == 0, right.output
    assert (folder / "new" / "gengfu.db").is_file()


def test_each_mistake_is_one_sentence_that_says_what_to_do(folder: Path) -> None:
    (folder / "photo.jpg").write_bytes(b"no backup")
    for arguments, sentence in [
        (("backup", "--data-dir", folder), "name a folder with --to"),
        (("backup", "--to", folder / "b", "--data-dir", folder / "nowhere"), "name its folder with --data-dir"),
        (("restore", folder / "missing", "--into", folder / "new"), "No such file"),
        (("restore", folder / "photo.jpg", "--into", folder / "new"), "not a backup of Gengfu"),
    ]:
        result = gengfu(*arguments)
        assert (result.exit_code, sentence in result.output) == (1, True), result.output


def test_a_restore_refuses_a_folder_in_use(folder: Path) -> None:
    assert gengfu("backup", "--to", folder / "b", "--data-dir", folder).exit_code == 0
    (file,) = (folder / "b").glob("*.backup")
    result = gengfu("restore", file, "--into", folder)
    assert (result.exit_code, "is not empty" in result.output) == (1, True)
