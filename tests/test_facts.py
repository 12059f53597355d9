"""Facts: in order, at least once until the cursor has moved with the work, and quick where there is news."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage import facts
from gateway.storage.database import Database
from gateway.storage.facts import Consumer, Fact, NewFact, follow, newest_fact, read_cursor, write_facts
from gateway.storage.tables import fact, site
from tests.builders import T0, rows_of
from tests.waiting import until


@pytest.fixture(autouse=True)
def _no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a commit wakes: a test that waits for the look each second would hide a lost wake-up."""
    monkeypatch.setattr(facts, "_LOOK_AGAIN_S", 3_600.0)
    monkeypatch.setattr(facts, "_RETRY_S", 0.001)


async def tell(database: Database, *things: str) -> None:
    async with database.transaction() as connection:
        await write_facts(connection, [NewFact(T0, "HQ", "alarm.raised", thing) for thing in things])


async def place(database: Database, consumer: str = "test") -> int:
    async with database.reading() as connection:
        return await read_cursor(connection, consumer)


async def allow(_connection: AsyncConnection) -> None:
    return None


class Diary:
    """A consumer that notes what it takes; `stumble` fails once at the named thing."""

    def __init__(self, database: Database, stumble: str = "", error: Exception | None = None) -> None:
        self.taken: list[str] = []
        self.troubles: list[str] = []
        self.consumer = Consumer(database, "test", self._take, allow)
        self._stumble = stumble
        self._error = error or LookupError("crash")

    async def _take(self, _connection: AsyncConnection, told: Fact) -> None:
        self.taken.append(told.thing)
        self.troubles.append(self.consumer.trouble)
        if told.thing == self._stumble:
            self._stumble = ""
            raise self._error


Run = Callable[[Diary], asyncio.Task[None]]


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    tasks: list[asyncio.Task[None]] = []

    def start(diary: Diary) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(diary.consumer.run()))
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_facts_come_in_order_and_once(database: Database, run: Run) -> None:
    diary = Diary(database)
    await tell(database, "a", "b")
    run(diary)
    await until(lambda: len(diary.taken) == 2, "the facts from before")
    await tell(database, "c")
    await until(lambda: len(diary.taken) == 3, "the fact of this commit")
    assert diary.taken == ["a", "b", "c"]


async def test_a_consumer_that_crashes_between_take_and_commit_sees_the_fact_again(
    database: Database, run: Run
) -> None:
    await tell(database, "a", "b", "c")
    first = Diary(database, stumble="b")
    with pytest.raises(LookupError):
        await run(first)
    assert await place(database) == 0
    second = Diary(database)
    run(second)
    await until(lambda: len(second.taken) == 3, "all of the batch again")
    assert second.taken == ["a", "b", "c"]


async def test_a_consumer_goes_on_where_it_stopped(database: Database, run: Run) -> None:
    await tell(database, "a", "b")
    first = Diary(database)
    task = run(first)
    await until(lambda: len(first.taken) == 2, "two facts")
    await until_place(database, 2)
    task.cancel()
    await tell(database, "c")
    second = Diary(database)
    run(second)
    await until(lambda: second.taken, "the third fact")
    assert second.taken == ["c"]


async def until_place(database: Database, wanted: int) -> None:
    for _ in range(2_000):
        if await place(database) == wanted:
            return
        await asyncio.sleep(0.005)
    pytest.fail(f"the cursor never came to {wanted}")


async def test_while_the_database_is_in_trouble_facts_wait_and_trouble_says_so(database: Database, run: Run) -> None:
    diary = Diary(database, "a", OperationalError("COMMIT", {}, Exception("disk I/O error")))
    run(diary)
    await tell(database, "a")
    await until(lambda: diary.taken, "the first try")
    await tell(database, "b")  # news wakes it again
    await until(lambda: "b" in diary.taken, "both facts")
    await until(lambda: diary.consumer.trouble == "", "the trouble is over")
    assert diary.taken.count("a") == 2
    assert diary.troubles[0] == ""
    assert "disk I/O error" in diary.troubles[1]


async def test_who_may_no_longer_write_takes_nothing(database: Database) -> None:
    class Over(Exception):
        pass

    async def refuse(_connection: AsyncConnection) -> None:
        raise Over

    diary = Diary(database)
    diary.consumer = Consumer(database, "test", diary._take, refuse)
    await tell(database, "a")
    with pytest.raises(Over):
        await diary.consumer.run()
    assert diary.taken == []


async def test_consumers_have_places_of_their_own(database: Database, run: Run) -> None:
    await tell(database, "a")
    diary = Diary(database)
    run(diary)
    await until(lambda: diary.taken, "the fact")
    await until_place(database, 1)
    assert await place(database, "another") == 0


async def test_more_than_one_portion_is_worked_off_without_further_news(
    database: Database, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "_AT_ONCE", 10)
    things = [f"{number:02}" for number in range(35)]
    await tell(database, *things)
    diary = Diary(database)
    run(diary)
    await until(lambda: len(diary.taken) == 35, "every portion")
    assert diary.taken == things


async def test_a_fact_of_a_rolled_back_transaction_was_never_told(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as connection:
            await write_facts(connection, [NewFact(T0, "HQ", "alarm.raised", "a")])
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await rows_of(database, fact) == []
    assert await newest_fact(database) == 0


async def test_the_number_of_an_erased_fact_is_not_given_again(database: Database) -> None:
    """A consumer that stands at 2 would otherwise step over the new fact 2."""
    await tell(database, "a", "b")
    async with database.transaction() as connection:
        await connection.execute(delete(fact))
    await tell(database, "c")
    assert [row["id"] for row in await rows_of(database, fact)] == [3]


async def test_a_follower_without_a_place_hears_only_what_comes_after_its_cursor(database: Database) -> None:
    await tell(database, "a")
    heard: list[str] = []

    async def listen() -> None:
        async for told in follow(database, await newest_fact(database)):
            heard.extend(item.thing for item in told)

    task = asyncio.create_task(listen())
    await until(lambda: database._wakers, "it listens")
    await tell(database, "b")
    await tell(database, "c")
    await until(lambda: heard == ["b", "c"], "both facts")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_writers_wait_for_each_other(database: Database) -> None:
    async def add(number: int) -> None:
        async with database.transaction() as connection:
            count = await connection.scalar(select(func.count()).select_from(site))
            await asyncio.sleep(0)
            row = {"code": f"{count}", "name": {}, "time_zone": "UTC", "created_at": number}
            await connection.execute(site.insert().values(row))

    await asyncio.gather(*(add(number) for number in range(20)))  # two that saw one count would collide
    assert len(await rows_of(database, site)) == 20
