"""Whatever removes rows that may be very many does it in transactions of a bounded size. On both databases."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Table, insert

from collectors.chunks import FIRST
from collectors.message_reader import Quarantined
from gateway.people.accounts import new_row
from gateway.people.audit.entry import CLOCK
from gateway.people.authentication.login_rows import digest_of
from gateway.people.authentication.secret_seal import SecretSeal
from gateway.people.authentication.shared_throttle import SharedThrottle
from gateway.people.forgetting import forget_person
from gateway.people.people import People, make_people
from gateway.people.permissions import ALL_SITES, Role
from gateway.storage.database import Database
from gateway.storage.leadership import lease
from gateway.storage.leadership.lease import LeaseLost
from gateway.storage.queries.chunked_writes import ChunkedWrites, delete_in_chunks
from gateway.storage.received import quarantine
from gateway.storage.received.quarantine import Quarantine
from gateway.storage.tables import audit, event, known_device, login, login_failure, person, role_grant
from gateway.storage.tables import quarantine as quarantined
from tests.builders.alarms import T0, rows_of
from tests.builders.audit_book import KEPT_DAYS, Book
from tests.gateway.storage.transactions import Transactions
from tests.servers.api_server import login_row

MANY = 2 * FIRST.rows + 20
DAY_MS = 86_400_000


async def put(database: Database, table: Table, rows: list[dict[str, Any]]) -> None:
    async with database.transaction() as connection:
        await connection.execute(insert(table), rows)


def failures(account: str) -> list[dict[str, Any]]:
    return [{"digest": f"{at}", "account": account, "count": 1, "last_at": T0} for at in range(MANY)]


async def people_with(database: Database, folder: Path, *usernames: str) -> People:
    """Accounts; the first one is the administrator."""
    people = make_people(database, 15, SecretSeal(folder / "second_factor.key"), demo=False)
    names = {"en": "X", "zh-CN": "X"}
    await put(database, person, [new_row(f"p-{name}", name, names, "hash", T0, demo=False) for name in usernames])
    grants = [
        {"person": f"p-{name}", "site": ALL_SITES, "role": role.value, "granted_at": T0}
        for name, role in zip(usernames, (Role.ADMIN, Role.GUARD), strict=False)
    ]
    await put(database, role_grant, grants)
    await people.accounts.refresh()
    return people


def bounded(counted: Transactions, total: int = MANY) -> bool:
    return sum(counted.removed) == total and max(counted.removed) < total


async def test_failed_logins_that_count_no_more(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(database, login_failure, failures(""))
    counted = Transactions(database, monkeypatch, login_failure)
    await SharedThrottle(database).forget_old(T0 + 2 * DAY_MS)
    assert bounded(counted)


async def test_failed_logins_of_an_account_that_is_let_in_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(database, login_failure, failures(digest_of("wei")))
    counted = Transactions(database, monkeypatch, login_failure)
    await SharedThrottle(database).forget_account("wei")
    assert bounded(counted)


async def test_what_makes_room_in_the_quarantine(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"topic": "t", "payload": b"x", "size": 1, "reason": "not_json", "detail": "", "received_at": T0}
    await put(database, quarantined, [row] * MANY)
    monkeypatch.setattr(quarantine, "KEPT", 1)
    counted = Transactions(database, monkeypatch, quarantined)
    await Quarantine(database, CollectorRegistry()).keep([Quarantined(T0, "t", b"y", 1, "not_json", "")])
    assert bounded(counted, MANY - 1), counted.removed
    (left,) = await rows_of(database, quarantined)
    assert left["payload"] == b"y"


async def test_logins_that_are_over_by_themselves(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = await people_with(database, tmp_path, "boss")
    old = [login_row("p-boss", f"{at}", T0) for at in range(MANY)]
    await put(database, login, [*old, login_row("p-boss", "young", T0 + 300 * DAY_MS)])
    counted = Transactions(database, monkeypatch, login)
    await people.logins.forget_ended(T0 + 300 * DAY_MS + 1)
    assert bounded(counted)
    assert [row["digest"] for row in await rows_of(database, login)] == [digest_of("login-of-young")]
    ends = [row["act"] for row in await rows_of(database, audit)]
    assert ends == ["login.end"] * MANY, "each with its audit row"


async def test_a_person_who_is_forgotten(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = await people_with(database, tmp_path, "boss", "wei")
    devices = [{"digest": f"{at}", "person": "p-wei", "last_used_at": T0} for at in range(MANY)]
    await put(database, known_device, devices)
    await put(database, login, [login_row("p-wei", f"{at}", T0) for at in range(MANY)])
    await put(database, login_failure, failures(digest_of("wei")))
    tables = (known_device, login, login_failure)
    counted = Transactions(database, monkeypatch, *tables)
    await forget_person(database, people.accounts, "wei", CLOCK, T0)
    assert sum(counted.removed) == 3 * MANY
    assert max(counted.removed) < MANY
    assert [row["id"] for row in await rows_of(database, person)] == ["p-boss"]


async def test_an_old_day_of_the_audit(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = await lease.take(database, "test", T0)
    assert epoch is not None
    book = Book(database, tmp_path, epoch)
    await book.write_days(1, MANY)
    await book.write_days(1, 1)
    book.clock.now += (KEPT_DAYS - 1) * DAY_MS
    counted = Transactions(database, monkeypatch, audit)
    await book.sealer.erase_old()
    removed = [rows for rows in counted.removed if rows > 0]
    assert sum(removed) == MANY
    assert max(removed) < MANY


# -- what they are built on ----------------------------------------------------------------------------


async def test_of_a_key_of_several_columns_the_right_rows_go(database: Database, tmp_path: Path) -> None:
    await people_with(database, tmp_path, "boss", "wei")
    rows = [
        {"digest": f"{at}", "person": whose, "last_used_at": T0} for at in range(MANY) for whose in ("p-boss", "p-wei")
    ]
    await put(database, known_device, rows)
    assert await delete_in_chunks(database, known_device, known_device.c.person == "p-wei") == MANY
    assert {row["person"] for row in await rows_of(database, known_device)} == {"p-boss"}


async def test_who_may_no_longer_write_removes_nothing_more(database: Database) -> None:
    await put(database, login_failure, failures(""))
    checked = []

    async def check(_connection: object) -> None:
        checked.append(True)
        if len(checked) == 2:
            raise LeaseLost

    with contextlib.suppress(LeaseLost):
        await delete_in_chunks(database, login_failure, login_failure.c.last_at <= T0, check)
    assert len(await rows_of(database, login_failure)) == MANY - FIRST.rows


async def test_the_clock_runs_while_the_transaction_has_the_turn_and_not_while_it_waits(database: Database) -> None:
    now = [0.0]
    writes = ChunkedWrites(database, lambda: now[0])
    async with database.transaction():
        now[0] += 100.0  # somebody else's
    async with writes.transaction() as connection:
        await connection.execute(insert(event).values(
            digest="d", site="HQ", kind="pump", equipment="P", fields={}, quality=0, measured_at=T0, received_at=T0
        ))  # fmt: skip
        now[0] += 0.010
    assert writes.rows == 2 * FIRST.rows
