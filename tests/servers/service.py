"""The real service as a process of its own, started, killed and started again on one data folder; or a collector."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.servers.mosquitto import free_port

GENGFU = str(Path(sys.executable).with_name("gengfu"))
_START_S = 60.0


def wait_until(condition: Callable[[], Any], what: str, seconds: float = _START_S) -> Any:
    """Poll a condition until it is true; fail, naming it, when it does not become so."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


class Service:
    """One data folder and one HTTP port; a process comes and goes."""

    def __init__(self, folder: Path, mqtt_port: int, *options: str, command: str = "serve", **environment: str) -> None:
        self.folder = folder
        self.mqtt_port = mqtt_port
        self.http_port = free_port()
        self.log = folder.with_suffix(".log")
        self._command = [
            GENGFU, command, "--mqtt-port", str(mqtt_port), "--http-port", str(self.http_port),
            "--data-dir", str(folder), *options,
        ]  # fmt: skip
        self._environment = environment
        self.token = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Service":
        with self.log.open("ab") as log:
            environment = {**os.environ, **self._environment}
            self._process = subprocess.Popen(self._command, stderr=log, stdout=log, env=environment)
        return self

    def start_ready(self) -> "Service":
        self.start()
        wait_until(self.is_ready, "the service is ready")
        return self

    def is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        try:
            return bool(self.get("/readyz")["ready"])
        except OSError:
            return False

    def unready(self) -> dict[str, str] | None:
        """What each part waits for; None while everything works, or nothing answers."""
        try:
            self.get("/readyz")
        except urllib.error.HTTPError as error:
            return dict(json.loads(error.read())["components"])
        except OSError:
            return None
        return None

    def wait(self) -> int:
        """The exit code of a process that ends by itself."""
        assert self._process is not None
        code, self._process = self._process.wait(_START_S), None
        return code

    def components(self) -> dict[str, str]:
        """What `/readyz` says of each part, ready or not."""
        try:
            return dict(self.get("/readyz")["components"])
        except urllib.error.HTTPError as error:
            return dict(json.loads(error.read())["components"])

    def owns(self) -> bool:
        """Whether it owns the alarms, and every part works."""
        try:
            return self.components()["leader"] == "ready" and self.is_ready()
        except OSError:
            return False

    def pause(self) -> None:
        """As a machine that swaps, or a virtual one that is moved: it sleeps and knows nothing of it."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, what: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(what)

    def kill(self) -> None:
        """As a power cut would: no chance to finish anything."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Orderly; returns the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(how)
        code = self._process.wait(60)  # generous: tests that promise a time measure it themselves
        self._process = None
        return code

    def get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def ask(self, path: str) -> tuple[int, Any]:
        """GET, whatever the status."""
        try:
            return 200, self.get(path)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"{name} "):
                    return float(line.split()[1])
        raise KeyError(name)
