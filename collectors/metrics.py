"""What ingest counts, for `/metrics`."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class IngestMetrics:
    """Counters of the way of a message, in a registry of their own so that two services in a test do not share."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.messages = Counter("gengfu_messages", "Messages received from the broker", registry=registry)
        self.acknowledged = Counter(
            "gengfu_messages_acknowledged",
            "Messages brought to their end and acknowledged",
            registry=registry,
        )
        self.readings = Counter("gengfu_readings", "Readings decoded from messages", registry=registry)
        self.faults = Counter(
            "gengfu_decode_failures", "Messages, samples or fields put aside", ["reason"], registry=registry
        )
        self.doubtful = Counter(
            "gengfu_doubtful_readings", "Readings kept with a quality flag", ["flag"], registry=registry
        )
        self.waiting = Gauge("gengfu_messages_waiting", "Messages received and not yet decoded", registry=registry)
        self.buffer = Gauge(
            "gengfu_buffer_depth", "Messages that are decided and wait to become durable", registry=registry
        )
        self.connected = Gauge("gengfu_broker_connected", "1 while the broker is connected", registry=registry)
        self.turned_away = Gauge(
            "gengfu_equipment_turned_away",
            "Unknown equipment beyond the limit: judged, but not listed",
            registry=registry,
        )
        self.acknowledgement = Histogram(
            "gengfu_acknowledgement_lag_seconds",
            "Time from receipt of a batch's oldest message to its acknowledgement",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
