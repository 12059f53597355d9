"""What every command shares: its options, its settings, and errors that are one sentence."""

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
    """A command cannot do what is asked; the text says what can be done."""


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
"""What a user can mend: shown as one sentence, without a trace."""

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="TOML file; default: gengfu.toml in this folder, if there is one."),
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder of the databases.")]

Url = Annotated[str, typer.Option(help="Address of the running service.")]
Login = Annotated[str, typer.Option("--username", help="Account at the service; the password is asked for.")]
Code = Annotated[str, typer.Option("--code", help="Code of the second factor, where the account asks for one.")]


def ask_password(username: str) -> str:
    """For commands that ask the running service; "" where nobody logs in."""
    return typer.prompt("Password", hide_input=True, err=True) if username else ""


def given(**values: Any) -> dict[str, Any]:
    """Only what stands on the command line."""
    return {name: value for name, value in values.items() if value is not None}


def load(file: Path | None, overrides: dict[str, dict[str, Any]]) -> Settings:
    """Read the settings, or end with what is wrong with them."""
    try:
        return load_settings(file, overrides)
    except SettingsError as error:
        fail(error)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Do the work of a command, or end with one sentence where it cannot be done."""
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
    """End with one sentence and a code that is not zero."""
    typer.echo(f"gengfu: {error}", err=True)
    raise typer.Exit(1)
