"""Adaptive timeouts: they follow the speed of the server within limits."""

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_LONGEST_S: Final = 300.0
_ROOM: Final = 4.0
"""Timeout as a multiple of the duration of the last success."""


class Patience:
    """A timeout that doubles whenever it was too short, and shrinks when the server is fast again.

    The first rollups of a year, or the first lines of fifty weeks that the server has no shards for, take minutes.
    """

    def __init__(self, least_s: float) -> None:
        self._least_s = least_s
        self.limit_s = least_s

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Adapt to the block: to its duration, or to the TimeoutError that it ends with."""
        began = time.monotonic()
        try:
            yield
        except TimeoutError:
            self.limit_s = min(self.limit_s * 2, max(_LONGEST_S, self._least_s))
            raise
        took = time.monotonic() - began
        self.limit_s = max(self._least_s, min(_ROOM * took, _LONGEST_S))


def seconds_to_wait(retry_after: str, now: datetime) -> float:
    """The delay of a Retry-After header: seconds, or a date (RFC 9110, 10.2.3); 0 if it is neither."""
    text = retry_after.strip()
    if text.isdigit():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds())
