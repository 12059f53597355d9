"""Shared by all commands: options, settings, and errors in one sentence."""

import asyncio
import sqlite3
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from collectors.mqtt.broker import BrokerRefused
from collectors.payloads.mapping import MappingError
from gateway.alarms.rules.files import RuleError
from gateway.backup.restore import NotEmpty
from gateway.backup.sealed_file import BackupDamaged, PassphraseNeeded
from gateway.cli.api_client import RemoteError
from gateway.cli.errors import AuditNotWhole, NoAudit, NoPlace
from gateway.clocks import FolderOfOtherClock
from gateway.people.audit.head import NotReadable
from gateway.people.audit.key import AuditKeyError
from gateway.people.audit.verification import NotAnExport
from gateway.settings import Settings, SettingsError, load_settings
from gateway.storage.leadership.lease import FolderInUse
from gateway.storage.migrate import DatabaseRefused, NoBackup
from gateway.storage.postgres.programs import ProgramFailed
from simulators.order import OrderError
from simulators.replays.csv_rows import CsvError
from simulators.yaml_input.files import YamlFileError


class CommandRefused(Exception):
    """The command cannot do this; the text says what to do instead."""


EXPECTED: Final = (
    CommandRefused,
    SettingsError,
    RuleError,
    MappingError,
    RemoteError,
    FolderInUse,
    DatabaseRefused,
    NoBackup,
    FolderOfOtherClock,
    AuditKeyError,
    AuditNotWhole,
    NoAudit,
    NotAnExport,
    NotReadable,
    BackupDamaged,
    NoPlace,
    NotEmpty,
    PassphraseNeeded,
    ProgramFailed,
    sqlite3.Error,
    OrderError,
    BrokerRefused,
    YamlFileError,
    CsvError,
    OSError,
)
"""Errors that a user can fix: shown as one sentence, without a traceback."""

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="TOML file; default: gengfu.toml in this folder, if there is one."),
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder of the databases.")]

Url = Annotated[str, typer.Option(help="Address of the running service.")]
Login = Annotated[str, typer.Option("--username", help="Account at the service; prompts for the password.")]
Code = Annotated[str, typer.Option("--code", help="Second-factor code, if the account requires one.")]


def ask_password(username: str) -> str:
    """Prompt for the password for the running service; "" without a user name."""
    return typer.prompt("Password", hide_input=True, err=True) if username else ""


def given(**values: Any) -> dict[str, Any]:
    """Only the options given on the command line."""
    return {name: value for name, value in values.items() if value is not None}


def load(file: Path | None, overrides: dict[str, dict[str, Any]]) -> Settings:
    """Read the settings, or exit with their errors."""
    try:
        return load_settings(file, overrides)
    except SettingsError as error:
        fail(error)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a command, or exit with one sentence if it fails."""
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BaseExceptionGroup as group:
        expected = group.subgroup(EXPECTED)
        if expected is None:
            raise
        fail(_first(expected))
    except EXPECTED as error:
        fail(error)


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def fail(error: BaseException) -> NoReturn:
    """Exit with one sentence and a non-zero code."""
    typer.echo(f"gengfu: {error}", err=True)
    raise typer.Exit(1)
