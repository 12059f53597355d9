"""InfluxDB 2 by its recorded answers (`servers/influxdb2.py`): organisation, bucket, age, and answers that are none."""

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from collectors.timeseries.influx.access import Access
from collectors.timeseries.influx.answers import Unacceptable, refusal_of_lines
from collectors.timeseries.influx.chunks import chunks
from collectors.timeseries.influx.refusals import judge
from collectors.timeseries.influx.store import InfluxStore
from collectors.timeseries.rollups import DAY, MINUTE
from collectors.timeseries.store import Series, StoreUnavailable
from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading, Value
from collectors.wire.topics import Topic
from tests.servers.influxdb2 import BUCKET, NO_PERMISSION, ORG, TOKEN, WRONG_TOKEN, InfluxDB2, Refusal
from tests.servers.waiting import until

S1 = Series("garden", "sensor", "S1", "telemetry")


def now_ms() -> int:
    return time.time_ns() // 10**6


def reading(at: int, equipment: str = "S1", **fields: Value) -> Reading:
    """Measured at `at`, epoch ms."""
    topic = Topic("garden", Kind.SENSOR, equipment, Channel.TELEMETRY)
    return Reading(topic, dict(fields or {"level": 1.0}), at, at, at * 1_000_000)


@contextlib.asynccontextmanager
async def store_on(server: InfluxDB2, folder: Path, **access: object) -> AsyncIterator[InfluxStore]:
    wanted = {"org": ORG, "token": TOKEN, "bucket": BUCKET} | access
    store = InfluxStore(Access(server.url, **wanted), folder / "dirty-minutes.db")  # type: ignore[arg-type]
    await store.open()
    try:
        yield store
    finally:
        await store.close()


# -- age ---------------------------------------------------------------------------------------------------


async def test_what_the_bucket_would_refuse_for_its_age_is_refused_without_being_sent(tmp_path: Path) -> None:
    async with InfluxDB2(kept_s=10 * 86_400).running() as server, store_on(server, tmp_path) as store:
        now = now_ms()
        old = [reading(now - 11 * DAY + at) for at in range(150)]
        new = [reading(now - 60_000 - at) for at in range(250)]
        refused = await store.write([*new[:100], *old, *new[100:]])
        assert [one.reading for one in refused] == old
        assert len(server.lines) == 250
        assert len(server.requests) == 1


@pytest.mark.parametrize("wording", ["2.7.11", "2.9"])
async def test_readings_that_are_refused_for_their_age_cost_two_requests_whatever_the_wording(
    tmp_path: Path, wording: str
) -> None:
    server = InfluxDB2(wording=wording)
    async with server.running(), store_on(server, tmp_path) as store:
        server.kept_s = 10 * 86_400  # somebody changes it, and we have not heard of it
        now = now_ms()
        old = [reading(now - 11 * DAY + at, level=1.0, humidity=2.0, note="x") for at in range(150)]
        new = [reading(now - 60_000 - at, level=1.0, humidity=2.0) for at in range(250)]
        refused = await store.write([*new[:100], *old, *new[100:]])
        assert {one.reading.key for one in refused} == {one.key for one in old}
        assert len(server.lines) == 250
        assert len(server.requests) == 2


async def test_a_bucket_says_for_how_long_it_keeps_readings_and_is_asked_again(tmp_path: Path) -> None:
    server = InfluxDB2(kept_s=3600)
    async with server.running(), store_on(server, tmp_path) as store:
        bucket = store._server().bucket
        assert bucket.kept_s == 3600
        server.kept_s = 7200
        await bucket.learn()
        assert bucket.kept_s == 7200


@given(
    ages=st.lists(st.integers(0, 100), min_size=1, max_size=60),
    number=st.integers(1, 60),
)
def test_a_refusal_for_age_takes_the_oldest_and_sends_all_others_again(ages: list[int], number: int) -> None:
    readings = [reading(1_000_000 - age) for age in ages]
    fault = Unacceptable(422, f"partial write: dropped {number} points outside retention policy of duration 1h0m0s")
    verdict = judge(readings, fault)
    again = [one.key for part in verdict.again for one in part]
    assert sorted([*again, *(one.reading.key for one in verdict.refused)]) == sorted(one.key for one in readings)
    if number <= len(readings):
        assert len(verdict.refused) == number
        assert len(verdict.again) <= 1
        assert all(one.reading.key <= key for one in verdict.refused for key in again)


async def test_a_rollup_that_the_bucket_refuses_is_dropped_and_counted_and_holds_up_no_other_equipment(
    tmp_path: Path,
) -> None:
    """The sample is young enough; the rollup of its day begins before what the bucket keeps."""
    server = InfluxDB2()
    async with server.running(), store_on(server, tmp_path) as store:
        server.kept_s = 2 * 86_400  # not known to us: the refusal has to do
        old, new = now_ms() - 2 * DAY + 10 * MINUTE, now_ms() - 10 * MINUTE
        server_result = server._result

        def with_samples(number: int, statement: str) -> dict[str, object]:
            """Each of two equipments has one sample, whatever is asked."""
            result = server_result(number, statement)
            if statement.startswith("SELECT min(*)"):
                at = old if "'S1'" in statement else new
                columns = ["time", "min_level", "sum_level", "max_level", "count_level"]
                row = [at // MINUTE * MINUTE * 10**6, 1.0, 1.0, 1.0, 1]
                result["series"] = [{"name": "sensor", "columns": columns, "values": [row]}]
            if statement.startswith("SELECT min(/ least$/)"):
                at = old if "'S1'" in statement else new
                step = MINUTE * 60 if "_1m" in statement else DAY
                columns = ["time", "min_level least", "sum_level total", "max_level most", "sum_level samples"]
                row = [at // step * step * 10**6, 1.0, 1.0, 1.0, 1]
                result["series"] = [{"name": "sensor", "columns": columns, "values": [row]}]
            return result

        server._result = with_samples  # type: ignore[method-assign]
        await store.write([reading(old, "S1"), reading(new, "S2")])
        with capture_logs() as said:
            await until(lambda: store.rollups_refused() > 0, "a rollup is refused", 30)
        days = {key for (key, _), _ in server.lines.items() if key.startswith("sensor_1d")}
        assert days == {"sensor_1d,channel=telemetry,equipment=S2,site=garden"}
        assert any("dropped" in line["event"] for line in said)


# -- organisation and bucket -----------------------------------------------------------------------------


async def test_queries_name_the_organisation(tmp_path: Path) -> None:
    async with InfluxDB2().running() as server, store_on(server, tmp_path) as store:
        await store.refresh_latest()
        assert {parameters.get("org") for parameters, _ in server.queries} == {ORG}


async def test_a_wrong_organisation_fails_reads_and_writes_alike_and_names_the_setting(tmp_path: Path) -> None:
    async with InfluxDB2().running() as server, store_on(server, tmp_path, org="gengfoo") as store:
        for act in (
            store.write([reading(now_ms())]),
            store.history(S1, "level", 0, now_ms()),
            store.readings(S1, 0, now_ms()),
            store.refresh_latest(),
        ):
            with pytest.raises(StoreUnavailable, match=r"gengfoo.* not found.*history\.org"):
                await act
        assert server.queries == []
        assert server.lines == {}


async def test_an_unlisted_bucket_is_made_with_its_retention(tmp_path: Path) -> None:
    server = InfluxDB2()
    server.buckets = {}
    async with server.running():
        store = InfluxStore(Access(server.url, "new", ORG, TOKEN), tmp_path / "marks.db", 30)
        await store.open()
        assert list(server.buckets) == ["new"]
        assert server.kept_s == 30 * 86_400
        await store.write([reading(now_ms())])
        assert len(server.lines) == 1
        await store.close()


async def test_a_token_that_can_neither_see_nor_make_the_bucket_says_so(tmp_path: Path) -> None:
    server = InfluxDB2()
    server.may_see_buckets = server.may_make_buckets = False
    server.buckets = {}
    async with server.running(), store_on(server, tmp_path) as store:
        with pytest.raises(StoreUnavailable, match=rf"history\.token can neither see bucket '{BUCKET}'"):
            await store.history(S1, "level", 0, now_ms())
        with pytest.raises(StoreUnavailable, match=rf"bucket .*{BUCKET}.* not found.*history\.bucket"):
            await store.write([reading(now_ms())])


@pytest.mark.parametrize(
    ("refusal", "advice"),
    [(NO_PERMISSION, "needs permission to read and write bucket"), (WRONG_TOKEN, r"check history\.token")],
)
async def test_readings_that_may_not_be_written_are_kept_and_the_reason_says_what_to_do(
    tmp_path: Path, refusal: Refusal, advice: str
) -> None:
    async with InfluxDB2().running() as server, store_on(server, tmp_path) as store:
        server.answers["/api/v2/write"] = refusal
        with pytest.raises(StoreUnavailable, match=advice):
            await store.write([reading(now_ms())])


async def test_a_field_that_is_gone_but_whose_type_is_known_still_has_the_empty_history_of_every_store(
    tmp_path: Path,
) -> None:
    """InfluxDB 2 keeps the types of fields whose samples were erased."""
    server = InfluxDB2()
    async with server.running(), store_on(server, tmp_path) as store:
        own = server._result

        def with_types(number: int, statement: str) -> dict[str, object]:
            result = own(number, statement)
            if statement.startswith("SHOW FIELD KEYS"):
                values = [["odd text", "string"], ["level", "float"]]
                result["series"] = [{"name": "sensor", "columns": ["fieldKey", "fieldType"], "values": values}]
            return result

        server._result = with_types  # type: ignore[method-assign]
        for field in ("odd", "level", "leak", "unheard"):
            found = await store.history(S1, field, now_ms() - DAY, now_ms())
            assert (found.raw, found.buckets, found.changes, found.older_left_out) == (True, [], [], False), field


# -- answers that are none ---------------------------------------------------------------------------------

LOGIN = web.Response(text="<html>Please accept our terms</html>", content_type="text/html")
NO_SUCCESSES = {
    "a login page": LOGIN,
    "200 with JSON": web.json_response({"ok": True}),
    "200 with nothing": web.Response(status=200),
    "201": web.Response(status=201),
    "202": web.Response(status=202),
    "a redirect": web.Response(status=302, headers={"Location": "/api/v2/orgs"}),
    "a redirect that keeps the method": web.Response(status=307, headers={"Location": "/elsewhere"}),
    "400 of a proxy": web.Response(status=400, text="<html>The plain HTTP request was sent to HTTPS port</html>"),
    "400 of a server that speaks TLS": web.Response(status=400, text="Client sent an HTTP request to an HTTPS server."),
    "404 of a proxy": web.Response(status=404, text="<html>nginx</html>"),
    "junk that says it is compressed": web.Response(
        status=200, body=b"\x00\x01junk", headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}
    ),
    "a refusal that is not of InfluxDB": web.Response(status=422, text="no"),
}


@pytest.mark.parametrize("answer", NO_SUCCESSES.values(), ids=NO_SUCCESSES)
async def test_nothing_but_204_counts_as_stored(tmp_path: Path, answer: web.Response) -> None:
    async with InfluxDB2().running() as server, store_on(server, tmp_path) as store:
        server.answers["/api/v2/write"] = answer
        with pytest.raises(StoreUnavailable):
            await store.write([reading(now_ms()), reading(now_ms() - 1)])


@pytest.mark.parametrize(
    "message",
    [
        "Please provide either orgID or org",
        "invalid precision; valid precision units are ns, us, ms, and s",
        "gzipped HTTP body contains an invalid header",
    ],
)
def test_a_refusal_of_the_request_is_no_refusal_of_its_lines(message: str) -> None:
    body = f'{{"code":"invalid","message":"{message}"}}'.encode()
    assert refusal_of_lines(400, body) is None


NO_ANSWERS = {
    "a login page": LOGIN,
    "an empty object": web.json_response({}),
    "no results": web.json_response({"results": []}),
    "an array": web.json_response([1, 2]),
    "results that are none": web.json_response({"results": "none"}),
    "another type": web.Response(text='{"results":[{}]}', content_type="text/plain"),
    "half an answer": web.Response(body=b'{"results":[{"statement_id":0,"ser', content_type="application/json"),
    "an error inside": web.json_response({"results": [{"statement_id": 0, "error": "timeout"}]}),
    "an error beside": web.json_response({"error": "timeout"}),
    "part of the rows": web.json_response(
        {"results": [{"series": [{"name": "m", "columns": ["time"], "values": [[1]], "partial": True}]}]}
    ),
    "rows of another width": web.json_response(
        {"results": [{"series": [{"name": "m", "columns": ["time", "x"], "values": [[1]]}]}]}
    ),
    "compressed junk": web.Response(
        body=b"\x00junk", headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}
    ),
    "bytes that are no text": web.Response(body=b"\xff\xfe\x00", content_type="application/json"),
    "a redirect": web.Response(status=302, headers={"Location": "/api/v2/orgs"}),
    "no content": web.Response(status=204),
    "busy": web.Response(status=503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
}


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS)
async def test_an_answer_that_is_none_is_an_unavailable_store_and_no_other_error(
    tmp_path: Path, answer: web.Response
) -> None:
    async with InfluxDB2().running() as server, store_on(server, tmp_path) as store:
        server.answers["/query"] = answer
        for act in (store.history(S1, "level", 0, now_ms()), store.readings(S1, 0, now_ms()), store.refresh_latest()):
            with pytest.raises(StoreUnavailable):
                await act


async def test_of_a_conflict_of_types_only_those_fields_are_refused(tmp_path: Path) -> None:
    server = InfluxDB2()
    server.float_fields = {"odd"}
    async with server.running(), store_on(server, tmp_path) as store:
        server.float_fields = {"leak"}
        now = now_ms()
        batch = [reading(now - at, level=1.0) for at in range(300)]
        batch += [reading(now - at, level=1.0, leak=True) for at in range(300, 320)]
        refused = await store.write(batch)
        assert [list(one.reading.fields) for one in refused] == [["leak"]] * 20
        assert len(server.lines) == 320
        assert len(server.requests) == 2


async def test_a_server_that_takes_long_over_many_statements_is_asked_fewer_at_a_time_and_given_longer(
    tmp_path: Path,
) -> None:
    """Each statement takes it longer than the half of what a request may last at first."""
    server = InfluxDB2()
    async with server.running(), store_on(server, tmp_path, timeout_s=0.3) as store:
        server.seconds_a_statement = 0.2
        found = await store._server().ask(*["SELECT level FROM sensor"] * 8)
        assert found == [[]] * 8


async def test_a_write_that_takes_longer_than_the_limit_gets_through_after_some_tries(tmp_path: Path) -> None:
    server = InfluxDB2()
    async with server.running(), store_on(server, tmp_path, timeout_s=0.1) as store:
        server.seconds_a_write = 0.5
        tries = 0
        while not server.lines:
            tries += 1
            with contextlib.suppress(StoreUnavailable):
                await store.write([reading(now_ms())])
        assert 1 < tries < 8


async def test_a_year_is_written_in_requests_of_four_weeks(tmp_path: Path) -> None:
    """InfluxDB makes a file for each week that it has not heard of, and a request may not last for ever."""
    server = InfluxDB2()
    async with server.running(), store_on(server, tmp_path) as store:
        now = now_ms()
        assert await store.write([reading(now - day * DAY) for day in range(365)]) == []
        assert len(server.lines) == 365
        assert 13 <= len(server.requests) <= 14


@given(st.lists(st.integers(0, 60 * 7 * 86_400), max_size=40))
def test_no_request_spans_more_than_four_weeks_and_order_within_a_key_stays(seconds: list[int]) -> None:
    items = [(second * 10**9, number) for number, second in enumerate(seconds)]
    cut = [list(part) for part in chunks(items, lambda item: item[0])]
    assert sorted(item for part in cut for item in part) == sorted(items)
    assert all(max(part)[0] - min(part)[0] <= 4 * 7 * 86_400 * 10**9 for part in cut)
    flat = [item for part in cut for item in part]
    for key in {item[0] for item in items}:
        assert [item for item in flat if item[0] == key] == [item for item in items if item[0] == key]
