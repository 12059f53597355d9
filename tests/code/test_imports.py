"""Each module can be imported alone, with warnings as errors: no circles that work by luck of order."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("collectors", "gateway", "simulators")

_EACH_ALONE = """
import importlib, os, sys, traceback
failed = 0
for name in sys.argv[1:]:
    child = os.fork()  # what the parent has imported are libraries only
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            print("====", name, flush=True)
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    failed += os.waitpid(child, 0)[1] != 0
sys.exit(failed)
"""
_LIBRARIES = (
    "aiohttp aiosqlite alembic argon2 iotcore msgspec paho.mqtt.client "
    "pydantic_settings sqlalchemy.ext.asyncio typer yaml"
)


def modules() -> list[str]:
    names = []
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            if "versions" in parts or parts[-1] == "env":
                continue  # Alembic's: they run inside a migration only
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_each_module_imports_alone_without_a_warning(package: str) -> None:
    """One process imports the libraries once; each module then has a fork of it to itself."""
    names = [name for name in modules() if name.split(".")[0] == package]
    assert names
    program = f"import {_LIBRARIES.replace(' ', ', ')}\n{_EACH_ALONE}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *names],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
