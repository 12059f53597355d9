"""Serves the socket of one connection in a separate thread, so that the keep-alive does not depend on the loop.

Reading pauses while the inbox is full; pings are still sent, so the broker keeps the session. Only time spent reading
counts towards the broker's silence, not time in which the process was stopped or reading was paused.
"""

import contextlib
import select
import socket
import time
from collections.abc import Callable
from typing import Final

from paho.mqtt.enums import MQTTErrorCode

from collectors.mqtt.client import MqttClient
from collectors.mqtt.packets import BufferedSocket, Packet

_READS_A_WAKE: Final = 8
_LOOK_S: Final = 1.0
"""Longest interval at which the thread checks for room in the inbox and for the keep-alive."""
_PARTING_S: Final = 1.0
"""Timeout for queued packets, the DISCONNECT last, when the connection is closed."""
_SILENT: Final = 1.5
"""Keep-alive intervals without any packet after which the connection is lost (MQTT 3.1.1, section 3.1.2.10)."""


class Network:
    """Reads, writes and pings for a client; `serve` runs in a thread, `wake` and `end` may be called from any other."""

    def __init__(self, client: MqttClient, take: Callable[[list[Packet]], None], is_full: Callable[[], bool]) -> None:
        """Serve a client.

        Args:
            client: connected, or about to be.
            take: receives PUBLISH packets, in the thread.
            is_full: whether reading must pause.
        """
        self._client = client
        self._take = take
        self._is_full = is_full
        self._wake_sender: socket.socket | None = None
        self._ending = False
        self.is_paused = False
        """Whether reading is paused because the inbox is full."""

    def wake(self) -> None:
        """Wake the thread: a packet is queued for writing, or there is room again."""
        wake_sender = self._wake_sender
        if wake_sender is not None:
            with contextlib.suppress(OSError):  # enough wake-ups are queued, or the thread is ending
                wake_sender.send(b"\0")

    def end(self) -> None:
        """Make `serve` return within a second, after queued packets are sent."""
        self._ending = True
        self.wake()

    def serve(self) -> None:
        """Serve the connection until it ends."""
        wake_receiver, wake_sender = socket.socketpair()
        with wake_receiver, wake_sender:
            wake_receiver.setblocking(False)
            wake_sender.setblocking(False)
            self._wake_sender = wake_sender
            try:
                self._serve(wake_receiver)
            finally:
                self._wake_sender = None
                self.is_paused = False

    def _serve(self, wake_receiver: socket.socket) -> None:
        client, looked_at = self._client, time.monotonic()
        pinged_at, silent_s, parting_s = looked_at, 0.0, 0.0
        while (sock := client.socket()) is not None:
            self.is_paused = self._is_full()
            readable, writable, gone = self._wait(sock.fileno(), wake_receiver)
            now = time.monotonic()
            passed, looked_at = min(now - looked_at, _LOOK_S), now
            if gone and self.is_paused:  # unread messages will be redelivered
                client.give_up(MQTTErrorCode.MQTT_ERR_CONN_LOST)
                return
            if readable or gone:
                self._read()
                silent_s = 0.0
            elif not self.is_paused:
                silent_s += passed
            if writable and client.socket() is not None:
                client.loop_write()
            if self._ending:
                parting_s += passed
                if parting_s >= _PARTING_S or not (client.is_connected() or client.want_write()):
                    client.give_up(MQTTErrorCode.MQTT_ERR_SUCCESS)
                continue
            every_s = client.keepalive
            if every_s and silent_s > _SILENT * every_s:
                client.give_up(MQTTErrorCode.MQTT_ERR_KEEPALIVE)
            elif every_s and now - pinged_at >= every_s / 2 and client.is_connected():
                pinged_at = now
                client.ping()

    def _wait(self, descriptor: int, wake_receiver: socket.socket) -> tuple[bool, bool, bool]:
        """Wait until the socket is readable or writable, or the connection ends."""
        client, poll = self._client, select.poll()
        wants = select.POLLRDHUP | (select.POLLOUT if client.want_write() else 0)
        if not self.is_paused:
            wants |= select.POLLIN
        poll.register(wake_receiver, select.POLLIN)
        poll.register(descriptor, wants)
        hidden = not self.is_paused and client.has_hidden_bytes
        longest_s = min(_LOOK_S, client.keepalive / 4 or _LOOK_S)
        found = dict(poll.poll(0 if hidden else round(1000 * longest_s)))
        if wake_receiver.fileno() in found:
            with contextlib.suppress(BlockingIOError):
                wake_receiver.recv(4096)
        events = found.get(descriptor, 0)
        gone = bool(events & (select.POLLERR | select.POLLHUP | select.POLLNVAL | select.POLLRDHUP))
        return hidden or bool(events & select.POLLIN), bool(events & select.POLLOUT), gone

    def _read(self) -> None:
        """Read from the socket, a limited number of times."""
        for _ in range(_READS_A_WAKE):
            if not self._read_once() or self._is_full():
                break

    def _read_once(self) -> bool:
        """Read once from the socket; return whether there may be more."""
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
        # paho continues with a packet that it has begun, or finds the end too and calls back.
        self._client.loop_read()
        buffer = self._client.buffer
        if buffer is not None:
            self._take_packets(buffer)  # what followed that packet
        return False

    def _take_packets(self, buffer: BufferedSocket) -> None:
        self._hand_over(buffer.take_publishes())
        while self._client.buffer is buffer and buffer.has_other_packet:
            self._client.loop_read()
            self._hand_over(buffer.take_publishes())

    def _hand_over(self, packets: list[Packet]) -> None:
        if packets:
            self._take(packets)
