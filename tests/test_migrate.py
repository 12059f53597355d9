"""Migrations: they make the tables that the program uses, keep what is there, and copy it first."""

import sqlite3
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, insert, inspect, update

from gateway.storage.database import Database
from gateway.storage.migrate import migrate, newest_revision
from gateway.storage.tables import metadata, site
from tests.builders import T0, rows_of, sqlite_address


async def test_the_migrations_make_exactly_the_tables_of_the_program(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

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


async def test_an_older_database_is_copied_before_it_is_changed(tmp_path: Path, monkeypatch) -> None:
    """An older revision is pretended, and the upgrade is left out."""
    file = tmp_path / "gengfu.db"
    database = Database(sqlite_address(file))
    await migrate(database, tmp_path)
    row = {"code": "HQ", "name": {"en": "HQ", "zh-CN": "总部"}, "time_zone": "UTC", "created_at": T0}
    async with database.transaction() as connection:
        await connection.execute(insert(site).values(row))
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    monkeypatch.setattr("gateway.storage.migrate._upgrade", lambda _connection: None)
    copy = await migrate(database, tmp_path)
    assert copy == f"{file}.before-0000.backup"
    async with database.transaction() as connection:
        await connection.execute(update(site).values(time_zone="Asia/Shanghai"))
    with sqlite3.connect(copy) as copied:
        assert copied.execute("SELECT code, time_zone FROM site").fetchall() == [("HQ", "UTC")]
    copied.close()
    assert await migrate(database, tmp_path, backup=False) is None
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
    assert newest_revision() == "0002"
