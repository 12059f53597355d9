"""Replay: conversions of a mapping, bad cells, pace, times; and the mapping and rules that come for SKAB."""

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from rich.console import Console

from collectors.wire.topics import TopicError
from simulators.replays.csv_rows import CsvError, Row, convert, count_rows, read_rows
from simulators.replays.mapping import REPLAYS, Mapping, load_mapping
from simulators.replays.replay import Summary, replay, replay_file
from simulators.samples import Value
from simulators.yaml_input.files import YamlFileError

NOW_MS = 1_763_800_000_000

MAPPING = """\
site: demo
kind: pump
equipment: P-9
time: {column: when, format: epoch_s}
columns:
  p: {field: discharge_pressure, scale: 0.1, unit: bar to MPa}
  t: {field: motor_temperature, scale: 0.5556, offset: -17.7778, unit: °F to °C}
  "on": {field: running}
  how: {field: mode}
"""


class Ledger:
    """An outlet that remembers, with the moment of each message."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.moments: list[float] = []
        self.topics: set[str] = set()
        self.flushed = False

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.topics.add(topic)
        self.messages.append(json.loads(payload))
        self.moments.append(asyncio.get_running_loop().time())

    async def flush(self) -> None:
        self.flushed = True


def write(tmp_path: Path, text: str, name: str = "mine.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


@pytest.fixture
def mapping(tmp_path: Path) -> Mapping:
    return load_mapping(write(tmp_path, MAPPING))


def rows(*times_s: int | None) -> list[Row]:
    return [
        Row(n + 2, None if at is None else at * 1000, "P-9", {"flow": float(n)}, ("bad time",) if at is None else ())
        for n, at in enumerate(times_s)
    ]


async def send(given: list[Row], mapping: Mapping, **options: Any) -> tuple[Ledger, Summary]:
    outlet = Ledger()
    options = {"speed": 0, "keep_times": False, "clock": lambda: NOW_MS, **options}
    return outlet, await replay(given, mapping, outlet, **options)


# cells, fields; what it shows
CONVERSIONS = [
    ({"p": "4.5"}, {"discharge_pressure": 0.45}),  # scale
    ({"p": "-1.2e0"}, {"discharge_pressure": -0.12}),  # a sign and an exponent
    ({"t": "212"}, {"motor_temperature": 100.0}),  # scale and offset
    ({"p": " 4.5 "}, {"discharge_pressure": 0.45}),  # blanks around a number
    ({"on": "1"}, {"running": True}),  # booleans as files have them
    ({"on": "0.0"}, {"running": False}),
    ({"on": "TRUE"}, {"running": True}),
    ({"how": "auto"}, {"mode": "auto"}),  # a text stays as it is
]


@pytest.mark.parametrize(("cells", "fields"), CONVERSIONS)
def test_cells_become_fields(mapping: Mapping, cells: dict[str, str | None], fields: dict[str, Value]) -> None:
    converted = convert({"when": "1", **cells}, mapping, "f, line 2", 2).fields
    assert converted.keys() == fields.keys()
    for name, value in fields.items():
        assert type(converted[name]) is type(value)
        assert converted[name] == (pytest.approx(value, abs=0.01) if isinstance(value, float) else value)


# cell of the pressure, complaint
BAD_CELLS = [
    ("4,5", "'4,5' is no number"),  # a decimal comma
    ("", "empty"),
    (None, "empty"),  # the row is too short
    ("nan", "'nan' is no finite number"),  # JSON has none
    ("inf", "'inf' is no finite number"),
    ("n/a", "'n/a' is no number"),
]


@pytest.mark.parametrize(("cell", "complaint"), BAD_CELLS)
def test_bad_cell_leaves_the_rows_other_cells(mapping: Mapping, cell: str | None, complaint: str) -> None:
    cells = {"when": "1", "p": cell, "t": "212", "on": "1", "how": "auto"}
    row = convert(cells, mapping, "data.csv, line 7", 7)
    assert row.fields.keys() == {"motor_temperature", "running", "mode"}
    assert row.problems == (f"data.csv, line 7, column 'p': {complaint}",)


def test_constants_go_with_every_row_that_says_something(mapping: Mapping) -> None:
    constant = msgspec.structs.replace(mapping, constants={"running": True})
    assert convert({"when": "1", "p": "1"}, constant, "", 2).fields["running"] is True
    assert convert({"when": "1", "p": "x"}, constant, "", 2).fields == {}


# format, zone, text, epoch milliseconds
TIMES = [
    ("epoch_s", "UTC", "1583739273.5", 1_583_739_273_500),
    ("epoch_ms", "UTC", "1583739273000", 1_583_739_273_000),
    ("%Y-%m-%d %H:%M:%S", "Europe/Moscow", "2020-03-09 10:34:33", 1_583_739_273_000),  # UTC+3
    (
        "%Y-%m-%dT%H:%M:%S%z",
        "Europe/Moscow",
        "2020-03-09T07:34:33+00:00",
        1_583_739_273_000,
    ),  # its own zone wins
]


@pytest.mark.parametrize(("format_", "zone", "text", "at_ms"), TIMES)
def test_times(mapping: Mapping, format_: str, zone: str, text: str, at_ms: int) -> None:
    time = msgspec.structs.replace(mapping.time, format=format_, zone=zone)
    assert time.read(text) == at_ms


# change of the mapping file, complaint
BAD_MAPPINGS = [
    # a slip of the pen is not taken for a new field
    ("field: discharge_pressure", "field: discharge_presure", r"line 6.*no field 'discharge_presure'"),
    (
        "format: epoch_s",
        "format: epoch_s, zone: Mars/Base",
        "line 4, time.zone: unknown time zone 'Mars/Base'",
    ),
    ("kind: pump", "kind: pmp", "line 2, kind: Invalid enum value 'pmp'"),
    ("equipment: P-9", "equipment: P/9", "1 to 64 letters"),
    ("scale: 0.1", "scale: lots", "Expected `float`, got `str`"),
    # YAML reads a bare on as true
    ('"on": {', "on: {", "line 6, columns: Expected `str`, got `bool`"),
    ("site: demo", "constants: {running: 1}\nsite: demo", "'running' must be a boolean"),
]


@pytest.mark.parametrize(("old", "new", "complaint"), BAD_MAPPINGS)
def test_bad_mapping_is_refused(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(YamlFileError, match=complaint):
        load_mapping(write(tmp_path, MAPPING.replace(old, new)))


def test_unknown_mapping_names_those_that_come_with_gengfu() -> None:
    with pytest.raises(YamlFileError, match=r"included ones: db_fasta, fsri, nab, skab$"):
        load_mapping("scab")


def test_mapping_can_be_aimed_at_another_equipment(mapping: Mapping) -> None:
    aimed = mapping.aimed_at(site="east", equipment="P-1")
    assert (aimed.equipment, aimed.topic("P-1")) == ("P-1", "gengfu/east/pump/P-1/telemetry")
    assert mapping.aimed_at() == mapping
    with pytest.raises(TopicError):
        mapping.aimed_at(equipment="#")


def test_file_without_a_mapped_column_is_refused(tmp_path: Path, mapping: Mapping) -> None:
    path = write(tmp_path, "when,p\n1,2\n", "data.csv")
    with pytest.raises(CsvError, match=r"no column t, on, how; the file has when, p \(separated by ','\)"):
        list(read_rows(path, mapping))


def test_missing_or_foreign_file_is_refused(tmp_path: Path, mapping: Mapping) -> None:
    with pytest.raises(CsvError, match="cannot be read"):
        list(read_rows(tmp_path / "none.csv", mapping))
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(CsvError, match="cannot be read"):
        list(read_rows(path, mapping))


def test_rows_are_read_with_their_lines(tmp_path: Path, mapping: Mapping) -> None:
    path = write(tmp_path, "when,p,t,on,how\r\n1,1,32,1,auto\r\n2,x,32,1,auto\r\n", "data.csv")
    first, second = read_rows(path, mapping)
    assert (first.line, first.at_ms, first.problems) == (2, 1000, ())
    assert second.problems == ("data.csv, line 3, column 'p': 'x' is no number",)
    assert count_rows(path) == 2


async def test_at_is_the_moment_of_sending_and_rows_are_numbered(mapping: Mapping) -> None:
    outlet, summary = await send(rows(1, 2, 3), mapping)
    assert [(m["at"], m["seq"]) for m in outlet.messages] == [(NOW_MS, 1), (NOW_MS, 2), (NOW_MS, 3)]
    assert outlet.topics == {"gengfu/demo/pump/P-9/telemetry"}
    assert (summary.rows, summary.sent, summary.cells_left_out, outlet.flushed) == (3, 3, 0, True)


async def test_kept_times_are_the_datas_and_a_row_without_time_stays_out(mapping: Mapping) -> None:
    outlet, summary = await send(rows(1, None, 3), mapping, keep_times=True)
    assert [m["at"] for m in outlet.messages] == [1000, 3000]
    assert (summary.rows, summary.sent, summary.cells_left_out, summary.problems) == (3, 2, 1, ["bad time"])


async def test_speed_is_seconds_of_data_per_second(mapping: Mapping) -> None:
    outlet, summary = await send(rows(0, 10, None, 30), mapping, speed=100)
    waited = [moment - outlet.moments[0] for moment in outlet.moments]
    assert waited == pytest.approx([0, 0.1, 0.1, 0.3], abs=0.05)
    assert summary.seconds == pytest.approx(0.3, abs=0.05)


async def test_speed_0_waits_for_nothing(mapping: Mapping) -> None:
    _, summary = await send(rows(0, 3600, 7200), mapping, speed=0)
    assert summary.seconds < 0.2


async def test_only_the_first_problems_are_kept_but_all_are_counted(mapping: Mapping) -> None:
    _, summary = await send(rows(*[None] * 50), mapping)
    assert (summary.cells_left_out, len(summary.problems)) == (50, 20)


async def test_progress_is_shown_on_the_console(tmp_path: Path, mapping: Mapping) -> None:
    path = write(tmp_path, "when,p,t,on,how\n1,1,32,1,auto\n2,1,32,1,auto\n", "data.csv")
    screen = io.StringIO()
    summary = await replay_file(
        path,
        mapping,
        Ledger(),
        speed=0,
        keep_times=False,
        clock=lambda: NOW_MS,
        console=Console(file=screen, width=120, force_terminal=True),
    )
    assert summary.sent == 2
    assert "2/2" in screen.getvalue()
    assert "data.csv -> gengfu/demo/pump/P-9/telemetry" in screen.getvalue()


def test_skab_mapping_has_the_contracts_units() -> None:
    row = convert(
        {
            "datetime": "2020-03-09 10:34:33",
            "Accelerometer1RMS": "0.02",
            "Accelerometer2RMS": "0.04",
            "Current": "0.87",
            "Pressure": "0.5",
            "Temperature": "75.5",
            "Thermocouple": "25.8",
            "Voltage": "244",
            "Volume Flow RateRMS": "32.0",
            "anomaly": "1.0",
        },
        load_mapping("skab"),
        "",
        2,
    )
    assert row.at_ms == 1_583_739_273_000
    assert row.fields == {
        "running": True,
        "discharge_pressure": pytest.approx(0.05),  # bar -> MPa
        "flow": pytest.approx(1.92),  # L/min -> m³/h
        "current_a": 0.87,
        "voltage": 244.0,
        "motor_temperature": 75.5,
        "fluid_temperature": 25.8,
        "vibration_g_1": 0.02,
        "vibration_g_2": 0.04,
    }


def test_skab_rules_name_fields_that_the_mapping_sends() -> None:
    mapping = load_mapping("skab")
    sent = {column.field for column in mapping.columns.values()} | mapping.constants.keys()
    rules = yaml.safe_load((REPLAYS / "skab.rules.yaml").read_text("utf-8"))["rules"]
    for rule in rules:
        assert {rule["field"], *rule.get("while", {})} <= sent
        assert rule["title"].keys() == rule["advice"].keys() == {"en", "zh-CN"}
        assert rule["source"]


BY_COLUMN = """\
site: demo
kind: elevator
equipment: {column: lift, prefix: A-}
time: {column: when, format: epoch_s}
columns:
  state:
    - {field: online, values: {"on": true, "off": true, gone: false}}
    - {field: service_mode, values: {"on": normal, "off": stopped, gone: unknown}}
"""


async def test_each_row_is_its_own_equipments_in_words_of_the_contract(tmp_path: Path) -> None:
    by_column = load_mapping(write(tmp_path, BY_COLUMN))
    path = write(tmp_path, "lift,when,state\n7,1,on\n8,2,gone\n9 9,3,on\n7,4,burnt\n", "data.csv")
    outlet = Ledger()
    summary = await replay(read_rows(path, by_column), by_column, outlet, speed=0, keep_times=True, clock=lambda: 0)
    assert outlet.topics == {f"gengfu/demo/elevator/A-{n}/{c}" for n in (7, 8) for c in ("telemetry", "status")}
    assert outlet.messages == [
        {"at": 1000, "seq": 1, "online": True},
        {"at": 1000, "seq": 1, "service_mode": "normal"},
        {"at": 2000, "seq": 2, "online": False},
        {"at": 2000, "seq": 2, "service_mode": "unknown"},
    ]
    assert (summary.rows, summary.sent) == (4, 2)
    assert "line 4, column 'lift'" in summary.problems[0]
    assert "'burnt' is none of 'on', 'off', 'gone'" in summary.problems[1]


def test_a_word_that_the_field_cannot_hold_is_refused(tmp_path: Path) -> None:
    text = MAPPING.replace("{field: running}", "{field: running, values: {a: true, b: maybe}}")
    with pytest.raises(YamlFileError, match="'maybe' is no boolean, as running must be"):
        load_mapping(write(tmp_path, text))
