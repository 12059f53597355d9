"""The mappings that ship against the real data: what the rules make of fires, lifts and a machine nobody here invented.

The data lies beside the checkout and is not ours; without it these tests are skipped.
"""

import csv
from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from collectors.payloads.native import decode
from collectors.wire.topics import parse_topic
from gateway.alarms.rules.files import load_rules
from gateway.storage.database import Database
from gateway.storage.tables import activation
from simulators.replays.csv_rows import Row, read_rows
from simulators.replays.mapping import REPLAYS, load_mapping
from simulators.replays.replay import replay
from tests.builders.alarms import Clock, Desk, open_desk, rows_of

DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data"
FIRES: Final = DATA / "fire" / "fsri"
LIFTS: Final = DATA / "elevator" / "db_fasta_elevator_status_2022-01.csv"
DAY_MS: Final = 86_400_000
MACHINE: Final = DATA / "pump" / "nab" / "machine_temperature_system_failure.csv"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no real data at ../shared/data (other licences, not ours)")


class ToDesk:
    """An outlet straight into the alarms, on the data's clock: what broker and collector would make of it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        clock = self._desk.clock
        (found,) = decode(parse_topic(topic), payload, clock()).readings
        has_time_passed = found.measured_at > clock.now
        clock.now = max(clock.now, found.measured_at)
        dated = decode(parse_topic(topic), payload, clock())
        assert dated.faults == []
        if has_time_passed:
            await self._desk.alarms.tick()
        await self._desk.alarms.decide(dated.readings)

    async def flush(self) -> None:
        await self._desk.alarms.tick()


async def activations_of(name: str, file: Path, database: Database) -> list[dict[str, Any]]:
    """Replay a whole file with its own times; the activations in order."""
    rules = REPLAYS / f"{name}.rules.yaml"
    desk = await open_desk(database, *load_rules((rules,) if rules.exists() else ()), clock=Clock(0))
    mapping = load_mapping(name)
    summary = await replay(read_rows(file, mapping), mapping, ToDesk(desk), speed=0, keep_times=True, clock=lambda: 0)
    assert summary.problems == []
    return sorted(await rows_of(database, activation), key=lambda row: row["started_at"])


def table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as text:
        return list(csv.DictReader(text))


def ms(text: str) -> int:
    """Epoch milliseconds of a time that names no zone, as the mappings read it."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


# file, seconds from ignition to the alarm: 50 °C under the ceiling and the ten seconds of the rule
BURNS = [
    ("100kWSB_Closed_Center_1", 12),  # a gas burner
    ("Overstuffed_Open_Corner_1", 149),  # an armchair
    ("RedAccent_Closed_Center_1", 105),  # another
]


@pytest.mark.parametrize(("file", "seconds"), BURNS)
async def test_a_real_room_fire_is_a_hot_room_once_and_never_before_ignition(
    file: str, seconds: int, database: Database
) -> None:
    day, _, time = table(FIRES / f"{file}_Events.csv")[0]["Time"].rpartition("-")
    found = await activations_of("fsri", FIRES / f"{file}.csv", database)
    assert found[0]["rule"] == "sensor.too_hot"
    # Under the ceiling it gets hotter than a sensor of a room can measure.
    assert {row["rule"] for row in found[1:]} <= {"sensor.doubtful"}
    assert (found[0]["started_at"] - ms(f"{day} {time}")) / 1000 == pytest.approx(seconds, abs=2)


async def test_real_lifts_raise_exactly_their_own_outages(database: Database) -> None:
    """Counted apart from everything of ours: each change of a lift into the state is one activation.

    Where a lift says both at one moment the alarm stands: what was measured at the same time cannot unsay it.
    """
    since: dict[str, str] = {}
    outages: Counter[str] = Counter()
    for row in table(LIFTS):
        number, out = row["equipmentnumber"], row["stateExplanation"] == "not available"
        if out and number not in since:
            since[number] = row["date"]
            outages[f"DB-{number}"] += 1
        elif not out and since.get(number) != row["date"]:
            since.pop(number, None)
    found = await activations_of("db_fasta", LIFTS, database)
    counted = Counter(row["equipment"] for row in found if row["rule"] == "db_fasta.out_of_service")
    assert counted == outages
    assert sum(outages.values()) > 1_500
    again = Counter(row["equipment"] for row in found if row["rule"] == "elevator.fails_again")
    assert again == lifts_that_fail_again()
    assert {row["rule"] for row in found} == {"db_fasta.out_of_service", "elevator.offline", "elevator.fails_again"}


def lifts_that_fail_again() -> Counter[str]:
    """How often each lift was out of service for the fourth time in 30 days; of one moment the first row counts."""
    said: dict[str, dict[int, bool]] = defaultdict(dict)
    for row in table(LIFTS):
        said[f"DB-{row['equipmentnumber']}"].setdefault(ms(row["date"]), row["stateExplanation"] == "not available")
    again: Counter[str] = Counter()
    for lift, states in said.items():
        begins = [at for (_, before), (at, out) in pairwise(sorted(states.items())) if out and not before]
        for number, at in enumerate(begins):
            earlier = sum(other > at - 30 * DAY_MS for other in begins[:number])
            again[lift] += earlier == 3  # with more the alarm stands already
    return +again


async def test_a_real_machine_raises_in_its_shutdown_and_in_its_failure_only(
    database: Database,
) -> None:
    found = await activations_of("nab", MACHINE, database)
    assert [row["rule"] for row in found] == ["nab.stopped", "nab.stopped"]
    shutdown, failure = (row["started_at"] for row in found)
    assert ms("2013-12-15 17:50") <= shutdown <= ms("2013-12-17 17:00")
    assert ms("2014-02-07 14:55") <= failure <= ms("2014-02-09 14:05")


# mapping, file
FILES = [
    *(("fsri", FIRES / f"{name}.csv") for name, _ in BURNS),
    ("db_fasta", LIFTS),
    ("nab", MACHINE),
]


@pytest.mark.parametrize(("name", "file"), FILES, ids=lambda value: getattr(value, "stem", value))
def test_no_cell_of_the_real_files_is_left_out(name: str, file: Path) -> None:
    rows: list[Row] = list(read_rows(file, load_mapping(name)))
    assert len(rows) == len(table(file))
    assert not any(row.problems for row in rows)
    assert all(row.fields or row.status for row in rows)
