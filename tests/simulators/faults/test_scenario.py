"""Scenario and estate files: what is wrong is said with file, line, entry and what is permitted."""

from itertools import pairwise
from pathlib import Path

import pytest

from simulators.estate import load_estate
from simulators.faults.scenario import SCENARIOS, Scenario, load_scenario, place
from simulators.yaml_input.durations import to_seconds
from simulators.yaml_input.files import YamlFileError

GOOD = """\
timeline:
  - {at: 8s, equipment: S-1, fault: water_leak, for: 60s}
"""

# what is wrong: second line of the time line, what the complaint must say
BAD_LINES = [
    # a slip in the fault's name lists the names
    (
        "{at: 9s, equipment: P-1, fault: bearing_hott, for: 60s}",
        "'bearing_hott'; permitted: trapped, stuck,",
    ),
    # no duration
    ("{at: 9s, equipment: P-1, fault: bearing_hot}", "missing required field `for`"),
    # a number without unit could be anything
    ("{at: 9, equipment: P-1, fault: bearing_hot, for: 60s}", "Expected `str`, got `int`"),
    (
        "{at: 9x, equipment: P-1, fault: bearing_hot, for: 60s}",
        "'9x' is not a duration; write a number with ms, s, min, h or d",
    ),
    # an unknown key is refused, not ignored
    (
        "{at: 9s, equipment: P-1, fault: bearing_hot, for: 60s, until: 1h}",
        "unknown field `until`; permitted: at, equipment, fault, for, every, floor",
    ),
    ("{at: 9s, equipment: P-1, fault: bearing_hot, for: 0s}", "must be longer than 0s"),
    # a fault must be over, and faded, before it comes again
    ("{at: 9s, equipment: P-1, fault: bearing_hot, for: 60s, every: 90s}", "60s and 40s in which it fades"),
]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(("line", "complaint"), BAD_LINES)
def test_bad_entry_is_named_with_its_line(tmp_path: Path, line: str, complaint: str) -> None:
    path = write(tmp_path, f"{GOOD}  - {line}\n")
    with pytest.raises(YamlFileError) as caught:
        load_scenario(path)
    text = str(caught.value)
    assert text.startswith(f"{path}, line 3, timeline[1]")
    assert complaint in text


# text of the file, what the complaint must say
BAD_FILES = [
    ("", "the file is empty"),
    ("timeline: [\n", "not YAML"),
    ("timeline: !!python/object:os.system {}\n", "not plain YAML"),
    ("- 1\n", "Expected `object`, got `array`"),
    ("about: x\n", "missing required field `timeline`"),
]


@pytest.mark.parametrize(("text", "complaint"), BAD_FILES)
def test_bad_file_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(YamlFileError, match=r"mine\.yaml") as caught:
        load_scenario(write(tmp_path, text))
    assert complaint in str(caught.value)


def test_unknown_name_lists_what_comes_with_gengfu() -> None:
    with pytest.raises(
        YamlFileError, match="nowhere: no such file; included ones: babbling_device, bearing_wear, calm"
    ):
        load_scenario("nowhere")


# entry, what the complaint must say
MISFITS = [
    (
        "{at: 1s, equipment: L-9, fault: water_leak, for: 1s}",
        "unknown equipment 'L-9'; the estate has L-1, L-2",
    ),
    (
        "{at: 1s, equipment: L-1, fault: water_leak, for: 1s}",
        "elevator L-1 cannot have 'water_leak'; permitted: trapped, stuck, stuck_unreported, door_fault",
    ),
]


MISFITS += [
    (
        "{at: 1s, equipment: F-1, fault: smoke_alarm, floor: 30F, for: 1s}",
        "F-1 has no floor '30F'; permitted: B2, B1, 1F",
    ),
    ("{at: 1s, equipment: L-1, fault: trapped, floor: 3F, for: 1s}", "'trapped' happens on no floor"),
    ('{at: 1s, equipment: ["L-1", "X-*"], fault: trapped, for: 1s}', "unknown equipment 'X-*'"),
]


@pytest.mark.parametrize(("line", "complaint"), MISFITS)
def test_scenario_that_does_not_fit_the_estate_is_refused(tmp_path: Path, line: str, complaint: str) -> None:
    scenario = load_scenario(write(tmp_path, f"{GOOD}  - {line}\n"))
    with pytest.raises(YamlFileError, match=r"line 3, timeline\[1\]") as caught:
        place(scenario, load_estate())
    assert complaint in str(caught.value)


def begins(scenario: Scenario, until_s: float) -> list[tuple[float, str]]:
    found = []
    for entry in scenario.entries:
        at = entry.start_s
        while at < until_s:
            found.append((at, entry.fault))
            at += entry.every_s or until_s
    return sorted(found)


def test_demo_shows_one_fault_of_each_kind_within_the_first_minute() -> None:
    scenario = load_scenario("demo")
    place(scenario, load_estate("demo"))
    first = [(at, fault) for at, fault in begins(scenario, 3600) if at < 60]
    assert {fault for _, fault in first} == {
        "water_leak", "device_offline", "bearing_hot", "trapped", "door_fault", "smoke_alarm", "panel_mains_lost",
    }  # fmt: skip
    assert first[0][0] == 8
    assert first[-1][0] == 45


def test_demo_stays_alive_and_calm() -> None:
    later = [at for at, _ in begins(load_scenario("demo"), 6 * 3600) if at > 60]
    gaps = [b - a for a, b in pairwise(later)]
    assert set(gaps) == {600}


def test_demo_estate_has_what_the_demo_shows() -> None:
    estate = load_estate("demo")
    kinds = [item.kind for item in estate.equipment]
    assert estate.site == "demo"
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "elevator": 3,
        "pump": 3,
        "fire_panel": 1,
        "patrol_reader": 2,
        "sensor": 7,
    }
    assert all(item.name.en and item.name.zh and item.place for item in estate.equipment)


# the equipment list, line of the complaint, what it must say
BAD_ESTATES = [
    (
        "[{kind: pmp, code: P-1, name: {en: a, zh-CN: b}, place: {en: c, zh-CN: d}}]",
        3,
        "Invalid value 'pmp'; permitted: elevator, fire_panel, patrol_reader, pump, sensor",
    ),
    (
        "[{kind: pump, code: P 1, name: {en: a, zh-CN: b}, place: {en: c, zh-CN: d}}]",
        3,
        "each may have 1 to 64 letters",
    ),
    ("[{kind: pump, code: P-1, name: {en: a}, place: {en: c, zh-CN: d}}]", 3, "missing required field `zh-CN`"),
    (
        "[{kind: pump, code: P-1, name: {en: a, zh-CN: b}, place: {en: c, zh-CN: d}, rpm: 1}]",
        3,
        "unknown field `rpm`; permitted: kind, code, name, place, every_s, fed_by, carried_by, duty, set, setpoint",
    ),
    ("[]", 3, "length >= 1"),
    (
        "[{kind: pump, code: P-1, name: {en: a, zh-CN: b}, place: {en: c, zh-CN: d}, fed_by: P-1}]",
        3,
        "no other equipment of the estate has code P-1",
    ),
]


@pytest.mark.parametrize(("equipment", "line", "complaint"), BAD_ESTATES)
def test_bad_estate_is_refused(tmp_path: Path, equipment: str, line: int, complaint: str) -> None:
    path = write(tmp_path, f"site: demo\nname: {{en: a, zh-CN: b}}\nequipment: {equipment}\n")
    with pytest.raises(YamlFileError, match=f"line {line}, equipment") as caught:
        load_estate(path)
    assert complaint in str(caught.value)


def test_code_that_stands_twice_is_refused(tmp_path: Path) -> None:
    entry = "  - {kind: fire_panel, code: F-1, name: {en: a, zh-CN: b}, place: {en: c, zh-CN: d}}\n"
    path = write(tmp_path, f"site: demo\nname: {{en: a, zh-CN: b}}\nequipment:\n{entry}{entry}")
    with pytest.raises(YamlFileError, match=r"line 5, equipment\[1\]\.code: code F-1 occurs twice"):
        load_estate(path)


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("12s", 12), ("1.5min", 90), ("2h", 7200), (" 3 s ", 3), ("1d", 86400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert to_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "12", "s", "-3s", "1min30s", "5m", "1w"])
def test_other_forms_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        to_seconds(text)


def test_a_pattern_means_those_that_can_have_the_fault(tmp_path: Path) -> None:
    path = write(tmp_path, 'timeline: [{at: 1s, equipment: "*", fault: power_cut, for: 1s}]')
    placed = place(load_scenario(path), load_estate())
    sensors = {"S-1", "S-2", "S-3", "S-4", "S-5", "M-1", "GW-1"}
    assert set(placed) == {"L-1", "L-2", "L-3", "P-1", "P-2", "P-3", "F-1"} | sensors


@pytest.mark.parametrize("path", sorted(SCENARIOS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_scenario_that_ships_fits_its_estate_and_says_what_it_is_about(path: Path) -> None:
    scenario = load_scenario(path)
    assert scenario.about
    place(scenario, load_estate(scenario.estate))


def test_unknown_key_of_a_file_says_what_is_permitted(tmp_path: Path) -> None:
    with pytest.raises(YamlFileError, match=r"line 1: .*unknown field `title`; permitted: timeline, about, estate"):
        load_scenario(write(tmp_path, f"title: x\n{GOOD}"))


def test_unknown_key_inside_an_entry_of_an_estate_says_what_is_permitted(tmp_path: Path) -> None:
    stop = "{code: A, tag: 04A1B2C3D4E581, name: {en: a, zh-CN: b}, colour: red}"
    reader = "{kind: patrol_reader, code: R-1, name: {en: a, zh-CN: b}, place: {en: c, zh-CN: d}, cards: [A]"
    path = write(tmp_path, f"site: x\nname: {{en: a, zh-CN: b}}\nequipment:\n  - {reader}, checkpoints: [{stop}]}}\n")
    with pytest.raises(YamlFileError, match=r"line 4.*checkpoints\[0\].*`colour`; permitted: code, tag, name"):
        load_estate(path)


def test_unknown_time_zone_of_an_estate_is_refused(tmp_path: Path) -> None:
    panel = "{kind: fire_panel, code: F-1, name: {en: a, zh-CN: b}, place: {en: c, zh-CN: d}}"
    path = write(tmp_path, f"site: x\ntime_zone: Mars/Base\nname: {{en: a, zh-CN: b}}\nequipment: [{panel}]\n")
    with pytest.raises(YamlFileError, match="line 2, time_zone: unknown time zone 'Mars/Base'"):
        load_estate(path)
