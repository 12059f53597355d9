"""What one sample of one equipment says, however it came."""

from datetime import UTC, datetime
from enum import IntFlag
from typing import TypeAlias

import msgspec

from collectors.wire.topics import Topic

Value: TypeAlias = float | bool | str
"""A field's value: numbers are float64 from the wire to the store."""


class Quality(IntFlag):
    """What is doubtful about a reading. A doubtful reading is kept; who reads it can tell."""

    GOOD = 0
    NO_TIME = 1
    """No `at`: the time of receipt stands in. Without `seq` too it is kept at least once, not exactly once."""
    FUTURE = 2
    """Measured more than five minutes after it was received: the device's clock is ahead."""
    OLD = 4
    """Measured more than seven days before it was received."""
    LATE = 8
    """Came after the window in which it could still have corrected an alarm."""
    PARTIAL = 16
    """Some fields of the sample could not be read and were left out."""
    UNKNOWN_FIELD = 32
    """Has fields that the contract does not name."""
    RETAINED = 64
    """Kept by the broker from some time before, without a time of its own: shown where nothing newer is known. Of life
    safety it raises its alarm, once."""
    CONVERTED = 128
    """Its framing, its encoding or the spelling of a value was not the contract's, and could be read all the same."""
    IMPLAUSIBLE = 256
    """A value lies outside the plausible range of its field: stored and shown; only the rule `doubtful` judges it."""
    OTHER_UNIT = 1 << 13
    """Its `at` was given in seconds, microseconds or nanoseconds, and was read as such."""
    CLOCK_WRONG = 1 << 14
    """The device's clock is behind, or was never set: the reading counts when it came."""
    REPEATED = 1 << 15
    """The same time and fields as before, or kept by the broker: no sign that the device is alive."""

    def names(self) -> list[str]:
        """The flags as lower-case words, for people and for JSON."""
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
    """The broker sends it again (the DUP mark): a second delivery is likely."""
    digest: str = ""
    """For events: hash of topic and sample, by which a second delivery is known. Empty for telemetry."""
    site_name: str = ""
    """What the device calls its site, where that differs from the site's code."""
    equipment_name: str = ""
    """What the device is called in its messages, where that differs from the equipment's code."""


def to_datetime(milliseconds: int) -> datetime:
    """Epoch milliseconds as an aware UTC time."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def to_milliseconds(moment: datetime) -> int:
    """An aware time as epoch milliseconds, exact to the millisecond."""
    return int(moment.timestamp() * 1000 + 0.5)
