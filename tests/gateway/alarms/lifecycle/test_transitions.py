"""Decisions become rows: alarm, activation, journal, audit and fact of each change, and nothing for repeats."""

import msgspec

from collectors.wire.fields import Kind
from gateway.alarms.evaluation.outcomes import Decision
from gateway.alarms.key import Key
from gateway.alarms.lifecycle.transitions import Row, Written, identity_of, write_up
from gateway.alarms.rules.rule import Change, Rule
from gateway.people.audit.entry import RULES
from tests.builders.alarms import T0, fire_rule, make_rule

KEY = Key("HQ", "P-1", "", "pump.hot")


def decide(raised: bool, at: int, rule: Rule | None = None, key: Key = KEY, digest: str = "") -> Decision:
    return Decision(key, rule or make_rule(), Kind.PUMP, Change(raised, T0 + at), 91.0, T0 + at + 5, digest)


def write(*decisions: Decision, open_alarms: dict[str, Row] | None = None, known: set[str] | None = None) -> Written:
    return write_up(decisions, {} if open_alarms is None else open_alarms, known or set(), RULES, T0 + 100)


def test_a_first_raise_opens_an_alarm_with_everything_that_belongs_to_it() -> None:
    written = write(decide(True, 1))
    ((identity, alarm),) = written.alarms.items()
    assert written.new == {identity}
    assert (alarm["state"], alarm["active"], alarm["activations"]) == ("unacknowledged", True, 1)
    assert (alarm["open_key"], alarm["value"], alarm["unit"]) == ("HQ/P-1//pump.hot", 91.0, "°C")
    assert (alarm["raised_at"], alarm["received_at"], alarm["version"]) == (T0 + 1, T0 + 6, 1)
    (activation,) = written.activations
    assert activation["identity"] == f"HQ/P-1//pump.hot@{T0 + 1}"
    assert (activation["alarm"], activation["ended_at"]) == (identity, None)
    assert [(line.before, line.event, line.after) for line in written.journal] == [
        ("normal", "raised", "unacknowledged")
    ]
    (row,) = written.audit
    assert (row.act, row.actor, row.after) == (
        "alarm.raised", "system:rules", {"state": "unacknowledged", "active": True, "version": 1},
    )  # fmt: skip
    assert [(fact.kind, fact.thing, fact.body) for fact in written.facts] == [
        ("alarm.raised", identity, {"activation": activation["id"]})
    ]


def test_an_alarm_that_returns_unseen_stays_open_and_one_acknowledged_closes() -> None:
    alarm = next(iter(write(decide(True, 1)).alarms.values()))
    unseen = msgspec.json.decode(msgspec.json.encode(alarm))
    written = write(decide(False, 9), open_alarms={str(KEY): unseen})
    assert unseen["state"] == "returned_unacknowledged"
    assert unseen["open_key"] == str(KEY)
    assert written.ended == [{"of_alarm": alarm["id"], "ended_at": T0 + 9, "disproved": False}]
    seen = {**alarm, "state": "acknowledged"}
    write(decide(False, 9), open_alarms={str(KEY): seen})
    assert (seen["state"], seen["open_key"], seen["closed_at"]) == ("normal", None, T0 + 100)


def test_raise_return_raise_in_one_batch_is_one_alarm_with_two_activations() -> None:
    written = write(decide(True, 1), decide(False, 2), decide(True, 3))
    (alarm,) = written.alarms.values()
    assert (alarm["state"], alarm["activations"]) == ("unacknowledged", 2)
    assert [row["ended_at"] for row in written.activations] == [T0 + 2, None]
    assert len(written.new) == 1


def test_after_an_alarm_closed_within_the_batch_the_next_raise_opens_another() -> None:
    alarm = {**next(iter(write(decide(True, 1)).alarms.values())), "state": "acknowledged"}
    written = write(decide(False, 2), decide(True, 3), open_alarms={str(KEY): alarm})
    assert sorted(row["open_key"] or "" for row in written.alarms.values()) == ["", str(KEY)]


def test_a_raise_that_is_written_already_is_not_written_again() -> None:
    known = decide(True, 1)
    written = write(known, known={identity_of(known)})
    assert written == Written()


def test_a_return_without_an_open_alarm_writes_nothing() -> None:
    assert write(decide(False, 1)) == Written()


def test_two_events_of_one_moment_are_two_activations_one_event_is_one() -> None:
    key, rule = Key("HQ", "FP-1", "1-23", "fire_panel.fire"), fire_rule()
    first, second = (decide(True, 1, rule, key, digest) for digest in ("a" * 32, "b" * 32))
    assert identity_of(first) != identity_of(second)
    assert identity_of(first) == identity_of(decide(True, 1, rule, key, "a" * 32))


def test_an_identity_fits_its_column_with_the_longest_names() -> None:
    key = Key("s" * 64, "e" * 64, "p" * 128, "r" * 128)
    assert len(identity_of(decide(True, 0, key=key, digest="d" * 32))) <= 440
    assert len(str(key)) <= 400


def test_a_latching_alarm_stays_after_the_condition_has_gone() -> None:
    rule = make_rule(latching=True)
    written = write(decide(True, 1, rule), decide(False, 2, rule))
    (alarm,) = written.alarms.values()
    assert (alarm["state"], alarm["active"], alarm["open_key"]) == ("latched_unacknowledged", False, str(KEY))
