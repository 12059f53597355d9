"""Applies the faults of a scenario to a device, by the seconds since the start."""

import math
from collections.abc import Iterator
from itertools import cycle
from typing import Final

import msgspec

from collectors.wire.fields import Channel
from simulators.devices.device import CALM, Device, Signal, Trouble, Upset
from simulators.faults.fault import Fault, Link
from simulators.samples import Sample

_FINE: Final = 6
"""Decimals of a second: sums of durations must equal the moments that they are compared with."""


class Window(msgspec.Struct, frozen=True):
    """When a fault lasts: from `start_s` for `lasts_s` seconds, again each `every_s` (0: only once).

    `points` are the points of a fire panel that give signals: (seconds after the start, signal, index).
    """

    fault: Fault
    start_s: float
    lasts_s: float
    every_s: float = 0.0
    points: tuple[tuple[float, Signal, int], ...] = ()

    def offset(self, elapsed_s: float) -> float:
        """Seconds since the fault last began; negative before its first time."""
        since = round(elapsed_s - self.start_s, _FINE)
        return since % self.every_s if self.every_s and since >= 0 else since

    def is_active(self, elapsed_s: float) -> bool:
        """Whether the fault lasts at this moment."""
        return 0 <= self.offset(elapsed_s) < self.lasts_s

    def is_felt(self, elapsed_s: float) -> bool:
        """Whether the device differs from a healthy one: while the fault lasts, and while it fades."""
        return 0 <= self.offset(elapsed_s) < self.lasts_s + self.fault.fade_s

    def happenings(self, after_s: float, until_s: float) -> Iterator[tuple[float, Sample]]:
        """The events of the fault in (after_s, until_s], each with its second."""
        for begin in self._begins(until_s):
            for happening in self.fault.happenings:
                moment = begin + happening.at_s
                if happening.at_s < self.lasts_s and after_s < moment <= until_s:
                    yield moment, happening.sample

    def next_moment(self, after_s: float) -> float:
        """The next second at which something begins, happens or ends; infinite if nothing does."""
        steps = {0.0, self.lasts_s, *(happening.at_s for happening in self.fault.happenings)}
        steps |= {point[0] for point in self.points}
        offset = self.offset(after_s)
        later = [step for step in steps if offset < step <= self.lasts_s]
        if later:
            return round(after_s + min(later) - offset, _FINE)
        return round(after_s + self.every_s - offset, _FINE) if self.every_s else math.inf

    def _begins(self, until_s: float) -> Iterator[float]:
        """The latest begin and the one before it: a fault ends before it repeats."""
        if until_s < self.start_s:
            return
        last = math.floor(round(until_s - self.start_s, _FINE) / self.every_s) if self.every_s else 0
        for times in range(max(0, last - 1), last + 1):
            yield self.start_s + times * self.every_s


class FaultyDevice:
    """A device with its faults. Without windows it is the device itself."""

    def __init__(self, device: Device, windows: tuple[Window, ...] = ()) -> None:
        self._device = device
        self._windows = windows
        self._elapsed_s = 0.0
        self._reported_s = -1.0  # before second 0, so that events at 0 are reported
        self._link_before = Link.UP
        self._held: list[Sample] = []
        self._babble = {index: cycle(window.fault.babble) for index, window in enumerate(windows)}

    def step(self, elapsed_s: float, now_ms: int) -> list[Sample]:
        """A status if the line changed, telemetry with the faults applied, then their events in order of time.

        `elapsed_s` are seconds since the start, `now_ms` the simulated time.
        """
        dt_s, self._elapsed_s = elapsed_s - self._elapsed_s, elapsed_s
        samples = [self._overlaid(sample) for sample in self._advance(now_ms, dt_s)]
        samples += self._caused()
        samples += [next(self._babble[index]) for index, window in self._active() if window.fault.babble]
        return self._told_by_the_line() + samples

    @property
    def link(self) -> Link:
        """The current state of the line to the broker."""
        links = [window.fault.link for _, window in self._active()]
        return next((link for link in links if link is not Link.UP), Link.UP)

    @property
    def hurry(self) -> float:
        """The current multiple of the usual rate of reports."""
        return max((window.fault.hurry for _, window in self._active()), default=1.0)

    def next_moment(self) -> float:
        """The next second at which a fault changes something, so that the device sends an extra report."""
        return min((window.next_moment(self._elapsed_s) for window in self._windows), default=math.inf)

    def _active(self) -> list[tuple[int, Window]]:
        return [item for item in enumerate(self._windows) if item[1].is_active(self._elapsed_s)]

    def _advance(self, now_ms: int, dt_s: float) -> list[Sample]:
        if self._held and any(window.fault.holds for _, window in self._active()):
            return self._held
        samples = self._device.step(now_ms, dt_s, self._trouble())
        self._held = [sample for sample in samples if sample.channel is Channel.TELEMETRY]
        return samples

    def _trouble(self) -> Trouble:
        if not self._windows:
            return CALM
        upsets: dict[Upset, float] = {}
        for window in self._windows:
            if window.is_felt(self._elapsed_s):
                upsets |= window.fault.upset(window.offset(self._elapsed_s), window.lasts_s)
        points = {
            (signal, index)
            for _, window in self._active()
            for at_s, signal, index in window.points
            if at_s <= window.offset(self._elapsed_s)
        }
        return Trouble(upsets, frozenset(points))

    def _overlaid(self, sample: Sample) -> Sample:
        if sample.channel is not Channel.TELEMETRY:
            return sample
        fields = sample.fields
        for window in self._windows:
            if window.is_felt(self._elapsed_s):
                fields = window.fault.change(fields, window.offset(self._elapsed_s), window.lasts_s)
        return Sample(sample.channel, fields)

    def _caused(self) -> list[Sample]:
        after_s, self._reported_s = self._reported_s, self._elapsed_s
        caused = [pair for window in self._windows for pair in window.happenings(after_s, self._elapsed_s)]
        return [sample for _, sample in sorted(caused, key=lambda pair: pair[0])]

    def _told_by_the_line(self) -> list[Sample]:
        before, self._link_before = self._link_before, self.link
        if before.is_told == self._link_before.is_told:
            return []
        return [Sample(Channel.STATUS, {"online": before.is_told})]
