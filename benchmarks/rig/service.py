"""Shared by the benchmarks: the service as a separate process, a load, and measurements of both."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Final

from tests.servers.mosquitto import Mosquitto, free_port

RULES: Final = Path(__file__).with_name("ingest_rules.yaml")
"""Six rules on the load's pumps, in which one message in twenty thousand is an alarm."""
_DEADLINE_S: Final = 300.0
_NO_SETTINGS: Final[Mapping[str, str]] = MappingProxyType({})
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


class Running:
    """`gengfu serve` while it runs."""

    def __init__(self, process: "subprocess.Popen[bytes]", http_port: int) -> None:
        self.http_port = http_port
        self._pid = process.pid

    def metric(self, name: str) -> float:
        """A metric's value; -1 while the service does not respond or does not have it."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics", timeout=5) as answer:
                found = re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.MULTILINE)
        except OSError:
            return -1.0
        return float(found[1]) if found else -1.0

    def wait_for(self, messages: int) -> None:
        """Return when the given number of messages is acknowledged and the spool is empty."""
        wait_until(lambda: self.metric("gengfu_messages_acknowledged_total") >= messages)
        wait_until(lambda: self.metric("gengfu_spool_readings") == 0)

    @property
    def resident_mb(self) -> float:
        """Memory of the process."""
        status = Path(f"/proc/{self._pid}/status").read_text(encoding="ascii")
        found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) / 1000

    @property
    def cpu_s(self) -> float:
        """Processor time of the process."""
        fields = Path(f"/proc/{self._pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


@contextmanager
def own_folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="gengfu-bench-") as name:
        yield Path(name)


@contextmanager
def own_broker(folder: Path) -> Iterator[int]:
    """A Mosquitto; its port."""
    broker = Mosquitto(folder / "mosquitto").start()
    try:
        yield broker.port
    finally:
        broker.stop()


@contextmanager
def serving(
    mqtt_port: int, data_dir: Path, settings: Mapping[str, str] = _NO_SETTINGS, options: Sequence[str] = ()
) -> Iterator[Running]:
    """The service, connected to the broker when the block begins; `settings` are environment variables."""
    http = free_port()
    command = [
        str(Path(sys.executable).with_name("gengfu")), "serve", "--mqtt-port", str(mqtt_port), "--http-port", str(http),
        "--data-dir", str(data_dir), *options,
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, **settings}) as process:
        running = Running(process, http)
        try:
            wait_until(lambda: running.metric("gengfu_broker_connected") == 1)
            yield running
        finally:
            process.terminate()
            process.wait(20)


@contextmanager
def load_on(port: int, messages: int, pumps: int, rate: int = 0) -> Iterator[None]:
    """A publisher that begins with the block, as fast as possible or at a rate; awaited at the block's end."""
    command = [sys.executable, "-m", "benchmarks.rig.load", *map(str, (port, messages, pumps, rate))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as publisher:
        assert publisher.stdin is not None
        assert publisher.stdout is not None
        publisher.stdout.readline()
        publisher.stdin.write("go\n")
        publisher.stdin.flush()
        yield
        publisher.stdout.readline()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.perf_counter() + _DEADLINE_S
    while not condition():
        if time.perf_counter() > deadline:
            raise TimeoutError("the benchmark did not finish")
        time.sleep(0.1)
