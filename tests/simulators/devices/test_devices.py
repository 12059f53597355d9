"""Models of devices: believable values, fields of the wire contract only, same seed same run."""

from collections import Counter
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from collectors.wire.fields import Channel, FieldType, fields_of
from simulators.devices.build import AnySpec, build_devices
from simulators.devices.device import CALM, Signal, Texts, Trouble, Upset
from simulators.devices.elevator import ElevatorSpec
from simulators.devices.fire_panel import FirePanelSpec
from simulators.devices.patrol_reader import Checkpoint, PatrolReaderSpec
from simulators.devices.pump import DRY_RUN_CODE, PumpSpec
from simulators.devices.sensor import SensorSpec
from simulators.devices.travel import Travel
from simulators.estate import load_estate
from simulators.samples import Sample, Value

NAME = Texts(en="x", zh="x")
NOON_MS = 1_763_784_000_000
"""2025-11-22 12:00 in Shanghai."""
HOUR_MS = 3_600_000
SHANGHAI = ZoneInfo("Asia/Shanghai")
TYPES = {FieldType.NUMBER: float, FieldType.BOOLEAN: bool, FieldType.TEXT: str}
ESTATE = load_estate("demo")


def run(
    spec: AnySpec,
    seconds: int,
    *,
    seed: int = 1,
    dt_s: float = 1.0,
    start_ms: int = NOON_MS,
    trouble: Trouble = CALM,
) -> list[Sample]:
    (device,) = build_devices([spec], seed, SHANGHAI)
    steps = range(round(seconds / dt_s))
    return [sample for n in steps for sample in device.step(start_ms + round(n * dt_s * 1000), dt_s, trouble)]


def series(samples: list[Sample], field: str) -> list[Value]:
    return [sample.fields[field] for sample in samples]


def numbers(samples: list[Sample], field: str) -> list[float]:
    return [float(value) for value in series(samples, field)]


def lift(**changes: object) -> ElevatorSpec:
    floors = tuple(str(floor) for floor in range(1, 13))
    return ElevatorSpec(code="L-9", name=NAME, place=NAME, floors=floors, **{"traffic": "steady", **changes})  # type: ignore[arg-type]


def pump(**changes: object) -> PumpSpec:
    return PumpSpec(**{"code": "P-9", "draw": "steady", **changes}, name=NAME, place=NAME)  # type: ignore[arg-type]


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
    if spec.code not in {"F-1", "M-1", "GW-1"}:  # a panel, a meter and a gateway in calm always say the same
        assert run(spec, 600, seed=7) != run(spec, 600, seed=8)


def test_calm_devices_raise_nothing_that_a_rule_could_alarm_on() -> None:
    for spec in ESTATE.equipment:
        for sample in run(spec, 900):
            fields = sample.fields
            assert not any(fields.get(name) for name in ("alarm_button", "leak", "smoke", "fault_code", "drive_fault"))
            assert sample.channel is not Channel.EVENT or "tag" in fields or fields["type"] == "check_post"
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


# -- lifts --------------------------------------------------------------------------------------------------------


def trips(samples: list[Sample]) -> float:
    counted = numbers(samples, "trips")
    return counted[-1] - counted[0]


def test_a_residential_lift_is_busy_in_the_morning_and_quiet_at_night() -> None:
    morning = run(lift(traffic="residential"), 3600, start_ms=NOON_MS - 5 * HOUR_MS)
    night = run(lift(traffic="residential"), 3600, start_ms=NOON_MS - 9 * HOUR_MS)
    assert trips(morning) > 3 * trips(night) > 0


def test_in_the_morning_people_go_down_to_the_lobby_and_in_the_evening_they_start_there() -> None:
    def ways(start_ms: int) -> tuple[int, int]:
        samples = [s for s in run(lift(traffic="residential"), 3600, start_ms=start_ms) if s.fields["occupied"]]
        directions = Counter(series(samples, "direction"))
        return directions["down"], directions["up"]

    down, up = ways(NOON_MS - 5 * HOUR_MS)
    assert down > 1.5 * up
    down, up = ways(NOON_MS + 6 * HOUR_MS)
    assert up > 1.5 * down


def test_doors_open_again_when_somebody_steps_between_them() -> None:
    doors = [str(door) for door in series(run(lift(), 7200, dt_s=0.5), "door")]
    assert ("closing", "opening") in set(pairwise(doors))


def test_wear_makes_a_lift_shake_and_stop_less_exactly_but_within_20_mm() -> None:
    new, worn = (run(lift(wear=wear), 7200) for wear in (0.0, 1.0))
    for field, factor in (("vibration", 2.0), ("levelling_error", 1.2)):
        assert max(numbers(worn, field)) > factor * max(numbers(new, field))
    assert max(abs(error) for error in numbers(worn, "levelling_error")) < 20


def test_a_broken_intercom_is_found_by_the_next_test_and_its_repair_by_the_one_after() -> None:
    spec = lift(intercom_test_s=600)
    (device,) = build_devices([spec], 1, SHANGHAI)
    broken = Trouble({Upset.INTERCOM_BROKEN: 1.0})

    def says(second: int, trouble: Trouble) -> Value:
        return device.step(NOON_MS + second * 1000, 1.0, trouble)[0].fields["intercom_ok"]

    first = [says(second, broken) for second in range(1200)]
    assert first[0] is True
    assert first[-1] is False
    after = [says(second, CALM) for second in range(1200, 2400)]
    assert after[0] is False
    assert after[-1] is True


def test_without_power_a_lift_stops_where_it_is_and_with_emergency_lowering_it_opens() -> None:
    dead = run(lift(), 60, trouble=Trouble({Upset.NO_MAINS: 1.0}))
    assert set(series(dead, "power")) == {"off"}
    assert not any(series(dead, "moving"))
    lowered = run(lift(), 300, trouble=Trouble({Upset.ON_BACKUP: 1.0}))
    assert set(series(lowered, "power")) == {"backup"}
    assert set(series(lowered[-60:], "door")) == {"open"}
    assert not any(series(lowered[-60:], "occupied"))


# -- pumps --------------------------------------------------------------------------------------------------------


def run_set(
    seconds: int, troubles: tuple[Trouble, Trouble], start_ms: int = NOON_MS, **changes: object
) -> list[list[Sample]]:
    """Two pumps of one set; the samples of each."""
    pumps = build_devices([pump(code=f"P-{n}", set="one", **changes) for n in (1, 2)], 1, SHANGHAI)
    said: list[list[Sample]] = [[], []]
    for second in range(seconds):
        for number, device in enumerate(pumps):
            said[number] += device.step(start_ms + second * 1000, 1.0, troubles[number])
    return said


def test_one_pump_is_on_duty_and_they_change_places_at_midnight() -> None:
    before, after = run_set(1200, (CALM, CALM), NOON_MS + 12 * HOUR_MS - 600_000)
    assert series(before[:590], "running") == [True] * 590
    assert series(after[:590], "running") == [False] * 590
    assert series(after[-590:], "running") == [True] * 590
    assert series(before[-590:], "running") == [False] * 590


def test_when_the_duty_pump_trips_the_standby_holds_the_pressure() -> None:
    duty, standby = run_set(600, (Trouble({Upset.TRIPPED: 7.0}), CALM))
    assert set(series(duty[1:], "drive_fault")) == {7.0}
    assert not any(series(duty[1:], "running"))
    assert all(series(standby[2:], "running"))
    assert min(numbers(standby, "discharge_pressure")) > 0.4


def test_without_water_the_drive_stops_its_pump_within_half_a_minute() -> None:
    duty, standby = run_set(600, (Trouble({Upset.SUCTION_SHUT: 1.0}), CALM))
    assert numbers(duty, "drive_fault")[40:] == [DRY_RUN_CODE] * 560
    assert min(numbers(duty, "suction_pressure")) < 0.02
    assert min(numbers(standby, "discharge_pressure")) > 0.35


def test_two_pumps_run_when_one_is_not_enough_and_a_burst_pipe_is_too_much_for_both() -> None:
    busy = run_set(600, (CALM, CALM), demand=1.0)
    assert all(series(busy[1][-60:], "running"))
    burst = run_set(600, (Trouble({Upset.BURST: 4.0}), CALM))
    assert all(series(burst[0][-60:], "running") + series(burst[1][-60:], "running"))
    assert max(numbers(burst[0][-60:], "discharge_pressure")) < 0.2


def test_the_tank_is_refilled_by_its_float_valve() -> None:
    levels = numbers(run(pump(demand=0.6), 8 * 3600, dt_s=10), "tank_level")
    assert 1.9 < min(levels) < 2.15
    assert 2.4 < max(levels) < 2.65


def test_people_draw_most_water_in_the_evening_and_least_at_night() -> None:
    evening, night = (
        sum(numbers(run(pump(draw="daily", demand=0.4), 1800, start_ms=NOON_MS + hours * HOUR_MS), "flow"))
        for hours in (7, 15)
    )
    assert evening > 3 * night


def test_a_sump_pump_keeps_its_pit_empty_until_more_comes_than_it_lifts() -> None:
    calm = run(pump(duty="sump", rated_flow=20), 24 * 3600, dt_s=30)
    assert 0.25 <= min(numbers(calm, "sump_level")) < max(numbers(calm, "sump_level")) < 0.9
    assert not any(series(calm, "leak"))
    assert numbers(calm, "starts")[-1] > numbers(calm, "starts")[0]
    flooded = run(pump(duty="sump", rated_flow=20), 300, trouble=Trouble({Upset.FLOOD: 80.0}))
    assert flooded[-1].fields["leak"] is True


def test_a_sump_that_is_looked_at_once_in_twelve_hours_is_no_flood() -> None:
    """A clock that runs fast looks seldom; the pump has run in between."""
    assert not any(series(run(pump(duty="sump", rated_flow=20), 30 * 86_400, dt_s=43_200), "leak"))


def test_a_fire_pump_runs_when_it_is_called() -> None:
    called = run(pump(duty="fire", setpoint=0.65), 120, trouble=Trouble({Upset.CALLED: 1.0}))
    assert all(series(called, "running"))
    assert numbers(called, "discharge_pressure")[-1] > 0.7


# -- fire panels --------------------------------------------------------------------------------------------------

PANEL = FirePanelSpec(code="F-9", name=NAME, place=NAME, floors=tuple(f"{n}F" for n in range(1, 21)), points=200)


def test_two_hundred_points_are_spread_over_the_floors_with_a_call_point_on_each() -> None:
    points = [PANEL.point(index) for index in range(200)]
    assert len({(point.loop, point.address) for point in points}) == 200
    assert set(Counter(point.zone for point in points).values()) == {10}
    assert Counter(point.device for point in points)["call_point"] == 20
    assert PANEL.point(PANEL.find(4, "smoke", 0) or 0).zone == "5F"
    assert PANEL.find(0, "smoke", 99) is None


def events(*steps: set[tuple[Signal, int]]) -> list[list[tuple[Value, Value, Value]]]:
    """(type, address, active) of the events of each step, in which these points give signals."""
    (panel,) = build_devices([PANEL], 1, SHANGHAI)
    told = []
    for second, points in enumerate(steps):
        samples = panel.step(NOON_MS + second * 1000, 1.0, Trouble({}, frozenset(points)))
        told.append(
            [(s.fields["type"], s.fields.get("address", ""), s.fields.get("active", True)) for s in samples[1:]]
        )
    return told


def test_a_point_in_fire_is_told_once_and_stays_until_the_panel_is_reset() -> None:
    fire = {(Signal.FIRE, 3)}
    assert events(fire, fire, set(), fire) == [
        [("fire", "4", True)],
        [],
        [("reset", "", True)],
        [("fire", "4", True)],
    ]


def test_a_fault_ends_by_itself_and_a_reset_tells_again_what_still_stands() -> None:
    fault = {(Signal.FAULT, 5)}
    assert events(fault, set()) == [[("fault", "6", True)], [("fault", "6", False)]]
    assert events({*fault, (Signal.FIRE, 3)}, fault)[1] == [("reset", "", True), ("fault", "6", True)]


def test_a_disabled_point_sees_no_fire_until_it_is_enabled_again() -> None:
    off, fire = (Signal.DISABLED, 3), (Signal.FIRE, 3)
    assert events({off, fire}, {fire}) == [
        [("disabled", "4", True)],
        [("disabled", "4", False), ("fire", "4", True)],
    ]


def test_the_panel_answers_the_check_post_every_four_hours() -> None:
    told = [s for s in run(PANEL, 24 * 3600, dt_s=60) if s.channel is Channel.EVENT]
    assert [s.fields["type"] for s in told] == ["check_post"] * 6
