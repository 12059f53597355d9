"""Publishes over MQTT with QoS 1 and a limit of unacknowledged messages.

    async with Publisher(BrokerAddress("127.0.0.1", 1883)) as publisher:
        await publisher.publish(topic, payload)      # waits while too many are unacknowledged
        await publisher.flush()                      # returns when the broker has all

paho runs its network in a separate thread; it reconnects automatically and resends unacknowledged messages.
"""

import asyncio
import ssl
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

_CONNECT_WITHIN_S: Final = 10.0
_PARTING_S: Final = 5.0


class BrokerAddress(msgspec.Struct, frozen=True):
    """Address and credentials of the broker. With `ca_file` the connection uses TLS, verified against it."""

    host: str = "127.0.0.1"
    port: int = 1883
    username: str = ""
    password: str = ""
    ca_file: Path | None = None

    def __str__(self) -> str:
        """For display; without the password."""
        return f"{self.host}:{self.port}"


class PublisherError(OSError):
    """The broker cannot be used; the text names the broker and the reason."""


class Publisher:
    """One connection to a broker.

    `in_flight` limits the unacknowledged messages: a slow broker slows the publisher and does not fill memory.
    `last_will` is published by the broker, retained, when the connection breaks.
    """

    def __init__(
        self,
        address: BrokerAddress,
        *,
        in_flight: int = 100,
        connect_within_s: float = _CONNECT_WITHIN_S,
        last_will: tuple[str, bytes] | None = None,
    ) -> None:
        self._address = address
        self._last_will = last_will
        self._in_flight = in_flight
        self._connect_within_s = connect_within_s
        self._free = asyncio.Semaphore(in_flight)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connected: asyncio.Future[None] | None = None
        self._failure = "no reason known"
        self._client = self._build_client()
        self.acknowledged = 0
        """Messages that the broker has confirmed."""

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            PublisherError: refused, or no answer in time.
        """
        self._loop = asyncio.get_running_loop()
        self._connected = self._loop.create_future()
        try:
            self._client.connect_async(self._address.host, self._address.port, keepalive=30)
            self._client.loop_start()
            await asyncio.wait_for(asyncio.shield(self._connected), self._connect_within_s)
        except TimeoutError:
            await self._part()
            raise PublisherError(
                f"no MQTT broker answers at {self._address} within {self._connect_within_s:g} s "
                f"({self._failure}); is it running, and are host and port right?"
            ) from None
        except BaseException:
            await self._part()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait a little for the last acknowledgements, then disconnect."""
        try:
            await asyncio.wait_for(self.flush(), _PARTING_S)
        except TimeoutError:
            if error is None:
                raise PublisherError(f"{self._address} did not acknowledge the last messages") from None
        finally:
            await self._part()

    async def break_off(self) -> None:
        """Break the connection without a DISCONNECT, as a power cut does: the broker publishes the last will."""
        await asyncio.to_thread(self._client.loop_stop)
        connection = self._client.socket()
        if connection is not None:
            connection.close()

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Queue a message; waits for acknowledgements only if too many are outstanding."""
        await self._free.acquire()
        # the return code may be "not connected": then the message is queued and sent later
        self._client.publish(topic, payload, qos=1, retain=retain)

    async def flush(self) -> None:
        """Wait until the broker has acknowledged everything."""
        for _ in range(self._in_flight):
            await self._free.acquire()
        for _ in range(self._in_flight):
            self._free.release()

    def _build_client(self) -> Client:
        client = Client(CallbackAPIVersion.VERSION2)
        client.max_inflight_messages_set(self._in_flight)
        client.reconnect_delay_set(1, 10)
        if self._last_will:
            topic, payload = self._last_will
            client.will_set(topic, payload, qos=1, retain=True)
        if self._address.username:
            client.username_pw_set(self._address.username, self._address.password or None)
        if self._address.ca_file:
            client.tls_set_context(ssl.create_default_context(cafile=str(self._address.ca_file)))
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_publish = self._on_publish
        return client

    # The callbacks run in paho's thread and must not raise there: they only schedule work on the event loop.

    def _on_connect(self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:  # noqa: ARG002 - paho's signature
        refused = f"{self._address} refused the connection: {reason}" if reason.is_failure else ""
        self._hand_over(self._answered, refused)

    def _on_connect_fail(self, client: Client, userdata: Any) -> None:  # noqa: ARG002 - paho's signature
        # paho gives no reason, but calls from inside its except clause
        self._failure = str(sys.exc_info()[1] or self._failure)

    def _on_publish(self, client: Client, userdata: Any, mid: int, reason: Any, properties: Any) -> None:  # noqa: ARG002 - paho's signature
        self._hand_over(self._confirmed)

    def _hand_over(self, call: Any, *arguments: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    def _answered(self, refused: str) -> None:
        if self._connected is None or self._connected.done():
            return
        if refused:
            self._connected.set_exception(PublisherError(refused))
        else:
            self._connected.set_result(None)

    def _confirmed(self) -> None:
        self.acknowledged += 1
        self._free.release()

    async def _part(self) -> None:
        if self._connected is not None:
            self._connected.cancel()
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)  # joins the thread, which may be inside a connect
