"""The commands as people type them, against a real Mosquitto: what they do, and say where it cannot be done."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.storage.migrate import newest_revision
from tests.paths import ROOT, SHARED_DATA
from tests.servers.mosquitto import Mosquitto, free_port
from tests.servers.service import GENGFU, Service, wait_until

pytestmark = pytest.mark.server

SKAB = SHARED_DATA / "pump" / "skab" / "valve1" / "1.csv"
STOP_S = 10


def gengfu(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [GENGFU, *arguments], capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
    )


@pytest.fixture
def service(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "data", mosquitto.port)
    yield service
    service.kill()


def publish(port: int, topic: str, payload: str) -> None:
    subprocess.run(["mosquitto_pub", "-p", str(port), "-q", "1", "-t", topic, "-m", payload], check=True, timeout=20)


def test_a_message_raises_an_alarm_that_opens_a_ticket_and_is_acknowledged(
    service: Service, mosquitto: Mosquitto
) -> None:
    service.start_ready()
    publish(mosquitto.port, "gengfu/hq/elevator/L-1/telemetry", '{"alarm_button": true}')
    (alarm,) = wait_until(lambda: service.get("/api/v1/alarms?state=open")["items"], "the alarm is there")
    assert (alarm["equipment"], alarm["rule"], alarm["priority"]) == ("hq:L-1", "elevator.alarm_button", "critical")
    (ticket,) = wait_until(lambda: service.get("/api/v1/tickets")["items"], "the ticket is there")
    assert (ticket["type"], ticket["alarm"], ticket["state"]) == ("emergency", alarm["id"], "open")

    status, answer = service.post(f"/api/v1/alarms/{alarm['id']}/acknowledge", {"version": alarm["version"]})
    assert (status, answer["state"]) == (200, "acknowledged")
    wait_until(lambda: service.get(f"/api/v1/tickets/{ticket['number']}")["ticket"]["state"] == "acknowledged",
               "the emergency is acknowledged with its alarm")  # fmt: skip
    status, answer = service.post(f"/api/v1/alarms/{alarm['id']}/acknowledge", {"version": alarm["version"]})
    assert (status, answer["code"]) == (409, "stale_version")

    publish(mosquitto.port, "gengfu/hq/elevator/L-1/telemetry", '{"alarm_button": false}')
    wait_until(lambda: not service.get("/api/v1/alarms?state=open")["items"], "the acknowledged alarm closes")
    latest = service.get("/api/v1/equipment/hq:L-1/latest")["latest"]
    assert latest["alarm_button"]["value"] is False
    history = service.get("/api/v1/equipment/hq:L-1/history?field=alarm_button")
    assert [change["value"] for change in history["changes"]] == [True, False]


def test_latest_values_alarms_and_delays_survive_a_restart(service: Service, mosquitto: Mosquitto) -> None:
    service.start_ready()
    publish(mosquitto.port, "gengfu/hq/pump/P-1/telemetry", '{"bearing_temperature": 97.5, "running": true}')
    wait_until(lambda: service.get("/api/v1/alarms?state=open")["items"], "the alarm is there")
    assert service.stop() == 0
    service.start_ready()
    latest = service.get("/api/v1/equipment/hq:P-1/latest")["latest"]
    assert latest["bearing_temperature"]["value"] == 97.5
    rules = wait_until(
        lambda: (
            len(found := {alarm["rule"] for alarm in service.get("/api/v1/alarms?state=open")["items"]}) == 2 and found
        ),
        "the delay that ran before the restart ends after it",
    )
    assert rules == {"pump.bearing_very_hot", "pump.bearing_hot"}


def test_what_cannot_be_read_is_kept_for_the_administrator(service: Service, mosquitto: Mosquitto) -> None:
    service.start_ready()
    publish(mosquitto.port, "gengfu/hq/pump/P-1/telemetry", "not json")
    (entry,) = wait_until(lambda: service.get("/api/v1/quarantine")["items"], "the message is in the quarantine")
    assert (entry["topic"], entry["reason"], entry["payload"]) == (
        "gengfu/hq/pump/P-1/telemetry", "not_json", "not json",
    )  # fmt: skip
    assert service.metric('gengfu_decode_failures_total{reason="not_json"}') == 1


@pytest.mark.skipif(not SKAB.exists(), reason="the real pump data is not at ../shared/data")
@pytest.mark.parametrize("speed", ["0", "600"])
def test_replayed_real_pump_data_raises_and_clears_an_alarm(speed: str, mosquitto: Mosquitto, tmp_path: Path) -> None:
    rules = ROOT / "simulators" / "replays" / "skab.rules.yaml"
    service = Service(tmp_path / "data", mosquitto.port, "--rules", str(rules))
    try:
        service.start_ready()
        done = gengfu("replay", str(SKAB), "--map", "skab", "--speed", speed, "--mqtt-port", str(mosquitto.port))
        assert done.returncode == 0, done.stderr
        assert "1145 of 1145 rows sent" in done.stdout
        wait_until(lambda: service.metric("gengfu_readings_total") == 1145, "all rows have come")
        activations = wait_until(lambda: service.get("/api/v1/activations")["items"], "there are activations")
        assert [(item["rule"], item["ended_at"] is not None) for item in activations] == [("skab.flow_low", True)]
        (alarm,) = service.get("/api/v1/alarms")["items"]
        assert alarm["state"] == "returned_unacknowledged"
    finally:
        service.kill()


def test_sigterm_ends_the_service_in_order_within_ten_seconds(service: Service, mosquitto: Mosquitto) -> None:
    service.start_ready()
    with subprocess.Popen([GENGFU, "simulate", "--mqtt-port", str(mosquitto.port), "--rate", "20"]) as load:
        try:
            wait_until(lambda: service.metric("gengfu_readings_total") > 50, "readings come")
            began = time.monotonic()
            assert service.stop() == 0
            assert time.monotonic() - began < STOP_S
        finally:
            load.send_signal(signal.SIGINT)
            assert load.wait(20) == 0


def test_without_a_broker_the_service_waits_and_says_so(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", free_port())
    try:
        service.start()
        components = wait_until(lambda: unready_components(service), "the service says what is not ready")
        assert "cannot reach 127.0.0.1" in components["broker"]
        assert service.stop() == 0
    finally:
        service.kill()


def unready_components(service: Service) -> dict[str, str] | None:
    try:
        with socket.create_connection(("127.0.0.1", service.http_port), timeout=5) as link:
            link.sendall(b"GET /readyz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            answer = b"".join(iter(lambda: link.recv(4096), b""))
    except OSError:
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 503 " not in head.splitlines()[0] or b"cannot reach" not in body:
        return None
    return dict(json.loads(body)["components"])


def test_a_second_service_on_one_data_folder_is_refused(service: Service, mosquitto: Mosquitto) -> None:
    service.start_ready()
    second = gengfu("serve", "--data-dir", str(service.folder), "--http-port", "0", "--mqtt-port", str(mosquitto.port))
    assert second.returncode == 1
    assert "another gengfu" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_wrong_password_ends_the_service_with_a_clear_message(
    start_mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("")
    passwords.chmod(0o644)
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "gengfu", "right"], check=True)
    passwords.chmod(0o644)
    broker = start_mosquitto(f"allow_anonymous false\npassword_file {passwords}\n")
    done = gengfu(
        "serve", "--data-dir", str(tmp_path / "data"), "--http-port", "0", "--mqtt-port", str(broker.port),
        GENGFU_BROKER__USERNAME="gengfu", GENGFU_BROKER__PASSWORD="wrong",
    )  # fmt: skip
    assert done.returncode == 1
    assert "Not authorized" in done.stderr or "Bad user name or password" in done.stderr
    assert "Traceback" not in done.stderr


# what is typed, what is answered
REFUSED = [
    (("serve", "--settings", "nowhere.toml"), "nowhere.toml: no such file"),  # a file that is not there
    (("serve", "--rules", "nowhere.yaml", "--data-dir", "{tmp}"), "nowhere.yaml"),  # rules that are not there
    (("replay", "nowhere.csv", "--map", "nothing"), "nothing"),  # a mapping that does not exist
    (("simulate", "--mqtt-port", "1"), "no MQTT broker answers at 127.0.0.1:1"),  # nobody listens
]


@pytest.mark.parametrize(("arguments", "answer"), REFUSED)
def test_what_cannot_be_done_is_said_in_one_sentence(arguments: tuple[str, ...], answer: str, tmp_path: Path) -> None:
    done = gengfu(*(argument.replace("{tmp}", str(tmp_path)) for argument in arguments))
    assert done.returncode == 1
    assert answer in done.stderr
    assert "Traceback" not in done.stderr


def test_migrate_keeps_a_copy_only_where_there_was_something(tmp_path: Path) -> None:
    first = gengfu("migrate", "--data-dir", str(tmp_path))
    assert (first.returncode, "copy" in first.stdout) == (0, False)
    assert newest_revision() in first.stdout


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "serve",
        "collect",
        "simulate",
        "replay",
        "check-settings",
        "migrate",
        "doctor",
        "equipment list",
        "equipment adopt",
        "user add",
        "user list",
        "user disable",
        "user enable",
        "user reset",
        "user grant",
        "user revoke",
        "user logins",
        "user token add",
        "user token list",
        "user token revoke",
    ],
)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    done = gengfu(*command.split(), "--help")
    assert done.returncode == 0
    assert f"Example: gengfu {command}" in done.stdout
