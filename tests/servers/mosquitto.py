"""A real Mosquitto for one test: own port, own folder, the limits that the README asks for."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
_START_S = 10.0


def require_mosquitto() -> None:
    """Skip on a machine without Mosquitto; fail in CI, where it must be there."""
    if Path(MOSQUITTO).exists():
        return
    message = "mosquitto is not installed; `make test` installs it (apt-get install mosquitto mosquitto-clients)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """Start, stop, kill; the port and the persisted messages stay."""

    def __init__(self, folder: Path, extra: str = "") -> None:
        require_mosquitto()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        # Persistence on, nothing dropped for number, many in flight: what the promises of ingest are made with.
        (folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\n"
            + ("" if "allow_anonymous" in extra else "allow_anonymous true\n")
            + f"persistence true\npersistence_location {folder}/\nautosave_interval 1\nautosave_on_changes false\n"
            "max_queued_messages 0\nmax_queued_bytes 1073741824\nmax_inflight_messages 20000\n"
            f"log_dest file {folder}/mosquitto.log\n" + extra,
            encoding="utf-8",
        )

    def start(self) -> "Mosquitto":
        command = [MOSQUITTO, "-c", str(self.folder / "mosquitto.conf")]
        if os.getuid() == 0:
            shutil.chown(self.folder, "mosquitto")  # it gives up root by itself and must still write here
            for parent in self.folder.parents:
                if not parent.stat().st_mode & 0o001:
                    parent.chmod(parent.stat().st_mode | 0o111)
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.02)
        log = self.folder / "mosquitto.log"
        raise RuntimeError(f"mosquitto did not start: {log.read_text() if log.exists() else 'no log'}")

    def stop(self) -> None:
        """Orderly (SIGTERM): what it holds is written to disk."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """It hangs: connections stand, and nothing comes through."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, what: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(what)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(10)
            self._process = None
