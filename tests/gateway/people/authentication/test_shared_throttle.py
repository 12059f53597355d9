"""Failed logins count for every service on one database, and over restarts; nobody's name stands in the table."""

import asyncio

import pytest
from sqlalchemy import select

from gateway.people.authentication.shared_throttle import SharedThrottle
from gateway.people.authentication.throttle import Attempt
from gateway.storage.database import Database
from gateway.storage.tables import login_failure
from tests.builders.alarms import T0, rows_of

STRANGER = Attempt("wei", "203.0.113.9", None)
OWN_PHONE = Attempt("wei", "203.0.113.9", "the phone wei")
DAY_MS = 24 * 3_600_000


async def fail(throttle: SharedThrottle, attempt: Attempt, times: int, now: int = T0) -> int:
    """Fail as often, each time as soon as it is permitted; when the last one was."""
    for _ in range(times):
        wait = await throttle.admit(attempt, now)
        while wait:
            now += wait
            wait = await throttle.admit(attempt, now)
    return now


async def test_guesses_through_one_service_slow_those_through_another(database: Database) -> None:
    one, other = SharedThrottle(database), SharedThrottle(database)
    now = await fail(one, STRANGER, 5)
    await one.keep()
    assert await other.admit(STRANGER, now) == 1_000
    assert await other.admit(OWN_PHONE, now) == 0, "a browser that is known is not slowed by a stranger"


async def test_a_restart_forgets_nothing(database: Database) -> None:
    before = SharedThrottle(database)
    now = await fail(before, STRANGER, 8)
    await before.keep()
    assert await SharedThrottle(database).admit(STRANGER, now) == await before.admit(STRANGER, now) > 4_000


async def test_counts_of_both_services_add_up(database: Database) -> None:
    both = [SharedThrottle(database), SharedThrottle(database)]
    for throttle in (*both, *both):
        assert await throttle.admit(STRANGER, T0) == 0
        await throttle.keep()
    assert await both[0].admit(STRANGER, T0) == 0
    await both[0].keep()
    assert await both[1].admit(STRANGER, T0) == 1_000


async def test_what_is_being_written_counts_neither_twice_nor_not_at_all(database: Database) -> None:
    throttle = SharedThrottle(database)

    async def keep_on() -> None:
        for _ in range(20):
            await throttle.keep()

    keeping = asyncio.create_task(keep_on())
    answers = [await throttle.admit(STRANGER, T0) for _ in range(20)]
    await keeping
    assert answers == [0] * 5 + [1_000] * 15


async def test_being_right_forgives_everywhere_and_what_others_did_from_the_address_stays(database: Database) -> None:
    one, other = SharedThrottle(database), SharedThrottle(database)
    now = await fail(one, STRANGER, 4)
    for number in range(60):
        await one.admit(Attempt(f"name{number}", "198.51.100.4", None), now)
    await one.keep()
    assert await other.admit(STRANGER, now) == 0
    other.forgive(STRANGER, now)
    await other.keep()
    assert [await one.admit(STRANGER, now) for _ in range(6)] == [0, 0, 0, 0, 0, 1_000]
    assert await one.admit(Attempt("somebody", "198.51.100.4", None), now) > 0


async def test_a_reset_by_another_process_lets_in_at_once(database: Database) -> None:
    service, command = SharedThrottle(database), SharedThrottle(database)
    now = await fail(service, STRANGER, 20)
    await service.keep()
    await command.forget_account("somebody else")
    assert await service.admit(STRANGER, now) > 0
    await command.forget_account("wei")
    assert await service.admit(STRANGER, now) == 0


async def test_nobody_can_read_whom_somebody_tried_or_what_was_typed_there(database: Database) -> None:
    throttle = SharedThrottle(database)
    await throttle.admit(Attempt("my secret password", "203.0.113.9", None), T0)
    await throttle.keep()
    text = str(await rows_of(database, login_failure))
    assert "secret" not in text
    assert "203.0.113" not in text


async def test_what_counts_for_nothing_any_more_goes(database: Database) -> None:
    throttle = SharedThrottle(database)
    await throttle.admit(STRANGER, T0)
    await throttle.keep()
    await throttle.forget_old(T0 + DAY_MS - 1)
    assert len(await rows_of(database, login_failure)) == 3
    await throttle.forget_old(T0 + DAY_MS + 1)
    assert await rows_of(database, login_failure) == []
    assert await throttle.admit(STRANGER, T0 + DAY_MS) == 0


@pytest.mark.parametrize("hours", [1, 30])
async def test_old_failures_do_not_add_up_with_new_ones(database: Database, hours: int) -> None:
    throttle = SharedThrottle(database)
    now = await fail(throttle, STRANGER, 20)
    await throttle.keep()
    later = now + hours * 3_600_000
    assert await throttle.admit(STRANGER, later) == 0
    await throttle.keep()
    async with database.reading() as connection:
        counts = list((await connection.execute(select(login_failure.c.count))).scalars())
    assert 1 in counts


async def test_guessing_costs_one_transaction_a_second_and_not_one_a_try(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttle, written = SharedThrottle(database), []
    real = database.transaction
    monkeypatch.setattr(database, "transaction", lambda: written.append(1) or real())
    for number in range(200):
        await throttle.admit(Attempt(f"name{number}", f"203.0.{number}.1", None), T0)
    assert written == []
    await throttle.keep()
    assert written == [1]
    await throttle.keep()
    assert written == [1], "nothing is left to be written"
