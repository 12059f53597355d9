"""`gengfu user`: accounts and tokens, on the machine with the database. Also while the service runs.

It needs no login, only write access to the database; the audit names the user of the operating system.
"""

import getpass
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from collectors.wire.reading import to_datetime
from gateway.app import database_url
from gateway.cli.command import CommandRefused, DataDir, SettingsFile, given, load, run
from gateway.clocks import wall_ms
from gateway.logs import configure_logs
from gateway.people.accounts import (
    LastAdministrator,
    NewPerson,
    NoSuchPerson,
    NotAName,
    PersonRecord,
    StalePerson,
    UsernameTaken,
    WeakPassword,
)
from gateway.people.audit.entry import Cause, Via
from gateway.people.authentication.logins import NoSuchLogin
from gateway.people.authentication.secret_seal import SecretSeal, seal_file
from gateway.people.authentication.tokens import NewToken, NoSuchToken, NotAToken
from gateway.people.people import People, make_people
from gateway.people.permissions import ALL_SITES, NEVER_A_MACHINES, PERMITTED, Permission, Role
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.leadership.lease import lock_folder
from gateway.storage.migrate import is_current, migrate

_REFUSALS = (
    LastAdministrator, NoSuchPerson, NotAName, StalePerson, UsernameTaken, WeakPassword, NoSuchLogin, NoSuchToken,
    NotAToken,
)  # fmt: skip
_MACHINE_ACTS = ", ".join(act.value for act in PERMITTED if act not in NEVER_A_MACHINES)
Work = Callable[[People, Cause], Awaitable[None]]

user = typer.Typer(help="Accounts, logins and tokens.\n\nExample: gengfu user list", no_args_is_help=True)
token = typer.Typer(help="Tokens of machines.\n\nExample: gengfu user token list", no_args_is_help=True)
user.add_typer(token, name="token")
Username = Annotated[str, typer.Argument(metavar="USERNAME", help="User name for the login.")]
RoleName = Annotated[Role, typer.Argument(metavar="ROLE", help=f"One of {', '.join(Role)}.")]
SiteOfRole = Annotated[str, typer.Option("--site", help='The site\'s code; "*": all sites.')]


@user.command("add")
def add_user(
    username: Username,
    name: Annotated[str, typer.Option(help="Display name; default: the user name.")] = "",
    role: Annotated[list[str] | None, typer.Option(help="ROLE, or ROLE@SITE for one site only; repeatable.")] = None,
    settings: SettingsFile = None,
    data_dir: DataDir = None,
) -> None:
    """Create an account; the first one is an administrator. Prompts for the password, or reads it from standard input.

    Example: gengfu user add wei --name "Wei Zhang" --role operator --role guard@hq
    """
    grants = [_role_at(text) for text in role or ()]

    async def work(people: People, cause: Cause) -> None:
        first = await people.accounts.administrators() == 0 and not grants
        called = name or username
        roles = [(ALL_SITES, Role.ADMIN)] if first else grants
        new = NewPerson(username, {"en": called, "zh-CN": called}, _ask_password(), roles)
        record = await people.accounts.add(new, cause, wall_ms())
        typer.echo(f"Added: {_line(record)}")
        if not record.grants:
            typer.echo(f"The account has no role yet: gengfu user grant {record.username} ROLE")

    _work(settings, data_dir, work)


@user.command("list")
def list_users(settings: SettingsFile = None, data_dir: DataDir = None) -> None:
    """Show every account, its roles, and its last use.

    Example: gengfu user list
    """

    async def work(people: People, _cause: Cause) -> None:
        records = await people.accounts.everyone()
        for record in records:
            typer.echo(_line(record))
        if not records:
            typer.echo("No accounts yet: gengfu user add NAME creates the first one, an administrator.")

    _work(settings, data_dir, work)


@user.command("disable")
def disable_user(username: Username, settings: SettingsFile = None, data_dir: DataDir = None) -> None:
    """Disable an account; all its logins end within two seconds.

    Example: gengfu user disable wei
    """

    async def work(people: People, cause: Cause) -> None:
        record = await people.accounts.named(username)
        typer.echo(_line(await people.accounts.disable(record.id, record.version, cause, wall_ms())))

    _work(settings, data_dir, work)


@user.command("enable")
def enable_user(username: Username, settings: SettingsFile = None, data_dir: DataDir = None) -> None:
    """Enable an account.

    Example: gengfu user enable wei
    """

    async def work(people: People, cause: Cause) -> None:
        record = await people.accounts.named(username)
        typer.echo(_line(await people.accounts.enable(record.id, record.version, cause, wall_ms())))

    _work(settings, data_dir, work)


@user.command("forget")
def forget_user(
    username: Username,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    settings: SettingsFile = None,
    data_dir: DataDir = None,
) -> None:
    """Erase a person permanently: name, password, logins and devices. Records of their actions keep an anonymous id.

    Example: gengfu user forget wei
    """
    if not yes:
        typer.confirm(f"Erase {username} permanently? To deny access, disable is enough.", abort=True, err=True)

    async def work(people: People, cause: Cause) -> None:
        tokens = await people.forget(username, cause, wall_ms())
        typer.echo(f"{username} is forgotten. Older backups and logs still contain the name.")
        if tokens:
            typer.echo(f"Their tokens are revoked; create new ones: {', '.join(tokens)}")

    _work(settings, data_dir, work)


@user.command("reset")
def reset_user(
    username: Username,
    second_factor: Annotated[
        bool, typer.Option("--second-factor", help="Remove the second factor too, if the phone is lost.")
    ] = False,
    settings: SettingsFile = None,
    data_dir: DataDir = None,
) -> None:
    """Set a new password; all logins of the account end.

    Example: gengfu user reset wei --second-factor
    """

    async def work(people: People, cause: Cause) -> None:
        record = await people.accounts.named(username)
        await people.accounts.reset(
            record.id, record.version, _ask_password(), cause, wall_ms(), second_factor=second_factor
        )
        typer.echo(f"{record.username} has a new password, and should change it after the login.")

    _work(settings, data_dir, work)


@user.command("grant")
def grant_role(
    username: Username, role: RoleName, site: SiteOfRole = ALL_SITES, settings: SettingsFile = None,
    data_dir: DataDir = None,
) -> None:  # fmt: skip
    """Grant a role on a site, or on all sites.

    Example: gengfu user grant wei shift_leader --site hq
    """

    async def work(people: People, cause: Cause) -> None:
        record = await people.accounts.named(username)
        typer.echo(_line(await people.accounts.grant(record.id, record.version, site, role, cause, wall_ms())))

    _work(settings, data_dir, work)


@user.command("revoke")
def revoke_role(
    username: Username, role: RoleName, site: SiteOfRole = ALL_SITES, settings: SettingsFile = None,
    data_dir: DataDir = None,
) -> None:  # fmt: skip
    """Revoke a role.

    Example: gengfu user revoke wei shift_leader --site hq
    """

    async def work(people: People, cause: Cause) -> None:
        record = await people.accounts.named(username)
        typer.echo(_line(await people.accounts.revoke(record.id, record.version, site, role, cause, wall_ms())))

    _work(settings, data_dir, work)


@user.command("logins")
def list_logins(
    username: Username,
    end: Annotated[list[str] | None, typer.Option(help="End the login with this id; repeatable.")] = None,
    settings: SettingsFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show the logins of an account, and end logins.

    Example: gengfu user logins wei --end 019aa0b4-7c10-7d3e-9a51-1f2d3c4b5a69
    """

    async def work(people: People, cause: Cause) -> None:
        record = await people.accounts.named(username)
        for which in end or ():
            await people.logins.revoke(record.id, which, cause, wall_ms())
            typer.echo(f"{which} has ended.")
        for found in await people.logins.of_person(record.id, wall_ms()):
            typer.echo(f"{found.id}  since {_time(found.created_at)}  used {_time(found.last_used_at)}  {found.origin}")
            typer.echo(f"  {found.agent}")

    _work(settings, data_dir, work)


@token.command("add")
def add_token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the machine.")],
    act: Annotated[list[Permission], typer.Option(help=f"Permission; repeatable. One of {_MACHINE_ACTS}.")],
    site: Annotated[list[str] | None, typer.Option(help="Site's code; repeatable. Default: all sites.")] = None,
    days: Annotated[int, typer.Option(help="Validity in days.")] = 365,
    settings: SettingsFile = None,
    data_dir: DataDir = None,
) -> None:
    """Create a token. It is shown once; the machine sends it as Authorization: Bearer.

    Example: gengfu user token add prometheus --act read_metrics
    """

    async def work(people: People, cause: Cause) -> None:
        new = NewToken(name, site or [ALL_SITES], act, days)
        record, secret = await people.tokens.add(new, cause, wall_ms())
        typer.echo(f"{record.id}, valid until {_time(record.expires_at)}. Shown only once:", err=True)
        typer.echo(secret)

    _work(settings, data_dir, work)


@token.command("list")
def list_tokens(settings: SettingsFile = None, data_dir: DataDir = None) -> None:
    """Show every token, its permissions, and its last use.

    Example: gengfu user token list
    """

    async def work(people: People, _cause: Cause) -> None:
        for found in await people.tokens.every():
            state = "revoked" if found.revoked_at is not None else f"until {_time(found.expires_at)}"
            used = "never used" if found.last_used_at is None else f"used {_time(found.last_used_at)}"
            typer.echo(f"{found.id}  {found.name}  {state}  {used}")
            typer.echo(f"  {', '.join(found.permissions)} on {', '.join(found.sites)}")

    _work(settings, data_dir, work)


@token.command("revoke")
def revoke_token(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Id as shown by gengfu user token list.")],
    settings: SettingsFile = None,
    data_dir: DataDir = None,
) -> None:
    """Revoke a token.

    Example: gengfu user token revoke token:019aa0b4-7c10-7d3e-9a51-1f2d3c4b5a69
    """

    async def work(people: People, cause: Cause) -> None:
        revoked = await people.tokens.revoke(identity, cause, wall_ms())
        typer.echo(f"{revoked.name} is revoked.")

    _work(settings, data_dir, work)


def _work(settings: SettingsFile, data_dir: DataDir, work: Work) -> None:
    loaded = load(settings, {"storage": given(data_dir=data_dir)})
    configure_logs("warning", json_lines=False)
    run(_with_people(loaded, work))


async def _with_people(settings: Settings, work: Work) -> None:
    cause = Cause("system:command", Via.COMMAND, origin=_who_types()[:64])
    async with _open_people(settings) as people:
        try:
            await work(people, cause)
        except _REFUSALS as error:
            raise CommandRefused(str(error)) from error


@asynccontextmanager
async def _open_people(settings: Settings) -> AsyncIterator[People]:
    """The people of the database in the settings; creates or upgrades it if needed."""
    folder = settings.storage.data_dir
    folder.mkdir(parents=True, exist_ok=True)
    database = Database(database_url(settings))
    people = make_people(database, settings.people.password_length, SecretSeal(seal_file(settings)), demo=False)
    try:
        if not await is_current(database):
            with lock_folder(folder):
                await migrate(database, folder)
        await people.accounts.refresh()
        yield people
    finally:
        people.hashes.close()
        await database.close()


def _ask_password() -> str:
    """Never an argument: arguments appear in the shell's history and in the process list."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise CommandRefused("give the password on standard input, or run this in a terminal")
    return password


def _role_at(text: str) -> tuple[str, Role]:
    name, _, site = text.partition("@")
    try:
        return site or ALL_SITES, Role(name)
    except ValueError:
        raise typer.BadParameter(f"{name} is not a role; use one of {', '.join(Role)}") from None


def _who_types() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "unknown"


def _line(record: PersonRecord) -> str:
    roles = ", ".join(
        f"{role}" if site == ALL_SITES else f"{role}@{site}" for site, held in record.grants.items() for role in held
    )
    marks = ["disabled"] if record.disabled_at is not None else []
    marks += ["second factor"] if record.second_factor else []
    seen = "never seen" if record.last_seen_at is None else f"seen {_time(record.last_seen_at)}"
    return "  ".join([record.username, record.name["zh-CN"], roles or "no role", seen, *marks])


def _time(milliseconds: int) -> str:
    return to_datetime(milliseconds).strftime("%Y-%m-%d %H:%M UTC")
