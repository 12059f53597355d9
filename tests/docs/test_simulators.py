"""docs/simulators.md against the code: every fault, scenario, mapping, key and option, and its example runs."""

import re
from collections.abc import Iterable
from pathlib import Path

import typer

from gateway.cli.main import cli
from simulators.devices.elevator import ElevatorSpec
from simulators.devices.fire_panel import FirePanelSpec
from simulators.devices.patrol_reader import PatrolReaderSpec
from simulators.devices.pump import PumpSpec
from simulators.devices.sensor import SensorSpec
from simulators.estate import load_estate
from simulators.faults.fault_effects import FAULTS
from simulators.faults.scenario import load_scenario, place
from simulators.replays.mapping import REPLAYS, load_mapping
from tests.docs.test_docs import blocks, read, rows
from tests.simulators.faults.test_shipped_scenarios import SCENARIO_TABLE

PAGE = "docs/simulators.md"
COMMON = {"code", "name", "place", "every_s", "fed_by", "carried_by"}


def first_cells() -> list[str]:
    return [cells[0].strip("`") for cells in rows(PAGE)]


def under(heading: str, names: Iterable[str]) -> dict[str, list[str]]:
    """Name -> cells of its row; scenarios and faults share some names."""
    text = read(PAGE).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = [[cell.strip() for cell in line[2:-2].split(" | ")] for line in text.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): cells for cells in found if cells[0].strip("`") in set(names)}


def test_every_fault_is_listed_with_its_kinds_and_what_it_does() -> None:
    listed = under("Faults", FAULTS)
    assert list(listed) == list(FAULTS)
    for name, cells in listed.items():
        assert cells[1] in {", ".join(FAULTS[name]), "every kind"}
        assert all(fault.about in cells[2] for fault in FAULTS[name].values())


def test_every_scenario_is_listed_with_the_alarms_that_its_test_wants() -> None:
    listed = under("Scenarios", SCENARIO_TABLE)
    assert set(listed) == set(SCENARIO_TABLE)
    for name, cells in listed.items():
        assert cells[1] == load_scenario(name).about
        rules = {rule for _, rule in SCENARIO_TABLE[name].tickets}
        assert {rule for rule in rules if rule.rpartition(".")[2] not in cells[2]} == set()
        assert (cells[2] == "none") is not bool(rules)


def test_every_mapping_is_listed() -> None:
    shipped = {path.stem for path in REPLAYS.glob("*.yaml") if "." not in path.stem}
    assert shipped <= set(first_cells())


def test_every_key_of_an_estates_equipment_is_explained() -> None:
    explained = {cells[0].strip("`"): cells[1] for cells in rows(PAGE) if len(cells) == 2}
    for spec in (ElevatorSpec, PumpSpec, FirePanelSpec, PatrolReaderSpec, SensorSpec):
        keys = set(spec.__struct_fields__) - COMMON
        assert {key for key in keys if f"`{key}`" not in explained[str(spec.__struct_config__.tag)]} == set()


def test_the_options_are_those_of_the_command() -> None:
    command = typer.main.get_command(cli).commands["simulate"]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts}
    named = set(re.findall(r"`(--[a-z-]+)", "\n".join(" | ".join(cells) for cells in rows(PAGE))))
    assert named
    assert named <= options


def test_the_scenario_that_the_page_shows_can_be_played(tmp_path: Path) -> None:
    path = tmp_path / "page.yaml"
    text, _ = blocks(PAGE, "yaml")
    path.write_text(text, "utf-8")
    scenario = load_scenario(path)
    assert len(place(scenario, load_estate(scenario.estate))) > 5


def test_the_mapping_of_intervals_that_the_page_shows_can_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "page.yaml"
    _, text = blocks(PAGE, "yaml")
    path.write_text(text, "utf-8")
    assert load_mapping(path).until is not None
