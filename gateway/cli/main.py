"""The command line: `gengfu COMMAND --help` shows each command with an example."""

import sys
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from collectors.payloads.mapping import MappingError
from gateway.alarms.rules.files import RuleError, load_rules
from gateway.api.http.listening import require_safe_settings
from gateway.app import Application, approval_rules, database_url
from gateway.cli.api_client import Remote, adopt, list_unknown, logged_in
from gateway.cli.audit import verify_audit
from gateway.cli.backup import back_up, needs_passphrase, restore_into
from gateway.cli.command import EXPECTED, Code, DataDir, Login, SettingsFile, Url, ask_password, fail, given, load, run
from gateway.cli.demo import run_demo
from gateway.cli.device import device
from gateway.cli.doctor import examine, read_payload
from gateway.cli.rule_test import add_test
from gateway.cli.rules import rules as rules_group
from gateway.cli.simulator import replay, simulate
from gateway.cli.user import user
from gateway.clocks import Clock, ClockName, DataClock, wall_ms
from gateway.ingest.collect import HistoryWriter
from gateway.ingest.factory import make_decoder, mapping_defaults
from gateway.logs import configure_logs
from gateway.settings import Settings, SettingsError
from gateway.storage.database import Database
from gateway.storage.leadership.lease import lock_folder
from gateway.storage.migrate import migrate as migrate_database
from gateway.storage.migrate import newest_revision

cli = typer.Typer(
    help="更夫 Gengfu, the watchman for buildings.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)
HttpPort = Annotated[int | None, typer.Option("--http-port", help="Port of the page and the API.")]
MqttHost = Annotated[str | None, typer.Option("--mqtt-host", help="Address of the MQTT broker.")]
MqttPort = Annotated[int | None, typer.Option("--mqtt-port", help="Port of the MQTT broker.")]
RuleFiles = Annotated[list[Path] | None, typer.Option("--rules", help="A YAML file with further rules; repeatable.")]


@cli.command()
def demo(
    http_port: Annotated[int, typer.Option(help="Port of the page and the API.")] = 8080,
    mqtt_port: Annotated[int, typer.Option(help="Port of the embedded broker.")] = 1883,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the data; default: a new one each time.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same run.")] = 1,
) -> None:
    """Run a small simulated site on this machine, without any installation or settings.

    Example: gengfu demo --http-port 8081
    """
    configure_logs("warning", json_lines=False)
    run(run_demo(http_port, mqtt_port, data_dir, seed, typer.echo))


@cli.command()
def serve(
    settings: SettingsFile = None,
    http_port: HttpPort = None,
    mqtt_host: MqttHost = None,
    mqtt_port: MqttPort = None,
    data_dir: DataDir = None,
    rules: RuleFiles = None,
    no_history: Annotated[
        bool, typer.Option("--no-history", help="Do not write history: gengfu collect does. Needs InfluxDB.")
    ] = False,
    clock: Annotated[
        ClockName, typer.Option(help="data: now is the newest time in the data; for tests and studies only.")
    ] = ClockName.WALL,
) -> None:
    """Run the service. Options override the environment, which overrides the settings file.

    Example: gengfu serve --mqtt-host 192.0.2.10 --data-dir /var/lib/gengfu
    """
    overrides = {
        "broker": given(host=mqtt_host, port=mqtt_port),
        "http": given(port=http_port),
        "storage": given(data_dir=data_dir),
        "history": given(write=False if no_history else None),
        "alarms": given(rule_files=tuple(rules) if rules else None),
    }
    loaded = load(settings, overrides)
    configure_logs(loaded.log.level, json_lines=loaded.log.json_lines)
    run(_serve(loaded, DataClock() if clock is ClockName.DATA else wall_ms))


async def _serve(settings: Settings, clock: Clock) -> None:
    await Application(settings, clock=clock).run()


@cli.command()
def collect(
    settings: SettingsFile = None,
    name: Annotated[str | None, typer.Option(help="Unique name of the collector.")] = None,
    http_port: Annotated[int | None, typer.Option(help="Port of /readyz and /metrics.")] = None,
    mqtt_host: MqttHost = None,
    mqtt_port: MqttPort = None,
    data_dir: DataDir = None,
    retire: Annotated[
        bool,
        typer.Option("--retire", help="Retire the collector: process its pending messages, then end its session."),
    ] = False,
) -> None:
    """Only write history to InfluxDB, beside `gengfu serve --no-history`. Several can run at once.

    Example: gengfu collect --name 2 --http-port 8082
    """
    overrides = {
        "broker": given(host=mqtt_host, port=mqtt_port),
        "collect": given(name=name, http_port=http_port),
        "storage": given(data_dir=data_dir),
    }
    loaded = load(settings, overrides)
    configure_logs(loaded.log.level, json_lines=loaded.log.json_lines)
    run(_collect(loaded, retire=retire))


async def _collect(settings: Settings, *, retire: bool) -> None:
    await HistoryWriter(settings, wall_ms, typer.echo if retire else None).run()


cli.command()(simulate)
cli.command()(replay)


@cli.command("check-settings")
def check_settings(settings: SettingsFile = None) -> None:
    """Check settings and rules without starting anything, and show the effective values.

    Example: gengfu check-settings --settings /etc/gengfu.toml
    """
    loaded = load(settings, {})
    try:
        require_safe_settings(loaded.http)
        approval_rules(loaded)
        rules = load_rules(loaded.alarms.rule_files)
        topics = make_decoder(loaded).subscriptions
    except (SettingsError, RuleError, MappingError) as error:
        fail(error)
    for section, values in loaded.model_dump(mode="json").items():
        for key, value in values.items():
            typer.echo(f"{section}.{key} = {value}")
    typer.echo(f"Topics: {', '.join(topics)}")
    typer.echo(f"{len(rules)} rules. The settings are valid.")


@cli.command()
def migrate(
    settings: SettingsFile = None,
    data_dir: DataDir = None,
    without_backup: Annotated[
        bool, typer.Option("--without-backup", help="Make no copy first: you have a backup of your own.")
    ] = False,
) -> None:
    """Upgrade the database to the schema of this version, after making a copy. Stop all services first.

    Example: gengfu migrate --data-dir /var/lib/gengfu
    """
    loaded = load(settings, {"storage": given(data_dir=data_dir)})
    configure_logs("warning", json_lines=False)
    run(_migrate(loaded, backup=not without_backup))


async def _migrate(settings: Settings, *, backup: bool) -> None:
    with lock_folder(settings.storage.data_dir):
        database = Database(database_url(settings))
        try:
            copy = await migrate_database(database, settings.storage.data_dir, backup=backup)
        finally:
            await database.close()
    typer.echo(f"The database is at {newest_revision()}." + (f" Copy of the old database: {copy}" if copy else ""))


@cli.command()
def backup(
    to: Annotated[Path | None, typer.Option("--to", help="Target folder; default: backup.folder.")] = None,
    with_history: Annotated[
        bool, typer.Option("--with-history", help="Include readings, if they are in SQLite.")
    ] = False,
    settings: SettingsFile = None,
    data_dir: DataDir = None,
) -> None:
    """Make a backup and verify it. Also while the service runs.

    It is encrypted if a passphrase is set (GENGFU_BACKUP__PASSPHRASE).

    Example: gengfu backup --to /mnt/backups --data-dir /var/lib/gengfu
    """
    loaded = load(settings, {"storage": given(data_dir=data_dir)})
    run(back_up(loaded, to, with_history, typer.echo))


@cli.command()
def restore(
    file: Annotated[Path, typer.Argument(help="The backup.")],
    into: Annotated[Path, typer.Option("--into", help="Folder that is missing or empty; becomes the data folder.")],
    settings: SettingsFile = None,
) -> None:
    """Restore a backup into an empty folder; nothing is ever overwritten.

    A backup of PostgreSQL is restored into the empty database of the settings.

    Example: gengfu restore /mnt/backups/gengfu-20261122T031500Z.backup --into /var/lib/gengfu
    """
    loaded = load(settings, {})
    passphrase = loaded.backup.passphrase.get_secret_value()
    try:
        prompt = not passphrase and needs_passphrase(file)
    except EXPECTED as error:
        fail(error)
    if prompt:
        passphrase = typer.prompt("Passphrase", hide_input=True, err=True)
    run(restore_into(file, into, passphrase, loaded, typer.echo))


@cli.command("verify-audit")
def verify_the_audit(
    settings: SettingsFile = None,
    data_dir: DataDir = None,
    key: Annotated[
        list[Path] | None, typer.Option(help="Public key to trust; repeatable. Default: those of this service.")
    ] = None,
    checkpoints: Annotated[Path | None, typer.Option(help="Folder of checkpoints kept elsewhere.")] = None,
    head: Annotated[
        list[Path] | None, typer.Option(help="Head of another service on the database; repeatable.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Verify this export instead of the database.")] = None,
    export: Annotated[Path | None, typer.Option(help="Also write the audit to this file, as JSON lines.")] = None,
) -> None:
    """Verify that no row of the audit was removed, changed or exchanged. Also while the service runs.

    Exit code 1: it is not whole; all faults are shown.

    Example: gengfu verify-audit --data-dir /var/lib/gengfu --checkpoints /mnt/elsewhere/checkpoints
    """
    loaded = load(settings, {"storage": given(data_dir=data_dir)})
    run(verify_audit(loaded, key or (), checkpoints, head or (), file, export, typer.echo))


@cli.command()
def doctor(
    message: Annotated[
        tuple[str, str],
        typer.Option("--message", help="Topic and payload; a payload may be text, @FILE, hex:0A0B or base64:Cgs=."),
    ],
    settings: SettingsFile = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(help="A mapping to test beside those in the settings: shipped name or file."),
    ] = None,
) -> None:
    """Show how a message is processed, and why; uses no broker and writes nothing.

    Exit code 1: nothing could be read.

    Example: gengfu doctor --message zigbee2mqtt/leak1 '{"water_leak": true}' --mapping zigbee2mqtt
    """
    loaded = load(settings, {})
    tried = (*loaded.collect.mappings, *(mapping or ()))
    loaded = loaded.model_copy(update={"collect": loaded.collect.model_copy(update={"mappings": tried})})
    try:
        rules, decoder = load_rules(loaded.alarms.rule_files), make_decoder(loaded)
        payload = read_payload(message[1])
    except (*EXPECTED, ValueError) as error:
        fail(error)
    findings = examine(decoder, rules, message[0], payload, wall_ms(), mapping_defaults(loaded))
    for line in findings.lines:
        typer.echo(line)
    if not findings.readable:
        raise typer.Exit(1)


equipment = typer.Typer(help="Unknown equipment.\n\nExample: gengfu equipment list", no_args_is_help=True)
add_test(rules_group)
cli.add_typer(equipment, name="equipment")
cli.add_typer(user, name="user")
cli.add_typer(rules_group, name="rules")
cli.add_typer(device, name="device")


@equipment.command("list")
def list_equipment(url: Url = "http://127.0.0.1:8080", username: Login = "", code: Code = "") -> None:
    """Show unknown equipment with its last messages. Needs the running service.

    Example: gengfu equipment list --url http://127.0.0.1:8080
    """
    run(_list_equipment(logged_in(url, username, ask_password(username), code)))


async def _list_equipment(login: AbstractAsyncContextManager[Remote]) -> None:
    async with login as remote:
        await list_unknown(remote, typer.echo)


@equipment.command("adopt")
def adopt_equipment(
    identity: Annotated[str, typer.Argument(metavar="SITE:CODE", help="SITE:CODE as shown by gengfu equipment list.")],
    name: Annotated[str, typer.Option(help="Its name; default: its code.")] = "",
    place: Annotated[str, typer.Option(help="Its place.")] = "",
    url: Url = "http://127.0.0.1:8080",
    username: Login = "",
    code: Code = "",
) -> None:
    """Adopt unknown equipment. Needs the running service.

    Example: gengfu equipment adopt hq:0x00158d000202eff6 --name "Smoke, kitchen" --place "Building 3, 2F"
    """
    run(_adopt_equipment(identity, name, place, logged_in(url, username, ask_password(username), code)))


async def _adopt_equipment(identity: str, name: str, place: str, login: AbstractAsyncContextManager[Remote]) -> None:
    async with login as remote:
        await adopt(remote, identity, name, place, typer.echo)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gengfu {version('gengfu')}")
        raise typer.Exit


@cli.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """更夫 Gengfu, the watchman for buildings."""


def main() -> None:
    """Entry point."""
    # Chinese must be printed also in the C locale.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")
    cli()
