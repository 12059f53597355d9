"""Times as numbers: milliseconds since 1970, or unambiguously another unit. Pure."""

from typing import Final

_FIRST_MS: Final = 946_684_800_000
"""2000-01-01."""
_LAST_MS: Final = 4_102_444_800_000
"""2100-01-01."""
_UNITS: Final = (1_000.0, 0.001, 0.000_001)
"""Milliseconds in a second, a microsecond and a nanosecond. No number is a time of this century in two units."""


def read_epoch(number: float) -> tuple[int, bool]:
    """Epoch milliseconds, and whether they were given in another unit.

    A number that is not a time of this century in milliseconds, but is one in seconds, microseconds or nanoseconds, is
    converted from that unit. Any other is returned unchanged.
    """
    if not _FIRST_MS <= number <= _LAST_MS:
        for factor in _UNITS:
            if _FIRST_MS <= number * factor <= _LAST_MS:
                return int(number * factor), True
    return int(number), False
