"""What an operator reads of a database or disk in trouble: a sentence, never a driver's text."""

import asyncio
import contextlib
import errno
import re
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from collectors.disk.trouble_words import words_for_file
from gateway.storage.database import Database
from gateway.storage.database_errors import POSTGRES_PASSING_CLASSES, SQLITE_PASSING, SQLITE_PERMANENT, DatabaseTrouble
from gateway.storage.outbox.isolate_failure import reason_of
from gateway.storage.trouble_words import in_plain_words
from tests.builders.alarms import sqlite_address
from tests.servers.postgres import Postgres

RAW = re.compile(r"sqlite3|asyncpg|sqlalche|SELECT|INSERT|Background on|Errno|\(|Error", re.IGNORECASE)


class OfServer(Exception):
    """A fake: an error of PostgreSQL's driver."""

    def __init__(self, state: str) -> None:
        super().__init__("asyncpg.exceptions: could not extend file")
        self.sqlstate = state


@pytest.mark.parametrize("code", sorted(SQLITE_PASSING | SQLITE_PERMANENT))
def test_every_code_of_sqlite_has_a_sentence_without_the_drivers_text(code: int) -> None:
    cause = sqlite3.OperationalError("sqlite3: database or disk is full")
    cause.sqlite_errorcode = code
    words = in_plain_words(DBAPIError("INSERT INTO alarm", {"secret": 1}, cause))
    assert words
    assert not RAW.search(words)


@pytest.mark.parametrize("state", [*(f"{found}000" for found in sorted(POSTGRES_PASSING_CLASSES)), "42P01", "XX001"])
def test_every_class_of_postgresql_has_a_sentence_without_the_drivers_text(state: str) -> None:
    assert not RAW.search(in_plain_words(DBAPIError("SELECT 1", {}, OfServer(state))))


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_error_of_a_file_says_which_file_and_what_to_do(number: int) -> None:
    words = words_for_file(OSError(number, "raw", "/x"))
    assert not RAW.search(words)
    assert words.endswith("; the file is /x")
    assert "cannot be used now" not in words


def test_the_errors_that_really_happen_to_files_have_a_remedy_each() -> None:
    numbers = (errno.EACCES, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOTDIR, errno.ESTALE)
    told = {words_for_file(OSError(number, "raw")).partition(": ")[2] for number in numbers}
    assert len(told) == len(numbers)


@pytest.mark.parametrize("error", [ConnectionRefusedError(111, "raw"), TimeoutError(), SQLAlchemyError("raw SELECT")])
def test_a_server_that_does_not_answer_has_a_sentence(error: Exception) -> None:
    assert not RAW.search(in_plain_words(error))


async def _run(database: Database, statement: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(text(statement))


async def _write_too_much(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("PRAGMA max_page_count = 2"))
        await connection.execute(text("INSERT INTO thing VALUES (:text)"), {"text": "x" * 100_000})


@pytest.mark.server
async def test_a_full_disk_of_the_postgresql_server_is_said_so_and_passes(postgres: Postgres) -> None:
    database = Database(postgres.create(postgres.new_name()))
    try:
        with pytest.raises(DatabaseTrouble) as found:
            await _run(database, "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '53100'; END $$")
        assert in_plain_words(found.value) == "the disk of the PostgreSQL server is full: free space there"
    finally:
        await database.close()


async def test_sqlite_that_finds_no_room_has_some_made_and_the_next_try_works(tmp_path: Path) -> None:
    """The limit of pages is what SQLite itself takes for a full disk."""
    file, asked = tmp_path / "gengfu.db", list[bool]()
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE thing (text TEXT)")

    def make_room(*, surely: bool = True) -> bool:
        asked.append(surely)
        return True

    database = Database(sqlite_address(file), make_room=make_room)
    try:
        with pytest.raises(DatabaseTrouble) as found:
            await _write_too_much(database)
        assert asked == [True]
        assert (database.take_made_room(), database.take_made_room()) == (True, False)
        assert "the disk is full" in in_plain_words(found.value)
        assert "the disk is full" in reason_of(found.value)
    finally:
        await asyncio.shield(database.close())
