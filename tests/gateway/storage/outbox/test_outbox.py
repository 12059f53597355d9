"""Facts: in order, at least once until the cursor has moved with the work, and quick where there is news."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import delete, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs

from gateway.storage.database import Database
from gateway.storage.leadership.lease import LeaseLost
from gateway.storage.outbox import outbox as facts
from gateway.storage.outbox.outbox import Consumer, Fact, OutboxMetrics, follow, newest_fact, read_cursor
from gateway.storage.records import NewFact
from gateway.storage.tables import dead_letter, fact, site
from tests.builders.alarms import T0, Clock, rows_of
from tests.servers.waiting import until


@pytest.fixture(autouse=True)
def _no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a commit wakes: a test that waits for the look each second would hide a lost wake-up."""
    monkeypatch.setattr(facts, "_LOOK_AGAIN_S", 3_600.0)
    monkeypatch.setattr(facts, "_RETRY_S", 0.001)


async def tell(database: Database, *things: str) -> None:
    async with database.transaction() as transaction:
        transaction.add_facts(*(NewFact(T0, "HQ", "alarm.raised", thing) for thing in things))


async def place(database: Database, consumer: str = "test") -> int:
    async with database.reading() as connection:
        return await read_cursor(connection, consumer)


async def allow(_connection: AsyncConnection) -> None:
    return None


class Diary:
    """A consumer that notes what it takes; `stumble` fails once at the named thing, `poison` each time at those."""

    def __init__(
        self, database: Database, stumble: str = "", error: Exception | None = None, poison: Collection[str] = ()
    ) -> None:
        self.taken: list[str] = []
        self.troubles: list[str] = []
        self.registry = CollectorRegistry()
        self.clock = Clock()
        metrics = OutboxMetrics(self.registry)
        self.consumer = Consumer(database, "test", ["alarm.raised"], self._take, allow, metrics, self.clock)
        self._poison = poison
        self._stumble = stumble
        self._error = error or LookupError("crash")

    async def _take(self, connection: AsyncConnection, facts: Sequence[Fact]) -> None:
        for told in facts:
            row = {"code": f"{told.id}", "name": {}, "time_zone": "UTC", "created_at": T0}
            await connection.execute(site.insert().values(row))  # what is rolled back leaves no trace
            self.taken.append(told.thing)
            self.troubles.append(self.consumer.trouble)
            if told.thing == self._stumble:
                self._stumble = ""
                raise self._error
            if told.thing in self._poison:
                raise KeyError(told.thing)


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
    first = Diary(database, stumble="b", error=LeaseLost("as if it had been killed"))
    with pytest.raises(LeaseLost):
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
    assert diary.troubles[1].startswith("the database does not answer")


async def test_who_may_no_longer_write_takes_nothing(database: Database) -> None:
    async def refuse(_connection: AsyncConnection) -> None:
        raise LeaseLost

    diary = Diary(database)
    diary.consumer._check = refuse
    await tell(database, "a")
    with pytest.raises(LeaseLost):
        await diary.consumer.run()
    assert diary.taken == []


async def test_facts_of_other_kinds_are_stepped_over_and_the_place_is_kept_when_nothing_is_to_do(
    database: Database, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    diary = Diary(database)
    run(diary)
    await until(lambda: database._wakers, "it follows")
    async with database.transaction() as transaction:
        transaction.add_facts(NewFact(T0, "HQ", "alarm.shelved", "a"))
    await until(lambda: diary.consumer.place == 1, "it has stepped over the fact")
    assert (diary.taken, await place(database)) == ([], 0)
    monkeypatch.setattr(facts, "_LOOK_AGAIN_S", 0.01)
    await tell(database, "b")
    await until_place(database, 2)
    async with database.transaction() as transaction:
        transaction.add_facts(NewFact(T0, "HQ", "alarm.shelved", "c"))
    await until_place(database, 3)


async def test_the_one_fact_that_cannot_be_worked_off_is_set_aside_and_the_others_are_done(
    database: Database, run: Run
) -> None:
    things = [f"{number}" for number in range(1, 101)]
    await tell(database, *things)
    diary = Diary(database, poison=["37", "90"])
    with capture_logs() as logged:
        run(diary)
        await until(lambda: diary.consumer.place == 100, "all are worked off")
        await tell(database, "101")
        await until(lambda: diary.consumer.place == 101, "it goes on")
    done = {int(row["code"]) for row in await rows_of(database, site)}
    assert done == set(range(1, 102)) - {37, 90}
    aside = await rows_of(database, dead_letter)
    assert [(row["consumer"], row["fact"], row["thing"], row["error"], row["at"]) for row in aside] == [
        ("test", 37, "37", "KeyError('37')", T0),
        ("test", 90, "90", "KeyError('90')", T0),
    ]
    assert diary.registry.get_sample_value("gengfu_dead_letters_total", {"consumer": "test"}) == 2
    assert [(line["log_level"], line["fact"]) for line in logged] == [("error", 37), ("error", 90)]
    assert "by hand" in logged[0]["event"]


async def test_what_was_set_aside_is_said_for_a_day_also_after_a_restart(database: Database, run: Run) -> None:
    await tell(database, "a")
    diary = Diary(database, poison=["a"])
    run(diary)
    await until(lambda: diary.consumer.notice, "it says so")
    again = Diary(database)
    run(again)
    await until(lambda: again.consumer.notice == "1 dead letters in the last 24 h, see the log", "it still says so")
    assert again.taken == []
    again.clock.now += facts.SHOWN_MS
    assert again.consumer.notice == ""


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
        async with database.transaction() as transaction:
            transaction.add_facts(NewFact(T0, "HQ", "alarm.raised", "a"))
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
