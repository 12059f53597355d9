"""The rules for SKAB against the real data: what they raise and clear on a pump that is none of ours."""

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from simulators.replays.csv_rows import Row, read_rows
from simulators.replays.mapping import REPLAYS, load_mapping
from simulators.yaml_input.durations import to_seconds

DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data" / "pump" / "skab"
RULES: Final[dict[str, dict[str, Any]]] = {
    rule["id"]: rule for rule in yaml.safe_load((REPLAYS / "skab.rules.yaml").read_text("utf-8"))["rules"]
}

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="SKAB is not at ../shared/data/pump/skab (GPL-3.0, not ours)")


def load(file: str) -> list[Row]:
    return list(read_rows(DATA / file, load_mapping("skab")))


def changes(rule: dict[str, Any], rows: list[Row], speed: float = 1.0) -> list[tuple[str, int]]:
    """(raised or cleared, row) of a limit with deadband and on-delay; delays act in the time of sending."""
    delay_ms = to_seconds(rule["on_delay"]) * 1000 * speed
    told: list[tuple[str, int]] = []
    beyond_since: int | None = None
    active = False
    for number, row in enumerate(rows):
        assert row.at_ms is not None
        value = float(row.fields[rule["field"]])
        if active:
            if returned(rule, value):
                active, beyond_since = False, None
                told.append(("cleared", number))
            continue
        beyond_since = (beyond_since or row.at_ms) if beyond(rule, value) else None
        if beyond_since is not None and row.at_ms - beyond_since >= delay_ms:
            active = True
            told.append(("raised", number))
    return told


def beyond(rule: dict[str, Any], value: float) -> bool:
    return bool(value < rule["below"] if "below" in rule else value > rule["above"])


def returned(rule: dict[str, Any], value: float) -> bool:
    if "below" in rule:
        return bool(value >= rule["below"] + rule["deadband"])
    return bool(value <= rule["above"] - rule["deadband"])


def counts(rule: str, file: str, speed: float = 1.0) -> tuple[int, int]:
    words = [word for word, _ in changes(RULES[rule], load(file), speed)]
    return words.count("raised"), words.count("cleared")


@pytest.mark.parametrize("file", ["valve1/1.csv", "valve1/13.csv", "anomaly-free/anomaly-free.csv"])
def test_no_cell_of_the_real_files_is_left_out(file: str) -> None:
    rows = load(file)
    assert len(rows) > 1000
    assert not any(row.problems for row in rows)


# 60 and "as fast as acknowledged" would move a delay, so the rule has none
@pytest.mark.parametrize("speed", [1.0, 60.0, 10_000.0])
def test_closing_the_valve_raises_once_and_opening_it_clears(speed: float) -> None:
    told = changes(RULES["skab.flow_low"], load("valve1/1.csv"), speed)
    assert [word for word, _ in told] == ["raised", "cleared"]
    raised, cleared = (row for _, row in told)
    # labelled: the valve begins to close at row 572, is closed at 629, opens at 916
    assert 629 <= raised < 640
    assert 916 <= cleared < 940


# rule, file, raised and cleared
COUNTS = [
    ("skab.flow_low", "valve1/0.csv", (0, 0)),  # closed so little that the flow meter shows nothing
    ("skab.flow_low", "valve1/13.csv", (1, 1)),
    ("skab.flow_far_low", "valve1/1.csv", (0, 0)),  # 30 L/min is low, not far too low
    ("skab.flow_far_low", "valve1/13.csv", (1, 1)),  # 23 L/min
    ("skab.motor_hot", "valve1/1.csv", (0, 0)),
    ("skab.pressure_high", "valve1/1.csv", (0, 0)),
]


@pytest.mark.parametrize(("rule", "file", "expected"), COUNTS)
def test_counts_on_experiments(rule: str, file: str, expected: tuple[int, int]) -> None:
    assert counts(rule, file) == expected


@pytest.mark.parametrize("rule", RULES)
def test_nothing_is_raised_in_two_and_a_half_hours_without_anomaly(rule: str) -> None:
    assert counts(rule, "anomaly-free/anomaly-free.csv") == (0, 0)
