"""The metrics of ingest, for `/metrics`."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from collectors.spool.spool import Loss, Spool


class IngestMetrics:
    """Counters of messages, in a registry of their own so that two services in a test do not share them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.messages = Counter("gengfu_messages", "Messages received from the broker", registry=registry)
        self.acknowledged = Counter(
            "gengfu_messages_acknowledged",
            "Messages processed and acknowledged",
            registry=registry,
        )
        self.readings = Counter("gengfu_readings", "Readings decoded from messages", registry=registry)
        self.faults = Counter(
            "gengfu_decode_failures", "Messages, samples or fields quarantined", ["reason"], registry=registry
        )
        self.doubtful = Counter(
            "gengfu_doubtful_readings", "Readings kept with a quality flag", ["flag"], registry=registry
        )
        self.sampled = Counter(
            "gengfu_sampled_readings", "Readings of babbling equipment that were left out", registry=registry
        )
        self.waiting = Gauge("gengfu_messages_waiting", "Messages received and not yet decoded", registry=registry)
        self.buffer = Gauge("gengfu_buffer_depth", "Messages that are decided and not yet durable", registry=registry)
        self.connected = Gauge("gengfu_broker_connected", "1 while the broker is connected", registry=registry)
        self.rejected = Counter(
            "gengfu_equipment_rejected",
            "Unknown equipment beyond the limit, counted once a batch: evaluated, but not listed",
            registry=registry,
        )
        self.acknowledgement = Histogram(
            "gengfu_acknowledgement_lag_seconds",
            "Time from receipt of a batch's oldest message to its acknowledgement",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )


class HistoryMetrics:
    """Counters of readings on their way into the store."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lost_in_all = 0
        """Readings lost since the start, for any reason."""
        self.lost = Counter(
            "gengfu_history_lost_readings", "Readings lost before they reached the store", ["reason"], registry=registry
        )
        self.refused = Counter(
            "gengfu_history_refused_readings", "Readings rejected by the store and quarantined", registry=registry
        )
        self.reachable = Gauge("gengfu_history_reachable", "1 while the store accepts readings", registry=registry)
        self.waiting = Gauge("gengfu_spool_readings", "Readings in the spool on disk", registry=registry)
        self.bytes = Gauge("gengfu_spool_bytes", "Bytes of the spool on disk", registry=registry)
        self.used = Gauge("gengfu_spool_used_ratio", "Share of the spool's permitted size in use", registry=registry)
        self.rollups = Gauge(
            "gengfu_history_refused_rollups",
            "Rollups rejected by the store since the start; dropped",
            registry=registry,
        )
        self.reachable.set(1)
        for loss in Loss:
            self.lost.labels(loss.value)

    def lose(self, reason: Loss, readings: int) -> None:
        """Count lost readings. Any thread may call it."""
        self.lost.labels(reason.value).inc(readings)
        self.lost_in_all += readings

    def watch(self, spool: Spool) -> None:
        """Show the size of a spool from now on."""
        self.waiting.set_function(lambda: spool.waiting)
        self.bytes.set_function(lambda: spool.bytes)
        self.used.set_function(lambda: spool.used)
