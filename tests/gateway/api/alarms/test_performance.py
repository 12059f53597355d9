"""The figures through the API: each against a plain count over the same table, and who may see them."""

import asyncio
import random
import time
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import insert

from gateway.alarms.lifecycle.operator_actions import acknowledge
from gateway.alarms.performance.activation_history import measured
from gateway.alarms.performance.duty_positions import ONE_DESK, DutyPositions
from gateway.people.permissions import Role
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.tables import activation, alarm, out_of_service, shelf
from tests.builders.alarms import OPERATOR, T0, bearing, make_rule, only_row, open_desk, rows_of
from tests.servers.api_server import ApiServer

PATH = "/api/v1/alarms/performance"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = T0 - 10 * DAY


async def enter(database: Database, rows: list[dict[str, Any]]) -> None:
    """Activations of one alarm, as rows."""
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(90, T0))
    (whole,) = await rows_of(database, activation)
    async with database.transaction() as connection:
        await connection.execute(activation.delete())
        await connection.execute(
            insert(activation),
            [{**whole, "id": f"a{number}", "identity": f"a{number}", **row} for number, row in enumerate(rows)],
        )


def made(started: int, site: str = "HQ", part: str = "", **more: Any) -> dict[str, Any]:
    return {"site": site, "part": part, "started_at": started, "received_at": started, "ended_at": started + 1, **more}


def of(body: dict[str, Any], name: str) -> Any:
    (position,) = body["positions"]
    return next(figure for figure in position["figures"] if figure["name"] == name)["value"]


async def shown(api: ApiServer, start: int, end: int, **more: str) -> dict[str, Any]:
    def moment(at: int) -> str:
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at // 1000))}.{at % 1000:03}Z"

    async with api.client.get(PATH, params={"start": moment(start), "end": moment(end), **more}) as answer:
        assert answer.status == 200, await answer.text()
        body: dict[str, Any] = await answer.json()
        return body


async def test_the_figures_are_those_of_a_plain_count(api: ApiServer) -> None:
    dice = random.Random(7)
    times = sorted(dice.choices(range(START, T0, 500), k=900))
    burst = [START + DAY + number * 20_000 for number in range(15)]
    rows = [
        made(at, part=str(dice.randrange(30)), priority=dice.choice(("low", "low", "medium", "high")),
             ended_at=at + dice.choice((500, 9_999, 10_000, 400_000)), acknowledged_at=at + dice.randrange(1, 300_000))
        for at in (*times, *burst)
    ]  # fmt: skip
    await enter(api.services.database, rows)
    api.log_in(Role.MANAGER)
    body = await shown(api, START, T0)
    starts = sorted(row["started_at"] for row in rows)
    often = Counter(row["part"] for row in rows).most_common(10)
    waited = sorted(row["acknowledged_at"] - row["started_at"] for row in rows)
    counted = {
        "activations": 915,
        "average_per_day": 91.5,
        "most_per_window": max(sum(at - 600_000 < one <= at for one in starts) for at in starts),
        "most_per_hour": max(sum(at - HOUR < one <= at for one in starts) for at in starts),
        "most_per_day": max(sum(at - DAY < one <= at for one in starts) for at in starts),
        "most_frequent_share": sum(number for _, number in often) / 915,
        "fleeting": sum(row["ended_at"] - row["started_at"] < 10_000 for row in rows),
        "share_high": sum(row["priority"] == "high" for row in rows) / 915,
        "answered_p50_s": waited[457] / 1000,
    }
    assert {name: of(body, name) for name in counted} == pytest.approx(counted)
    assert of(body, "time_in_flood") > 0
    metrics = body["positions"][0]["opc_ua"]
    assert metrics["AlarmCount"] == 915
    assert metrics["MaximumAlarmRate"] == counted["most_per_window"]
    assert metrics["MaximumUnAck"] == max(waited)
    assert metrics["Rate"] == 10


async def test_drills_and_what_proved_wrong_are_left_out_and_said(api: ApiServer) -> None:
    rows = [made(T0 - 5), made(T0 - 4, drill=True), made(T0 - 3, drill=True), made(T0 - 2, disproved=True)]
    await enter(api.services.database, rows)
    api.log_in(Role.SHIFT_LEADER)
    body = await shown(api, START, T0)
    assert (of(body, "activations"), body["drills"], body["disproved"]) == (1, 2, 1)


async def test_what_stood_before_the_period_is_stale_and_not_counted(api: ApiServer) -> None:
    rows = [made(START - 2 * DAY, ended_at=None), made(START - DAY, ended_at=T0 + 1), made(START - DAY, "B")]
    await enter(api.services.database, [*rows, made(T0 - 1)])
    api.log_in(Role.ADMIN)
    body = await shown(api, START, T0)
    assert (of(body, "stale"), of(body, "activations")) == (1, 1), "both are of one key"
    assert body["positions"][0]["opc_ua"]["MaximumActiveState"] == 12 * DAY


async def test_who_asks_while_figures_are_made_is_sent_away_and_nothing_queues(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(*arguments: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await measured(*arguments)

    monkeypatch.setattr("gateway.api.alarms.performance.measured", slowly)
    api.log_in(Role.MANAGER)
    first = asyncio.create_task(api.get(PATH))
    await begun.wait()
    async with api.client.get(PATH) as second:
        assert (second.status, (await second.json())["code"]) == (429, "too_many_requests")
        assert int(second.headers["Retry-After"]) > 0
    go_on.set()
    assert (await first)[0] == 200
    assert (await api.get(PATH))[0] == 200


async def test_every_figure_with_a_band_has_its_verdict(api: ApiServer) -> None:
    await enter(api.services.database, [made(T0 - number) for number in range(1, 12)])
    api.log_in(Role.ENGINEER)
    figures = (await shown(api, T0 - HOUR, T0))["positions"][0]["figures"]
    by_name = {figure["name"]: figure for figure in figures}
    worst = by_name["most_per_window"]
    assert (worst["value"], worst["good"], worst["most"], worst["verdict"]) == (11, 10, 10, "unmanageable")
    assert by_name["average_per_window"]["verdict"] == "to_be_reduced"
    assert by_name["fleeting"]["verdict"] is None
    assert all((figure["verdict"] is None) == (figure["good"] is None) for figure in figures)


async def test_a_chattering_alarm_comes_with_the_delay_that_would_keep_it_quiet(api: ApiServer) -> None:
    rows = [made(START + number * 10_000, ended_at=START + number * 10_000 + 4_000) for number in range(30)]
    await enter(api.services.database, rows)
    api.log_in(Role.MANAGER)
    ((position),) = (await shown(api, START, T0))["positions"]
    (chattering,) = position["chattering"]
    assert chattering["key"] == "HQ/P-1//pump.hot"
    proposal = chattering["proposal"]
    assert (proposal["off_delay_s"], proposal["activations"], proposal["would_have_been"]) == (10, 30, 1)
    assert "10 s" in proposal["text"]["en"]


async def test_who_sees_one_site_is_told_of_no_other(api: ApiServer) -> None:
    await enter(api.services.database, [made(T0 - 3), made(T0 - 2, "B"), made(T0 - 1, "B")])
    await api.log_in_with({"B": (Role.MANAGER,)})
    assert of(await shown(api, START, T0), "activations") == 2
    status, problem = await api.get(f"{PATH}?site=HQ")
    assert (status, problem["code"]) == (404, "not_found")
    api.log_in(Role.MANAGER)
    assert of(await shown(api, START, T0, site="HQ"), "activations") == 1


@pytest.mark.parametrize(
    "query",
    ["start=2025-11-22T08:00:00Z&end=2025-11-22T08:00:00Z", "start=1960-01-01T00:00:00Z",
     "start=2020-01-01T00:00:00Z&end=2025-01-01T00:00:00Z"],
)  # fmt: skip
async def test_a_period_that_cannot_be_is_refused(api: ApiServer, query: str) -> None:
    api.log_in(Role.MANAGER)
    assert (await api.get(f"{PATH}?{query}"))[1]["code"] == "bad_query"


async def test_what_is_put_aside_is_shown_with_who_did_it(api: ApiServer) -> None:
    database = api.services.database
    await enter(database, [made(T0 - 1)])
    place = {"site": "HQ", "equipment": "P-1", "part": "", "since": T0 - 5, "person": "demo:operator"}
    parent = {"reason": "parent", "by": "alarm-1", "since": T0, "until": None, "why": "power cut"}
    async with database.transaction() as connection:
        await connection.execute(
            insert(shelf),
            [
                {**place, "rule": "pump.hot", "until": T0 + HOUR, "one_shot": False, "reason": "valve is being mended"},
                {**place, "rule": "pump.over", "until": T0, "one_shot": False, "reason": "over by itself"},
            ],
        )
        await connection.execute(insert(out_of_service), [{**place, "planned_end": T0 - 1, "reason": "new motor"}])
        await connection.execute(alarm.update().values(suppressions=[parent], annunciated=False))
    api.log_in(Role.MANAGER)
    aside = (await shown(api, START, T0))["set_aside"]
    assert [(one["reason"], one["rule"], one["why"]) for one in aside] == [
        ("shelved", "pump.hot", "valve is being mended"), ("out_of_service", "", "new motor"),
        ("parent", "pump.hot", "power cut"),
    ]  # fmt: skip
    assert aside[0]["by"]["en"] == "Operator"
    assert aside[2]["by"]["en"] == "alarm-1"


def test_positions_share_the_sites_out_and_none_belongs_to_two() -> None:
    duty = DutyPositions({"west": ["HQ"], "east": ["B", "C"]})
    assert [duty.of(site) for site in ("HQ", "C", "elsewhere")] == ["west", "east", "control room"]
    with pytest.raises(ValueError, match="HQ belongs to more than one position"):
        Settings(alarms={"duty_positions": {"west": ("HQ",), "east": ("HQ",)}})


async def test_positions_are_measured_apart(database: Database) -> None:
    await enter(database, [made(T0 - 3), made(T0 - 2, "B"), made(T0 - 1, "B")])
    found = await measured(database, START, T0, None, DutyPositions({"west": ["HQ"]}))
    assert [(one.position, one.activations) for one in found.figures] == [("control room", 2), ("west", 1)]


async def test_one_acknowledgement_answers_every_activation_before_it_and_none_after(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    for minute, celsius in enumerate((90, 20, 90, 20)):
        await desk.decide(bearing(celsius, T0 + minute * MINUTE))
    row = await only_row(database, alarm)
    await acknowledge(database, row["id"], row["version"], "", OPERATOR, T0 + 4 * MINUTE)
    await desk.decide(bearing(90, T0 + 5 * MINUTE))
    assert [row["acknowledged_at"] for row in await rows_of(database, activation)] == [*[T0 + 4 * MINUTE] * 2, None]
    (figures,) = (await measured(database, T0, T0 + 6 * MINUTE, None, ONE_DESK)).figures
    assert (figures.answered_p50_s, figures.answered_p95_s) == (240, 240), "one answer, waited for from the first"
    assert figures.metrics.maximum_unack == 4 * MINUTE


async def test_a_large_period_holds_up_nobody(database: Database) -> None:
    rows = [made(START + number * 1000, part=str(number % 50)) for number in range(40_000)]
    await enter(database, rows)
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    watching = asyncio.create_task(watch())
    (figures,) = (await measured(database, START, T0, None, ONE_DESK)).figures
    watching.cancel()
    assert figures.activations == 40_000
    assert turns > 100, "others had their turn all the while; in one piece there are a handful"
