"""A transaction holds up every other writer: nothing is done in one but statements. See `transaction_guard.py`."""

import asyncio
from pathlib import Path

import pytest

from gateway.storage.database import Database
from tests.gateway.storage import transaction_guard
from tests.gateway.storage.transaction_guard import Forbidden


async def test_a_file_that_is_read_inside_a_transaction_fails_the_test(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    async with database.transaction():
        with pytest.raises(Forbidden):
            file.read_text()
    assert len(transaction_guard.found) == 1
    transaction_guard.found.clear()
    assert file.read_text() == "x"


async def test_work_in_a_thread_inside_a_transaction_fails_the_test(database: Database) -> None:
    async with database.transaction():
        with pytest.raises(Forbidden):
            await asyncio.to_thread(str, 1)
    assert len(transaction_guard.found) == 1
    transaction_guard.found.clear()
    assert await asyncio.to_thread(str, 1) == "1"
