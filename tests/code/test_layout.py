"""Checks of the layout: names, sizes, folders and pure files."""

import ast
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

PACKAGES = ("collectors", "gateway", "simulators")
SHAPES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc", "base", "core"}
MOST_LINES_IN_A_FILE = 500
MOST_FILES_IN_A_FOLDER = 18
MOST_LINES_IN_A_FUNCTION = 60
SERIES = {"docs/decisions", "gateway/storage/migrations/versions"}
"""Folders of numbered files, which only grow."""
PURE_CONTRACT = "pure modules import no event loop, database or network"
CLOCKS_AND_DEVICES = {
    "asyncio",
    "time",
    "datetime",
    "random",
    "sqlalchemy",
    "aiohttp",
    "paho",
    "os",
    "pathlib",
}


def python_files() -> list[Path]:
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("file", python_files(), ids=name_of)
def test_a_file_is_named_for_its_subject_and_can_be_read_at_one_sitting(file: Path) -> None:
    assert file.stem not in SHAPES
    assert not SHAPES & set(file.relative_to(ROOT).parts[:-1])
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) < MOST_LINES_IN_A_FILE
    if "migrations" not in file.parts:
        for function in functions(file):
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            assert lines <= MOST_LINES_IN_A_FUNCTION, f"{function.name}: {lines} lines"


@pytest.mark.parametrize("file", python_files(), ids=name_of)
def test_a_file_says_in_its_first_lines_what_it_is_for(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "a module begins with its docstring"


def folders() -> dict[str, int]:
    """How many files of its own each folder holds; a package's `__init__.py` names it and is not counted."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = [Path(line) for line in listed.splitlines() if not line.endswith("__init__.py")]
    return Counter(file.parent.as_posix() for file in files)


def test_a_folder_holds_no_more_files_than_can_be_read_at_a_glance() -> None:
    full = {name: count for name, count in folders().items() if count > MOST_FILES_IN_A_FOLDER}
    assert full.keys() <= SERIES, full


def pure_files() -> list[str]:
    """As import-linter has them: it also sees what a pure file imports by way of others."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (one for one in settings["tool"]["importlinter"]["contracts"] if one["name"] == PURE_CONTRACT)
    return sorted(f"{module.replace('.', '/')}.py" for module in contract["source_modules"])


@pytest.mark.parametrize("name", pure_files())
def test_a_pure_file_knows_no_clock_and_no_device(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    imported = {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} | {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    assert not imported & CLOCKS_AND_DEVICES
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Await | ast.AsyncFunctionDef)]
