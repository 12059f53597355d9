"""A fault: its effect on a healthy device and its reports while it lasts, and how it ends.

A fault may change the reports (`sets`, `courses`), disturb the model, which then computes the effects (`upsets`,
`points`), or disturb the line to the broker (`link`). The faults by name are in `table.py`.
"""

from enum import StrEnum
from typing import Final

import msgspec

from simulators.devices.device import Signal, Upset
from simulators.samples import Sample, Value


class Course(msgspec.Struct, frozen=True):
    """The course of one number: straight lines from the healthy value through (seconds, value) points.

    The last value stays until the fault ends, then fades to the healthy value within `fade_s` seconds.
    """

    points: tuple[tuple[float, float], ...]
    fade_s: float = 0.0

    def during(self, offset_s: float, own: float) -> float:
        """The value at an offset in seconds into the fault; `own` is the healthy value."""
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


def at_once(value: float) -> Course:
    """That value from the first to the last moment."""
    return Course(((0.0, value),))


class Happening(msgspec.Struct, frozen=True):
    """An event that the fault causes at a time in seconds after its start."""

    at_s: float
    sample: Sample


class PointSignal(msgspec.Struct, frozen=True):
    """From `at_s` on, the nth point of a type gives a signal, at a number of floors above the fault's floor."""

    at_s: float
    signal: Signal
    device: str = "smoke"
    floors_up: int = 0
    nth: int = 0


class Link(StrEnum):
    """The line between device and broker. Unless it is up, nothing arrives."""

    UP = "up"
    BROKEN = "broken"
    """The broker publishes the last will; samples of that time are lost."""
    BUFFERED = "buffered"
    """The broker publishes the last will; samples of that time arrive when the line is back."""
    HUNG = "hung"
    """The device sends nothing, but the connection is up."""

    @property
    def is_told(self) -> bool:
        """Whether the last will is published."""
        return self in {Link.BROKEN, Link.BUFFERED}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """The effect of a fault on one kind of equipment.

    `sets` and `courses` change telemetry; `upsets` and `points` change the model. `happenings` come while the fault
    lasts. `holds` stops the model's time: a lift that is stuck makes no trip. A babbling device reports `hurry` times
    as often and adds one of `babble` to each report, in turn.
    """

    about: str
    sets: dict[str, Value] = {}
    courses: dict[str, Course] = {}
    upsets: dict[Upset, Course] = {}
    points: tuple[PointSignal, ...] = ()
    happenings: tuple[Happening, ...] = ()
    holds: bool = False
    link: Link = Link.UP
    hurry: float = 1.0
    babble: tuple[Sample, ...] = ()

    @property
    def fade_s(self) -> float:
        """How long it still has effects after its end, in seconds."""
        courses = (*self.courses.values(), *self.upsets.values())
        return max((course.fade_s for course in courses), default=0.0)

    @property
    def needs_floor(self) -> bool:
        """Whether a scenario may give a floor."""
        return bool(self.points)

    def change(self, fields: dict[str, Value], offset_s: float, lasts_s: float) -> dict[str, Value]:
        """Telemetry under this fault, `offset_s` seconds after its start. A device reports only what it has."""
        active = offset_s < lasts_s
        changed = {**fields, **{name: self.sets[name] for name in self.sets if active and name in fields}}
        for name, course in self.courses.items():
            if name in fields:
                changed[name] = round(_value(course, offset_s, lasts_s, float(fields[name])), 2)
        return changed

    def upset(self, offset_s: float, lasts_s: float) -> dict[Upset, float]:
        """The amount of each disturbance, `offset_s` seconds after its start."""
        return {upset: _value(course, offset_s, lasts_s, 0.0) for upset, course in self.upsets.items()}


def _value(course: Course, offset_s: float, lasts_s: float, own: float) -> float:
    if offset_s < lasts_s:
        return course.during(offset_s, own)
    return course.after(lasts_s, offset_s - lasts_s, own)


DAY_S: Final = 86_400.0
