"""Frees reserved disk space when SQLite finds the disk full."""

import sqlite3
from typing import Final, Protocol

from sqlalchemy.engine.interfaces import ExceptionContext

from collectors.disk.trouble_words import sqlite_code

_PERHAPS: Final = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
"""A full disk is also reported like this, when SQLite extends its shared memory or creates a file."""


class MakeRoom(Protocol):
    """Releases the space reserved for alarms; see `DiskSpace.make_room`."""

    def __call__(self, *, surely: bool = True) -> bool: ...


class RoomMaker:
    """Listens to the errors of an engine."""

    def __init__(self, make_room: MakeRoom | None) -> None:
        self._make_room = make_room
        self._has_made = False

    def note(self, context: ExceptionContext) -> None:
        """SQLAlchemy's `handle_error`."""
        error = context.original_exception
        if self._make_room is None or not isinstance(error, sqlite3.Error):
            return
        code = sqlite_code(error)
        if code == sqlite3.SQLITE_FULL or code in _PERHAPS:
            self._has_made = self._make_room(surely=code == sqlite3.SQLITE_FULL) or self._has_made

    def take(self) -> bool:
        """Whether space was freed since the last call."""
        made, self._has_made = self._has_made, False
        return made
