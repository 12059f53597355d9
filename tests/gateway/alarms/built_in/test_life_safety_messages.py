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

from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service, wait_until
from tests.servers.wire import send

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


def latest(site: Site, code: str) -> dict[str, Any]:
    """Field -> newest value of an equipment; empty while nobody has heard of it."""
    for item in site.service.get("/api/v1/equipment")["items"]:
        if item["id"] == f"hq:{code}":
            return {name: entry["value"] for name, entry in item["latest"].items()}
    return {}


def test_a_device_is_shown_by_the_name_it_gives_itself(published: Site) -> None:
    published.publish(
        ("zigbee2mqtt/厨房烟感", b'{"smoke": false}'), ("gengfu/总部/pump/1号泵/telemetry", b'{"flow": 1}')
    )

    def names() -> set[str]:
        known = published.service.get("/api/v1/equipment")["items"]
        return {item["name"]["zh-CN"] for item in known} & {"厨房烟感", "1号泵"}

    wait_until(lambda: names() == {"厨房烟感", "1号泵"}, "both are shown by their names")
    assert "总部" in {item["name"]["zh-CN"] for item in published.service.get("/api/v1/sites")["items"]}


def test_the_raw_text_of_what_cannot_be_read_stands_in_its_alarm(published: Site) -> None:
    def shown() -> list[Any]:
        return [alarm["value"] for alarm in published.alarms() if alarm["rule"] == UNREADABLE]

    wait_until(lambda: '{"smoke": tru' in shown(), "the raw text is shown")
    assert all(alarm["life_safety"] for alarm in published.alarms() if alarm["rule"].endswith(".unreadable"))


def test_the_control_room_sees_what_of_its_site_is_in_quarantine(published: Site) -> None:
    def of_site() -> list[dict[str, Any]]:
        items = published.service.get("/api/v1/quarantine/summary")["items"]
        return [item for item in items if item["site"] == "hq"]

    wait_until(lambda: of_site() and of_site()[0]["messages"] >= 10, "the site's messages are counted")


def test_what_is_published_beside_the_patterns_is_listed_and_housekeeping_is_not(published: Site) -> None:
    published.publish(
        ("zigbee2mqtt/floor2/door", b'{"contact": true}'),
        ("tele/b/STATE", b"{}"),
        ("gengfu/hq/boiler/B1/telemetry", b"{}"),
    )

    def listed() -> set[str]:
        items = published.service.get("/api/v1/quarantine/unread-topics")["items"]
        return {item["topic"] for item in items}

    wait_until(lambda: {"zigbee2mqtt/floor2/door", "gengfu/hq/boiler/B1/telemetry"} <= listed(), "both are listed")
    assert "tele/b/STATE" not in listed()


def test_a_field_that_sounds_like_an_alarm_is_told_to_the_administrator(published: Site) -> None:
    published.publish((LORA.format("U1"), lora(temperature=20, seal_alarm="on")))

    def told() -> list[Any]:
        return [alarm["value"] for alarm in published.alarms() if alarm["rule"] == "system.unmapped_alarm"]

    wait_until(lambda: any("hq:U1 seal_alarm" in str(value) for value in told()), "it is told")


UNITS: list[tuple[str, bytes, dict[str, Any]]] = [
    # kPa or hPa, by the model: nobody has said which
    (LORA, lora(pressure=10, temperature=20), {"pressure_unit_unknown": 10, "temperature": 20}),
    # hPa of the air, as Zigbee2MQTT documents it
    (Z2M, b'{"pressure": 1013}', {"pressure": 0.1013}),
    # who uses the flat format keeps to the contract
    ("json/hq/sensor/{}", b'{"pressure": 0.6}', {"pressure": 0.6}),
    # an undecrypted meter is no reading of 0
    ("wmbusmeters/{}", b'{"id": "1", "total_m3": 0, "error": "decryption failed"}', {"error": "decryption failed"}),
    # a number as text, and one bad field beside it
    (SENSOR, b'{"temperature": "21.5", "humidity": [4], "battery": "80 %"}', {"temperature": 21.5, "battery": 80}),
]


@pytest.mark.parametrize("row", range(len(UNITS)))
def test_no_number_enters_under_a_name_of_the_contract_without_its_unit(site: Site, row: int) -> None:
    topic, payload, kept = UNITS[row]
    code = f"V{row}"
    site.publish((topic.replace("{}", code), payload))
    found = wait_until(lambda: latest(site, code), "it is heard")
    found.pop("signal", None)
    assert found == kept


def test_a_nested_history_is_kept_and_what_has_no_place_is_named(site: Site) -> None:
    payload = lora(history=[{"humidity": 46.5, "timestamp": 1_795_000_000}], plan={"a": {"b": 1}})
    site.publish((LORA.format("H1"), payload))
    wait_until(lambda: latest(site, "H1").get("humidity") == 46.5, "the sample is kept")

    def named() -> list[str]:
        items = site.service.get("/api/v1/quarantine?limit=500")["items"]
        return [item["detail"] for item in items if item["reason"] == "left_out" and "/H1/" in f"/{item['topic']}/"]

    wait_until(lambda: any("/object/plan/a/b" in detail for detail in named()), "it is named")


def test_a_doubtful_value_is_shown_and_ends_with_one_that_can_be_true(site: Site) -> None:
    topic = SENSOR.format("D1")
    site.publish((topic, b'{"temperature": -127}'))

    def alarms() -> list[tuple[str, bool]]:
        return [(alarm["rule"], alarm["active"]) for alarm in site.alarms() if alarm["equipment"] == "hq:D1"]

    wait_until(lambda: alarms() == [("sensor.doubtful", True)], "it is doubted, and no frost is told")
    assert latest(site, "D1") == {"temperature": -127}
    site.publish((topic, b'{"humidity": 40}'), (topic, b'{"temperature": 21}'))
    wait_until(lambda: alarms() == [("sensor.doubtful", False)], "the doubt has ended")
