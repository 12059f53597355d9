"""The one sealer: chains audit rows in commit order, signs each day, and removes days that need not be kept.

Writers never wait for the chain: they write rows without a number, and the owner of the alarms numbers and chains what
is committed, twice a second. A row is found by having no number, not by a cursor over ids, so one that becomes visible
late is never stepped over. Between two passes the order is that of the commits; within one it is that of the ids, which
is the same because one transaction writes at a time (see `database.py`).
"""

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import RowMapping, Text, bindparam, cast, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collectors.reading import Value
from gateway.people.audit import AuditRow, Cause, Via, audited, write_records
from gateway.people.audit_chain import BEGINNING, CONTENT, Sealed, seal
from gateway.people.audit_key import AuditKey, Day
from gateway.storage import lease
from gateway.storage.chunked_writes import delete_in_chunks
from gateway.storage.database import Database
from gateway.storage.tables import audit, audit_day

log = structlog.get_logger(__name__)

SEAL_S: Final = 0.5
_ERASE_EVERY_MS: Final = 3600 * 1000
ERASED: Final = "audit.erase"
"""The act under which it is noted that old days were removed."""
DAY_MS: Final = 24 * 3600 * 1000
_AT_ONCE: Final = 500
_BODIES: Final = ("before", "after")
COLUMNS: Final = [cast(audit.c[name], Text).label(name) if name in _BODIES else audit.c[name] for name in CONTENT]
"""The columns that are hashed; JSON as the text that it is."""
_SEALER: Final = Cause("system:audit", Via.CLOCK)


class Sealer:
    """Works for one epoch of the owner; every transaction checks that it still is the owner."""

    def __init__(
        self, database: Database, epoch: int, key: AuditKey, folder: Path, kept_days: int, clock: Callable[[], int]
    ) -> None:
        self._database = database
        self._epoch = epoch
        self._key = key
        self._folder = folder
        self._kept_ms = kept_days * DAY_MS
        self._clock = clock
        self._tip: Day | None = None
        """The newest day, as we signed it; None until the first look."""
        self._files_due = True
        self._files_kept: bool | None = None
        """Whether the last try to write checkpoint files worked; None before the first."""
        self._erase_due_at = 0

    def findings(self) -> dict[str, Value]:
        """For the platform's reading; empty until checkpoint files were tried."""
        return {} if self._files_kept is None else {"checkpoint_ok": self._files_kept}

    async def tick(self) -> None:
        """One pass: chain and sign; each hour look for old days. Raises LeaseLost."""
        await self.seal()
        now = self._clock()
        if now >= self._erase_due_at:
            self._erase_due_at = now + _ERASE_EVERY_MS
            self._files_due = True
            await self.erase_old()
        if self._files_due:
            self._files_due = False
            await self._write_files()

    async def seal(self) -> None:
        """Chain every row that is committed; close the day where a new one has begun. Raises LeaseLost."""
        while True:
            tip, rows = await self._look()
            if tip is not None and not tip.closed and day_of(self._clock()) > tip.day:
                await self._close(tip)
            elif rows:
                await self._write(tip, rows)
            else:
                break

    async def _look(self) -> tuple[Day | None, Sequence[Any]]:
        """The end of the chain, and the oldest rows that are not in it yet."""
        async with self._database.reading() as connection:
            oldest = select(audit.c.id, *COLUMNS).where(audit.c.seq.is_(None)).order_by(audit.c.id).limit(_AT_ONCE)
            rows = (await connection.execute(oldest)).mappings().all()
            tip = await newest_day(connection)
        if self._tip is not None and tip != self._tip:
            log.error("somebody has touched the audit; run gengfu verify-audit")
        self._tip = tip
        return tip, rows

    async def _write(self, tip: Day | None, rows: Sequence[Any]) -> None:
        async with self._database.reading() as connection:
            last, previous = await _end_of_chain(connection, tip)
        # Before the transaction: others who write wait for no more than they must.
        sealed = seal([content_of(row) for row in rows], last, previous)
        async with self._database.transaction() as connection:
            await lease.verify(connection, self._epoch)
            await _number(connection, [row["id"] for row in rows], sealed)
            signed = await self._sign(connection, tip, sealed, previous)
        self._tip = signed

    async def _sign(self, connection: AsyncConnection, tip: Day | None, sealed: list[Sealed], previous: str) -> Day:
        now, end = self._clock(), sealed[-1]
        if tip is None or tip.closed:
            # A clock that was set back must not open a day again that is closed.
            day = day_of(now if tip is None else max(now, start_of(tip.day) + DAY_MS))
            fresh = Day(day, sealed[0].seq, end.seq, previous, end.hash, now, closed=False, key="")
            signed = self._key.sign(fresh)
            await connection.execute(insert(audit_day).values(msgspec.structs.asdict(signed)))
            return signed
        signed = self._key.sign(msgspec.structs.replace(tip, last=end.seq, hash=end.hash, at=now))
        await _replace(connection, signed)
        return signed

    async def _close(self, tip: Day) -> None:
        signed = self._key.sign(msgspec.structs.replace(tip, closed=True, at=self._clock()))
        async with self._database.transaction() as connection:
            await lease.verify(connection, self._epoch)
            await _replace(connection, signed)
        self._tip = signed
        self._files_due = True
        log.info("audit day closed", day=signed.day, rows=signed.last - signed.first + 1)

    async def _write_files(self) -> None:
        """A checkpoint file for each closed day that has none; one that is there is never written again."""
        async with self._database.reading() as connection:
            closed = [day for day in await read_days(connection) if day.closed]
        try:
            await asyncio.to_thread(_write_checkpoints, self._folder, closed, self._key)
            self._files_kept = True
        except OSError as error:  # the folder may be on another machine; rows are chained and signed all the same
            self._files_kept = False
            log.error("checkpoints cannot be written; tried again in an hour", why=str(error))

    async def erase_old(self) -> None:
        """Remove closed days older than the setting, whole and oldest first; what is signed of them stays.

        That they go is noted in the chain before they are gone, so at no moment is there a gap that nobody explains.
        """
        async with self._database.reading() as connection:
            days = await read_days(connection)
            first = await connection.scalar(select(func.min(audit.c.seq)))
        old = [day for day in days if first is not None and day.last >= first and self._is_old(day)]
        if not old:
            return
        async with self._database.transaction() as connection:
            await lease.verify(connection, self._epoch)
            await write_records(connection, [], [self._note(day) for day in old])
        await self.seal()
        for day in old:
            await delete_in_chunks(self._database, audit, audit.c.seq <= day.last, self._verify)
            log.info("old audit day removed", day=day.day, rows=day.last - day.first + 1)

    async def _verify(self, connection: AsyncConnection) -> None:
        await lease.verify(connection, self._epoch)

    def _is_old(self, day: Day) -> bool:
        return day.closed and start_of(day.day) + DAY_MS + self._kept_ms <= self._clock()

    def _note(self, day: Day) -> AuditRow:
        body = {"day": day.day, "first": day.first, "last": day.last, "kept_days": self._kept_ms // DAY_MS}
        return audited(self._clock(), "", _SEALER, ERASED, day.day, body, None)


def content_of(row: RowMapping) -> dict[str, Any]:
    """What is hashed of a row that was read as COLUMNS."""
    return {name: _body(row[name]) if name in _BODIES else row[name] for name in CONTENT}


def _body(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError:  # somebody has put this there: it must be found, and stop nothing
        return text


def day_of(now: int) -> str:
    """The day in UTC of a moment in epoch milliseconds."""
    return datetime.fromtimestamp(now / 1000, UTC).strftime("%Y-%m-%d")


def start_of(day: str) -> int:
    """When a day begins, in epoch milliseconds."""
    return int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1000)


async def read_days(connection: AsyncConnection) -> list[Day]:
    """What is signed, oldest first."""
    found = await connection.execute(select(audit_day).order_by(audit_day.c.last, audit_day.c.day))
    return [Day(**row) for row in found.mappings()]


async def newest_day(connection: AsyncConnection) -> Day | None:
    """What was signed last."""
    newest = select(audit_day).order_by(audit_day.c.day.desc()).limit(1)
    row = (await connection.execute(newest)).mappings().one_or_none()
    return None if row is None else Day(**row)


async def _end_of_chain(connection: AsyncConnection, tip: Day | None) -> tuple[int, str]:
    """Number and hash to go on from: what is signed, unless somebody has put rows behind it."""
    statement = select(audit.c.seq, audit.c.hash).where(audit.c.seq.is_not(None)).order_by(audit.c.seq.desc()).limit(1)
    row = (await connection.execute(statement)).one_or_none()
    signed = (0, BEGINNING) if tip is None else (tip.last, tip.hash)
    return signed if row is None or row.seq <= signed[0] else (row.seq, str(row.hash))


async def _number(connection: AsyncConnection, ids: Sequence[int], sealed: Sequence[Sealed]) -> None:
    statement = update(audit).where(audit.c.id == bindparam("row")).values(seq=bindparam("s"), hash=bindparam("h"))
    places = [{"row": row, "s": one.seq, "h": one.hash} for row, one in zip(ids, sealed, strict=True)]
    await connection.execute(statement, places)


async def _replace(connection: AsyncConnection, day: Day) -> None:
    await connection.execute(update(audit_day).where(audit_day.c.day == day.day).values(msgspec.structs.asdict(day)))


def _write_checkpoints(folder: Path, days: Sequence[Day], key: AuditKey) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    key.write_public(folder)
    for day in days:
        file = folder / f"{day.day}.json"
        if not file.exists():
            _write_durably(file, msgspec.json.encode(day) + b"\n")


def _write_durably(file: Path, content: bytes) -> None:
    partial = file.with_suffix(".part")
    with partial.open("wb") as writing:
        writing.write(content)
        writing.flush()
        os.fsync(writing.fileno())
    partial.rename(file)
