"""Where the parts of the alarms meet: chatter, causes, shelves, changed rules, tickets, the clock; on the real acts."""

from typing import Any

import pytest

from collectors.wire.fields import Kind
from collectors.wire.reading import Reading
from gateway.alarms.built_in.synthetic_probe import PROBE_RULE
from gateway.alarms.lifecycle.damping import CHATTER_QUIET_MS
from gateway.alarms.lifecycle.operator_actions import acknowledge
from gateway.alarms.rules.files import RuleError, parse_rules
from gateway.alarms.rules.rule import Rule, TicketWish
from gateway.alarms.rules.rulebook import Override, Rulebook, RuleScope
from gateway.alarms.rules.versions import Wish, change
from gateway.alarms.suppression.causes import EARLIER_MS
from gateway.alarms.suppression.reasons import Shelf
from gateway.alarms.suppression.shelving import shelve
from gateway.equipment.ledger import PLATFORM, Equipment, Ledger, Site
from gateway.equipment.topology import Link, Relation
from gateway.people.audit.entry import CLOCK
from gateway.storage.database import Database
from gateway.storage.tables import activation, alarm, rule_version, ticket
from gateway.tickets.tickets import FACTS_TAKE_MS
from tests.builders.alarms import OPERATOR, T0, Desk, bearing, make_rule, open_desk, rows_of, sample

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
_TEXTS = "source: a test, title: {en: A, zh-CN: 甲}, advice: {en: B, zh-CN: 乙}"
CUT, HOT = parse_rules(
    f"""
rules:
  - {{id: mains.lost, kind: sensor, type: state, field: mains, in: [false], priority: high, suppresses: [power],
     release_after: 10s, {_TEXTS}}}
  - {{id: pump.hot, kind: pump, type: limit, field: bearing_temperature, above: 80, deadband: 5, priority: high,
     ticket: repair, {_TEXTS}}}
""",
    "site.yaml",
)
FED = Link("HQ", "P-1", "M-1", Relation.POWER)


@pytest.fixture
async def ledger(database: Database) -> Ledger:
    """The mains feed a pump."""
    ledger = Ledger(database, 10, "UTC")
    kinds = {"M-1": Kind.SENSOR, "P-1": Kind.PUMP}
    items = [Equipment("HQ", code, kind.value, {"en": code, "zh-CN": code}) for code, kind in kinds.items()]
    await ledger.enter([Site("HQ", {"en": "HQ", "zh-CN": "HQ"}, "Asia/Shanghai")], items, CLOCK, T0)
    await ledger.links.link(FED, CLOCK, T0)
    return ledger


def mains(*, there: bool, at: int) -> Reading:
    return sample("gengfu/HQ/sensor/M-1/telemetry", {"mains": there}, at)


async def of(desk: Desk, rule: str) -> dict[str, Any]:
    """The newest alarm of a rule."""
    return [row for row in await rows_of(desk.database, alarm) if row["rule"] == rule][-1]


async def wait(desk: Desk, milliseconds: int) -> None:
    desk.clock.now += milliseconds
    await desk.alarms.tick()


async def change_rule(
    desk: Desk, rule: Rule, changes: dict[str, Any], second: str | None = None, version: int = 0
) -> None:
    wish = Wish(RuleScope(rule.id, "HQ", ""), changes, version, "why")
    await change(desk.database, [CUT, HOT], wish, OPERATOR, second, desk.clock.now)


async def shelve_it(desk: Desk, rule: str, *, one_shot: bool = False, minutes: int = 60) -> None:
    row, now = await of(desk, rule), desk.clock.now
    wanted = Shelf(
        since=now,
        until=now + minutes * MINUTE,
        one_shot=one_shot,
        person=OPERATOR.actor,
        second_person=None,
        reason="x",
    )
    await shelve(desk.database, row["id"], row["version"], wanted, OPERATOR)


async def mains_flicker(desk: Desk, times: int, start: int) -> int:
    """Lost and back again, ten seconds each; when they were back last."""
    for number in range(times):
        await desk.decide(mains(there=False, at=start + number * 20_000))
        await desk.decide(mains(there=True, at=start + number * 20_000 + 10_000))
    return start + times * 20_000 - 10_000


# -- a cause that ends otherwise than by a sample ------------------------------------------------------------------


async def test_when_a_cause_has_stopped_chattering_what_it_explained_comes_back(
    database: Database, ledger: Ledger
) -> None:
    desk = await open_desk(database, CUT, HOT)
    last = await mains_flicker(desk, 3, T0)
    await desk.decide(bearing(91, last + 1))
    assert not (await of(desk, "pump.hot"))["annunciated"]
    await wait(desk, CHATTER_QUIET_MS)
    assert not (await of(desk, "mains.lost"))["active"]
    await wait(desk, 10_000)
    assert (await of(desk, "pump.hot"))["annunciated"]


async def test_when_the_rule_of_a_cause_is_put_out_of_force_what_it_explained_comes_back(
    database: Database, ledger: Ledger
) -> None:
    desk = await open_desk(database, CUT, HOT)
    await desk.decide(mains(there=False, at=T0), bearing(91, T0 + 1))
    assert not (await of(desk, "pump.hot"))["annunciated"]
    await change_rule(desk, CUT, {"enabled": False})
    await wait(desk, 1_000)
    assert not (await of(desk, "mains.lost"))["active"]
    await wait(desk, 10_000)
    assert (await of(desk, "pump.hot"))["annunciated"]


async def test_a_one_shot_shelf_ends_with_the_end_of_chatter(database: Database) -> None:
    desk = await open_desk(database, HOT)
    for number in range(3):
        await desk.decide(bearing(91, T0 + number * 2_000), bearing(20, T0 + number * 2_000 + 1_000))
    await shelve_it(desk, "pump.hot", one_shot=True)
    await wait(desk, CHATTER_QUIET_MS)
    row = await of(desk, "pump.hot")
    assert (row["state"], row["annunciated"]) == ("returned_unacknowledged", True)


# -- a cause that comes again --------------------------------------------------------------------------------------


@pytest.mark.parametrize("restart", [False, True])
async def test_what_a_cause_explains_stays_explained_when_it_comes_again_at_once(
    database: Database, ledger: Ledger, restart: bool
) -> None:
    desk = await open_desk(database, CUT, HOT)
    await desk.decide(mains(there=False, at=T0), bearing(91, T0 + 1))
    later = T0 + EARLIER_MS + MINUTE
    await desk.decide(mains(there=True, at=later), mains(there=False, at=later + 1))
    if restart:
        desk = await open_desk(database, CUT, HOT, clock=desk.clock)
    assert not (await of(desk, "pump.hot"))["annunciated"]
    await desk.decide(mains(there=True, at=later + 2))
    await wait(desk, 10_000)
    assert (await of(desk, "pump.hot"))["annunciated"]


async def test_a_cause_that_chatters_writes_nothing_anew_to_what_it_explains(
    database: Database, ledger: Ledger
) -> None:
    desk = await open_desk(database, CUT, HOT)
    await desk.decide(mains(there=False, at=T0), bearing(91, T0 + 1))
    version = (await of(desk, "pump.hot"))["version"]
    await desk.decide(mains(there=True, at=T0 + 10_000))
    await mains_flicker(desk, 20, T0 + 20_000)
    row = await of(desk, "pump.hot")
    assert (row["annunciated"], row["version"]) == (False, version)


# -- a rule that becomes one of life safety ------------------------------------------------------------------------


async def test_a_rule_that_becomes_critical_is_not_damped_any_more(database: Database) -> None:
    desk = await open_desk(database, HOT)
    for number in range(3):
        await desk.decide(bearing(91, T0 + number * 2_000), bearing(20, T0 + number * 2_000 + 1_000))
    row = await of(desk, "pump.hot")
    await acknowledge(database, row["id"], row["version"], "", OPERATOR, desk.clock.now)
    await change_rule(desk, HOT, {"priority": "critical"}, second="demo:manager")
    await wait(desk, 1_000)
    await desk.decide(bearing(91, desk.clock.now + 1))
    row = await of(desk, "pump.hot")
    assert (row["state"], row["chattering"], row["priority"], row["life_safety"]) == (
        "unacknowledged", False, "critical", True,
    )  # fmt: skip
    assert not (await rows_of(database, activation))[-1]["damped"]


async def test_an_alarm_whose_rule_becomes_critical_is_heard_though_its_cause_stands(
    database: Database, ledger: Ledger
) -> None:
    desk = await open_desk(database, CUT, HOT)
    await desk.decide(mains(there=False, at=T0), bearing(91, T0 + 1))
    await change_rule(desk, HOT, {"priority": "critical"}, second="demo:manager")
    await wait(desk, 1_000)
    row = await of(desk, "pump.hot")
    assert (row["priority"], row["life_safety"], row["annunciated"]) == ("critical", True, True)


async def test_a_new_activation_of_an_open_alarm_goes_by_the_rule_of_now(database: Database) -> None:
    desk = await open_desk(database, make_rule("pump.hot", ticket=TicketWish.NONE))
    await desk.decide(bearing(91, T0), bearing(20, T0 + 1))
    desk = await open_desk(database, make_rule("pump.hot", re_alarm=MINUTE), clock=desk.clock)
    await desk.decide(bearing(91, T0 + HOUR))
    row = await of(desk, "pump.hot")
    assert (row["activations"], row["wants_ticket"], row["re_alarm"]) == (2, "repair", MINUTE)


async def test_how_a_rules_alarms_live_is_changed_live_and_the_condition_stands_on(database: Database) -> None:
    desk = await open_desk(database, HOT)
    await desk.decide(bearing(91, T0), bearing(77, T0 + 1))  # within the deadband
    row = await of(desk, "pump.hot")
    await acknowledge(database, row["id"], row["version"], "", OPERATOR, T0 + 2)
    await change_rule(desk, HOT, {"re_alarm": "30min", "latching": True})
    await wait(desk, 1_000)
    row = await of(desk, "pump.hot")
    assert (row["state"], row["activations"], row["latching"]) == ("acknowledged", 1, False), "it goes on as it was"
    await wait(desk, 30 * MINUTE)
    assert (await of(desk, "pump.hot"))["state"] == "unacknowledged"
    await desk.decide(bearing(20, desk.clock.now))
    row = await of(desk, "pump.hot")
    await acknowledge(database, row["id"], row["version"], "", OPERATOR, desk.clock.now)
    await desk.decide(bearing(91, desk.clock.now + 1))
    assert (await of(desk, "pump.hot"))["latching"], "the next one latches"


# -- tickets -------------------------------------------------------------------------------------------------------


async def test_what_is_released_while_it_chatters_gets_one_ticket_also_where_no_fact_tells(
    database: Database,
) -> None:
    desk = await open_desk(database, HOT)
    await desk.decide(bearing(91, T0))
    await shelve_it(desk, "pump.hot", minutes=1)
    for number in range(1, 20):
        await desk.decide(bearing(20, T0 + number * 4_000), bearing(91, T0 + number * 4_000 + 2_000))
        await desk.alarms.tick()
    row = await of(desk, "pump.hot")
    assert (row["annunciated"], row["chattering"]) == (True, True)
    for _ in range(3):
        desk.clock.now += FACTS_TAKE_MS
        await desk.tickets.tick()
    (opened,) = await rows_of(database, ticket)
    assert opened["alarm"] == row["id"]


# -- the clock -----------------------------------------------------------------------------------------------------


async def test_chatter_ends_also_when_the_clock_was_set_back(database: Database) -> None:
    desk = await open_desk(database, HOT)
    desk.clock.now = T0 + DAY
    for number in range(3):
        await desk.decide(bearing(91, T0 + number * 2_000), bearing(20, T0 + number * 2_000 + 1_000))
    assert (await of(desk, "pump.hot"))["chattering"]
    desk.clock.now = T0 + MINUTE
    await desk.alarms.tick()
    await wait(desk, CHATTER_QUIET_MS)
    assert not (await of(desk, "pump.hot"))["chattering"]


@pytest.mark.parametrize("restart", [False, True])
async def test_what_was_acknowledged_before_the_clock_was_set_back_asks_again_in_time(
    database: Database, restart: bool
) -> None:
    rule = make_rule("pump.hot", re_alarm=30 * MINUTE)
    desk = await open_desk(database, rule)
    await desk.decide(bearing(91, T0))
    row = await of(desk, "pump.hot")
    await acknowledge(database, row["id"], row["version"], "", OPERATOR, T0 + DAY)
    if restart:
        desk = await open_desk(database, rule, clock=desk.clock)
    await wait(desk, 30 * MINUTE)
    assert (await of(desk, "pump.hot"))["state"] == "unacknowledged"


async def test_a_shelf_from_before_the_clock_was_set_back_does_not_keep_quiet(database: Database) -> None:
    desk = await open_desk(database, HOT)
    desk.clock.now = T0 + DAY
    await desk.decide(bearing(91, T0))
    await shelve_it(desk, "pump.hot")
    await desk.alarms.tick()
    desk.clock.now = T0 + MINUTE
    await desk.alarms.tick()
    assert (await of(desk, "pump.hot"))["annunciated"]


async def test_a_cause_that_ended_before_the_clock_was_set_back_explains_nothing(
    database: Database, ledger: Ledger
) -> None:
    desk = await open_desk(database, CUT, HOT)
    desk.clock.now = T0 + DAY
    await desk.decide(mains(there=False, at=T0 + DAY), bearing(91, T0 + DAY), mains(there=True, at=T0 + DAY + 1))
    await desk.alarms.tick()
    assert not (await of(desk, "pump.hot"))["annunciated"]
    desk.clock.now = T0 + MINUTE
    await desk.alarms.tick()
    assert (await of(desk, "pump.hot"))["annunciated"]


# -- the platform's own rule ---------------------------------------------------------------------------------------


async def test_nobody_changes_the_rule_of_the_watchdog(database: Database) -> None:
    own = {
        "kind": "system", "type": "limit", "field": "beat", "above": 9.0e15, "priority": "low", "source": "x",
        "title": {"en": "A", "zh-CN": "甲"}, "advice": {"en": "B", "zh-CN": "乙"},
    }  # fmt: skip
    instead = {**own, "instead_of": [PROBE_RULE.id]}
    for identity, changes in ((PROBE_RULE.id, {"enabled": False}), (PROBE_RULE.id, own), ("own.beat", instead)):
        with pytest.raises(RuleError):
            await change(database, [CUT], Wish(RuleScope(identity, PLATFORM, ""), changes, 0), OPERATOR, None, T0)
    assert await rows_of(database, rule_version) == []
    rulebook = Rulebook([PROBE_RULE], [Override(RuleScope(PROBE_RULE.id, PLATFORM, ""), 1, {"enabled": False})])
    assert rulebook.rules_for(PLATFORM, Kind.SYSTEM, "watchdog") == [PROBE_RULE]
    assert "system.watchdog" in rulebook.problems[0]
