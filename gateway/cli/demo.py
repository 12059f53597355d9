"""The demo: broker, service and a simulated site in one command, on this machine only."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from pathlib import Path
from typing import Final

from iotcore import Broker as EmbeddedBroker

from gateway.app import Application
from gateway.clocks import wall_ms
from gateway.equipment.ledger import Equipment, Site
from gateway.equipment.topology import Link, Relation
from gateway.people.people import DEMO_PASSWORD
from gateway.people.permissions import Role
from gateway.settings import Settings
from simulators.devices.device import Texts
from simulators.estate import Estate, load_estate
from simulators.faults.scenario import load_scenario
from simulators.lines import SharedLine
from simulators.publisher import BrokerAddress, Publisher
from simulators.run import Pace, simulate

_TIME_ZONE: Final = "Asia/Shanghai"
_HOST: Final = "127.0.0.1"
SKAB_RULES: Final = Path(str(files("simulators"))) / "replays" / "skab.rules.yaml"
"""Rules for the real pump data that `gengfu replay --map skab` sends."""


def ledger_of(estate: Estate) -> tuple[list[Site], list[Equipment]]:
    """An estate file's site and equipment in the form of the ledger."""
    site = Site(estate.site, _texts(estate.name), _TIME_ZONE)
    items = [
        Equipment(estate.site, item.code, item.kind, _texts(item.name), _texts(item.place)) for item in estate.equipment
    ]
    return [site], items


def links_of(estate: Estate) -> list[Link]:
    """Power and network links of the equipment of an estate file."""
    by = [(item.code, item.fed_by, Relation.POWER) for item in estate.equipment]
    by += [(item.code, item.carried_by, Relation.NETWORK) for item in estate.equipment]
    return [Link(estate.site, child, parent, relation) for child, parent, relation in by if parent]


def _texts(name: Texts) -> dict[str, str]:
    return {"en": name.en, "zh-CN": name.zh}


@contextlib.asynccontextmanager
async def embedded_broker(port: int) -> AsyncIterator[None]:
    """The included broker, for demo and trial: it holds messages in memory."""
    broker = EmbeddedBroker(port=port, listen=_HOST, max_inflight_count=1000)
    await asyncio.to_thread(broker.start)
    try:
        yield
    finally:
        await asyncio.to_thread(broker.stop)


async def run_demo(
    http_port: int, mqtt_port: int, data_dir: Path | None, seed: int, say: Callable[[str], None]
) -> None:
    """Run until stopped. Raises OSError if a port is in use."""
    estate = load_estate("demo")
    with contextlib.ExitStack() as stack:
        folder = data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gengfu-demo-")))
        settings = Settings().model_copy(update=_demo_sections(http_port, mqtt_port, folder))
        async with embedded_broker(mqtt_port):
            app = Application(settings, ledger_of(estate), links=links_of(estate), demo=True)
            serving = asyncio.create_task(app.run(), name="service")
            started = asyncio.create_task(app.started.wait(), name="started")
            await asyncio.wait({serving, started}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                started.cancel()
                return serving.result()
            say(_welcome(app.address, mqtt_port, folder))
            await _simulate_while(serving, estate, mqtt_port, seed)
    return None


async def _simulate_while(serving: asyncio.Task[None], estate: Estate, mqtt_port: int, seed: int) -> None:
    stop = asyncio.Event()
    serving.add_done_callback(lambda _: stop.set())
    async with Publisher(BrokerAddress(_HOST, mqtt_port)) as publisher:
        pace = Pace(clock=wall_ms)
        await simulate(estate, load_scenario("demo"), SharedLine(publisher), seed=seed, pace=pace, stop=stop)
    await serving


def _demo_sections(http_port: int, mqtt_port: int, folder: Path) -> dict[str, object]:
    """The settings of a demo; a `gengfu.toml` nearby is for the real service and is not read."""
    default = Settings.model_construct()
    return {
        # rumqttd supports one version of MQTT per listener; this one is 3.1.1.
        "broker": default.broker.model_copy(update={"host": _HOST, "port": mqtt_port, "protocol": 4}),
        "http": default.http.model_copy(update={"host": _HOST, "port": http_port}),
        "storage": default.storage.model_copy(update={"data_dir": folder}),
        "alarms": default.alarms.model_copy(update={"rule_files": (SKAB_RULES,)}),
    }


def _welcome(address: str, mqtt_port: int, folder: Path) -> str:
    roles = ", ".join(role.value for role in Role)
    return (
        f"\n  更夫 Gengfu demo: {address}\n\n"
        f"  Log in / 登录:   operator   {DEMO_PASSWORD}\n"
        "  Known to everybody, so on this machine only / 密码公开，仅限本机访问\n"
        f"  Every role / 各角色:   {roles} (the same password / 密码相同)\n"
        f"  MQTT broker:   {_HOST}:{mqtt_port}\n"
        f"  Data / 数据:   {folder}\n\n"
        "  Faults begin within ten seconds. Ctrl-C ends the demo. / 十秒内出现故障，Ctrl-C 结束。\n"
    )
