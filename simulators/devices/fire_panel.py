"""A fire alarm panel: its points by loop and floor, their signals, reset, and the check-post.

A point in fire stays in fire until the panel is reset, which happens when there is no fire any more. Faults and
disabled points end by themselves. A disabled point detects no fire.
"""

from typing import Annotated, Final

import msgspec

from collectors.wire.fields import Channel
from simulators.devices.device import CALM, Equipment, Signal, Trouble
from simulators.samples import Sample, Value

_LOOP: Final = 100
"""Points on one loop."""
_WORDS: Final = {"smoke": "烟感", "heat": "温感", "call_point": "手报", "flow_switch": "水流指示器"}
_FIRST_ON_A_FLOOR: Final = ("call_point", "flow_switch", "heat")
"""The points of each floor besides smoke detectors, in the order of addresses."""


class Point(msgspec.Struct, frozen=True):
    """One detector, button or switch."""

    loop: str
    address: str
    zone: str
    device: str

    @property
    def fields(self) -> dict[str, Value]:
        """Its text in events."""
        text = f"{self.zone} {_WORDS[self.device]} {self.loop}-{self.address}"
        return {
            "device_type": self.device if self.device in {"smoke", "heat", "call_point", "flow_switch"} else "other",
            "loop": self.loop,
            "address": self.address,
            "zone": self.zone,
            "text": text,
        }


class FirePanelSpec(Equipment, frozen=True, kw_only=True, tag="fire_panel"):
    """`floors` from the lowest up, each a zone; `points` are spread over them; `check_post_s`: 0 for never."""

    floors: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("1F", "2F", "3F", "4F", "5F")
    points: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200
    check_post_s: Annotated[float, msgspec.Meta(ge=0)] = 4 * 3600.0
    every_s: Annotated[float, msgspec.Meta(gt=0)] = 2.0

    def point(self, index: int) -> Point:
        """The point with that number, from 0."""
        floor = index * len(self.floors) // self.points
        nth = index - self._first_of(floor)
        device = _FIRST_ON_A_FLOOR[nth] if nth < len(_FIRST_ON_A_FLOOR) else "smoke"
        return Point(str(index // _LOOP + 1), str(index % _LOOP + 1), self.floors[floor], device)

    def find(self, floor: int, device: str, nth: int) -> int | None:
        """Number of the nth point of a type on a floor; None if the floor has fewer."""
        last = self._first_of(floor + 1)
        found = [index for index in range(self._first_of(floor), last) if self.point(index).device == device]
        return found[nth] if nth < len(found) else None

    def _first_of(self, floor: int) -> int:
        return -(-floor * self.points // len(self.floors))


class FirePanel:
    """Reports changes of its points, and its own power and mode."""

    def __init__(self, spec: FirePanelSpec) -> None:
        self._spec = spec
        self._standing: set[tuple[Signal, int]] = set()
        self._check_post_in_s = spec.check_post_s or float("inf")

    def step(self, now_ms: int, dt_s: float, trouble: Trouble = CALM) -> list[Sample]:  # noqa: ARG002 - no time of day
        """Telemetry of this moment, then the events of this step."""
        telemetry = Sample(Channel.TELEMETRY, {"mains": True, "battery": True, "mode": "auto"})
        return [telemetry, *self._changes(trouble), *self._post_checked(dt_s)]

    def _changes(self, trouble: Trouble) -> list[Sample]:
        over = sorted(pair for pair in self._standing - trouble.points if pair[0] is not Signal.FIRE)
        events = [self._end(signal, index) for signal, index in over]
        given = sorted(trouble.points, key=lambda pair: (pair[0] is not Signal.DISABLED, pair[1]))
        events += [sample for signal, index in given for sample in self._begin(signal, index)]
        return events + self._reset(trouble)

    def _begin(self, signal: Signal, index: int) -> list[Sample]:
        blind = signal is Signal.FIRE and (Signal.DISABLED, index) in self._standing
        if blind or (signal, index) in self._standing:
            return []
        self._standing.add((signal, index))
        return [_event(type=signal.value, **self._spec.point(index).fields)]

    def _end(self, signal: Signal, index: int) -> Sample:
        self._standing.discard((signal, index))
        return _event(type=signal.value, active=False, **self._spec.point(index).fields)

    def _reset(self, trouble: Trouble) -> list[Sample]:
        """A reset ends all signals, so that those still active are reported again."""
        burnt = any(signal is Signal.FIRE for signal, _ in self._standing)
        if not burnt or any(signal is Signal.FIRE for signal, _ in trouble.points):
            return []
        self._standing.clear()
        again = [sample for signal, index in sorted(trouble.points) for sample in self._begin(signal, index)]
        return [_event(type="reset", text="复位 reset"), *again]

    def _post_checked(self, dt_s: float) -> list[Sample]:
        """The centre checks whether the panel is staffed; the acknowledgement is an event."""
        self._check_post_in_s -= dt_s
        if self._check_post_in_s > 0:
            return []
        self._check_post_in_s += max(self._spec.check_post_s, dt_s)
        return [_event(type="check_post", text="查岗应答 post checked")]


def _event(**fields: Value) -> Sample:
    return Sample(Channel.EVENT, dict(fields))
