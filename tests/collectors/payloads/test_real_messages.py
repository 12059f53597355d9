"""Messages of real devices: for each of ../shared/data/messages/messages.jsonl, what becomes of it, and why."""

import base64
import json
from typing import Any, NamedTuple

import pytest

from collectors.payloads.faults import Fault, Reason
from collectors.payloads.format_by_topic import Beside, Decoder
from collectors.payloads.mapped import MappedTopic
from collectors.payloads.mapping import Defaults, load_mappings, shipped_names
from collectors.wire.reading import to_datetime
from tests.paths import SHARED_DATA

FOLDER = SHARED_DATA / "messages"
NOW = 1_790_000_000_000
DECODER = Decoder(load_mappings(shipped_names(), Defaults("hq", "Asia/Shanghai")))
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the real messages are not at ../shared/data")


class Read(NamedTuple):
    """One reading: what it is about, its fields, and when it was measured ("" where the message does not say it)."""

    who: str
    fields: dict[str, Any]
    at: str = ""


TAP = {"tag": "94D8FC5F", "text": "I_LOVE_TASMOTA"}
LEAK = {"leak": True, "temperature": 27.35, "battery": 80.0, "voltage": 2900.0, "linkquality": 0.0}
DRY = {**LEAK, "leak": False}
BURST = "sensor/0x286d9700010511f8/telemetry"

EXPECTED: dict[str, Reason | Beside | list[Read]] = {
    "z2m-leak-battery": [
        Read("sensor/Capt_Inondation2/telemetry", {"battery": 100.0, "voltage": 3025.0, "linkquality": 78.0})
    ],
    "z2m-bridge-config": Beside("zigbee2mqtt"),  # housekeeping: nothing of a device
    "z2m-smoke-alarm": [
        Read(
            "sensor/smoke_detector/telemetry",
            {"smoke": True, "battery_low": False, "linkquality": 26.0},
            "2019-06-24T15:30:53.312",
        )
    ],
    "z2m-smoke-minimal": [Read("sensor/0x00158d000202eff6/telemetry", {"smoke": False})],
    "ha-discovery-smoke": Reason.NO_MAPPING,  # tells another program how to show it
    "z2m-leak-burst-1": [Read(BURST, LEAK)],  # its battery is the text "80.00"
    "z2m-leak-burst-2": [Read(BURST, LEAK)],
    "z2m-leak-burst-3": [Read(BURST, DRY)],
    "z2m-leak-burst-4": [Read(BURST, DRY)],
    "z2m-plug": [  # not the state of its update
        Read(
            "sensor/0x84fd27fffe9f718e/telemetry",
            {"state": "OFF", "linkquality": 54.0, "power_on_behavior": "previous"},
        )
    ],
    "tasmota-pn532": [Read("patrol_reader/sonoff/event", {"tag": "94D8FC5F"}, "2019-01-02T14:07:10")],
    "tasmota-pn532-repeat-1": [Read("patrol_reader/sonoff/event", TAP, "2019-01-08T11:16:21")],
    "tasmota-pn532-repeat-2": [Read("patrol_reader/sonoff/event", TAP, "2019-01-08T11:16:25")],
    "tasmota-pn532-repeat-3": [Read("patrol_reader/sonoff/event", TAP, "2019-01-08T11:16:28")],
    "tasmota-zb-leak-raw": [  # its topic starts with /
        Read(
            "sensor/0x898E/telemetry",
            {"zone_status": 1.0, "0500<00": "010000FF0000", "LinkQuality": 110.0},
        )
    ],
    "shelly-gen2-full": [
        Read(
            "sensor/shellyplusplugs-80646fd031f8/telemetry",
            {"output": True, "power": 0.0, "voltage": 229.1, "current": 0.0, "device_temperature": 34.8},
            "2023-11-03T08:25:54.770",
        )
    ],
    "wmbus-water-1": [
        Read(
            "sensor/MainWater/telemetry",
            {"temperature": 8.0, "leak": False, "water_temperature": 4.0, "volume": 82.184, "volume_at_due_date": 76.62,
             "status": ""},
            "2023-01-21T14:29:47",
        )
    ],
    "chirpstack-v3-http": Reason.NO_MAPPING,  # came by HTTP; its MQTT twin is tested below
    "not-sparkplug-1": Reason.NO_MAPPING,  # bytes are not guessed at: a tolerant decoder would find a metric in them
    "sparkplug-NBIRTH_V1": Reason.NO_MAPPING,  # Sparkplug B is not read yet
    "sparkplug-NDATA_V1": Reason.NO_MAPPING,
    "sparkplug-NDEATH_V1": Reason.NO_MAPPING,
    "sparkplug-NDATA_WRAPAROUND": Reason.NO_MAPPING,
    "thingsboard-gw-telemetry": [
        Read("sensor/Device_A-9066c1/telemetry", {"temperature": 42.0, "humidity": 80.0}, "2017-01-01T00:00:00"),
        Read("sensor/Device_A-9066c1/telemetry", {"temperature": 43.0, "humidity": 82.0}, "2017-01-01T00:00:01"),
        Read("sensor/Device_B-f7ef87/telemetry", {"temperature": 42.0, "humidity": 80.0}, "2017-01-01T00:00:00"),
    ],
    "simple-iot-pressure": Reason.NO_MAPPING,  # no supported family; docs/devices.md writes the mapping for its like
    "wearable-heartbeat": Reason.NO_MAPPING,
}  # fmt: skip
OTHER_PROTOCOLS = {"dahua-patrol-swipe", "db-fasta-facility", "gb26875-fire", "gst9000-first-fire", "gst9000-reset"}


def messages() -> dict[str, dict[str, Any]]:
    if not FOLDER.is_dir():
        return {}
    lines = (FOLDER / "messages.jsonl").read_text(encoding="utf-8").splitlines()
    return {message["id"]: message for message in map(json.loads, lines)}


def payload_of(message: dict[str, Any]) -> bytes:
    text: str = message["payload"]
    if message["payload_encoding"] == "hex":
        return bytes.fromhex(text)
    return base64.b64decode(text) if message["payload_encoding"] == "base64" else text.encode()


def test_every_message_of_the_file_has_its_line_here() -> None:
    found = {identity: message["protocol"] for identity, message in messages().items()}
    assert {identity for identity, protocol in found.items() if protocol == "mqtt"} == set(EXPECTED)
    assert {identity for identity, protocol in found.items() if protocol != "mqtt"} == OTHER_PROTOCOLS


@pytest.mark.parametrize("identity", EXPECTED)
def test_what_becomes_of_a_message(identity: str) -> None:
    message, expected = messages()[identity], EXPECTED[identity]
    route = DECODER.route(message["topic"])
    if isinstance(expected, Beside):
        assert route == expected
        return
    if isinstance(expected, Reason):
        assert isinstance(route, Fault)
        assert route.reason is expected
        return
    assert read(route, payload_of(message)) == expected


def read(route: object, payload: bytes) -> list[Read]:
    assert isinstance(route, MappedTopic), route
    decoded = route.decode(payload, NOW)
    assert not decoded.faults
    return [
        Read(
            str(reading.topic).removeprefix("gengfu/hq/"),
            reading.fields,
            "" if reading.measured_at == NOW else clock_time(reading.measured_at),
        )
        for reading in decoded.readings
    ]


def clock_time(milliseconds: int) -> str:
    return to_datetime(milliseconds).isoformat().removesuffix("+00:00")[:23]


@pytest.mark.parametrize("identity", [name for name, found in EXPECTED.items() if "sparkplug" in name])
def test_a_binary_that_comes_on_a_mapped_topic_is_no_json(identity: str) -> None:
    route = DECODER.route("zigbee2mqtt/impostor")
    assert isinstance(route, MappedTopic)
    decoded = route.decode(payload_of(messages()[identity]), NOW)
    assert not decoded.readings
    assert [fault.reason for fault in decoded.faults] == [Reason.NOT_JSON]


def test_a_chirpstack_uplink_that_nobody_decoded_still_shows_that_the_device_lives() -> None:
    payload = payload_of(messages()["chirpstack-v3-http"])
    assert read(DECODER.route("application/2/device/123/event/up"), payload) == [
        Read("sensor/123/telemetry", {"signal": -97.0})
    ]


def water_meters() -> list[dict[str, Any]]:
    file = FOLDER / "wmbus_water_telegrams.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if FOLDER.is_dir() else []


def test_no_water_meter_is_ever_127_degrees() -> None:
    sentinels = 0
    for telegram in water_meters():
        route = DECODER.route("wmbusmeters/meter")
        assert isinstance(route, MappedTopic)
        payload = json.dumps(telegram["decoded"]).encode()
        decoded = route.decode(payload, NOW)
        assert {fault.reason for fault in decoded.faults} <= {Reason.BAD_TIME, Reason.NO_FIELDS}  # the year 1111
        assert all(127.0 not in reading.fields.values() for reading in decoded.readings)
        assert bool(decoded.readings) is any(name.startswith("total_m3") for name in telegram["decoded"])
        sentinels += len(route.sentinels(payload))
    assert sentinels


def test_milesight_values_decoded_by_chirpstack_are_read() -> None:
    lines = (FOLDER / "milesight_examples.jsonl").read_text(encoding="utf-8").splitlines()
    temperatures = 0
    for example in map(json.loads, lines):
        route = DECODER.route("application/1/device/24e124136b502217/event/up")
        assert isinstance(route, MappedTopic)
        decoded = route.decode(json.dumps({"object": example["decoded"], "fCnt": 1}).encode(), NOW)
        assert decoded.readings or decoded.faults
        temperatures += any("temperature" in reading.fields for reading in decoded.readings)
    assert temperatures > 10
