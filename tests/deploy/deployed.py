"""The files of `deploy/` and the compose file, as tests read them, and real servers started with them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.servers.mosquitto import Mosquitto
from tests.servers.service import GENGFU

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
COMPOSE = ROOT / "docker-compose.yml"
NAME = "gengfu.example.org"
"""The name for which the certificates are made; `localhost` is in them too."""
PASSWORD = "nine kettles sing before dawn"


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return document


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def moved(text: str, places: Mapping[str, str]) -> str:
    """The text with other places and ports, which is all that a test may change; each must stand in it."""
    for place, other in places.items():
        assert place in text, f"{place!r} is not in the file any more"
        text = text.replace(place, other)
    return text


def make_secrets(folder: Path) -> Path:
    """Passwords and certificates as an administrator makes them."""
    subprocess.run([sys.executable, DEPLOY / "make_secrets.py", "--folder", folder], check=True, capture_output=True)
    command = [GENGFU, "device", "certificates", "--folder", folder, NAME]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def variables(file: Path) -> dict[str, str]:
    """An environment file."""
    pairs = (line.split("=", 1) for line in file.read_text(encoding="utf-8").splitlines())
    return dict(pairs)


def gengfu(*words: str | Path, typed: str = "", **environment: str) -> str:
    """What a command prints that must succeed; `typed` stands on its input."""
    done = subprocess.run(
        [GENGFU, *words], input=typed, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class DeployedMosquitto(Mosquitto):
    """Mosquitto with deploy/mosquitto/gengfu.conf and a main file; TLS only."""

    def __init__(self, folder: Path, secrets: Path, main: str, places: Mapping[str, str]) -> None:
        super().__init__(folder)
        self.secrets = folder / "etc"
        shutil.copytree(secrets / "mosquitto", self.secrets)
        shutil.copy(secrets / "ca.crt", self.secrets)
        (folder / "conf.d").mkdir()
        (folder / "mosquitto.conf").write_text(
            moved(main, {**places, "/etc/mosquitto/conf.d": str(folder / "conf.d")}), encoding="utf-8"
        )
        ours = (DEPLOY / "mosquitto" / "gengfu.conf").read_text(encoding="utf-8")
        (folder / "conf.d" / "gengfu.conf").write_text(
            moved(ours, {"listener 8883": f"listener {self.port} 127.0.0.1", "/etc/mosquitto/": f"{self.secrets}/"}),
            encoding="utf-8",
        )

    @property
    def ca_file(self) -> Path:
        return self.secrets / "ca.crt"

    def reload(self) -> None:
        """As an administrator does after a change of accounts."""
        assert self._process is not None
        self._process.send_signal(1)

    def client(self, program: str, *options: str, **login: str) -> list[str]:
        """A command line of mosquitto_pub or mosquitto_sub, MQTT 5, QoS 1."""
        named = [word for option, value in login.items() for word in (f"--{option}", value)]
        return [program, "-h", "localhost", "-p", str(self.port), "--cafile", str(self.ca_file), "-V", "5", "-q", "1",
                *named, *options]  # fmt: skip

    def publish(self, topic: str, *options: str, message: str = "{}", **login: str) -> str:
        """Publish one message; what the broker has against it, "" for nothing."""
        command = self.client("mosquitto_pub", "-t", topic, "-m", message, *options, **login)
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stderr
