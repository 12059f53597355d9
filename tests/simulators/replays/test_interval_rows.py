"""Rows with a start and an end: each change is sent when it happened, in order of time."""

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.replays.csv_rows import Row, read_rows
from simulators.replays.interval_rows import in_order_of_time
from simulators.replays.mapping import Mapping, load_mapping
from simulators.replays.replay import replay
from simulators.yaml_input.files import YamlFileError

MAPPING = """\
site: stations
kind: elevator
equipment: {column: lift, prefix: L-}
time: {column: from, format: epoch_s}
until: {column: to, format: epoch_s, afterwards: {service_mode: normal}}
columns:
  cause: {field: service_mode, values: {fault: stopped, work: inspection}}
"""


@pytest.fixture
def mapping(tmp_path: Path) -> Mapping:
    file = tmp_path / "outages.yaml"
    file.write_text(MAPPING, "utf-8")
    return load_mapping(file)


# rows of the file (lift, from, to, cause), what is sent (lift, at, mode); what it shows
FILES = [
    ([("1", 10, 20, "fault")], [("1", 10, "stopped"), ("1", 20, "normal")]),  # both ends of one outage
    (  # an end between the starts of other lifts
        [("1", 10, 40, "fault"), ("2", 20, 30, "work"), ("3", 35, 50, "fault")],
        [("1", 10, "stopped"), ("2", 20, "inspection"), ("2", 30, "normal"), ("3", 35, "stopped"),
         ("1", 40, "normal"), ("3", 50, "normal")],
    ),
    (  # fails again at the moment at which it was repaired
        [("1", 10, 20, "fault"), ("1", 20, 30, "fault")],
        [("1", 10, "stopped"), ("1", 20, "normal"), ("1", 20, "stopped"), ("1", 30, "normal")],
    ),
    ([("1", 10, "", "fault")], [("1", 10, "stopped")]),  # not over yet
    (  # overlapping rows of one lift end once, with the last
        [("1", 10, 30, "fault"), ("1", 20, 25, "work")],
        [("1", 10, "stopped"), ("1", 20, "inspection"), ("1", 30, "normal")],
    ),
    (  # one of the overlapping rows is not over: no end at all
        [("1", 10, "", "fault"), ("1", 20, 25, "work")],
        [("1", 10, "stopped"), ("1", 20, "inspection")],
    ),
    ([("1", 20, 10, "fault")], [("1", 20, "stopped")]),  # ends before it starts: left out, and named
]  # fmt: skip


@pytest.mark.parametrize(("rows", "sent"), FILES)
def test_each_change_is_sent_when_it_happened(
    rows: list[tuple[object, ...]], sent: list[tuple[str, int, str]], mapping: Mapping, tmp_path: Path
) -> None:
    file = tmp_path / "outages.csv"
    file.write_text("lift,from,to,cause\n" + "".join(",".join(map(str, row)) + "\n" for row in rows), "utf-8")
    outlet = Outlet()
    summary = asyncio.run(
        replay(in_order_of_time(read_rows(file, mapping)), mapping, outlet, speed=0, keep_times=True, clock=lambda: 0)
    )
    assert outlet.sent == [(f"L-{lift}", at * 1000, mode) for lift, at, mode in sent]
    assert summary.sent == len(sent)
    assert any("ends before it starts" in problem for problem in summary.problems) == (rows[0][1:3] == (20, 10))


class Outlet:
    """Keeps (equipment, at, service mode)."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, str]] = []

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        body = json.loads(payload)
        self.sent.append((topic.split("/")[3], body["at"], body["service_mode"]))

    async def flush(self) -> None: ...


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20), st.sampled_from("AB")), max_size=20).map(sorted))
def test_changes_are_in_order_of_time_and_every_lift_that_recovered_ends_normal(
    intervals: list[tuple[int, int, str]],
) -> None:
    rows = [
        Row(n, at, lift, {"service_mode": "stopped"}, until_ms=at + length, afterwards={"service_mode": "normal"})
        for n, (at, length, lift) in enumerate(intervals)
    ]
    made = list(in_order_of_time(rows))
    times = [row.at_ms or 0 for row in made]
    assert times == sorted(times)
    last = {row.equipment: row for row in made}
    for lift in {row.equipment for row in rows}:
        assert last[lift].fields == {"service_mode": "normal"}
        assert last[lift].at_ms == max(row.until_ms or 0 for row in rows if row.equipment == lift)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("service_mode: normal", "occupied: 1", "'occupied' must be a boolean"),  # of the wrong type
        ("service_mode: normal", "", "afterwards"),  # an end that says nothing
    ],
)
def test_an_end_that_cannot_work_is_refused(old: str, new: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "outages.yaml"
    file.write_text(MAPPING.replace(old, new), "utf-8")
    with pytest.raises(YamlFileError, match=problem):
        load_mapping(file)
