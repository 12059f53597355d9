"""The last connection of a collector that goes for good: it takes what waits for its name, and hears nothing new.

Mosquitto deals messages of a shared subscription to a session that is away, too. So the subscription must end first,
then what was dealt before is taken, and then the session is ended.
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
        """Whether the broker knew the name."""
        self._answered_to: int | None = None
        self._client.on_unsubscribe = self._on_unsubscribe

    async def settle(self) -> None:
        """End the subscriptions and return when the broker has said so.

        It answers in order: what it had sent before is here by then, and also what our acknowledgements before that
        have called forth.
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
        # A broker that knows no such subscription has ended it as well.
        self._answered_to = mid


async def end_session(address: BrokerAddress, subscriptions: Sequence[str]) -> None:
    """Let the broker forget a name and all that it keeps for it. Raises BrokerRefused."""
    broker = DrainingBroker(address, subscriptions, persistent=False)
    async with asyncio.TaskGroup() as group:
        group.create_task(broker.run(), name="broker.end_session")
        await broker.settle()
        await broker.close()
