"""The life of alarms on a real database, against a plain model: whatever is done to them, in whatever order.

Never two open alarms of one key, never a lost unacknowledged one, and every journal leads to where its alarm is;
also when the service stops and starts in between. What chatters is damped, what is put aside or explained is quiet,
fire never by one person alone; and what was quiet comes back as it is.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select

from collectors.wire.fields import Kind
from collectors.wire.reading import Reading
from gateway.alarms.key import Scope
from gateway.alarms.lifecycle.damping import CHATTER_QUIET_MS
from gateway.alarms.lifecycle.journal_replay import Fault, Replay, replay
from gateway.alarms.lifecycle.operator_actions import acknowledge, comment, reset, silence
from gateway.alarms.lifecycle.states import NotPermitted, State
from gateway.alarms.rules.rule import RuleType
from gateway.alarms.suppression.causes import EARLIER_MS
from gateway.alarms.suppression.out_of_service import return_to_service, take_out_of_service
from gateway.alarms.suppression.reasons import Outage, Shelf
from gateway.alarms.suppression.shelving import shelve, unshelve
from gateway.equipment.ledger import Equipment, Ledger, Site
from gateway.equipment.topology import Link, Relation
from gateway.people.audit.entry import CLOCK
from gateway.storage.database import Database
from gateway.storage.tables import alarm, journal, metadata, ticket
from gateway.tickets.lifecycle.states import Action
from gateway.tickets.tickets import FACTS_TAKE_MS, act
from tests.builders.alarms import (
    OPERATOR,
    T0,
    Clock,
    Desk,
    bearing,
    caught_up,
    fire_rule,
    make_rule,
    open_desk,
    panel_event,
    rows_of,
    sample,
)
from tests.builders.alarms import sqlite_address as address

MINUTE = 60_000
RE_ALARM = 30 * MINUTE
RULES = (
    make_rule("pump.plain", equipment=("P-1",), re_alarm=RE_ALARM),
    make_rule("pump.latching", equipment=("P-2",), latching=True, re_alarm=RE_ALARM),
    make_rule(
        "sensor.mains_lost", kind=Kind.SENSOR, type=RuleType.STATE, field="mains", values=frozenset({False}),
        suppresses=frozenset({Relation.POWER}),
    ),
    fire_rule(latching=True),
)  # fmt: skip
POINTS = ("HQ/FP-1/1-1/fire_panel.fire", "HQ/FP-1/1-2/fire_panel.fire")
PUMPS = ("HQ/P-1//pump.plain", "HQ/P-2//pump.latching")
CAUSE = "HQ/M-1//sensor.mains_lost"
"""The mains feed both pumps."""
KEYS = (*PUMPS, CAUSE, *POINTS)
OUT = Scope("HQ", "P-1")
IN_MEMORY = Path("/dev/shm")
"""What is lost in a power cut is another test's; here a commit need not wait for a disk."""


class Model(msgspec.Struct):
    """What one alarm is, in plain facts."""

    latching: bool
    re_alarms: bool
    active: bool = False
    acknowledged: bool = True
    latched: bool = False
    silenced: bool = False
    activations: int = 0
    asks_again_at: int | None = None
    in_ticket: bool = False
    verified: bool = False
    standing: bool = False
    """Its condition; while it chatters the alarm is active all the same."""
    chattering: bool = False
    heard_at: int = 0
    raised_at: int = 0
    shelved_until: int | None = None
    one_shot: bool = False
    out_of_service: bool = False
    explained: bool = False

    @property
    def quiet(self) -> set[str]:
        """Why nobody hears it."""
        found = {"shelved": self.shelved_until, "out_of_service": self.out_of_service, "parent": self.explained}
        return {reason for reason, applies in found.items() if applies}

    @property
    def state(self) -> State:
        if self.latched:
            return State.LATCHED_ACKNOWLEDGED if self.acknowledged else State.LATCHED_UNACKNOWLEDGED
        if self.active:
            return State.ACKNOWLEDGED if self.acknowledged else State.UNACKNOWLEDGED
        return State.NORMAL if self.acknowledged else State.RETURNED_UNACKNOWLEDGED

    def begin(self, now: int, *, too_many: bool = False) -> None:
        if self.standing:
            return
        self.standing, self.raised_at = True, now
        if self.chattering:
            self.activations, self.heard_at = self.activations + 1, now
            return
        self.chattering, self.heard_at = too_many, now
        self.activations = 1 if self.state is State.NORMAL else self.activations + 1
        self.active, self.acknowledged, self.latched, self.silenced = True, False, False, False
        self.in_ticket = self.verified = False

    def end(self, now: int) -> None:
        if self.chattering:
            self.heard_at = now if self.standing else self.heard_at
        elif self.active:
            self.active, self.latched, self.asks_again_at = False, self.latching, None
            self.shelved_until = None if self.one_shot else self.shelved_until
        self.standing = False

    def acknowledge(self, now: int) -> None:
        self.acknowledged = True
        self.asks_again_at = now + RE_ALARM if self.active and self.re_alarms else None

    def pass_time(self, now: int) -> None:
        if self.shelved_until is not None and self.shelved_until <= now:
            self.shelved_until = None
        if self.chattering and now - self.heard_at >= CHATTER_QUIET_MS:
            self.chattering = False
            if not self.standing:
                self.end(now)
        if self.asks_again_at is not None and self.asks_again_at <= now:
            self.acknowledged, self.silenced, self.asks_again_at = False, False, None


class Life(RuleBasedStateMachine):
    """Samples, events, people, the clock and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory(prefix="gengfu-life-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None)
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.last: Reading | None = None
        self.models = {key: Model(key not in (PUMPS[0], CAUSE), key in PUMPS) for key in KEYS}

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.database = Database(address(Path(self.folder.name) / "gengfu.db"))
        self.run(self._open())

    async def _open(self) -> None:
        async with self.database.transaction() as connection:
            await connection.run_sync(metadata.create_all)
        ledger = Ledger(self.database, 10, "UTC")
        kinds = {"M-1": Kind.SENSOR, "P-1": Kind.PUMP, "P-2": Kind.PUMP}
        items = [Equipment("HQ", code, kind.value, {"en": code, "zh-CN": code}) for code, kind in kinds.items()]
        await ledger.enter([Site("HQ", {"en": "HQ", "zh-CN": "HQ"}, "Asia/Shanghai")], items, CLOCK, T0)
        for pump in ("P-1", "P-2"):
            await ledger.links.link(Link("HQ", pump, "M-1", Relation.POWER), CLOCK, T0)
        self.desk: Desk = await open_desk(self.database, *RULES, clock=self.clock)

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.run(self.database.close())
        self.runner.close()
        self.folder.cleanup()

    def decide(self, reading: Reading) -> None:
        self.last = reading
        self.run(self.desk.decide(reading))

    def next(self) -> int:
        """A time after all that was; what is told at such times is not so fast that it chatters."""
        self.pass_time(2 * MINUTE)
        return self.clock.now

    def pass_time(self, milliseconds: int) -> None:
        self.clock.now += milliseconds
        self.run(self.desk.alarms.tick())
        for model in self.models.values():
            model.pass_time(self.clock.now)

    # -- equipment -------------------------------------------------------------------------------------

    def tell(self, key: str, at: int, *, active: bool, too_many: bool = False) -> None:
        site, equipment, part, _ = key.split("/")
        if part:
            told = panel_event(at, address=part.removeprefix("1-"), active=active)
        elif key == CAUSE:
            told = sample("gengfu/HQ/sensor/M-1/telemetry", {"mains": not active}, at)
        else:
            told = bearing(50 + 41 * active, at, pump=equipment)
        assert told.topic.site == site
        self.decide(told)
        if active:
            self.models[key].begin(at, too_many=too_many)
        else:
            self.models[key].end(at)

    @rule(key=st.sampled_from(KEYS))
    def a_condition_changes(self, key: str) -> None:
        at = self.next()
        self.tell(key, at, active=not self.models[key].standing)

    @rule(key=st.sampled_from(KEYS))
    def a_condition_is_told_again(self, key: str) -> None:
        at = self.next()
        self.tell(key, at, active=self.models[key].standing)

    @rule(key=st.sampled_from(KEYS), stays=st.booleans())
    def a_condition_flickers(self, key: str, stays: bool) -> None:
        at = self.next()
        self.tell(key, at, active=False)
        for number in range(3):
            self.tell(key, at + 2_000 * number + 1_000, active=True, too_many=number == 2 and key not in POINTS)
            if number < 2 or not stays:
                self.tell(key, at + 2_000 * number + 2_000, active=False)

    @rule()
    def panel_is_reset(self) -> None:
        self.decide(panel_event(self.next(), type="reset", loop=None, address=None))
        for key in POINTS:
            model = self.models[key]
            model.end(self.clock.now)
            model.latched = model.latched and not model.verified

    @rule()
    def the_last_message_comes_again(self) -> None:
        if self.last is not None:
            self.run(self.desk.decide(self.last))

    # -- people ----------------------------------------------------------------------------------------

    def do(self, key: str, what: Any, *, permitted: bool) -> bool:
        return bool(self.run(self._do(key, what, permitted=permitted)))

    async def _do(self, key: str, what: Any, *, permitted: bool) -> bool:
        row = await self._newest(key)
        if row is None:
            assert not permitted, f"{key} has no alarm to {what.__name__}"
            return False
        try:
            await what(self.database, row["id"], row["version"], "", OPERATOR, self.clock.now)
        except NotPermitted:
            assert not permitted, f"{what.__name__} was refused in {row['state']}"
            return False
        assert permitted, f"{what.__name__} should have been refused in {row['state']}"
        return True

    async def _newest(self, key: str) -> Any:
        site, equipment, part, identity = key.split("/")
        where = {"site": site, "equipment": equipment, "part": part, "rule": identity}
        statement = select(alarm).filter_by(**where).order_by(alarm.c.id.desc()).limit(1)
        async with self.database.reading() as connection:
            return (await connection.execute(statement)).mappings().one_or_none()

    def one_of_the_open(self, number: int) -> str:
        found = [key for key in KEYS if self.models[key].state is not State.NORMAL] or KEYS
        return found[number % len(found)]

    @rule(number=st.integers(0, 3))
    def somebody_acknowledges(self, number: int) -> None:
        key = self.one_of_the_open(number)
        if self.do(key, acknowledge, permitted=not self.models[key].acknowledged):
            self.models[key].acknowledge(self.clock.now)

    @rule(number=st.integers(0, 3))
    def somebody_silences(self, number: int) -> None:
        key = self.one_of_the_open(number)
        if self.do(key, silence, permitted=not self.models[key].acknowledged):
            self.models[key].silenced = True

    @rule(number=st.integers(0, 3))
    def somebody_resets(self, number: int) -> None:
        key = self.one_of_the_open(number)
        if self.do(key, reset, permitted=self.models[key].latched):
            self.models[key].latched = False

    @rule(number=st.integers(0, 3), one_shot=st.booleans(), minutes=st.sampled_from([5, 60]))
    def somebody_shelves(self, number: int, one_shot: bool, minutes: int) -> None:
        key, now = self.one_of_the_open(number), self.clock.now
        wanted = Shelf(
            since=now, until=now + minutes * MINUTE, one_shot=one_shot, person=OPERATOR.actor, second_person=None,
            reason="a test",
        )  # fmt: skip
        model = self.models[key]
        row = self.run(self._newest(key))
        if row is None or row["open_key"] is None:
            return
        self.run(shelve(self.database, row["id"], row["version"], wanted, OPERATOR))
        model.shelved_until, model.one_shot = wanted.until, one_shot
        self.follow()

    @rule(key=st.sampled_from(KEYS))
    def somebody_unshelves(self, key: str) -> None:
        if self.do(key, unshelve, permitted=self.models[key].shelved_until is not None):
            self.models[key].shelved_until = None
            self.follow()

    @rule()
    def a_pump_goes_out_of_service_or_comes_back(self) -> None:
        model = self.models[PUMPS[0]]
        outage = Outage(
            since=self.clock.now, planned_end=self.clock.now + 10**11, person=OPERATOR.actor, second_person=None,
            reason="a test",
        )  # fmt: skip
        if model.out_of_service:
            self.run(return_to_service(self.database, OUT, "", OPERATOR, self.clock.now))
        else:
            self.run(take_out_of_service(self.database, OUT, "", outage, OPERATOR, self.clock.now))
        model.out_of_service = not model.out_of_service
        self.follow()

    @rule(key=st.sampled_from(KEYS))
    def somebody_comments(self, key: str) -> None:
        row = self.run(self._newest(key))
        if row is not None:
            self.run(comment(self.database, row["id"], "seen", OPERATOR, self.clock.now))

    @rule()
    def the_emergency_is_found_false(self) -> None:
        rows = self.run(rows_of(self.database, ticket))
        for row in rows:
            if row["type"] == "emergency" and row["state"] == "open":
                doing = act(self.database, row["number"], Action.STAND_DOWN, row["version"], "", OPERATOR, self.next())
                self.run(doing)
        for key in POINTS:
            self.models[key].verified = self.models[key].verified or self.models[key].in_ticket

    # -- the platform ----------------------------------------------------------------------------------

    @rule(minutes=st.sampled_from([1, 29, 31]))
    def time_passes(self, minutes: int) -> None:
        self.pass_time(minutes * MINUTE)

    @rule()
    def tickets_open(self) -> None:
        self.clock.now += FACTS_TAKE_MS
        self.run(self.desk.tickets.tick())
        self.note_tickets()

    def follow(self) -> None:
        """Whoever follows facts has followed all there are."""
        self.run(caught_up(self.desk))
        self.note_tickets()

    def note_tickets(self) -> None:
        for model in self.models.values():
            model.in_ticket = model.in_ticket or model.state is not State.NORMAL

    @rule()
    def the_service_stops_and_starts(self) -> None:
        self.desk = self.run(open_desk(self.database, *RULES, clock=self.clock))
        for model in self.models.values():
            model.heard_at = self.clock.now
            if model.shelved_until is not None and model.shelved_until <= self.clock.now:
                model.shelved_until = None

    # -- what must hold --------------------------------------------------------------------------------

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        if not hasattr(self, "database"):
            return
        self.explain()
        rows = self.run(rows_of(self.database, alarm))
        for row in rows:
            assert row["annunciated"] is not bool(row["suppressions"])
            assert row["annunciated"] or not row["life_safety"], "one person alone keeps no fire quiet"
        open_rows = [row for row in rows if row["open_key"] is not None]
        assert max(Counter(row["open_key"] for row in open_rows).values(), default=1) == 1
        assert {row["state"] for row in rows if row["open_key"] is None} <= {"normal"}
        assert {row["open_key"]: shown(row) for row in open_rows} == {
            key: (
                model.state, model.active, model.activations, model.silenced, model.asks_again_at, model.chattering
            )
            for key, model in self.models.items() if model.state is not State.NORMAL
        }  # fmt: skip
        assert {row["open_key"]: {item["reason"] for item in row["suppressions"]} for row in open_rows} == {
            key: set() if key in POINTS else model.quiet
            for key, model in self.models.items() if model.state is not State.NORMAL
        }  # fmt: skip
        lines = self.run(rows_of(self.database, journal))
        for row in rows:
            own = [line for line in lines if (line["subject"], line["thing"]) == ("alarm", row["id"])]
            assert replay(own, latching=row["latching"]) == Replay(State(row["state"]))

    def explain(self) -> None:
        cause = self.models[CAUSE]
        stands = cause.active and cause.shelved_until is None
        for model in (self.models[key] for key in PUMPS):
            is_in_time = model.explained or model.raised_at >= cause.raised_at - EARLIER_MS
            model.explained = stands and is_in_time and model.state is not State.NORMAL


def shown(row: dict[str, Any]) -> tuple[Any, ...]:
    told = (State(row["state"]), row["active"], row["activations"])
    return *told, row["silenced_at"] is not None, row["re_alarm_at"], row["chattering"]


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


# -- the replay itself ---------------------------------------------------------------------------------


def line(before: str, event: str, after: str) -> dict[str, str]:
    return {"before": before, "event": event, "after": after}


RAISED = line("normal", "raised", "unacknowledged")


@pytest.mark.parametrize(
    ("lines", "latching", "expected"),
    [
        ([], False, Replay(State.NORMAL)),
        ([RAISED, line("unacknowledged", "returned", "returned_unacknowledged")], False,
         Replay(State.RETURNED_UNACKNOWLEDGED)),
        ([RAISED, line("unacknowledged", "returned", "returned_unacknowledged")], True,
         Replay(State.UNACKNOWLEDGED, Fault.ELSEWHERE, 2)),
        ([line("unacknowledged", "acknowledged", "acknowledged")], False, Replay(State.NORMAL, Fault.GAP, 1)),
        ([RAISED, line("unacknowledged", "raised", "unacknowledged")], False,
         Replay(State.UNACKNOWLEDGED, Fault.NOT_PERMITTED, 2)),
        ([RAISED, line("unacknowledged", "shelved", "unacknowledged")], False, Replay(State.UNACKNOWLEDGED)),
        ([RAISED, line("unacknowledged", "shelved", "normal")], False,
         Replay(State.UNACKNOWLEDGED, Fault.ELSEWHERE, 2)),
    ],
)  # fmt: skip
def test_a_journal_leads_somewhere_or_its_first_fault_is_named(
    lines: list[dict[str, str]], latching: bool, expected: Replay
) -> None:
    assert replay(lines, latching=latching) == expected
