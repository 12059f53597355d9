"""The year of past that benchmarks write is what the service would have written."""

from pathlib import Path

from benchmarks.past import DAY_MS, fill_database, fill_history
from collectors.timeseries.sqlite.store import SqliteStore
from collectors.timeseries.store import Series
from gateway.people.audit.key import open_key, read_public_keys
from gateway.people.audit.verification import check_database
from gateway.retention.retention import Retention
from gateway.settings import RetentionSettings
from gateway.storage.database import Database
from gateway.storage.tables import alarm, audit, event, fact, journal, ticket
from tests.builders.alarms import T0, Clock, open_desk, rows_of

ALARMS = 40


async def test_its_audit_is_whole_nothing_of_it_is_to_be_done_and_it_can_go(database: Database, tmp_path: Path) -> None:
    await fill_database(database, open_key(tmp_path / "audit.key"), ALARMS, T0)
    proof = await check_database(database, read_public_keys(tmp_path.glob("audit-*.pub")))
    assert (proof.rows, proof.findings) == (6 * ALARMS, ())
    desk = await open_desk(database, clock=Clock(T0))
    before = [len(await rows_of(database, table)) for table in (alarm, ticket, journal, audit, fact)]
    await desk.tickets.tick()
    await desk.alarms.tick()
    assert [len(await rows_of(database, table)) for table in (alarm, ticket, journal, audit, fact)] == before
    half = RetentionSettings(alarm_days=183, fire_days=183, maintenance_days=183)
    removed = await Retention(database, desk.epoch, half, desk.clock).enforce()
    assert removed == {"ticket": ALARMS // 2, "alarm": ALARMS // 2, "event": ALARMS // 40}
    assert len(await rows_of(database, journal)) == 6 * ALARMS // 2
    assert len(await rows_of(database, event)) == 1


async def test_its_history_is_drawn(tmp_path: Path) -> None:
    await fill_history(tmp_path / "history.db", 24_000, T0)
    store = SqliteStore(tmp_path / "history.db")
    await store.open()
    assert await store.rollups_due() == 0
    found = await store.history(Series("bench", "pump", "P-7", "telemetry"), "flow", T0 - 366 * DAY_MS, T0)
    assert sum(bucket.samples for bucket in found.buckets) == 120
    await store.close()
