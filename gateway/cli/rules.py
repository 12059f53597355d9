"""`gengfu rules`: rules in force at each place, and their versions. Reads the database; changes nothing."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, NamedTuple

import typer
from sqlalchemy import select

from collectors.wire.fields import Kind
from collectors.wire.reading import to_datetime
from gateway.alarms.rules.files import load_rules
from gateway.alarms.rules.rule import Rule
from gateway.alarms.rules.rulebook import Rulebook, RuleScope
from gateway.alarms.rules.tunable import Setting, settings_of
from gateway.alarms.rules.versions import overrides
from gateway.app import database_url
from gateway.cli.command import CommandRefused, DataDir, SettingsFile, given, load, run
from gateway.logs import configure_logs
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.migrate import is_current
from gateway.storage.tables import person, rule_version

rules = typer.Typer(help="Rules in force, and their changes.\n\nExample: gengfu rules list", no_args_is_help=True)
_LONG: Final = frozenset({"title", "advice"})
RuleId = Annotated[str, typer.Argument(metavar="RULE", help="The rule's id, as shown by gengfu rules list.")]
SiteCode = Annotated[str, typer.Option("--site", help="As in force on this site; default: as in the files.")]
EquipmentId = Annotated[str, typer.Option("--equipment", help="As in force for this equipment: SITE:CODE.")]


class _Desk(NamedTuple):
    """The data that the commands read."""

    rulebook: Rulebook
    database: Database | None
    """None if there is no database yet: then all rules are as in the files."""


Work = Callable[[_Desk], Awaitable[None]]


@rules.command("list")
def list_rules(
    site: SiteCode = "",
    equipment: EquipmentId = "",
    kind: Annotated[Kind | None, typer.Option(help="Only rules for this kind of equipment.")] = None,
    settings: SettingsFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show the rules, and mark those changed for a site or an equipment.

    Example: gengfu rules list --site hq --kind pump
    """
    where = _where(site, equipment)

    async def work(desk: _Desk) -> None:
        found = [desk.rulebook.described(identity, *where) for identity in desk.rulebook.ids(where[0], kind)]
        for rule in (rule for rule in found if rule is not None and kind in (None, rule.kind)):
            typer.echo(_line(desk.rulebook, rule, where))

    _work(settings, data_dir, work)


@rules.command("show")
def show_rule(
    rule: RuleId,
    site: SiteCode = "",
    equipment: EquipmentId = "",
    settings: SettingsFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show a rule: each value, and whether it is set by the file, the site or the equipment.

    Example: gengfu rules show pump.bearing_hot --equipment hq:P-1
    """
    where = _where(site, equipment)

    async def work(desk: _Desk) -> None:
        found = desk.rulebook.described(rule, *where)
        if found is None:
            raise CommandRefused(f"there is no rule {rule} here; gengfu rules list shows them all")
        for line in (_line(desk.rulebook, found, where), f"  {found.title['zh-CN']}  {found.title['en']}"):
            typer.echo(line)
        for setting in settings_of(desk.rulebook, found, *where):
            if setting.given_by in ("site", "equipment") or (setting.given_by == "file" and setting.key not in _LONG):
                typer.echo(_setting_line(setting))
        typer.echo(f"  source: {found.source}")

    _work(settings, data_dir, work)


@rules.command("history")
def show_history(rule: RuleId, settings: SettingsFile = None, data_dir: DataDir = None) -> None:
    """Show the versions of a rule: who changed what when, newest first.

    Example: gengfu rules history pump.bearing_hot
    """

    async def work(desk: _Desk) -> None:
        rows = await _versions(desk.database, rule) if desk.database else []
        for row in rows:
            typer.echo(row)
        if not rows:
            typer.echo(f"{rule} was never changed: it is as in its file everywhere.")

    _work(settings, data_dir, work)


def _work(settings: SettingsFile, data_dir: DataDir, work: Work) -> None:
    loaded = load(settings, {"storage": given(data_dir=data_dir)})
    configure_logs("warning", json_lines=False)
    run(_with_desk(loaded, work))


async def _with_desk(settings: Settings, work: Work) -> None:
    filed = load_rules(settings.alarms.rule_files)
    if database_url(settings).startswith("sqlite") and not (settings.storage.data_dir / "gengfu.db").is_file():
        await work(_Desk(Rulebook(filed), None))
        return
    database = Database(database_url(settings))
    try:
        if not await is_current(database):
            raise CommandRefused("the database has another version: run gengfu migrate, or start the service once")
        async with database.reading() as connection:
            rulebook = Rulebook(filed, await overrides(connection))
        for problem in rulebook.problems:
            typer.echo(f"No longer used: {problem}", err=True)
        await work(_Desk(rulebook, database))
    finally:
        await database.close()


def _where(site: str, equipment: str) -> tuple[str, str]:
    of_site, colon, code = equipment.partition(":")
    if equipment and not (colon and of_site and code):
        raise typer.BadParameter("write the equipment as SITE:CODE")
    if equipment and site not in ("", of_site):
        raise typer.BadParameter("the equipment is on another site")
    return of_site or site, code


def _line(rulebook: Rulebook, rule: Rule, where: tuple[str, str]) -> str:
    marks = [] if rulebook.is_enabled(rule.id, *where) else ["out of force"]
    for place, who in ((RuleScope(rule.id, where[0], ""), "site"), (RuleScope(rule.id, *where), "equipment")):
        if place in rulebook.overrides and (who == "site" or where[1]):
            marks.append(f"changed for the {who}: version {rulebook.versions[place]}")
    return "  ".join([f"{rule.id:<36}", f"{rule.type.value:<11}", f"{rule.priority.value:<8}", *marks]).rstrip()


def _setting_line(setting: Setting) -> str:
    value = f"{_shown(setting.value)} {setting.unit}".rstrip()
    if setting.given_by == "file":
        return f"  {setting.key}: {value}"
    return f"  {setting.key}: {value}  (the {setting.given_by}'s; in the file: {_shown(setting.file_value)})"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


async def _versions(database: Database, rule: str) -> list[str]:
    statement = select(rule_version).where(rule_version.c.rule == rule).order_by(rule_version.c.id.desc())
    async with database.reading() as connection:
        rows = (await connection.execute(statement)).mappings().all()
        names = {row.id: row.username for row in await connection.execute(select(person.c.id, person.c.username))}
    return [_version_line(dict(row), names) for row in rows]


def _version_line(row: dict[str, Any], names: dict[str, str]) -> str:
    place = RuleScope(row["rule"], row["site"], row["equipment"])
    who = " and ".join(names.get(one, one) for one in (row["person"], row["second_person"]) if one is not None)
    said = ", ".join(f"{key}: {_shown(value)}" for key, value in row["changes"].items()) or "as in the file"
    back = "" if row["equals"] is None else f"  (rolled back to version {row['equals']})"
    note = f"  {row['note']}" if row["note"] else ""
    when = to_datetime(row["at"]).strftime("%Y-%m-%d %H:%M UTC")
    return f"{when}  {place}  version {row['version']}  {who}: {said}{back}{note}"
