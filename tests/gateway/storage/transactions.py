"""Counts the rows that each transaction of a database removes."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Table

from gateway.storage.database import Database
from gateway.storage.transaction import Transaction
from tests.builders.alarms import rows_of


class Transactions:
    """Counts what each transaction removes from some tables, by what is left after it."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch, *tables: Table) -> None:
        self.removed: list[int] = []
        begin = database.transaction

        async def left() -> int:
            return sum([len(await rows_of(database, table)) for table in tables])

        @contextlib.asynccontextmanager
        async def counted() -> AsyncIterator[Transaction]:
            before = await left()
            async with begin() as connection:
                yield connection
            self.removed.append(before - await left())

        monkeypatch.setattr(database, "transaction", counted)
