"""Which errors of a database pass by themselves, and which no further try can mend: on real files and servers."""

import contextlib
import os
import sqlite3
from pathlib import Path
from unittest.mock import Mock

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from gateway.storage.database import Database
from gateway.storage.database_errors import (
    POSTGRES_PASSING_CLASSES,
    POSTGRES_PERMANENT_CLASSES,
    SQLITE_PASSING,
    SQLITE_PERMANENT,
    DatabaseFault,
    DatabaseTrouble,
    sort_postgres,
    sort_sqlite,
    unreachable,
)
from tests.builders.alarms import sqlite_address


async def run(database: Database, statement: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    ["SELECT no_such_column FROM site", "SELECT * FROM no_such_table", "SELEKT 1", "UPDATE site SET nothing = 1"],
    ids=["column", "table", "syntax", "column written"],
)
async def test_a_schema_that_is_not_ours_is_a_fault_that_no_further_try_mends(
    database: Database, statement: str
) -> None:
    with pytest.raises(DatabaseFault) as found:
        await run(database, statement)
    assert not isinstance(found.value, DatabaseTrouble)
    await run(database, "SELECT 1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "own.db"
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE thing (id INTEGER PRIMARY KEY, text TEXT)")
        connection.executemany("INSERT INTO thing (text) VALUES (?)", [("x" * 200,)] * 500)
    return file


async def failure(file: Path, statement: str) -> Exception:
    database = Database(sqlite_address(file))
    try:
        with pytest.raises(Exception) as found:  # noqa: PT011 - which one it is, is the question
            await run(database, statement)
    finally:
        await database.close()
    return found.value


async def test_a_damaged_file_is_a_fault(file: Path) -> None:
    with file.open("r+b") as damaged:
        damaged.seek(4096)
        damaged.write(os.urandom(4096 * 8))
    error = await failure(file, "SELECT sum(length(text)) FROM thing")
    assert isinstance(error, DatabaseFault)
    assert "malformed" in str(error)


async def test_a_file_that_is_no_database_is_a_fault(file: Path) -> None:
    file.write_bytes(os.urandom(8192))
    error = await failure(file, "SELECT 1 FROM thing")
    assert not isinstance(error, DatabaseTrouble)


async def test_a_file_that_somebody_locks_passes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(sqlite_address(file))
    async with database.reading() as connection:
        await connection.execute(text("PRAGMA busy_timeout = 0"))
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseTrouble):
            await run(database, "INSERT INTO thing (text) VALUES ('')")
        other.execute("ROLLBACK")
    await run(database, "INSERT INTO thing (text) VALUES ('')")
    await database.close()


def of_sqlite(code: int) -> BaseException | None:
    error = sqlite3.OperationalError("as the driver says it")
    error.sqlite_errorcode = code
    return sort_sqlite(Mock(original_exception=error, statement="SELECT 1"))


def of_postgres(state: str) -> BaseException | None:
    error = Exception("as the server says it")
    error.sqlstate = state  # type: ignore[attr-defined]
    return sort_postgres(Mock(original_exception=error, statement="SELECT 1"))


@pytest.mark.parametrize("code", sorted(SQLITE_PASSING))
def test_each_code_that_passes_is_tried_again(code: int) -> None:
    assert isinstance(of_sqlite(code), OperationalError)
    assert isinstance(of_sqlite(code | 5 << 8), OperationalError), "an extended code counts as its primary one"


@pytest.mark.parametrize("code", [*sorted(SQLITE_PERMANENT), sqlite3.SQLITE_IOERR_CORRUPTFS])
def test_each_code_that_never_passes_is_a_fault(code: int) -> None:
    assert isinstance(of_sqlite(code), DatabaseFault)


def test_no_code_is_both() -> None:
    assert not SQLITE_PASSING & SQLITE_PERMANENT
    assert not POSTGRES_PASSING_CLASSES & POSTGRES_PERMANENT_CLASSES


@pytest.mark.parametrize("state", ["08006", "40001", "40P01", "53100", "53300", "57014", "57P01", "57P03", "58030",
                                   "25006", "25P03", "55P03"])  # fmt: skip
def test_each_state_of_a_server_that_passes_is_tried_again(state: str) -> None:
    assert isinstance(of_postgres(state), OperationalError)


@pytest.mark.parametrize("state", ["42703", "42P01", "42601", "42501", "0A000", "XX001", "XX002", "58P01"])
def test_each_state_of_a_server_that_never_passes_is_a_fault(state: str) -> None:
    assert isinstance(of_postgres(state), DatabaseFault)


@pytest.mark.parametrize("error", [FileNotFoundError(2, "gone"), PermissionError(13, "no"), OSError(28, "full")])
def test_an_error_of_some_file_is_no_trouble_of_the_database(error: OSError) -> None:
    assert not isinstance(error, DatabaseTrouble)


@pytest.mark.parametrize(
    "error", [OSError(113, "no route"), OSError(101, "no network"), ConnectionRefusedError(111, "")]
)
def test_a_server_that_cannot_be_reached_is_trouble_that_passes(error: OSError) -> None:
    assert isinstance(unreachable(error), DatabaseTrouble)


@pytest.mark.server
async def test_a_server_whose_name_nobody_knows_is_trouble_that_passes() -> None:
    database = Database("postgresql+asyncpg://gengfu@no-such-host.invalid/gengfu")
    with pytest.raises(DatabaseTrouble):
        await run(database, "SELECT 1")
    await database.close()
