"""Accounts of devices: in Mosquitto's own files, whole or not at all; a real Mosquitto keeps one from another."""

import asyncio
import contextlib
import fcntl
import os
import re
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from gateway.devices.account_files import Reloaded, change, read, reload
from gateway.devices.broker_accounts import DeviceError, Files, Role, accounts, add, revoke, rotate
from tests.deploy.deployed import DEPLOY, DeployedMosquitto
from tests.deploy.test_mosquitto import DEBIANS, heard, listening
from tests.servers.service import GENGFU
from tests.servers.waiting import WITHIN_S, until

ACL = (DEPLOY / "mosquitto" / "acl").read_text(encoding="utf-8")
EMPTY = Files("", ACL)
P1, P2 = "HQ/pump/P-1", "HQ/pump/P-2"


# -- names and texts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["P-1", "HQ/pump", "HQ/boiler/P-1", "HQ/pump/+", "HQ/pump/#", "HQ/pump/P:1", "HQ/pump/P 1", "HQ/system/x", ""],
)
def test_a_device_is_named_by_its_place_in_the_topic(name: str) -> None:
    with pytest.raises(DeviceError, match="SITE/KIND/EQUIPMENT"):
        add(EMPTY, name, (), "x")


@pytest.mark.parametrize(
    "topic",
    ["#", "+/x", "gengfu/#", "gengfu", "gengfu-watchdog", "gengfu/HQ/pump/P-1/telemetry", "$SYS/#", "$share/g/x", "/x",
     "a/#/b", "a b", "a/b\ntopic read #"],
)  # fmt: skip
def test_a_gateway_gets_topics_of_its_own_and_never_those_of_devices(topic: str) -> None:
    with pytest.raises(DeviceError, match="not a topic for a gateway"):
        add(EMPTY, "zigbee2mqtt", [topic], "x")


def test_a_name_is_given_once() -> None:
    files = add(EMPTY, P1, (), "x")
    with pytest.raises(DeviceError, match="--rotate"):
        add(files, P1, (), "y")
    with pytest.raises(DeviceError, match="has an account already"):
        add(EMPTY, "gengfu", ["a/#"], "y")  # the acl file knows it, the password file not yet


@pytest.mark.parametrize("name", ["gengfu", "gengfu-collect-1", "health", "simulator"])
@pytest.mark.parametrize("act", [revoke, lambda files, name: rotate(files, name, "x")], ids=["revoke", "rotate"])
def test_an_account_of_gengfus_own_is_not_taken_away_like_a_devices(act: Callable[..., Files], name: str) -> None:
    with pytest.raises(DeviceError, match="of Gengfu itself"):
        act(Files(f"{name}:$7$1$a$b\n", ACL), name)


def test_what_has_no_account_cannot_lose_it() -> None:
    with pytest.raises(DeviceError, match="gengfu device list"):
        revoke(EMPTY, P1)


def test_the_list_says_what_each_account_is_and_may_do() -> None:
    files = add(add(Files("gengfu:$7$1$a$b\n", ACL), P1, (), "x"), "zigbee2mqtt", ["zigbee2mqtt/#"], "y")
    assert [(account.name, account.role, account.topics) for account in accounts(files)] == [
        (P1, Role.DEVICE, ()),
        ("gengfu", Role.PROGRAM, ("read #", "write gengfu-watchdog")),
        ("zigbee2mqtt", Role.GATEWAY, ("readwrite zigbee2mqtt/#",)),
    ]


PART = st.from_regex(r"[A-Za-z0-9_.-]{1,8}", fullmatch=True)
DEVICE = st.builds(lambda site, kind, code: f"{site}/{kind}/{code}", PART, st.sampled_from(["pump", "sensor"]), PART)
GATEWAY = PART.filter(lambda name: name not in {"gengfu", "health", "simulator"})


@given(others=st.sets(DEVICE, max_size=4), name=DEVICE | GATEWAY, acl=st.sampled_from([ACL, "", ACL.rstrip("\n")]))
def test_who_comes_and_goes_leaves_everybody_else_as_he_was(others: set[str], name: str, acl: str) -> None:
    files = Files("", acl)
    for other in sorted(others - {name}):
        files = add(files, other, (), "x")
    there = add(files, name, () if "/" in name else ["its-own/#", "other/+/x"], "y")
    assert name in {account.name for account in accounts(there)}
    gone = revoke(there, name)
    assert gone.passwords == files.passwords
    assert gone.acl.rstrip("\n") == files.acl.rstrip("\n")


@given(name=DEVICE)
def test_a_rotation_changes_one_line(name: str) -> None:
    files = add(add(add(EMPTY, "A/pump/a", (), "x"), f"{name}~"[:-1], (), "y"), "Z/pump/z", (), "z")
    before, after = (set(each.passwords.splitlines()) for each in (files, rotate(files, name, "new")))
    assert {line.partition(":")[0] for line in before ^ after} == {name}


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "accounts").mkdir()
    (tmp_path / "accounts" / "passwords").write_text("gengfu:$7$1$a$b\n")
    (tmp_path / "accounts" / "acl").write_text(ACL)
    return tmp_path / "accounts"


def with_device(files: Files) -> Files:
    return add(files, P1, (), "x")


def test_owner_and_mode_stay_so_that_mosquitto_can_read_the_file(folder: Path) -> None:
    file = folder / "passwords"
    file.chmod(0o640)
    if os.getuid() == 0:
        os.chown(file, 12345, 23456)
    before = file.stat()
    change(folder, with_device)
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino, "a new file in its place: never half of one"
    assert sorted(file.name for file in folder.iterdir()) == ["acl", "passwords"]


def test_two_at_once_are_refused(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(DeviceError, match="another gengfu device"):
            change(folder, with_device)
    finally:
        os.close(descriptor)
    change(folder, with_device)


def test_what_somebody_else_wrote_meanwhile_is_not_lost(folder: Path) -> None:
    """mosquitto_passwd and an editor know no lock."""

    def decide(files: Files) -> Files:
        with (folder / "passwords").open("a") as file:
            file.write("HQ/pump/P-9:$7$1$a$b\n")
        return with_device(files)

    with pytest.raises(DeviceError, match="was changed at the same time"):
        change(folder, decide)
    assert read(folder).passwords == "gengfu:$7$1$a$b\nHQ/pump/P-9:$7$1$a$b\n"
    assert sorted(file.name for file in folder.iterdir()) == ["acl", "passwords"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="--accounts-dir"):
        change(tmp_path / "nowhere", with_device)


@pytest.mark.parametrize("content", ["{own}", "999999999", "rubbish", ""])
def test_only_a_mosquitto_is_told(content: str, tmp_path: Path) -> None:
    """A pid file may have outlived its process, and the number belongs to another one: SIGHUP would end that."""
    file = tmp_path / "mosquitto.pid"
    file.write_text(content.format(own=os.getpid()))
    assert reload(file) is Reloaded.NOT_HERE


# -- the command ---------------------------------------------------------------------------------------------------


def run(folder: Path, *words: str, pid_file: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "GENGFU_DEVICES__ACCOUNTS_DIR": str(folder),
        "GENGFU_DEVICES__PID_FILE": str(pid_file or folder / "none"),
    }
    command = [GENGFU, "device", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def test_the_password_is_shown_once_and_kept_as_a_hash(folder: Path) -> None:
    done = run(folder, "add", P1)
    assert done.returncode == 0, done.stderr
    (password,) = re.findall(r"^Password:  (\S{32})$", done.stdout, re.MULTILINE)
    assert password not in read(folder).passwords
    assert password not in run(folder, "list").stdout


def test_where_mosquitto_runs_elsewhere_the_next_step_is_told(folder: Path) -> None:
    assert "docker compose kill --signal HUP mosquitto" in run(folder, "add", P1).stdout
    said = run(folder, "revoke", P1).stdout
    assert "Until then the device can connect with the account." in said
    assert "systemctl reload mosquitto" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("add", "P-1"), "SITE/KIND/EQUIPMENT"),
        (("add", "gw", "--topic", "gengfu/#"), "not a topic for a gateway"),
        (("add", P1, "--rotate"), "has no account"),
        (("add", P1, "--rotate", "--topic", "a/#"), "omit --topic"),
        (("revoke", P1), "has no account"),
        (("list", "--accounts-dir", "nowhere"), "--accounts-dir"),
    ],
)
def test_a_refusal_is_one_sentence(words: tuple[str, ...], says: str, folder: Path) -> None:
    done = run(folder, *words)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert read(folder) == Files("gengfu:$7$1$a$b\n", ACL)


# -- a real Mosquitto ----------------------------------------------------------------------------------------------


class Site:
    """Mosquitto as Debian runs it with the files of production, and `gengfu device` beside it."""

    def __init__(self, folder: Path, secrets: Path) -> None:
        places = {
            "/var/lib/mosquitto/": f"{folder}/",
            "/run/mosquitto/": f"{folder}/",
            "/var/log/mosquitto/": f"{folder}/",
        }
        self.broker = DeployedMosquitto(folder, secrets, DEBIANS, places)
        self.accounts = self.broker.secrets / "accounts"
        self._log = folder / "mosquitto.log"
        self._reloads = 0

    def device(self, *words: str) -> str:
        """Run the command and wait until Mosquitto has done as it was told; the password, where one is shown."""
        done = run(self.accounts, *words, pid_file=self.broker.folder / "mosquitto.pid")
        assert done.returncode == 0, done.stderr
        assert "Mosquitto was notified" in done.stdout
        self._reloads += 1
        asyncio.run(until(lambda: self.log.count("Reloading config") == self._reloads, "Mosquitto reads its files"))
        found = re.search(r"^Password:  (\S+)$", done.stdout, re.MULTILINE)
        return found[1] if found else ""

    @property
    def log(self) -> str:
        return self._log.read_text()


@pytest.fixture
def site(secrets: Path) -> Iterator[Site]:
    # Not in pytest's folder: each new run of pytest shuts that to other users, and a reload is done as `mosquitto`.
    with tempfile.TemporaryDirectory(prefix="gengfu-mosquitto-") as folder:
        site = Site(Path(folder) / "mosquitto", secrets)
        site.broker.start()
        yield site
        site.broker.stop()


class Connected:
    """A device that stays connected."""

    def __init__(
        self, broker: DeployedMosquitto, name: str, password: str, protocol: int = MQTTv5, will: str = ""
    ) -> None:
        self.parted = threading.Event()
        answered = threading.Event()
        self.answers: list[str] = []
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=protocol, reconnect_on_failure=False)
        self.client.username_pw_set(name, password)
        self.client.tls_set_context(ssl.create_default_context(cafile=str(broker.ca_file)))
        self.client.on_connect = lambda *told: (self.answers.append(str(told[3])), answered.set())
        self.client.on_disconnect = lambda *told: (self.answers.append(str(told[3])), self.parted.set())
        if will:
            self.client.will_set(will, '{"online": false}', qos=1)
        self.client.connect("localhost", broker.port)
        self.client.loop_start()
        assert answered.wait(WITHIN_S)
        assert self.answers == ["Success"], (broker.folder / "mosquitto.log").read_text()

    def cut(self) -> None:
        """As a loss of power: no good-bye."""
        sock = self.client.socket()
        assert sock is not None
        with contextlib.suppress(OSError):
            sock.shutdown(2)
        assert self.parted.wait(WITHIN_S)


@pytest.mark.server
def test_a_hash_is_in_the_form_of_mosquittos_own_program(tmp_path: Path) -> None:
    theirs = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", theirs, "HQ/pump/P-1", "secret"], check=True, capture_output=True)
    form = re.compile(r"HQ/pump/P-1:\$7\$101\$[A-Za-z0-9+/]{16}\$[A-Za-z0-9+/]{86}==\n")
    assert form.fullmatch(theirs.read_text())
    assert form.fullmatch(add(Files("", ""), "HQ/pump/P-1", (), "secret").passwords)


@pytest.mark.server
async def test_a_device_publishes_as_itself_and_neither_publishes_nor_reads_as_another(
    site: Site, secrets: Path
) -> None:
    first = {"username": P1, "pw": await asyncio.to_thread(site.device, "add", P1)}
    second = {"username": P2, "pw": await asyncio.to_thread(site.device, "add", P2)}
    broker = site.broker
    async with listening(broker, secrets) as service:
        assert await asyncio.to_thread(broker.publish, f"gengfu/{P2}/status", "--retain", **second) == ""
        for channel in ("telemetry", "event", "status"):
            assert "Not authorized" in await asyncio.to_thread(broker.publish, f"gengfu/{P2}/{channel}", **first)
        command = broker.client("mosquitto_sub", "-t", f"gengfu/{P2}/#", "-t", "#", "-C", "1", "-W", "1", **first)
        listened = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=20, check=False
        )
        assert (listened.returncode, listened.stdout) == (27, ""), "what is retained comes at once to who may read it"
        assert (
            "not authori"
            in (await asyncio.to_thread(broker.publish, f"gengfu/{P2}/status", username=P2, pw=first["pw"])).lower()
        )
        assert await asyncio.to_thread(broker.publish, f"gengfu/{P1}/telemetry", **first) == ""
        assert [topic for topic, _ in await heard(service, 2)] == [f"gengfu/{P2}/status", f"gengfu/{P1}/telemetry"]


@pytest.mark.server
@pytest.mark.parametrize("protocol", [MQTTv311, MQTTv5])
@pytest.mark.parametrize("act", [("revoke", P1), ("add", P1, "--rotate")], ids=["revoked", "rotated"])
def test_who_is_revoked_or_has_a_new_password_is_cut_off_at_once_and_nobody_else(
    act: tuple[str, ...], protocol: int, site: Site
) -> None:
    old = site.device("add", P1)
    other = Connected(site.broker, P2, site.device("add", P2))
    device = Connected(site.broker, P1, old, protocol)
    site.device(*act)
    assert device.parted.wait(WITHIN_S)
    assert "not authori" in site.broker.publish(f"gengfu/{P1}/telemetry", username=P1, pw=old).lower()
    assert other.answers == ["Success"], site.log
    other.client.publish(f"gengfu/{P2}/telemetry", "{}", 1).wait_for_publish(WITHIN_S)
    for each in (device, other):
        each.client.disconnect()
        each.client.loop_stop()


@pytest.mark.server
async def test_a_last_will_lands_at_its_own_device_or_nowhere(site: Site, secrets: Path) -> None:
    first = await asyncio.to_thread(site.device, "add", P1)
    second = await asyncio.to_thread(site.device, "add", P2)
    async with listening(site.broker, secrets) as service:
        for will in (f"gengfu/{P2}/status", f"gengfu/{P1}/status"):
            device = await asyncio.to_thread(Connected, site.broker, P1, first, MQTTv5, will)
            await asyncio.to_thread(device.cut)
            await asyncio.to_thread(device.client.loop_stop)
        assert await heard(service, 1) == [(f"gengfu/{P1}/status", b'{"online": false}')]
        login = {"username": P2, "pw": second}
        assert await asyncio.to_thread(site.broker.publish, f"gengfu/{P2}/telemetry", **login) == ""
        assert await heard(service, 1) == [(f"gengfu/{P2}/telemetry", b"{}")], "nothing came in between"


@pytest.mark.server
def test_a_gateway_speaks_under_its_own_topics_and_for_no_device(site: Site) -> None:
    login = {"username": "zigbee2mqtt", "pw": site.device("add", "zigbee2mqtt", "--topic", "zigbee2mqtt/#")}
    assert site.broker.publish("zigbee2mqtt/leak1", **login) == ""
    assert "Not authorized" in site.broker.publish(f"gengfu/{P1}/telemetry", **login)
    site.device("revoke", "zigbee2mqtt")
    assert "not authori" in site.broker.publish("zigbee2mqtt/leak1", **login).lower()
    assert (site.accounts / "acl").read_text() == ACL
