"""Quarantine: what could not be read is kept, newest first, within a limit, also through trouble."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from collectors.collector import Quarantined
from gateway.storage import quarantine
from gateway.storage.database import Database
from gateway.storage.quarantine import keep_quarantined, newest_quarantined
from tests.builders import T0


def message(number: int) -> Quarantined:
    return Quarantined(T0 + number, f"gengfu/x/{number}", b"\x00\xff", 2, "not_json", "a detail")


async def test_messages_are_kept_newest_first_and_page_by_page(database: Database) -> None:
    await keep_quarantined(database, [message(number) for number in range(5)])
    first = await newest_quarantined(database, None, 2)
    assert [row["topic"] for row in first] == ["gengfu/x/4", "gengfu/x/3"]
    assert (first[0]["payload"], first[0]["size"], first[0]["reason"]) == (b"\x00\xff", 2, "not_json")
    second = await newest_quarantined(database, first[-1]["id"], 10)
    assert [row["topic"] for row in second] == ["gengfu/x/2", "gengfu/x/1", "gengfu/x/0"]


async def test_beyond_the_limit_the_oldest_are_forgotten(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "KEPT", 3)
    for number in range(0, 10, 2):
        await keep_quarantined(database, [message(number), message(number + 1)])
    kept = await newest_quarantined(database, None, 100)
    assert [row["received_at"] - T0 for row in kept] == [9, 8, 7]
    await keep_quarantined(database, [message(number) for number in range(100, 120)])  # more than all room at once
    kept = await newest_quarantined(database, None, 100)
    assert [row["received_at"] - T0 for row in kept] == [119, 118, 117]


async def test_a_message_with_letters_that_no_database_takes_is_kept_all_the_same(database: Database) -> None:
    await keep_quarantined(database, [Quarantined(T0, "a\x00b", b"", 0, "not_json", "\ud800 in it")])
    (row,) = await newest_quarantined(database, None, 10)
    assert (row["topic"], row["detail"]) == ("a\ufffdb", "? in it")


async def test_through_trouble_they_are_kept_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = database.transaction, [OperationalError("COMMIT", {}, Exception("locked"))] * 2

    @contextlib.asynccontextmanager
    async def transaction() -> AsyncIterator[AsyncConnection]:
        async with real() as connection:
            yield connection
            if failures:
                raise failures.pop()

    monkeypatch.setattr(database, "transaction", transaction)
    monkeypatch.setattr(quarantine, "_RETRY_S", 0.001)
    await keep_quarantined(database, [message(1)])
    assert failures == []
    assert len(await newest_quarantined(database, None, 10)) == 1
