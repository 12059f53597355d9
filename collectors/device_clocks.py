"""Determines the current value, its freshness, and whether a device's clock is doubtful. Pure.

The result is a flag on the reading, so that every consumer of readings applies the same rule.

* The current value of a field is the one measured last. If the clock that measured it is not reliable (ahead, behind,
  never set, or no time given), the time of receipt replaces the time of measurement: `rank_of`.
* A value is as fresh as the receipt of the last new sample: `is_life`. A message that a bridge repeats with an
  unchanged time, or that a broker retained, is not new. Older samples that arrive late are not the current value, so
  they do not refresh it.
* A clock is ahead when it shows more than five minutes after the receipt, and never set when it shows a time before
  2000. It is behind when for a minute only samples more than five minutes old have arrived, at the pace of real
  time: a device that was disconnected sends its stored samples much faster than that.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from collectors.wire.reading import Quality, Reading, Value
from collectors.wire.topics import Topic

BEHIND_MS: Final = 300_000
"""The same limit as for a clock that is ahead (`Quality.FUTURE`)."""
SURE_AFTER_MS: Final = 60_000
NEVER_SET_MS: Final = 946_684_800_000
"""2000-01-01: no device measured anything before."""
_FASTEST: Final = 2
"""Multiple of real time: a device that is faster is sending stored samples."""
_MOST_CHANNELS: Final = 50_000
_MOST_FORMS: Final = 16
"""Sets of fields of one channel whose last old time is remembered."""
_NO_TIME: Final = int(Quality.NO_TIME)
_FUTURE: Final = int(Quality.FUTURE)
_WRONG: Final = int(Quality.CLOCK_WRONG)
_BY_RECEIPT: Final = int(Quality.FUTURE | Quality.CLOCK_WRONG)
_NOT_LIFE: Final = int(Quality.REPEATED | Quality.RETAINED)


class Doubt(StrEnum):
    """The fault of a device's clock."""

    NONE = ""
    AHEAD = "ahead"
    BEHIND = "behind"
    NEVER_SET = "never_set"


class Doubtful(NamedTuple):
    """The clock of an equipment is doubtful, or (`doubt` is NONE) reliable again."""

    site: str
    equipment: str
    doubt: Doubt
    lag_ms: int
    """How far behind the time of receipt it is; negative if it is ahead."""


MakeEvent = Callable[[Doubtful, int], Reading]
"""Makes an event of a change, at a time (epoch ms)."""
Who = tuple[str, str]
"""(site, equipment)."""


def rank_of(reading: Reading) -> int:
    """The time by which samples are ordered (epoch ms); the greatest is the current value."""
    quality = reading.quality
    if quality & _BY_RECEIPT or (quality & _NO_TIME and not reading.redelivered):
        return reading.received_at
    return reading.measured_at


def is_life(reading: Reading) -> bool:
    """Whether the sample is new, and so shows that the device is alive."""
    return not reading.quality & _NOT_LIFE


def doubt_of(reading: Reading) -> Doubt:
    """The state of the device's clock by this sample."""
    if reading.quality & _WRONG:
        return Doubt.NEVER_SET if reading.measured_at < NEVER_SET_MS else Doubt.BEHIND
    return Doubt.AHEAD if reading.quality & _FUTURE else Doubt.NONE


class _Channel:
    """State of the timestamps of one channel."""

    __slots__ = ("doubt", "fields", "first_at", "newest", "old_since", "past")

    def __init__(self) -> None:
        self.newest = -1
        self.fields: dict[str, Value] = {}
        self.doubt = Doubt.NONE
        # Start of a run of old samples: by receipt, and by their own time.
        self.old_since, self.first_at = 0, 0
        # Set of fields -> the last time that was older than the newest, and its fields.
        self.past: dict[tuple[str, ...], tuple[int, dict[str, Value]]] = {}


class DeviceClocks:
    """Checks the time of every sample, in the order of arrival."""

    def __init__(self, make_event: MakeEvent | None = None, doubtful: Iterable[Who] = ()) -> None:
        """Begin with the clocks that are on record as `doubtful`; `make_event` makes an event of each change."""
        self._make_event = make_event
        self._channels: dict[Topic, _Channel] = {}
        self._doubtful: dict[Who, set[Topic | None]] = {who: {None} for who in doubtful}

    def note(self, readings: Sequence[Reading]) -> list[Reading]:
        """Flag readings that repeat or whose clock is wrong; return events of clocks that became doubtful or good."""
        events: list[Reading] = []
        channels = self._channels
        for reading in readings:
            channel = channels.get(reading.topic)
            if channel is None:
                channel = self._add(reading.topic)
            if reading.quality & _NO_TIME:
                doubt = Doubt.NONE
            else:
                at = reading.measured_at
                if at > channel.newest:
                    channel.newest, channel.fields = at, reading.fields
                else:
                    _compare(channel, reading)
                doubt = _doubt(channel, reading)
            if doubt is not channel.doubt or self._doubtful:
                events += self._judge(channel, reading, doubt)
        return events

    def _add(self, topic: Topic) -> _Channel:
        if len(self._channels) >= _MOST_CHANNELS:
            self._channels.clear()
        channel = self._channels[topic] = _Channel()
        return channel

    def _judge(self, channel: _Channel, reading: Reading, doubt: Doubt) -> list[Reading]:
        channel.doubt = doubt
        topic = reading.topic
        who = (topic.site, topic.equipment)
        before = self._doubtful.get(who)
        if doubt:
            self._doubtful.setdefault(who, set()).add(topic)
        elif before and not (reading.quality & _NO_TIME and topic not in before):
            before -= {topic, None}
            if not before:
                del self._doubtful[who]
        if (who in self._doubtful) is (before is not None) or self._make_event is None:
            return []
        lag = reading.received_at - reading.measured_at
        return [self._make_event(Doubtful(*who, doubt, lag), reading.received_at)]


def _compare(channel: _Channel, reading: Reading) -> None:
    """Flag a sample that is not newer than the newest if it repeats an earlier one."""
    at, fields = reading.measured_at, reading.fields
    if at == channel.newest:
        if fields == channel.fields:
            reading.quality |= Quality.REPEATED
        channel.fields = fields
        return
    form = tuple(fields)
    if channel.past.get(form) == (at, fields):
        reading.quality |= Quality.REPEATED
    elif form in channel.past or len(channel.past) < _MOST_FORMS:
        channel.past[form] = (at, fields)


def _doubt(channel: _Channel, reading: Reading) -> Doubt:
    at, received_at = reading.measured_at, reading.received_at
    if received_at - at <= BEHIND_MS:
        channel.old_since = 0
        return Doubt.AHEAD if reading.quality & _FUTURE else Doubt.NONE
    if at < NEVER_SET_MS or (channel.doubt is Doubt.BEHIND and not _catches_up(channel, reading)):
        reading.quality |= Quality.CLOCK_WRONG
        return Doubt.NEVER_SET if at < NEVER_SET_MS else Doubt.BEHIND
    if reading.quality & Quality.REPEATED:
        return channel.doubt
    if not channel.old_since or received_at < channel.old_since or at < channel.first_at:
        channel.old_since, channel.first_at = received_at, at
        return Doubt.NONE
    if received_at - channel.old_since < SURE_AFTER_MS or _catches_up(channel, reading):
        return Doubt.NONE
    reading.quality |= Quality.CLOCK_WRONG
    return Doubt.BEHIND


def _catches_up(channel: _Channel, reading: Reading) -> bool:
    """Whether its samples were measured further apart than they arrive."""
    passed = reading.received_at - channel.old_since
    return reading.measured_at - channel.first_at > _FASTEST * passed + BEHIND_MS // 10
