"""Between collector and store: each reading is accepted, refused for good, or kept and tried again."""

import asyncio
from collections.abc import Sequence

import pytest

from collectors.fields import Channel, Kind
from collectors.reading import Reading
from collectors.timeseries.store import Refused, StoreUnavailable
from collectors.topics import Topic
from collectors.write_buffer import WriteBuffer
from tests.waiting import until

PUMP = Topic("garden", Kind.PUMP, "P1", Channel.TELEMETRY)


def reading(number: int) -> Reading:
    return Reading(PUMP, {"flow": float(number)}, number, number, number)


class FakeStore:
    """A fake: fails with the troubles given, one a write, then takes all but the refused."""

    def __init__(self, troubles: Sequence[str] = (), refused: Sequence[Refused] = ()) -> None:
        self.troubles = list(troubles)
        self.refused = list(refused)
        self.kept: list[Reading] = []
        self.tries = 0

    async def write(self, readings: Sequence[Reading]) -> list[Refused]:
        self.tries += 1
        if self.troubles:
            raise StoreUnavailable(self.troubles.pop(0))
        never = [one.reading for one in self.refused]
        self.kept += [one for one in readings if one not in never]
        return self.refused


class FakeSleep:
    """A fake: lets each pause end at once, or holds it until `go_on`."""

    def __init__(self, *, holds: bool = False) -> None:
        self.pauses: list[float] = []
        self.go_on = asyncio.Event()
        if not holds:
            self.go_on.set()

    async def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self.go_on.wait()


def make_buffer(store: FakeStore, sleep: FakeSleep | None = None) -> WriteBuffer:
    return WriteBuffer(store, sleep or FakeSleep())  # type: ignore[arg-type]  # the fake only writes


async def test_accepted_readings_are_in_the_store_when_write_returns() -> None:
    store = FakeStore()
    buffer = make_buffer(store)
    assert await buffer.write([reading(1), reading(2)]) == []
    assert store.kept == [reading(1), reading(2)]
    assert (buffer.trouble, buffer.depth) == ("", 0)


async def test_a_reading_that_is_refused_for_good_is_handed_back_and_not_tried_again() -> None:
    store = FakeStore(refused=[Refused(reading(1), "field type conflict")])
    assert await make_buffer(store).write([reading(1), reading(2)]) == [Refused(reading(1), "field type conflict")]
    assert store.kept == [reading(2)]
    assert store.tries == 1


async def test_kept_readings_are_tried_again_until_the_store_takes_them() -> None:
    store, sleep = FakeStore(["down"] * 10), FakeSleep()
    await make_buffer(store, sleep).write([reading(1)])
    assert store.kept == [reading(1)]
    assert sleep.pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0], "growing, at most five seconds"


async def test_trouble_says_why_while_it_lasts_and_is_cleared_after_it() -> None:
    store, sleep = FakeStore(["disk full"]), FakeSleep(holds=True)
    buffer = make_buffer(store, sleep)
    assert buffer.trouble == ""
    writing = asyncio.create_task(buffer.write([reading(1), reading(2)]))
    await until(lambda: sleep.pauses, "the write waits for its second try")
    assert (buffer.trouble, buffer.depth) == ("disk full", 2)
    sleep.go_on.set()
    await writing
    assert (buffer.trouble, buffer.depth) == ("", 0)


async def test_a_new_trouble_takes_the_place_of_the_old_one() -> None:
    store, sleep = FakeStore(["disk full", "file is locked"]), FakeSleep(holds=True)
    buffer = make_buffer(store, sleep)
    writing = asyncio.create_task(buffer.write([reading(1)]))
    await until(lambda: sleep.pauses, "the first try failed")
    sleep.go_on.set()
    sleep.go_on.clear()
    await until(lambda: len(sleep.pauses) == 2, "the second try failed")
    assert buffer.trouble == "file is locked"
    sleep.go_on.set()
    await writing


async def test_batches_keep_their_order_through_an_outage() -> None:
    store = FakeStore(["down", "down"])
    buffer = make_buffer(store)
    for number in range(5):
        await buffer.write([reading(number), reading(number + 100)])
    assert [one.key for one in store.kept] == [0, 100, 1, 101, 2, 102, 3, 103, 4, 104]


async def test_a_cancelled_write_no_longer_counts_as_waiting() -> None:
    sleep = FakeSleep(holds=True)
    buffer = make_buffer(FakeStore(["down"]), sleep)
    writing = asyncio.create_task(buffer.write([reading(1)]))
    await until(lambda: sleep.pauses, "the write waits")
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert buffer.depth == 0
