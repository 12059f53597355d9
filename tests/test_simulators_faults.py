"""Faults: each makes what it promises while it lasts, and nothing of it is left after it."""

import pytest

from collectors.fields import WIRE_KINDS, Channel, FieldType, fields_of
from simulators.devices.build import build_device
from simulators.estate import load_estate
from simulators.faults import FAULTS, Course
from simulators.faulty_device import FaultyDevice, Window
from simulators.samples import Sample, Value

ESTATE = load_estate("demo")
TYPES = {FieldType.NUMBER: float, FieldType.BOOLEAN: bool, FieldType.TEXT: str}


def run(fault: str, code: str, seconds: int, *windows: Window, dt_s: float = 1.0) -> list[tuple[float, Sample]]:
    """(second, sample) with the fault from second 10 for 60 s, unless other windows are given."""
    spec = ESTATE.find(code)
    assert spec is not None
    device = FaultyDevice(build_device(spec, 1), windows or (Window(FAULTS[fault], 10, 60),))
    moments = [n * dt_s for n in range(round(seconds / dt_s))]
    return [(at, sample) for at in moments for sample in device.step(round(at * 1000), dt_s if at else 0.0)]


def telemetry(samples: list[tuple[float, Sample]], begin: float, end: float) -> list[dict[str, Value]]:
    return [s.fields for at, s in samples if begin <= at < end and s.channel is Channel.TELEMETRY]


def happenings(samples: list[tuple[float, Sample]]) -> list[tuple[float, dict[str, Value]]]:
    return [(at, s.fields) for at, s in samples if s.channel is not Channel.TELEMETRY and "tag" not in s.fields]


# fault, equipment, fields that hold all the time it lasts
PROMISES = [
    ("water_leak", "S-1", {"leak": True}),
    ("water_leak", "P-2", {"leak": True}),
    # entrapment: stopped outside the door zone, shut, somebody inside, button pressed
    (
        "lift_alarm_button",
        "L-2",
        {"alarm_button": True, "moving": False, "occupied": True, "door": "closed", "in_door_zone": False},
    ),
    ("lift_fault_code", "L-3", {"fault_code": 2.0, "service_mode": "stopped", "moving": False}),
    ("panel_mains_lost", "F-1", {"mains": False, "battery": True}),
]


@pytest.mark.parametrize(("fault", "code", "promised"), PROMISES)
def test_fault_makes_its_fields_and_ends(fault: str, code: str, promised: dict[str, Value]) -> None:
    samples = run(fault, code, 200)
    for fields in telemetry(samples, 10, 70):
        assert promised.items() <= fields.items()
    for fields in [*telemetry(samples, 0, 10), *telemetry(samples, 70, 200)]:
        assert not promised.items() <= fields.items()


@pytest.mark.parametrize("code", ["P-1", "P-2", "P-3"])
def test_hot_bearing_passes_82_then_93_and_cools_within_a_minute(code: str) -> None:
    samples = run("bearing_hot", code, 200)
    course = [float(fields["bearing_temperature"]) for fields in telemetry(samples, 0, 200)]
    assert max(course[:10]) < 71
    assert course[10 + 7] > 82
    assert max(course[:25]) < 93 < min(course[39:70])
    assert max(course[111:]) < 71


def test_smoke_alarm_brings_a_second_point_and_a_reset() -> None:
    told = happenings(run("smoke_alarm", "F-1", 200))
    points = [(at, f["type"], f.get("loop"), f.get("address"), f.get("zone")) for at, f in told]
    assert points == [
        (10, "fire", "1", "23", "3F"),
        (22, "fire", "1", "24", "3F"),
        (70, "reset", None, None, None),
    ]
    assert told[0][1]["device_type"] == "smoke"


@pytest.mark.parametrize("code", ["L-1", "P-1", "F-1", "S-2", "R-2"])
def test_offline_device_says_so_and_is_silent(code: str) -> None:
    samples = run("device_offline", code, 200)
    assert [(at, s.fields) for at, s in samples if s.channel is Channel.STATUS] == [
        (10, {"online": False}),
        (70, {"online": True}),
    ]
    assert [s.channel for at, s in samples if 10 <= at < 70] == [Channel.STATUS]


def test_stuck_lift_makes_no_trip_and_goes_on_afterwards() -> None:
    samples = run("lift_alarm_button", "L-2", 600)
    assert len({fields["trips"] for fields in telemetry(samples, 10, 70)}) == 1
    assert len({fields["trips"] for fields in telemetry(samples, 70, 600)}) > 5


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_speaks_the_wire_contract_on_each_of_its_kinds(fault: str) -> None:
    for spec in ESTATE.equipment:
        if spec.kind not in FAULTS[fault].kinds:
            continue
        for _, sample in run(fault, spec.code, 200):
            known = fields_of(spec.kind, sample.channel)
            for name, value in sample.fields.items():
                assert type(value) is TYPES[known[name].type], name
                assert not known[name].choices or value in known[name].choices, name


def test_each_kind_has_a_fault() -> None:
    assert set().union(*(fault.kinds for fault in FAULTS.values())) == set(WIRE_KINDS)


def test_repeated_fault_comes_again_and_not_before_its_first_time() -> None:
    window = Window(FAULTS["smoke_alarm"], start_s=10, lasts_s=20, every_s=100)
    told = happenings(run("smoke_alarm", "F-1", 250, window))
    assert [at for at, f in told if f["type"] == "fire" and f["address"] == "23"] == [10, 110, 210]
    assert [at for at, f in told if f["type"] == "reset"] == [30, 130, 230]


def test_fault_from_second_0_is_told_once() -> None:
    window = Window(FAULTS["device_offline"], start_s=0, lasts_s=5)
    assert [at for at, _ in happenings(run("", "F-1", 60, window))] == [0, 5]


def test_coarse_steps_lose_no_event() -> None:
    told = happenings(run("smoke_alarm", "F-1", 200, dt_s=7))
    assert [f["type"] for _, f in told] == ["fire", "fire", "reset"]


def test_two_faults_at_once_both_show() -> None:
    windows = (Window(FAULTS["bearing_hot"], 0, 100), Window(FAULTS["water_leak"], 0, 100))
    fields = telemetry(run("", "P-1", 60, *windows), 59, 60)[0]
    assert fields["leak"] is True
    assert float(fields["bearing_temperature"]) > 93


# seconds into the fault, value; the model says 50
COURSE_CASES = [
    (0, 50),  # begins at the model's own value
    (5, 65),  # halfway to the first point
    (10, 80),  # the first point
    (15, 85),  # halfway to the second
    (99, 90),  # the last value stays
]


@pytest.mark.parametrize(("offset", "value"), COURSE_CASES)
def test_course_runs_through_its_points(offset: float, value: float) -> None:
    assert Course(((10, 80), (20, 90))).during(offset, 50) == pytest.approx(value)


def test_course_fades_from_where_it_was_to_the_models_value() -> None:
    course = Course(((10, 80),), fade_s=4)
    assert [course.after(10, since, 50) for since in (0, 2, 4, 9)] == [80, 65, 50, 50]
