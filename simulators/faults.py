"""Faults by name, as data: what each does to a healthy device's reports while it lasts, and how it ends.

A fault is laid over what the model reports. Its numbers grow from the model's own value and fade back to it,
so a fault works on any equipment of its kinds, whatever that equipment is doing.
"""

from typing import Final

import msgspec

from collectors.fields import WIRE_KINDS, Channel, Kind
from simulators.samples import Sample, Value


class Course(msgspec.Struct, frozen=True):
    """The way of one number: straight lines from the model's value through (seconds, value) points.

    The last value stays until the fault ends, then fades to the model's value within `fade_s` seconds.
    """

    points: tuple[tuple[float, float], ...]
    fade_s: float = 0.0

    def during(self, offset_s: float, own: float) -> float:
        """The value so many seconds into the fault, where the model says `own`."""
        before = (0.0, own)
        for point in self.points:
            if offset_s < point[0]:
                share = (offset_s - before[0]) / (point[0] - before[0])
                return before[1] + (point[1] - before[1]) * share
            before = point
        return before[1]

    def after(self, lasted_s: float, since_s: float, own: float) -> float:
        """The value `since_s` seconds after a fault that lasted `lasted_s`."""
        if since_s >= self.fade_s:
            return own
        return own + (self.during(lasted_s, own) - own) * (1 - since_s / self.fade_s)


class Happening(msgspec.Struct, frozen=True):
    """An event or status that the fault causes so many seconds after its start."""

    at_s: float
    sample: Sample


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What a fault does.

    `sets` and `courses` change telemetry. `happenings` come while the fault lasts, `closing` when it ends.
    `holds` stops the model's time: a lift that is stuck makes no trip. `silent` keeps everything but
    status from being sent.
    """

    kinds: frozenset[Kind]
    sets: dict[str, Value] = {}
    courses: dict[str, Course] = {}
    happenings: tuple[Happening, ...] = ()
    closing: tuple[Sample, ...] = ()
    holds: bool = False
    silent: bool = False

    @property
    def fade_s(self) -> float:
        """How long the telemetry still differs after the end, in seconds."""
        return max((course.fade_s for course in self.courses.values()), default=0.0)

    def change(self, fields: dict[str, Value], offset_s: float, lasts_s: float) -> dict[str, Value]:
        """Telemetry under this fault, `offset_s` seconds after its start."""
        active = offset_s < lasts_s
        changed = {**fields, **self.sets} if active else dict(fields)
        for name, course in self.courses.items():
            own = float(fields.get(name, 0.0))
            value = course.during(offset_s, own) if active else course.after(lasts_s, offset_s - lasts_s, own)
            changed[name] = round(value, 2)
        return changed


def _event(**fields: Value) -> Sample:
    return Sample(Channel.EVENT, dict(fields))


def _smoke(address: str, text: str) -> Sample:
    return _event(type="fire", device_type="smoke", loop="1", address=address, zone="3F", text=text)


def _online(online: bool) -> Sample:
    return Sample(Channel.STATUS, {"online": online})


_STOPPED: Final[dict[str, Value]] = {"moving": False, "direction": "none", "speed": 0.0, "vibration": 0.01}

FAULTS: Final[dict[str, Fault]] = {
    # alarm 82 °C, trip 93 °C (domain numbers of pump makers): both are passed within half a minute
    "bearing_hot": Fault(
        kinds=frozenset({Kind.PUMP}),
        courses={
            "bearing_temperature": Course(((6.0, 84.5), (20.0, 90.0), (28.0, 96.0), (180.0, 102.0)), fade_s=40.0),
            "vibration": Course(((28.0, 3.2), (180.0, 3.9)), fade_s=10.0),  # below the 4.5 mm/s of an alarm
        },
    ),
    "water_leak": Fault(kinds=frozenset({Kind.SENSOR, Kind.PUMP}), sets={"leak": True}),
    # entrapment: somebody in the car, stopped between floors, doors shut, presses the button (GB/T 24476)
    "lift_alarm_button": Fault(
        kinds=frozenset({Kind.ELEVATOR}),
        sets={
            **_STOPPED,
            "in_door_zone": False,
            "door": "closed",
            "occupied": True,
            "load": 136.0,
            "alarm_button": True,
        },
        holds=True,
    ),
    "lift_fault_code": Fault(
        kinds=frozenset({Kind.ELEVATOR}),
        sets={
            **_STOPPED,
            "service_mode": "stopped",
            "in_door_zone": True,
            "door": "open",
            "occupied": False,
            "load": 0.0,
            "fault_code": 2.0,  # door closing fault
        },
        holds=True,
    ),
    "smoke_alarm": Fault(
        kinds=frozenset({Kind.FIRE_PANEL}),
        happenings=(
            Happening(0.0, _smoke("23", "三层东走廊 3F E")),
            Happening(12.0, _smoke("24", "三层西走廊 3F W")),
        ),
        closing=(_event(type="reset", text="panel reset"),),
    ),
    "panel_mains_lost": Fault(
        kinds=frozenset({Kind.FIRE_PANEL}),
        sets={"mains": False},
    ),
    "device_offline": Fault(
        kinds=frozenset(WIRE_KINDS),
        happenings=(Happening(0.0, _online(online=False)),),
        closing=(_online(online=True),),
        silent=True,
    ),
}
"""Name in scenario files -> fault."""
