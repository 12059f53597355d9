"""The sealer: every committed row gets its place, each day is signed, old days go whole and leave their signature."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from gateway.people.audit.key import Day, is_signed
from gateway.people.audit.sealer import _AT_ONCE, DAY_MS, ERASED
from gateway.storage.database import Database
from gateway.storage.leadership import lease
from gateway.storage.tables import audit, audit_day
from tests.builders.alarms import rows_of
from tests.builders.audit_book import KEPT_DAYS, Book, open_book


@pytest.fixture
async def book(database: Database, tmp_path: Path) -> Book:
    return await open_book(database, tmp_path)


async def test_rows_are_numbered_in_the_order_of_their_commits(book: Book) -> None:
    await book.write(3)
    await book.sealer.tick()
    await book.write(2)
    await book.sealer.tick()
    rows = await rows_of(book.database, audit)
    assert [(row["seq"], row["thing"]) for row in rows] == [(n, f"R-HQ-{n}") for n in range(1, 6)]
    assert await book.named() == []


async def test_a_row_says_who_with_which_role_and_from_where(book: Book) -> None:
    await book.write()
    (row,) = await rows_of(book.database, audit)
    assert (row["actor"], row["role"], row["via"], row["origin"]) == (
        "p-7",
        "operator,shift_leader",
        "web",
        "192.0.2.7",
    )
    assert (row["before"]["step"], row["after"]["state"], row["cause"]) == (1, "on_site", "alarm a-1")


async def test_a_row_that_becomes_visible_late_is_chained_all_the_same(book: Book) -> None:
    """On a database where a lower id may be committed after a higher one."""
    for identity in (1010, 1005):
        await book.write(1)
        await book.spoil("UPDATE audit SET id = :id WHERE seq IS NULL", id=identity)
        await book.sealer.tick()
    assert [(row["id"], row["seq"]) for row in await rows_of(book.database, audit)] == [(1005, 2), (1010, 1)]
    assert await book.named() == []


async def test_more_rows_than_one_pass_takes_are_sealed_in_one_tick(book: Book) -> None:
    await book.write(1)
    many = _AT_ONCE * 2
    await book.spoil(
        "INSERT INTO audit (at, site, actor, role, via, origin, act, thing, cause) WITH RECURSIVE n(i) AS"
        " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :many) SELECT i, '', 'x', '', '', '', '', '', '' FROM n",
        many=many,
    )
    await book.sealer.tick()
    proof = await book.check()
    assert (proof.rows, proof.findings) == (many + 1, ())


async def test_writers_go_on_while_rows_are_sealed(book: Book) -> None:
    """None of them is lost or doubled, whoever comes first."""

    async def seal() -> None:
        for _ in range(20):
            await book.sealer.tick()

    await asyncio.gather(seal(), *(book.write(5) for _ in range(8)))
    await book.sealer.tick()
    rows = await rows_of(book.database, audit)
    assert sorted(row["seq"] for row in rows) == list(range(1, 41))
    assert await book.named() == []


async def test_a_day_is_closed_signed_and_put_into_a_file_when_the_next_begins(book: Book) -> None:
    await book.write_days(2, rows=3)
    files = sorted(book.checkpoints.glob("*.json"))
    assert [file.name for file in files] == ["2025-11-22.json", "2025-11-23.json"]
    days = [msgspec.json.decode(file.read_bytes(), type=Day) for file in files]
    assert [(day.first, day.last, day.closed) for day in days] == [(1, 3, True), (4, 6, True)]
    assert days[1].previous == days[0].hash
    assert all(is_signed(day, book.keys) for day in days)
    assert [file.name for file in book.checkpoints.glob("*.pub")] == [
        file.name for file in book.key_file.parent.glob("*.pub")
    ]


async def test_a_checkpoint_that_was_written_is_never_written_over(book: Book) -> None:
    await book.write_days(1)
    (file,) = book.checkpoints.glob("*.json")
    file.write_text("mine")
    await book.spoil("UPDATE audit_day SET hash = :h", h="0" * 64)
    sealer = book.new_sealer()
    await sealer.tick()
    assert file.read_text() == "mine"
    assert str(file) in sealer.trouble, "that it is not the one of that day is told"


async def test_rows_are_sealed_also_where_no_checkpoint_can_be_written(book: Book) -> None:
    book.checkpoints.write_text("a file where the folder should be")
    assert book.sealer.findings() == {"audit_ok": True}, "nobody has tried yet"
    await book.write_days(2)
    assert await book.named() == []
    assert book.sealer.findings() == {"audit_ok": True, "checkpoint_ok": False}
    assert f"{book.checkpoints}: a file is where a folder should be" in book.sealer.trouble
    book.checkpoints.unlink()
    book.clock.now += 60 * 1000
    await book.sealer.tick()
    assert book.sealer.findings() == {"audit_ok": True, "checkpoint_ok": True}
    assert book.sealer.trouble == ""
    assert len(list(book.checkpoints.glob("*.json"))) == 2


async def test_a_clock_that_is_set_back_opens_no_day_again(book: Book) -> None:
    await book.write_days(1)
    book.clock.now -= 5 * DAY_MS
    await book.write(2)
    await book.sealer.tick()
    assert [row["day"] for row in await rows_of(book.database, audit_day)] == ["2025-11-22", "2025-11-23"]
    book.clock.now += 9 * DAY_MS
    await book.write(1)
    await book.sealer.tick()
    assert [row["day"] for row in await rows_of(book.database, audit_day)][2:] == ["2025-11-27"]
    assert await book.named() == []


async def test_another_sealer_goes_on_where_the_last_one_ended(book: Book) -> None:
    await book.write_days(1)
    await book.write(2)
    await book.sealer.tick()
    await book.write(2)
    await book.new_sealer().tick()
    proof = await book.check()
    assert (proof.rows, proof.days, proof.findings) == (8, 2, ())


async def test_who_has_lost_the_lease_seals_nothing(book: Book) -> None:
    await book.write()
    await lease.release(book.database, book.epoch)
    assert await lease.take(book.database, "another", book.clock())
    with pytest.raises(lease.LeaseLost):
        await book.sealer.tick()
    assert (await rows_of(book.database, audit))[0]["seq"] is None


async def test_only_whole_days_that_are_old_enough_go_and_what_was_signed_stays(book: Book) -> None:
    await book.write_days(3, rows=2)
    book.clock.now += (KEPT_DAYS - 2) * DAY_MS  # the first day ended that long ago, the second did not
    await book.sealer.tick()
    rows = await rows_of(book.database, audit)
    assert [row["seq"] for row in rows] == [3, 4, 5, 6, 7]
    assert rows[-1]["act"] == ERASED
    assert rows[-1]["before"] == {"day": "2025-11-22", "first": 1, "last": 2, "kept_days": KEPT_DAYS}
    assert len(await rows_of(book.database, audit_day)) == 4
    assert await book.named() == []


async def test_many_old_days_go_at_once_and_the_audit_stays_whole(book: Book) -> None:
    await book.write_days(6)
    book.clock.now += (KEPT_DAYS + 10) * DAY_MS
    await book.new_sealer().tick()
    rows = await rows_of(book.database, audit)
    assert {row["act"] for row in rows} == {ERASED}
    assert await book.named() == []
    book.clock.now += 2 * (KEPT_DAYS + 10) * DAY_MS
    await book.write_days(2)
    assert await book.named() == []
