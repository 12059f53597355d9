"""Whether an event with a known digest is a redelivery. Pure.

In doubt it is treated as new: reporting a fire twice is safer than missing one. Redelivered events arrive in order, so
the final state is correct either way.
"""

from typing import Final, NamedTuple

from collectors.payloads.samples import digest
from collectors.wire.fields import Kind
from collectors.wire.reading import Quality, Reading

_DOUBTFUL_CLOCK: Final = int(Quality.OLD | Quality.FUTURE | Quality.CLOCK_WRONG)
_REDELIVERED_WITHIN_MS: Final = 3_600_000
"""A broker redelivers unacknowledged messages when the connection is back."""
_SECOND_MS: Final = 1_000
_NANOSECONDS: Final = 1_000_000


class FirstDelivery(NamedTuple):
    """The first event with a digest; `received_at` in epoch ms."""

    quality: int
    received_at: int


def first_delivery(reading: Reading) -> FirstDelivery:
    """The record of an event received for the first time."""
    return FirstDelivery(reading.quality, reading.received_at)


def is_repeat(reading: Reading, first: FirstDelivery, newest: Reading | None) -> bool:
    """Whether an event is the first one delivered again.

    Args:
        reading: an event with the digest of an earlier one.
        first: the earlier event.
        newest: the last event of the same equipment before it; None where that is not known.
    """
    if reading.redelivered and reading.received_at - first.received_at <= _REDELIVERED_WITHIN_MS:
        return True
    if first.quality & _DOUBTFUL_CLOCK:
        return False  # a clock without a battery shows the same times after each start
    return not _is_anew_in_one_second(reading, newest)


def _is_anew_in_one_second(reading: Reading, newest: Reading | None) -> bool:
    """Fire, clear and fire again within one second, by a panel with whole-second times and no sequence numbers."""
    return (
        reading.topic.kind is Kind.FIRE_PANEL
        and not reading.redelivered
        and reading.seq is None
        and reading.measured_at % _SECOND_MS == 0
        and newest is not None
        and newest.digest != reading.digest
        and newest.measured_at == reading.measured_at
    )


def renumber(reading: Reading, number: int) -> None:
    """Give an event a new identity; `number` distinguishes events of one millisecond."""
    reading.key = reading.received_at * _NANOSECONDS + number % _NANOSECONDS
    reading.digest = digest(reading)
