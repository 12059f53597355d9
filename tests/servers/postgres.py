"""A real PostgreSQL for the tests of one worker: own port and folder, and for each test a fresh database."""

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.servers.mosquitto import free_port

_START_S = 30.0
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
"""Losing a test's database with the machine's power is no loss."""


def bin_folder() -> Path | None:
    """Where initdb and postgres are: Debian keeps them off the path, by version."""
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda file: int(file.parent.parent.name))
    found = newest[-1] if newest else shutil.which("postgres")
    return Path(found).parent if found else None


def require_postgres() -> Path:
    """The folder of the programs; skip on a machine without PostgreSQL; fail in CI, where it must be there."""
    folder = bin_folder()
    if folder is not None:
        return folder
    message = "postgresql is not installed; `make test` installs it (apt-get install postgresql)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


class Postgres:
    """Start, stop, kill; the port and the data stay until it is closed. Everybody here may log in as `gengfu`."""

    def __init__(self, *, durable: bool = False) -> None:
        self._programs = require_postgres()
        # Not in pytest's folder: each new run of pytest shuts that to other users, and PostgreSQL does not run as root.
        self.folder = Path(tempfile.mkdtemp(prefix="gengfu-postgres-"))
        self.port = free_port()
        self._settings = () if durable else _FAST
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._as_user: dict[str, Any] = {}
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres")
            self._as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        options = ("--username=gengfu", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        command = [self._programs / "initdb", "--pgdata", self.folder / "data", *options]
        made = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, **self._as_user)
        assert made.returncode == 0, made.stderr

    def start(self) -> "Postgres":
        settings = (
            f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=100",
            "shared_buffers=32MB", *self._settings,
        )  # fmt: skip
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data")]
        command += [word for setting in settings for word in ("-c", setting)]
        with (self.folder / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self._as_user)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._accepts():
                return self
            time.sleep(0.02)
        raise RuntimeError(f"postgres did not start: {(self.folder / 'postgres.log').read_text()[-2000:]}")

    def _accepts(self) -> bool:
        command = [self._programs / "pg_isready", "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        return subprocess.run(command, check=False).returncode == 0

    def stop(self) -> None:
        """At once, with a clean end: sessions are cut off (a fast shutdown)."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As a loss of power would, but for the disk's cache; the next start recovers."""
        self._end(signal.SIGQUIT)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def url(self, name: str) -> str:
        return f"postgresql+asyncpg://gengfu@127.0.0.1:{self.port}/{name}"

    def new_name(self) -> str:
        return f"test{next(self._numbers)}"

    def create(self, name: str, template: str = "template0") -> str:
        """A new database, as a copy of another one; its address."""
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, name: str) -> None:
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def run(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own; its rows."""

        async def ask() -> list[tuple[Any, ...]]:
            connection = await asyncpg.connect(self.url(database).replace("+asyncpg", ""))
            try:
                return [tuple(row) for row in await connection.fetch(statement)]
            finally:
                await connection.close()

        with ThreadPoolExecutor(1) as thread:  # a loop of its own, also where one runs
            return thread.submit(asyncio.run, ask()).result()
