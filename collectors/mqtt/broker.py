"""An MQTT session on the asyncio loop, with manual acknowledgements.

A separate thread serves the connection, so a loop that is busy or has no room loses neither the keep-alive nor the
session. Acknowledgements are sent only when the caller says so, in order of arrival and never for an earlier
connection, because a broker reuses packet ids after a reconnect. Whether to reconnect is decided on the loop: a process
whose loop does not run cannot take over the session of another one.

    socket --64 KiB reads--> network thread --> inbox --next_batch--> collector
    socket <---one write per batch--- acknowledge <-----------------------'
"""

import asyncio
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

import msgspec
import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from collectors.mqtt.client import MqttClient
from collectors.mqtt.inbox import Inbox
from collectors.mqtt.message import Message
from collectors.mqtt.network import Network
from collectors.mqtt.packets import DUP, RETAIN, Packet

log = structlog.get_logger(__name__)

_SESSION_EXPIRY_S: Final = 7 * 24 * 3600
_FIRST_RETRY_S: Final = 0.5
_LAST_RETRY_S: Final = 15.0
_PARTING_S: Final = 2.0
"""Timeout for the network thread to end. A thread that is opening a connection may take longer and is not awaited."""
_REFUSALS: Final = frozenset({"Bad user name or password", "Not authorized", "Client identifier not valid", "Banned",
                              "Bad authentication method"})  # fmt: skip
_TAKEN_OVER: Final = "Session taken over"


class BrokerAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Address and credentials of the broker. TLS is on when `ca_file` or `tls` is given."""

    host: str = "127.0.0.1"
    port: int = 1883
    client_id: str = "gengfu"
    username: str = ""
    password: str = ""
    protocol: int = 5
    """MQTT version: 4 (3.1.1) or 5."""
    tls: bool = False
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    keepalive_s: int = 30
    max_packet_kb: int = 5120
    """Larger packets are not accepted: with MQTT 5 the broker discards them, with 3.1.1 only their head is kept."""


class BrokerRefused(Exception):
    """The broker rejects us (wrong password, not authorized): trying again does not help."""


def always() -> bool:
    """For a client name that no other process uses."""
    return True


class Broker:
    """One session at the broker, persistent unless said otherwise, kept up until `close`."""

    def __init__(
        self,
        address: BrokerAddress,
        subscriptions: Sequence[str],
        *,
        persistent: bool = True,
        own: Sequence[str] = (),
        may_connect: Callable[[], bool] = always,
    ) -> None:
        """Keep one session; `own` topics, on which only the service itself publishes, are optional.

        `may_connect` is called before each connection: a client that connects under the same name takes over the
        session of the one that has it.
        """
        self.address = address
        self._may_connect = may_connect
        self._persistent = persistent
        self.trouble = "not connected yet"
        """Why there is no connection, "" while there is one."""
        self.subscriptions = subscriptions
        self._own = own
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox()
        self._arrived = asyncio.Event()
        self._is_wake_queued = False
        """Whether a wake-up of the loop is queued."""
        self._refusal: str | None = None
        self._closing = False
        self._thread: threading.Thread | None = None
        self._client = self._make_client()
        self._network = Network(self._client, self._take, lambda: self._inbox.is_full)

    # -- called on the loop ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Connect, and reconnect with a growing, jittered pause, until cancelled or closed.

        Raises:
            BrokerRefused: the broker rejects our name, password or certificate.
        """
        attempt = 0
        while not self._closing:
            if not self._may_connect():
                self._note("not connecting: the session may belong to another process")
                await self._pause(attempt=0)
                continue
            try:
                await self._in_thread(self._connect_and_serve)
                attempt = 0
            except OSError as error:
                self._note(f"cannot reach {self.address.host}:{self.address.port}: {error}")
            if self._refusal is not None:
                raise BrokerRefused(self._refusal)
            attempt += 1
            await self._pause(attempt)

    async def next_batch(self, most: int) -> list[Message]:
        """Wait for messages and take up to `most` of them, oldest first; fewer if they are large."""
        while not self._inbox:
            self._arrived.clear()
            if not self._inbox:
                await self._arrived.wait()
        was_full = self._inbox.is_full
        taken = self._inbox.take(most)
        if was_full and not self._inbox.is_full:
            self._network.wake()
        return taken

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and the connection is up."""
        return not self.trouble

    @property
    def waiting(self) -> int:
        """Messages that were received and not taken yet."""
        return len(self._inbox)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of their payloads."""
        return self._inbox.size

    @property
    def oldest_ns(self) -> int:
        """When the oldest message was received that was not taken yet, in epoch ns; 0 if there is none."""
        return self._inbox.oldest_ns

    def acknowledge(self, messages: Iterable[Message]) -> None:
        """Acknowledge messages in the order given; those of an earlier connection when they are redelivered."""
        self._acknowledge_ids(self._inbox.finish(messages))

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish a message over this connection; while there is none, over the next one."""
        self._client.publish(topic, payload, qos=1)
        self._network.wake()

    async def close(self) -> None:
        """Disconnect; messages that were not acknowledged stay at the broker."""
        self._closing = True
        if self._client.is_connected():
            self._client.disconnect()
        self._network.end()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _PARTING_S)

    # -- connecting ------------------------------------------------------------------------------------

    def _make_client(self) -> MqttClient:
        address = self.address
        version = MQTTProtocolVersion(address.protocol)
        is_v5 = version is MQTTProtocolVersion.MQTTv5
        client = MqttClient(
            CallbackAPIVersion.VERSION2,
            client_id=address.client_id,
            clean_session=None if is_v5 else not self._persistent,
            protocol=version,
            manual_ack=True,
        )
        client.largest_packet = address.max_packet_kb * 1024
        if address.username:
            client.username_pw_set(address.username, address.password or None)
        if address.tls or address.ca_file:
            client.tls_set_context(_tls_context(address))
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_socket_register_write = lambda *_: self._network.wake()
        return client

    async def _in_thread(self, work: Callable[[], None]) -> None:
        """Run it in a daemon thread; raises what it raises."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._work, args=(work, done), name="broker", daemon=True)
        self._thread.start()
        try:
            await done
        finally:
            del done  # an error and its frames would keep each other alive, and a socket with them

    def _work(self, work: Callable[[], None], done: "asyncio.Future[None]") -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - it is raised on the loop
            self._on_loop(partial(_set_done, done, error))
        else:
            self._on_loop(partial(_set_done, done, None))

    def _on_loop(self, work: Callable[[], None]) -> None:
        """Schedule it on the loop; do nothing if the loop has ended."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work)

    def _connect_and_serve(self) -> None:
        self._connect()
        self._network.serve()

    def _connect(self) -> None:
        """Open the connection; blocks on name look-up, TCP and TLS."""
        address, client = self.address, self._client
        if address.protocol == MQTTProtocolVersion.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
            properties.SessionExpiryInterval = _SESSION_EXPIRY_S if self._persistent else 0
            properties.MaximumPacketSize = client.largest_packet
            client.connect(
                address.host, address.port, address.keepalive_s, clean_start=not self._persistent, properties=properties
            )
        else:
            client.connect(address.host, address.port, address.keepalive_s)

    async def _pause(self, attempt: int) -> None:
        """Wait before the next attempt; the jitter keeps a fleet from reconnecting all at once."""
        longest = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2 ** min(attempt, 10))
        if not self._closing:
            await asyncio.sleep(random.uniform(_FIRST_RETRY_S / 2, longest))  # noqa: S311 - jitter, no secret

    def _note(self, trouble: str) -> None:
        """Log once that the connection fails, and once that it is up again."""
        if trouble != self.trouble:
            if trouble:
                log.warning("broker not connected", why=trouble)
            else:
                log.info("broker connected", host=self.address.host, port=self.address.port)
        self.trouble = trouble

    # -- paho's callbacks, in the network thread -------------------------------------------------------

    def _on_connect(
        self, client: Client, _userdata: object, flags: ConnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        if reason.is_failure:
            name = str(reason)
            if name in _REFUSALS:
                self._refusal = f"the broker at {self.address.host}:{self.address.port} rejects the connection: {name}"
            return
        if self._closing:  # the answer came after our DISCONNECT
            client.disconnect()
            return
        if not flags.session_present:
            self._inbox.forget_session()
        self._take_up(client, is_known=flags.session_present)

    def _take_up(self, client: Client, *, is_known: bool) -> None:
        """The broker has accepted us: subscribe."""
        client.subscribe([(topic, 1) for topic in (*self.subscriptions, *self._own)])
        if is_known:
            self._note("")  # our subscription still exists

    def _on_subscribe(
        self, client: Client, _userdata: object, _mid: int, reasons: list[ReasonCode], _properties: object
    ) -> None:
        wanted, own = reasons[: len(self.subscriptions)], reasons[len(self.subscriptions) :]
        if any(reason.is_failure for reason in own):
            log.warning(
                "the broker refuses a topic of our own", topics=list(self._own), reasons=[str(item) for item in own]
            )
        refused = next((reason for reason in wanted if reason.is_failure), None)
        if refused is None:
            self._note("")  # in a new session the broker queues messages only from now on
            return
        topics = ", ".join(self.subscriptions)
        self._refusal = f"the broker at {self.address.host}:{self.address.port} refuses {topics}: {refused}"
        client.disconnect()  # connected without a subscription would be worse

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        self._inbox.end_connection()
        if self._closing:
            self.trouble = "closed"
        else:
            taken = f"; another process connects as {self.address.client_id}" if str(reason) == _TAKEN_OVER else ""
            self._note(f"connection lost: {reason}{taken}")

    def _take(self, packets: list[Packet]) -> None:
        """Put received packets into the inbox, and wake the loop once."""
        connection, now = self._inbox.connection, time.time_ns()
        messages = [
            Message(
                topic.decode("utf-8", "replace"), payload, mid, connection, now, bool(head & DUP), bool(head & RETAIN),
                oversize,
            )
            for topic, payload, mid, head, oversize in packets
        ]  # fmt: skip
        self._acknowledge_ids(self._inbox.put(messages))
        if not self._is_wake_queued:
            self._is_wake_queued = True
            self._on_loop(self._wake_loop)

    def _wake_loop(self) -> None:
        self._is_wake_queued = False
        self._arrived.set()

    def _acknowledge_ids(self, mids: Sequence[int]) -> None:
        if mids:
            self._client.acknowledge_all(mids)
            self._network.wake()


def _set_done(done: "asyncio.Future[None]", error: Exception | None) -> None:
    if done.done():  # the waiting task was cancelled
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def _tls_context(address: BrokerAddress) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=address.ca_file or None)
    if address.certificate_file:
        context.load_cert_chain(address.certificate_file, address.key_file or None)
    return context
