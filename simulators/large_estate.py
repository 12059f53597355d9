"""An estate of any size for load tests: a plausible mix of equipment, with the report periods of a large one.

Of a hundred: 19 lifts, 16 pumps in pairs, 2 fire panels, 6 patrol readers, 57 sensors. Codes count up: L-1, P-1, F-1,
R-1, S-1. At rate 1 a hundred of them send some 7 messages a second.
"""

from random import Random
from typing import Final

from collectors.wire.fields import Kind
from simulators.devices.build import AnySpec
from simulators.devices.device import Texts
from simulators.devices.elevator import ElevatorSpec
from simulators.devices.fire_panel import FirePanelSpec
from simulators.devices.patrol_reader import Checkpoint, PatrolReaderSpec
from simulators.devices.pump import PumpSpec
from simulators.devices.sensor import Detected, Measured, SensorSpec
from simulators.estate import Estate

# The pattern that repeats, spread so that a small estate has some of each kind.
_PATTERN: Final = ("FLLPPSSSRSSSSLSSPPSLSSSLSPPSSSLSSLSPPSSSRSLSSSLPPSLSSR"
                   "FLSSPPSLSSSLSPPSSLSSRSSPPLSSSLSSLSRSLSLSSSSRSS")  # fmt: skip
_KINDS: Final = {
    "L": Kind.ELEVATOR,
    "P": Kind.PUMP,
    "F": Kind.FIRE_PANEL,
    "R": Kind.PATROL_READER,
    "S": Kind.SENSOR,
}
_MEASURED: Final[tuple[dict[Measured, float], ...]] = (
    {"temperature": 21.0, "humidity": 50.0},
    {"temperature": 16.0},
    {"level": 2.4},
    {"pressure": 0.3},
)
_DETECTED: Final[tuple[tuple[Detected, ...], ...]] = ((), ("leak",), ("smoke",))
_WORDS: Final = {
    Kind.ELEVATOR: ("Lift", "电梯"),
    Kind.PUMP: ("Pump", "水泵"),
    Kind.FIRE_PANEL: ("Fire panel", "火灾报警控制器"),
    Kind.PATROL_READER: ("Patrol reader", "巡更棒"),
    Kind.SENSOR: ("Sensor", "传感器"),
}


def large_estate(count: int, seed: int, site: str = "load") -> Estate:
    """An estate of `count` equipments; the same seed gives the same one."""
    rng = Random(f"{seed}/estate of {count}")
    numbers: dict[str, int] = {}
    equipment = []
    for index in range(count):
        letter = _PATTERN[index % len(_PATTERN)]
        numbers[letter] = numbers.get(letter, 0) + 1
        equipment.append(_make(letter, numbers[letter], index // 20 + 1, rng))
    return Estate(site=site, name=Texts(en="Estate for load", zh="负载测试项目"), equipment=tuple(equipment))


def _make(letter: str, number: int, building: int, rng: Random) -> AnySpec:
    code, place = f"{letter}-{number}", Texts(en=f"Building {building}", zh=f"{building}号楼")
    name = _name(_KINDS[letter], number)
    floors = tuple(str(floor) for floor in range(1, rng.randint(6, 33)))
    match letter:
        case "L":
            return ElevatorSpec(code=code, name=name, place=place, floors=floors, wear=rng.random() / 2, every_s=10.0)
        case "P":
            demand, shared = round(rng.uniform(0.1, 0.7), 2), f"set {(number + 1) // 2}"
            return PumpSpec(code=code, name=name, place=place, set=shared, demand=demand, every_s=10.0)
        case "F":
            zones = tuple(f"{floor}F" for floor in floors)
            return FirePanelSpec(code=code, name=name, place=place, floors=zones, every_s=30.0)
        case "R":
            stops, card = tuple(_stop(number, stop) for stop in range(1, 9)), f"A{number:07d}"
            return PatrolReaderSpec(
                code=code, name=name, place=place, checkpoints=stops, cards=(card,), walk_s=120.0, every_s=20.0
            )
    means, detects = rng.choice(_MEASURED), rng.choice(_DETECTED)
    return SensorSpec(code=code, name=name, place=place, means=means, detects=detects, every_s=60.0)


def _stop(reader: int, number: int) -> Checkpoint:
    name = Texts(en=f"Stop {number}", zh=f"{number}点")
    return Checkpoint(code=f"CP-{reader}-{number}", tag=f"04{reader:06X}{number:06X}", name=name)


def _name(kind: Kind, number: int) -> Texts:
    en, zh = _WORDS[kind]
    return Texts(en=f"{en} {number}", zh=f"{number}号{zh}")
