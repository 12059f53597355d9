"""A real InfluxDB for the tests: Debian's influxd behind an nginx that gives it the write address of InfluxDB 2."""

import contextlib
import os
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.servers.mosquitto import free_port

INFLUXD = shutil.which("influxd") or "/usr/bin/influxd"
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
_START_S = 20.0


def require_influxdb() -> None:
    """Skip on a machine without influxdb and nginx; fail in CI, where they must be there."""
    if Path(INFLUXD).exists() and Path(NGINX).exists():
        return
    message = "influxdb or nginx is not installed; `make test` installs them (apt-get install influxdb nginx-light)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


class InfluxDB:
    """Start and stop; the ports and the data stay. `url` is what a store is given."""

    def __init__(self, folder: Path, *, auth: bool = False) -> None:
        require_influxdb()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port, self.front_port, rpc_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.front_port}"
        self._server: subprocess.Popen[bytes] | None = None
        self._front: subprocess.Popen[bytes] | None = None
        (folder / "influxdb.conf").write_text(
            f'reporting-disabled = true\nbind-address = "127.0.0.1:{rpc_port}"\n'
            f'[meta]\ndir = "{folder}/meta"\n'
            f'[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\nquery-log-enabled = false\n'
            'index-version = "tsi1"\n[monitor]\nstore-enabled = false\n'
            f'[http]\nbind-address = "127.0.0.1:{self.port}"\nlog-enabled = false\n'
            f"auth-enabled = {str(auth).lower()}\n[logging]\nsuppress-logo = true\n",
            encoding="utf-8",
        )
        (folder / "nginx.conf").write_text(
            f"daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log {folder}/nginx.log;\n"
            "events { worker_connections 256; }\nhttp {\n  access_log off;\n  client_max_body_size 64m;\n"
            + "".join(
                f"  {kind}_temp_path {folder}/{kind};\n"
                for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            + f"  server {{\n    listen 127.0.0.1:{self.front_port};\n    location = /api/v2/write {{\n"
            f"      proxy_pass http://127.0.0.1:{self.port}/write?db=$arg_bucket&precision=$arg_precision;\n    }}\n"
            f"    location / {{ proxy_pass http://127.0.0.1:{self.port}; }}\n  }}\n}}\n",
            encoding="utf-8",
        )

    def start(self) -> "InfluxDB":
        if self._front is None:
            command = [NGINX, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
            self._front = _run(command, self.folder / "nginx.out")
        self._server = _run([INFLUXD, "-config", str(self.folder / "influxdb.conf")], self.folder / "influxd.log")
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/ping", timeout=2):
                return self
            time.sleep(0.02)
        raise RuntimeError(f"influxdb did not start: {(self.folder / 'influxd.log').read_text()[-2000:]}")

    def add_admin(self, name: str, password: str) -> None:
        """The first user, who may be made without a login."""
        statement = f"CREATE USER {name} WITH PASSWORD '{password}' WITH ALL PRIVILEGES"
        with urllib.request.urlopen(f"{self.url}/query", urllib.parse.urlencode({"q": statement}).encode()):
            pass

    def stop(self) -> None:
        """The server only; what stands before it then answers 502."""
        _end(self._server)
        self._server = None

    def close(self) -> None:
        self.stop()
        _end(self._front)
        self._front = None


def _run(command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as out:
        return subprocess.Popen(command, stdout=out, stderr=out)


def _end(process: "subprocess.Popen[bytes] | None") -> None:
    if process is not None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
