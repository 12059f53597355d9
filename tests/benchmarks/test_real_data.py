"""What the rules find in data that nobody here made, held against a few lines of counting of this file's own."""

import csv
import re
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import select

from benchmarks import real_data
from benchmarks.real_data import BURNS, DATA, HEAT_RULES, HEIGHTS, RULES
from collectors.wire.reading import Reading
from gateway.alarms.lifecycle.operator_actions import acknowledge
from gateway.alarms.lifecycle.states import State
from gateway.storage.database import Database
from gateway.storage.tables import activation, alarm
from tests.builders.alarms import OPERATOR, Clock, open_desk, rows_of

DOCUMENT: Final = Path(__file__).resolve().parent.parent / "docs" / "alarms.md"
ABSENT: Final = "no real data at ../shared/data (other licences, not ours)"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=ABSENT)


@pytest.mark.parametrize("part", ["skab", "fires", "lifts", "machine"])
def test_the_figures_in_the_document_are_those_of_the_data(part: str) -> None:
    found = re.search(rf"<!-- {part} -->\n(.*?)\n<!-- end -->", DOCUMENT.read_text("utf-8"), re.DOTALL)
    assert found is not None
    assert found[1] == real_data.PARTS[part](), "run: python -m benchmarks real_data"


# -- the pump ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", real_data.REPORTED_ON)
def test_an_experiment_that_was_never_tuned_on_is_found_within_two_minutes_and_nothing_else(number: int) -> None:
    found = real_data.experiment(number, RULES["skab.valve_closing"])
    assert (found.anomalies, len(found.delays_s), found.false_alarms) == (1, 1, 0)
    assert found.delays_s[0] <= 120


def test_seven_of_the_eight_that_were_tuned_on_are_found_without_a_false_alarm() -> None:
    found = [real_data.experiment(number, RULES["skab.valve_closing"]) for number in real_data.TUNED_ON]
    assert sum(len(one.delays_s) for one in found) == 7
    assert sum(one.false_alarms for one in found) == 0


def test_the_pump_s_own_long_run_without_anomaly_says_nothing_of_this_rule() -> None:
    """It runs at four times the flow: the rule of the closing valve must be silent there."""
    flows = [float(row["Volume Flow RateRMS"]) for row in rows(DATA / "pump/skab/anomaly-free/anomaly-free.csv", ";")]
    assert sum(flow * 0.06 < RULES["skab.valve_closing"].below for flow in flows) == 0


# -- the fires -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("burn", BURNS)
@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("rule", HEAT_RULES)
def test_every_sensor_of_a_burning_room_tells_of_the_fire_and_never_before_ignition(
    burn: str, height: str, rule: str
) -> None:
    for alarms in real_data.seconds_to_alarm(burn, height, RULES[rule]).values():
        assert alarms
        assert alarms[0] >= 0


@pytest.mark.parametrize("burn", BURNS)
def test_the_fixed_temperature_is_told_at_the_first_row_above_it(burn: str) -> None:
    """Counted from the file: the first second above the limit."""
    table = rows(DATA / "fire/fsri" / f"{burn}.csv")
    lit = real_data.ignition(burn)
    for quadrant, alarms in real_data.seconds_to_alarm(burn, "25 mm", RULES["en54.fixed_65"]).items():
        column = f"Quadrant {quadrant} Temperature 25 mm Below Ceiling"
        first = next(row["Timestamp"] for row in table if float(row[column]) > 65)
        assert alarms[0] == (real_data.ms(first) - lit) / 1000


# -- the lifts -----------------------------------------------------------------------------------------


def rows(file: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as text:
        return list(csv.DictReader(text, delimiter=delimiter))


def counted() -> tuple[Counter[str], Counter[str]]:
    """Lift -> how often it went out of service, and how often its data ended. Of the file, by nothing of ours.

    While nothing is known of a lift, what it was last holds. Of two rows of one moment the one in alarm stands.
    """
    out: Counter[str] = Counter()
    gone: Counter[str] = Counter()
    since: dict[str, str] = {}
    unknown: set[str] = set()
    for row in rows(real_data.LIFTS):
        lift, state, date = f"DB-{row['equipmentnumber']}", row["state"], row["date"]
        if state in ("UNKNOWN", "NOT_LISTED"):
            gone[lift] += lift not in unknown
            unknown.add(lift)
            continue
        unknown.discard(lift)
        if state == "INACTIVE" and lift not in since:
            out[lift] += 1
            since[lift] = date
        elif state == "ACTIVE" and since.get(lift) != date:
            since.pop(lift, None)
    return out, gone


def batches() -> list[list[Reading]]:
    """What comes at one moment comes together."""
    found: list[list[Reading]] = []
    for reading in real_data.lift_readings():
        if not found or found[-1][0].received_at != reading.received_at:
            found.append([])
        found[-1].append(reading)
    return found


@pytest.mark.parametrize("acknowledging", [False, True], ids=["nobody acknowledges", "somebody acknowledges"])
@pytest.mark.parametrize("engine", ["sqlite"])
async def test_each_outage_of_a_lift_is_one_activation_and_lost_telemetry_is_no_fault(
    database: Database, acknowledging: bool
) -> None:
    desk = await open_desk(database, *(RULES[name] for name in real_data.LIFT_RULES), clock=Clock(0))
    for number, batch in enumerate(batches()):
        await desk.decide(*batch)
        if acknowledging and number % 10 == 0:
            await acknowledge_all(database, desk.clock())
    out, gone = counted()
    kept = await rows_of(database, activation)
    found = {name: Counter(row["equipment"] for row in kept if row["rule"] == name) for name in real_data.LIFT_RULES}
    assert found["lifts.out_of_service"] == out
    assert found["lifts.no_data"] == +gone
    assert sum(out.values()) > 2_836  # as many go straight from active to inactive


async def acknowledge_all(database: Database, now: int) -> None:
    waiting = (State.UNACKNOWLEDGED.value, State.RETURNED_UNACKNOWLEDGED.value)
    async with database.reading() as connection:
        found = (await connection.execute(select(alarm.c.id, alarm.c.version).where(alarm.c.state.in_(waiting)))).all()
    for identity, version in found:
        await acknowledge(database, identity, version, "seen", OPERATOR, now)


# -- the machine ---------------------------------------------------------------------------------------


def test_a_fixed_limit_sees_a_machine_s_shutdown_and_its_failure_and_not_the_two_slow_ones() -> None:
    starts = [one.start for one in real_data.machine_activations()]
    inside = [[real_data.ms(a) <= at < real_data.ms(b) for at in starts] for a, b, _ in real_data.FAILURES]
    assert [sum(found) for found in inside] == [0, 1, 0, 1]
    assert len(starts) == 2
