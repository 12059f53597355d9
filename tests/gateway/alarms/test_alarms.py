"""Alarms act: on a real SQLite file, with trouble, restarts and second deliveries."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError, OperationalError
from structlog.testing import capture_logs

from collectors.payloads.native import decode
from collectors.wire.fields import Kind
from collectors.wire.topics import parse_topic
from gateway.alarms import alarms as alarms_module
from gateway.alarms.lifecycle.operator_actions import acknowledge
from gateway.alarms.lifecycle.rows import NoSuchAlarm, StaleVersion
from gateway.alarms.lifecycle.states import NotPermitted
from gateway.alarms.rules.rule import Priority, RuleType, TicketWish
from gateway.people.audit.entry import Cause, Via
from gateway.storage.database import Database
from gateway.storage.leadership import lease
from gateway.storage.received.quarantine import newest_quarantined
from gateway.storage.tables import activation, alarm, audit, event, fact, journal, rule_memory
from gateway.storage.transaction import Transaction
from tests.builders.alarms import (
    OPERATOR,
    PANEL,
    PUMP,
    PUMP_STATUS,
    T0,
    Desk,
    bearing,
    encode,
    fire_rule,
    make_rule,
    only_row,
    open_desk,
    panel_event,
    rows_of,
    sample,
)

OFFLINE = make_rule("pump.offline", type=RuleType.STATE, field="online", values=frozenset({False}), on_delay=30_000)


async def counted(database: Database) -> dict[str, int]:
    tables = (alarm, activation, journal, audit, fact, event, rule_memory)
    return {table.name: len(await rows_of(database, table)) for table in tables}


async def test_one_reading_becomes_one_of_everything(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    assert await counted(database) == {
        "alarm": 1, "activation": 1, "journal": 1, "audit": 1, "fact": 1, "event": 0, "rule_memory": 1,
    }  # fmt: skip
    assert (await only_row(database, alarm))["state"] == "unacknowledged"


async def test_a_condition_that_comes_and_goes_is_one_alarm_with_activations(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    for at, celsius in enumerate([91, 50, 92, 50, 93]):
        await desk.decide(bearing(celsius, T0 + at))
    row = await only_row(database, alarm)
    assert (row["activations"], row["state"], row["raised_at"]) == (3, "unacknowledged", T0 + 4)
    assert [found["ended_at"] for found in await rows_of(database, activation)] == [T0 + 1, T0 + 3, None]


async def test_a_second_open_alarm_of_one_key_is_refused_by_the_database_itself(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    second = {**await only_row(database, alarm), "id": "another"}
    with pytest.raises(IntegrityError, match="open_key"):
        async with database.transaction() as connection:
            await connection.execute(insert(alarm).values(**second))
    closed = {**second, "open_key": None}
    async with database.transaction() as connection:  # any number of closed ones
        await connection.execute(insert(alarm).values(**closed))


async def test_an_activation_of_one_identity_is_written_once(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    twice = {**await only_row(database, activation), "id": "another"}
    with pytest.raises(IntegrityError, match="identity"):
        async with database.transaction() as connection:
            await connection.execute(insert(activation).values(**twice))


# -- second deliveries ---------------------------------------------------------------------------------


async def test_an_event_that_is_delivered_twice_is_one_event_and_one_activation(database: Database) -> None:
    desk = await open_desk(database, fire_rule())
    await desk.decide(panel_event(T0), panel_event(T0, T0 + 3))  # within one batch
    await desk.decide(panel_event(T0, T0 + 5_000))  # in a later one
    again = await open_desk(database, fire_rule(), clock=desk.clock)
    await again.decide(panel_event(T0, T0 + 9_000))  # after a restart
    counts = await counted(database)
    assert (counts["event"], counts["activation"], counts["alarm"]) == (1, 1, 1)


async def test_a_fire_that_ended_is_not_raised_by_its_second_delivery(database: Database) -> None:
    desk = await open_desk(database, fire_rule())
    fire, end = panel_event(T0), panel_event(T0 + 1, active=False)
    await desk.decide(fire, end)
    again = await open_desk(database, fire_rule(), clock=desk.clock)
    await again.decide(fire, end)
    row = await only_row(database, alarm)
    assert (row["state"], row["activations"]) == ("returned_unacknowledged", 1)


async def test_fire_clear_and_fire_within_one_second_of_a_coarse_clock(database: Database) -> None:
    """The panel's clock counts whole seconds: three events, one time, told apart by `seq`."""
    body = {"at": T0, "type": "fire", "loop": "1", "address": "23"}
    payload = encode([body | {"seq": 1}, body | {"seq": 2, "active": False}, body | {"seq": 3}])
    desk = await open_desk(database, fire_rule())
    await desk.decide(*decode(parse_topic(PANEL), payload, T0).readings)
    row = await only_row(database, alarm)
    assert (row["active"], row["state"], row["activations"]) == (True, "unacknowledged", 2)
    assert (await counted(database))["event"] == 3


async def test_every_event_is_kept_also_one_of_no_rule(database: Database) -> None:
    desk = await open_desk(database, fire_rule())
    await desk.decide(panel_event(T0, type="started"))
    counts = await counted(database)
    assert (counts["event"], counts["alarm"]) == (1, 0)
    assert (await only_row(database, event))["fields"]["type"] == "started"


async def test_readings_that_come_again_after_a_restart_add_nothing(database: Database) -> None:
    stream = [bearing(celsius, T0 + at) for at, celsius in enumerate([50, 91, 92, 50, 93])]
    desk = await open_desk(database, make_rule())
    await desk.decide(*stream)
    before = await counted(database)
    again = await open_desk(database, make_rule(), clock=desk.clock)
    await again.decide(*stream)
    assert await counted(database) == before


# -- delays and restarts -------------------------------------------------------------------------------


async def test_a_running_delay_survives_a_restart_and_ends_by_tick(database: Database) -> None:
    desk = await open_desk(database, OFFLINE)
    await desk.decide(sample(PUMP_STATUS, {"online": False}, T0))
    assert (await counted(database))["alarm"] == 0
    again = await open_desk(database, OFFLINE, clock=desk.clock)
    again.clock.now = T0 + 29_999
    await again.alarms.tick()
    assert (await counted(database))["alarm"] == 0
    again.clock.now = T0 + 30_000
    await again.alarms.tick()
    row = await only_row(database, alarm)
    assert (row["raised_at"], row["rule"]) == (T0 + 30_000, "pump.offline")
    assert (await only_row(database, audit))["actor"] == "system:clock"


# -- trouble -------------------------------------------------------------------------------------------


def locked() -> OperationalError:
    return OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))


class Troubled:
    """Makes a database fail the next transactions: at their start, or when they would commit."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at_start = 0
        self.at_commit = 0
        self.begun = 0
        self._real: Callable[[], Any] = database.transaction
        monkeypatch.setattr(database, "transaction", self._transaction)
        monkeypatch.setattr(alarms_module, "_RETRY_S", 0.001)

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        self.begun += 1
        if self.at_start:
            self.at_start -= 1
            raise locked()
        async with self._real() as connection:
            yield connection
            if self.at_commit:
                self.at_commit -= 1
                raise locked()


@pytest.mark.parametrize(("at_start", "at_commit"), [(1, 0), (0, 1), (3, 2)])
async def test_a_decision_that_the_database_refused_is_written_exactly_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, at_start: int, at_commit: int
) -> None:
    desk = await open_desk(database, make_rule(), fire_rule())
    trouble = Troubled(database, monkeypatch)
    trouble.at_start, trouble.at_commit = at_start, at_commit
    await desk.decide(bearing(91, T0), panel_event(T0), bearing(50, T0 + 1))
    assert trouble.begun == 1 + at_start + at_commit
    assert desk.alarms.trouble == ""
    assert desk.registry.get_sample_value("gengfu_decision_retries_total") == at_start + at_commit
    assert await counted(database) == {
        "alarm": 2, "activation": 2, "journal": 3, "audit": 3, "fact": 3, "event": 1, "rule_memory": 2,
    }  # fmt: skip


async def test_while_the_database_is_away_trouble_says_so(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await open_desk(database, make_rule())
    trouble = Troubled(database, monkeypatch)
    trouble.at_start = 1
    said: list[str] = []

    async def note(_seconds: float) -> None:
        said.append(desk.alarms.trouble)

    monkeypatch.setattr(alarms_module.asyncio, "sleep", note)
    await desk.decide(bearing(91, T0))
    assert len(said) == 1
    assert "the database does not answer" in said[0]
    assert "SQL" not in said[0]


async def test_an_owner_that_lost_the_lease_writes_nothing(database: Database) -> None:
    desk = await open_desk(database, make_rule(), fire_rule(), OFFLINE)
    await desk.decide(sample(PUMP_STATUS, {"online": False}, T0))
    before = await counted(database)
    await lease.take(database, "another", T0 + lease.LIFETIME_MS)
    with pytest.raises(lease.LeaseLost):
        await desk.decide(bearing(91, T0 + 1), panel_event(T0 + 1))
    desk.clock.now = T0 + 60_000
    with pytest.raises(lease.LeaseLost):
        await desk.alarms.tick()
    assert await counted(database) == before


# -- what cannot be decided ----------------------------------------------------------------------------


class Broken(frozenset[str]):
    """Values of a rule that cannot be compared with anything."""

    def __contains__(self, value: object) -> bool:
        raise ZeroDivisionError(value)


def failures_of(desk: Desk, rule: str) -> float:
    return desk.registry.get_sample_value("gengfu_decision_failures_total", {"rule": rule}) or 0.0


async def test_a_rule_that_fails_keeps_no_other_rule_and_no_other_reading_from_being_decided(
    database: Database,
) -> None:
    broken = make_rule("pump.broken", type=RuleType.STATE, field="mode", values=Broken({"off"}))
    desk = await open_desk(database, broken, make_rule(), fire_rule())
    both = sample(PUMP, {"mode": "off", "bearing_temperature": 91.0}, T0)
    with capture_logs() as logged:
        await desk.decide(both, bearing(92, T0, pump="P-2"), panel_event(T0))
    assert sorted(row["rule"] for row in await rows_of(database, alarm)) == [
        "fire_panel.fire", "pump.hot", "pump.hot",
    ]  # fmt: skip
    (aside,) = await newest_quarantined(database, None, 10)
    assert (aside["topic"], aside["reason"]) == (PUMP, "not_decided")
    assert aside["detail"] == "rule pump.broken: ZeroDivisionError('off')"
    assert failures_of(desk, "pump.broken") == 1
    assert desk.alarms.notice == "not judged in the last 24 h: HQ:P-1 pump.broken, see the log"
    (line,) = [line for line in logged if line["log_level"] == "error"]
    assert (line["equipment"], line["rule"]) == ("HQ:P-1", "pump.broken")
    assert "by hand" in line["event"]


async def test_a_rule_that_failed_is_asked_again_at_the_next_sample(database: Database) -> None:
    rule = make_rule("pump.off", type=RuleType.STATE, field="mode", values=Broken({"off"}))
    desk = await open_desk(database, rule)
    with capture_logs():
        await desk.decide(sample(PUMP, {"mode": "off"}, T0))
    assert await rows_of(database, alarm) == []
    (channel_state,) = desk.alarms._evaluator._channel_states.values()
    for watch in channel_state.instances.values():
        watch.rule = msgspec.structs.replace(rule, values=frozenset({"off"}))
    await desk.decide(sample(PUMP, {"mode": "off"}, T0 + 1_000))  # the value has not changed
    assert (await only_row(database, alarm))["rule"] == "pump.off"


async def test_of_a_rule_that_keeps_failing_one_reading_a_minute_is_kept_and_of_events_each(
    database: Database,
) -> None:
    broken = make_rule("pump.broken", type=RuleType.STATE, field="mode", values=Broken({"off"}))
    fire = fire_rule(match={"type": Broken({"fire"})})
    desk = await open_desk(database, broken, fire)
    with capture_logs() as logged:
        for second in range(61):
            await desk.decide(sample(PUMP, {"mode": "off"}, T0 + 1_000 * second))
    assert failures_of(desk, "pump.broken") == 61
    assert len(await newest_quarantined(database, None, 100)) == 2
    assert len([line for line in logged if line["log_level"] == "error"]) == 1
    with capture_logs():
        await desk.decide(*(panel_event(T0 + 61_000, address=str(number)) for number in range(5)))
    assert len(await newest_quarantined(database, None, 100)) == 7
    assert (await counted(database))["event"] == 5


async def test_what_cannot_be_written_is_put_aside_alone_and_decided_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-7's alarm is refused by the database; the other nineteen are written, and P-7's when it is let."""
    real = alarms_module.write_up

    def refuse(decisions: Any, *others: Any) -> Any:
        decisions = list(decisions)
        if any(decision.key.equipment == "P-7" for decision in decisions):
            raise IntegrityError("INSERT", {}, Exception("a constraint"))
        return real(decisions, *others)

    monkeypatch.setattr(alarms_module, "write_up", refuse)
    desk = await open_desk(database, make_rule())
    with capture_logs():
        await desk.decide(*(bearing(91, T0, pump=f"P-{number}") for number in range(20)))
    raised = {row["equipment"] for row in await rows_of(database, alarm)}
    assert raised == {f"P-{number}" for number in range(20)} - {"P-7"}
    assert len(await rows_of(database, rule_memory)) == 19
    (aside,) = await newest_quarantined(database, None, 10)
    assert (aside["topic"], aside["reason"]) == ("gengfu/HQ/pump/P-7/telemetry", "not_decided")
    assert "conflicts with what is in the database" in aside["detail"]
    monkeypatch.setattr(alarms_module, "write_up", real)
    await desk.decide(bearing(91, T0 + 1_000, pump="P-7"))
    assert {row["equipment"] for row in await rows_of(database, alarm)} == {f"P-{number}" for number in range(20)}


async def test_a_delay_whose_end_cannot_be_written_ends_at_a_later_tick(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = await open_desk(database, OFFLINE)
    await desk.decide(sample(PUMP_STATUS, {"online": False}, T0))
    desk.clock.now = T0 + 30_000

    def refuse(*_: Any) -> Any:
        raise LookupError("cannot")

    with monkeypatch.context() as patched, capture_logs() as logged:
        patched.setattr(alarms_module, "write_up", refuse)
        for _ in range(3):
            await desk.alarms.tick()
    assert (await rows_of(database, alarm), len(logged)) == ([], 1)
    await desk.alarms.tick()
    assert (await only_row(database, alarm))["raised_at"] == T0 + 30_000


# -- acknowledging -------------------------------------------------------------------------------------


async def raised(database: Database) -> tuple[Desk, dict[str, Any]]:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    return desk, await only_row(database, alarm)


async def test_acknowledging_writes_state_journal_audit_and_fact(database: Database) -> None:
    _, row = await raised(database)
    await acknowledge(database, row["id"], row["version"], "on my way", OPERATOR, T0 + 50)
    after = await only_row(database, alarm)
    assert (after["state"], after["acknowledged_by"], after["acknowledged_at"]) == (
        "acknowledged", "demo:operator", T0 + 50,
    )  # fmt: skip
    assert after["version"] == row["version"] + 1
    line, record, told = [(await rows_of(database, table))[-1] for table in (journal, audit, fact)]
    assert (line["event"], line["actor"], line["note"]) == ("acknowledged", "demo:operator", "on my way")
    assert (record["act"], record["via"], record["origin"]) == ("alarm.acknowledged", "web", "192.0.2.7")
    assert (record["before"]["state"], record["after"]["state"]) == ("unacknowledged", "acknowledged")
    assert (told["kind"], told["thing"], told["body"]) == (
        "alarm.acknowledged", row["id"], {"actor": "demo:operator"},
    )  # fmt: skip


async def test_all_of_an_acknowledgement_is_written_or_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, row = await raised(database)
    before = await counted(database)
    Troubled(database, monkeypatch).at_commit = 1
    with pytest.raises(OperationalError):
        await acknowledge(database, row["id"], row["version"], "", OPERATOR, T0)
    assert await counted(database) == before
    assert await only_row(database, alarm) == row


async def test_a_stale_version_an_unknown_alarm_and_a_second_time_are_refused(database: Database) -> None:
    desk, row = await raised(database)
    with pytest.raises(NoSuchAlarm):
        await acknowledge(database, "nothing", 1, "", OPERATOR, T0)
    await desk.decide(bearing(50, T0 + 1))  # it returned since the operator looked
    with pytest.raises(StaleVersion, match=f"version {row['version'] + 1}, not {row['version']}"):
        await acknowledge(database, row["id"], row["version"], "", OPERATOR, T0)
    await acknowledge(database, row["id"], row["version"] + 1, "", OPERATOR, T0)
    with pytest.raises(NotPermitted):
        await acknowledge(database, row["id"], row["version"] + 2, "", OPERATOR, T0)
    closed = await only_row(database, alarm)
    assert (closed["state"], closed["open_key"]) == ("normal", None)


async def test_after_an_alarm_closed_the_next_breach_is_a_new_alarm(database: Database) -> None:
    desk, row = await raised(database)
    await acknowledge(database, row["id"], row["version"], "", OPERATOR, T0)
    await desk.decide(bearing(50, T0 + 1), bearing(91, T0 + 2))
    first, second = await rows_of(database, alarm)
    assert {first["state"], second["state"]} == {"normal", "unacknowledged"}
    assert first["id"] != second["id"]


async def test_an_alarm_keeps_the_words_of_the_rule_that_raised_it(database: Database) -> None:
    _, row = await raised(database)
    assert row["title"] == {"en": "pump.hot", "zh-CN": "pump.hot"}
    assert row["advice"] == {"en": "Look.", "zh-CN": "查看。"}


async def test_many_decisions_share_one_transaction(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await open_desk(database, fire_rule())
    trouble = Troubled(database, monkeypatch)
    await desk.decide(*(panel_event(T0 + number, address=str(number)) for number in range(1_200)))
    assert trouble.begun == 1
    assert (await counted(database))["alarm"] == 1_200


async def test_a_cause_names_who_by_what_way_and_why(database: Database) -> None:
    _, row = await raised(database)
    cause = Cause("demo:operator", Via.FACT, why="fact 7")
    await acknowledge(database, row["id"], row["version"], "", cause, T0)
    assert (await rows_of(database, audit))[-1]["cause"] == "fact 7"


async def test_rows_from_an_earlier_version_of_memory_are_taken_up(database: Database) -> None:
    """A memory without the newer fields must not stop the service."""
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    async with database.transaction() as connection:
        await connection.execute(update(rule_memory).values(body={"active": True, "changed_at": T0}))
    again = await open_desk(database, make_rule(), clock=desk.clock)
    await again.decide(bearing(50, T0 + 1))
    assert (await only_row(database, alarm))["state"] == "returned_unacknowledged"


async def test_an_alarm_whose_rule_is_gone_returns_and_says_why(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    row = await only_row(database, alarm)
    await acknowledge(database, row["id"], row["version"], "", OPERATOR, T0)
    again = await open_desk(database, fire_rule(), clock=desk.clock)
    row = await only_row(database, alarm)
    assert (row["state"], row["active"], row["open_key"]) == ("normal", False, None)
    assert [line["note"] for line in await rows_of(database, journal)][-1] == "rule withdrawn"
    assert await rows_of(database, rule_memory) == []
    assert (await only_row(database, activation))["ended_at"] == again.clock.now


async def test_an_alarm_whose_rule_still_applies_stands_after_a_start(database: Database) -> None:
    desk = await open_desk(database, make_rule())
    await desk.decide(bearing(91, T0))
    await open_desk(database, make_rule(above=70.0), fire_rule(), clock=desk.clock)
    assert (await only_row(database, alarm))["active"] is True


async def test_a_commit_whose_answer_was_lost_is_written_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server had committed when the connection broke: nobody knows, so it is written again."""
    real, lost = database.transaction, [OperationalError("COMMIT", {}, Exception("connection was closed"))]

    @contextlib.asynccontextmanager
    async def transaction() -> AsyncIterator[Transaction]:
        async with real() as connection:
            yield connection
        if lost:
            raise lost.pop()

    desk = await open_desk(database, fire_rule(), make_rule())
    monkeypatch.setattr("gateway.alarms.alarms._RETRY_S", 0.001)
    monkeypatch.setattr(database, "transaction", transaction)
    await desk.decide(bearing(91, T0), panel_event(T0))
    assert lost == []
    found = await counted(database)
    assert (found["alarm"], found["activation"], found["event"]) == (2, 2, 1)


CHECK_POST = fire_rule(
    id="fire_panel.check_post", match={"type": frozenset({"check_post"})}, per=(), momentary=True,
    priority=Priority.MEDIUM, ticket=TicketWish.NONE, playbook="",
)  # fmt: skip
MISSED = make_rule(
    "fire_panel.check_post_missed", kind=Kind.FIRE_PANEL, type=RuleType.RESPONSE_TIMEOUT, of="fire_panel.check_post",
    after=180_000, priority=Priority.MEDIUM, ticket=TicketWish.NONE,
)  # fmt: skip


async def test_a_check_post_call_that_nobody_acknowledges_in_time_is_recorded_once_as_missed(
    database: Database,
) -> None:
    desk = await open_desk(database, CHECK_POST, MISSED)
    await desk.decide(panel_event(T0, type="check_post"))
    prompt = await only_row(database, alarm)
    assert (prompt["state"], prompt["active"]) == ("returned_unacknowledged", False)
    for after, rules in [(179_999, 1), (180_000, 2), (240_000, 2)]:
        desk.clock.now = T0 + after
        await desk.alarms.tick()
        assert len(await rows_of(database, activation)) == rules
    missed = next(row for row in await rows_of(database, alarm) if row["rule"] == MISSED.id)
    assert (missed["state"], missed["raised_at"]) == ("returned_unacknowledged", T0 + 180_000)


async def test_a_check_post_call_that_is_acknowledged_in_time_leaves_no_miss(database: Database) -> None:
    desk = await open_desk(database, CHECK_POST, MISSED)
    await desk.decide(panel_event(T0, type="check_post"))
    prompt = await only_row(database, alarm)
    await acknowledge(database, prompt["id"], prompt["version"], "", OPERATOR, T0 + 60_000)
    desk.clock.now = T0 + 600_000
    await desk.alarms.tick()
    assert (await only_row(database, alarm))["state"] == "normal"


async def test_what_a_late_sample_proves_wrong_is_marked_disproved(database: Database) -> None:
    desk = await open_desk(database, make_rule(on_delay=10_000))
    await desk.decide(bearing(90, T0))
    desk.clock.now = T0 + 10_000
    await desk.alarms.tick()
    await desk.decide(bearing(60, T0 + 9_000, T0 + 10_500))  # it was on its way when the delay ended
    row = await only_row(database, activation)
    assert (row["started_at"], row["ended_at"], row["disproved"]) == (T0 + 10_000, T0 + 10_000, True)
    await desk.decide(bearing(90, T0 + 20_000), bearing(90, T0 + 31_000), bearing(60, T0 + 40_000))
    assert [row["disproved"] for row in await rows_of(database, activation)] == [True, False]
