"""What the platform finds out about itself, and the alarms that follow: for real where the world can be had."""

import asyncio
import ctypes
import datetime as dt
import json
import sqlite3
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Quality, Reading
from collectors.wire.topics import Topic
from gateway.alarms.evaluation.evaluator import RuleEvaluator
from gateway.alarms.rules.files import shipped_rules
from gateway.clocks import wall_ms
from gateway.devices.certificates import make_first
from gateway.equipment.ledger import Equipment, Site
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.supervision.certificates import days_left
from gateway.supervision.incoming_messages import way_of_messages
from gateway.supervision.own_clock import OwnClock, kernel_says_synchronised
from gateway.supervision.silent_sites import SilentSites, link_of, sites_that_report
from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service, wait_until
from tests.servers.wire import send

T0 = 1_790_000_000_000
PUMP = "gengfu/HQ/pump/P-1/telemetry"
QUICKER = {
    "system.broker_unreachable": {"on_delay": "2s"},
    "system.clock_not_synchronised": {"on_delay": "1s"},
    "system.history_behind": {"on_delay": "2s"},
}


class Hands:
    """Clocks moved by hand."""

    def __init__(self) -> None:
        self.steady_s = 1000.0
        self.wall_ms = T0

    def passes(self, seconds: float, *, jump_s: float = 0.0) -> None:
        self.steady_s += seconds
        self.wall_ms += int(1000 * (seconds + jump_s))

    def clock(self, kept: bool | None = True) -> OwnClock:
        return OwnClock(lambda: self.wall_ms, lambda: self.steady_s, lambda: kept)


@pytest.fixture
def hands() -> Hands:
    return Hands()


def reading(site: str = "HQ", code: str = "P-1", *, ahead_ms: int = 0, **marks: Any) -> Reading:
    topic = Topic(site, Kind.PUMP, code, marks.pop("channel", Channel.TELEMETRY))
    return Reading(topic, {"flow": 1.0}, measured_at=T0 + ahead_ms, received_at=T0, key=0, **marks)


# -- the clock -----------------------------------------------------------------------------------------------------


def test_what_the_kernel_does_not_say_is_not_said(hands: Hands) -> None:
    assert "clock_synchronised" not in hands.clock(kept=None).findings()
    assert hands.clock(kept=False).findings()["clock_synchronised"] is False


def test_the_kernel_says_what_adjtimex_says() -> None:
    """By the other door into the kernel: the return value is TIME_ERROR (5) where nobody keeps the clock."""
    returned = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    assert kernel_says_synchronised() is (None if returned == -1 else returned != 5)


@pytest.mark.parametrize(("jump_s", "told"), [(0.0, False), (1.9, False), (2.1, True), (-3600.0, True), (8e4, True)])
def test_a_clock_that_is_set_is_found_once_and_one_that_goes_on_is_not(hands: Hands, jump_s: float, told: bool) -> None:
    clock = hands.clock()
    hands.passes(5)
    assert clock.findings()["clock_jumped"] is False
    hands.passes(5, jump_s=jump_s)
    assert clock.findings()["clock_jumped"] is told
    hands.passes(5)
    assert clock.findings()["clock_jumped"] is False


def test_a_few_devices_say_nothing_of_our_clock_and_half_of_many_do(hands: Hands) -> None:
    clock = hands.clock()
    clock.note([reading(code=f"P-{number}", ahead_ms=-90_000) for number in range(9)])
    assert "devices_clock_apart" not in clock.findings()
    clock.note([reading(code=f"G-{number}") for number in range(4)])
    assert clock.findings()["devices_clock_apart"] == 90.0
    clock.note([reading(code=f"G-{number}") for number in range(4, 10)])
    assert clock.findings()["devices_clock_apart"] == 0.0
    hands.passes(301)
    assert "devices_clock_apart" not in clock.findings(), "what was said long ago says nothing of now"


@pytest.mark.parametrize("marks", [{"quality": Quality.NO_TIME}, {"quality": Quality.RETAINED}, {"redelivered": True}])
def test_samples_without_a_time_of_their_own_or_from_a_memory_are_not_compared(
    hands: Hands, marks: dict[str, Any]
) -> None:
    clock = hands.clock()
    clock.note([reading(code=f"P-{number}", ahead_ms=-90_000, **marks) for number in range(20)])
    assert "devices_clock_apart" not in clock.findings()


async def test_the_databases_clock_is_compared_with_ours_where_it_has_one(database: Database) -> None:
    right = await OwnClock(wall_ms).apart_from(database)
    if database.is_sqlite:
        assert right == {}, "a file has none"
        return
    assert right == {"database_clock_apart": 0.0}
    behind = OwnClock(lambda: wall_ms() - 10_000)
    apart = (await behind.apart_from(database))["database_clock_apart"]
    assert isinstance(apart, float)
    assert 9 <= apart <= 10


# -- whole sites ---------------------------------------------------------------------------------------------------


def said(found: list[Reading]) -> dict[str, object]:
    return {item.topic.site: item.fields["site_silent"] for item in found}


def test_a_site_is_silent_after_the_time_and_speaks_again_at_its_first_message() -> None:
    sites = SilentSites(60)
    for second in range(0, 60, 5):
        assert said(sites.look(["HQ"], True, second, T0)) == {}
    assert said(sites.look(["HQ"], True, 60, T0)) == {"HQ": True}
    sites.hear([reading()])
    assert said(sites.look(["HQ"], True, 65, T0)) == {"HQ": False}


def test_each_site_counts_for_itself() -> None:
    sites = SilentSites(60)
    for second in range(0, 65, 5):
        sites.hear([reading("B")])
        found = sites.look(["HQ", "B"], True, second, T0)
    assert said(found) == {"HQ": True, "B": False}


def test_only_time_counts_in_which_the_service_listens() -> None:
    sites = SilentSites(60)
    for second in range(0, 300, 5):
        assert said(sites.look(["HQ"], False, second, T0)) == {}
    assert said(sites.look(["HQ"], True, 3_600, T0)) == {}, "it was held up: nobody was heard"
    for second in range(3_605, 3_660, 5):
        assert said(sites.look(["HQ"], True, second, T0)) == {}
    assert said(sites.look(["HQ"], True, 3_660, T0)) == {"HQ": True}


@pytest.mark.parametrize("marks", [{"channel": Channel.STATUS}, {"quality": Quality.RETAINED}])
def test_what_the_broker_itself_sends_is_no_sign_of_a_site(marks: dict[str, Any]) -> None:
    sites = SilentSites(10)
    for second in (0, 5, 10):
        sites.hear([reading(**marks)])
        found = sites.look(["HQ"], True, second, T0)
    assert said(found) == {"HQ": True}


def test_with_the_setting_off_nothing_is_said() -> None:
    sites = SilentSites(0)
    for second in range(0, 100, 5):
        sites.hear([reading()])
        assert sites.look(["HQ"], True, second, T0) == []


def test_only_adopted_equipment_that_reports_by_itself_makes_a_site_one_that_reports() -> None:
    name = {"en": "x", "zh-CN": "x"}
    items = [
        Equipment("A", "P-1", "pump", name),
        Equipment("B", "P-1", "pump", name, adopted=False),
        Equipment("C", "FP-1", "fire_panel", name),
        Equipment("D", "R-1", "patrol_reader", name),
        Equipment("platform", "gengfu", "system", name),
        link_of(Site("E", name, "UTC")),
    ]
    assert sites_that_report(items) == {"A"}


# -- certificates --------------------------------------------------------------------------------------------------


def test_the_first_certificate_that_ends_counts_and_what_cannot_be_read_is_not_guessed(tmp_path: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    (tmp_path / "all").mkdir()
    make_first(tmp_path / "all", ["localhost"], now)
    certificate = next((tmp_path / "all").rglob("server.crt"))
    page = Settings(http={"tls_certificate": str(certificate)}, broker={"ca_file": str(tmp_path / "all" / "ca.crt")})
    left = days_left(page, now)["certificate_days"]
    assert isinstance(left, float)
    assert left > 14
    later = now + dt.timedelta(days=left + 1)
    assert days_left(page, later) == {"certificate_days": -1.0}
    assert days_left(Settings(broker={"ca_file": str(tmp_path / "none")}), now) == {}
    assert days_left(Settings(), now) == {}


# -- what follows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "field", "good", "bad"),
    [
        ("system.broker_unreachable", "broker_reachable", True, False),
        ("system.falling_behind", "oldest_wait", 0.1, 5.1),
        ("system.history_behind", "history_behind", False, True),
        ("system.clock_not_synchronised", "clock_synchronised", True, False),
        ("system.clock_jumped", "clock_jumped", False, True),
        ("system.database_clock_apart", "database_clock_apart", 0.0, 2.1),
        ("system.devices_clock_apart", "devices_clock_apart", 0.2, 60.1),
        ("system.certificate_ends", "certificate_days", 90.0, 13.9),
        ("system.site_silent", "site_silent", False, True),
    ],
)
def test_each_finding_has_its_alarm(rule: str, field: str, good: object, bad: object) -> None:
    evaluator = RuleEvaluator([item for item in shipped_rules() if item.kind is Kind.SYSTEM], {}, 60_000)
    hour = 3_600_000
    raised = []
    for at, value in ((T0, good), (T0 + hour, bad), (T0 + 2 * hour, bad), (T0 + 3 * hour, good), (T0 + 4 * hour, good)):
        outcome = evaluator.take([own_reading({field: value}, at)])
        raised += [(decision.rule.id, decision.change.raised) for decision in outcome.decisions]
    assert raised == [(rule, True), (rule, False)]


@pytest.mark.parametrize(("rule", "field", "often"), [
    ("system.database_slow", "decisions_waited", 3), ("system.pages_too_slow", "pages_dropped", 6),
])  # fmt: skip
def test_what_may_happen_now_and_then_is_an_alarm_only_when_it_happens_often(rule: str, field: str, often: int) -> None:
    evaluator = RuleEvaluator([item for item in shipped_rules() if item.kind is Kind.SYSTEM], {}, 60_000)
    found: list[str] = []
    for number in range(often + 1):
        assert found == []
        outcome = evaluator.take([own_reading({field: float(number)}, T0 + 5_000 * number)])
        found = [decision.rule.id for decision in outcome.decisions]
    assert found == [rule]


def own_reading(fields: dict[str, Any], at: int) -> Reading:
    topic = Topic("platform", Kind.SYSTEM, "gengfu", Channel.TELEMETRY)
    return Reading(topic, fields, measured_at=at, received_at=at, key=at)


@pytest.fixture
def quick_rules(tmp_path: Path) -> Path:
    """The shipped rules with shorter delays."""
    text = (files("gateway.alarms") / "default_rules" / "system.yaml").read_text(encoding="utf-8")
    rules = [rule | QUICKER[rule["id"]] for rule in yaml.safe_load(text)["rules"] if rule["id"] in QUICKER]
    file = tmp_path / "quick.yaml"
    file.write_text(yaml.safe_dump({"rules": rules}, allow_unicode=True), encoding="utf-8")
    return file


class WatchedService:
    """A service with one adopted pump, and its broker."""

    def __init__(self, folder: Path, mosquitto: Mosquitto, rules: Path) -> None:
        self.mosquitto = mosquitto
        environment = {"GENGFU_ALARMS__SITE_SILENT_MIN": "0.2"}
        self.service = Service(folder, mosquitto.port, "--rules", str(rules), **environment).start_ready()

    def say(self, **fields: object) -> None:
        asyncio.run(send(self.mosquitto.port, [(PUMP, json.dumps(fields).encode())]))

    def knows_the_pump(self) -> bool:
        return any(item["id"] == "HQ:P-1" for item in self.service.get("/api/v1/equipment")["items"])

    def standing(self) -> dict[str, str]:
        """Rule -> site of the alarms whose condition stands."""
        items = self.service.get("/api/v1/alarms?state=open")["items"]
        return {item["rule"]: item["site"] for item in items if item["active"]}

    def until_it_stands(self, rule: str, within_s: float = 40) -> str:
        return str(wait_until(lambda: self.standing().get(rule), f"{rule} stands", within_s))

    def until_it_is_over(self, rule: str, within_s: float = 40) -> None:
        wait_until(lambda: rule not in self.standing(), f"{rule} is over", within_s)


@pytest.fixture
def with_pump(tmp_path: Path, quick_rules: Path) -> Iterator[WatchedService]:
    mosquitto = Mosquitto(tmp_path / "mosquitto").start()
    watched = WatchedService(tmp_path / "data", mosquitto, quick_rules)
    try:
        watched.say(flow=1)
        wait_until(
            lambda: "HQ:P-1" in [item["id"] for item in watched.service.get("/api/v1/equipment")["items"]], "heard"
        )
        status, answer = watched.service.post("/api/v1/equipment/HQ:P-1/adopt", {"version": 1})
        assert status == 200, answer
        yield watched
    finally:
        watched.service.stop()
        mosquitto.kill()


@pytest.mark.server
def test_a_silent_site_is_an_alarm_of_that_site_until_it_speaks_again_also_over_a_kill(
    with_pump: WatchedService,
) -> None:
    watched = with_pump
    assert watched.until_it_stands("system.site_silent") == "HQ"
    link = next(item for item in watched.service.get("/api/v1/equipment")["items"] if item["id"] == "HQ:gengfu")
    assert link["name"]["en"] == "Link to the site"
    watched.service.kill()
    watched.service.start_ready()
    assert watched.standing()["system.site_silent"] == "HQ"
    watched.say(flow=2)
    watched.until_it_is_over("system.site_silent")


@pytest.mark.server
def test_a_broker_that_is_away_is_one_alarm_and_no_site_is_called_silent(with_pump: WatchedService) -> None:
    watched = with_pump
    watched.mosquitto.kill()
    assert watched.until_it_stands("system.broker_unreachable") == "platform"
    away_since = time.monotonic()
    wait_until(lambda: time.monotonic() - away_since > 20, "longer than a site may be silent", 30)
    assert "system.site_silent" not in watched.standing()
    watched.mosquitto.start()
    watched.until_it_is_over("system.broker_unreachable")


@pytest.mark.server
def test_messages_that_had_to_wait_are_told_as_soon_as_it_can_be_told(with_pump: WatchedService) -> None:
    watched = with_pump
    lock = sqlite3.connect(watched.service.folder / "gengfu.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        watched.say(bearing_temperature=120)
        locked_since = time.monotonic()
        wait_until(lambda: time.monotonic() - locked_since > 8, "longer than a message may wait")
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    watched.until_it_stands("system.falling_behind")


@pytest.mark.server
def test_the_clock_is_an_alarm_exactly_where_the_kernel_says_that_nobody_keeps_it(
    with_pump: WatchedService,
) -> None:
    watched = with_pump
    if kernel_says_synchronised() is False:
        assert watched.until_it_stands("system.clock_not_synchronised") == "platform"
    else:
        watched.until_it_stands("system.site_silent")  # so the platform has looked at itself more than once
        assert "system.clock_not_synchronised" not in watched.standing()


def test_what_is_known_of_the_way_of_messages() -> None:
    """A fake of each part: what is put together here, the parts' own tests and the ones above prove the rest."""
    broker = SimpleNamespace(waiting=3, oldest_ns=time.time_ns() - 7_000_000_000, connected=True)
    collector = SimpleNamespace(longest_judging_s=lambda: 2.0)
    buffer = SimpleNamespace(is_behind=True, trouble="")
    told: Any = way_of_messages(
        broker,
        collector,
        buffer,
        SimpleNamespace(waited=4),
        SimpleNamespace(dropped=5),  # type: ignore[arg-type]
    )
    assert 7 <= told.pop("oldest_wait") < 8
    assert told == {
        "broker_reachable": True, "messages_waiting": 3.0, "history_behind": True, "decisions_waited": 4.0,
        "pages_dropped": 5.0,
    }  # fmt: skip
