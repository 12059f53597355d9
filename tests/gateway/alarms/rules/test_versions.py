"""Each change of a rule is a version, is taken up without a restart, and can be taken back."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import delete, insert

from gateway.alarms.alarms import RULES_TAKEN_UP
from gateway.alarms.evaluation.outcomes import Decision
from gateway.alarms.lifecycle.transitions import identity_of
from gateway.alarms.rules.files import RuleError
from gateway.alarms.rules.rulebook import RuleScope
from gateway.alarms.rules.versions import NoSuchVersion, StaleRule, TwoPeopleNeeded, Wish, change, roll_back
from gateway.people.audit.entry import Cause, Via
from gateway.storage.database import Database
from gateway.storage.leadership import lease
from gateway.storage.tables import alarm, audit, consumer_offset, fact, journal, rule_memory, rule_version
from tests.builders.alarms import T0, Desk, bearing, only_row, open_desk, panel_event, rows_of
from tests.builders.changeable_rules import RULES

ADMIN = Cause("demo:admin", Via.WEB, "192.0.2.7")
HOT, HOT_HERE = RuleScope("pump.hot", "HQ", ""), RuleScope("pump.hot", "HQ", "P-1")
TRAPPED = RuleScope("lift.trapped", "HQ", "")


async def write(
    database: Database, place: RuleScope, changes: dict[str, Any], version: int, second: str | None = None
) -> dict[str, Any]:
    return await change(database, RULES, Wish(place, changes, version, "why"), ADMIN, second, T0)


async def open_with_rules(database: Database) -> Desk:
    return await open_desk(database, *RULES)


async def test_a_change_is_a_version_with_its_audit_row_and_its_fact(database: Database) -> None:
    await write(database, HOT, {"above": 90}, 0)
    row = await only_row(database, rule_version)
    assert (row["version"], row["changes"], row["person"], row["at"], row["note"]) == (
        1, {"above": 90}, "demo:admin", T0, "why",
    )  # fmt: skip
    told, recorded = await only_row(database, fact), await only_row(database, audit)
    assert (told["kind"], told["site"], told["thing"]) == ("rule.changed", "HQ", "pump.hot")
    assert (recorded["act"], recorded["thing"], recorded["actor"]) == ("rule.changed", "pump.hot", "demo:admin")
    assert recorded["before"] == {"equipment": "", "version": 0, "changes": {}}
    assert recorded["after"]["changes"] == {"above": 90}


async def test_each_place_counts_its_own_versions_and_a_stale_change_is_refused(database: Database) -> None:
    await write(database, HOT, {"above": 90}, 0)
    await write(database, HOT_HERE, {"above": 95}, 0)
    await write(database, HOT, {"above": 91}, 1)
    with pytest.raises(StaleRule, match="at version 2 here, not 1"):
        await write(database, HOT, {"above": 92}, 1)
    assert [row["version"] for row in await rows_of(database, rule_version)] == [1, 1, 2]


async def test_of_two_changes_at_once_one_is_refused(database: Database) -> None:
    writing = (write(database, HOT, {"above": limit}, 0) for limit in (90, 91, 92))
    done = await asyncio.gather(*writing, return_exceptions=True)
    assert sorted(type(item).__name__ for item in done) == ["StaleRule", "StaleRule", "dict"]
    assert len(await rows_of(database, rule_version)) == 1


async def test_what_cannot_work_is_refused_and_leaves_no_trace(database: Database) -> None:
    with pytest.raises(RuleError, match="deadband"):
        await write(database, HOT, {"deadband": -1}, 0)
    with pytest.raises(RuleError, match="there is no rule"):
        await write(database, RuleScope("no.such", "HQ", "P-1"), {"above": 1}, 0)
    assert [await rows_of(database, table) for table in (rule_version, audit, fact)] == [[], [], []]


async def test_what_decides_over_lives_needs_a_second_person(database: Database) -> None:
    with pytest.raises(TwoPeopleNeeded, match=r"lift\.trapped"):
        await write(database, TRAPPED, {"on_delay": "2min"}, 0)
    written = await write(database, TRAPPED, {"on_delay": "2min"}, 0, second="demo:manager")
    assert written["second_person"] == "demo:manager"
    with pytest.raises(TwoPeopleNeeded):
        await roll_back(database, RULES, Wish(TRAPPED, {}, 1, equals=0), ADMIN, None, T0)


async def test_what_a_site_has_made_critical_is_made_less_by_two_people_only(database: Database) -> None:
    await write(database, HOT, {"priority": "critical"}, 0)
    for place, changes, version in ((HOT, {}, 1), (HOT, {"priority": "critical", "enabled": False}, 1),
                                    (HOT_HERE, {"priority": "low"}, 0)):  # fmt: skip
        with pytest.raises(TwoPeopleNeeded):
            await write(database, place, changes, version)
    written = await write(database, HOT, {}, 1, second="demo:manager")
    assert written["version"] == 2


async def test_to_roll_back_is_a_new_version_that_equals_an_older_one(database: Database) -> None:
    await write(database, HOT, {"above": 90}, 0)
    await write(database, HOT, {"above": 99, "deadband": 1}, 1)
    await roll_back(database, RULES, Wish(HOT, {}, 2, "too late", 1), ADMIN, None, T0)
    await roll_back(database, RULES, Wish(HOT, {}, 3, equals=0), ADMIN, None, T0)
    rows = await rows_of(database, rule_version)
    assert [(row["version"], row["changes"], row["equals"]) for row in rows] == [
        (1, {"above": 90}, None),
        (2, {"above": 99, "deadband": 1}, None),
        (3, {"above": 90}, 1),
        (4, {}, 0),
    ]
    with pytest.raises(NoSuchVersion):
        await roll_back(database, RULES, Wish(HOT, {}, 4, equals=9), ADMIN, None, T0)
    with pytest.raises(StaleRule):
        await roll_back(database, RULES, Wish(HOT, {}, 3, equals=1), ADMIN, None, T0)


async def test_a_changed_limit_is_taken_up_at_the_next_tick_and_ends_the_alarm_by_name(database: Database) -> None:
    desk = await open_with_rules(database)
    await desk.decide(bearing(90, T0))
    await write(database, HOT, {"above": 95}, 0)
    desk.clock.now += 1_000
    await desk.alarms.tick()
    row = next(row for row in await rows_of(database, alarm) if row["rule"] == "pump.hot")
    assert (row["active"], row["state"]) == (False, "returned_unacknowledged")
    notes = [item["note"] for item in await rows_of(database, journal) if item["thing"] == row["id"]]
    assert notes == ["", "rule changed: version 1 for HQ"]
    await desk.decide(bearing(96, T0 + 2_000))
    row = next(row for row in await rows_of(database, alarm) if row["rule"] == "pump.hot")
    assert (row["active"], row["activations"]) == (True, 2)


async def test_a_new_breach_is_raised_without_a_further_sample(database: Database) -> None:
    desk = await open_with_rules(database)
    await desk.decide(bearing(65, T0))
    await write(database, HOT_HERE, {"above": 60, "title": {"en": "Ours", "zh-CN": "我们的"}}, 0)
    await desk.alarms.tick()
    row = await only_row(database, alarm)
    assert (row["rule"], row["title"]["en"], row["value"]) == ("pump.hot", "Ours", 65)


@pytest.mark.parametrize("rule", ["pump.hot", "pump.slow"])
@pytest.mark.parametrize("restart", [False, True])
async def test_a_rule_out_of_force_ends_its_alarm_and_in_force_again_raises_the_same_values_again(
    database: Database, rule: str, restart: bool
) -> None:
    """At another time: an activation that is on record at this time would be taken for a second writing of it."""
    place = RuleScope(rule, "HQ", "")
    desk = await open_with_rules(database)
    await desk.decide(bearing(90, T0))
    desk.clock.now += 10_000
    await desk.alarms.tick()
    await write(database, place, {"enabled": False}, 0)
    await desk.alarms.tick()
    row = next(row for row in await rows_of(database, alarm) if row["rule"] == rule)
    assert (row["active"], row["activations"]) == (False, 1)
    (memory,) = [item["body"] for item in await rows_of(database, rule_memory) if item["rule"] == rule]
    assert set(memory) == {"changed_at"}
    if restart:
        desk = await open_with_rules(database)
        await desk.decide(bearing(90, T0 + 10_000))
    await write(database, place, {}, 1)
    await desk.alarms.tick()
    desk.clock.now += 10_000
    await desk.alarms.tick()
    row = next(row for row in await rows_of(database, alarm) if row["rule"] == rule)
    assert (row["active"], row["activations"]) == (True, 2)


async def test_a_rule_of_the_sites_own_raises_and_ends_when_it_is_taken_back(database: Database) -> None:
    own: dict[str, Any] = {
        "kind": "pump", "type": "limit", "field": "bearing_temperature", "above": 30, "priority": "low", "source": "us",
        "title": {"en": "Warm", "zh-CN": "温"}, "advice": {"en": "Look.", "zh-CN": "看。"},
    }  # fmt: skip
    desk = await open_with_rules(database)
    await desk.decide(bearing(40, T0))
    await write(database, RuleScope("pump.warm", "HQ", ""), own, 0)
    await desk.alarms.tick()
    assert (await only_row(database, alarm))["rule"] == "pump.warm"
    await write(database, RuleScope("pump.warm", "HQ", ""), {}, 1)
    await desk.alarms.tick()
    assert (await only_row(database, alarm))["active"] is False


@pytest.mark.parametrize("limit", [60, 75, 95])
async def test_a_start_after_the_change_gives_the_same_as_taking_it_up(database: Database, limit: float) -> None:
    """Also where the owner died between the change and the next tick."""
    desk = await open_with_rules(database)
    await desk.decide(bearing(90, T0), bearing(75, T0 + 1_000))
    await write(database, HOT, {"above": limit, "deadband": 0}, 0)
    after = await open_with_rules(database)
    await after.decide(bearing(75, T0 + 2_000))
    row = next(row for row in await rows_of(database, alarm) if row["rule"] == "pump.hot")
    assert row["active"] is (limit < 75)
    assert {row["consumer"]: row["fact"] for row in await rows_of(database, consumer_offset)}[RULES_TAKEN_UP] == 1


async def test_what_follows_from_a_change_is_written_with_its_place_or_not_at_all(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an owner that dies between the two leaves an alarm that the next one, going back to the file, never ends."""
    desk = await open_with_rules(database)
    await desk.decide(bearing(75, T0))
    await write(database, HOT, {"above": 70}, 0)

    async def die(*_: object) -> None:
        raise lease.LeaseLost("killed")

    with monkeypatch.context() as patch:
        patch.setattr("gateway.alarms.alarms.move_cursor", die)
        with pytest.raises(lease.LeaseLost):
            await desk.alarms.tick()
    assert await rows_of(database, alarm) == []
    await (await open_with_rules(database)).decide(bearing(75, T0 + 1_000))
    assert (await only_row(database, alarm))["active"] is True


async def test_one_decision_that_cannot_be_written_holds_up_no_other_and_the_rules_are_taken_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = await open_with_rules(database)
    await desk.decide(bearing(75, T0), bearing(75, T0, pump="P-2"))
    await write(database, HOT, {"above": 70}, 0)

    def fail_for_one(decision: Decision) -> str:
        if decision.key.equipment == "P-1":
            raise ValueError("this one")
        return identity_of(decision)

    monkeypatch.setattr("gateway.alarms.lifecycle.transitions.identity_of", fail_for_one)
    await desk.alarms.tick()
    assert {row["equipment"] for row in await rows_of(database, alarm) if row["rule"] == "pump.hot"} == {"P-2"}
    assert "HQ:P-1 pump.hot" in desk.alarms.notice
    assert {row["consumer"]: row["fact"] for row in await rows_of(database, consumer_offset)} == {RULES_TAKEN_UP: 1}


async def test_a_rule_of_a_file_that_came_back_critical_is_in_force_whatever_was_changed(database: Database) -> None:
    row = {
        "rule": "sensor.smoke", "site": "HQ", "equipment": "", "version": 1, "changes": {"enabled": False},
        "equals": None, "person": "demo:admin", "second_person": None, "at": T0, "note": "",
    }  # fmt: skip
    async with database.transaction() as connection:
        await connection.execute(insert(rule_version), row)
    desk = await open_with_rules(database)
    assert "sensor.smoke: enabled: a critical rule cannot be disabled" in desk.alarms.notice


async def test_a_prompt_is_missed_after_the_sites_own_time(database: Database) -> None:
    desk = await open_with_rules(database)
    await desk.decide(panel_event(T0, type="check_post"))
    await write(database, RuleScope("panel.missed", "HQ", ""), {"after": "1min"}, 0)
    desk.clock.now = T0 + 61_000
    await desk.alarms.tick()
    assert {row["rule"] for row in await rows_of(database, alarm)} == {"panel.prompt", "panel.missed"}


async def test_a_version_number_is_never_given_twice(database: Database) -> None:
    """The owner has taken up all versions to a number; one that came again under it would never be taken up."""
    first = await write(database, HOT, {"above": 90}, 0)
    async with database.transaction() as connection:
        await connection.execute(delete(rule_version))
    assert (await write(database, HOT, {"above": 90}, 0))["id"] > first["id"]
