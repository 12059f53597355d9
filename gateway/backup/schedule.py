"""Decides from the existing backups and the time when a backup is due, and which ones to remove. Pure."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

_NAME: Final = re.compile(r"gengfu-(\d{8}T\d{6}Z)\.backup")
_FORMAT: Final = "%Y%m%dT%H%M%SZ"
_DAY_MS: Final = 24 * 3600 * 1000
_RETRY_MS: Final = 3600 * 1000
GRACE_MS: Final = _DAY_MS
"""Delay after which a due backup counts as missed: allows for the service being off overnight."""


class Due(StrEnum):
    """Whether a backup is due now, and why."""

    FIRST = "first"
    OLD = "old"
    NOT_YET = "not_yet"
    TRIED_LATELY = "tried_lately"


def backup_name(now: int) -> str:
    """The name of a backup made at `now` (epoch ms)."""
    return f"gengfu-{datetime.fromtimestamp(now / 1000, UTC).strftime(_FORMAT)}.backup"


def made_at(name: str) -> int | None:
    """When the backup of this name was made (epoch ms); None for any other file."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    try:
        moment = datetime.strptime(found[1], _FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp() * 1000)


def newest(names: Iterable[str], now: int) -> int | None:
    """When the newest backup was made; backups from the future (wrong clock) do not count."""
    times = (made_at(name) for name in names)
    return max((time for time in times if time is not None and time <= now), default=None)


def due(last: int | None, failed_at: int | None, every_days: int, now: int) -> Due:
    """Whether to make a backup; after a failure, an hour later."""
    if last is not None and now - last < every_days * _DAY_MS:
        return Due.NOT_YET
    if failed_at is not None and 0 <= now - failed_at < _RETRY_MS:
        return Due.TRIED_LATELY
    return Due.FIRST if last is None else Due.OLD


def is_missed(last: int | None, every_days: int, now: int) -> bool:
    """Whether the newest backup is overdue."""
    return last is None or now - last > every_days * _DAY_MS + GRACE_MS


def surplus(names: Iterable[str], kept: int) -> Sequence[str]:
    """The oldest backups beyond the number to keep."""
    backups = sorted(name for name in names if made_at(name) is not None)
    return backups[:-kept]
