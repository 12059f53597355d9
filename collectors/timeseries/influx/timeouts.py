"""How long a server is waited for: long enough for what it does now, not for ever for what it never does."""

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_LONGEST_S: Final = 300.0
_ROOM: Final = 4.0
"""As many times the duration of the last success may the next one take."""


class Patience:
    """A limit that doubles whenever it was too short, and comes back when the server is quick again.

    The first rollups of a year, or the first lines of fifty weeks that the server has not heard of, take it minutes.
    """

    def __init__(self, least_s: float) -> None:
        self._least_s = least_s
        self.limit_s = least_s

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Learn from what is done in the block: from its duration, or from the TimeoutError that it ends with."""
        began = time.monotonic()
        try:
            yield
        except TimeoutError:
            self.limit_s = min(self.limit_s * 2, max(_LONGEST_S, self._least_s))
            raise
        took = time.monotonic() - began
        self.limit_s = max(self._least_s, min(_ROOM * took, _LONGEST_S))


def seconds_to_wait(retry_after: str, now: datetime) -> float:
    """What a Retry-After header asks for: seconds, or a date (RFC 9110, 10.2.3); 0 where it is neither."""
    text = retry_after.strip()
    if text.isdigit():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds())
