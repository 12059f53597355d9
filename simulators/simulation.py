"""When which equipment reports, and what. Has no clock: it is told the seconds since the start."""

import heapq
import math
from collections.abc import Iterator

from collectors.topics import Topic
from simulators.devices.build import AnySpec, build_device
from simulators.estate import Estate
from simulators.faulty_device import FaultyDevice
from simulators.samples import Sample, encode_sample
from simulators.scenario import Scenario, check_scenario


class _Reporter:
    """One equipment: its model, its rhythm and its sequence numbers."""

    def __init__(self, spec: AnySpec, device: FaultyDevice, first_s: float, period_s: float) -> None:
        self.spec = spec
        self._device = device
        self._first_s = first_s
        self._period_s = period_s
        self._stepped_s = 0.0
        self._seq = 0
        self.due_s = first_s

    def report(self, elapsed_s: float, now_ms: int) -> list[tuple[Sample, int, int]]:
        """Samples of this step with their `at` and `seq`; sets the next due time.

        Due times are multiples of the period, not "now plus period": no drift. Periods that were missed are
        skipped, so a broker that was away is not flooded.
        """
        missed = max(0, math.floor((elapsed_s - self.due_s) / self._period_s))
        moment_s = self.due_s + missed * self._period_s
        at_ms = now_ms - round((elapsed_s - moment_s) * 1000)
        samples = self._device.step(at_ms, moment_s - self._stepped_s)
        self._stepped_s = moment_s
        self.due_s = moment_s + self._period_s
        return [(sample, at_ms, self._next_seq()) for sample in samples]

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq


class Simulation:
    """An estate going through a scenario. The same seed and the same times give the same run."""

    def __init__(self, estate: Estate, scenario: Scenario, *, seed: int, rate: float = 1.0) -> None:
        check_scenario(scenario, estate)
        self._site = estate.site
        self._queue: list[tuple[float, int, _Reporter]] = []
        for number, spec in enumerate(estate.equipment):
            device = FaultyDevice(build_device(spec, seed), scenario.windows(spec.code))
            period_s = spec.every_s / rate
            # spread over the period, so that not everything reports in one burst
            reporter = _Reporter(spec, device, period_s * number / len(estate.equipment), period_s)
            heapq.heappush(self._queue, (reporter.due_s, number, reporter))

    @property
    def due_s(self) -> float:
        """When the next report is due, in seconds since the start."""
        return self._queue[0][0]

    def due_messages(self, elapsed_s: float, now_ms: int) -> Iterator[tuple[str, bytes, bool]]:
        """Topic, payload and whether to retain, of all that is due by now (epoch milliseconds)."""
        while self.due_s <= elapsed_s:
            _, number, reporter = self._queue[0]
            for sample, at_ms, seq in reporter.report(elapsed_s, now_ms):
                topic = str(Topic(self._site, reporter.spec.kind, reporter.spec.code, sample.channel))
                yield topic, encode_sample(sample.fields, at_ms, seq), sample.retained
            heapq.heapreplace(self._queue, (reporter.due_s, number, reporter))
