"""Which parts of the service work, for `/metrics`: what `/readyz` says, as numbers that Prometheus can warn by."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.disk.damaged_files import kept_aside


class ComponentStates(Collector):
    """Asks at every scrape, so that no part has to remember to tell."""

    def __init__(self, parts: Callable[[], Mapping[str, str]], ready: str) -> None:
        self._parts = parts
        self._ready = ready

    def collect(self) -> Iterable[Metric]:
        gauge = GaugeMetricFamily(
            "gengfu_component_ready", "1 while a part works; /readyz says what it waits for", labels=["part"]
        )
        for part, state in self._parts().items():
            gauge.add_metric([part], float(state == self._ready))
        yield gauge


class DamagedFiles(Collector):
    """Counts the damaged files of a folder that wait for the administrator."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "gengfu_damaged_files",
            "Damaged files that were replaced and wait to be looked at and removed",
            value=len(kept_aside(self._folder)),
        )
