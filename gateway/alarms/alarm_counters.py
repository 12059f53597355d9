"""Counters of the alarms for `/metrics`."""

from prometheus_client import CollectorRegistry, Counter, Histogram


class AlarmCounters:
    """Counters of the alarms for `/metrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.raised = Counter("gengfu_activations", "Activations", ["priority"], registry=registry)
        self.latency = Histogram(
            "gengfu_alarm_latency_seconds",
            "Time from receipt of the sample that raised an alarm to its commit",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=registry,
        )
        self.forgotten = Counter(
            "gengfu_unknown_equipment_forgotten",
            "Unknown equipment beyond the limit that was forgotten, the least recently active first",
            registry=registry,
        )
        self.retries = Counter("gengfu_decision_retries", "Decision transactions written again", registry=registry)
