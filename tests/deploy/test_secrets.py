"""The scripts of a first set-up: passwords and certificates are new each time, kept from others, never overwritten."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.make_secrets import PROGRAMS
from tests.deploy.deployed import DEPLOY, NAME, make_secrets, variables
from tests.servers.service import GENGFU


def certificates(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [GENGFU, "device", "certificates", "--folder", folder, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def openssl(*words: str | Path) -> str:
    return subprocess.run(["openssl", *words], capture_output=True, text=True, check=True).stdout


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_two_set_ups_share_no_password_and_no_key(secrets: Path, other_secrets: Path) -> None:
    ours, theirs = contents(secrets), contents(other_secrets)
    assert ours.keys() == theirs.keys()
    same = {name for name in ours if ours[name] == theirs[name]}
    assert same == {"mosquitto/accounts/acl", "prometheus/token"}
    assert ours["prometheus/token"] == b"", "the service makes it"


def test_a_second_run_changes_nothing_and_says_so(tmp_path: Path) -> None:
    folder = make_secrets(tmp_path / "secrets")
    before = contents(folder)
    command = [sys.executable, DEPLOY / "make_secrets.py", "--folder", folder]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (again.returncode, "nothing was changed" in again.stderr) == (1, True)
    again = certificates(folder, NAME)
    assert (again.returncode, "--renew" in again.stderr) == (1, True)
    assert contents(folder) == before


def test_others_on_the_machine_do_not_get_to_the_secrets(secrets: Path) -> None:
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    for file in [*secrets.glob("*.env"), secrets / "first-logins.txt", secrets / "ca.key"]:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_containers_own_user_can_read_what_is_mounted(secrets: Path) -> None:
    mounted = [secrets / "ca.crt", *(secrets / "mosquitto").rglob("*"), *(secrets / "nginx").rglob("*")]
    mounted += (secrets / "prometheus").rglob("*")
    assert [file for file in mounted if not file.stat().st_mode & stat.S_IROTH] == []


def test_each_program_has_its_own_password_at_the_broker(secrets: Path) -> None:
    files = [secrets / f"{program}.env" for program in PROGRAMS if program != "health"]
    passwords = {variables(file)["GENGFU_BROKER__PASSWORD"] for file in files}
    assert len(passwords) == len(files)
    assert all(len(password) >= 32 for password in passwords)
    lines = (secrets / "mosquitto" / "accounts" / "passwords").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == list(PROGRAMS)
    assert [password for password in passwords if password in "".join(lines)] == []


def test_services_that_talk_to_each_other_were_given_the_same_password(secrets: Path) -> None:
    service, influxdb = variables(secrets / "gengfu.env"), variables(secrets / "influxdb.env")
    assert service["PGPASSWORD"] == variables(secrets / "postgres.env")["POSTGRES_PASSWORD"]
    assert service["GENGFU_HISTORY__TOKEN"] == influxdb["DOCKER_INFLUXDB_INIT_ADMIN_TOKEN"]
    assert variables(secrets / "gengfu-collect-1.env")["GENGFU_HISTORY__TOKEN"] == service["GENGFU_HISTORY__TOKEN"]


@pytest.mark.parametrize("name", ["mosquitto/certs", "nginx"])
def test_a_certificate_is_of_our_authority_and_for_every_name_it_is_asked_by(name: str, secrets: Path) -> None:
    file = secrets / name / "server.crt"
    openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", secrets / "ca.crt", file)
    names = openssl("x509", "-in", file, "-noout", "-ext", "subjectAltName")
    inside = ["mosquitto"] if name.startswith("mosquitto") else []
    for wanted in [NAME, "localhost", *inside]:
        assert f"DNS:{wanted}" in names


def test_a_renewal_keeps_the_authority_that_devices_trust(tmp_path: Path) -> None:
    folder = make_secrets(tmp_path / "secrets")
    before = contents(folder)
    done = certificates(folder, "--renew", "new.example.org", "192.0.2.10")
    assert done.returncode == 0, done.stderr
    after = contents(folder)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {f"{place}/server.{end}" for place in ("mosquitto/certs", "nginx") for end in ("crt", "key")}
    file = folder / "nginx" / "server.crt"
    openssl("verify", "-CAfile", folder / "ca.crt", file)
    names = openssl("x509", "-in", file, "-noout", "-ext", "subjectAltName")
    assert "DNS:new.example.org" in names
    assert "IP Address:192.0.2.10" in names


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "Missing argument"),
        (("--renew", NAME), "copy ca.key and ca.crt back"),
        ((NAME,), "make_secrets.py"),
        (("no_name_at_all!", "--renew"), "neither a name nor an address"),
    ],
    ids=["without a name", "renewed before it was made", "before the passwords", "no name"],
)
def test_certificates_say_what_is_missing(words: tuple[str, ...], says: str, tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    if "--renew" in words:
        folder.mkdir()
    done = certificates(folder, *words)
    assert done.returncode in {1, 2}  # 2: the command line itself
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_that_is_not_the_authoritys_renews_nothing(tmp_path: Path, other_secrets: Path) -> None:
    folder = make_secrets(tmp_path / "secrets")
    (folder / "ca.key").write_bytes((other_secrets / "ca.key").read_bytes())
    before = contents(folder)
    done = certificates(folder, "--renew", NAME)
    assert (done.returncode, "not the key of ca.crt" in done.stderr) == (1, True)
    assert contents(folder) == before
