"""Scenarios: the time line of faults that an estate goes through.

    scenario = load_scenario("demo")        # or a path to a YAML file of the same form
    check_scenario(scenario, estate)        # raises when it names equipment the estate has not

A file is a list under `timeline`; times are counted from the start of the simulation:

    timeline:
      - {at: 12s, equipment: P-1, fault: bearing_hot, for: 60s}
      - {at: 10min, equipment: S-1, fault: water_leak, for: 60s, every: 1h}
"""

from pathlib import Path
from typing import Final

import msgspec

from simulators.durations import to_seconds
from simulators.estate import Estate
from simulators.faults import FAULTS, Fault
from simulators.faulty_device import Window
from simulators.yaml_files import entry_error, find_file, read_yaml

SCENARIOS: Final = Path(__file__).parent / "scenarios"


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"lasts": "for"}):
    """One entry as it stands in the file."""

    at: str
    equipment: str
    fault: str
    lasts: str
    every: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    timeline: tuple[_Line, ...]
    about: str = ""


class Entry(msgspec.Struct, frozen=True):
    """One fault of one equipment; `where` is its place in the file, for complaints."""

    equipment: str
    fault: str
    window: Window
    where: str


class Scenario(msgspec.Struct, frozen=True):
    """A time line that was read and found sound."""

    path: Path
    entries: tuple[Entry, ...]

    def windows(self, equipment: str) -> tuple[Window, ...]:
        """The faults of one equipment, in the order of the file; of two at once the later one wins."""
        return tuple(entry.window for entry in self.entries if entry.equipment == equipment)


def load_scenario(name: str | Path = "demo") -> Scenario:
    """Read a scenario by path, or by the name of one that comes with Gengfu.

    Raises:
        YamlFileError: not found, malformed, an unknown fault, or a duration that makes no sense.
    """
    path = find_file(name, SCENARIOS)
    file = read_yaml(path, _File)
    return Scenario(path, tuple(_entry(path, number, line) for number, line in enumerate(file.timeline)))


def check_scenario(scenario: Scenario, estate: Estate) -> None:
    """See that the estate has what the scenario names.

    Raises:
        YamlFileError: unknown equipment, or a fault that its kind cannot have.
    """
    for entry in scenario.entries:
        item = estate.find(entry.equipment)
        if item is None:
            known = ", ".join(item.code for item in estate.equipment)
            raise entry_error(
                scenario.path,
                f"{entry.where}.equipment",
                f"unknown equipment '{entry.equipment}'; the estate has {known}",
            )
        if item.kind not in FAULTS[entry.fault].kinds:
            fitting = ", ".join(name for name, fault in FAULTS.items() if item.kind in fault.kinds)
            raise entry_error(
                scenario.path,
                f"{entry.where}.fault",
                f"{item.kind} {item.code} cannot have '{entry.fault}'; permitted: {fitting}",
            )


def _entry(path: Path, number: int, line: _Line) -> Entry:
    where = f"$.timeline[{number}]"
    fault = FAULTS.get(line.fault)
    if fault is None:
        raise entry_error(path, f"{where}.fault", f"unknown fault '{line.fault}'; permitted: {', '.join(FAULTS)}")
    return Entry(line.equipment, line.fault, _window(path, where, line, fault), where)


def _window(path: Path, where: str, line: _Line, fault: Fault) -> Window:
    start = _duration(path, f"{where}.at", line.at)
    lasts = _duration(path, f"{where}.for", line.lasts)
    every = _duration(path, f"{where}.every", line.every) if line.every else 0.0
    if lasts <= 0:
        raise entry_error(path, f"{where}.for", "must be longer than 0s")
    if every and every <= lasts + fault.fade_s:
        least = f"{lasts:g}s and {fault.fade_s:g}s in which it fades"
        raise entry_error(path, f"{where}.every", f"must be longer than the fault lasts: {least}")
    return Window(fault, start, lasts, every)


def _duration(path: Path, where: str, text: str) -> float:
    try:
        return to_seconds(text)
    except ValueError as error:
        raise entry_error(path, where, str(error)) from None
