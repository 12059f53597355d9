"""Migrations: they make the tables that the program uses, keep what is there, and copy it first."""

import asyncio
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, insert, inspect, update

from gateway.storage.database import Database
from gateway.storage.migrate import (
    DatabaseRefused,
    NoBackup,
    _config,
    migrate,
    migrate_when_there,
    newest_revision,
)
from gateway.storage.records import NewFact
from gateway.storage.tables import fact, metadata, site
from tests.builders.alarms import T0, rows_of, sqlite_address
from tests.servers.postgres import Postgres

HQ = {"code": "HQ", "name": {"en": "HQ", "zh-CN": "总部"}, "time_zone": "UTC", "created_at": T0}


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


async def test_the_migrations_make_exactly_the_tables_of_the_program(database: Database) -> None:
    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
        tables = await connection.run_sync(lambda plain: set(inspect(plain).get_table_names()))
    assert tables == set(metadata.tables) | {"alembic_version"}


async def test_a_new_database_needs_no_copy_and_a_second_time_does_nothing(tmp_path: Path) -> None:
    database = Database(sqlite_address(tmp_path / "new.db"))
    assert await migrate(database, tmp_path) is None
    assert await migrate(database, tmp_path) is None
    await database.close()
    assert [path.name for path in tmp_path.glob("*.backup")] == []


async def make_first_revision(address: str) -> Database:
    """A database as the first version made it, with something in it."""
    database = Database(address)
    async with database.transaction() as transaction:
        await transaction.run_sync(upgrade_to, "0001")
        await transaction.execute(insert(site), HQ)
        transaction.add_facts(NewFact(T0, "HQ", "alarm.raised", "an alarm"))
    return database


def upgrade_to(connection: Connection, revision: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@pytest.fixture
def empty_address(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without a table."""
    if engine == "sqlite":
        yield sqlite_address(tmp_path / "gengfu.db")
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.new_name()
    yield server.create(name)
    server.drop(name)


async def test_an_older_database_is_brought_to_this_version_with_what_is_in_it(
    empty_address: str, tmp_path: Path
) -> None:
    database = await make_first_revision(empty_address)
    copy = await migrate(database, tmp_path)
    assert copy is not None
    assert Path(copy).stat().st_size > 1_000
    assert [row["code"] for row in await rows_of(database, site)] == ["HQ"]
    assert [row["thing"] for row in await rows_of(database, fact)] == ["an alarm"]
    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    async with database.transaction() as transaction:  # numbers go on
        transaction.add_facts(NewFact(T0, "HQ", "alarm.raised", "another"))
    assert [row["id"] for row in await rows_of(database, fact)] == [1, 2]
    await database.close()


async def test_a_sqlite_file_is_copied_as_it_was_before(tmp_path: Path) -> None:
    file = tmp_path / "gengfu.db"
    database = await make_first_revision(sqlite_address(file))
    copy = await migrate(database, tmp_path / "elsewhere")
    assert copy == f"{file}.before-0001.backup"
    async with database.transaction() as connection:
        await connection.execute(update(site).values(time_zone="Asia/Shanghai"))
    with sqlite3.connect(copy) as copied:
        assert copied.execute("SELECT code, time_zone FROM site").fetchall() == [("HQ", "UTC")]
        assert copied.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
    copied.close()
    await database.close()


@pytest.mark.server
async def test_a_postgresql_is_dumped_into_the_data_folder_so_that_it_can_be_restored(
    postgres: Postgres, tmp_path: Path
) -> None:
    name, restored = postgres.new_name(), postgres.new_name()
    database = await make_first_revision(postgres.create(name))
    copy = await migrate(database, tmp_path / "data")
    await database.close()
    assert copy == str(tmp_path / "data" / f"{name}.before-0001.dump")
    assert Path(copy).stat().st_mode & 0o077 == 0  # everything is in it: for nobody else to read
    postgres.create(restored)
    restore = ["pg_restore", "--host=127.0.0.1", f"--port={postgres.port}", "--username=gengfu"]
    command_line = [*restore, f"--dbname={restored}", copy]
    await asyncio.to_thread(subprocess.run, command_line, check=True, timeout=60)
    assert postgres.run("SELECT code, time_zone FROM site", restored) == [("HQ", "UTC")]
    assert postgres.run("SELECT version_num FROM alembic_version", restored) == [("0001",)]


@pytest.mark.server
@pytest.mark.parametrize("found", [None, shutil.which("false")], ids=["no pg_dump", "pg_dump fails"])
async def test_a_postgresql_that_cannot_be_copied_is_not_changed_until_somebody_says_so(
    found: str | None, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _program: found)
    name = postgres.new_name()
    database = await make_first_revision(postgres.create(name))
    with pytest.raises(NoBackup, match="Copy it yourself, then run gengfu migrate --without-backup"):
        await migrate(database, tmp_path)
    assert postgres.run("SELECT version_num FROM alembic_version", name) == [("0001",)]
    assert await migrate(database, tmp_path, backup=False) is None
    assert postgres.run("SELECT version_num FROM alembic_version", name) == [(newest_revision(),)]
    await database.close()


@pytest.mark.server
async def test_two_services_that_start_at_once_on_an_empty_postgresql_make_the_tables_once(
    postgres: Postgres, tmp_path: Path
) -> None:
    address = postgres.create(postgres.new_name())
    both = [Database(address), Database(address)]
    await asyncio.gather(*(migrate_when_there(database, tmp_path) for database in both))
    assert await rows_of(both[0], site) == []
    for database in both:
        await database.close()


@pytest.mark.server
async def test_a_postgresql_that_does_not_know_us_ends_the_start_with_one_sentence(
    postgres: Postgres, tmp_path: Path
) -> None:
    database = Database(postgres.url("nowhere"))
    with pytest.raises(DatabaseRefused, match=r'database "nowhere" does not exist; see storage\.database_url'):
        await migrate_when_there(database, tmp_path)
    await database.close()


async def test_every_transaction_on_sqlite_is_durable_and_checked(tmp_path: Path) -> None:
    database = Database(sqlite_address(tmp_path / "gengfu.db"))
    await migrate(database, tmp_path)
    async with database.reading() as connection:
        for pragma, value in [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)]:
            found = await connection.exec_driver_sql(f"PRAGMA {pragma}")
            assert found.scalar() == value, pragma
    assert await rows_of(database, site) == []
    await database.close()
    assert newest_revision() == "0018"
