"""One sample of one equipment, whatever its format was."""

from datetime import UTC, datetime
from enum import IntFlag
from typing import TypeAlias

import msgspec

from collectors.wire.topics import Topic

Value: TypeAlias = float | bool | str
"""A field's value: numbers are float64 from the wire to the store."""


class Quality(IntFlag):
    """Quality flags of a reading. A doubtful reading is kept and flagged."""

    GOOD = 0
    NO_TIME = 1
    """No `at`: the time of receipt is used. Without `seq` too it is stored at least once, not exactly once."""
    FUTURE = 2
    """Measured more than five minutes after it was received: the device's clock is ahead."""
    OLD = 4
    """Measured more than seven days before it was received."""
    LATE = 8
    """Received after the window in which it could still have corrected an alarm."""
    PARTIAL = 16
    """Some fields of the sample could not be read and were left out."""
    UNKNOWN_FIELD = 32
    """Has fields that the contract does not define."""
    RETAINED = 64
    """Retained by the broker, without a time of its own: shown if nothing newer is known. For life safety it raises its
    alarm, once."""
    CONVERTED = 128
    """Its framing, its encoding or the spelling of a value was not the contract's, but could be read."""
    IMPLAUSIBLE = 256
    """A value is outside the plausible range of its field: stored and shown; only the rule `doubtful` evaluates it."""
    OTHER_UNIT = 1 << 13
    """Its `at` was given in seconds, microseconds or nanoseconds, and was read as such."""
    CLOCK_WRONG = 1 << 14
    """The device's clock is behind, or was never set: the time of receipt counts."""
    REPEATED = 1 << 15
    """The same time and fields as before, or retained by the broker: no sign that the device is alive."""

    def names(self) -> list[str]:
        """The flags as lower-case words, for display and JSON."""
        return [flag.name.lower() for flag in type(self) if flag in self and flag.name and flag.value]


class Reading(msgspec.Struct, gc=False):
    """One sample.

    `measured_at` and `received_at` are epoch milliseconds UTC. `key` is the sample's time key in
    nanoseconds (measured_at plus the sequence number's last six digits): two deliveries of one sample have the
    same key, two samples of one millisecond that carry a `seq` have different ones.
    """

    topic: Topic
    fields: dict[str, Value]
    measured_at: int
    received_at: int
    key: int
    seq: int | None = None
    quality: int = 0
    part: str = ""
    redelivered: bool = False
    """The broker marked it as redelivered (DUP): it was probably received before."""
    digest: str = ""
    """For events: hash of topic and sample, which identifies a redelivery. Empty for telemetry."""
    site_name: str = ""
    """The site's name in the message, if it differs from the site's code."""
    equipment_name: str = ""
    """The equipment's name in the message, if it differs from the equipment's code."""


def to_datetime(milliseconds: int) -> datetime:
    """Epoch milliseconds as an aware UTC time."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def to_milliseconds(moment: datetime) -> int:
    """An aware time as epoch milliseconds, exact to the millisecond."""
    return int(moment.timestamp() * 1000 + 0.5)
