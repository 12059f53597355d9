"""Messages for a service that runs on the data's clock: each counts as received when its newest sample was measured."""

from collections.abc import Sequence

import msgspec

from collectors.collector import Source
from collectors.mqtt.message import Message
from collectors.payloads.decoder import Decoder, decode_by
from collectors.payloads.samples import Decoded
from collectors.reading import Quality
from gateway.clocks import DataClock

_NS_PER_MS = 1_000_000


class DatedSource:
    """Stands between broker and collector: moves the clock by the times in a message, then dates the message by it."""

    def __init__(self, source: Source, decoder: Decoder, clock: DataClock) -> None:
        self._source = source
        self._decoder = decoder
        self._clock = clock

    async def next_batch(self, most: int) -> list[Message]:
        return [self._dated(message) for message in await self._source.next_batch(most)]

    def acknowledge(self, messages: Sequence[Message]) -> None:
        self._source.acknowledge(messages)

    def _dated(self, message: Message) -> Message:
        for reading in self._decode(message).readings:
            if not reading.quality & Quality.NO_TIME:
                self._clock.see(reading.measured_at)
        return msgspec.structs.replace(message, received_ns=self._clock() * _NS_PER_MS)

    def _decode(self, message: Message) -> Decoded:
        """Read it once more than needed: nobody measures speed on this clock."""
        return decode_by(self._decoder.route(message.topic), message.payload, self._clock())
