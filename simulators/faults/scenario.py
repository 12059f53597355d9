"""Scenarios: timelines of faults for an estate.

    scenario = load_scenario("demo")        # or a path to a YAML file of the same form
    windows = place(scenario, estate)       # raises when it does not fit the estate

A file is a list under `timeline`; times are counted from the start of the simulation:

    about: what an observer sees
    estate: garden
    timeline:
      - {at: 12s, equipment: P-1, fault: bearing_hot, for: 60s}
      - {at: 10min, equipment: [S-1, "P-*"], fault: water_leak, for: 60s, every: 1h}
      - {at: 20min, equipment: F-1, fault: smoke_alarm, floor: 3F, for: 5min}
"""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import msgspec

from collectors.wire.fields import Kind
from simulators.devices.build import AnySpec
from simulators.devices.device import Signal
from simulators.devices.fire_panel import FirePanelSpec
from simulators.estate import Estate
from simulators.faults.fault import Fault
from simulators.faults.fault_effects import FAULTS
from simulators.faults.faulty_device import Window
from simulators.yaml_input.durations import to_seconds
from simulators.yaml_input.files import entry_error, find_file, read_yaml

SCENARIOS: Final = Path(__file__).parents[1] / "scenarios"


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"lasts": "for"}):
    """One entry as it is in the file."""

    at: str
    equipment: str | tuple[str, ...]
    fault: str
    lasts: str
    every: str = ""
    floor: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    timeline: tuple[_Line, ...]
    about: str = ""
    estate: str = "demo"


class Entry(msgspec.Struct, frozen=True):
    """One fault: codes or patterns of equipment, seconds, and its place in the file, for errors."""

    equipment: tuple[str, ...]
    fault: str
    start_s: float
    lasts_s: float
    every_s: float
    floor: str
    where: str


class Scenario(msgspec.Struct, frozen=True):
    """A validated timeline. `estate` is the one it was written for."""

    path: Path
    about: str
    estate: str
    entries: tuple[Entry, ...]


def load_scenario(name: str | Path = "demo") -> Scenario:
    """Read a scenario by path, or by the name of an included one.

    Raises:
        YamlFileError: not found, malformed, an unknown fault, or an invalid duration.
    """
    path = find_file(name, SCENARIOS)
    file = read_yaml(path, _File)
    entries = tuple(_entry(path, number, line) for number, line in enumerate(file.timeline))
    return Scenario(path, file.about, file.estate, entries)


def place(scenario: Scenario, estate: Estate) -> dict[str, tuple[Window, ...]]:
    """The faults of each equipment, in the order of the file; of two at once the later one wins.

    Raises:
        YamlFileError: unknown equipment, a fault that none of it can have, or a floor that a panel does not have.
    """
    windows: dict[str, list[Window]] = {}
    for entry in scenario.entries:
        for item, fault in _targets(scenario.path, entry, estate):
            points = _points(scenario.path, entry, fault, item)
            window = Window(fault, entry.start_s, entry.lasts_s, entry.every_s, points)
            windows.setdefault(item.code, []).append(window)
    return {code: tuple(found) for code, found in windows.items()}


def _targets(path: Path, entry: Entry, estate: Estate) -> list[tuple[AnySpec, Fault]]:
    """A single code must be able to have the fault; of a pattern the equipment that can is selected."""
    effects = FAULTS[entry.fault]
    found: dict[str, tuple[AnySpec, Fault]] = {}
    for pattern in entry.equipment:
        named = [item for item in estate.equipment if fnmatchcase(item.code, pattern)]
        if not named:
            known = ", ".join(item.code for item in estate.equipment[:50])
            what = f"unknown equipment '{pattern}'; the estate has {known}"
            raise entry_error(path, f"{entry.where}.equipment", what)
        fitting = [item for item in named if item.kind in effects]
        if not fitting:
            what = f"{named[0].kind} {named[0].code} cannot have '{entry.fault}'; permitted: {faults_of(named[0].kind)}"
            raise entry_error(path, f"{entry.where}.fault", what)
        found |= {item.code: (item, effects[item.kind]) for item in fitting}
    return list(found.values())


def faults_of(kind: Kind) -> str:
    """The names of the faults that a kind can have."""
    return ", ".join(name for name, effects in FAULTS.items() if kind in effects)


def _points(path: Path, entry: Entry, fault: Fault, item: AnySpec) -> tuple[tuple[float, Signal, int], ...]:
    """The panel's points that give the fault's signals; floors above the roof are left out."""
    if entry.floor and not fault.needs_floor:
        raise entry_error(path, f"{entry.where}.floor", f"'{entry.fault}' happens on no floor; leave it out")
    if not fault.needs_floor or not isinstance(item, FirePanelSpec):
        return ()
    floor = entry.floor or item.floors[0]
    if floor not in item.floors:
        what = f"{item.code} has no floor '{floor}'; permitted: {', '.join(item.floors)}"
        raise entry_error(path, f"{entry.where}.floor", what)
    first = item.floors.index(floor)
    found = []
    for signal in fault.points:
        index = item.find(first + signal.floors_up, signal.device, signal.nth)
        if index is not None:
            found.append((signal.at_s, signal.signal, index))
    return tuple(found)


def _entry(path: Path, number: int, line: _Line) -> Entry:
    where = f"$.timeline[{number}]"
    if line.fault not in FAULTS:
        raise entry_error(path, f"{where}.fault", f"unknown fault '{line.fault}'; permitted: {', '.join(FAULTS)}")
    start_s = _duration(path, f"{where}.at", line.at)
    lasts_s = _duration(path, f"{where}.for", line.lasts)
    every_s = _duration(path, f"{where}.every", line.every) if line.every else 0.0
    if lasts_s <= 0:
        raise entry_error(path, f"{where}.for", "must be longer than 0s")
    fade_s = max(fault.fade_s for fault in FAULTS[line.fault].values())
    if every_s and every_s <= lasts_s + fade_s:
        least = f"{lasts_s:g}s and {fade_s:g}s in which it fades"
        raise entry_error(path, f"{where}.every", f"must be longer than the fault lasts: {least}")
    equipment = (line.equipment,) if isinstance(line.equipment, str) else line.equipment
    return Entry(equipment, line.fault, start_s, lasts_s, every_s, line.floor, where)


def _duration(path: Path, where: str, text: str) -> float:
    try:
        return to_seconds(text)
    except ValueError as error:
        raise entry_error(path, where, str(error)) from None
