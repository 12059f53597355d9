"""Events and taps are read back, and are a sign of life of their equipment."""

from pathlib import Path

import msgspec
import pytest

from collectors.payloads.native import decode
from collectors.timeseries.sqlite.store import SqliteStore
from collectors.wire.fields import Kind
from collectors.wire.reading import Reading, to_datetime
from collectors.wire.topics import parse_topic
from gateway.alarms.evaluation.evaluator import RuleEvaluator
from gateway.alarms.rules.rule import RuleType
from gateway.people.permissions import Role
from gateway.storage.received.last_events import LastEvent, last_events, newest_event_at
from tests.builders.alarms import PANEL, T0, encode, fire_rule, make_rule, open_desk, sample
from tests.servers.api_server import ApiServer

READER = "gengfu/B/patrol_reader/PR-1/event"
MINUTE = 60_000


def said(topic: str, at: int, **fields: object) -> Reading:
    (reading,) = decode(parse_topic(topic), encode({"at": at, **fields}), at).readings
    return reading


EVENTS = [
    said(PANEL, T0 + 1, type="fire", loop="1", address="1"),
    said(READER, T0 + 2, tag="04A2", card="7"),
    said(PANEL, T0 + 3, type="reset"),
    said(PANEL.replace("FP-1", "FP-2"), T0 + 3, type="test"),
    said(READER, T0 + 4, tag="04A3", card="7"),
]


@pytest.fixture
async def kept(api: ApiServer) -> ApiServer:
    """Five events of three equipments on two sites."""
    desk = await open_desk(api.services.database, fire_rule(), clock=api.clock)
    await desk.decide(*[msgspec.structs.replace(one) for one in EVENTS])
    return api


def moment(at: int) -> str:
    return to_datetime(at).isoformat().replace("+00:00", "Z")


FILTERS = [
    ("", [4, 3, 3, 2, 1]),
    ("site=HQ", [3, 3, 1]),
    ("kind=patrol_reader", [4, 2]),
    ("kind=patrol_reader&site=HQ", []),
    ("equipment=HQ:FP-1", [3, 1]),
    ("equipment=HQ:FP-1&kind=fire_panel", [3, 1]),
    ("equipment=HQ:FP-1&kind=sensor", []),
    (f"start={moment(T0 + 2)}&end={moment(T0 + 4)}", [3, 3, 2]),
    (f"site=HQ&start={moment(T0 + 2)}", [3, 3]),
]


@pytest.mark.parametrize(("query", "expected"), FILTERS)
async def test_events_are_listed_newest_first_and_page_by_page_without_a_gap(
    kept: ApiServer, query: str, expected: list[int]
) -> None:
    kept.log_in(Role.OPERATOR)
    _, whole = await kept.get(f"/api/v1/events?{query}")
    assert [item["received_at"] for item in whole["items"]] == [moment(T0 + at) for at in expected]
    items, cursor = [], ""
    while cursor is not None:
        _, page = await kept.get(f"/api/v1/events?{query}&limit=1&cursor={cursor}")
        items += page["items"]
        cursor = page["next"]
    assert items == whole["items"]


async def test_an_event_tells_what_was_said_by_whom_and_when(kept: ApiServer) -> None:
    kept.log_in(Role.OPERATOR)
    _, page = await kept.get("/api/v1/events?kind=patrol_reader&limit=1")
    (item,) = page["items"]
    assert item == {
        "id": EVENTS[4].digest, "site": "B", "kind": "patrol_reader", "equipment": "B:PR-1",
        "measured_at": moment(T0 + 4), "received_at": moment(T0 + 4), "fields": {"tag": "04A3", "card": "7"},
        "quality": [],
    }  # fmt: skip


async def test_nobody_sees_events_of_a_site_that_is_not_theirs(kept: ApiServer) -> None:
    await kept.log_in_with({"B": (Role.OPERATOR,)})
    for query, expected in (("", ["B", "B"]), ("site=HQ", []), ("kind=fire_panel", []), ("equipment=HQ:FP-1", [])):
        _, page = await kept.get(f"/api/v1/events?{query}")
        assert [item["site"] for item in page["items"]] == expected


@pytest.mark.parametrize("cursor", ["x", "1", "-x", "99999999999999999999-x", "1e3-x"])
async def test_a_cursor_that_is_none_is_refused(kept: ApiServer, cursor: str) -> None:
    kept.log_in(Role.OPERATOR)
    status, problem = await kept.get(f"/api/v1/events?cursor={cursor}")
    assert (status, problem["code"]) == (400, "bad_query")


async def test_the_last_event_of_each_equipment_is_known_after_a_start(kept: ApiServer) -> None:
    database = kept.services.database
    assert list(await last_events(database)) == [LastEvent("HQ", "FP-1", "fire_panel", T0 + 3)]  # the ledger's
    assert await newest_event_at(database) == T0 + 4


async def test_who_sends_only_events_was_seen_when_it_sent_the_last(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "history.db")
    store.note_received(("HQ", "FP-1"), "fire_panel", T0)
    store.update_latest([sample("gengfu/HQ/fire_panel/FP-1/telemetry", {"mains": True}, T0 - 5)])
    store.note_received(("HQ", "FP-1"), "fire_panel", T0 - 9)
    latest = store.latest()["HQ", "FP-1"]
    assert (latest.heard_at, list(latest.fields)) == (T0, ["mains"]), "an event is no value"


SILENT = make_rule("panel.silent", kind=Kind.FIRE_PANEL, type=RuleType.NO_DATA, field="online", after=2 * MINUTE)


def silences(evaluator: RuleEvaluator, until: int) -> list[bool]:
    """What each tick up to a moment decides: raised or ended."""
    found = []
    for now in range(T0, until + 1, 10_000):
        found += [decision.change.raised for decision in evaluator.tick(now).decisions]
    return found


def test_an_event_is_a_sign_of_life_for_a_rule_on_telemetry() -> None:
    evaluator = RuleEvaluator([SILENT], {}, MINUTE)
    evaluator.take([sample(PANEL.replace("/event", "/telemetry"), {"mains": True}, T0)])
    evaluator.take([said(PANEL, T0 + 2 * MINUTE - 1, type="test")])
    assert silences(evaluator, T0 + 4 * MINUTE - 20_000) == []
    assert silences(evaluator, T0 + 5 * MINUTE) == [True]
    ended = evaluator.take([said(PANEL, T0 + 6 * MINUTE, type="test")])
    assert [decision.change.raised for decision in ended.decisions] == [False]


def test_who_never_sent_telemetry_is_not_silent_between_two_events() -> None:
    evaluator = RuleEvaluator([SILENT], {}, MINUTE)
    evaluator.take([said(PANEL, T0, type="test")])
    assert silences(evaluator, T0 + 30 * MINUTE) == []
