"""Faults: each makes what it promises while it lasts, and nothing of it is left after it."""

from zoneinfo import ZoneInfo

import pytest

from collectors.wire.fields import WIRE_KINDS, Channel, FieldType, fields_of
from simulators.devices.build import build_devices
from simulators.devices.fire_panel import FirePanelSpec
from simulators.estate import load_estate
from simulators.faults.fault import Course, Fault, Link
from simulators.faults.fault_effects import FAULTS
from simulators.faults.faulty_device import FaultyDevice, Window
from simulators.samples import Sample, Value

ESTATE = load_estate("demo")
NOON_MS = 1_763_784_000_000
"""2025-11-22 12:00 in Shanghai."""
TYPES = {FieldType.NUMBER: float, FieldType.BOOLEAN: bool, FieldType.TEXT: str}


def run(fault: str, code: str, seconds: int, *windows: Window, dt_s: float = 1.0) -> list[tuple[float, Sample]]:
    """(second, sample) with the fault from second 10 for 60 s, unless other windows are given."""
    spec = ESTATE.find(code)
    assert spec is not None
    (model,) = build_devices([spec], 1, ZoneInfo(ESTATE.time_zone))
    device = FaultyDevice(model, windows or (window_of(fault, code, 10, 60),))
    moments = [n * dt_s for n in range(round(seconds / dt_s))]
    return [(at, sample) for at in moments for sample in device.step(at, NOON_MS + round(at * 1000))]


def effect(fault: str, code: str) -> Fault:
    spec = ESTATE.find(code)
    assert spec is not None
    return FAULTS[fault][spec.kind]


def window_of(fault: str, code: str, start_s: float, lasts_s: float, every_s: float = 0.0) -> Window:
    """The points of a panel's fault are those of its third floor."""
    spec, found = ESTATE.find(code), effect(fault, code)
    points = []
    if isinstance(spec, FirePanelSpec):
        third = spec.floors.index("3F")
        for signal in found.points:
            index = spec.find(third + signal.floors_up, signal.device, signal.nth)
            assert index is not None
            points.append((signal.at_s, signal.signal, index))
    return Window(found, start_s, lasts_s, every_s, tuple(points))


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
        "trapped",
        "L-2",
        {"alarm_button": True, "moving": False, "occupied": True, "door": "closed", "in_door_zone": False},
    ),
    ("door_fault", "L-3", {"fault_code": 2.0, "service_mode": "stopped", "moving": False}),
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
        (10, "fire", "1", "84", "3F"),
        (22, "fire", "1", "85", "3F"),
        (70, "reset", None, None, None),
    ]
    assert told[0][1]["device_type"] == "smoke"


# fault, how the line is, what the broker is told
LINES = [
    ("device_offline", Link.BROKEN, [(10, {"online": False}), (70, {"online": True})]),
    ("link_lost", Link.BUFFERED, [(10, {"online": False}), (70, {"online": True})]),
    ("device_hangs", Link.HUNG, []),
]


@pytest.mark.parametrize("code", ["L-1", "P-1", "F-1", "S-2", "R-2"])
@pytest.mark.parametrize(("fault", "link", "told"), LINES)
def test_a_line_that_is_down_is_told_where_the_broker_can_notice(
    code: str, fault: str, link: Link, told: list[tuple[float, dict[str, Value]]]
) -> None:
    samples = run(fault, code, 200)
    assert [(at, s.fields) for at, s in samples if s.channel is Channel.STATUS] == told
    spec = ESTATE.find(code)
    assert spec is not None
    (model,) = build_devices([spec], 1, ZoneInfo(ESTATE.time_zone))
    device = FaultyDevice(model, (window_of(fault, code, 10, 60),))
    links = []
    for second in (9, 10, 69, 70):
        device.step(second, NOON_MS)
        links.append(device.link)
    assert links == [Link.UP, link, link, Link.UP]


def test_a_babbling_device_hurries_and_takes_turns() -> None:
    said = [s.fields for at, s in run("babbling", "S-1", 30) if at >= 10 and s.fields.keys() == {"leak"}]
    assert said[:4] == [{"leak": True}, {"leak": False}, {"leak": True}, {"leak": False}]
    assert effect("babbling", "S-1").hurry > 10


def test_stuck_lift_makes_no_trip_and_goes_on_afterwards() -> None:
    samples = run("trapped", "L-2", 600)
    assert len({fields["trips"] for fields in telemetry(samples, 10, 70)}) == 1
    assert len({fields["trips"] for fields in telemetry(samples, 70, 600)}) > 5


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_speaks_the_wire_contract_on_each_of_its_kinds(fault: str) -> None:
    for spec in ESTATE.equipment:
        if spec.kind not in FAULTS[fault]:
            continue
        for _, sample in run(fault, spec.code, 200):
            known = fields_of(spec.kind, sample.channel)
            for name, value in sample.fields.items():
                assert type(value) is TYPES[known[name].type], name
                assert not known[name].choices or value in known[name].choices, name


def test_each_kind_has_a_fault() -> None:
    assert set().union(*FAULTS.values()) == set(WIRE_KINDS)


def test_repeated_fault_comes_again_and_not_before_its_first_time() -> None:
    window = window_of("smoke_alarm", "F-1", 10, 20, 100)
    told = happenings(run("smoke_alarm", "F-1", 250, window))
    assert [at for at, f in told if f["type"] == "fire" and f["address"] == "84"] == [10, 110, 210]
    assert [at for at, f in told if f["type"] == "reset"] == [30, 130, 230]


def test_fault_from_second_0_is_told_once() -> None:
    window = window_of("device_offline", "F-1", 0, 5)
    assert [at for at, _ in happenings(run("", "F-1", 60, window))] == [0, 5]


def test_coarse_steps_lose_no_event() -> None:
    told = happenings(run("smoke_alarm", "F-1", 200, dt_s=7))
    assert [f["type"] for _, f in told] == ["fire", "fire", "reset"]


def test_two_faults_at_once_both_show() -> None:
    windows = (window_of("bearing_hot", "P-1", 0, 100), window_of("water_leak", "P-1", 0, 100))
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


def test_a_window_names_each_moment_at_which_something_changes() -> None:
    window = window_of("smoke_alarm", "F-1", 10, 20, 100)
    moments, at = [], -1.0
    while len(moments) < 7:
        at = window.next_moment(at)
        moments.append(at)
    assert moments == [10, 22, 30, 110, 122, 130, 210]
    assert window_of("smoke_alarm", "F-1", 10, 20).next_moment(30) == float("inf")


def test_a_fault_changes_only_what_the_device_reports() -> None:
    """A smoke fault gives a leak sensor no smoke detector."""
    samples = run("smoke", "S-1", 60)
    assert not any("smoke" in fields for fields in telemetry(samples, 0, 60))
