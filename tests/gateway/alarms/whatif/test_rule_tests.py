"""Rules tried on the stored history, by the API and the command line: a real store, a real database, a real server."""

import asyncio
import statistics
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert
from typer.testing import CliRunner

from collectors.timeseries.sqlite.store import SqliteStore
from collectors.wire.reading import Reading, to_datetime
from gateway.alarms.rules.rule import RuleType
from gateway.alarms.whatif.rule_tests import Asked, Busy, NotTestable, RuleTests
from gateway.cli import rule_test as rule_test_commands
from gateway.cli.api_client import RemoteError
from gateway.cli.main import cli
from gateway.cli.rule_test import tell
from gateway.people.people import DEMO_PASSWORD
from gateway.people.permissions import Role
from gateway.storage.database import Database
from gateway.storage.tables import event
from tests.builders.alarms import PUMP, PUMP_STATUS, T0, WINDOW_MS, bearing, fire_rule, make_rule, panel_event, sample
from tests.servers.api_server import ApiServer

MINUTE = 60_000
HOT: dict[str, Any] = {
    "id": "my.hot", "kind": "pump", "type": "limit", "field": "bearing_temperature", "above": 80, "deadband": 5,
    "priority": "medium", "title": {"en": "Hot", "zh-CN": "热"}, "advice": {"en": "Look.", "zh-CN": "查看。"},
    "source": "a test",
}  # fmt: skip


def flickering(count: int, hot_for: int = 5, every: int = 60) -> list[Reading]:
    """One sample a second; hot for some seconds of each minute."""
    return [bearing(85.0 if number % every < hot_for else 60.0, T0 + number * 1000) for number in range(count)]


async def ask(api: ApiServer, **wanted: Any) -> tuple[int, Any]:
    given = {"equipment": "HQ:P-1", "start": moment(0), "end": moment(30 * MINUTE), **wanted}
    return await api.post("/api/v1/rules/test", given)


def moment(after: int) -> str:
    return to_datetime(T0 + after).isoformat()


async def test_the_answer_is_numbers_list_share_and_chart(api: ApiServer) -> None:
    await api.services.store.write(flickering(600))
    api.clock.now = T0 + 3_600_000
    api.log_in(Role.ENGINEER)
    status, answer = await ask(api, rule=HOT, end=moment(600_000))
    assert status == 200
    assert (answer["alarms"], answer["shorter"], answer["left_out"], answer["readings"]) == (10, 10, 0, 600)
    assert answer["share_in_alarm"] == pytest.approx(50 / 600)
    first = answer["activations"][0]
    assert (first["start"][:19], first["duration_s"], first["value"]) == (moment(0)[:19], 5.0, 85.0)
    (chart,) = answer["charts"]
    assert (chart["field"], chart["unit"]) == ("bearing_temperature", "°C")
    assert chart["lines"] == [{"means": "above", "value": 80.0}, {"means": "returns", "value": 75.0}]
    assert sum(bucket["count"] for bucket in chart["buckets"]) == 600
    assert len(chart["buckets"]) <= 300
    assert answer["proposal"] == {"changes": {"on_delay": "15s"}, "alarms": 0}
    assert answer["rule"]["above"] == 80.0


async def test_a_known_rule_is_tried_with_changes(api: ApiServer) -> None:
    await api.services.store.write(
        [sample(PUMP, {"discharge_pressure": 0.25, "running": True}, T0 + at * 1000) for at in range(60)]
    )
    api.clock.now = T0 + 60_000
    api.log_in(Role.MANAGER)
    status, before = await ask(api, rule_id="pump.pressure_low")
    status_too, after = await ask(api, rule_id="pump.pressure_low", changes={"below": 0.3, "on_delay": "10s"})
    assert (status, status_too, before["alarms"], after["alarms"]) == (200, 200, 0, 1)
    assert after["activations"][0]["end"] is None
    assert after["end"][:19] == moment(60_000)[:19]  # the future is not tried


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"rule": {**HOT, "above": None, "field": "mode"}}, "rule_refused", "either 'above' or 'below'"),
    ({"rule": {**HOT, "kind": "elevator"}}, "rule_refused", "HQ:P-1 is of pump"),
    ({"rule": {**HOT, "on_delay": "9" * 400 + "d"}}, "rule_refused", "my.hot"),
    ({"rule": {"id": ["x"]}}, "rule_refused", ""),
    ({"rule_id": "pump.pressure_low", "changes": {"priority": "critical"}}, "rule_refused", "never delayed"),
    ({"rule_id": "pump.none"}, "not_found", "no rule"),
    ({"rule": HOT, "equipment": "HQ:none"}, "not_found", ""),
    ({}, "bad_request", "either 'rule'"),
    ({"rule": HOT, "changes": {"above": 3}}, "bad_request", "either 'rule'"),
    ({"rule": HOT, "start": moment(0), "end": moment(0)}, "bad_request", "before end"),
    ({"rule": HOT, "start": "2020-01-01T00:00:00Z"}, "not_testable", "400 days"),
    ({"rule": HOT, "start": "2025-11-22T08:00:00"}, "bad_request", "zone"),
    ({"rule": HOT, "points": 0}, "bad_request", "points"),
    ({"equipment": "HQ:FP-1", "rule_id": "fire_panel.check_post_missed"}, "not_testable", "response times of people"),
]  # fmt: skip


async def test_what_cannot_be_tried_is_refused_and_says_why(api: ApiServer) -> None:
    api.clock.now = T0 + 600_000
    api.log_in(Role.ADMIN)
    for wanted, code, says in REFUSED:
        status, problem = await ask(api, **wanted)
        assert (problem["code"], status >= 400) == (code, True), (wanted, problem)
        assert says in problem["detail"], wanted


async def test_a_body_that_nests_too_deeply_is_a_bad_request(api: ApiServer) -> None:
    api.log_in(Role.ADMIN)
    body = b'{"equipment": "HQ:P-1", "rule": {"when": ' + b'{"not": ' * 5_000 + b"{}" + b"}" * 5_002
    status, problem = await api.ask(
        "POST", "/api/v1/rules/test", data=body, headers={"Content-Type": "application/json"}
    )
    assert (status, problem["code"]) == (400, "bad_request")


async def test_one_who_may_test_on_another_site_is_told_of_nothing_here(api: ApiServer) -> None:
    await api.log_in_with({"B": (Role.ENGINEER,)})
    assert (await ask(api, rule=HOT))[0] == 404
    assert (await ask(api, rule=HOT, equipment="B:P-1"))[0] == 200


async def test_events_come_from_the_database_in_the_order_of_their_arrival(
    database: Database, store: SqliteStore
) -> None:
    events = [panel_event(T0), panel_event(T0 + 1_000, address="24"), panel_event(T0 + 60_000, type="reset", loop=None)]
    async with database.transaction() as connection:
        await connection.execute(insert(event), [row_of(item) for item in events])
    tests = make_tests(store, database)
    found = await tests.test(Asked(fire_rule(), "HQ", "FP-1", T0, T0 + MINUTE * 2), T0 + MINUTE * 2, propose=True)
    assert [(one.part, one.lasts(found.until)) for one in found.activations] == [("1-23", 60_000), ("1-24", 59_000)]
    assert found.proposal is None


async def test_telemetry_and_status_are_put_in_order_across_portions(database: Database, store: SqliteStore) -> None:
    await store.write([bearing(60, T0 + number * 1000) for number in range(1_200)])
    await store.write(
        [sample(PUMP_STATUS, {"online": online}, T0 + at) for at, online in ((700_500, False), (900_500, True))]
    )
    rule = make_rule("silent", type=RuleType.NO_DATA, field="online", after=300_000)
    asked = Asked(rule, "HQ", "P-1", T0, T0 + 1_200_000)
    found = await make_tests(store, database).test(asked, T0 + 1_200_000, propose=True)
    assert [(one.start - T0, one.lasts(found.until)) for one in found.activations] == [(700_500, 200_000)]


async def test_too_much_history_is_refused_with_the_time_that_fits(database: Database, store: SqliteStore) -> None:
    await store.write(flickering(1_100))
    tests = make_tests(store, database, most=1_000)
    asked = Asked(make_rule(), "HQ", "P-1", T0, T0 + 1_100_000)
    with pytest.raises(
        NotTestable, match="more than 1,000 readings; they reach from 2025-11-22 08:26 to 2025-11-22 08:43"
    ):
        await tests.test(asked, T0 + 1_100_000, propose=False)


async def test_a_second_test_is_told_to_wait_and_the_first_goes_on(database: Database, store: SqliteStore) -> None:
    await store.write(flickering(2_000))
    tests, asked = make_tests(store, database), Asked(make_rule(), "HQ", "P-1", T0, T0 + 2_000_000)
    first = asyncio.create_task(tests.test(asked, T0 + 2_000_000, propose=False))
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await tests.test(asked, T0 + 2_000_000, propose=False)
    assert len((await first).activations) == 34
    assert (await tests.test(asked, T0 + 2_000_000, propose=False)).readings == 2_000


async def test_the_loop_goes_on_while_a_test_runs(database: Database, store: SqliteStore) -> None:
    """Alarms are decided on this loop: between two of its turns lie milliseconds, whatever is tested."""
    for first in range(0, 60_000, 20_000):
        await store.write(flickering(60_000)[first : first + 20_000])
    tests, asked = make_tests(store, database), Asked(make_rule(), "HQ", "P-1", T0, T0 + 60_000_000)
    running = asyncio.create_task(tests.test(asked, T0 + 60_000_000, propose=True))
    gaps = []
    while not running.done():
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        gaps.append(time.perf_counter() - began)
    assert (await running).readings == 60_000
    assert len(gaps) > 50
    assert statistics.median(gaps) < 0.02


def make_tests(store: SqliteStore, database: Database, most: int = 100_000) -> RuleTests:
    return RuleTests(store, database, WINDOW_MS, most)


def row_of(reading: Reading) -> dict[str, Any]:
    names = ("digest", "fields", "quality", "measured_at", "received_at")
    topic = reading.topic
    return {"site": topic.site, "kind": topic.kind.value, "equipment": topic.equipment} | {
        name: getattr(reading, name) for name in names
    }


@pytest.fixture
async def store(tmp_path: Path) -> Any:
    store = SqliteStore(tmp_path / "readings.db")
    await store.open()
    yield store
    await store.close()


# -- the command line ----------------------------------------------------------------------------------


async def test_the_command_tells_numbers_list_chart_and_what_to_try(api: ApiServer) -> None:
    await api.services.store.write(flickering(600))
    api.clock.now = T0 + 3_600_000
    api.log_in(Role.ENGINEER)
    _, answer = await ask(api, rule=HOT, end=moment(600_000))
    lines: list[str] = []
    tell(answer, lines.append)
    text = "\n".join(lines)
    assert "Would have raised 10 alarms, 10 of them shorter than 60 s; in alarm 50 s, 8.3% of the time." in text
    assert "Fewer alarms: 0 alarms instead of 10 with --set on_delay=15s" in text
    assert text.count("═") > 30
    assert "bearing_temperature in °C" in text
    alarm = next(line for line in lines if line.strip().startswith("alarm "))
    assert alarm.count("█") >= 10
    assert max(map(len, lines)) <= 120


async def test_the_command_logs_in_and_asks_the_running_service(
    api: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    await api.services.store.write(flickering(120))
    api.clock.now = T0 + 600_000
    body = {"equipment": "HQ:P-1", "rule": HOT, "start": moment(0), "end": moment(120_000)}
    await rule_test_commands._test(str(api.client.make_url("/")), "engineer", DEMO_PASSWORD, "", body)
    assert "Would have raised 2 alarms, 2 of them shorter than 60 s" in capsys.readouterr().out
    with pytest.raises(RemoteError, match="Your role does not permit this"):
        await rule_test_commands._test(str(api.client.make_url("/")), "viewer", DEMO_PASSWORD, "", body)


async def test_an_empty_history_is_said_and_not_drawn(api: ApiServer) -> None:
    api.log_in(Role.ENGINEER)
    _, answer = await ask(api, rule=HOT)
    lines: list[str] = []
    tell(answer, lines.append)
    assert "0 readings, the first at none." in lines[1]
    assert any("this equipment has no reading" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pump.pressure_low", "HQ:P-1", "--set", "below"], "write KEY=VALUE"),
        (["pump.pressure_low", "HQ:P-1", "--start", "yesterday"], "is not a time"),
        (["{file}", "HQ:P-1"], "choose a rule with --id: a, b"),
        (["{file}", "HQ:P-1", "--id", "c"], "this file has no such rule"),
    ],
)
def test_what_the_command_cannot_understand_is_one_sentence(arguments: list[str], says: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_bytes(msgspec.yaml.encode({"rules": [{"id": "a"}, {"id": "b"}]}))
    given = [part.format(file=file) if part == "{file}" else part for part in arguments]
    result = CliRunner().invoke(cli, ["rules", "test", *given])
    assert result.exit_code == 1
    assert says in result.stderr
