"""What only an InfluxDB store meets: line protocol, refusals, a server that is away, busy, slow or locked."""

import asyncio
import contextlib
import gzip
import itertools
import subprocess
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from influxdb_client import Point

from collectors.timeseries.influx.access import Access
from collectors.timeseries.influx.line_protocol import encode, stored_name, wire_name
from collectors.timeseries.influx.store import InfluxStore
from collectors.timeseries.store import LatestValue, Series, StoreUnavailable
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Quality, Reading, Value
from collectors.wire.topics import Topic
from tests.builders.alarms import bearing
from tests.servers.influxdb import InfluxDB
from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service, wait_until
from tests.servers.waiting import until

T0 = 1_790_000_000_000
S1 = Series("garden", "sensor", "S1", "telemetry")
_databases = itertools.count()


def reading(at: int, equipment: str = "S1", quality: int = 0, **fields: Value) -> Reading:
    topic = Topic("garden", Kind.SENSOR, equipment, Channel.TELEMETRY)
    return Reading(topic, dict(fields), T0 + at, T0 + 50, (T0 + at) * 1_000_000, None, quality)


# -- line protocol -------------------------------------------------------------------------------------

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters='"\\'), min_size=1)
VALUES = (
    st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.text(st.characters(exclude_categories=["Cs"]))
)
PARTS = st.text("abcXYZ019_.-", min_size=1, max_size=20)


@given(
    topic=st.builds(Topic, PARTS, st.sampled_from(Kind), PARTS, st.sampled_from(Channel)),
    fields=st.dictionaries(NAMES, VALUES, min_size=1, max_size=8),
    key=st.integers(0, 2**62),
    quality=st.integers(0, 63),
)
def test_a_line_is_what_the_client_would_write(topic: Topic, fields: dict[str, Value], key: int, quality: int) -> None:
    point = Point(topic.kind.value).tag("site", topic.site).tag("equipment", topic.equipment)
    point.tag("channel", topic.channel.value).time(key)
    for name, value in fields.items():
        point.field(stored_name(topic.kind, topic.channel, name, type(value)), value)
    point.field("received at", 7).field("quality flags", quality)
    assert encode(Reading(topic, fields, 0, 7, key, None, quality)) == point.to_line_protocol()


@given(NAMES, st.sampled_from([float, bool, str]))
def test_the_field_can_be_told_from_the_name_under_which_it_is_kept(name: str, kept_as: type) -> None:
    assert wire_name(stored_name("sensor", "telemetry", name, kept_as)) == name


# -- the real server -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def opened(server: InfluxDB, folder: Path, database: str, **access: object) -> AsyncIterator[InfluxStore]:
    store = InfluxStore(Access(server.url, database, **access), folder / "dirty-minutes.db")  # type: ignore[arg-type]
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def database() -> str:
    return f"i{next(_databases)}"


async def numbers(store: InfluxStore, field: str, equipment: str = "S1") -> list[float]:
    found = await store.history(S1._replace(equipment=equipment), field, T0, T0 + 60_000)
    return [bucket.mean for bucket in found.buckets]


@pytest.mark.server
async def test_a_conflict_of_types_costs_one_field_and_nothing_beside_it(
    influxdb: InfluxDB, tmp_path: Path, database: str
) -> None:
    async with opened(influxdb, tmp_path, database) as store:
        await store._server().write([f"sensor,site=x colour=true,level=1 {T0 * 10**6}"])  # another program's types
        batch = [reading(at, colour=1.0, level=float(at)) for at in range(1, 4)]
        refused = await store.write([*batch, reading(9, "S2", humidity=5.0), reading(4, colour=2.0)])
        assert [list(one.reading.fields) for one in refused] == [["colour"]] * 4
        assert all("type conflict" in one.why for one in refused)
        assert await numbers(store, "level") == [1.0, 2.0, 3.0]
        assert await numbers(store, "humidity", "S2") == [5.0]


@pytest.mark.server
async def test_devices_that_disagree_about_the_type_of_an_unknown_field_are_all_kept(
    influxdb: InfluxDB, tmp_path: Path, database: str
) -> None:
    async with opened(influxdb, tmp_path, database) as store:
        values: list[Value] = [1.0, True, "one"]
        assert await store.write([reading(1, f"S{n}", odd=value) for n, value in enumerate(values)]) == []
    async with opened(influxdb, tmp_path, database) as store:
        assert [store.latest()["garden", f"S{n}"].fields["odd"].value for n in range(3)] == values


@pytest.mark.server
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
async def test_a_line_that_cannot_be_parsed_is_refused_alone_whatever_the_answer_says(
    influxdb: InfluxDB, tmp_path: Path, database: str, bad: float
) -> None:
    async with opened(influxdb, tmp_path, database) as store:
        batch = [reading(at, level=float(at)) for at in range(9)]
        batch[4].fields["bad"] = bad
        refused = await store.write(batch)
        assert [(one.reading.key, list(one.reading.fields)) for one in refused] == [(batch[4].key, ["bad"])]
        assert await numbers(store, "level") == [float(at) for at in range(9)]


@pytest.mark.server
async def test_a_clock_that_is_ahead_does_not_freeze_its_value_after_a_restart(
    influxdb: InfluxDB, tmp_path: Path, database: str
) -> None:
    async with opened(influxdb, tmp_path, database) as store:
        await store.write([reading(10**9, quality=Quality.FUTURE, level=1.0), reading(60, level=2.0)])
        expected = dict(store.latest())
        assert expected["garden", "S1"].fields["level"] == LatestValue(2.0, T0 + 60)
    async with opened(influxdb, tmp_path, database) as store:
        assert dict(store.latest()) == expected


@pytest.mark.server
async def test_compressed_lines_are_taken_too(influxdb: InfluxDB, tmp_path: Path, database: str) -> None:
    async with opened(influxdb, tmp_path, database, gzip=True) as store:
        await store.write([reading(at, level=float(at)) for at in range(100)])
        assert len(await numbers(store, "level")) == 100


@pytest.mark.server
async def test_a_server_that_is_away_at_the_start_holds_up_nobody_and_newest_values_come_later(tmp_path: Path) -> None:
    server = InfluxDB(tmp_path / "server").start()
    try:
        async with opened(server, tmp_path, "gengfu") as store:
            await store.write([reading(5, level=5.0), reading(5, humidity=40.0)])
        server.stop()
        async with opened(server, tmp_path, "gengfu") as store:
            with pytest.raises(StoreUnavailable):
                await store.write([reading(4, level=4.0, leak=True)])
            await asyncio.to_thread(server.start)
            await until(lambda: "humidity" in store.latest()["garden", "S1"].fields, "the newest values are restored")
            assert store.latest()["garden", "S1"].fields == {
                "level": LatestValue(5.0, T0 + 5),
                "humidity": LatestValue(40.0, T0 + 5),
                "leak": LatestValue(True, T0 + 4),
            }
    finally:
        server.close()


@pytest.mark.server
async def test_a_bucket_is_made_with_its_retention_and_one_that_is_there_is_kept(
    influxdb: InfluxDB, tmp_path: Path, database: str
) -> None:
    for days in (30, 60):
        store = InfluxStore(Access(influxdb.url, database), tmp_path / "dirty-minutes.db", days)
        await store.open()
        (found,) = await store._server().ask(f'SHOW RETENTION POLICIES ON "{database}"')
        assert [row["duration"] for row in found[0].rows()] == ["720h0m0s"]
        await store.close()


@pytest.mark.server
async def test_what_is_older_than_the_bucket_keeps_is_refused_and_the_rest_is_kept(
    influxdb: InfluxDB, tmp_path: Path, database: str
) -> None:
    store = InfluxStore(Access(influxdb.url, database), tmp_path / "dirty-minutes.db", 10)
    await store.open()
    try:
        now = time.time_ns() // 10**6 - T0
        old, new = reading(now - 11 * 86_400_000, level=1.0), reading(now - 60_000, level=2.0)
        assert [one.reading for one in await store.write([old, new])] == [old]
        found = await store.history(S1, "level", T0, T0 + now)
        assert [bucket.mean for bucket in found.buckets] == [2.0]
    finally:
        await store.close()


@pytest.mark.server
async def test_user_and_password_let_us_in_and_a_wrong_one_says_so(tmp_path: Path) -> None:
    server = InfluxDB(tmp_path / "server", auth=True).start()
    try:
        server.add_admin("admin", "s3cret")
        async with opened(server, tmp_path, "gengfu", username="admin", password="s3cret") as store:
            await store.write([reading(1, level=1.0)])
            assert await numbers(store, "level") == [1.0]
        async with opened(server, tmp_path, "gengfu", username="admin", password="wrong") as store:
            with pytest.raises(StoreUnavailable, match="401"):
                await store.write([reading(1, level=1.0)])
    finally:
        server.close()


@pytest.mark.server
def test_the_service_keeps_its_history_where_the_settings_say(
    influxdb: InfluxDB, mosquitto: Mosquitto, tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {"STORE": "influxdb", "URL": influxdb.url, "BUCKET": database}.items():
        monkeypatch.setenv(f"GENGFU_HISTORY__{key}", value)
    service = Service(tmp_path / "data", mosquitto.port).start_ready()
    try:
        command = ["mosquitto_pub", "-p", str(mosquitto.port), "-q", "1"]
        topic, sample = "gengfu/hq/pump/P-1/telemetry", '{"flow": 40.5, "running": true}'
        subprocess.run([*command, "-t", topic, "-m", sample], check=True, timeout=20)
        path = "/api/v1/equipment/hq:P-1/history?field=flow"
        wait_until(lambda: service.metric("gengfu_messages_acknowledged_total") >= 1, "the message is acknowledged")
        assert [bucket["mean"] for bucket in service.get(path)["buckets"]] == [40.5]
        service.kill()
        service.start_ready()
        assert service.get("/api/v1/equipment/hq:P-1/latest")["latest"]["flow"]["value"] == 40.5
        assert not (tmp_path / "data" / "history.db").exists()
    finally:
        service.kill()


# -- a fake for what the real server cannot be made to say ---------------------------------------------

Answer = Callable[[web.Request], Awaitable[web.Response]]


class FakeInfluxDB:
    """No InfluxDB: takes every line and every question, and answers writes as it is told to."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.asked = 0
        self.headers: dict[str, str] = {}
        self.answer: Answer = self.take

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.lines += (gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).splitlines()
        return web.Response(status=204)

    async def _write(self, request: web.Request) -> web.Response:
        self.asked += 1
        self.headers = dict(request.headers)
        return await self.answer(request)

    async def _query(self, _request: web.Request) -> web.Response:
        return web.json_response({"results": [{"statement_id": 0}]})

    @contextlib.asynccontextmanager
    async def store(self, folder: Path, **access: object) -> AsyncIterator[InfluxStore]:
        app = web.Application()
        app.add_routes([web.post("/api/v2/write", self._write), web.post("/query", self._query)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        store = InfluxStore(Access(url, "b", **access), folder / "dirty-minutes.db")  # type: ignore[arg-type]
        await store.open()
        try:
            yield store
        finally:
            await store.close()
            await runner.cleanup()


@pytest.fixture
def fake() -> FakeInfluxDB:
    return FakeInfluxDB()


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 503])
async def test_an_answer_that_is_not_about_the_lines_keeps_them(
    fake: FakeInfluxDB, tmp_path: Path, status: int
) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=status, text="not now")

    async with fake.store(tmp_path) as store:
        fake.answer = refuse
        with pytest.raises(StoreUnavailable, match=rf"{status}: not now"):
            await store.write([reading(1, level=1.0)])
        fake.answer = fake.take
        assert await store.write([reading(1, level=1.0)]) == []
        assert len(fake.lines) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(
    fake: FakeInfluxDB, tmp_path: Path, status: int
) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": "1"})

    async with fake.store(tmp_path) as store:
        fake.answer = refuse
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.write([reading(1, level=1.0)])
        fake.answer = fake.take
        while True:
            try:
                await store.write([reading(1, level=1.0)])
            except StoreUnavailable:
                await asyncio.sleep(0.01)
            else:
                break
        assert time.monotonic() - began >= 1
        assert fake.asked == 2


async def test_a_server_that_is_too_slow_is_tried_again(fake: FakeInfluxDB, tmp_path: Path) -> None:
    async def dawdle(request: web.Request) -> web.Response:
        await asyncio.sleep(0.5)
        return await fake.take(request)

    async with fake.store(tmp_path, timeout_s=0.1) as store:
        fake.answer = dawdle
        with pytest.raises(StoreUnavailable, match="Timeout"):
            await store.write([reading(1, level=1.0)])
        fake.answer = fake.take
        assert await store.write([reading(1, level=1.0)]) == []


async def test_of_an_answer_that_names_no_line_only_the_bad_reading_is_refused(
    fake: FakeInfluxDB, tmp_path: Path
) -> None:
    async def sift(request: web.Request) -> web.Response:
        if b"cursed" in await request.read():
            return web.json_response({"code": "invalid", "message": "partial write"}, status=400)
        return await fake.take(request)

    async with fake.store(tmp_path) as store:
        fake.answer = sift
        refused = await store.write(
            [reading(at, level=1.0, **({"cursed": 1.0} if at == 77 else {})) for at in range(200)]
        )
        assert [(one.reading.measured_at - T0, set(one.reading.fields)) for one in refused] == [(77, {"cursed"})]
        assert len({line.rpartition(b" ")[2] for line in fake.lines}) == 200
        assert fake.asked < 30


async def test_a_batch_that_is_too_large_is_sent_in_parts(fake: FakeInfluxDB, tmp_path: Path) -> None:
    async def sift(request: web.Request) -> web.Response:
        if len(await request.read()) > 2_000:
            return web.Response(status=413)
        return await fake.take(request)

    async with fake.store(tmp_path) as store:
        fake.answer = sift
        assert await store.write([reading(at, level=1.0) for at in range(100)]) == []
        assert len(set(fake.lines)) == 100


@pytest.mark.parametrize(
    ("access", "header"),
    [
        ({"token": "t0ken"}, "Token t0ken"),
        ({"username": "user", "password": "pässword"}, "Basic " + b64encode("user:pässword".encode()).decode()),
        ({}, None),
    ],
)
async def test_the_server_is_told_who_writes(
    fake: FakeInfluxDB, tmp_path: Path, access: dict[str, str], header: str | None
) -> None:
    async with fake.store(tmp_path, **access) as store:
        await store.write([reading(1, level=1.0)])
        assert fake.headers.get("Authorization") == header


async def test_newest_values_that_another_process_wrote_are_fetched(influxdb: InfluxDB, tmp_path: Path) -> None:
    ours, others = (InfluxStore(Access(influxdb.url, "shared_latest"), tmp_path / f"{name}.db") for name in "ab")
    await ours.open()
    await others.open()
    await others.write([bearing(55, T0)])
    assert await ours.refresh_latest() == {("HQ", "P-1")}
    assert ours.latest()["HQ", "P-1"].fields["bearing_temperature"].value == 55.0
    assert await ours.refresh_latest() == set()
    await others.close()
    await ours.close()
