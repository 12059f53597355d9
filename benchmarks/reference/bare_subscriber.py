"""The reference: paho-mqtt as its documentation shows it, acknowledging each message manually and doing nothing else.

`python -m benchmarks.reference.bare_subscriber PORT MESSAGES` prints "ready" and then the seconds from the first
message to the acknowledgement of the last.
"""

import sys
import time
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion


def main() -> None:
    port, messages = int(sys.argv[1]), int(sys.argv[2])
    seen = 0
    began = 0.0

    def on_connect(client: Client, *_: Any) -> None:
        client.subscribe("gengfu/+/+/+/+", 1)

    def on_subscribe(*_: Any) -> None:
        print("ready", flush=True)

    def on_message(client: Client, _userdata: Any, message: MQTTMessage) -> None:
        nonlocal seen, began
        seen += 1
        if seen == 1:
            began = time.perf_counter()
        client.ack(message.mid, message.qos)
        if seen == messages:
            print(time.perf_counter() - began, flush=True)
            client.disconnect()

    client = Client(CallbackAPIVersion.VERSION2, client_id="bare", clean_session=True, manual_ack=True)
    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.loop_forever()


if __name__ == "__main__":
    main()
