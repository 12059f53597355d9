"""Reads the simulators' YAML files into typed structs; each error names file, line and entry."""

import re
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import yaml

from simulators.yaml_input.shapes import child_of, permitted_at

_T = TypeVar("_T")
_PATH_IN_MESSAGE: Final = re.compile(r"^(?P<what>.*?)(?: - at (?:`key` in )?`(?P<path>\$[^`]*)`)?$", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class YamlFileError(ValueError):
    """An invalid file; the text is for its author."""


def find_file(name: str | Path, folder: Path) -> Path:
    """The file of that path, or the included one of that name in `folder` or a folder of it.

    Raises:
        YamlFileError: neither exists; the text lists the names that do.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = {path.stem: path for path in folder.rglob("*.yaml") if "." not in path.stem}
    if str(name) in shipped:
        return shipped[str(name)]
    known = ", ".join(sorted(shipped))
    raise YamlFileError(f"{name}: no such file; included ones: {known}")


def read_yaml(path: Path, type_: type[_T]) -> _T:
    """Read one document.

    Raises:
        YamlFileError: not YAML, or not of the given type.
    """
    root = _compose(path)
    try:
        return msgspec.convert(_construct(root, path), type_)
    except msgspec.ValidationError as error:
        raise _located(path, root, str(error), type_) from None


def entry_error(path: Path, where: str, what: str) -> YamlFileError:
    """An error about the entry at `where`, a path like `$.timeline[3].fault`; finds its line."""
    return YamlFileError(f"{path}, line {_line(_compose(path), where)}{_entry(where)}: {what}")


def _compose(path: Path) -> yaml.Node | None:
    try:
        return yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise YamlFileError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise YamlFileError(f"{path}: not YAML: {' '.join(str(error).split())}") from error


def _construct(root: yaml.Node | None, path: Path) -> Any:
    if root is None:
        raise YamlFileError(f"{path}: the file is empty")
    try:
        return yaml.SafeLoader("").construct_document(root)
    except yaml.YAMLError as error:
        raise YamlFileError(f"{path}: not plain YAML: {' '.join(str(error).split())}") from error


def _located(path: Path, root: yaml.Node | None, message: str, type_: Any) -> YamlFileError:
    match = _PATH_IN_MESSAGE.match(message)
    where = (match and match["path"]) or "$"
    what = match["what"] if match else message
    if "unknown field" in what or "Invalid value" in what:
        permitted = permitted_at(type_, root, _STEP.findall(where))
        what += f"; permitted: {permitted}" if permitted else ""
    return YamlFileError(f"{path}, line {_line(root, where)}{_entry(where)}: {what}")


def _entry(where: str) -> str:
    return f", {where[2:]}" if len(where) > 2 else ""


def _line(root: yaml.Node | None, where: str) -> int:
    """Line of the deepest node on the path that exists; a missing key is shown at its parent."""
    node = root
    for key, index in _STEP.findall(where):
        child = child_of(node, key, index)
        if child is None:
            break
        node = child
    return node.start_mark.line + 1 if node is not None else 1
