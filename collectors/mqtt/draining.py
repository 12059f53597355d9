"""The last connection of a collector that is decommissioned: it drains its queued messages and receives no new ones.

Mosquitto also assigns messages of a shared subscription to a disconnected session. So the subscription is ended first,
then the queued messages are taken, and then the session is ended.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from paho.mqtt.client import Client
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from collectors.mqtt.broker import Broker, BrokerAddress

_LOOK_AGAIN_S: Final = 0.05


class DrainingBroker(Broker):
    """A session whose subscriptions are ended at each connection."""

    def __init__(self, address: BrokerAddress, subscriptions: Sequence[str], *, persistent: bool = True) -> None:
        super().__init__(address, subscriptions, persistent=persistent)
        self.found_session = False
        """Whether the broker had a session of this name."""
        self._answered_to: int | None = None
        self._client.on_unsubscribe = self._on_unsubscribe

    async def settle(self) -> None:
        """End the subscriptions and return when the broker has confirmed it.

        It answers in order: by then all messages that it sent before have arrived, and also those that it sent in
        reply to our earlier acknowledgements.
        """
        while True:
            while not self.connected:  # noqa: ASYNC110 - the connection's own task keeps it up
                await asyncio.sleep(_LOOK_AGAIN_S)
            connection = self._inbox.connection
            _, mid = self._client.unsubscribe(list(self.subscriptions))
            while self._inbox.connection == connection:
                if self._answered_to == mid:
                    return
                await asyncio.sleep(_LOOK_AGAIN_S)

    def _take_up(self, client: Client, *, is_known: bool) -> None:
        client.unsubscribe(list(self.subscriptions))
        self.found_session = self.found_session or is_known
        self._note("")

    def _on_unsubscribe(
        self, _client: Client, _userdata: object, mid: int, _reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        # A broker without such a subscription confirms it as well.
        self._answered_to = mid


async def end_session(address: BrokerAddress, subscriptions: Sequence[str]) -> None:
    """Remove a session and its queued messages from the broker. Raises BrokerRefused."""
    broker = DrainingBroker(address, subscriptions, persistent=False)
    async with asyncio.TaskGroup() as group:
        group.create_task(broker.run(), name="broker.end_session")
        await broker.settle()
        await broker.close()
