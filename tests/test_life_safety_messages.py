"""Whatever a source of life safety sends, in whichever framing, spelling or topic, somebody is told.

Either its alarm is raised, or the alarm "unreadable life-safety message"; never neither. Through Mosquitto and the
running service, by all three ways in: native telemetry, native events, mappings.
"""

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.mosquitto import Mosquitto
from tests.service import Service, wait_until
from tests.wire import send

pytestmark = pytest.mark.server

_numbers = itertools.count(1)
MAPPINGS = '["zigbee2mqtt", "tasmota", "chirpstack", "shelly_gen2", "thingsboard_gateway", "wmbusmeters", "json"]'


class Site(NamedTuple):
    """A broker and a service, for all tests of this file."""

    mosquitto: Mosquitto
    service: Service

    def publish(self, *items: tuple[str, bytes]) -> None:
        asyncio.run(send(self.mosquitto.port, items))

    def alarms(self) -> list[dict[str, Any]]:
        return list(self.service.get("/api/v1/alarms?state=open&limit=500")["items"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    mosquitto = Mosquitto(tmp_path_factory.mktemp("mosquitto")).start()
    folder = tmp_path_factory.mktemp("service") / "data"
    service = Service(folder, mosquitto.port, GENGFU_COLLECT__MAPPINGS=MAPPINGS, GENGFU_COLLECT__SITE="hq")
    try:
        service.start_ready()
        yield Site(mosquitto, service)
    finally:
        service.kill()
        mosquitto.stop()


SENSOR, LIFT, PANEL = (
    "gengfu/hq/sensor/{}/telemetry",
    "gengfu/hq/elevator/{}/telemetry",
    "gengfu/hq/fire_panel/{}/event",
)
Z2M, LORA, TASMOTA = "zigbee2mqtt/{}", "application/1/device/{}/event/up", "tele/{}/SENSOR"
FIRE, SMOKE, UNREADABLE = "fire_panel.fire", "sensor.smoke", "sensor.unreadable"


def text(document: str) -> bytes:
    return document.encode()


def lora(**decoded: Any) -> bytes:
    return text(json.dumps({"object": decoded}, ensure_ascii=False))


TOLD: list[tuple[str, bytes, str]] = [
    # -- framing and encodings: read all the same
    (SENSOR, b'{"smoke": true}\x00', SMOKE),  # a program in C sends the closing NUL too
    (SENSOR, b'\xef\xbb\xbf{"smoke": true}', SMOKE),  # byte order mark
    (SENSOR, '{"smoke": true}'.encode("utf-16"), SMOKE),  # with its mark
    (SENSOR, b'{"temperature": 20}{"smoke": true}', SMOKE),  # two objects in one message
    (SENSOR, b'{"temperature": 20}\n{"smoke": true}\n', SMOKE),  # a line each
    (SENSOR, b'{"smoke": true,}', SMOKE),  # a comma too many
    (SENSOR, '{"smoke": true, "note": "三楼"}'.encode("gb18030"), SMOKE),
    (PANEL, '{"type": "fire", "loop": "1", "text": "三号楼12层电梯前室感烟"}'.encode("gb18030"), FIRE),
    (PANEL, b'{"type": "fire", "loop": "1"}\x00', FIRE),
    (Z2M, b'{"smoke": true}\x00', SMOKE),
    (Z2M, '{"smoke": true, "note": "烟感"}'.encode("gb18030"), SMOKE),
    # -- spellings
    (SENSOR, b'{"smoke": "ON"}', SMOKE),
    (SENSOR, text('{"smoke": "报警"}'), SMOKE),
    (SENSOR, b'{"Smoke": "Yes"}', SMOKE),
    (SENSOR, b'{"smoke": 1}', SMOKE),
    (SENSOR, b'{"smoke": "alarm", "temperature": {"value": 3}}', SMOKE),  # one bad field hides no other
    (LIFT, b'{"alarm_button": "pressed"}', "elevator.alarm_button"),
    (LIFT, b'{"alarmButton": "1"}', "elevator.alarm_button"),
    (PANEL, text('{"type": "火警", "loop": "1"}'), FIRE),
    (PANEL, b'{"type": "Fire Alarm", "loop": "1"}', FIRE),
    (Z2M, b'{"smoke": "ON"}', SMOKE),
    # -- a field of life safety that cannot be read
    (SENSOR, b'{"smoke": "perhaps"}', UNREADABLE),
    (SENSOR, b'{"smoke": {"value": true}}', UNREADABLE),
    (SENSOR, b'{"smoke": null}', UNREADABLE),
    (SENSOR, b'{"smoke": 7}', UNREADABLE),
    (SENSOR, b'{"smoke": true, "smoke": false}', UNREADABLE),  # says both
    (LIFT, b'{"alarm_button": [true]}', "elevator.unreadable"),
    (PANEL, b'{"type": ["fire"], "loop": "1"}', "fire_panel.unreadable"),
    (PANEL, b'{"type": null}', "fire_panel.unreadable"),
    (Z2M, b'{"smoke": "perhaps"}', UNREADABLE),
    (LORA, lora(smoke_status="xyz"), UNREADABLE),
    # -- a message of which nothing can be read
    (SENSOR, b'{"smoke": tru', UNREADABLE),  # cut off
    (SENSOR, b"\xa5\xff\x01\x02", UNREADABLE),  # of something that never said what it is
    (LIFT, b'{"alarm_button": tr', "elevator.unreadable"),
    (PANEL, b"FIRE", "fire_panel.unreadable"),
    (PANEL, b'{"type":"fire","loop":', "fire_panel.unreadable"),
    (Z2M, b'{"smoke": tru', UNREADABLE),
    # -- topics
    ("gengfu/hq/Fire_Panel/{}/event", b'{"type": "fire"}', FIRE),
    ("gengfu/hq/fire-panels/{}/Events", b'{"type": "fire"}', FIRE),
    ("gengfu/hq/fire_panel/{} 1/event", b'{"type": "fire"}', FIRE),
    ("gengfu/hq/fire_panel/消防主机{}/event", b'{"type": "fire"}', FIRE),
    ("gengfu/总部/fire_panel/{}/event", b'{"type": "fire"}', FIRE),
    ("gengfu/hq/fire_panel/{}", b'{"type": "fire"}', "fire_panel.unreadable"),  # a part too few
    ("gengfu/hq/b1/fire_panel/{}/event", b'{"type": "fire"}', "fire_panel.unreadable"),  # a part too many
    ("gengfu/hq/smoke_detector/{}/telemetry", b'{"smoke": true}', UNREADABLE),  # a kind that there is not
    ("zigbee2mqtt/floor1/{}", b'{"smoke": true}', UNREADABLE),  # a name with a slash
    # -- vendors' words
    (LORA, lora(type="smoke sensor", event="alarm", battery=90), SMOKE),  # GS524N, older codec
    (LORA, lora(event="smoke alarm with low battery", battery=90), SMOKE),  # GS524N, newer codec
    (LORA, lora(smoke_status="smoke alarm"), SMOKE),
    (LORA, lora(leakage_status="leak"), "sensor.leak"),  # WS303
    (LORA, lora(liquid="critical liquid level alert"), "sensor.level_alarm"),  # EM300-CL
    (LORA, lora(liquid="full", liquid_alarm="critical liquid level alarm"), "sensor.level_alarm"),
    (LORA, lora(water_alarm="water flow timeout alarm", water="1500.60"), "sensor.level_alarm"),  # EM300-DI-Hall
    (LORA, lora(sos_status="on"), "sensor.panic"),
    (TASMOTA, b'{"ZbReceived":{"0x{}":{"Device":"0x{}","Water":1}}}', "sensor.leak"),
    (TASMOTA, b'{"ZbReceived":{"0x{}":{"Device":"0x{}","Fire":1}}}', SMOKE),
    (TASMOTA, b'{"ZbReceived":{"0x{}":{"Device":"0x{}","CO":1}}}', "sensor.carbon_monoxide"),
    (Z2M, b'{"gas": true}', "sensor.gas"),
    (Z2M, b'{"carbon_monoxide": true}', "sensor.carbon_monoxide"),
    (Z2M, b'{"action": "sos"}', "sensor.panic"),
    (Z2M, b'{"water_leak": "true"}', "sensor.leak"),
    # -- shown and judged by one rule only
    (SENSOR, b'{"temperature": -127}', "sensor.doubtful"),
    (SENSOR, b'{"temperature": 85}', "sensor.doubtful"),
    (SENSOR, b'{"pressure": 610}', "sensor.doubtful"),
    (SENSOR, b'{"humidity": 6553.5, "smoke": false}', "sensor.doubtful"),
    ("gengfu/hq/pump/{}/telemetry", b'{"bearing_temperature": 6553.5}', "pump.doubtful"),
    ("gengfu/hq/elevator/{}/telemetry", b'{"machine_room_temperature": 6553.5}', "elevator.doubtful"),
]  # fmt: skip
"""Topic ({} is a number of its own), payload, and the one rule whose alarm follows."""


def marked(row: int) -> str:
    return f"T{row:03}"


def told_of(site: Site, mark: str) -> list[str]:
    """Rules of the open alarms about an equipment whose code, name or raw text has a mark."""
    names = {
        item["id"]: f"{item['id']} {item['name']['en']}" for item in site.service.get("/api/v1/equipment")["items"]
    }
    return [alarm["rule"] for alarm in site.alarms() if mark in names.get(alarm["equipment"], alarm["equipment"])]


@pytest.fixture(scope="module")
def published(site: Site) -> Site:
    """All of the table is published at once."""
    rows = [
        (topic.replace("{}", marked(row)), payload.replace(b"{}", marked(row).encode()))
        for row, (topic, payload, _) in enumerate(TOLD)
    ]
    site.publish(*rows)
    return site


@pytest.mark.parametrize("row", range(len(TOLD)))
def test_whatever_a_source_of_life_safety_sends_somebody_is_told(published: Site, row: int) -> None:
    _, _, rule = TOLD[row]
    rules = wait_until(lambda: told_of(published, marked(row)), f"{TOLD[row]} raises an alarm", 20)
    assert rules == [rule]
