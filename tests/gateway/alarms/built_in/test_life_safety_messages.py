"""Whatever a source of life safety sends, in whichever framing, spelling or topic, somebody is told.

Either its alarm is raised, or the alarm "unreadable life-safety message"; never neither. Through Mosquitto and the
running service, by all three ways in: native telemetry, native events, mappings.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from collectors.payloads.spellings import alarm_state_of
from collectors.wire.names import code_of
from tests.gateway.alarms.built_in.test_unreadable import NO_SPELLINGS, SPELLINGS, framed
from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service, wait_until
from tests.servers.wire import Item, send

pytestmark = pytest.mark.server

_numbers = itertools.count(1)
SHIPPED = ("zigbee2mqtt", "tasmota", "chirpstack", "shelly_gen2", "thingsboard_gateway", "wmbusmeters", "json")
MAPPED_EVENTS = """
mappings:
  - name: panel_gateway
    topic: "panels/{equipment}/alarms"
    readings:
      - kind: fire_panel
        equipment: "{equipment}"
        channel: event
        fields: {type: /event, loop: {from: /loop, type: text}}
        time: {from: /time, format: [rfc3339, epoch_s, epoch_ms]}
        seq: /seq
"""
"""A gateway of fire panels with words of its own: no shipped mapping makes events of life safety."""


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
    gateway = folder.with_name("panel_gateway.yaml")
    gateway.write_text(MAPPED_EVENTS, encoding="utf-8")
    mappings = json.dumps([*SHIPPED, str(gateway)])
    service = Service(folder, mosquitto.port, GENGFU_COLLECT__MAPPINGS=mappings, GENGFU_COLLECT__SITE="hq")
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


# -- sampled: every way in, with what else a source sends before and after ---------------------------------


class Source(NamedTuple):
    """A way in: topic ({} is a name), site, field of life safety and how a document holds it, time and number."""

    topic: str
    site: str
    field: str
    document: str = "{}"
    at: str = "at"
    is_mapped: bool = False


SOURCES = (
    Source(SENSOR, "hq", "smoke"),
    Source("gengfu/hq/sensor/{}/event", "hq", "smoke"),  # in the wrong channel
    Source("gengfu/总部/Sensors/{}/Telemetry", "总部", "smoke"),
    Source(LIFT, "hq", "alarm_button"),
    Source(LIFT.replace("telemetry", "event"), "hq", "alarm_button"),
    Source(PANEL, "hq", "type"),
    Source("gengfu/总部/fire-panels/{}/Events", "总部", "type"),
    Source(Z2M, "hq", "smoke", at="last_seen", is_mapped=True),
    Source(LORA, "hq", "smoke", '{{"object":{},"time":"2026-01-01T00:00:00Z"}}', is_mapped=True),
    Source("panels/{}/alarms", "hq", "event", at="time", is_mapped=True),
)
NAMES = st.sampled_from(["X{}", "三楼 烟感 {}", "Détecteur {}", "烟感{}号"])
FIRE_WORDS = st.sampled_from(
    ["fire", "FIRE", " Fire ", "Fire Alarm", "火警", "fire!", ["fire"], {"is": "fire"}, None, 1]
)


def clock_at(name: str, moment: int) -> Any:
    """What a device's clock says at a moment (epoch ms); None: it has none."""
    return {
        "none": None, "right": moment, "in seconds": moment // 1_000, "an hour behind": moment - 3_600_000,
        "an hour ahead": moment + 3_600_000, "never set": moment % 1_000_000_000, "no time": "yesterday",
        "as text": datetime.fromtimestamp(moment / 1_000, UTC).isoformat(),
    }[name]  # fmt: skip


CLOCKS = st.sampled_from(
    ["none", "right", "in seconds", "an hour behind", "an hour ahead", "never set", "no time", "as text"]
)
BESIDE = st.lists(st.sampled_from([{"battery": 80}, {}, {"note": "三楼"}, "rubbish"]), max_size=2)


def calls_nobody(source: Source, value: Any) -> bool:
    """Whether it says in so many words that nothing is wrong, or, in a mapping, that nothing is known yet."""
    says_no = isinstance(value, str) and alarm_state_of(value) is False
    return value in (False, "0") or says_no or (value is None and source.is_mapped)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Source, str, list[Item]]:
    """What one source sends, in order: a call of life safety, with something else before and after it."""
    source, name = draw(st.sampled_from(SOURCES)), draw(NAMES).format(next(_numbers))
    words = FIRE_WORDS if source.field in ("type", "event") else SPELLINGS | NO_SPELLINGS
    call = {source.field: draw(words.filter(lambda value: not calls_nobody(source, value)))}
    before, after = draw(BESIDE), draw(BESIDE)
    clock, counter = draw(CLOCKS), draw(st.sampled_from([None, 0, 7]))
    began, items = time.time_ns() // 1_000_000, []
    for number, said in enumerate([*before, call, *after]):
        if isinstance(said, str):
            items.append((source.topic.format(name), said.encode()))
            continue
        at = clock_at(clock, began + number)
        numbered = {} if counter is None else {"seq": counter + number % 2}  # a counter that falls back by itself
        body: dict[str, Any] = {**said, **numbered} | ({} if at is None else {source.at: at})
        text_of_body = json.dumps(body, ensure_ascii=draw(st.booleans()))
        items.append((source.topic.format(name), draw(framed(source.document.format(text_of_body)))))
    return source, name, items


@settings(max_examples=60, phases=(Phase.reuse, Phase.generate))
@given(conversations())
def test_of_whatever_a_source_says_in_whichever_order_its_alarm_or_that_it_is_unreadable_stands(
    site: Site, conversation: tuple[Source, str, list[Item]]
) -> None:
    source, name, items = conversation
    site.publish(*items)
    equipment = f"{code_of(source.site)}:{code_of(name)}"

    def told() -> bool:
        found = site.service.get(f"/api/v1/alarms?state=open&equipment={equipment}")["items"]
        # An event whose type nobody knows has a rule of its own, which says that it may be a fire.
        return any(alarm["life_safety"] or alarm["rule"] == "fire_panel.unrecognised" for alarm in found)

    wait_until(told, f"an alarm about {items} of {equipment}", 20)
