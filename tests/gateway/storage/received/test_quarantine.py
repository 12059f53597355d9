"""Quarantine: what could not be read is kept, newest first, within a limit, also through trouble."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import OperationalError

from collectors.message_reader import Quarantined
from gateway.storage.database import Database
from gateway.storage.received import quarantine
from gateway.storage.received.quarantine import Quarantine, newest_quarantined
from gateway.storage.transaction import Transaction
from tests.builders.alarms import T0


def message(number: int) -> Quarantined:
    return Quarantined(T0 + number, f"gengfu/x/{number}", b"\x00\xff", 2, "not_json", "a detail")


async def test_messages_are_kept_newest_first_and_page_by_page(database: Database) -> None:
    await Quarantine(database, CollectorRegistry()).keep([message(number) for number in range(5)])
    first = await newest_quarantined(database, None, 2)
    assert [row["topic"] for row in first] == ["gengfu/x/4", "gengfu/x/3"]
    assert (first[0]["payload"], first[0]["size"], first[0]["reason"]) == (b"\x00\xff", 2, "not_json")
    second = await newest_quarantined(database, first[-1]["id"], 10)
    assert [row["topic"] for row in second] == ["gengfu/x/2", "gengfu/x/1", "gengfu/x/0"]


async def test_beyond_the_limit_of_rows_the_oldest_are_forgotten(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "KEPT", 3)
    aside = Quarantine(database, registry := CollectorRegistry())
    for number in range(0, 10, 2):
        await aside.keep([message(number), message(number + 1)])
    kept = await newest_quarantined(database, None, 100)
    assert [row["received_at"] - T0 for row in kept] == [9, 8, 7]
    assert forgotten(registry) == 7
    await aside.keep([message(number) for number in range(100, 120)])  # more than all room at once
    assert forgotten(registry) == 27
    kept = await newest_quarantined(database, None, 100)
    assert [row["received_at"] - T0 for row in kept] == [119, 118, 117]


async def test_a_topic_that_does_not_stop_takes_its_share_of_a_minute_and_is_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "KEPT_OF_TOPIC", 3)
    monkeypatch.setattr(quarantine, "KEPT_OF_MINUTE", 5)
    aside = Quarantine(database, registry := CollectorRegistry())
    loud = [Quarantined(T0 + number, "loud", b"x", 1, "not_json", "d") for number in range(10)]
    await aside.keep([*loud, *(message(number) for number in range(4))])
    assert await topics(database) == ["loud"] * 3 + ["gengfu/x/0", "gengfu/x/1"]
    await aside.keep(loud)
    assert registry.get_sample_value("gengfu_quarantine_dropped_total") == 7 + 2 + 10
    await aside.keep([Quarantined(T0 + 60_000, "loud", b"x", 1, "not_json", "d")])
    assert (await topics(database))[-1] == "loud", "in the next minute it is heard again"


async def topics(database: Database) -> list[str]:
    return [row["topic"] for row in reversed(await newest_quarantined(database, None, 100))]


async def test_beyond_the_limit_of_bytes_the_oldest_are_forgotten(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "KEPT_BYTES", 1_000)
    monkeypatch.setattr(quarantine, "_MEASURED_EVERY", 250)
    aside = Quarantine(database, registry := CollectorRegistry())
    for number in range(50):
        payload = b"x" * (10 + number % 7 * 20)
        await aside.keep([Quarantined(T0 + number, "t", payload, len(payload), "not_json", "d")])
        kept = await newest_quarantined(database, None, 100)
        size = sum(len(row["payload"]) + 2 for row in kept)
        assert size <= 1_000 + 250, "measured again after each 250 bytes"
        assert [row["received_at"] - T0 for row in kept] == list(range(number, number - len(kept), -1))
    assert forgotten(registry) == 50 - len(kept) > 20


def forgotten(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("gengfu_quarantine_evicted_total")


async def test_what_an_earlier_run_left_counts_too(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await Quarantine(database, CollectorRegistry()).keep([message(number) for number in range(20)])
    monkeypatch.setattr(quarantine, "KEPT_BYTES", 100)
    await Quarantine(database, registry := CollectorRegistry()).keep([message(20)])
    assert forgotten(registry) == 21 - len(await newest_quarantined(database, None, 100)) > 10


async def test_a_message_with_letters_that_no_database_takes_is_kept_all_the_same(database: Database) -> None:
    await Quarantine(database, CollectorRegistry()).keep(
        [Quarantined(T0, "a\x00b", b"", 0, "not_json", "\ud800 in it")]
    )
    (row,) = await newest_quarantined(database, None, 10)
    assert (row["topic"], row["detail"]) == ("a\ufffdb", "? in it")


async def test_through_trouble_they_are_kept_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = database.transaction, [OperationalError("COMMIT", {}, Exception("locked"))] * 2

    @contextlib.asynccontextmanager
    async def transaction() -> AsyncIterator[Transaction]:
        async with real() as connection:
            yield connection
            if failures:
                raise failures.pop()

    monkeypatch.setattr(database, "transaction", transaction)
    monkeypatch.setattr(quarantine, "_RETRY_S", 0.001)
    await Quarantine(database, CollectorRegistry()).keep([message(1)])
    assert failures == []
    assert len(await newest_quarantined(database, None, 10)) == 1
