"""PostgreSQL's own programs, which copy a database whole: pg_dump and pg_restore."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import URL


class ProgramFailed(Exception):
    """pg_dump or pg_restore is missing, or says why it cannot."""


async def dump(url: URL, target: Path) -> None:
    """Write a copy of the database as of one moment to a file, while others write. Raises ProgramFailed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    await _run("pg_dump", ("--format=custom", f"--file={target}"), url)


async def check_dump(file: Path) -> None:
    """See that a dump can be read to its end. Raises ProgramFailed."""
    await _run("pg_restore", ("--file=/dev/null", str(file)), None)


async def load(url: URL, file: Path) -> None:
    """Put a dump into an empty database: all of it or nothing. Raises ProgramFailed."""
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
        _, said = await running.communicate()
    except asyncio.CancelledError:
        running.kill()
        await running.wait()
        raise
    if running.returncode != 0:
        raise ProgramFailed(f"{name}: {said.decode(errors='replace').strip()}")


def _login(url: URL | None) -> dict[str, str]:
    """In the environment, where a password is not seen by every user of the machine."""
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
