"""The lines between simulated devices and the broker: one for all, or one each with a last will of its own.

MQTT permits one last will for each connection, and the wire contract has one status for each equipment. So a last will
of the broker needs a connection for each equipment; if there are too many, the simulator publishes it instead.
"""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Protocol, Self

from collectors.wire.fields import Channel
from collectors.wire.topics import Topic
from simulators.estate import Estate
from simulators.outlet import Outlet
from simulators.publisher import BrokerAddress, Publisher
from simulators.simulation import Message

MOST_OWN: Final = 64
"""Limit of equipments with a connection each; every connection is a thread here and a session at the broker."""
_LAST_WILL: Final = b'{"online":false}'


class Lines(Protocol):
    """Takes the messages of a simulation."""

    async def send(self, message: Message) -> None:
        """Send one message, or break the line of its equipment."""


class SharedLine:
    """One connection for the whole estate: last wills are published like everything else."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    async def send(self, message: Message) -> None:
        await self._outlet.publish(message.topic, message.payload, retain=message.retained)


class OwnLines:
    """One connection for each equipment. A device that goes offline breaks it, and the broker publishes the last will.

    async with OwnLines(address, estate) as lines:
        await lines.send(message)
    """

    def __init__(self, address: BrokerAddress, estate: Estate) -> None:
        self._address = address
        self._statuses = {
            _equipment_of(topic): topic
            for topic in (str(Topic(estate.site, item.kind, item.code, Channel.STATUS)) for item in estate.equipment)
        }
        self._publishers: dict[str, Publisher] = {}

    async def __aenter__(self) -> Self:
        """Connect all equipment.

        Raises:
            PublisherError: refused, or no answer in time.
        """
        results = await asyncio.gather(*map(self._publisher, self._statuses), return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        if failed:
            await self._part(self._publishers.values())
            raise failed[0]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._part(self._publishers.values())

    async def send(self, message: Message) -> None:
        equipment = _equipment_of(message.topic)
        if message.line_broken:
            gone = self._publishers.pop(equipment, None)
            if gone is not None:
                await gone.flush()
                await gone.break_off()
            return
        publisher = await self._publisher(equipment)
        await publisher.publish(message.topic, message.payload, retain=message.retained)

    async def _publisher(self, equipment: str) -> Publisher:
        found = self._publishers.get(equipment)
        if found is None:
            will = (self._statuses[equipment], _LAST_WILL)
            found = await Publisher(self._address, last_will=will).__aenter__()
            self._publishers[equipment] = found
        return found

    @staticmethod
    async def _part(publishers: Iterable[Publisher]) -> None:
        await asyncio.gather(*(publisher.__aexit__(None, None, None) for publisher in publishers))


def _equipment_of(topic: str) -> str:
    """The topic without its channel."""
    return topic.rpartition("/")[0]
