"""Determines when equipment reports, and what. Has no clock: the seconds since the start are passed in."""

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from collectors.wire.fields import Channel
from collectors.wire.topics import Topic
from simulators.devices.build import AnySpec, build_devices
from simulators.estate import Estate
from simulators.faults.fault import Link
from simulators.faults.faulty_device import FaultyDevice
from simulators.faults.scenario import Scenario, place
from simulators.samples import Sample, encode_sample, encode_samples

Stamp: TypeAlias = Callable[[float], int]
"""Seconds since the start -> the `at` of samples measured then, epoch milliseconds."""
_KEPT: Final = 3_600
"""Samples that a device stores while its line is down; the oldest are dropped first."""
_AT_ONCE: Final = 25
"""Samples that it sends in one message afterwards: well below the smallest limit of a broker, 20 KiB."""


class Message(msgspec.Struct, frozen=True):
    """One message to the broker."""

    topic: str
    payload: bytes
    retained: bool = False
    line_broken: bool = False
    """It is the last will: the device's own connection must break, so that the broker publishes it."""


class _Reporter:
    """One equipment: its model, its period, its sequence numbers and the samples stored while its line is down."""

    def __init__(self, site: str, spec: AnySpec, device: FaultyDevice, first_s: float, period_s: float) -> None:
        self._topics = {channel: str(Topic(site, spec.kind, spec.code, channel)) for channel in Channel}
        self._device = device
        self._period_s = period_s
        self._periodic_s = first_s
        self._seq = 0
        self._kept: dict[Channel, deque[tuple[Sample, int, int]]] = {}
        self.due_s = min(first_s, device.next_moment())

    def report(self, elapsed_s: float, now_ms: Callable[[float], int], stamp: Stamp) -> Iterator[Message]:
        """The messages of this step; sets the next due time.

        Due times are multiples of the period, not "now plus period": no drift. Periods that were missed are skipped,
        so a broker that was unavailable is not flooded; moments at which a fault changes something are not skipped.
        """
        moment_s = self.due_s
        if moment_s == self._periodic_s:
            latest_s = min(elapsed_s, self._device.next_moment())
            moment_s += max(0, math.floor((latest_s - moment_s) / self._period_s)) * self._period_s
        samples = self._device.step(moment_s, now_ms(moment_s))
        yield from self._say(samples, stamp(moment_s))
        period_s = self._period_s / self._device.hurry
        if moment_s >= self._periodic_s:
            self._periodic_s = moment_s + period_s
        self._periodic_s = min(self._periodic_s, moment_s + period_s)
        self.due_s = min(self._periodic_s, self._device.next_moment())

    def _say(self, samples: list[Sample], at_ms: int) -> Iterator[Message]:
        link = self._device.link
        for sample in samples:
            self._seq += 1
            if sample.channel is Channel.STATUS:
                payload = encode_sample(sample.fields, at_ms, self._seq)
                broken = sample.fields["online"] is False
                yield Message(self._topics[sample.channel], payload, retained=True, line_broken=broken)
                yield from self._deliver()
            elif link is Link.UP:
                yield Message(self._topics[sample.channel], encode_sample(sample.fields, at_ms, self._seq))
            elif link is Link.BUFFERED:
                kept = self._kept.setdefault(sample.channel, deque(maxlen=_KEPT))
                kept.append((sample, at_ms, self._seq))

    def _deliver(self) -> Iterator[Message]:
        """The stored samples, oldest first, some in one array."""
        kept, self._kept = self._kept, {}
        for channel, samples in kept.items():
            rows = [(sample.fields, at_ms, seq) for sample, at_ms, seq in samples]
            for first in range(0, len(rows), _AT_ONCE):
                yield Message(self._topics[channel], encode_samples(rows[first : first + _AT_ONCE]))


class Simulation:
    """An estate with a scenario. The same seed and the same times give the same run.

    `start_ms` is the simulated time at the start, `speed` the simulated seconds in a second. A device reports as often
    per second at any speed, `rate` times as often as in its description.
    """

    def __init__(
        self, estate: Estate, scenario: Scenario, *, seed: int, start_ms: int, rate: float = 1.0, speed: float = 1.0
    ) -> None:
        self._start_ms = start_ms
        self._queue: list[tuple[float, int, _Reporter]] = []
        windows = place(scenario, estate)
        devices = build_devices(estate.equipment, seed, ZoneInfo(estate.time_zone))
        for number, (spec, device) in enumerate(zip(estate.equipment, devices, strict=True)):
            period_s = spec.every_s * speed / rate
            # spread over the period, so that reports do not come in one burst
            first_s = period_s * number / len(estate.equipment)
            faulty = FaultyDevice(device, windows.get(spec.code, ()))
            reporter = _Reporter(estate.site, spec, faulty, first_s, period_s)
            heapq.heappush(self._queue, (reporter.due_s, number, reporter))

    @property
    def due_s(self) -> float:
        """When the next report is due, in simulated seconds since the start."""
        return self._queue[0][0]

    def due_messages(self, elapsed_s: float, stamp: Stamp) -> Iterator[Message]:
        """All that is due by now, oldest first."""
        while self.due_s <= elapsed_s:
            _, number, reporter = self._queue[0]
            yield from reporter.report(elapsed_s, self._now_ms, stamp)
            heapq.heapreplace(self._queue, (reporter.due_s, number, reporter))

    def _now_ms(self, moment_s: float) -> int:
        return self._start_ms + round(moment_s * 1000)
