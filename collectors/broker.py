"""The broker's side of ingest: paho-mqtt on the asyncio loop, acknowledged by hand.

The paho callback only queues: an exception there would deliver the same packet for ever, or lose it.
Acknowledgements are kept back until the owner says so, go out in order of arrival and never for an
earlier connection, because a broker uses packet ids again after a reconnect.

    socket --64 KiB reads--> paho --> queue --next_batch--> collector
    socket <--one write per batch-- acknowledge <-----------'
"""

import asyncio
import random
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

log = structlog.get_logger(__name__)

MAX_WAITING: Final = 50_000
"""Messages. Beyond it the socket is not read until the collector has caught up; the broker holds the rest."""
_READS_A_WAKE: Final = 8
_RECEIVE_BYTES: Final = 64 * 1024
_SESSION_EXPIRY_S: Final = 7 * 24 * 3600
_PUBLISH: Final = 0x30
_QOS_2: Final = 0x04
_DUP: Final = 0x08
_RETAIN: Final = 0x01
_PUBACK: Final = 0x40
_PUBACK_HEAD: Final = 0x4002
_FIRST_RETRY_S: Final = 0.5
_LAST_RETRY_S: Final = 15.0
_REFUSALS: Final = frozenset({"Bad user name or password", "Not authorized", "Client identifier not valid", "Banned",
                              "Bad authentication method"})  # fmt: skip
_TAKEN_OVER: Final = "Session taken over"


class BrokerAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where the broker is and who we are there. TLS is on when `ca_file` or `tls` is given."""

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


class BrokerRefused(Exception):
    """The broker will not have us (wrong password, not authorized): trying again does not help."""


class Message(msgspec.Struct, gc=False):
    """One message as it came; `connection` says on which connection its `mid` is valid."""

    topic: str
    payload: bytes
    mid: int
    connection: int
    received_ns: int
    redelivered: bool = False
    retained: bool = False


class _Packet(NamedTuple):
    """A PUBLISH packet, as far as it matters here."""

    topic: bytes
    payload: bytes
    mid: int
    head: int
    """The first byte: its DUP and RETAIN bits tell how the message came."""


class _BufferedSocket:
    """A socket that reads 64 KiB at a time and takes PUBLISH packets out of what has come.

    paho asks for a packet in three reads, two of them of one byte, and spends longer on it than everything behind it
    together. Packets of any other kind are still paho's.
    """

    def __init__(self, raw: Any, *, has_properties: bool) -> None:
        self._raw = raw
        self._has_properties = has_properties
        self._buffer = b""
        self._at = 0
        self._malformed = False

    def recv(self, size: int) -> bytes:
        if self._at >= len(self._buffer):
            self._buffer, self._at = self._raw.recv(_RECEIVE_BYTES), 0
        piece = self._buffer[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def fill(self) -> int:
        """Read what has come; how many bytes, 0 at the end of the connection. Raises BlockingIOError or OSError."""
        try:
            data = self._raw.recv(_RECEIVE_BYTES)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        self._buffer, self._at = self._buffer[self._at :] + data, 0
        return len(data)

    @property
    def has_hidden_bytes(self) -> bool:
        """TLS may hold decrypted bytes that make no descriptor readable."""
        return isinstance(self._raw, ssl.SSLSocket) and self._raw.pending() > 0

    @property
    def has_other_packet(self) -> bool:
        """Whether what comes next is for paho: any packet but a PUBLISH of QoS 0 or 1 in good shape."""
        waits = self._at < len(self._buffer)
        return waits and (self._malformed or not _is_plain_publish(self._buffer[self._at]))

    def take_publishes(self) -> list[_Packet]:
        """Every complete PUBLISH packet up to the next packet of another kind (MQTT 3.1.1 and 5, section 3.3)."""
        buffer, at, end = self._buffer, self._at, len(self._buffer)
        taken: list[_Packet] = []
        while at < end and _is_plain_publish(head := buffer[at]):
            size, start = _remaining_length(buffer, at + 1)
            if start == 0 or start + size > end:
                break
            stop = start + size
            after_topic = start + 2 + int.from_bytes(buffer[start : start + 2], "big")
            mid, body = 0, after_topic
            if head & 0x06:
                mid, body = int.from_bytes(buffer[body : body + 2], "big"), body + 2
            if self._has_properties:
                length, after_length = _remaining_length(buffer, body)
                body = after_length + length
            if not after_topic <= body <= stop:
                self._malformed = True  # paho will say so and part
                break
            taken.append(_Packet(buffer[start + 2 : after_topic], buffer[body:stop], mid, head))
            at = stop
        self._at = at
        return taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


def _is_plain_publish(head: int) -> bool:
    return head & 0xF0 == _PUBLISH and not head & _QOS_2


def _remaining_length(buffer: bytes, at: int) -> tuple[int, int]:
    """A length of one to four bytes, and where what it measures begins; (0, 0) while it is not all here."""
    value = shift = 0
    for index in range(at, min(at + 4, len(buffer))):
        digit = buffer[index]
        value |= (digit & 0x7F) << shift
        if digit < 0x80:
            return value, index + 1
        shift += 7
    return 0, 0


class _Client(Client):
    """paho's client with a buffered socket and acknowledgements that leave in one write."""

    def _create_socket(self) -> Any:
        return _BufferedSocket(super()._create_socket(), has_properties=self._protocol == MQTTProtocolVersion.MQTTv5)

    @property
    def buffer(self) -> _BufferedSocket | None:
        """The buffered socket, while connected and between two packets."""
        between = self._in_packet["command"] == 0
        return self._sock if between and isinstance(self._sock, _BufferedSocket) else None

    @property
    def has_hidden_bytes(self) -> bool:
        return isinstance(self._sock, _BufferedSocket) and self._sock.has_hidden_bytes

    def acknowledge_all(self, mids: Sequence[int]) -> None:
        """Queue one write that holds a PUBACK for each packet id (the same bytes in MQTT 3.1.1 and 5)."""
        words = chain.from_iterable((_PUBACK_HEAD, mid) for mid in mids)
        self._packet_queue(_PUBACK, struct.pack(f"!{2 * len(mids)}H", *words), 0, 1)


def always() -> bool:
    """Where nobody else connects under our name."""
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
        """Keep one session; without an `own` topic, where we only hear ourselves, it works as well.

        `may_connect` is asked before each connection: a client that connects under the same name takes the session
        away from the one that has it.
        """
        self.address = address
        self._may_connect = may_connect
        self._persistent = persistent
        self.trouble = "not connected yet"
        """Why there is no connection, "" while there is one."""
        self.subscriptions = subscriptions
        self._own = own
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._lost = asyncio.Event()
        self._refusal: str | None = None
        self._connection = 0
        self._paused = False
        self._closing = False
        self._client = self._make_client()

    # -- the owner's side ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Connect, and reconnect with a growing, jittered pause, until cancelled or closed.

        Raises:
            BrokerRefused: the broker refuses our name, password or certificate.
        """
        attempt = 0
        while not self._closing:
            if not self._may_connect():
                self._note("not connecting: the session may belong to another process")
                await self._pause(attempt=0)
                continue
            self._lost.clear()
            try:
                await asyncio.to_thread(self._connect)
                await self._keep_up()
                attempt = 0
            except OSError as error:
                self._note(f"cannot reach {self.address.host}:{self.address.port}: {error}")
            if self._refusal is not None:
                raise BrokerRefused(self._refusal)
            attempt += 1
            await self._pause(attempt)

    async def next_batch(self, most: int) -> list[Message]:
        """Wait for messages and take up to `most` of them, oldest first."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        if self._paused and len(self._waiting) < MAX_WAITING // 2:
            self._resume_reading()
        return taken

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and the connection stands."""
        return not self.trouble

    @property
    def waiting(self) -> int:
        """Messages that have come and were not taken yet."""
        return len(self._waiting)

    @property
    def oldest_ns(self) -> int:
        """When the oldest message was received that was not taken yet, in epoch ns; 0 where none waits."""
        return self._waiting[0].received_ns if self._waiting else 0

    def acknowledge(self, messages: Iterable[Message]) -> None:
        """Acknowledge messages in the order given; those of an earlier connection are left to be sent again."""
        mids = [message.mid for message in messages if message.mid and message.connection == self._connection]
        if mids:
            self._client.acknowledge_all(mids)

    def publish(self, topic: str, payload: bytes) -> None:
        """Say something ourselves, over this connection; while there is none it goes out with the next one."""
        self._client.publish(topic, payload, qos=1)

    async def close(self) -> None:
        """Say good-bye to the broker; what was not acknowledged stays there."""
        self._closing = True
        if self._client.is_connected():
            self._client.disconnect()
            self._client.loop_write()
        self._lost.set()

    # -- connecting ------------------------------------------------------------------------------------

    def _make_client(self) -> _Client:
        address = self.address
        version = MQTTProtocolVersion(address.protocol)
        is_v5 = version is MQTTProtocolVersion.MQTTv5
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=address.client_id,
            clean_session=None if is_v5 else not self._persistent,
            protocol=version,
            manual_ack=True,
        )
        if address.username:
            client.username_pw_set(address.username, address.password or None)
        if address.tls or address.ca_file:
            client.tls_set_context(_tls_context(address))
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write
        return client

    def _connect(self) -> None:
        """Open the connection; blocks on name look-up, TCP and TLS, so it runs in a thread."""
        if self.address.protocol == MQTTProtocolVersion.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
            properties.SessionExpiryInterval = _SESSION_EXPIRY_S if self._persistent else 0
            self._client.connect(
                self.address.host,
                self.address.port,
                self.address.keepalive_s,
                clean_start=not self._persistent,
                properties=properties,
            )
        else:
            self._client.connect(self.address.host, self.address.port, self.address.keepalive_s)

    async def _keep_up(self) -> None:
        """Do paho's housekeeping (keep-alive) each second until the connection is lost."""
        while not self._lost.is_set():
            self._client.loop_misc()
            try:
                await asyncio.wait_for(self._lost.wait(), timeout=1)
            except TimeoutError:
                continue

    async def _pause(self, attempt: int) -> None:
        """Wait before the next try; the jitter keeps a fleet from coming back all at once."""
        longest = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2 ** min(attempt, 10))
        if not self._closing:
            await asyncio.sleep(random.uniform(_FIRST_RETRY_S / 2, longest))  # noqa: S311 - jitter, no secret

    def _note(self, trouble: str) -> None:
        """Say once what is the matter, and once that it is over."""
        if trouble != self.trouble:
            if trouble:
                log.warning("broker not connected", why=trouble)
            else:
                log.info("broker connected", host=self.address.host, port=self.address.port)
        self.trouble = trouble

    # -- paho's callbacks ------------------------------------------------------------------------------

    def _on_connect(
        self, client: Client, _userdata: object, flags: ConnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        if reason.is_failure:
            name = str(reason)
            if name in _REFUSALS:
                self._refusal = f"the broker at {self.address.host}:{self.address.port} answers: {name}"
            return
        if self._closing:  # the answer came after our good-bye
            client.disconnect()
            return
        self._take_up(client, is_known=flags.session_present)

    def _take_up(self, client: Client, *, is_known: bool) -> None:
        """The broker has accepted us: say what we want to hear."""
        client.subscribe([(topic, 1) for topic in (*self.subscriptions, *self._own)])
        if is_known:
            self._note("")  # our subscription has lasted

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
            self._note("")  # in a new session only now is anything kept for us
            return
        topics = ", ".join(self.subscriptions)
        self._refusal = f"the broker at {self.address.host}:{self.address.port} refuses {topics}: {refused}"
        client.disconnect()  # connected and deaf would be worse

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        # From here on every earlier packet id belongs to a dead connection; what waits will be sent again.
        self._connection += 1
        self._waiting = deque(message for message in self._waiting if not message.mid)
        self._paused = False  # the next connection is read from its beginning
        if self._closing:
            self.trouble = "closed"
        else:
            taken = f"; another process connects as {self.address.client_id}" if str(reason) == _TAKEN_OVER else ""
            self._note(f"connection lost: {reason}{taken}")
        self._lost.set()

    # paho opens the connection in a thread and calls these from there; the loop may only be touched from its own.

    def _on_socket_open(self, _client: Client, _userdata: object, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._watch, sock)

    def _watch(self, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.add_reader(sock.fileno(), self._read)

    def _on_socket_close(self, _client: Client, _userdata: object, sock: Any) -> None:
        descriptor = sock.fileno()
        if descriptor >= 0:
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)

    def _on_register_write(self, _client: Client, _userdata: object, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._watch_write, sock)

    def _watch_write(self, sock: Any) -> None:
        # Most acknowledgements fit into the socket at once; a writer is registered only for the rest.
        if sock.fileno() < 0:
            return
        self._client.loop_write()
        if self._client.want_write() and sock.fileno() >= 0:
            self._loop.add_writer(sock.fileno(), self._client.loop_write)

    def _on_unregister_write(self, _client: Client, _userdata: object, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.remove_writer(sock.fileno())

    # -- reading ---------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Take what has come, a bounded part at a time, so that others get their turn."""
        for _ in range(_READS_A_WAKE):
            if not self._read_once():
                break
        if len(self._waiting) > MAX_WAITING:
            self._pause_reading()
        elif self._client.has_hidden_bytes:
            self._loop.call_soon(self._read_on)

    def _read_once(self) -> bool:
        """Take what one look at the socket brings; whether there may be more."""
        buffer = self._client.buffer
        if buffer is not None:
            try:
                ended = buffer.fill() == 0
            except BlockingIOError:
                return False
            except OSError:
                ended = True
            if not ended:
                self._take_packets(buffer)
                return True
        # paho goes on with the packet it is in the middle of, or finds the end too and tells us.
        self._client.loop_read()
        buffer = self._client.buffer
        if buffer is not None:
            self._take_packets(buffer)  # what came behind that packet
        return False

    def _read_on(self) -> None:
        if not self._paused:
            self._read()

    def _take_packets(self, buffer: _BufferedSocket) -> None:
        self._take(buffer.take_publishes())
        while self._client.buffer is buffer and buffer.has_other_packet:
            self._client.loop_read()
            self._take(buffer.take_publishes())

    def _take(self, packets: list[_Packet]) -> None:
        if not packets:
            return
        connection, now = self._connection, time.time_ns()
        self._waiting.extend(
            Message(
                topic.decode("utf-8", "replace"), payload, mid, connection, now, bool(head & _DUP), bool(head & _RETAIN)
            )
            for topic, payload, mid, head in packets
        )
        self._arrived.set()

    def _pause_reading(self) -> None:
        sock = self._client.socket()
        if sock is not None and not self._paused:
            self._paused = True
            self._loop.remove_reader(sock.fileno())

    def _resume_reading(self) -> None:
        self._paused = False
        sock = self._client.socket()
        if sock is not None and sock.fileno() >= 0:
            self._watch(sock)
            self._loop.call_soon(self._read_on)


def _tls_context(address: BrokerAddress) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=address.ca_file or None)
    if address.certificate_file:
        context.load_cert_chain(address.certificate_file, address.key_file or None)
    return context
