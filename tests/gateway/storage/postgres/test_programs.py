"""A PostgreSQL is dumped while others write it, and goes back into an empty database only."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from gateway.backup.backup import make_backup
from gateway.backup.restore import NotEmpty, restore_backup
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.postgres.programs import ProgramFailed, check_dump, dump
from gateway.storage.tables import audit
from tests.builders.alarms import T0, rows_of
from tests.builders.audit_book import Book, open_book
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.server


@pytest.fixture
def engine() -> str:
    return "postgres"


@pytest.fixture
async def book(database: Database, tmp_path: Path) -> Book:
    book = await open_book(database, tmp_path)
    await book.write_days(2)
    return book


async def test_what_is_restored_into_an_empty_database_is_what_was_there(
    book: Book, postgres: Postgres, tmp_path: Path
) -> None:
    url, empty = book.database.engine.url, postgres.new_name()
    settings = Settings(storage={"data_dir": tmp_path})  # type: ignore[arg-type]
    made = await make_backup(settings, url, tmp_path / "b", T0, lambda _: None, with_history=False)
    address = postgres.create(empty)
    await restore_backup(made.file, tmp_path / "new", "", make_url(address), lambda _: None)
    restored = Database(address)
    assert await rows_of(restored, audit) == await rows_of(book.database, audit)
    assert await Book(restored, tmp_path / "new", book.epoch).check() == await book.check()
    await restored.close()
    with pytest.raises(NotEmpty, match="has tables"):
        await restore_backup(made.file, tmp_path / "again", "", make_url(address), lambda _: None)
    assert not (tmp_path / "again").exists()
    postgres.drop(empty)


async def test_a_server_that_says_no_is_said_in_its_own_words(postgres: Postgres, tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="does not exist"):
        await dump(make_url(postgres.url("nowhere")), tmp_path / "x.dump")
    (tmp_path / "y.dump").write_bytes(b"no dump")
    with pytest.raises(ProgramFailed, match="pg_restore"):
        await check_dump(tmp_path / "y.dump")


async def test_a_missing_program_is_said_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProgramFailed, match="postgresql-client"):
        await check_dump(tmp_path / "y.dump")
