"""The life of alarms on a real database, against a plain model: whatever is done to them, in whatever order.

Never two open alarms of one key, never a lost unacknowledged one, and every journal leads to where its alarm is;
also when the service stops and starts in between.
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

from collectors.reading import Reading
from gateway.alarms.acts import acknowledge, comment, reset, silence
from gateway.alarms.journal_replay import Fault, Replay, replay
from gateway.alarms.states import NotPermitted, State
from gateway.storage.database import Database
from gateway.storage.tables import alarm, journal, metadata, ticket
from gateway.tickets.states import Action
from gateway.tickets.tickets import FACTS_TAKE_MS, act
from tests.builders import OPERATOR, Clock, Desk, bearing, fire_rule, make_rule, open_desk, panel_event, rows_of
from tests.builders import sqlite_address as address

MINUTE = 60_000
RE_ALARM = 30 * MINUTE
RULES = (
    make_rule("pump.plain", equipment=("P-1",), re_alarm=RE_ALARM),
    make_rule("pump.latching", equipment=("P-2",), latching=True, re_alarm=RE_ALARM),
    fire_rule(latching=True),
)
POINTS = ("HQ/FP-1/1-1/fire_panel.fire", "HQ/FP-1/1-2/fire_panel.fire")
KEYS = ("HQ/P-1//pump.plain", "HQ/P-2//pump.latching", *POINTS)
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

    @property
    def state(self) -> State:
        if self.latched:
            return State.LATCHED_ACKNOWLEDGED if self.acknowledged else State.LATCHED_UNACKNOWLEDGED
        if self.active:
            return State.ACKNOWLEDGED if self.acknowledged else State.UNACKNOWLEDGED
        return State.NORMAL if self.acknowledged else State.RETURNED_UNACKNOWLEDGED

    def begin(self) -> None:
        if self.active:
            return
        self.activations = 1 if self.state is State.NORMAL else self.activations + 1
        self.active, self.acknowledged, self.latched, self.silenced = True, False, False, False
        self.in_ticket = self.verified = False

    def end(self) -> None:
        if self.active:
            self.active, self.latched, self.asks_again_at = False, self.latching, None

    def acknowledge(self, now: int) -> None:
        self.acknowledged = True
        self.asks_again_at = now + RE_ALARM if self.active and self.re_alarms else None

    def pass_time(self, now: int) -> None:
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
        self.models = {key: Model("latching" in key or "fire" in key, "pump" in key) for key in KEYS}

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.database = Database(address(Path(self.folder.name) / "gengfu.db"))
        self.run(self._open())

    async def _open(self) -> None:
        async with self.database.transaction() as connection:
            await connection.run_sync(metadata.create_all)
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
        """A time after all that was."""
        self.clock.now += 1_000
        return self.clock.now

    # -- equipment -------------------------------------------------------------------------------------

    def tell(self, key: str, *, active: bool) -> None:
        site, equipment, part, _ = key.split("/")
        at, address = self.next(), part.removeprefix("1-")
        told = (
            panel_event(at, address=address, active=active) if part else bearing(50 + 41 * active, at, pump=equipment)
        )
        assert told.topic.site == site
        self.decide(told)
        if active:
            self.models[key].begin()
        else:
            self.models[key].end()

    @rule(key=st.sampled_from(KEYS))
    def a_condition_changes(self, key: str) -> None:
        self.tell(key, active=not self.models[key].active)

    @rule(key=st.sampled_from(KEYS))
    def a_condition_is_told_again(self, key: str) -> None:
        self.tell(key, active=self.models[key].active)

    @rule()
    def panel_is_reset(self) -> None:
        self.decide(panel_event(self.next(), type="reset", loop=None, address=None))
        for key in POINTS:
            model = self.models[key]
            model.end()
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
        self.clock.now += minutes * MINUTE
        self.run(self.desk.alarms.tick())
        for model in self.models.values():
            model.pass_time(self.clock.now)

    @rule()
    def tickets_open(self) -> None:
        self.clock.now += FACTS_TAKE_MS
        self.run(self.desk.tickets.tick())
        for model in self.models.values():
            model.in_ticket = model.in_ticket or model.state is not State.NORMAL

    @rule()
    def the_service_stops_and_starts(self) -> None:
        self.desk = self.run(open_desk(self.database, *RULES, clock=self.clock))

    # -- what must hold --------------------------------------------------------------------------------

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        if not hasattr(self, "database"):
            return
        rows = self.run(rows_of(self.database, alarm))
        open_rows = [row for row in rows if row["open_key"] is not None]
        assert max(Counter(row["open_key"] for row in open_rows).values(), default=1) == 1
        assert {row["state"] for row in rows if row["open_key"] is None} <= {"normal"}
        assert {row["open_key"]: shown(row) for row in open_rows} == {
            key: (model.state, model.active, model.activations, model.silenced, model.asks_again_at)
            for key, model in self.models.items() if model.state is not State.NORMAL
        }  # fmt: skip
        lines = self.run(rows_of(self.database, journal))
        for row in rows:
            own = [line for line in lines if (line["subject"], line["thing"]) == ("alarm", row["id"])]
            assert replay(own, latching=row["latching"]) == Replay(State(row["state"]))


def shown(row: dict[str, Any]) -> tuple[Any, ...]:
    return State(row["state"]), row["active"], row["activations"], row["silenced_at"] is not None, row["re_alarm_at"]


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=50, stateful_step_count=50, deadline=None)


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
