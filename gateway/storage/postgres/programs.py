"""Copies a PostgreSQL database with pg_dump and pg_restore."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import URL


class ProgramFailed(Exception):
    """pg_dump or pg_restore is missing or failed; the text is its error output."""


async def dump(url: URL, target: Path) -> None:
    """Write a copy of the database as of one moment to a file, while others write. Raises ProgramFailed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    await _run("pg_dump", ("--format=custom", f"--file={target}"), url)


async def check_dump(file: Path) -> None:
    """Check that a dump can be read completely. Raises ProgramFailed."""
    await _run("pg_restore", ("--file=/dev/null", str(file)), None)


async def load(url: URL, file: Path) -> None:
    """Restore a dump into an empty database: all of it or nothing. Raises ProgramFailed."""
    options = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges")
    await _run("pg_restore", (*options, f"--dbname={url.database}", str(file)), url)


async def _run(name: str, options: Sequence[str], url: URL | None) -> None:
    program = shutil.which(name)
    if program is None:
        raise ProgramFailed(f"{name} is missing (Debian: postgresql-client)")
    running = await asyncio.create_subprocess_exec(
        program, *options, env={**os.environ, **_login(url)}, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE, umask=0o077,
    )  # fmt: skip
    try:
        _, output = await running.communicate()
    except asyncio.CancelledError:
        running.kill()
        await running.wait()
        raise
    if running.returncode != 0:
        raise ProgramFailed(f"{name}: {output.decode(errors='replace').strip()}")


def _login(url: URL | None) -> dict[str, str]:
    """As environment variables, which other users of the machine cannot read."""
    if url is None:
        return {}
    given = {
        "PGHOST": url.host,
        "PGPORT": str(url.port) if url.port else None,
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
        "PGSSLMODE": url.query.get("ssl"),
    }
    return {name: str(value) for name, value in given.items() if value}
