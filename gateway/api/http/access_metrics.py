"""Metrics of refused logins and throttled requests: they show guessing and request floods."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter

_LOGIN_REFUSALS: Final = frozenset(
    {"bad_credentials", "second_factor_needed", "second_factor_wrong", "too_many_attempts", "busy"}
)
"""Problems that only a password check ends with, at the login or on one's own account."""
_WRONG_PASSWORD: Final = {"wrong_password": "bad_credentials", "wrong_code": "second_factor_wrong"}


class AccessMetrics:
    """Counts problem answers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._refused = Counter(
            "gengfu_logins_refused", "Refused passwords and codes, by reason", ["reason"], registry=registry
        )
        self._throttled = Counter("gengfu_requests_throttled", "Requests refused by a rate limit", registry=registry)
        for reason in _LOGIN_REFUSALS:
            self._refused.labels(reason)  # 0 from the start, so that the first one is an increase

    def note(self, code: str) -> None:
        """A request has ended with this problem."""
        reason = _WRONG_PASSWORD.get(code, code)
        if reason in _LOGIN_REFUSALS:
            self._refused.labels(reason).inc()
        elif code == "too_many_requests":
            self._throttled.inc()
