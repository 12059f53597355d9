"""Lays the faults of a scenario over a device, by the seconds that passed since its first step."""

import math
from collections.abc import Iterator

import msgspec

from collectors.fields import Channel
from simulators.devices.device import Device
from simulators.faults import Fault
from simulators.samples import Sample


class Window(msgspec.Struct, frozen=True):
    """When a fault lasts: from `start_s` for `lasts_s` seconds, again each `every_s` (0: only once)."""

    fault: Fault
    start_s: float
    lasts_s: float
    every_s: float = 0.0

    def offset(self, elapsed_s: float) -> float:
        """Seconds since the fault last began; negative before its first time."""
        since = elapsed_s - self.start_s
        return since % self.every_s if self.every_s and since >= 0 else since

    def is_active(self, elapsed_s: float) -> bool:
        """Whether the fault lasts at this moment."""
        return 0 <= self.offset(elapsed_s) < self.lasts_s

    def is_felt(self, elapsed_s: float) -> bool:
        """Whether the telemetry differs from the model's: while the fault lasts, and while it fades."""
        return 0 <= self.offset(elapsed_s) < self.lasts_s + self.fault.fade_s

    def happenings(self, after_s: float, until_s: float) -> Iterator[tuple[float, Sample]]:
        """What the fault causes in (after_s, until_s], with its second."""
        for begin in self._begins(until_s):
            for moment, sample in self._once():
                if after_s < begin + moment <= until_s:
                    yield begin + moment, sample

    def _once(self) -> Iterator[tuple[float, Sample]]:
        for happening in self.fault.happenings:
            if happening.at_s < self.lasts_s:
                yield happening.at_s, happening.sample
        for sample in self.fault.closing:
            yield self.lasts_s, sample

    def _begins(self, until_s: float) -> Iterator[float]:
        """The begin that could still matter and the one before it: a fault ends before it comes again."""
        if until_s < self.start_s:
            return
        last = math.floor((until_s - self.start_s) / self.every_s) if self.every_s else 0
        for times in range(max(0, last - 1), last + 1):
            yield self.start_s + times * self.every_s


class FaultyDevice:
    """A device with its faults. Without windows it is the device itself."""

    def __init__(self, device: Device, windows: tuple[Window, ...] = ()) -> None:
        self._device = device
        self._windows = windows
        self._elapsed_s = 0.0
        self._told_s = -1.0  # before second 0, so that what falls on it is told
        self._held: list[Sample] = []

    def step(self, now_ms: int, dt_s: float) -> list[Sample]:
        """Telemetry as the faults leave it, then what they caused in this step, by its moments."""
        self._elapsed_s += dt_s
        samples = [self._overlaid(sample) for sample in self._advance(now_ms, dt_s)]
        samples += self._caused()
        if any(window.fault.silent for window in self._active()):
            return [sample for sample in samples if sample.channel is Channel.STATUS]
        return samples

    def _active(self) -> list[Window]:
        return [window for window in self._windows if window.is_active(self._elapsed_s)]

    def _advance(self, now_ms: int, dt_s: float) -> list[Sample]:
        holds = any(window.fault.holds for window in self._active())
        if not (holds and self._held):
            samples = self._device.step(now_ms, dt_s)
            self._held = [sample for sample in samples if sample.channel is Channel.TELEMETRY]
            return samples
        return self._held

    def _overlaid(self, sample: Sample) -> Sample:
        if sample.channel is not Channel.TELEMETRY:
            return sample
        fields = sample.fields
        for window in self._windows:
            if window.is_felt(self._elapsed_s):
                fields = window.fault.change(fields, window.offset(self._elapsed_s), window.lasts_s)
        return Sample(sample.channel, fields)

    def _caused(self) -> list[Sample]:
        after_s, self._told_s = self._told_s, self._elapsed_s
        caused = [pair for window in self._windows for pair in window.happenings(after_s, self._elapsed_s)]
        return [sample for _, sample in sorted(caused, key=lambda pair: pair[0])]
