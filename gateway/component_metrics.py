"""The state of each component in `/readyz`, as a metric for alerts in Prometheus."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.disk.damaged_files import kept_aside


class ComponentStates(Collector):
    """Reads the states at every scrape, so that no component has to report a change."""

    def __init__(self, components: Callable[[], Mapping[str, str]], ready: str) -> None:
        self._components = components
        self._ready = ready

    def collect(self) -> Iterable[Metric]:
        gauge = GaugeMetricFamily(
            "gengfu_component_ready", "1 while a component works; /readyz shows what it waits for", labels=["component"]
        )
        for component, state in self._components().items():
            gauge.add_metric([component], float(state == self._ready))
        yield gauge


class DamagedFiles(Collector):
    """Number of damaged files in a folder that the administrator has not removed yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "gengfu_damaged_files",
            "Damaged files that were replaced; inspect and remove them",
            value=len(kept_aside(self._folder)),
        )
