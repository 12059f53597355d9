"""The units of a set-up without containers: systemd itself reads them, and what they name exists in the code."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from deploy.make_secrets import PROGRAMS
from gateway.cli.main import cli
from gateway.settings import setting_names
from tests.deploy.deployed import DEPLOY, moved

UNITS = DEPLOY / "systemd"
OURS = ("gengfu.service", "gengfu-collect@.service")
GENGFU = str(Path(sys.executable).with_name("gengfu"))
KNOWN = {f"GENGFU_{section}__{key}".upper() for section, key in setting_names()}
MOST_EXPOSED = 20
"""Tenths of systemd's exposure level, which is 10 for a unit that says nothing."""
each_unit = pytest.mark.parametrize("name", OURS)


def unit(name: str) -> list[tuple[str, str]]:
    lines = (UNITS / name).read_text(encoding="utf-8").splitlines()
    return [(key, value) for key, _, value in (line.partition("=") for line in lines) if key.isalpha()]


def analyze(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=60, check=False)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with programs that are on this machine, which is what `verify` asks for."""
    for name in OURS:
        text = (UNITS / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(moved(text, {"/opt/gengfu/bin/gengfu": GENGFU}), encoding="utf-8")
    return tmp_path


@each_unit
def test_systemd_understands_every_line(name: str, units: Path) -> None:
    found = analyze(
        "verify", "--man=no", "--recursive-errors=no", f"./{name.replace('@', '@1')}", folder=instance(units)
    )
    assert (found.returncode, found.stderr) == (0, "")


def instance(units: Path) -> Path:
    template = units / "gengfu-collect@.service"
    (units / "gengfu-collect@1.service").symlink_to(template.name)
    return units


@each_unit
def test_a_unit_may_do_little(name: str, units: Path) -> None:
    found = analyze(
        "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", f"./{name}", folder=units
    )
    assert found.returncode == 0, found.stdout[-400:]


@each_unit
def test_the_promised_walls_stand(name: str) -> None:
    directives = dict(unit(name))
    assert directives["User"] == "gengfu"
    assert directives["ProtectSystem"] == "strict"
    assert directives["CapabilityBoundingSet"] == ""
    for wall in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices", "RestrictNamespaces"):
        assert directives[wall] == "yes", wall
    assert {"MemoryMax", "TasksMax", "LimitNOFILE", "Restart"} <= set(directives)
    assert directives["StateDirectory"] == "gengfu"


@each_unit
def test_a_unit_runs_a_command_with_options_that_exist(name: str) -> None:
    lines = [value for key, value in unit(name) if key in {"ExecStart", "ExecStartPre"}]
    assert len(lines) == 2
    for line in lines:
        program, command, *words = shlex.split(line)
        assert program == "/opt/gengfu/bin/gengfu"
        found = typer.main.get_command(cli).commands[command]  # type: ignore[attr-defined]
        options = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options


@each_unit
def test_a_unit_names_settings_and_secrets_that_exist(name: str, secrets: Path) -> None:
    settings = dict(value.split("=", 1) for key, value in unit(name) if key == "Environment")
    assert settings
    assert set(settings) <= KNOWN
    (file,) = [Path(value.replace("%i", "1")) for key, value in unit(name) if key == "EnvironmentFile"]
    assert (secrets / file.name).exists()
    assert settings.get("GENGFU_BROKER__USERNAME", "gengfu").replace("%i", "1") in PROGRAMS


def test_the_brokers_unit_may_open_a_file_for_each_device() -> None:
    directives = dict(unit("mosquitto.service.d/gengfu.conf"))
    assert int(directives["LimitNOFILE"]) >= 20_000
