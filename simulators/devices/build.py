"""Builds the models of an estate from its descriptions."""

from collections.abc import Iterable
from random import Random
from typing import TypeAlias, assert_never
from zoneinfo import ZoneInfo

from simulators.devices.device import Device
from simulators.devices.elevator import Elevator, ElevatorSpec
from simulators.devices.fire_panel import FirePanel, FirePanelSpec
from simulators.devices.patrol_reader import PatrolReader, PatrolReaderSpec
from simulators.devices.pump import FirePump, PumpSpec, SumpPump, SupplyPump
from simulators.devices.pump_set import PumpSet
from simulators.devices.sensor import Sensor, SensorSpec

AnySpec: TypeAlias = ElevatorSpec | PumpSpec | FirePanelSpec | PatrolReaderSpec | SensorSpec


def build_devices(specs: Iterable[AnySpec], seed: int, zone: ZoneInfo) -> list[Device]:
    """One model for each, in the same order, with its own random generator, so that other equipment has no effect."""
    sets: dict[str, PumpSet] = {}
    return [_build(spec, seed, zone, sets) for spec in specs]


def _build(spec: AnySpec, seed: int, zone: ZoneInfo, sets: dict[str, PumpSet]) -> Device:
    rng = Random(f"{seed}/{spec.code}")
    match spec:
        case ElevatorSpec():
            return Elevator(spec, rng, zone)
        case PumpSpec():
            return _build_pump(spec, rng, seed, zone, sets)
        case FirePanelSpec():
            return FirePanel(spec)
        case PatrolReaderSpec():
            return PatrolReader(spec, rng)
        case SensorSpec():
            return Sensor(spec, rng, zone)
    assert_never(spec)


def _build_pump(spec: PumpSpec, rng: Random, seed: int, zone: ZoneInfo, sets: dict[str, PumpSet]) -> Device:
    match spec.duty:
        case "fire":
            return FirePump(spec, rng)
        case "sump":
            return SumpPump(spec, rng)
        case "supply":
            name = spec.set or f"{spec.code} alone"
            if name not in sets:
                water = Random(f"{seed}/water of {name}")
                steady = spec.draw == "steady"
                sets[name] = PumpSet(spec.setpoint, spec.demand, spec.rated_flow, water, zone, steady=steady)
            return SupplyPump(spec, rng, sets[name])
    assert_never(spec.duty)
