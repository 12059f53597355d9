"""gengfu rules test: test a rule on stored history. Needs the running service, which has history and rules."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import aiohttp
import typer
import yaml

from gateway.cli.api_client import Remote, logged_in
from gateway.cli.chart import draw
from gateway.cli.command import Code, CommandRefused, Login, Url, ask_password, fail, run

_PATIENCE: Final = aiohttp.ClientTimeout(total=600)
_LISTED: Final = 20


def add_test(rules: typer.Typer) -> None:
    """Add the command `test` to the group `gengfu rules`."""
    rules.command("test")(try_rule)


def try_rule(
    rule: Annotated[str, typer.Argument(help="Id of a known rule, or a YAML file with one.")],
    equipment: Annotated[str, typer.Argument(metavar="SITE:CODE", help="SITE:CODE whose history to use.")],
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another value for a known rule; repeatable."),
    ] = None,
    rule_id: Annotated[str, typer.Option("--id", help="Rule of the file, if it has several.")] = "",
    days: Annotated[float, typer.Option(min=0.001, help="Days before the end, without --start.")] = 7.0,
    start: Annotated[str, typer.Option(help="Begin, as 2026-11-20T08:00; default zone: this machine's.")] = "",
    end: Annotated[str, typer.Option(help="End; default: now.")] = "",
    shorter_than: Annotated[float, typer.Option(min=0, help="Count alarms that last fewer seconds than this.")] = 60.0,
    url: Url = "http://127.0.0.1:8080",
    username: Login = "",
    code: Code = "",
) -> None:
    """Show the alarms that a rule would have raised on stored history. Changes nothing.

    Example: gengfu rules test pump.pressure_low HQ:P-1 --set below=0.25 --set on_delay=30s --days 14
    """
    try:
        request = {**_requested(rule, rule_id, change or ()), **_time(start, end, days)}
    except (CommandRefused, OSError) as error:
        fail(error)
    body = {"equipment": equipment, "shorter_than_s": shorter_than, **request}
    run(_test(url, username, ask_password(username), code, body))


async def _test(url: str, username: str, password: str, code: str, body: dict[str, Any]) -> None:
    async with logged_in(url, username, password, code) as remote:
        tell(await _ask(remote, body), typer.echo)


async def _ask(remote: Remote, body: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = await remote.ask("POST", "/rules/test", json=body, timeout=_PATIENCE)
    return answer


# -- request ---------------------------------------------------------------------------------------


def _requested(rule: str, rule_id: str, changes: Sequence[str]) -> dict[str, Any]:
    file = Path(rule)
    if not file.is_file():
        return {"rule_id": rule, "changes": dict(map(_change, changes))}
    return {"rule": {**_of_file(file, rule_id), **dict(map(_change, changes))}}


def _of_file(file: Path, rule_id: str) -> dict[str, Any]:
    """The entry of a rule file; the service validates it."""
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CommandRefused(f"{file}: {error}") from error
    entries = document.get("rules") if isinstance(document, dict) else None
    found = [
        entry for entry in entries or () if isinstance(entry, dict) and (not rule_id or entry.get("id") == rule_id)
    ]
    if len(found) == 1:
        return found[0]
    ids = ", ".join(str(entry.get("id")) for entry in found)
    raise CommandRefused(f"{file}: choose a rule with --id: {ids}" if found else f"{file}: this file has no such rule")


def _change(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise CommandRefused(f"--set {text}: write KEY=VALUE, such as below=0.25")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise CommandRefused(f"--set {text}: {error}") from error


def _time(start: str, end: str, days: float) -> dict[str, str]:
    until = _moment(end) if end else datetime.now(UTC)
    begin = _moment(start) if start else until - timedelta(days=days)
    return {"start": begin.isoformat(), "end": until.isoformat()}


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise CommandRefused(f"{text} is not a time; write 2026-11-20T08:00 or 2026-11-20T08:00+08:00") from error


# -- answer ----------------------------------------------------------------------------------------


def tell(answer: dict[str, Any], say: Callable[[str], None]) -> None:
    """Print the answer: the summary, the list of alarms, the charts, and the proposal."""
    say(f"{answer['rule']['id']} on {answer['equipment']}, {_local(answer['start'])} to {_local(answer['end'])}")
    say(f"{answer['readings']:,} readings, the first at {_local(answer['known_from'])}.")
    say(
        f"Would have raised {_number(answer['alarms'], 'alarm')}, {answer['shorter']} of them shorter than "
        f"{_length(answer['shorter_than_s'])}; in alarm {_length(answer['in_alarm_s'])}, "
        f"{answer['share_in_alarm']:.1%} of the time."
    )
    _list(answer, say)
    for chart in answer["charts"]:
        say("")
        for line in draw(chart, answer["activations"], answer["start"], answer["end"]):
            say(line)
    say("")
    _propose(answer, say)
    for failure in answer["failures"]:
        say(f"The rule failed: {failure}")
    for note in answer["notes"]:
        say(f"Note: {note}.")


def _list(answer: dict[str, Any], say: Callable[[str], None]) -> None:
    activations = answer["activations"]
    if not activations:
        return
    say("")
    say(f"{'begin':<19}  {'end':<19}  {'lasted':>9}  value  part")
    for one in activations[:_LISTED]:
        end = _local(one["end"]) if one["end"] else "active"
        wrong = "  (disproved later)" if one["disproved"] else ""
        value = "" if one["value"] is None else one["value"]
        begin, lasted = _local(one["start"]), _length(one["duration_s"])
        say(f"{begin}  {end:<19}  {lasted:>9}  {value}  {one['part']}{wrong}".rstrip())
    more = answer["alarms"] - min(len(activations), _LISTED)
    if more:
        say(f"... and {more} more. Choose a shorter period to see them.")


def _propose(answer: dict[str, Any], say: Callable[[str], None]) -> None:
    proposal = answer["proposal"]
    if proposal is None:
        return
    settings = " ".join(f"--set {key}={value}" for key, value in proposal["changes"].items())
    say(f"Fewer alarms: {_number(proposal['alarms'], 'alarm')} instead of {answer['alarms']} with {settings}")
    say("  It hides no alarm that lasted longer than the delay. Test it, then decide.")


def _local(moment: str | None) -> str:
    """In this machine's time zone, to the second."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else "none"


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _length(seconds: float) -> str:
    """12 s, 3.5 min, 2.1 h, 4.0 d."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
