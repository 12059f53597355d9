"""`gengfu simulate` and `gengfu replay`: simulated devices and recordings that publish to a broker."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.command import run
from gateway.clocks import wall_ms
from simulators.order import Connections, Wish, read_start, simulate_wish
from simulators.publisher import BrokerAddress, Publisher
from simulators.replays.mapping import load_mapping
from simulators.replays.replay import replay_file
from simulators.run import Pace

MqttHost = Annotated[str, typer.Option(help="Address of the MQTT broker.")]
MqttPort = Annotated[int, typer.Option(help="Port of the MQTT broker.")]
Username = Annotated[str, typer.Option(help="User at the broker.")]
Password = Annotated[str, typer.Option(envvar="GENGFU_BROKER__PASSWORD", help="Password at the broker.")]
CaFile = Annotated[Path | None, typer.Option(help="CA of the broker's certificate; turns TLS on.")]


def simulate(
    estate: Annotated[
        str, typer.Option(help="Estate file, or the name of a shipped one; default: the scenario's.")
    ] = "",
    scenario: Annotated[str, typer.Option(help="Scenario file, or a name; default: demo, with --equipment calm.")] = "",
    equipment: Annotated[int, typer.Option(min=0, help="Generate an estate of this size, for load tests.")] = 0,
    rate: Annotated[float, typer.Option(min=0.001, help="2 sends telemetry twice as often.")] = 1.0,
    speed: Annotated[float, typer.Option(min=0.1, help="Simulated seconds per second.")] = 1.0,
    start: Annotated[str, typer.Option(help="Simulated time at the start (RFC 3339); default: now.")] = "",
    keep_times: Annotated[
        bool, typer.Option("--keep-times", help="Send the simulated time, not the real one.")
    ] = False,
    connections: Annotated[
        Connections,
        typer.Option(help="each: one connection per equipment, with a last will; shared: one for all."),
    ] = Connections.AUTO,
    seed: Annotated[int, typer.Option(help="The same seed gives the same run.")] = 1,
    mqtt_host: MqttHost = "127.0.0.1",
    mqtt_port: MqttPort = 1883,
    username: Username = "",
    password: Password = "",
    ca_file: CaFile = None,
) -> None:
    """Simulate lifts, pumps, a fire panel and sensors that publish to a broker, until Ctrl-C.

    Example: gengfu simulate --scenario fire_spreads --speed 2
    """
    address = BrokerAddress(mqtt_host, mqtt_port, username, password, ca_file)
    wanted = Wish(estate, scenario, equipment, seed, connections)
    run(_simulate(wanted, address, rate, speed, start, keep_times))


async def _simulate(
    wanted: Wish, address: BrokerAddress, rate: float, speed: float, start: str, keep_times: bool
) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):  # so that every device disconnects cleanly
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    start_ms = read_start(start)
    pace = Pace(clock=wall_ms, speed=speed, rate=rate, start_ms=start_ms, keep_times=keep_times)
    await simulate_wish(wanted, address, pace, stop)


def replay(
    file: Annotated[Path, typer.Argument(help="CSV file to send.")],
    map_name: Annotated[str, typer.Option("--map", help="Mapping file, or the name of a shipped one.")],
    speed: Annotated[float, typer.Option(min=0, help="Seconds of data per second; 0: as fast as acknowledged.")] = 1.0,
    keep_times: Annotated[
        bool, typer.Option("--keep-times", help="Send the data's own times; for serve --clock data.")
    ] = False,
    site: Annotated[str | None, typer.Option(help="Send it as equipment of this site.")] = None,
    equipment: Annotated[str | None, typer.Option(help="Send it as this equipment.")] = None,
    mqtt_host: MqttHost = "127.0.0.1",
    mqtt_port: MqttPort = 1883,
    username: Username = "",
    password: Password = "",
    ca_file: CaFile = None,
) -> None:
    """Publish a CSV file to the broker as an equipment's telemetry.

    Each row gets the time at which it is sent, so delays of rules run in real time. With --keep-times they run in the
    data's time, and the service must run with --clock data.

    Example: gengfu replay pump.csv --map skab --speed 60
    """
    address = BrokerAddress(mqtt_host, mqtt_port, username, password, ca_file)
    run(_replay(file, map_name, speed, keep_times, (site, equipment), address))


async def _replay(
    file: Path,
    name: str,
    speed: float,
    keep_times: bool,
    target: tuple[str | None, str | None],
    address: BrokerAddress,
) -> None:
    mapping = load_mapping(name).aimed_at(site=target[0], equipment=target[1])
    async with Publisher(address) as publisher:
        summary = await replay_file(file, mapping, publisher, speed=speed, keep_times=keep_times, clock=wall_ms)
    typer.echo(f"{summary.sent} of {summary.rows} rows sent in {summary.seconds:.1f} s")
    if summary.cells_left_out:
        typer.echo(f"{summary.cells_left_out} cells ignored:", err=True)
        for problem in summary.problems:
            typer.echo(f"  {problem}", err=True)
