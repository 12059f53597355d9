"""docs/devices.md: every example in it does what it says."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collectors.payloads.mapping import shipped_names
from gateway.cli.main import cli
from gateway.settings import load_settings

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "devices.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = FENCE.findall(PAGE)
EXAMPLES = [(text.strip(), BLOCKS[number + 1]) for number, (how, text) in enumerate(BLOCKS) if how == "sh"]


@pytest.fixture(autouse=True)
def _files_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for how, text in BLOCKS:
        if how == "yaml":
            (tmp_path / text.splitlines()[0].removeprefix("# ")).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("command", "shown"), EXAMPLES, ids=[command[:70] for command, _ in EXAMPLES])
def test_an_example_shows_what_the_page_says(command: str, shown: tuple[str, str]) -> None:
    program, *arguments = shlex.split(command)
    result = CliRunner().invoke(cli, arguments)
    assert (program, result.exit_code) == ("gengfu", 0), result.output
    assert shown[0] == "text"
    for line in shown[1].splitlines():
        assert line in result.output, result.output


def test_every_family_that_ships_has_its_example() -> None:
    assert all(f"--mapping {name} " in PAGE for name in shipped_names())


def test_the_settings_of_the_page_are_settings(tmp_path: Path) -> None:
    (text,) = [text for how, text in BLOCKS if how == "toml"]
    (tmp_path / "page.toml").write_text(text, encoding="utf-8")
    assert load_settings(tmp_path / "page.toml").collect.site == "hq"
