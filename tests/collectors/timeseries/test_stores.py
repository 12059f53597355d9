"""The laws that every time-series store keeps: one suite, run against each of them."""

import asyncio
import contextlib
import itertools
import math
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from collectors.timeseries.influx.access import Access
from collectors.timeseries.influx.store import InfluxStore
from collectors.timeseries.sqlite.store import SqliteStore
from collectors.timeseries.store import (
    Bucket,
    Change,
    History,
    Latest,
    LatestValue,
    Series,
    Store,
    StoreUnavailable,
)
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading, Value
from collectors.wire.topics import Topic
from tests.servers.influxdb import InfluxDB

T0 = 1_790_000_000_000


class Backend(Protocol):
    """Where a store lives in a test: what the suite must be able to do to each kind of store."""

    def make(self) -> Store:
        """A store on the data that is there already; not open yet."""

    def break_down(self) -> None:
        """From now on writes fail, after part of the work is done where the store works in parts."""

    def repair(self) -> None:
        """Writes succeed again."""


class SqliteBackend:
    """One file. It breaks down in the last statement of a write, when the rows are in already."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "history" / "readings.db"

    def make(self) -> SqliteStore:
        return SqliteStore(self._file)

    def break_down(self) -> None:
        self._change("CREATE TRIGGER full BEFORE INSERT ON latest BEGIN SELECT RAISE(ABORT, 'disk full'); END")

    def repair(self) -> None:
        self._change("DROP TRIGGER full")

    def _change(self, statement: str) -> None:
        with contextlib.closing(sqlite3.connect(self._file, isolation_level=None)) as connection:
            connection.execute(statement)


class InfluxBackend:
    """One database of a real InfluxDB that all tests of this worker share. It breaks down as a whole."""

    def __init__(self, folder: Path, server: InfluxDB) -> None:
        self._marks, self._server = folder / "dirty-minutes.db", server
        self._database = f"t{next(_databases)}"

    def make(self) -> InfluxStore:
        return InfluxStore(Access(self._server.url, self._database), self._marks)

    def break_down(self) -> None:
        self._server.stop()

    def repair(self) -> None:
        self._server.start()


_databases = itertools.count()
HOUSES = ("sqlite", pytest.param("influxdb", marks=pytest.mark.server))


@pytest.fixture(params=HOUSES)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "sqlite":
        return SqliteBackend(tmp_path)
    return InfluxBackend(tmp_path, request.getfixturevalue("influxdb"))


@pytest.fixture
async def store(backend: Backend) -> AsyncIterator[Store]:
    async with opened(backend) as store:
        yield store


@contextlib.asynccontextmanager
async def opened(backend: Backend) -> AsyncIterator[Store]:
    store = backend.make()
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def sensor(equipment: str = "S1") -> Topic:
    return Topic("garden", Kind.SENSOR, equipment, Channel.TELEMETRY)


def reading(at: int, equipment: str = "S1", tie: int = 0, **fields: Value) -> Reading:
    return Reading(sensor(equipment), dict(fields), T0 + at, T0 + at + 50, (T0 + at) * 1_000_000 + tie)


def of_fields(at: int, fields: dict[str, Value]) -> Reading:
    """A reading whose fields have names that are no words of Python."""
    return msgspec.structs.replace(reading(at), fields=fields)


async def look(
    store: Store, field: str, start: int = 0, end: int = 1000, *, points: int = 500, equipment: str = "S1"
) -> History:
    series = Series("garden", "sensor", equipment, "telemetry")
    return await store.history(series, field, T0 + start, T0 + end, points)


def raw(*samples: tuple[int, float]) -> History:
    """The history of a few numbers: each its own bucket."""
    return History(True, [Bucket(T0 + at, value, value, value, 1) for at, value in samples], [])


def changes(*changed: tuple[int, bool | str], older_left_out: bool = False) -> History:
    return History(False, [], [Change(T0 + at, value) for at, value in changed], older_left_out)


def holds_nothing(history: History) -> bool:
    return not history.buckets and not history.changes


# -- writing -------------------------------------------------------------------------------------------


async def test_a_reading_that_was_written_can_be_read(store: Store) -> None:
    assert await store.write([reading(1, level=2.5, leak=True)]) == []
    assert await look(store, "level") == raw((1, 2.5))
    assert await look(store, "leak") == changes((1, True))
    assert store.latest()["garden", "S1"] == Latest(
        "sensor", T0 + 51, {"level": LatestValue(2.5, T0 + 1), "leak": LatestValue(True, T0 + 1)}
    )


async def test_writing_a_reading_again_changes_nothing(store: Store) -> None:
    batch = [reading(at, level=float(at), note=f"第{at}次") for at in range(5)]
    await store.write(batch)
    before = await look(store, "level"), await look(store, "note"), dict(store.latest())
    await store.write(batch)
    await store.write(batch + batch)
    assert (await look(store, "level"), await look(store, "note"), dict(store.latest())) == before


async def test_readings_of_one_key_become_one_with_the_fields_of_both(store: Store) -> None:
    await store.write([reading(1, level=1.0, leak=True)])
    await store.write([reading(1, pressure=0.5)])
    assert await look(store, "level") == raw((1, 1.0))
    assert await look(store, "pressure") == raw((1, 0.5))
    assert await look(store, "leak") == changes((1, True))


@pytest.mark.parametrize("in_one_batch", [True, False])
async def test_of_two_values_of_one_key_the_later_write_wins(store: Store, in_one_batch: bool) -> None:
    first, second = reading(1, level=1.0, humidity=40.0), reading(1, level=2.0)
    for batch in [[first, second]] if in_one_batch else [[first], [second]]:
        await store.write(batch)
    assert await look(store, "level") == raw((1, 2.0))
    assert await look(store, "humidity") == raw((1, 40.0))
    assert store.latest()["garden", "S1"].fields["level"] == LatestValue(2.0, T0 + 1)


async def test_samples_of_one_millisecond_with_different_keys_are_both_kept(store: Store) -> None:
    await store.write([reading(1, tie=1, level=1.0), reading(1, tie=2, level=2.0)])
    assert await look(store, "level") == raw((1, 1.0), (1, 2.0))


async def test_a_batch_of_many_equipments_and_odd_sizes_is_kept_whole(store: Store) -> None:
    batch = [reading(at, f"S{at % 7}", level=float(at)) for at in range(1_237)]
    await store.write(batch)
    kept = [
        (bucket.at - T0, bucket.mean)
        for number in range(7)
        for bucket in (await look(store, "level", 0, 2_000, points=2_000, equipment=f"S{number}")).buckets
    ]
    assert sorted(kept) == [(at, float(at)) for at in range(1_237)]


async def test_an_empty_batch_is_no_work(store: Store) -> None:
    assert await store.write([]) == []


async def test_equipment_of_one_name_on_two_sites_is_two(store: Store) -> None:
    other = Topic("harbour", Kind.SENSOR, "S1", Channel.TELEMETRY)
    await store.write([reading(1, level=1.0), Reading(other, {"level": 9.0}, T0 + 1, T0 + 1, (T0 + 1) * 10**6)])
    assert await look(store, "level") == raw((1, 1.0))
    assert store.latest()["harbour", "S1"].fields["level"].value == 9.0


# -- values --------------------------------------------------------------------------------------------

FINITE = st.floats(allow_nan=False, allow_infinity=False)
PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
ANY_VALUE = FINITE | st.booleans() | PLAIN_TEXT
_numbers = itertools.count()
on_one_store = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)


def fresh() -> str:
    """An equipment that no other example has used: the examples of one law share a store."""
    return f"H{next(_numbers)}"


@on_one_store
@given(value=ANY_VALUE)
async def test_a_value_comes_back_as_it_went_in_with_its_type(store: Store, value: Value) -> None:
    equipment = fresh()
    await store.write([reading(1, equipment, x=value)])
    found = await look(store, "x", equipment=equipment)
    kept = found.buckets[0].mean if isinstance(value, float) else found.changes[0].value
    assert kept == value
    assert type(kept) is type(value)


async def test_a_whole_number_stays_a_float_and_a_boolean_a_boolean_after_a_restart(backend: Backend) -> None:
    fields: dict[str, Value] = {
        "number": 1.0,
        "yes": True,
        "no": False,
        "text": "1",
        "word": "true",
        "empty": "",
    }
    async with opened(backend) as store:
        await store.write([of_fields(1, fields)])
    async with opened(backend) as store:
        newest = {name: value.value for name, value in store.latest()["garden", "S1"].fields.items()}
        bucket = (await look(store, "number")).buckets[0]
        texts = [(await look(store, name)).changes[0].value for name in ("yes", "no", "text", "word", "empty")]
    assert newest == fields
    assert {name: type(value) for name, value in newest.items()} == {
        name: type(value) for name, value in fields.items()
    }
    assert [type(figure) for figure in bucket] == [int, float, float, float, int]
    assert texts == [True, False, "1", "true", ""]
    assert [type(value) for value in texts] == [bool, bool, str, str, str]


@pytest.mark.parametrize(
    "name",
    [
        "温度",  # a name in Chinese
        "motor.temperature",  # a path to some
        "phase[0]",
        "$",
        "#1",
        "it's",
        "a,b=c",  # what line protocol must escape
        "time",  # words with a meaning in SQL and InfluxQL
        "select",
        "key",
        "SUM(x)",
        "%s;--",
        "🔥",
        "n" * 64,
    ],
)
async def test_odd_but_permitted_field_names_are_only_names(store: Store, name: str) -> None:
    await store.write([of_fields(1, {name: 1.5, "other": 2.0}), of_fields(2, {name: 2.5})])
    assert await look(store, name) == raw((1, 1.5), (2, 2.5))
    assert await look(store, "other") == raw((1, 2.0))
    assert store.latest()["garden", "S1"].fields[name] == LatestValue(2.5, T0 + 2)


async def test_chinese_and_quotes_and_line_ends_in_text_are_kept(store: Store) -> None:
    said = "三楼走廊：“烟感”报警\n复位\\n 'x' \"y\", z=1 🔥"
    await store.write([reading(1, text=said)])
    assert await look(store, "text") == changes((1, said))


# -- newest values -------------------------------------------------------------------------------------


async def test_latest_is_the_newest_by_time_of_measurement_whatever_the_order_of_arrival(
    store: Store,
) -> None:
    await store.write([reading(5, level=5.0)])
    await store.write([reading(9, leak=True), reading(3, level=3.0, humidity=40.0)])
    assert store.latest()["garden", "S1"].fields == {
        "level": LatestValue(5.0, T0 + 5),
        "humidity": LatestValue(40.0, T0 + 3),
        "leak": LatestValue(True, T0 + 9),
    }


async def test_latest_survives_a_restart_and_goes_on_from_there(backend: Backend) -> None:
    async with opened(backend) as store:
        await store.write([reading(5, level=5.0), reading(3, level=3.0, note="水箱"), reading(1, "S2", leak=False)])
        before = dict(store.latest())
    async with opened(backend) as store:
        assert dict(store.latest()) == before
        await store.write([reading(4, level=4.0), reading(6, humidity=1.0)])
        assert store.latest()["garden", "S1"].fields == {
            "level": LatestValue(5.0, T0 + 5),
            "note": LatestValue("水箱", T0 + 3),
            "humidity": LatestValue(1.0, T0 + 6),
        }
        assert await look(store, "level") == raw((3, 3.0), (4, 4.0), (5, 5.0))


# -- history -------------------------------------------------------------------------------------------


async def test_as_many_samples_as_points_come_as_they_are_and_one_more_comes_in_buckets(store: Store) -> None:
    await store.write([reading(at, level=float(at)) for at in range(10)])
    assert await look(store, "level", 0, 1000, points=10) == raw(*((at, float(at)) for at in range(10)))
    assert not (await look(store, "level", 0, 1000, points=9)).raw


# -- readings as they were kept ------------------------------------------------------------------------


async def all_readings(store: Store, start: int, end: int, most: int) -> list[Reading]:
    """Portion after portion."""
    series, found = Series("garden", "sensor", "S1", "telemetry"), list[Reading]()
    while portion := await store.readings(series, T0 + start, T0 + end, found[-1].key if found else -1, most):
        assert len(portion) <= most
        found += portion
    return found


@pytest.mark.parametrize("most", [1, 7, 1000])
async def test_readings_come_back_as_they_were_written_in_order_portion_by_portion(store: Store, most: int) -> None:
    written = [reading(at, temperature=float(at % 3), leak=at % 2 == 0, mood=f'"{at}" 好') for at in range(20)]
    written += [msgspec.structs.replace(reading(5, tie=1, humidity=40.0), quality=2), reading(3, "S2", humidity=1.0)]
    await store.write(list(reversed(written)))
    expected = sorted((item for item in written if item.topic.equipment == "S1"), key=lambda item: item.key)
    assert await all_readings(store, 0, 1000, most) == expected


async def test_readings_of_a_range_hold_its_start_and_not_its_end(store: Store) -> None:
    await store.write([reading(at, temperature=1.0) for at in (9, 10, 19, 20)])
    assert [item.measured_at - T0 for item in await all_readings(store, 10, 20, 5)] == [10, 19]


async def test_where_nothing_was_written_there_are_no_readings(store: Store) -> None:
    await store.write([reading(1, temperature=1.0)])
    assert await store.readings(Series("garden", "sensor", "S9", "telemetry"), 0, 2**60) == []
    assert await all_readings(store, 500, 100, 5) == []


async def test_a_range_holds_its_start_and_not_its_end(store: Store) -> None:
    await store.write([reading(at, level=float(at), note=str(at)) for at in range(5)])
    assert await look(store, "level", 1, 3) == raw((1, 1.0), (2, 2.0))
    assert await look(store, "note", 1, 3) == changes((1, "1"), (2, "2"))


@on_one_store
@example(samples={17: 0.0, 278: 1.0, 279: 2.0}, start=17, width=523, points=2)  # a sample on the edge
@given(
    samples=st.dictionaries(st.integers(0, 999), st.floats(-1e9, 1e9), min_size=1, max_size=40),
    start=st.integers(0, 400),
    width=st.integers(1, 900),
    points=st.integers(1, 12),
)
async def test_buckets_equal_a_plain_calculation(
    store: Store, samples: dict[int, float], start: int, width: int, points: int
) -> None:
    equipment, end = fresh(), start + width
    await store.write([reading(at, equipment, x=value) for at, value in samples.items()])
    found = await look(store, "x", start, end, points=points, equipment=equipment)
    assert_is_history(found, samples, start, end, points)


def assert_is_history(found: History, samples: dict[int, float], start: int, end: int, points: int) -> None:
    """What was found is what a plain calculation over all samples says."""
    inside = {T0 + at: value for at, value in samples.items() if start <= at < end}
    if len(inside) <= points:
        assert found == raw(*((at - T0, value) for at, value in sorted(inside.items())))
        return
    assert not found.raw
    assert len(found.buckets) <= points
    edges = [bucket.at for bucket in found.buckets] + [T0 + end]
    assert edges == sorted(set(edges))
    assert T0 + start <= edges[0] <= min(inside)
    for bucket, following in zip(found.buckets, edges[1:], strict=True):
        values = [value for at, value in inside.items() if bucket.at <= at < following]
        assert (bucket.least, bucket.most, bucket.samples) == (min(values), max(values), len(values))
        assert math.isclose(bucket.mean, math.fsum(values) / len(values), rel_tol=1e-9, abs_tol=1e-5)
    assert sum(bucket.samples for bucket in found.buckets) == len(inside), "each sample is in one bucket"


MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
Permission = tuple[str, dict[int, float], float]
ActOnField = tuple[str, dict[int, bool | str], float]


@st.composite
def lives_of_a_series(draw: st.DrawFn) -> tuple[int, list[Permission]]:
    """A span, and what happens: batches in any order (late, again, overwriting), rollups between, retention."""
    span = draw(st.sampled_from([2 * HOUR, 2 * DAY, 20 * DAY, 400 * DAY]))
    near = st.integers(0, span // 1000).map(lambda second: second * 1000)
    clustered = st.tuples(near, st.integers(0, 200_000)).map(sum) | near
    batch = st.dictionaries(clustered, st.floats(-1e6, 1e6), min_size=1, max_size=30)
    act = st.tuples(
        st.sampled_from(["write", "write", "write", "roll up", "roll up", "erase"]), batch, st.floats(0, 0.6)
    )
    return span, draw(st.lists(act, min_size=1, max_size=8))


@on_one_store
@given(life=lives_of_a_series(), first=st.floats(0, 0.5), last=st.floats(0.5, 1.1), points=st.integers(1, 400))
async def test_history_through_rollups_equals_a_plain_calculation_whatever_was_written_when(
    store: Store, life: tuple[int, list[Permission]], first: float, last: float, points: int
) -> None:
    (span, acts), equipment = life, fresh()
    kept: dict[int, float] = {}
    for act, batch, share in acts:
        if act == "write":
            await store.write([reading(at, equipment, x=value) for at, value in batch.items()])
            kept |= batch
        elif act == "roll up":
            await roll_up_all(store)
        else:
            await store.erase_before(T0 + int(span * share))
            kept = {at: value for at, value in kept.items() if at >= int(span * share)}
        for start, end in ((0, span + MINUTE), (int(span * first), int(span * last))):
            found = await look(store, "x", start, end, points=points, equipment=equipment)
            assert_is_history(found, kept, start, end, points)


@st.composite
def lives_of_a_field(draw: st.DrawFn) -> tuple[int, list[ActOnField]]:
    """A span, and what happens: long calm and busy minutes, in any order, late, again, overwriting; retention."""
    span = draw(st.sampled_from([10 * MINUTE, 2 * HOUR, 2 * DAY, 20 * DAY, 400 * DAY]))
    values = draw(st.sampled_from([[True, False], ["开", "关", "off"], ["true", "True", "", "0", "1"]]))
    calm = st.dictionaries(st.integers(0, span // 1000).map(lambda second: second * 1000), st.sampled_from(values))
    busy = st.builds(
        lambda first, every, many: {first + at * every: value for at, value in enumerate(many)},
        st.integers(0, span),
        st.sampled_from([1, 500, 10_000, 60_000, 70_000, HOUR]),
        st.lists(st.sampled_from(values), min_size=30, max_size=90),
    )
    act = st.tuples(
        st.sampled_from(["write", "write", "write", "roll up", "roll up", "erase"]), calm | busy, st.floats(0, 0.6)
    )
    return span, draw(st.lists(act, min_size=1, max_size=8))


@on_one_store
@given(
    life=lives_of_a_field(), first=st.floats(0, 0.5), last=st.floats(0.5, 1.1), points=st.sampled_from([1, 5, 40, 500])
)
async def test_changes_through_rollups_equal_a_plain_calculation_whatever_was_written_when(
    store: Store, life: tuple[int, list[ActOnField]], first: float, last: float, points: int
) -> None:
    (span, acts), equipment = life, fresh()
    kept: dict[int, bool | str] = {}
    for act, batch, share in acts:
        if act == "write":
            await store.write([reading(at, equipment, note=value) for at, value in batch.items()])
            kept |= batch
        elif act == "roll up":
            await roll_up_all(store)
        else:
            await store.erase_before(T0 + int(span * share))
            kept = {at: value for at, value in kept.items() if at >= int(span * share)}
        for start, end in ((0, 2 * span + MINUTE), (int(span * first), int(span * last))):
            found = await look(store, "note", start, end, points=points, equipment=equipment)
            expected = changes_in(kept, start, end, points)
            assert found == expected or (holds_nothing(found) and holds_nothing(expected))


def changes_in(samples: dict[int, bool | str], start: int, end: int, points: int) -> History:
    """What a plain calculation over all samples says."""
    changed: list[tuple[int, bool | str]] = []
    for at, value in sorted(samples.items()):
        if start <= at < end and (not changed or changed[-1][1] != value):
            changed.append((at, value))
    return changes(*changed[-points:], older_left_out=len(changed) > points)


async def roll_up_all(store: Store) -> None:
    """Until nothing is left to do; what was just written may have to wait for a second round."""
    await store.roll_up()
    while await store.roll_up():
        pass


@pytest.mark.parametrize("erased_until", [1, HOUR - 1, HOUR + 5, 20 * HOUR])
async def test_what_is_left_of_a_day_that_is_partly_erased_is_drawn_whole(store: Store, erased_until: int) -> None:
    samples = {5 * HOUR + at * 10 * MINUTE: float(at) for at in range(2_000)}  # begins after most of the moments
    await store.write([reading(at, level=value) for at, value in samples.items()])
    await roll_up_all(store)
    await store.erase_before(T0 + erased_until)
    kept = {at: value for at, value in samples.items() if at >= erased_until}
    for _ in range(2):
        found = await look(store, "level", 0, 300 * DAY, points=100)
        assert_is_history(found, kept, 0, 300 * DAY, 100)
        await roll_up_all(store)


async def test_a_year_is_drawn_from_rollups_and_late_data_shows_at_once(store: Store) -> None:
    hours = range(0, 24 * 365, 5)
    await store.write([reading(hour * HOUR, level=float(hour % 24)) for hour in hours])
    await roll_up_all(store)
    before = await look(store, "level", 0, 365 * DAY, points=1000)
    assert 360 <= len(before.buckets) <= 1000
    await store.write([reading(100 * DAY + 17, level=99.0)])
    for _ in range(2):
        after = await look(store, "level", 0, 365 * DAY, points=1000)
        assert max(bucket.most for bucket in after.buckets) == 99.0
        assert sum(bucket.samples for bucket in after.buckets) == len(hours) + 1
        await roll_up_all(store)


async def test_rollups_are_made_by_themselves_and_outlive_a_restart(backend: Backend) -> None:
    async with opened(backend) as store:
        await store.write([reading(minute * MINUTE, level=float(minute)) for minute in range(300)])
    async with opened(backend) as store:
        deadline = asyncio.get_running_loop().time() + 10
        while await store.roll_up():
            assert asyncio.get_running_loop().time() < deadline
        found = await look(store, "level", 0, 300 * MINUTE, points=200)
        assert_is_history(found, {minute * MINUTE: float(minute) for minute in range(300)}, 0, 300 * MINUTE, 200)


async def test_a_store_says_how_many_minutes_wait_for_their_rollups(store: Store) -> None:
    assert await store.rollups_due() == 0
    await store.write([reading(minute * MINUTE, level=1.0) for minute in range(3)])
    now = int(time.time() * 1000)
    await store.write([reading(now - T0, level=1.0)])
    await roll_up_all(store)
    due = await store.rollups_due()
    assert due == 1 or time.time() * 1000 // MINUTE > now // MINUTE, "the minute that is not over yet"


@on_one_store
@given(values=st.lists(st.booleans(), max_size=25) | st.lists(st.sampled_from(["开", "关", "off"]), max_size=25))
async def test_booleans_and_text_come_as_the_moments_at_which_they_changed(
    store: Store, values: list[bool | str]
) -> None:
    equipment = fresh()
    await store.write([reading(at, equipment, x=value) for at, value in enumerate(values)])
    changed = [(at, value) for at, value in enumerate(values) if at == 0 or values[at - 1] != value]
    if values:
        assert await look(store, "x", equipment=equipment) == changes(*changed)
        newest = changes(*changed[-3:], older_left_out=len(changed) > 3)
        assert await look(store, "x", points=3, equipment=equipment) == newest


async def test_samples_without_the_field_neither_count_nor_change_anything(store: Store) -> None:
    await store.write([reading(1, note="a", level=1.0), reading(2, leak=True), reading(3, note="a", level=3.0)])
    assert await look(store, "note") == changes((1, "a"))
    assert await look(store, "level") == raw((1, 1.0), (3, 3.0))


@pytest.mark.parametrize(
    ("first", "others"),
    [
        (1.0, [True, "broken", 3.0]),  # a number at first: only numbers go into figures
        ("broken", [1.0, "ok", 2.0]),  # a text at first: numbers are no changes of it
        (True, [1.0, False, 2.0]),
    ],
)
@pytest.mark.parametrize("points", [1, 500])
async def test_a_field_that_changed_its_type_yields_values_of_one_kind(
    store: Store, first: Value, others: list[Value], points: int
) -> None:
    refused = []
    for at, value in enumerate([first, *others]):
        refused += await store.write([reading(at, odd=value)])  # a store may refuse the other type, with a reason
    found = await look(store, "odd", points=points)
    assert bool(found.buckets) != bool(found.changes)
    assert {type(figure) for bucket in found.buckets for figure in bucket[1:4]} <= {float}
    assert {type(change.value) for change in found.changes} <= {bool, str}
    assert all(one.why for one in refused)


@pytest.mark.parametrize(
    ("field", "equipment", "start", "end"),
    [
        ("level", "S9", 0, 1000),  # an equipment that was never heard
        ("colour", "S1", 0, 1000),  # a field that it never sent
        ("level", "S1", 500, 1000),  # a time in which nothing came
        ("level", "S1", 5, 5),  # no time at all
        ("level", "S1", 9, 5),  # the wrong way round
    ],
)
async def test_where_nothing_is_known_the_history_is_empty(
    store: Store, field: str, equipment: str, start: int, end: int
) -> None:
    await store.write([reading(5, level=1.0)])
    assert holds_nothing(await look(store, field, start, end, equipment=equipment))


@pytest.mark.parametrize("field", ["level", "note", "leak", "odd", "odd_text", "odd_flag"])
async def test_a_range_that_is_empty_after_an_erase_is_the_same_empty_history_in_every_store(
    store: Store, field: str
) -> None:
    """A number, a text and a boolean, of the contract and beside it; something of each is still there later."""
    fields: dict[str, Value] = {
        "level": 1.0, "note": "x", "leak": True, "odd": 1.0, "odd_text": "x", "odd_flag": False
    }  # fmt: skip
    await store.write([of_fields(1, fields), of_fields(600_000, fields)])
    await store.erase_before(T0 + 300_000)
    nothing = History(raw=True, buckets=[], changes=[])
    assert await look(store, field, 0, 300_000) == nothing
    assert await look(store, field, 700_000, 800_000) == nothing
    assert await look(store, field, -10 * 86_400_000, 300_000) == nothing


async def test_a_range_may_be_as_wide_as_somebody_types_it(store: Store) -> None:
    await store.write([reading(5, level=1.0)])
    series = Series("garden", "sensor", "S1", "telemetry")
    assert (await store.history(series, "level", -(2**63), 2**63)) == raw((5, 1.0))


# -- forgetting, failing, sharing ----------------------------------------------------------------------


async def test_erasing_forgets_what_was_measured_before_and_nothing_else(store: Store) -> None:
    await store.write([reading(at, level=float(at)) for at in range(5)])
    await store.write([reading(at, "S2", leak=True) for at in (1, 8)])
    assert await store.erase_before(T0 + 3) == 4
    assert await look(store, "level") == raw((3, 3.0), (4, 4.0))
    assert await look(store, "leak", equipment="S2") == changes((8, True))
    assert await store.erase_before(T0 + 3) == 0
    assert store.latest()["garden", "S1"].fields["level"].value == 4.0


async def test_nothing_of_a_failed_write_is_kept_and_it_can_be_tried_again(backend: Backend) -> None:
    async with opened(backend) as store:
        await store.write([reading(1, level=1.0)])
        backend.break_down()
        lost = [reading(2, level=2.0), reading(2, "NEW", level=2.0)]
        with pytest.raises(StoreUnavailable, match=r".+"):
            await store.write(lost)
        backend.repair()
        assert await look(store, "level") == raw((1, 1.0))
        assert holds_nothing(await look(store, "level", equipment="NEW"))
    async with opened(backend) as store:
        assert set(store.latest()) == {("garden", "S1")}
        assert store.latest()["garden", "S1"].fields["level"] == LatestValue(1.0, T0 + 1)
        backend.break_down()
        with pytest.raises(StoreUnavailable):
            await store.write(lost)
        backend.repair()
        assert await store.write([reading(2, "OTHER", level=9.0)]) == []
        assert await store.write(lost) == []
    async with opened(backend) as store:
        assert await look(store, "level") == raw((1, 1.0), (2, 2.0))
        assert await look(store, "level", equipment="NEW") == raw((2, 2.0)), "not mixed up with the other one"
        assert await look(store, "level", equipment="OTHER") == raw((2, 9.0))


async def test_readers_see_whole_batches_while_others_are_written(store: Store) -> None:
    batches, size = 20, 50
    await store.write([reading(0, level=0.0)])

    async def write_all() -> None:
        for number in range(batches):
            first = 1 + number * size
            await store.write([reading(at, level=float(at)) for at in range(first, first + size)])

    writing = asyncio.create_task(write_all())
    seen = [0]
    while not writing.done():
        found = await asyncio.gather(*(look(store, "level", 0, 10_000, points=10_000) for _ in range(4)))
        for history in found:
            samples = len(history.buckets)
            assert (samples - 1) % size == 0, "a batch is all there or not at all"
            seen.append(samples)
    await writing
    assert len((await look(store, "level", 0, 10_000, points=10_000)).buckets) == 1 + batches * size
    assert seen[-1] > 1


async def test_writes_that_overlap_are_all_kept(store: Store) -> None:
    await asyncio.gather(*(store.write([reading(at, level=float(at))]) for at in range(20)))
    assert await look(store, "level") == raw(*((at, float(at)) for at in range(20)))
    assert store.latest()["garden", "S1"].fields["level"] == LatestValue(19.0, T0 + 19)


async def test_latest_can_be_sent_to_a_browser(store: Store) -> None:
    await store.write([reading(1, level=1.0, leak=False, note="好")])
    sent = msgspec.json.encode(list(store.latest().values()))
    assert msgspec.json.decode(sent, type=list[Latest]) == list(store.latest().values())
