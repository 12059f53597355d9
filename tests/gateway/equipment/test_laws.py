"""Laws of an equipment's life, whatever people do and whatever is sent meanwhile."""

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.mqtt.message import Message
from collectors.wire.fields import Kind
from gateway.alarms.estate.equipment_changes import end_alarms, move_alarms
from gateway.alarms.key import Scope
from gateway.equipment.ledger import Equipment, Ledger
from gateway.equipment.life import Correction, EquipmentRefused
from gateway.equipment.lifecycle import Lifecycle
from gateway.storage.database import Database
from gateway.storage.tables import alarm
from tests.builders.alarms import (
    OPERATOR,
    SMOKE,
    Clock,
    make_rule,
    open_desk,
    rows_of,
    sample,
    smoke_rule,
    sqlite_address,
)

CODES = ("S-1", "S-2", "S-3")
STEP = 1_000
ACTS = st.one_of(
    st.tuples(st.just("smoke"), st.sampled_from(CODES), st.booleans()),
    st.tuples(st.just("damp"), st.sampled_from(CODES), st.booleans()),
    st.tuples(st.sampled_from(("adopt", "retire")), st.sampled_from(CODES), st.just("")),
    st.tuples(st.sampled_from(("rename", "replace")), st.sampled_from(CODES), st.sampled_from(CODES)),
)
DAMP = make_rule("sensor.damp", kind=Kind.SENSOR, field="humidity", above=90.0, deadband=1.0)


class Life:
    """One site, its owner of alarms, and people who act."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = Clock()
        self.ledger = Ledger(database, 10, "UTC")
        self.spoke: set[str] = set()
        self.retired_alarms: dict[str, set[str]] = {}

    async def run(self, acts: list[tuple[str, str, object]]) -> None:
        await self.ledger.load()
        rules = smoke_rule(), DAMP
        desk = await open_desk(self.database, *rules, clock=self.clock, estate=lambda: self.ledger.estate)
        for name, code, more in acts:
            self.clock.now += STEP
            if name in {"smoke", "damp"}:
                fields = {"smoke": bool(more)} if name == "smoke" else {"humidity": 99.0 if more else 20.0}
                reading = sample(SMOKE.replace("S-1", code), dict(fields), self.clock.now)
                message = Message(str(reading.topic), b"{}", 1, 1, self.clock.now * 1_000_000)
                self.ledger.hear(message, [reading])
                await self.ledger.meet([reading], self.clock.now)
                await desk.decide(reading)
                self.spoke.add(code)
                if fields.get("smoke"):
                    await self.require_smoke(reading.topic.equipment)
            else:
                await self.act(name, code, str(more))
            await self.check()

    async def act(self, name: str, code: str, other: str) -> None:
        life, now = Lifecycle(self.database, self.ledger), self.clock.now
        who, item = ("HQ", code), self.ledger.equipment.get(("HQ", code))
        version, place = item.version if item else 0, Scope("HQ", code)

        async def ends(connection: object) -> None:
            await end_alarms(connection, place, "a test", OPERATOR, now)

        async def moves(connection: object) -> None:
            await move_alarms(connection, place, other, OPERATOR, now)

        try:
            if name == "adopt":
                await life.adopt(who, Correction(version), OPERATOR, now)
            elif name == "retire":
                await life.retire(who, version, OPERATOR, now, [ends])
            elif name == "rename":
                await life.rename(who, version, other, OPERATOR, now, [moves])
            else:
                await life.replace(who, version, other, OPERATOR, now, [ends])
        except EquipmentRefused:
            return

    async def require_smoke(self, code: str) -> None:
        rows = await rows_of(self.database, alarm)
        assert [row["equipment"] for row in rows if row["open_key"] and row["rule"] == "sensor.smoke"].count(code) == 1

    async def check(self) -> None:
        items: dict[tuple[str, str], Equipment] = self.ledger.equipment
        former = [code for item in items.values() for code in item.former_codes]
        assert len(former) == len(set(former)), "a former code means one equipment"
        assert not {("HQ", code) for code in former} & items.keys(), "and is no other's code"
        rows = await rows_of(self.database, alarm)
        for row in rows:
            item = self.ledger.find("HQ", row["equipment"])
            assert item is not None, "every alarm of the past is of an equipment that is known"
            assert row["equipment"] in self.ledger.codes_of("HQ", item.code)
            if row["open_key"] and item.retired_at is not None:
                assert row["life_safety"]
                assert row["raised_at"] >= item.retired_at
        assert all(self.ledger.find("HQ", code) is not None for code in self.spoke)
        again = Ledger(self.database, 10, "UTC")
        await again.load()
        assert again.equipment == items


async def live(acts: list[tuple[str, str, object]], migrated: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "life.db"
        shutil.copy(migrated, file)
        database = Database(sqlite_address(file))
        try:
            await Life(database).run(acts)
        finally:
            await database.close()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(acts=st.lists(ACTS, min_size=3, max_size=12))
def test_no_alarm_and_no_history_is_lost_and_only_life_safety_speaks_for_what_is_retired(
    migrated_file: Path, acts: list[tuple[str, str, object]]
) -> None:
    asyncio.run(live(acts, migrated_file))
