"""Models of devices: believable values, fields of the wire contract only, same seed same run."""

from itertools import pairwise

import pytest

from collectors.fields import Channel, FieldType, fields_of
from simulators.devices.build import AnySpec, build_device
from simulators.devices.device import Texts
from simulators.devices.elevator import ElevatorSpec
from simulators.devices.patrol_reader import Checkpoint, PatrolReaderSpec
from simulators.devices.pump import PumpSpec
from simulators.devices.sensor import SensorSpec
from simulators.devices.travel import Travel
from simulators.estate import load_estate
from simulators.samples import Sample, Value

NAME = Texts(en="x", zh="x")
NOON_MS = 1_763_800_000_000
TYPES = {FieldType.NUMBER: float, FieldType.BOOLEAN: bool, FieldType.TEXT: str}
ESTATE = load_estate("demo")


def run(spec: AnySpec, seconds: int, *, seed: int = 1, dt_s: float = 1.0) -> list[Sample]:
    device = build_device(spec, seed)
    steps = range(round(seconds / dt_s))
    return [sample for n in steps for sample in device.step(NOON_MS + round(n * dt_s * 1000), dt_s)]


def series(samples: list[Sample], field: str) -> list[Value]:
    return [sample.fields[field] for sample in samples]


def numbers(samples: list[Sample], field: str) -> list[float]:
    return [float(value) for value in series(samples, field)]


def lift(**changes: object) -> ElevatorSpec:
    floors = tuple(str(floor) for floor in range(1, 13))
    return ElevatorSpec(code="L-9", name=NAME, place=NAME, floors=floors, **changes)  # type: ignore[arg-type]


def pump(**changes: object) -> PumpSpec:
    return PumpSpec(code="P-9", name=NAME, place=NAME, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", ESTATE.equipment, ids=lambda spec: spec.code)
def test_every_field_is_of_the_wire_contract_in_its_type(spec: AnySpec) -> None:
    for sample in run(spec, 900):
        known = fields_of(spec.kind, sample.channel)
        for name, value in sample.fields.items():
            assert type(value) is TYPES[known[name].type], name
            assert not known[name].choices or value in known[name].choices, name


@pytest.mark.parametrize("spec", ESTATE.equipment, ids=lambda spec: spec.code)
def test_same_seed_same_run_and_another_seed_another(spec: AnySpec) -> None:
    assert run(spec, 600, seed=7) == run(spec, 600, seed=7)
    if spec.code != "F-1":  # a panel in calm always says the same
        assert run(spec, 600, seed=7) != run(spec, 600, seed=8)


def test_calm_devices_raise_nothing_that_a_rule_could_alarm_on() -> None:
    for spec in ESTATE.equipment:
        for sample in run(spec, 900):
            fields = sample.fields
            assert not any(fields.get(name) for name in ("alarm_button", "leak", "smoke", "fault_code", "drive_fault"))
            assert sample.channel is not Channel.EVENT or "tag" in fields
            assert float(fields.get("bearing_temperature", 0.0)) < 71  # normal up to 71 °C


def test_lift_moves_only_with_closed_doors_and_opens_only_in_the_door_zone() -> None:
    for sample in run(lift(), 3600, dt_s=0.5):
        fields = sample.fields
        assert not fields["moving"] or fields["door"] == "closed"
        assert fields["door"] == "closed" or fields["in_door_zone"]
        assert fields["moving"] or (fields["speed"] == 0 and fields["direction"] == "none")


def test_lift_makes_trips_with_and_without_people_and_levels_within_10_mm() -> None:
    samples = run(lift(), 3600)
    trips = numbers(samples, "trips")
    assert 40 < trips[-1] - trips[0] < 240
    assert {True, False} == set(series([s for s in samples if s.fields["moving"]], "occupied"))
    assert max(abs(error) for error in numbers(samples, "levelling_error")) <= 10
    assert max(numbers(samples, "speed")) == pytest.approx(1.75)


def test_lift_floors_follow_each_other_while_it_runs() -> None:
    floors = [int(str(floor)) for floor in series(run(lift(), 1800), "floor")]
    assert max(abs(b - a) for a, b in pairwise(floors)) <= 1
    assert len(set(floors)) > 8


@pytest.mark.parametrize("distance", [1.5, 3.0, 60.0])
def test_travel_ends_where_it_should_and_never_passes_rated_speed(distance: float) -> None:
    travel = Travel(distance, rated_speed=2.5)
    moments = [travel.duration * n / 200 for n in range(201)]
    assert travel.travelled(travel.duration) == pytest.approx(distance)
    assert all(a <= b for a, b in pairwise([travel.travelled(t) for t in moments]))
    assert max(travel.speed(t) for t in moments) <= 2.5
    assert travel.speed(0) == travel.speed(travel.duration) == 0


def test_duty_pump_holds_its_pressure_with_even_phases() -> None:
    samples = run(pump(demand=0.6), 3600)
    assert all(series(samples, "running"))
    assert all(abs(pressure - 0.45) < 0.02 for pressure in numbers(samples, "discharge_pressure"))
    assert all(53 < temperature < 67 for temperature in numbers(samples, "bearing_temperature"))
    for sample in samples:
        phases = [float(sample.fields[f"current_{phase}"]) for phase in "abc"]
        assert max(phases) - min(phases) < 0.05 * max(phases)


def test_pump_with_little_demand_sleeps_and_starts_again_at_most_15_times_an_hour() -> None:
    samples = run(pump(demand=0.15), 7200)
    starts = numbers(samples, "starts")
    assert 4 <= starts[-1] - starts[0] <= 30
    asleep = [sample for sample in samples if not sample.fields["running"]]
    assert asleep
    assert set(series(asleep, "current_a")) == {0.0}
    assert min(numbers(samples, "discharge_pressure")) > 0.4


def test_fire_pump_stands_by_in_auto_under_pressure() -> None:
    samples = run(pump(duty="fire", setpoint=0.65, demand=0), 7200)
    assert not any(series(samples, "running"))
    assert set(series(samples, "mode")) == {"auto"}
    pressures = numbers(samples, "discharge_pressure")
    assert min(pressures) > 0.61
    assert max(pressures) - min(pressures) > 0.02  # the jockey pump works


def test_patrol_reader_taps_in_order_and_cards_take_turns() -> None:
    stops = tuple(Checkpoint(code=f"CP-{n}", tag=f"04A1B2C3D4E58{n}", name=NAME) for n in range(3))
    spec = PatrolReaderSpec(code="R-9", name=NAME, place=NAME, checkpoints=stops, cards=("A", "B"), walk_s=10)
    taps = run(spec, 100)[:6]
    assert series(taps, "tag") == [stop.tag for stop in stops] * 2
    assert series(taps, "card") == ["A"] * 3 + ["B"] * 3


def test_sensor_reports_what_it_has_and_no_more() -> None:
    spec = SensorSpec(code="S-9", name=NAME, place=NAME, means={"temperature": 20.0}, detects=("leak",))
    samples = run(spec, 600)
    assert {name for sample in samples for name in sample.fields} == {"temperature", "leak", "battery"}
    assert all(abs(value - 20) < 1 for value in numbers(samples, "temperature"))


def test_step_width_changes_no_timetable_of_a_lift() -> None:
    # the noise of the seen moments is drawn from the same generator, so nearly the same
    fine, coarse = (numbers(run(lift(), 7200, dt_s=dt), "trips") for dt in (1.0, 5.0))
    assert fine[-1] - fine[0] == pytest.approx(coarse[-1] - coarse[0], rel=0.25)
