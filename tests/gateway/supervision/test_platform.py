"""The platform about itself: what it finds is what its rules can judge."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from collectors.disk.damaged_files import keep_aside
from collectors.wire.fields import Channel, Kind, fields_of
from gateway.alarms.rules.files import shipped_rules
from gateway.alarms.rules.rule import RuleType
from gateway.supervision.incoming_messages import way_of_messages
from gateway.supervision.platform import SelfSupervision, platform

NOW = 1_790_000_000_000


class FakeBuffer:
    """A fake: a way into the history that is as it is told to be."""

    def __init__(self) -> None:
        self.trouble = ""
        self.lost = 0
        self.spool_used = 0.0


@pytest.fixture
def buffer() -> FakeBuffer:
    return FakeBuffer()


def look(folder: Path, buffer: FakeBuffer, notice: str = "") -> dict[str, object]:
    supervision = SelfSupervision(folder, buffer, lambda: notice, dict)  # type: ignore[arg-type]  # the fake has what is read
    return dict(supervision.look(NOW).fields)


def test_everything_that_is_found_is_a_field_of_the_kind_and_has_a_rule(tmp_path: Path, buffer: FakeBuffer) -> None:
    """Some are for reading: the age of a backup goes with `backup_ok`, what waits with how long it waits."""
    buffers = SimpleNamespace(is_behind=False, trouble="")
    parts = [SimpleNamespace(**part) for part in ({"waiting": 0, "connected": True}, {"longest_judging_s": float})]
    way = way_of_messages(*parts, buffers, SimpleNamespace(waited=0), SimpleNamespace(dropped=0))  # type: ignore[arg-type]  # fakes
    clocks = {"clock_synchronised", "clock_jumped", "devices_clock_apart", "database_clock_apart"}
    around = {*clocks, "certificate_days", "site_silent", "backup_ok", "backup_age_h"}
    around |= {
        "out_of_service_overdue",
        "checkpoint_ok",
        "audit_ok",
        "part_failing",
        "history_stopped",
        "alarm_reserve_in_use",
    }
    found = {*look(tmp_path, buffer), *way, *around}
    assert found == set(fields_of(Kind.SYSTEM, Channel.TELEMETRY))
    assert found - {"backup_age_h", "messages_waiting"} == {
        rule.field for rule in shipped_rules() if rule.kind is Kind.SYSTEM and rule.type is not RuleType.EVENT
    }


def test_a_platform_that_is_well_says_so(tmp_path: Path, buffer: FakeBuffer) -> None:
    found = look(tmp_path, buffer)
    assert 0 < found.pop("disk_free") <= 100  # type: ignore[operator]
    assert found == {
        "history_reachable": True,
        "spool_used": 0.0,
        "losing_readings": False,
        "work_set_aside": False,
        "damaged_file_kept": False,
    }


def test_a_damaged_file_is_told_of_for_as_long_as_it_lies_there(tmp_path: Path, buffer: FakeBuffer) -> None:
    path = tmp_path / "history.db"
    path.write_text("junk")
    kept = keep_aside(path, "file is not a database")
    assert look(tmp_path, buffer)["damaged_file_kept"] is True
    kept.rename(tmp_path / "for-the-administrator")
    assert look(tmp_path, buffer)["damaged_file_kept"] is False


def test_a_store_that_is_away_a_spool_that_fills_and_work_set_aside_are_told(
    tmp_path: Path, buffer: FakeBuffer
) -> None:
    buffer.trouble, buffer.spool_used = "no route to host", 0.512
    found = look(tmp_path, buffer, "1 dead letters")
    assert (found["history_reachable"], found["spool_used"], found["work_set_aside"]) == (False, 51.2, True)


def test_losing_is_told_for_as_long_as_more_is_lost(tmp_path: Path, buffer: FakeBuffer) -> None:
    supervision = SelfSupervision(tmp_path, buffer, str, dict)  # type: ignore[arg-type]  # as above
    told = []
    for buffer.lost in (0, 5, 5, 6):
        told.append(supervision.look(NOW).fields["losing_readings"])
    assert told == [False, True, False, True]


def test_a_disk_that_does_not_answer_counts_as_full(tmp_path: Path, buffer: FakeBuffer) -> None:
    assert look(tmp_path / "gone", buffer)["disk_free"] == 0.0


def test_the_platform_stands_in_the_ledger_in_both_languages() -> None:
    site, item = platform("Asia/Shanghai")
    assert (site.code, item.site, item.kind, item.adopted) == (site.code, site.code, "system", True)
    for text in (site.name, item.name):
        assert set(text) == {"en", "zh-CN"}
        assert text["en"] != text["zh-CN"]
