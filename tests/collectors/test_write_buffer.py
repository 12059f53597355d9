"""Between collector and store: directly while the store takes readings, by disk while it does not; real spool files."""

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from collectors.metrics import HistoryMetrics
from collectors.spool.spool import Loss, Spool
from collectors.timeseries.store import Refused, StoreUnavailable
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading
from collectors.wire.topics import Topic
from collectors.write_buffer import WriteBuffer
from tests.servers.waiting import until

PUMP = Topic("garden", Kind.PUMP, "P1", Channel.TELEMETRY)


def reading(number: int) -> Reading:
    return Reading(PUMP, {"flow": float(number)}, number, number, number)


class FakeStore:
    """A fake: takes readings, fails, or hangs, as it is told; refuses the numbers given."""

    def __init__(self) -> None:
        self.why_not = ""
        self.refuses: set[int] = set()
        self.kept: list[int] = []
        """Keys, in the order in which they were written; what is written again stands again."""
        self.tries = 0
        self.foreseen: list[int] = []
        self.going = asyncio.Event()
        self.going.set()

    async def write(self, readings: Sequence[Reading]) -> list[Refused]:
        self.tries += 1
        await self.going.wait()
        if self.why_not:
            raise StoreUnavailable(self.why_not)
        self.kept += [one.key for one in readings if one.key not in self.refuses]
        return [Refused(one, "field type conflict") for one in readings if one.key in self.refuses]

    def update_latest(self, readings: Sequence[Reading]) -> None:
        self.foreseen += [one.key for one in readings]


class FakeSleep:
    """A fake: each pause ends at once, or is held until `go_on`; notes how long it would have been."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)
        await self.go_on.wait()


class Bench:
    """A write buffer between a fake store and a real spool."""

    def __init__(self, folder: Path) -> None:
        self.registry = CollectorRegistry()
        self.metrics = HistoryMetrics(self.registry)
        self.store, self.sleep, self.aside = FakeStore(), FakeSleep(), list[int]()
        self.spool = Spool(folder, 1 << 30, self.metrics.lose)
        self.buffer = WriteBuffer(
            self.store,  # type: ignore[arg-type]  # the fake only writes
            self.spool,
            self._set_aside,
            self.metrics,
            sleep=self.sleep,
            patience_s=0.2,
        )
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.buffer.open()
        self._running = asyncio.create_task(self.buffer.run())

    async def crash(self) -> None:
        """No good-bye: what is in memory is gone."""
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running

    async def drained(self) -> None:
        await until(lambda: not self.spool.bytes, "the spool is empty")

    def count(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    async def _set_aside(self, refused: Sequence[Refused]) -> None:
        self.aside += [one.reading.key for one in refused]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path / "spool")
    await bench.start()
    yield bench
    bench.store.going.set()
    await bench.crash()
    await bench.buffer.close()


async def test_while_the_store_takes_them_readings_go_there_directly(bench: Bench) -> None:
    await bench.buffer.write([reading(1), reading(2)])
    assert bench.store.kept == [1, 2]
    assert bench.buffer.trouble == ""
    assert not bench.spool.bytes


@pytest.mark.parametrize("by_disk", [False, True], ids=["directly", "by disk"])
async def test_a_reading_that_is_refused_for_good_is_put_aside_once_and_counted(bench: Bench, by_disk: bool) -> None:
    bench.store.refuses = {1}
    bench.store.why_not = "down" if by_disk else ""
    await bench.buffer.write([reading(1), reading(2)])
    bench.store.why_not = ""
    await until(lambda: bench.store.kept == [2], "the other one is in the store")
    await bench.drained()
    assert bench.aside == [1]
    assert bench.count("gengfu_history_refused_readings_total") == 1


async def test_a_store_that_is_down_holds_back_no_write(bench: Bench) -> None:
    bench.store.why_not = "no route to host"
    for number in range(50):
        await bench.buffer.write([reading(number)])
    assert bench.spool.waiting == 50
    assert bench.buffer.trouble == "no route to host"
    assert bench.count("gengfu_spool_readings") == 50
    assert bench.count("gengfu_history_reachable") == 0
    assert bench.store.foreseen == list(range(50)), "the newest values are shown all the same"


async def test_after_an_outage_everything_is_in_the_store_in_order_and_the_way_is_direct_again(bench: Bench) -> None:
    await bench.buffer.write([reading(0)])
    bench.store.why_not = "down"
    for number in range(1, 30):
        await bench.buffer.write([reading(number)])
    bench.store.why_not = ""
    await bench.drained()
    assert bench.store.kept == list(range(30))
    assert bench.buffer.trouble == ""
    await until(lambda: bench.count("gengfu_history_reachable") == 1, "it is told")
    tries = bench.store.tries
    await bench.buffer.write([reading(30)])
    assert (bench.store.kept[-1], bench.store.tries) == (30, tries + 1)


async def test_readings_that_come_while_the_disk_is_being_emptied_go_behind_those_on_it(bench: Bench) -> None:
    bench.store.why_not = "down"
    await bench.buffer.write([reading(0)])
    bench.store.going.clear()
    bench.store.why_not = ""
    before = bench.store.tries
    await until(lambda: bench.store.tries > before, "the spool is being emptied")
    for number in range(1, 20):
        await bench.buffer.write([reading(number)])
    bench.store.going.set()
    await bench.drained()
    assert bench.store.kept == list(range(20))


async def test_pauses_between_tries_grow_to_five_seconds(bench: Bench) -> None:
    bench.store.why_not = "down"
    await bench.buffer.write([reading(0)])
    await until(lambda: len(bench.sleep.pauses) >= 9, "nine tries")
    assert bench.sleep.pauses[:9] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


async def test_a_new_trouble_takes_the_place_of_the_old_one(bench: Bench) -> None:
    bench.store.why_not = "disk full"
    await bench.buffer.write([reading(0)])
    bench.store.why_not = "file is locked"
    await until(lambda: bench.buffer.trouble == "file is locked", "the newest reason is shown")


async def test_a_store_that_is_slow_gets_what_is_on_disk_after_its_slow_write(bench: Bench) -> None:
    bench.store.going.clear()
    await bench.buffer.write([reading(0)])
    assert bench.spool.waiting == 1, "the write came back without the store"
    assert "longer than 0.2 s" in bench.buffer.trouble
    await bench.buffer.write([reading(1)])
    assert bench.store.tries == 1, "one write at a time: a second would make it slower still"
    bench.store.going.set()
    await bench.drained()
    assert bench.store.kept == [0, 0, 1], "written again, which changes nothing in a store"


async def test_what_waited_on_disk_is_written_after_a_crash(bench: Bench, tmp_path: Path) -> None:
    bench.store.why_not = "down"
    for number in range(10):
        await bench.buffer.write([reading(number)])
    await bench.crash()
    again = Bench(tmp_path / "spool")
    await again.start()
    assert again.store.foreseen == list(range(10)), "before anything else is decided"
    await again.drained()
    assert again.store.kept == list(range(10))
    await again.buffer.write([reading(10)])
    assert again.store.kept == list(range(11))
    await again.crash()
    await again.buffer.close()


async def test_without_disk_readings_go_to_the_store_as_soon_as_it_takes_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.store.why_not = "down"
    _break(monkeypatch, bench.spool)
    bench.sleep.go_on.clear()
    writing = asyncio.create_task(bench.buffer.write([reading(0)]))
    await until(lambda: 0.5 in bench.sleep.pauses, "it waits, unacknowledged")
    assert not writing.done()
    bench.store.why_not = ""
    bench.sleep.go_on.set()
    await writing
    assert bench.store.kept == [0]
    assert bench.metrics.lost_in_all == 0


async def test_with_neither_disk_nor_store_readings_are_lost_after_five_seconds_and_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.store.why_not = "down"
    mend = _break(monkeypatch, bench.spool)
    await bench.buffer.write([reading(0), reading(1)])
    assert bench.sleep.pauses.count(0.5) == 10
    await bench.buffer.write([reading(2)])
    assert bench.sleep.pauses.count(0.5) == 10, "then at once: alarms would have to stop next"
    assert bench.count("gengfu_history_lost_readings_total", reason=Loss.NO_DISK.value) == 3
    mend()
    await bench.buffer.write([reading(3)])
    assert bench.spool.waiting == 1
    bench.store.why_not = ""
    await bench.drained()
    assert bench.store.kept == [3]


def _break(monkeypatch: pytest.MonkeyPatch, spool: Spool) -> Callable[[], None]:
    """A fake of a disk that answers every write with an error."""

    def append(_readings: Sequence[Reading]) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(spool, "append", append)
    return monkeypatch.undo


async def test_a_cancelled_write_leaves_nothing_behind(bench: Bench) -> None:
    bench.store.going.clear()
    writing = asyncio.create_task(bench.buffer.write([reading(1)]))
    await until(lambda: bench.store.tries == 1, "the store was asked")
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert bench.store.kept == []


# -- what nobody has foreseen ------------------------------------------------------------------------------


class FailingStore(FakeStore):
    """A fake that raises what a store never says that it raises."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.stumbles_over: set[int] = set()

    async def write(self, readings: Sequence[Reading]) -> list[Refused]:
        if self.error is not None:
            raise self.error
        if self.stumbles_over & {one.key for one in readings}:
            raise ValueError("zip() argument 2 is shorter than argument 1")
        return await super().write(readings)


@pytest.fixture
async def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr("tests.collectors.test_write_buffer.FakeStore", FailingStore)
    bench = Bench(tmp_path / "spool")
    await bench.start()
    yield bench
    await bench.crash()
    await bench.buffer.close()


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("results"), AttributeError("x"), RuntimeError("x")])
async def test_an_unexpected_error_of_a_store_sends_readings_to_disk_and_ends_nothing(
    failing: Bench, error: Exception
) -> None:
    failing.store.error = error  # type: ignore[attr-defined]
    for number in range(20):
        await failing.buffer.write([reading(number)])
    assert type(error).__name__ in failing.buffer.trouble
    assert failing.aside == []
    failing.store.error = None  # type: ignore[attr-defined]
    await failing.drained()
    assert failing.store.kept == list(range(20))


async def test_a_reading_over_which_the_store_stumbles_is_put_aside_and_holds_up_no_other(failing: Bench) -> None:
    failing.store.why_not = "down"
    failing.store.stumbles_over = {3, 4, 17}  # type: ignore[attr-defined]
    await failing.buffer.write([reading(number) for number in range(20)])
    failing.store.why_not = ""
    await failing.drained()
    assert sorted(failing.store.kept) == [number for number in range(20) if number not in {3, 4, 17}]
    assert failing.aside == [3, 4, 17]


async def test_a_reading_that_is_alone_is_put_aside_after_ten_tries(failing: Bench) -> None:
    failing.store.stumbles_over = {3}  # type: ignore[attr-defined]
    await failing.buffer.write([reading(3)])
    await failing.drained()
    assert failing.aside == [3]
    assert len(failing.sleep.pauses) == 9


async def test_what_cannot_be_kept_for_the_administrator_ends_nothing(failing: Bench) -> None:
    async def full(_refused: Sequence[Refused]) -> None:
        raise RuntimeError("no such table: quarantine")

    failing.buffer._quarantine = full
    failing.store.refuses = {1}
    await failing.buffer.write([reading(1), reading(2)])
    assert failing.store.kept == [2]
    assert failing.count("gengfu_history_refused_readings_total") == 1


async def test_a_folder_that_cannot_be_used_at_the_start_is_tried_again_and_nothing_in_it_is_lost(
    bench: Bench, tmp_path: Path
) -> None:
    bench.store.why_not = "down"
    await bench.buffer.write([reading(1)])
    await bench.crash()
    hidden = tmp_path / "hidden"
    (tmp_path / "spool").rename(hidden)
    (tmp_path / "spool").write_text("a file where the folder should be")
    later = Bench(tmp_path / "spool")
    later.store.why_not = "down"
    later.sleep.go_on.clear()
    await later.start()
    writing = asyncio.create_task(later.buffer.write([reading(2)]))
    await until(lambda: later.sleep.pauses, "the disk was tried")
    (tmp_path / "spool").unlink()
    hidden.rename(tmp_path / "spool")
    later.sleep.go_on.set()
    await writing
    later.store.why_not = ""
    await until(lambda: later.store.kept == [1, 2], "both are in the store, in order")
    await later.crash()
    await later.buffer.close()
