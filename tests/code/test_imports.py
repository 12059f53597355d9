"""Each module can be imported alone: no import circles, and no warning from any import."""

import os
import subprocess
import sys
from graphlib import TopologicalSorter

import grimp

from tests.paths import ROOT

PACKAGES = ("collectors", "gateway", "simulators")
_IMPORT_ALL = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def modules() -> list[str]:
    names = []
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            if "versions" in parts or parts[-1] == "env":
                continue  # Alembic's: they run inside a migration only
            names.append(".".join(parts).removesuffix(".__init__"))
    return names


def test_no_module_imports_itself_by_way_of_others() -> None:
    """In a circle it depends on which module comes first whether the import works."""
    graph = grimp.build_graph(*PACKAGES)
    TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}).prepare()


def test_every_module_imports_without_a_warning() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _IMPORT_ALL, *modules()],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
