"""The results of rules on third-party data: with the service's own engine, on the data's own time.

Not a measurement of speed: the same data gives the same figures on every machine, and
tests/benchmarks/test_real_data.py checks them. The data is beside the checkout (../shared/data) and not part of it.
"""

import csv
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from collectors.wire.fields import Channel, Kind
from collectors.wire.reading import Reading, Value
from collectors.wire.topics import Topic
from gateway.alarms.evaluation.evaluator import RuleEvaluator
from gateway.alarms.rules.files import parse_rules
from gateway.alarms.rules.rule import Rule
from gateway.alarms.whatif.back_test import Activation, Trial
from simulators.replays.csv_rows import read_rows
from simulators.replays.mapping import load_mapping

DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data"
SKAB: Final = DATA / "pump" / "skab" / "valve1"
FIRES: Final = DATA / "fire" / "fsri"
LIFTS: Final = DATA / "elevator" / "db_fasta_elevator_status_2022-01.csv"
MACHINE: Final = DATA / "pump" / "nab" / "machine_temperature_system_failure.csv"
_FILE: Final = Path(__file__).with_name("real_data_rules.yaml")
RULES: Final[dict[str, Rule]] = {rule.id: rule for rule in parse_rules(_FILE.read_text("utf-8"), _FILE.name)}
TUNED_ON: Final = range(8)
REPORTED_ON: Final = range(8, 16)
_WINDOW_MS: Final = 60_000
_HOUR_MS: Final = 3_600_000


def tried(rule: Rule, readings: Sequence[Reading]) -> list[Activation]:
    """The alarms of a rule on readings, with the clock running for a minute after the last."""
    trial = Trial([rule], _WINDOW_MS)
    trial.take(msgspec.structs.replace(reading) for reading in readings)
    trial.finish(readings[-1].received_at + 60_000)
    if trial.failures:
        raise RuntimeError(f"{rule.id}: {trial.failures}")
    return trial.activations()


def _reading(topic: Topic, at: int, fields: dict[str, Value]) -> Reading:
    return Reading(topic, fields, at, at, at * 1_000_000)


def rows_of(file: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as text:
        return list(csv.DictReader(text, delimiter=delimiter))


def ms(text: str, form: str = "%Y-%m-%d %H:%M:%S") -> int:
    return round(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp() * 1000)


# -- a pump whose inlet is closed ----------------------------------------------------------------------


class Experiment(NamedTuple):
    """One file. Times are epoch ms; delays in seconds from the labelled begin, one for each detected anomaly."""

    anomalies: int
    delays_s: list[float]
    false_alarms: int
    normal_h: float


def experiment(number: int, rule: Rule) -> Experiment:
    """An anomaly is detected by an alarm that is active in it; an alarm that begins outside of any is false."""
    file = SKAB / f"{number}.csv"
    topic = Topic("demo", Kind.PUMP, "SKAB-1", Channel.TELEMETRY)
    rows = [(row.at_ms or 0, dict(row.fields)) for row in read_rows(file, load_mapping("skab"))]
    found = tried(rule, [_reading(topic, at, fields) for at, fields in rows])
    labels = [row["anomaly"] == "1.0" for row in rows_of(file, ";")]
    times = [at for at, _ in rows]
    anomalies = list(_stretches(times, labels))
    delays = []
    for start, end in anomalies:
        inside = [one for one in found if start <= one.start < end]
        if inside:
            delays.append((inside[0].start - start) / 1000)
    false = [one for one in found if not any(start <= one.start < end for start, end in anomalies)]
    normal_ms = times[-1] - times[0] - sum(end - start for start, end in anomalies)
    return Experiment(len(anomalies), delays, len(false), normal_ms / _HOUR_MS)


def _stretches(times: Sequence[int], labels: Sequence[bool]) -> Iterator[tuple[int, int]]:
    since: int | None = None
    for at, label in zip(times, labels, strict=True):
        if label and since is None:
            since = at
        elif not label and since is not None:
            yield since, at
            since = None
    if since is not None:
        yield since, times[-1]


def _skab_table() -> str:
    lines = [
        "| experiments | anomalies found | delay, median | longest | false alarms | an hour (of so much normal run) |",
        "|---|---|---|---|---|---|",
    ]
    rule = RULES["skab.valve_closing"]
    for name, numbers in (("0 to 7 (tuned on)", TUNED_ON), ("8 to 15 (reported)", REPORTED_ON)):
        results = [experiment(number, rule) for number in numbers]
        delays = [delay for one in results for delay in one.delays_s]
        hours = sum(one.normal_h for one in results)
        false = sum(one.false_alarms for one in results)
        found = f"{len(delays)} of {sum(one.anomalies for one in results)}"
        lines.append(
            f"| {name} | {found} | {statistics.median(delays):.0f} s | {max(delays):.0f} s | {false} | "
            f"{false / hours:.2f} ({hours:.2f} h) |"
        )
    return "\n".join(lines)


# -- rooms that burn -----------------------------------------------------------------------------------

BURNS: Final = {
    "100kWSB_Closed_Center_1": "gas burner, door closed",
    "Overstuffed_Open_Corner_1": "armchair in a corner, door open",
    "RedAccent_Closed_Center_1": "armchair, door closed",
}
HEIGHTS: Final = ("25 mm", "0.3 m", "0.6 m", "1.5 m")
QUADRANTS: Final = "ABCD"
HEAT_RULES: Final = ("en54.fixed_54", "en54.fixed_65", "en54.rate_of_rise")


def ignition(burn: str) -> int:
    """Epoch ms, from the events file of the data."""
    (event,) = [row for row in rows_of(FIRES / f"{burn}_Events.csv") if row["Event"] == "Ignition"]
    return ms(event["Time"], "%Y-%m-%d-%H:%M:%S")


def seconds_to_alarm(burn: str, height: str, rule: Rule) -> dict[str, list[float]]:
    """Quadrant -> seconds from ignition to each alarm of a sensor there; negative before it."""
    rows, lit = rows_of(FIRES / f"{burn}.csv"), ignition(burn)
    found = {}
    for quadrant in QUADRANTS:
        column = f"Quadrant {quadrant} Temperature {height} Below Ceiling"
        topic = Topic("demo", Kind.SENSOR, f"FSRI-{quadrant}", Channel.TELEMETRY)
        readings = [_reading(topic, ms(row["Timestamp"]), {"temperature": float(row[column])}) for row in rows]
        found[quadrant] = [(one.start - lit) / 1000 for one in tried(rule, readings)]
    return found


def _fire_table() -> str:
    head = "| fire | below the ceiling | 54 °C | 65 °C | 10 K/min over a minute |"
    lines = [head, "|---|---|---|---|---|"]
    for burn, about in BURNS.items():
        for height in HEIGHTS:
            cells = [_seconds(seconds_to_alarm(burn, height, RULES[rule])) for rule in HEAT_RULES]
            lines.append(f"| {about} | {height} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _seconds(found: dict[str, list[float]]) -> str:
    """The first alarm of each quadrant, A to D."""
    return ", ".join(f"{alarms[0]:.0f}" if alarms else "none" for alarms in found.values()) + " s"


# -- lifts ---------------------------------------------------------------------------------------------

LIFT_RULES: Final = ("lifts.out_of_service", "lifts.no_data")
_ONLINE: Final = {"ACTIVE": True, "INACTIVE": True, "UNKNOWN": False, "NOT_LISTED": False}
_MODE: Final = {"ACTIVE": "normal", "INACTIVE": "stopped"}


def lift_readings() -> list[Reading]:
    """The messages of each lift, in order of time: whether it is online, and if so, its state."""
    readings = []
    for row in rows_of(LIFTS):
        at, code, state = ms(row["date"], "%Y-%m-%dT%H:%M:%S"), f"DB-{row['equipmentnumber']}", row["state"]
        status = Topic("stations", Kind.ELEVATOR, code, Channel.STATUS)
        readings.append(_reading(status, at, {"online": _ONLINE[state]}))
        if state in _MODE:
            topic = Topic("stations", Kind.ELEVATOR, code, Channel.TELEMETRY)
            readings.append(_reading(topic, at, {"service_mode": _MODE[state]}))
    return readings


def lift_alarms() -> Counter[tuple[str, str]]:
    """(rule, lift) -> alarms. All lifts at once, as in service; lifts that report only changes need no clock."""
    readings = lift_readings()
    evaluator = RuleEvaluator([RULES[name] for name in LIFT_RULES], {}, _WINDOW_MS)
    outcome = evaluator.take(readings)
    if outcome.failures:
        raise RuntimeError(str(outcome.failures[:3]))
    raised = [decision.key for decision in outcome.decisions if decision.change.raised]
    return Counter((key.rule, key.equipment) for key in raised)


def _lift_table() -> str:
    rows = rows_of(LIFTS)
    before: dict[str, str] = {}
    direct = 0
    for row in rows:
        direct += (before.get(row["equipmentnumber"]), row["state"]) == ("ACTIVE", "INACTIVE")
        before[row["equipmentnumber"]] = row["state"]
    lines = ["| rule | lifts | alarms raised | lifts with an alarm | most of one lift |", "|---|---|---|---|---|"]
    alarms = lift_alarms()
    for name in LIFT_RULES:
        counts = [count for (rule, _), count in alarms.items() if rule == name]
        lines.append(f"| `{name}` | {len(before):,} | {sum(counts):,} | {len(counts):,} | {max(counts)} |")
    return "\n".join([*lines, "", f"{len(rows):,} rows, {direct:,} of them a change from ACTIVE straight to INACTIVE."])


# -- a machine -----------------------------------------------------------------------------------------

FAILURES: Final = (
    ("2013-12-10 06:25:00", "2013-12-12 05:35:00", "slow failure"),
    ("2013-12-15 17:50:00", "2013-12-17 17:00:00", "planned shutdown"),
    ("2014-01-27 14:20:00", "2014-01-29 13:30:00", "slow failure"),
    ("2014-02-07 14:55:00", "2014-02-09 14:05:00", "catastrophic failure"),
)


def machine_activations() -> list[Activation]:
    topic = Topic("demo", Kind.PUMP, "NAB-1", Channel.TELEMETRY)
    rows = read_rows(MACHINE, load_mapping("nab"))
    readings = [_reading(topic, row.at_ms or 0, dict(row.fields)) for row in rows]
    return tried(RULES["machine.stopped"], readings)


def _machine_table() -> str:
    found = machine_activations()
    lines = ["| labelled | what | alarms | hours from its begin |", "|---|---|---|---|"]
    inside = 0
    for start, end, about in FAILURES:
        here = [one for one in found if ms(start) <= one.start < ms(end)]
        inside += len(here)
        delay = f"{(here[0].start - ms(start)) / _HOUR_MS:.1f}" if here else ""
        lines.append(f"| {start[:16]} | {about} | {len(here)} | {delay} |")
    lines.append(f"| outside | | {len(found) - inside} | |")
    return "\n".join(lines)


PARTS: Final[dict[str, Callable[[], str]]] = {
    "skab": _skab_table,
    "fires": _fire_table,
    "lifts": _lift_table,
    "machine": _machine_table,
}
"""The function of each table, by the marker of its place in the document."""
