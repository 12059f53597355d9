"""Whether an event that looks like one before is that one, delivered again. Pure.

In doubt it is a new one: a fire told twice is the lesser evil. What comes again comes in its order, so what stands in
the end is right all the same.
"""

from typing import Final, NamedTuple

from collectors.payloads.samples import digest
from collectors.wire.fields import Kind
from collectors.wire.reading import Quality, Reading

_DOUBTFUL_CLOCK: Final = int(Quality.OLD | Quality.FUTURE | Quality.CLOCK_WRONG)
_REDELIVERED_WITHIN_MS: Final = 3_600_000
"""A broker delivers again what it has no acknowledgement for when the connection is back."""
_SECOND_MS: Final = 1_000
_NANOSECONDS: Final = 1_000_000


class FirstDelivery(NamedTuple):
    """What is known of the event that came first with this digest; `received_at` in epoch ms."""

    quality: int
    received_at: int


def first_delivery(reading: Reading) -> FirstDelivery:
    """Of an event that has just come for the first time."""
    return FirstDelivery(reading.quality, reading.received_at)


def is_repeat(reading: Reading, first: FirstDelivery, newest: Reading | None) -> bool:
    """Whether it is the first one again.

    Args:
        reading: an event with the digest of an earlier one.
        first: that one.
        newest: the last event of the same equipment before it; None where that is not known.
    """
    if reading.redelivered and reading.received_at - first.received_at <= _REDELIVERED_WITHIN_MS:
        return True
    if first.quality & _DOUBTFUL_CLOCK:
        return False  # a clock without a battery shows the same times after each start
    return not _is_anew_in_one_second(reading, newest)


def _is_anew_in_one_second(reading: Reading, newest: Reading | None) -> bool:
    """Fire, clear and fire again, by a panel whose clock counts whole seconds and that numbers nothing."""
    return (
        reading.topic.kind is Kind.FIRE_PANEL
        and not reading.redelivered
        and reading.seq is None
        and reading.measured_at % _SECOND_MS == 0
        and newest is not None
        and newest.digest != reading.digest
        and newest.measured_at == reading.measured_at
    )


def name_anew(reading: Reading, number: int) -> None:
    """Give an event an identity of its own; `number` tells those of one millisecond apart."""
    reading.key = reading.received_at * _NANOSECONDS + number % _NANOSECONDS
    reading.digest = digest(reading)
