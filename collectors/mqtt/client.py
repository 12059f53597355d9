"""paho's client with a buffered socket, acknowledgements in one write, and a keep-alive of our own."""

import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion

from collectors.mqtt.packets import LARGEST_PACKET, BufferedSocket

_PUBACK: Final = 0x40
_PUBACK_HEAD: Final = 0x4002


class MqttClient(Client):
    """One session; the network thread reads and writes, any thread may queue packets."""

    largest_packet = LARGEST_PACKET
    """Bytes of the largest PUBLISH packet that is accepted."""

    def _create_socket(self) -> Any:
        is_v5 = self._protocol == MQTTProtocolVersion.MQTTv5
        return BufferedSocket(super()._create_socket(), has_properties=is_v5, largest=self.largest_packet)

    @property
    def buffer(self) -> BufferedSocket | None:
        """The buffered socket, while connected and between two packets."""
        between = self._in_packet["command"] == 0
        return self._sock if between and isinstance(self._sock, BufferedSocket) else None

    @property
    def has_hidden_bytes(self) -> bool:
        """See `BufferedSocket.has_hidden_bytes`."""
        return isinstance(self._sock, BufferedSocket) and self._sock.has_hidden_bytes

    def acknowledge_all(self, mids: Sequence[int]) -> None:
        """Queue one write that holds a PUBACK for each packet id (the same bytes in MQTT 3.1.1 and 5)."""
        words = chain.from_iterable((_PUBACK_HEAD, mid) for mid in mids)
        self._packet_queue(_PUBACK, struct.pack(f"!{2 * len(mids)}H", *words), 0, 1)

    def ping(self) -> None:
        """Queue a PINGREQ, whether the last one was answered or not."""
        self._send_pingreq()

    def give_up(self, reason: MQTTErrorCode) -> None:
        """Close the connection from our side, without a DISCONNECT."""
        self._sock_close()
        self._do_on_disconnect(packet_from_broker=False, v1_rc=reason)
