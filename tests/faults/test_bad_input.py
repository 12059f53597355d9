"""Bad input through the real door: Mosquitto and the running service.

Each message gets a clear reason, is counted and kept in quarantine as far as it could not be read; what can be read of
it is kept; and a neighbour's message behind it is heard as if nothing had been.
"""

import asyncio
import itertools
import json
import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from tests.servers.mosquitto import Mosquitto
from tests.servers.service import Service, wait_until
from tests.servers.wire import send

pytestmark = pytest.mark.server

_numbers = itertools.count(1)
RATE = 5_000
"""Messages a second of a device that does not know when to stop."""
FIRES = 6
IN_TIME_S = 2.0
"""Most of the alarms; tests share the machine, so that one of them may be later."""
AT_THE_LATEST_S = 10.0
"""GB 26875.1: a fire alarm is passed on within ten seconds."""


class Site(NamedTuple):
    """A broker and a service, for all tests of this file."""

    mosquitto: Mosquitto
    service: Service

    def publish(self, *items: tuple[str, bytes]) -> None:
        asyncio.run(send(self.mosquitto.port, items))

    def latest(self, equipment: str) -> dict[str, Any] | None:
        """Field -> newest value; None where nobody has heard of the equipment."""
        try:
            answer = self.service.get(f"/api/v1/equipment/hq:{equipment}/latest")
        except urllib.error.HTTPError as error:
            assert error.code == 404  # noqa: PT017 - the other errors are failures
            return None
        return {name: entry["value"] for name, entry in answer["latest"].items()}

    def aside(self, topic: str) -> list[dict[str, Any]]:
        """What the quarantine holds of a topic, oldest first."""
        items = self.service.get("/api/v1/quarantine?limit=500")["items"]
        return [item for item in reversed(items) if item["topic"] == topic]

    def counted(self, reason: str) -> float:
        try:
            return self.service.metric(f'gengfu_decode_failures_total{{reason="{reason}"}}')
        except KeyError:
            return 0.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    mosquitto = Mosquitto(tmp_path_factory.mktemp("mosquitto")).start()
    service = Service(tmp_path_factory.mktemp("service") / "data", mosquitto.port)
    try:
        service.start_ready()
        yield Site(mosquitto, service)
    finally:
        service.kill()
        mosquitto.stop()


PUMP, PANEL = "gengfu/hq/pump/{}/telemetry", "gengfu/hq/fire_panel/{}/event"
RUNNING = {"running": True}


def text(document: str) -> bytes:
    return document.encode()


def samples(count: int) -> bytes:
    now = time.time_ns() // 1_000_000
    return json.dumps([{"at": now - count + number, "seq": number, "flow": number} for number in range(count)]).encode()


def in_days(days: float) -> int:
    return int((time.time() + days * 86_400) * 1000)


BAD: list[tuple[str, bytes, list[str], str, dict[str, Any] | None]] = [
    # a channel that there is not
    ("gengfu/hq/pump/{}/state", b'{"flow":1}', ["bad_topic"], "permitted: telemetry, event, status", None),
    # a kind that there is not
    ("gengfu/hq/boiler/{}/telemetry", b'{"flow":1}', ["bad_topic"], "unknown kind", None),
    # a name that is nothing but blanks
    ("gengfu/ /pump/{}/telemetry", b'{"flow":1}', ["bad_topic"], "none of them a control character", None),
    # as long as MQTT permits: 65,535 bytes
    ("gengfu/hq/pump/{}/" + "x" * 65_400, b'{"flow":1}', ["bad_topic"], "unknown channel", None),
    # a text where a number belongs
    (PUMP, b'{"flow":"much","running":true}', ["bad_field"], "flow: expected a number, found a text", RUNNING),
    # a number, an object and nothing where a boolean belongs
    (PUMP, b'{"running":7,"leak":{}}', ["bad_field"] * 2 + ["no_fields"], "expected a boolean", None),
    # not a number, and no end of it
    (PUMP, b'{"flow":NaN,"voltage":-Infinity,"running":true}', ["bad_field"] * 2, "not finite", RUNNING),
    # a number that no float64 holds
    (PUMP, b'{"flow":1e999,"running":true}', ["bad_field"], "not finite", RUNNING),
    # one MiB of text in a field
    (PUMP, text(json.dumps({**RUNNING, "log": "x" * 2**20})), ["bad_field"], "too long", RUNNING),
    # one MiB that is nothing
    (PUMP, b"\xa5" * (2**20 + 1), ["not_json"], "neither UTF-8 nor GB 18030", None),
    # more than any equipment has to say
    (PUMP, b" " * (4 * 2**20 + 1), ["too_large"], "4194305 bytes", None),
    # ten thousand fields
    (
        PUMP, text(json.dumps({**{f"x{n}": n for n in range(10_000)}, **RUNNING})), ["too_many_fields"],
        "9745 unknown fields", {**RUNNING, **{f"x{n}": n for n in range(255)}},
    ),
    # nested so deeply that no parser follows
    (PUMP, b'{"a":' * 100_000 + b"1" + b"}" * 100_000, ["not_json"], "nested too deeply", None),
    # nested where a plain value belongs
    (PUMP, b'{"running":true,"a":' + b"[" * 60 + b"]" * 60 + b"}", ["bad_field"], "found an array", RUNNING),
    # a key that stands twice
    (PUMP, b'{"running":false,"running":true}', ["duplicate_key"], "the last one was taken", RUNNING),
    # NUL in a text that is known, and in one that is not
    (PUMP, b'{"mode":"a\\u0000b","y":"\\u0000","running":true}', ["bad_field"] * 2, "no store can keep", RUNNING),
    # NUL itself within a text, which JSON does not permit and no store can keep
    (PUMP, b'{"mode":"a\x00b","running":true}', ["bad_field"], "no store can keep", RUNNING),
    # half of a character
    (PUMP, b'{"mode":"\\ud83d","running":true}', ["bad_field"], "no store can keep", RUNNING),
    # whole numbers where floats were, and back again
    (PUMP, b'[{"flow":3.5},{"flow":3},{"flow":4.5},{"flow":4}]', [], "", {"flow": 4}),
    # booleans as text
    (PUMP, b'{"running":"true","leak":"FALSE"}', [], "", {"running": True, "leak": False}),
    # a year that is none
    (PUMP, b'{"at":"9999-12-31T23:59:59Z","running":true}', ["bad_time"], "RFC 3339", RUNNING),
    # a clock that was never set
    (PUMP, b'{"at":0,"running":true}', [], "", RUNNING),
    # a clock that is a month ahead
    (PUMP, text(json.dumps({"at": in_days(30), **RUNNING})), [], "", RUNNING),
    # everything a device has saved up in a week without a line
    (PUMP, samples(10_000), [], "", {"flow": 9_999}),
    # and one more than is read of a message
    (PUMP, samples(10_001), ["too_many_samples"], "the first 10000 were read", {"flow": 9_999}),
]  # fmt: skip
"""Topic ({} is the equipment), payload, reasons, what the first one says, and what is kept of it all the same."""


@pytest.mark.parametrize(("topic", "payload", "reasons", "detail", "kept"), BAD, ids=map(str, range(len(BAD))))
def test_bad_input_has_a_reason_is_counted_and_disturbs_nobody(
    site: Site, topic: str, payload: bytes, reasons: list[str], detail: str, kept: dict[str, Any] | None
) -> None:
    number = next(_numbers)
    bad, neighbour = f"B-{number}", f"N-{number}"
    topic = topic.format(bad)
    before = {reason: site.counted(reason) for reason in reasons}
    site.publish((topic, payload), (PUMP.format(neighbour), b'{"flow":%d}' % number))
    wait_until(lambda: site.latest(neighbour) == {"flow": number}, "the neighbour is heard")
    aside = site.aside(topic[:512])
    assert [item["reason"] for item in aside] == reasons
    assert all(item["size"] == len(payload) and len(item["payload"]) <= 2 * 8192 for item in aside)
    assert detail in (aside[0]["detail"] if aside else "")
    assert {reason: site.counted(reason) - before[reason] for reason in before} == Counter(reasons)
    assert site.latest(bad) == kept
    assert site.service.get("/readyz")["ready"]


# -- life safety: what is doubtful is announced ------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "rule"),
    [
        (b'{"type":"fire","active":"maybe"}', "fire_panel.fire"),  # neither begun nor ended: begun
        (b'{"type":"fire","active":null}', "fire_panel.fire"),
        (b'{"type":"fire","active":[false]}', "fire_panel.fire"),
        (b'{"type":"fire","active":2}', "fire_panel.fire"),
        (b'{"type":"fire","active":"true"}', "fire_panel.fire"),
        (b'{"type":"fire","loop":{},"address":NaN}', "fire_panel.fire"),  # nobody knows where, but it burns
        (b'{"type":"fire","at":"now"}', "fire_panel.fire"),
        (b'{"type":["fire"],"loop":"1"}', "fire_panel.unreadable"),  # may be a fire
        (b'{"type":"fire","loop":', "fire_panel.unreadable"),  # cut off on the way
        ('{"type":"fire","text":"三楼走廊"}'.encode("gb18030"), "fire_panel.fire"),  # the usual other encoding
        (b'{"type":null}', "fire_panel.unreadable"),
        (b"FIRE", "fire_panel.unreadable"),
    ],
)
def test_an_event_of_a_fire_panel_that_cannot_be_read_raises_an_alarm(site: Site, payload: bytes, rule: str) -> None:
    panel = f"F-{next(_numbers)}"
    site.publish((PANEL.format(panel), payload))
    alarms = wait_until(lambda: open_alarms(site, panel), "the alarm is raised")
    assert [alarm["rule"] for alarm in alarms] == [rule]


def test_an_end_that_comes_as_text_ends_the_fire(site: Site) -> None:
    panel = f"F-{next(_numbers)}"
    site.publish((PANEL.format(panel), b'{"type":"fire","loop":"1","address":"7"}'))
    wait_until(lambda: open_alarms(site, panel), "the alarm is raised")
    site.publish((PANEL.format(panel), b'{"type":"fire","loop":"1","address":"7","active":"false"}'))
    wait_until(lambda: not open_alarms(site, panel)[0]["active"], "the fire has ended")
    assert open_alarms(site, panel)[0]["state"] == "latched_unacknowledged"


def test_a_fire_panel_that_says_nothing_at_all_raises_nothing(site: Site) -> None:
    panel, neighbour = f"F-{next(_numbers)}", f"N-{next(_numbers)}"
    site.publish((PANEL.format(panel), b""), (PANEL.format(panel), b"[]"), (PUMP.format(neighbour), b'{"flow":1}'))
    wait_until(lambda: site.latest(neighbour), "what came behind it is heard")
    assert open_alarms(site, panel) == []


def open_alarms(site: Site, equipment: str) -> list[dict[str, Any]]:
    items = site.service.get("/api/v1/alarms?state=open&limit=500")["items"]
    return [item for item in items if item["equipment"] == f"hq:{equipment}"]


# -- too much of it ----------------------------------------------------------------------------------------


class Babbler:
    """A device that sends RATE messages a second, until it is told to stop."""

    def __init__(self, port: int, payload: Callable[[int], bytes]) -> None:
        self.sent = 0
        self.seconds = 0.0
        self._port, self._payload = port, payload
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._babble, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _babble(self) -> None:
        began = time.monotonic()
        while not self._stop.is_set():
            wave = [(PUMP.format("LOUD"), self._payload(self.sent + number)) for number in range(RATE // 20)]
            asyncio.run(send(self._port, wave))
            self.sent += len(wave)
            self.seconds = time.monotonic() - began
            self._stop.wait(max(0.0, self.sent / RATE - self.seconds))


@pytest.mark.parametrize(
    "payload",
    [
        lambda number: b'{"at":%d,"vibration":%d}' % (time.time_ns() // 1_000_000, number % 7),  # readings
        lambda number: b"rubbish %d" % number,  # what goes into the quarantine
    ],
    ids=["readings", "rubbish"],
)
def test_a_device_that_does_not_stop_delays_no_fire_alarm(own_site: Site, payload: Callable[[int], bytes]) -> None:
    waited = []
    with Babbler(own_site.mosquitto.port, payload) as babbler:
        for number in range(FIRES):
            wait_until(lambda number=number: babbler.sent > (number + 1) * RATE, "another second of it")
            panel, began = f"F-{number}", time.monotonic()
            own_site.publish((PANEL.format(panel), b'{"type":"fire","loop":"1","address":"1"}'))
            wait_until(lambda panel=panel: open_alarms(own_site, panel), "the fire alarm is raised")
            waited.append(time.monotonic() - began)
    in_order = sorted(waited)
    in_time = in_order[FIRES // 2] < IN_TIME_S and in_order[-1] < AT_THE_LATEST_S
    assert in_time, f"{babbler.sent / babbler.seconds:.0f} messages a second, alarms after {waited}"
    wait_until(lambda: own_site.service.metric("gengfu_messages_acknowledged_total") == babbler.sent + FIRES,
               "every message is brought to its end", 120)  # fmt: skip


@pytest.fixture
def own_site(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Site]:
    service = Service(tmp_path / "data", mosquitto.port)
    try:
        service.start_ready()
        yield Site(mosquitto, service)
    finally:
        service.kill()
