"""Serves the socket of one connection in a thread of its own, so that the broker hears of us whatever the loop does.

Reading stops while nobody has room for more; pings go out all the same, and so the broker keeps the session. Only the
time in which we listened counts as the broker's silence: a process that was stopped, or has not read, heard nothing.
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
"""At least so often the thread looks whether there is room again, and at the keep-alive."""
_PARTING_S: Final = 1.0
"""For what is queued, the good-bye last, to leave when we are to end."""
_SILENT: Final = 1.5
"""Keep-alive intervals without any packet after which the connection is lost (MQTT 3.1.1, section 3.1.2.10)."""


class Network:
    """Reads, writes and pings for a client; `serve` runs in a thread, `wake` and `end` may be called from any other."""

    def __init__(self, client: MqttClient, take: Callable[[list[Packet]], None], is_full: Callable[[], bool]) -> None:
        """Serve a client.

        Args:
            client: connected, or about to be.
            take: is handed PUBLISH packets, in the thread.
            is_full: whether nothing more should be read now.
        """
        self._client = client
        self._take = take
        self._is_full = is_full
        self._bell: socket.socket | None = None
        self._ending = False
        self.is_paused = False
        """Whether reading has stopped for want of room."""

    def wake(self) -> None:
        """Have the thread look around: something is queued to be written, or there is room again."""
        bell = self._bell
        if bell is not None:
            with contextlib.suppress(OSError):  # so many wake-ups wait that one more says nothing, or it ends just now
                bell.send(b"\0")

    def end(self) -> None:
        """Have `serve` return within a second, when what is queued has left."""
        self._ending = True
        self.wake()

    def serve(self) -> None:
        """Serve the connection until it ends."""
        ears, bell = socket.socketpair()
        with ears, bell:
            ears.setblocking(False)
            bell.setblocking(False)
            self._bell = bell
            try:
                self._serve(ears)
            finally:
                self._bell = None
                self.is_paused = False

    def _serve(self, ears: socket.socket) -> None:
        client, looked_at = self._client, time.monotonic()
        pinged_at, silent_s, parting_s = looked_at, 0.0, 0.0
        while (sock := client.socket()) is not None:
            self.is_paused = self._is_full()
            readable, writable, gone = self._wait(sock.fileno(), ears)
            now = time.monotonic()
            passed, looked_at = min(now - looked_at, _LOOK_S), now
            if gone and self.is_paused:  # what was not read comes again
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

    def _wait(self, descriptor: int, ears: socket.socket) -> tuple[bool, bool, bool]:
        """Wait for something to do: something to read, room to write, the end of the connection."""
        client, poll = self._client, select.poll()
        wants = select.POLLRDHUP | (select.POLLOUT if client.want_write() else 0)
        if not self.is_paused:
            wants |= select.POLLIN
        poll.register(ears, select.POLLIN)
        poll.register(descriptor, wants)
        hidden = not self.is_paused and client.has_hidden_bytes
        longest_s = min(_LOOK_S, client.keepalive / 4 or _LOOK_S)
        found = dict(poll.poll(0 if hidden else round(1000 * longest_s)))
        if ears.fileno() in found:
            with contextlib.suppress(BlockingIOError):
                ears.recv(4096)
        events = found.get(descriptor, 0)
        gone = bool(events & (select.POLLERR | select.POLLHUP | select.POLLNVAL | select.POLLRDHUP))
        return hidden or bool(events & select.POLLIN), bool(events & select.POLLOUT), gone

    def _read(self) -> None:
        """Take what has come, a bounded part at a time."""
        for _ in range(_READS_A_WAKE):
            if not self._read_once() or self._is_full():
                break

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

    def _take_packets(self, buffer: BufferedSocket) -> None:
        self._hand_over(buffer.take_publishes())
        while self._client.buffer is buffer and buffer.has_other_packet:
            self._client.loop_read()
            self._hand_over(buffer.take_publishes())

    def _hand_over(self, packets: list[Packet]) -> None:
        if packets:
            self._take(packets)
