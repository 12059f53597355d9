"""Scheduled backups: due by the age of the newest one in the folder, so a restart changes nothing."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import structlog
from sqlalchemy import URL

from collectors.wire.reading import Value
from gateway.backup.backup import make_backup
from gateway.backup.schedule import Due, due, is_missed, newest, surplus
from gateway.backup.sealed_file import BackupDamaged
from gateway.settings import Settings
from gateway.storage.postgres.programs import ProgramFailed

log = structlog.get_logger(__name__)

LOOK_S = 30.0
_HOUR_MS = 3600 * 1000


class RegularBackups:
    """Works only if `backup.folder` is set."""

    def __init__(self, settings: Settings, url: URL, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._url = url
        self._clock = clock
        self._folder = Path(settings.backup.folder) if settings.backup.folder else None
        self._last: int | None = None
        self._failed_at: int | None = None
        self._looked = False

    async def tick(self) -> None:
        """Make a backup if it is due, and remove old ones."""
        if self._folder is None:
            return
        try:
            await self._look(self._folder)
        except (BackupDamaged, ProgramFailed, sqlite3.Error, OSError) as error:
            self._failed_at = self._clock()
            log.error("no backup was made; retrying in an hour", why=str(error))
        self._looked = True

    async def _look(self, folder: Path) -> None:
        names = await asyncio.to_thread(_names, folder)
        self._last = newest(names, self._clock())
        backup = self._settings.backup
        if due(self._last, self._failed_at, backup.every_days, self._clock()) not in {Due.FIRST, Due.OLD}:
            return
        now = self._clock()
        made = await make_backup(
            self._settings, self._url, folder, now, lambda _step: None, with_history=backup.with_history
        )
        self._last, self._failed_at = now, None
        log.info("backup made", file=made.file.name, bytes=made.size, files=made.files, encrypted=made.encrypted)
        for name in surplus([*names, made.file.name], backup.kept):
            (folder / name).unlink(missing_ok=True)

    def findings(self) -> dict[str, Value]:
        """Fields of the platform's reading; empty if backups are off, or before the first check."""
        if self._folder is None or not self._looked:
            return {}
        now = self._clock()
        in_order = self._failed_at is None and not is_missed(self._last, self._settings.backup.every_days, now)
        found: dict[str, Value] = {"backup_ok": in_order}
        if self._last is not None:
            found["backup_age_h"] = round((now - self._last) / _HOUR_MS, 1)
        return found


def _names(folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return [file.name for file in folder.iterdir()]
