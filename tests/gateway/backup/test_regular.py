"""Backups that are made by themselves, and the alarm when they are not."""

from pathlib import Path
from typing import Any

import pytest

from collectors.wire.fields import Channel, Kind, fields_of
from collectors.wire.reading import Reading
from gateway.alarms.rules.files import shipped_rules
from gateway.backup.regular import RegularBackups
from gateway.backup.schedule import backup_name
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.tables import alarm
from gateway.supervision.platform import SelfSupervision
from tests.builders.alarms import T0, Clock, open_desk, rows_of

HOUR = 3600 * 1000
DAY = 24 * HOUR


class Buffer:
    """The history's way, without any trouble."""

    lost = 0
    spool_used = 0.0
    trouble = ""


class Watch:
    """Regular backups of a test's database, on a clock that is set by hand."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.clock = Clock()
        self.url = database.engine.url
        self.folder = folder / "backups"
        self.settings = Settings(
            storage={"data_dir": folder}, backup={"folder": str(self.folder), "every_days": 7, "kept": 2}
        )  # type: ignore[arg-type]
        self.backups = self.started()

    def started(self) -> RegularBackups:
        return RegularBackups(self.settings, self.url, self.clock)

    async def tick(self, later: int = 0) -> dict[str, Any]:
        self.clock.now += later
        await self.backups.tick()
        return self.backups.findings()

    def reading(self) -> Reading:
        supervision = SelfSupervision(self.settings.storage.data_dir, Buffer(), str, self.backups.findings)  # type: ignore[arg-type]
        return supervision.look(self.clock.now)

    @property
    def files(self) -> list[str]:
        return sorted(file.name for file in self.folder.glob("*"))


@pytest.fixture
def watch(database: Database, tmp_path: Path) -> Watch:
    return Watch(database, tmp_path)


async def test_the_first_is_made_at_once_and_the_next_when_it_is_due(watch: Watch) -> None:
    assert await watch.tick() == {"backup_ok": True, "backup_age_h": 0.0}
    assert await watch.tick(6 * DAY) == {"backup_ok": True, "backup_age_h": 144.0}
    assert watch.files == [backup_name(T0)]
    await watch.tick(DAY)
    assert watch.files == [backup_name(T0), backup_name(T0 + 7 * DAY)]


async def test_a_restart_makes_none_before_it_is_due(watch: Watch) -> None:
    await watch.tick()
    watch.backups = watch.started()
    assert watch.backups.findings() == {}, "before it has looked it says nothing"
    await watch.tick(DAY)
    assert watch.files == [backup_name(T0)]


async def test_the_oldest_goes_when_there_are_more_than_are_kept_and_other_files_stay(watch: Watch) -> None:
    watch.folder.mkdir()
    (watch.folder / "notes.txt").write_text("mine")
    for _ in range(4):
        await watch.tick()
        watch.clock.now += 7 * DAY
    assert watch.files == [backup_name(T0 + 14 * DAY), backup_name(T0 + 21 * DAY), "notes.txt"]


async def test_one_that_fails_is_told_and_tried_again_in_an_hour(watch: Watch) -> None:
    watch.folder.write_text("a file where the folder should be")
    assert await watch.tick() == {"backup_ok": False}
    watch.folder.unlink()
    assert await watch.tick(HOUR - 1) == {"backup_ok": False}
    assert watch.files == []
    assert await watch.tick(1) == {"backup_ok": True, "backup_age_h": 0.0}


async def test_nothing_is_made_and_nothing_told_where_no_folder_is_set(database: Database, tmp_path: Path) -> None:
    settings = Settings(storage={"data_dir": tmp_path})  # type: ignore[arg-type]
    backups = RegularBackups(settings, database.engine.url, Clock())
    await backups.tick()
    assert backups.findings() == {}
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".backup"] == []


async def test_a_backup_that_fails_is_an_alarm_of_the_platform_until_one_is_made(
    database: Database, watch: Watch
) -> None:
    desk = await open_desk(database, *shipped_rules(), clock=watch.clock)
    watch.folder.write_text("a file where the folder should be")
    await watch.tick()
    reading = watch.reading()
    assert set(reading.fields) <= set(fields_of(Kind.SYSTEM, Channel.TELEMETRY))
    await desk.decide(reading)
    (raised,) = await rows_of(database, alarm)
    assert (raised["rule"], raised["active"]) == ("system.backup_missing", True)
    watch.folder.unlink()
    await watch.tick(HOUR)
    await desk.decide(watch.reading())
    (returned,) = await rows_of(database, alarm)
    assert returned["active"] is False
