"""Messages for a service on the data's clock: dated by the data when taken; the clock moves when they are evaluated.

    broker -> DatedSource (each batch has one date) -> collector -> DataTime (ticks, moves the clock) -> decision

The clock never passes the oldest message that is not decided: a tick between two batches sees what it would have seen
in the building, however many messages wait. So the same data give the same alarms, however they are cut into batches.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from collectors.collector import Source
from collectors.mqtt.message import Message
from collectors.payloads.format_by_topic import Decoder, decode_by
from collectors.payloads.samples import Decoded
from collectors.wire.fields import Kind
from collectors.wire.reading import Quality, Reading
from gateway.alarms.evaluation.progress import Progress
from gateway.clocks import DataClock

_NS_PER_MS = 1_000_000


class DatedSource:
    """Sits between broker and collector: each message counts as received when its newest sample was measured.

    Before anything is measured that is the time of the clock, and no message counts as received before the one ahead of
    it. A batch holds messages of one date only.
    """

    def __init__(self, source: Source, decoder: Decoder, clock: DataClock) -> None:
        self._source = source
        self._decoder = decoder
        self._newest_ms = clock()
        self._undated: deque[Message] = deque()
        self._next: Message | None = None

    async def next_batch(self, most: int) -> list[Message]:
        if self._peek() is None:
            self._undated.extend(await self._source.next_batch(most))
        batch: list[Message] = []
        while len(batch) < most:
            following = self._peek()
            if following is None or (batch and following.received_ns != batch[0].received_ns):
                break
            batch.append(following)
            self._next = None
        return batch

    def acknowledge(self, messages: Sequence[Message]) -> None:
        self._source.acknowledge(messages)

    def _peek(self) -> Message | None:
        """The next message, dated; None where none has been taken from the source that was not handed on."""
        if self._next is None and self._undated:
            self._next = self._dated(self._undated.popleft())
        return self._next

    def _dated(self, message: Message) -> Message:
        for reading in self._decode(message).readings:
            if not reading.quality & Quality.NO_TIME:
                self._newest_ms = max(self._newest_ms, reading.measured_at)
        return msgspec.structs.replace(message, received_ns=self._newest_ms * _NS_PER_MS)

    def _decode(self, message: Message) -> Decoded:
        """Decode a second time: speed is irrelevant on this clock."""
        return decode_by(self._decoder.route(message.topic), message.payload, self._newest_ms)


class DataTime:
    """Moves the data's clock to readings that are about to be decided, and runs what is due before them."""

    def __init__(
        self, clock: DataClock, catch_up: Callable[[], Awaitable[object]], tick: Callable[[], Awaitable[object]]
    ) -> None:
        """Move `clock`, after what was decided has been followed (`catch_up`); then let delays end (`tick`)."""
        self._clock = clock
        self._catch_up = catch_up
        self._tick = tick

    async def reach(self, readings: Sequence[Reading]) -> None:
        """Move the clock to when these were received; those of the platform itself move no clock."""
        newest = max((one.received_at for one in readings if one.topic.kind is not Kind.SYSTEM), default=0)
        if newest <= self._clock():
            return
        if self._clock():  # before the first data nothing is known that could be due
            await self._catch_up()
        self._clock.see(newest)
        await self._tick()


def judged_before(now: int) -> Progress:
    """How far evaluation has progressed: more samples of the current moment may follow."""
    return Progress(now - 1, is_behind=False)
