"""`gengfu rules` as people type it: which rules hold where, and who changed what."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.alarms.rules.files import shipped_rules
from gateway.alarms.rules.rulebook import Place
from gateway.alarms.rules.versions import Wish, change, roll_back
from gateway.people.audit.entry import Cause, Via
from gateway.storage.database import Database
from gateway.storage.migrate import migrate
from tests.builders.alarms import T0, sqlite_address
from tests.servers.service import GENGFU

RULE = "pump.bearing_hot"
Type = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def rules(tmp_path: Path) -> Type:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [GENGFU, "rules", *arguments, "--data-dir", str(tmp_path / "data")],
            capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
        )  # fmt: skip

    return run


async def change_some(folder: Path) -> None:
    """A site's limit, an equipment's, and that taken back."""
    folder.mkdir()
    database = Database(sqlite_address(folder / "gengfu.db"))
    await migrate(database, folder)
    files, cause = shipped_rules(), Cause("system:command", Via.COMMAND)
    here = Place(RULE, "hq", "P-1")
    await change(database, files, Wish(Place(RULE, "hq", ""), {"above": 90}, 0, "summer"), cause, None, T0)
    await change(database, files, Wish(here, {"enabled": False}, 0), cause, "demo:wei", T0)
    await roll_back(database, files, Wish(here, {}, 1, equals=0), cause, None, T0)
    await database.close()


def test_before_anything_was_kept_all_is_as_in_the_files(rules: Type) -> None:
    listed = rules("list", "--kind", "pump")
    assert listed.returncode == 0, listed.stderr
    assert RULE in listed.stdout
    assert "elevator" not in listed.stdout
    assert "as in its file everywhere" in rules("history", RULE).stdout


async def test_what_is_changed_is_marked_with_the_files_value_beside_it(rules: Type, tmp_path: Path) -> None:
    await change_some(tmp_path / "data")
    (line,) = [line for line in rules("list", "--site", "hq").stdout.splitlines() if line.startswith(f"{RULE} ")]
    assert "changed for the site: version 1" in line
    shown = rules("show", RULE, "--equipment", "hq:P-1").stdout
    assert "above: 90 °C  (the site's; in the file: 82)" in shown
    assert "deadband: 2 °C\n" in shown
    assert "above: 82 °C\n" in rules("show", RULE).stdout
    history = rules("history", RULE).stdout.splitlines()
    assert [line.split("  ")[1:3] for line in history] == [
        ["hq:P-1", "version 2"],
        ["hq:P-1", "version 1"],
        ["hq", "version 1"],
    ]
    assert "rolled back to version 0" in history[0]
    assert "system:command and demo:wei: enabled: false" in history[1]
    assert history[2].endswith("above: 90  summer")


def test_what_cannot_be_shown_is_said_in_one_sentence(rules: Type) -> None:
    for arguments, why in (
        (("show", "no.such"), "there is no rule no.such here"),
        (("show", RULE, "--equipment", "hq"), "SITE:CODE"),
        (("list", "--site", "b", "--equipment", "hq:P-1"), "on another site"),
    ):
        refused = rules(*arguments)
        assert refused.returncode != 0
        assert why in refused.stderr
        assert "Traceback" not in refused.stderr
