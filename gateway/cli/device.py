"""`gengfu device`: accounts of devices at the broker, and the certificates of a new installation."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway.devices import broker_accounts, certificates
from gateway.devices.account_files import Reloaded, change, read, reload
from gateway.devices.broker_accounts import Account, DeviceError, Files, Role
from gateway.devices.mosquitto_passwords import new_password
from gateway.settings import DeviceSettings, SettingsError, load_settings

device = typer.Typer(
    help="Accounts of devices at the broker, and its certificates.\n\nExample: gengfu device add HQ/pump/P-1",
    no_args_is_help=True,
)
_RELOAD: dict[Reloaded, str] = {
    Reloaded.NOTIFIED: "Mosquitto was notified and reads its files again.",
    Reloaded.NOT_HERE: "Mosquitto does not run here. Make it read its files again, where it runs:",
    Reloaded.NOT_PERMITTED: "Mosquitto could not be notified (that needs root). Make it read its files again:",
}
_HOW = "  docker compose kill --signal HUP mosquitto\n  systemctl reload mosquitto            # without containers"

Name = Annotated[str, typer.Argument(metavar="NAME", help="SITE/KIND/EQUIPMENT, as HQ/pump/P-1; or a gateway's name.")]
AccountsDir = Annotated[Path | None, typer.Option("--accounts-dir", help="Folder of Mosquitto's passwords and acl.")]
SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="TOML file; default: gengfu.toml in this folder, if there is one."),
]


@device.command("add")
def add(
    name: Name,
    topic: Annotated[
        list[str] | None,
        typer.Option(help="For a third-party gateway: its own topics, to publish and subscribe; repeatable."),
    ] = None,
    rotate: Annotated[bool, typer.Option("--rotate", help="Set a new password for an existing account.")] = False,
    accounts_dir: AccountsDir = None,
    settings: SettingsFile = None,
) -> None:
    """Create an account for a device, which may publish under its own topics only. Shows its password once.

    Example: gengfu device add HQ/pump/P-1
    """
    with _said_plainly():
        given = _given(settings, accounts_dir)
        if rotate and topic:
            raise DeviceError("--rotate changes the password only: omit --topic")
        password = new_password()

        def decide(files: Files) -> Files:
            if rotate:
                return broker_accounts.rotate(files, name, password)
            return broker_accounts.add(files, name, topic or (), password)

        change(given.accounts_dir, decide)
        typer.echo(f"User name: {name}\nPassword:  {password}\nIt is shown only once; --rotate sets a new one.")
        _notify_mosquitto(given, "with the old password" if rotate else "")


@device.command("list")
def list_accounts(accounts_dir: AccountsDir = None, settings: SettingsFile = None) -> None:
    """Show every account at the broker and its permissions.

    Example: gengfu device list
    """
    with _said_plainly():
        for account in broker_accounts.accounts(read(_given(settings, accounts_dir).accounts_dir)):
            typer.echo(f"{account.name}  {account.role}: {_may(account)}")


@device.command("revoke")
def revoke(name: Name, accounts_dir: AccountsDir = None, settings: SettingsFile = None) -> None:
    """Remove a device's account. Mosquitto closes its connection when it reads its files again.

    Example: gengfu device revoke HQ/pump/P-1
    """
    with _said_plainly():
        given = _given(settings, accounts_dir)
        change(given.accounts_dir, lambda files: broker_accounts.revoke(files, name))
        typer.echo(f"The account {name} is removed.")
        _notify_mosquitto(given, "with the account")


@device.command("certificates")
def make_certificates(
    names: Annotated[
        list[str], typer.Argument(help="Names and addresses by which devices and people reach this server.")
    ],
    folder: Annotated[Path, typer.Option(help="Folder in which deploy/make_secrets.py created the passwords.")] = Path(
        "deploy/secrets"
    ),
    renew: Annotated[bool, typer.Option("--renew", help="The same authority, new certificates.")] = False,
) -> None:
    """Create a certificate authority, and certificates for the broker and the proxy. Devices get ca.crt.

    Example: gengfu device certificates gengfu.example.org 192.0.2.10
    """
    with _said_plainly():
        make = certificates.renew if renew else certificates.make_first
        make(folder, names, datetime.now(UTC))
        days = certificates.CERTIFICATE_LIFE.days
        typer.echo(f"Created in {folder}: certificates for {', '.join(names)}, valid for {days} days.")
        typer.echo("Install ca.crt on devices and in browsers. Keep ca.key on another machine until you renew.")


def _may(account: Account) -> str:
    if account.role is Role.DEVICE:
        return f"publishes under gengfu/{account.name}/, cannot subscribe"
    return ", ".join(account.topics)


def _given(settings: Path | None, accounts_dir: Path | None) -> DeviceSettings:
    return load_settings(settings, {"devices": {"accounts_dir": accounts_dir}} if accounts_dir else {}).devices


def _notify_mosquitto(given: DeviceSettings, still_in: str) -> None:
    reloaded = reload(given.pid_file)
    typer.echo(_RELOAD[reloaded])
    if reloaded is not Reloaded.NOTIFIED:
        typer.echo(_HOW)
        if still_in:
            typer.echo(f"Until then the device can connect {still_in}.")


@contextlib.contextmanager
def _said_plainly() -> Iterator[None]:
    """Errors that a user can fix, as one sentence, without a traceback."""
    try:
        yield
    except (DeviceError, SettingsError, OSError, UnicodeDecodeError) as error:
        typer.echo(f"gengfu: {error}", err=True)
        raise typer.Exit(1) from None
