"""What the compose file wires together, as processes: broker, stores, service and collector with its very settings."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.make_secrets import mosquitto_line
from tests.deploy.deployed import DEPLOY, PASSWORD, DeployedMosquitto, gengfu, moved, services, variables
from tests.servers.influxdb import InfluxDB
from tests.servers.mosquitto import free_port
from tests.servers.postgres import Postgres
from tests.servers.service import GENGFU, Service, wait_until

pytestmark = pytest.mark.server
TOPIC = "gengfu/HQ/pump/P-9/telemetry"
DEVICE = {"username": "HQ/pump/P-9", "pw": "of-the-device"}


@pytest.fixture
def broker(tmp_path: Path, secrets: Path) -> Iterator[DeployedMosquitto]:
    folder = tmp_path / "mosquitto"
    main = (DEPLOY / "mosquitto" / "container.conf").read_text(encoding="utf-8")
    places = {"/mosquitto/data/": f"{folder}/", "log_dest stdout": f"log_dest file {folder}/mosquitto.log"}
    broker = DeployedMosquitto(folder, secrets, main, places)
    with (broker.secrets / "accounts" / "passwords").open("a") as accounts:
        accounts.write(mosquitto_line(DEVICE["username"], DEVICE["pw"]))
    broker.start()
    yield broker
    broker.stop()


def environment(name: str, secrets: Path, **other: str) -> dict[str, str]:
    """Of a container, with the places of this test in the stead of its own."""
    container = services()[name]
    given = container["environment"] | variables(secrets / Path(container["env_file"][0]).name)
    assert set(other) <= set(given)
    return {**given, **other}


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The compose file's address, moved to an empty database."""
    name = postgres.new_name()
    postgres.create(name)
    given = services()["gengfu"]["environment"]["GENGFU_STORAGE__DATABASE_URL"]
    yield moved(given, {"@postgres/gengfu": f"@127.0.0.1:{postgres.port}/{name}"})
    postgres.drop(name)


def test_a_devices_message_becomes_an_alarm_and_history_by_the_settings_of_the_compose_file(
    broker: DeployedMosquitto, influxdb: InfluxDB, database: str, secrets: Path, tmp_path: Path
) -> None:
    here = {
        "GENGFU_BROKER__HOST": "localhost",
        "GENGFU_BROKER__PORT": str(broker.port),
        "GENGFU_BROKER__CA_FILE": str(broker.ca_file),
        "GENGFU_HISTORY__URL": influxdb.url,
    }
    at_the_service = environment(
        "gengfu", secrets, **here, GENGFU_STORAGE__DATABASE_URL=database,
        GENGFU_STORAGE__DATA_DIR=str(tmp_path / "service"), GENGFU_HTTP__PUBLIC_URL="https://localhost",
    )  # fmt: skip
    at_the_collector = environment(
        "collect-1", secrets, **here, GENGFU_STORAGE__DATA_DIR=str(tmp_path / "collector"),
        GENGFU_COLLECT__HTTP_PORT=str(free_port()),
    )  # fmt: skip
    gengfu("user", "add", "ann", typed=f"{PASSWORD}\n", **at_the_service)
    service = Service(tmp_path / "service", broker.port, "--no-history", **at_the_service)
    acts = ["--act", "watch", "--act", "read_history", "--act", "read_metrics"]
    service.token = gengfu("user", "token", "add", "test", *acts, **at_the_service).strip()
    service.start()
    with (
        (tmp_path / "collector.log").open("wb") as log,
        subprocess.Popen(
            [GENGFU, *services()["collect-1"]["command"]],
            env={**os.environ, **at_the_collector},
            stdout=log,
            stderr=log,
        ) as collector,
    ):
        try:
            wait_until(service.is_ready, "the service is ready")
            wait_until(lambda: b"gengfu-collect-1" in connected(broker), "the collector listens")
            assert broker.publish(TOPIC, message='{"bearing_temperature": 96.5}', **DEVICE) == ""
            alarms = wait_until(lambda: service.get("/api/v1/alarms")["items"], "there is an alarm")
            assert {alarm["equipment"] for alarm in alarms} == {"HQ:P-9"}
            history = "/api/v1/equipment/HQ:P-9/history?field=bearing_temperature"
            found = wait_until(lambda: service.get(history)["buckets"], "the history is there")
            assert len(found) == 1
            service.token = ""
            assert service.ask("/api/v1/alarms")[0] == 401, "who is on the machine is nobody without a login"
        finally:
            collector.terminate()
            service.stop()


def connected(broker: DeployedMosquitto) -> bytes:
    """What the broker says about whom it let in."""
    lines = (broker.folder / "mosquitto.log").read_bytes().splitlines()
    return b"\n".join(line for line in lines if b"New client connected" in line)
