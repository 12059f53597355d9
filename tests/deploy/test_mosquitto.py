"""A real Mosquitto with the files of production: who is let in, who may say what, and what is kept for whom."""

import asyncio
import contextlib
import os
import re
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from collectors.mqtt.broker import Broker, BrokerAddress
from collectors.payloads.samples import MAX_PAYLOAD
from collectors.wire.topics import SUBSCRIPTION
from deploy.make_secrets import PROGRAMS
from gateway.alarms.built_in.synthetic_probe import PROBE_TOPIC
from gateway.devices.mosquitto_passwords import mosquitto_line
from tests.deploy.deployed import DEPLOY, DeployedMosquitto, moved, services, variables
from tests.paths import DOCS
from tests.servers.waiting import WITHIN_S, until

CONTAINERS = (DEPLOY / "mosquitto" / "container.conf").read_text(encoding="utf-8")
# What Debian's package puts into /etc/mosquitto/mosquitto.conf.
DEBIANS = """pid_file /run/mosquitto/mosquitto.pid

persistence true
persistence_location /var/lib/mosquitto/

log_dest file /var/log/mosquitto/mosquitto.log

include_dir /etc/mosquitto/conf.d
"""
DEVICE = "HQ/pump/P-1"
OWN_TOPIC = f"gengfu/{DEVICE}/telemetry"
LOGIN = {"username": DEVICE, "pw": "of-the-device"}


@pytest.fixture
def start(tmp_path: Path, secrets: Path) -> Iterator[Callable[[str], DeployedMosquitto]]:
    started: list[DeployedMosquitto] = []

    def start(main: str = CONTAINERS) -> DeployedMosquitto:
        folder = tmp_path / "mosquitto"
        places = {"/mosquitto/data/": f"{folder}/", "log_dest stdout": f"log_dest file {folder}/mosquitto.log"}
        if main == DEBIANS:
            places = {
                "/var/lib/mosquitto/": f"{folder}/",
                "/run/mosquitto/": f"{folder}/",
                "/var/log/mosquitto/": f"{folder}/",
            }
        broker = DeployedMosquitto(folder, secrets, main, places)
        with (broker.secrets / "accounts" / "passwords").open("a") as accounts:
            accounts.write(mosquitto_line(LOGIN["username"], LOGIN["pw"]))
        started.append(broker)
        broker.start()
        return broker

    yield start
    for broker in started:
        broker.stop()


@pytest.fixture
def broker(start: Callable[[], DeployedMosquitto]) -> DeployedMosquitto:
    return start()


def password_of(program: str, secrets: Path) -> str:
    return variables(secrets / f"{program}.env")["GENGFU_BROKER__PASSWORD"]


@contextlib.asynccontextmanager
async def listening(
    broker: DeployedMosquitto, secrets: Path, program: str = "gengfu", topic: str = SUBSCRIPTION
) -> AsyncIterator[Broker]:
    """The service's own side of the broker, with a program's account."""
    address = BrokerAddress(
        host="localhost", port=broker.port, client_id=program, username=program,
        password=password_of(program, secrets), ca_file=str(broker.ca_file),
    )  # fmt: skip
    side = Broker(address, [topic])
    task = asyncio.create_task(side.run())
    try:
        await until(lambda: side.connected, "the broker lets us in")
        yield side
    finally:
        await side.close()
        async with asyncio.timeout(WITHIN_S):
            await task


async def heard(side: Broker, number: int) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    async with asyncio.timeout(WITHIN_S):
        while len(found) < number:
            batch = await side.next_batch(1000)
            side.acknowledge(batch)
            found += [(message.topic, message.payload) for message in batch]
    return found


# -- who is let in -------------------------------------------------------------------------------------------------


@pytest.mark.server
@pytest.mark.parametrize("main", [CONTAINERS, DEBIANS], ids=["containers", "debian"])
async def test_the_service_hears_over_tls_what_a_device_says(
    main: str, start: Callable[[str], DeployedMosquitto], secrets: Path
) -> None:
    broker = start(main)
    async with listening(broker, secrets) as side:
        assert await asyncio.to_thread(broker.publish, OWN_TOPIC, message='{"flow": 1}', **LOGIN) == ""
        assert await heard(side, 1) == [(OWN_TOPIC, b'{"flow": 1}')]


@pytest.mark.server
@pytest.mark.parametrize(
    ("login", "why"),
    [
        ({}, "nobody"),
        ({"username": "HQ/pump/P-2", "pw": "of-the-device"}, "an unknown account"),
        ({"username": DEVICE, "pw": "wrong"}, "a wrong password"),
        ({"username": DEVICE}, "no password"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_who_has_no_account_or_a_wrong_password_is_refused(
    login: dict[str, str], why: str, broker: DeployedMosquitto
) -> None:
    assert "not authori" in broker.publish(OWN_TOPIC, **login).lower()


@pytest.mark.server
def test_without_tls_nobody_is_let_in(broker: DeployedMosquitto) -> None:
    command = ["mosquitto_pub", "-h", "localhost", "-p", str(broker.port), "-t", OWN_TOPIC, "-m", "{}", "-q", "1",
               "-u", DEVICE, "-P", LOGIN["pw"]]  # fmt: skip
    assert subprocess.run(command, capture_output=True, timeout=20, check=False).returncode != 0


@pytest.mark.server
def test_whose_authority_is_another_does_not_take_this_broker_for_its_own(
    broker: DeployedMosquitto, other_secrets: Path
) -> None:
    (broker.secrets / "ca.crt").write_bytes((other_secrets / "ca.crt").read_bytes())
    assert "TLS error" in broker.publish(OWN_TOPIC, **LOGIN)


@pytest.mark.server
async def test_a_new_account_is_good_after_a_reload_and_nobody_is_disconnected(
    broker: DeployedMosquitto, secrets: Path
) -> None:
    new = {"username": "HQ/sensor/S-1", "pw": "of-the-sensor"}
    async with listening(broker, secrets) as side:
        with (broker.secrets / "accounts" / "passwords").open("a") as accounts:
            accounts.write(mosquitto_line(new["username"], new["pw"]))
        assert await asyncio.to_thread(broker.publish, "gengfu/HQ/sensor/S-1/telemetry", **new) != ""
        broker.reload()
        log = broker.folder / "mosquitto.log"
        await until(lambda: "Reloading config" in log.read_text(), "Mosquitto reads its files again")
        assert await asyncio.to_thread(broker.publish, "gengfu/HQ/sensor/S-1/telemetry", **new) == ""
        assert len(await heard(side, 1)) == 1


# -- who may say and hear what -------------------------------------------------------------------------------------


@pytest.mark.server
@pytest.mark.parametrize(
    "topic",
    [
        "gengfu/HQ/pump/P-2/telemetry",  # another pump
        "gengfu/B/pump/P-1/telemetry",  # the pump of the same name on another site
        "gengfu/HQ/elevator/P-1/telemetry",  # a lift of the same name
        "gengfu/HQ/pump/P-1/command",  # no channel of the contract
        "zigbee2mqtt/P-1",
        "$SYS/broker/version",
    ],
)
def test_a_device_speaks_for_itself_only(topic: str, broker: DeployedMosquitto) -> None:
    assert "Not authorized" in broker.publish(topic, **LOGIN)


@pytest.mark.server
@pytest.mark.parametrize("channel", ["telemetry", "event", "status"])
def test_a_device_may_use_every_channel_of_its_own(channel: str, broker: DeployedMosquitto) -> None:
    assert broker.publish(f"gengfu/{DEVICE}/{channel}", **LOGIN) == ""


@pytest.mark.server
def test_a_device_hears_nothing(broker: DeployedMosquitto) -> None:
    """A retained message comes at once to whoever may read it, so a second without it is a refusal."""
    assert broker.publish(f"gengfu/{DEVICE}/status", "--retain", **LOGIN) == ""
    command = broker.client("mosquitto_sub", "-t", "#", "-t", f"gengfu/{DEVICE}/status", "-C", "1", "-W", "1", **LOGIN)
    listened = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (listened.returncode, listened.stdout) == (27, "")  # 27: the time was up


@pytest.mark.server
@pytest.mark.parametrize("program", ["gengfu", "gengfu-collect-1"])
def test_the_programs_that_listen_may_not_speak(program: str, broker: DeployedMosquitto, secrets: Path) -> None:
    login = {"username": program, "pw": password_of(program, secrets)}
    assert "Not authorized" in broker.publish(OWN_TOPIC, **login)


@pytest.mark.server
def test_only_the_service_may_send_the_watchdogs_beat(broker: DeployedMosquitto, secrets: Path) -> None:
    for program in ("gengfu-collect-1", "simulator"):
        login = {"username": program, "pw": password_of(program, secrets)}
        assert "Not authorized" in broker.publish(PROBE_TOPIC, **login), program
    assert "Not authorized" in broker.publish(PROBE_TOPIC, **LOGIN)
    assert broker.publish(PROBE_TOPIC, username="gengfu", pw=password_of("gengfu", secrets)) == ""


@pytest.mark.server
async def test_the_service_hears_its_own_beat_over_the_connection_on_which_it_sends_it(
    broker: DeployedMosquitto, secrets: Path
) -> None:
    async with listening(broker, secrets, topic=PROBE_TOPIC) as side:
        side.publish(PROBE_TOPIC, b"1")
        assert await heard(side, 1) == [(PROBE_TOPIC, b"1")]


@pytest.mark.server
def test_simulated_equipment_reports_from_the_demo_site_only(broker: DeployedMosquitto, secrets: Path) -> None:
    login = {"username": "simulator", "pw": password_of("simulator", secrets)}
    assert broker.publish("gengfu/demo/pump/P-1/telemetry", **login) == ""
    assert "Not authorized" in broker.publish(OWN_TOPIC, **login)


@pytest.mark.server
async def test_each_collector_gets_its_share(broker: DeployedMosquitto, secrets: Path) -> None:
    shared = f"$share/gengfu/{SUBSCRIPTION}"
    async with (
        listening(broker, secrets, "gengfu-collect-1", shared) as first,
        listening(broker, secrets, "gengfu-collect-2", shared) as second,
    ):
        for _ in range(4):
            assert await asyncio.to_thread(broker.publish, OWN_TOPIC, **LOGIN) == ""
        assert len(await heard(first, 2)) + len(await heard(second, 2)) == 4


def test_the_acl_names_every_program_and_no_other() -> None:
    acl = (DEPLOY / "mosquitto" / "acl").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^user (\S+)$", acl, re.MULTILINE)) == sorted(PROGRAMS)


# -- what is kept --------------------------------------------------------------------------------------------------


@pytest.mark.server
async def test_what_comes_while_the_service_is_away_waits_also_through_a_restart_of_mosquitto(
    broker: DeployedMosquitto, secrets: Path
) -> None:
    """More than the 1,000 that Mosquitto keeps by itself."""
    number = 1500
    async with listening(broker, secrets):
        pass
    command = broker.client("mosquitto_pub", "-t", OWN_TOPIC, "-l", **LOGIN)
    lines = "".join(f'{{"seq": {at}}}\n' for at in range(number))
    await asyncio.to_thread(subprocess.run, command, input=lines, text=True, check=True, timeout=60)
    broker.stop()
    broker.start()
    async with listening(broker, secrets) as side:
        assert [payload for _, payload in await heard(side, number)] == lines.encode().splitlines()


@pytest.mark.server
async def test_a_thousand_messages_come_before_the_first_is_acknowledged(
    broker: DeployedMosquitto, secrets: Path
) -> None:
    """Mosquitto sends 20 by itself: a batch in one transaction would be that small."""
    async with listening(broker, secrets) as side:
        command = broker.client("mosquitto_pub", "-t", OWN_TOPIC, "-l", **LOGIN)
        await asyncio.to_thread(subprocess.run, command, input="{}\n" * 1200, text=True, check=True, timeout=60)
        await until(lambda: side.waiting >= 1000, "a thousand are in flight")


@pytest.mark.server
async def test_a_device_cannot_end_the_services_session_by_taking_its_name(
    broker: DeployedMosquitto, secrets: Path
) -> None:
    """A clean start under a session's client id would throw away all that waits in it."""
    async with listening(broker, secrets):
        pass
    for _ in range(3):
        assert await asyncio.to_thread(broker.publish, OWN_TOPIC, "--id", "gengfu", **LOGIN) == ""
    async with listening(broker, secrets) as side:
        assert len(await heard(side, 3)) == 3


def conf(name: str) -> dict[str, str]:
    lines = (DEPLOY / "mosquitto" / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))


def test_the_limits_are_those_that_the_promises_are_made_with() -> None:
    limits = conf("gengfu.conf")
    assert limits["max_queued_messages"] == "0"
    assert int(limits["max_queued_bytes"]) > 0
    assert int(limits["max_inflight_messages"]) >= 1000
    assert conf("container.conf")["persistence"] == "true"
    assert int(limits["max_packet_size"]) > MAX_PAYLOAD + 5 * 65, "what the service reads must get through"


def test_the_limits_that_the_document_explains_are_those_of_the_file() -> None:
    text = (DOCS / "production.md").read_text(encoding="utf-8")
    section = text.partition("## Mosquitto's limits\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    explained = [line for cell in cells for line in re.findall(r"`(.*?)`", cell)]
    limits = conf("gengfu.conf")
    assert len(explained) >= 5
    assert [line for line in explained if line.partition(" ")[2] not in {"", limits.get(line.split()[0])}] == []
    assert {line.split()[0] for line in explained} <= limits.keys()


# -- the health check ----------------------------------------------------------------------------------------------


def run_health_check(broker: DeployedMosquitto) -> int:
    """The compose file's own command, with other places."""
    container = services()["mosquitto"]
    (keyword, *words) = container["healthcheck"]["test"]
    assert keyword == "CMD"
    places = {"8883": str(broker.port), "/etc/mosquitto": str(broker.secrets), "$$": "$"}
    command = moved("\0".join(words), places).split("\0")
    settings = moved(container["environment"]["XDG_CONFIG_HOME"], {"/etc/mosquitto": str(broker.secrets)})
    environment = {**os.environ, "XDG_CONFIG_HOME": settings}
    return subprocess.run(command, env=environment, capture_output=True, timeout=20, check=False).returncode


@pytest.mark.server
def test_the_health_check_tells_a_broker_that_works_from_one_that_does_not(broker: DeployedMosquitto) -> None:
    assert run_health_check(broker) == 0
    broker.stop()
    assert run_health_check(broker) != 0
