"""Counts and reports rules that could not be applied or written, and selects readings for the quarantine."""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter

from collectors.message_reader import Quarantined
from collectors.payloads.faults import Reason
from collectors.wire.reading import Reading
from gateway.alarms.evaluation.outcomes import Failure
from gateway.alarms.key import Key
from gateway.storage.outbox.isolate_failure import reason_of
from gateway.storage.outbox.outbox import SHOWN_MS

log = structlog.get_logger(__name__)

_ONE_KEPT_MS: Final = 60_000
"""Of one rule that keeps failing on telemetry, one reading is quarantined in this time; of events each."""


class Failures:
    """Failures of the last day, by key."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._last: dict[Key, int] = {}
        self._kept: dict[Key, int] = {}
        self._total = Counter(
            "gengfu_decision_failures",
            "Readings to which a rule could not be applied, or whose alarm could not be written",
            ["rule"],
            registry=registry,
        )

    @property
    def notice(self) -> str:
        """A notice for the administrator while the work goes on; "" if there is none."""
        since = self._clock() - SHOWN_MS
        self._last = {key: at for key, at in self._last.items() if at > since}
        names = sorted({_name(key) for key in self._last})
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f"not judged in the last 24 h: {', '.join(names[:3])}{more}, see the log" if names else ""

    def note(self, failures: Iterable[Failure]) -> list[Quarantined]:
        """Count and log failures. Returns the readings to quarantine."""
        now, kept = self._clock(), list[Quarantined]()
        self._kept = {key: at for key, at in self._kept.items() if now - at < _ONE_KEPT_MS}
        for key, error, reading in failures:
            self._total.labels(key.rule).inc()
            if abs(now - self._last.get(key, 0)) > _ONE_KEPT_MS:  # absolute: the clock may be set back
                log.error(
                    "an alarm could not be decided: look at this equipment by hand, then report this line",
                    equipment=f"{key.site}:{key.equipment}", rule=key.rule, part=key.part, why=reason_of(error),
                    exc_info=error,
                )  # fmt: skip
            self._last[key] = now
            if reading is not None and (reading.digest or abs(now - self._kept.get(key, 0)) >= _ONE_KEPT_MS):
                self._kept[key] = now
                kept.append(_quarantined(key, error, reading))
        return kept


def _name(key: Key) -> str:
    return f"{key.site}:{key.equipment} {key.rule}".rstrip()


def _quarantined(key: Key, error: Exception, reading: Reading) -> Quarantined:
    payload = msgspec.json.encode(reading.fields)
    detail = f"rule {key.rule or 'unknown'}: {reason_of(error)}"
    return Quarantined(reading.received_at, str(reading.topic), payload, len(payload), Reason.NOT_DECIDED.value, detail)
