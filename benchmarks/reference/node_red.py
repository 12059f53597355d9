"""The reference of an alternative: Node-RED, with a flow of its own nodes only.

mqtt in (QoS 1, JSON) -> function: one threshold, line protocol -> join: 5,000 lines or half a second -> http request
"""

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.rig.service import wait_until
from tests.servers.mosquitto import free_port

_HERE: Final = Path(__file__).parent
_BUCKET: Final = "nodered"
_PLACE: Final = {"z": "tab", "x": 100, "y": 100}
"""Node-RED treats a node without a position on the tab as a configuration node."""
_FUNCTION: Final = """
const pump = msg.topic.split("/")[3], sample = msg.payload;
if (sample.bearing_temperature > 82) node.warn(`${pump} is hot`);
const fields = ["discharge_pressure", "flow", "current_a", "bearing_temperature", "vibration"]
    .map((name) => `${name}=${sample[name]}`).join(",");
return { payload: `pump,equipment=${pump} ${fields} ${sample.at}` };
"""


def _flow(mqtt_port: int, influx: str) -> list[dict[str, Any]]:
    write = f"{influx}/api/v2/write?bucket={_BUCKET}&precision=ms"
    return [
        {"id": "tab", "type": "tab", "label": "benchmark"},
        {"id": "broker", "type": "mqtt-broker", "broker": "127.0.0.1", "port": str(mqtt_port), "clientid": "node-red",
         "protocolVersion": "4", "keepalive": "60", "cleansession": True},
        {"id": "in", **_PLACE, "type": "mqtt in", "topic": "gengfu/+/+/+/+", "qos": "1", "datatype": "json",
         "broker": "broker", "wires": [["decode"]]},
        {"id": "decode", **_PLACE, "type": "function", "func": _FUNCTION, "outputs": 1, "wires": [["join"]]},
        {"id": "join", **_PLACE, "type": "join", "mode": "custom", "build": "string", "joiner": "\\n",
         "joinerType": "str", "count": "5000", "timeout": "0.5", "property": "payload", "propertyType": "msg",
         "wires": [["write"]]},
        {"id": "write", **_PLACE, "type": "http request", "method": "POST", "url": write, "ret": "txt",
         "wires": [[]]},
    ]  # fmt: skip


@contextmanager
def running(mqtt_port: int, influx: str, folder: Path) -> Iterator[None]:
    """Node-RED, connected to the broker when the block begins."""
    home, log = folder / "node-red", folder / "node-red.log"
    home.mkdir()
    (home / "settings.js").write_text("module.exports = { httpAdminRoot: false, telemetry: { enabled: false } };")
    (home / "flow.json").write_text(json.dumps(_flow(mqtt_port, influx)))
    _ask(influx, f"CREATE DATABASE {_BUCKET}")
    command = [
        "node", str(_HERE / "node_modules" / "node-red" / "red.js"), "--userDir", str(home),
        "--port", str(free_port()), "--settings", str(home / "settings.js"), str(home / "flow.json"),
    ]  # fmt: skip
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, cwd=home) as process:
        try:
            wait_until(lambda: "Connected to broker" in log.read_text())
            yield
        finally:
            process.terminate()
            process.wait(20)


def wait_for_points(influx: str, points: int) -> None:
    """Return when InfluxDB has the given number of points of the flow."""
    wait_until(lambda: _points(influx) >= points)


def _points(influx: str) -> int:
    (result,) = _ask(influx, "SELECT count(flow) FROM pump")["results"]
    return int(result["series"][0]["values"][0][1]) if "series" in result else 0


def _ask(influx: str, statement: str) -> Any:
    body = urllib.parse.urlencode({"q": statement, "db": _BUCKET}).encode()
    with urllib.request.urlopen(f"{influx}/query", body, timeout=30) as answer:  # noqa: S310 - our own server
        return json.loads(answer.read())
