"""The documents say what the code does: settings, files, commands, fields and links are held against it."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from collectors.payloads.native import decode
from collectors.wire.fields import FIELDS, UNREADABLE, WIRE_KINDS, Channel
from collectors.wire.topics import parse_topic
from gateway.alarms.evaluation.evaluator import RuleEvaluator
from gateway.alarms.rules.files import shipped_rules
from gateway.cli.main import cli
from gateway.people.people import DEMO_PASSWORD
from gateway.people.permissions import Role
from gateway.settings import Settings, load_settings, setting_names
from gateway.storage.tables import metadata
from tests.paths import ROOT

READMES = ("README.md", "README.zh-CN.md")
SETTINGS_PAGES = ("docs/settings.md", "docs/settings.zh-CN.md")
PACKAGES = ("collectors", "gateway", "simulators")
NOW_MS = 1_763_800_000_000
DOCUMENTS = sorted(file.relative_to(ROOT).as_posix() for file in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
PATH_IN_TEXT = re.compile(r"`((?:[\w.-]+/)+[\w.-]*)`")
FIELD = re.compile(r"`(\w+)` ?(.*)")
MADE_AT_A_SET_UP = ("deploy/secrets", "deploy/site/gengfu.toml")
"""By an administrator; git ignores them."""
ELSEWHERE = ("http://", "https://", "mailto:")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str | None = None) -> list[str]:
    """Code blocks of a document, of one language where it is given."""
    return [body for word, body in FENCE.findall(read(name)) if language is None or word == language]


def prose(name: str) -> str:
    return FENCE.sub("", read(name))


def rows(name: str) -> list[list[str]]:
    """Cells of every table row."""
    return [
        [cell.strip() for cell in line[2:-2].split(" | ")]
        for line in prose(name).splitlines()
        if line.startswith("| ") and line.endswith(" |")
    ]


def headings(name: str) -> list[str]:
    """The levels of a document's headings, in order."""
    return re.findall(r"^(#+) ", prose(name), re.MULTILINE)


# -- settings ------------------------------------------------------------------------------------------------------


def defaults() -> dict[str, str]:
    """`section.key` -> default, as it may be written in TOML."""
    tree = Settings.model_construct().model_dump(mode="json")
    return {f"{section}.{key}": json.dumps(tree[section][key]) for section, key in setting_names()}


def descriptions() -> dict[str, str]:
    sections: dict[str, Any] = {name: getattr(Settings.model_construct(), name) for name in Settings.model_fields}
    return {
        f"{section}.{key}": type(sections[section]).model_fields[key].description or ""
        for section, key in setting_names()
    }


def settings_table(name: str) -> list[tuple[str, str, str]]:
    """(name, default, meaning) of each row that is about a setting."""
    found = []
    for cells in rows(name):
        if re.fullmatch(r"`[a-z]+\.[a-z_]+`", cells[0]):
            setting, default, meaning = cells
            found.append((setting.strip("`"), default.strip("`"), meaning))
    return found


@pytest.mark.parametrize("name", SETTINGS_PAGES)
def test_the_settings_table_is_the_code(name: str) -> None:
    table = settings_table(name)
    assert [(setting, default) for setting, default, _ in table] == list(defaults().items())
    assert all(meaning for _, _, meaning in table)


def test_the_settings_mean_what_the_code_says() -> None:
    assert {setting: meaning for setting, _, meaning in settings_table(SETTINGS_PAGES[0])} == descriptions()


def test_the_complete_settings_file_holds_every_default(tmp_path: Path) -> None:
    (text,) = blocks("docs/settings.md", "toml")
    assert {f"{section}.{key}" for section, keys in tomllib.loads(text).items() for key in keys} == set(defaults())
    file = tmp_path / "gengfu.toml"
    file.write_text(text, encoding="utf-8")
    assert load_settings(file) == Settings.model_construct()
    assert all(meaning in text for meaning in descriptions().values())


@pytest.mark.parametrize("name", READMES)
def test_the_readmes_settings_file_loads(name: str, tmp_path: Path) -> None:
    (text,) = blocks(name, "toml")
    file = tmp_path / "gengfu.toml"
    file.write_text(text, encoding="utf-8")
    assert load_settings(file).broker.tls is True


# -- files ---------------------------------------------------------------------------------------------------------


def paths_of_tree(tree: str) -> Iterator[str]:
    """Every path of the drawing: two blanks a level, the name up to the next two blanks."""
    folders: list[str] = []
    for line in tree.splitlines():
        level = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        del folders[level:]
        yield "".join(folders) + name
        if name.endswith("/"):
            folders.append(name)


def folders() -> set[str]:
    return {
        f"{file.parent.relative_to(ROOT).as_posix()}/"
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
    }


def test_the_drawing_has_every_folder_and_nothing_that_is_not_there() -> None:
    (tree,) = blocks("docs/architecture.md", "tree")
    drawn = list(paths_of_tree(tree))
    assert len(drawn) == len(set(drawn))
    assert folders() <= set(drawn)
    missing = [path for path in drawn if not (ROOT / path).exists() or path.endswith("/") != (ROOT / path).is_dir()]
    assert missing == []


def test_each_line_of_the_drawing_says_something() -> None:
    (tree,) = blocks("docs/architecture.md", "tree")
    assert [line for line in tree.splitlines() if len(line.split()) < 2] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_path_that_a_document_names_is_there(name: str) -> None:
    """`folder/file` in a document is a place in the checkout, where its first folder is one."""
    named = [path for path in PATH_IN_TEXT.findall(prose(name)) if (ROOT / path.split("/")[0]).is_dir()]
    assert [path for path in named if not ((ROOT / path).exists() or path.startswith(MADE_AT_A_SET_UP))] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_link_leads_somewhere(name: str) -> None:
    targets = [target for target in LINK.findall(prose(name)) if not target.startswith(ELSEWHERE)]
    folder = (ROOT / name).parent
    assert [target for target in targets if not (folder / target).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_test_that_a_document_names_is_there(name: str) -> None:
    """A promise is held by the test that it names, or by none."""
    there = {
        found
        for file in (ROOT / "tests").rglob("test_*.py")
        for found in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", prose(name)))
    assert named <= there


def test_every_table_of_the_database_has_its_owner() -> None:
    named = [
        table
        for cells in rows("docs/architecture.md")
        if cells[-1] == "`gengfu.db`"
        for table in re.findall(r"`(\w+)`", cells[1])
    ]
    assert sorted(named) == sorted(metadata.tables)


@pytest.mark.parametrize("file", sorted((ROOT / "docs" / "decisions").iterdir()), ids=lambda file: file.name)
def test_a_decision_is_numbered_short_and_complete(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    number = re.fullmatch(r"(\d{4})-[a-z0-9-]+\.md", file.name)
    assert number is not None
    assert text.startswith(f"# {number[1]} ")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequence"]
    assert len(text.splitlines()) <= 25


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = sorted(int(file.name[:4]) for file in (ROOT / "docs" / "decisions").iterdir())
    assert numbers == list(range(1, len(numbers) + 1))


# -- commands ------------------------------------------------------------------------------------------------------


def commands() -> dict[str, str]:
    """Name -> help text."""
    group = typer.main.get_command(cli)
    found: dict[str, Any] = getattr(group, "commands", {})
    return {name: command.help or "" for name, command in found.items()}


@pytest.mark.parametrize("name", READMES)
def test_every_command_is_in_the_table_and_no_other(name: str) -> None:
    listed = [found[1] for cells in rows(name) if (found := re.fullmatch(r"`gengfu ([a-z-]+)`", cells[0]))]
    assert sorted(listed) == sorted(commands())


def test_every_command_has_an_example_in_its_help() -> None:
    assert commands()
    assert [name for name, text in commands().items() if f"Example: gengfu {name}" not in text] == []


@pytest.mark.parametrize("name", READMES)
def test_a_make_target_or_a_command_that_the_readme_types_is_there(name: str) -> None:
    """Every line of a shell block starts with something that exists, with options that exist."""
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    for block in blocks(name, "sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[0] == "make":
                assert words[1] in targets
            elif words[0] == ".venv/bin/gengfu":
                command = typer.main.get_command(cli).commands[words[1]]  # type: ignore[attr-defined]
                options = {option for parameter in command.params for option in parameter.opts}
                assert {word for word in words if word.startswith("--")} <= options
            else:
                assert words[0] == "mosquitto_pub"


@pytest.mark.parametrize("name", READMES)
def test_the_logins_are_those_of_the_demo(name: str) -> None:
    text = prose(name)
    assert f"`{DEMO_PASSWORD}`" in text
    assert [role for role in Role if f"`{role}`" not in text] == []


def test_ci_runs_the_readmes_test_command_and_nothing_else() -> None:
    (first, *_) = blocks("README.md", "sh")
    typed = [" ".join(shlex.split(line, comments=True)) for line in first.splitlines()]
    assert typed == ["make demo", "make test"]
    lines = [line for line in read(".ci/run").splitlines() if line and not line.startswith(("#", "set ", "cd "))]
    assert lines == ["make test"]


# -- devices -------------------------------------------------------------------------------------------------------


def published(name: str) -> list[tuple[str, bytes, dict[str, str]]]:
    """(topic, payload, options) of each `mosquitto_pub` line."""
    found = []
    for block in blocks(name, "sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "mosquitto_pub":
                options = dict(zip(words[1::2], words[2::2], strict=True))
                found.append((options["-t"], options["-m"].encode(), options))
    return found


def test_the_readmes_first_message_raises_an_alarm_and_the_second_ends_it() -> None:
    evaluator = RuleEvaluator(shipped_rules(), {}, 60_000)
    told = []
    for step, (topic, payload, _) in enumerate(published("README.md")):
        decoded = decode(parse_topic(topic), payload, NOW_MS + 1_000 * step)
        assert not decoded.faults
        outcome = evaluator.take(decoded.readings)
        told += [
            (decision.key.rule, decision.rule.ticket.value, decision.change.raised) for decision in outcome.decisions
        ]
    assert told == [("pump.bearing_very_hot", "repair", True), ("pump.bearing_very_hot", "repair", False)]


def test_the_readmes_messages_go_to_the_demos_broker_with_qos_1() -> None:
    default = next(
        parameter.default
        for parameter in typer.main.get_command(cli).commands["demo"].params  # type: ignore[attr-defined]
        if parameter.name == "mqtt_port"
    )
    lines = published("README.md")
    assert len(lines) == 2
    for _, _, options in lines:
        assert (options["-h"], options["-p"], options["-q"]) == ("127.0.0.1", str(default), "1")


@pytest.mark.parametrize("name", READMES)
def test_the_alarm_that_the_readme_promises_has_that_title(name: str) -> None:
    rule = next(rule for rule in shipped_rules() if rule.id == "pump.bearing_very_hot")
    assert rule.title["zh-CN" if "zh" in name else "en"] in prose(name)


SENT_BY_DEVICES = {
    place: {name: field for name, field in fields.items() if name != "field"}
    for place, fields in FIELDS.items()
    if fields.get("type") is None or fields["type"].choices != (UNREADABLE,)
}
"""Without what the service itself says of messages that cannot be read."""


@pytest.mark.parametrize("name", READMES)
def test_the_table_of_fields_is_the_wire_contract(name: str) -> None:
    """Every field, with its unit; each kind once a channel, the status once for all."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for cells in rows(name):
        channel = cells[1].strip("`") if len(cells) == 3 else ""
        if channel in set(Channel):
            kind = re.match(r"`(\w+)`", cells[0])
            fields = [FIELD.fullmatch(text) for text in cells[2].split(", ")] if kind else []
            found[kind[1] if kind else "*", channel] = {field[1]: field[2] for field in fields if field}
    wanted = {
        (str(kind), str(channel)): {field.name: field.unit for field in fields.values()}
        for (kind, channel), fields in SENT_BY_DEVICES.items()
        if channel is not Channel.STATUS and kind in WIRE_KINDS
    }
    assert found.pop(("*", "status")) == {}, "the last row is about every kind"
    assert found == wanted


# -- languages -----------------------------------------------------------------------------------------------------


def test_both_readmes_have_the_same_headings_and_the_same_code() -> None:
    assert headings(READMES[0]) == headings(READMES[1])
    assert blocks(READMES[0]) == blocks(READMES[1])
    assert len(rows(READMES[0])) == len(rows(READMES[1]))


def test_both_readmes_lead_to_the_same_places() -> None:
    def targets(name: str) -> set[str]:
        own = {*READMES, *SETTINGS_PAGES} | {
            target for target in LINK.findall(read(name)) if target.startswith("docs/images/")
        }
        return set(LINK.findall(read(name))) - own

    assert targets(READMES[0]) == targets(READMES[1])
