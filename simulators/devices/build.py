"""From the description of an equipment to its model."""

from random import Random
from typing import TypeAlias, assert_never

from simulators.devices.device import Device
from simulators.devices.elevator import Elevator, ElevatorSpec
from simulators.devices.fire_panel import FirePanel, FirePanelSpec
from simulators.devices.patrol_reader import PatrolReader, PatrolReaderSpec
from simulators.devices.pump import Pump, PumpSpec
from simulators.devices.sensor import Sensor, SensorSpec

AnySpec: TypeAlias = ElevatorSpec | PumpSpec | FirePanelSpec | PatrolReaderSpec | SensorSpec


def build_device(spec: AnySpec, seed: int) -> Device:
    """The model, with a random generator of its own: other equipment never changes its run."""
    rng = Random(f"{seed}/{spec.code}")
    match spec:
        case ElevatorSpec():
            return Elevator(spec, rng)
        case PumpSpec():
            return Pump(spec, rng)
        case FirePanelSpec():
            return FirePanel()
        case PatrolReaderSpec():
            return PatrolReader(spec, rng)
        case SensorSpec():
            return Sensor(spec, rng)
    assert_never(spec)
