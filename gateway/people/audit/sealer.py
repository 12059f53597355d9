"""The sealer: chains audit rows in commit order, signs each day, and removes expired days.

Writers never wait for the chain: they write rows without a number, and the leader numbers and chains committed rows
twice a second. Rows are selected by their missing number, not by a cursor over ids, so a row that becomes visible late
is never skipped. Between two passes the order is that of the commits; within one it is that of the ids, which is the
same because one transaction writes at a time (see `database.py`).
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collectors.wire.reading import Value
from gateway.people.audit.chain import FORM, Sealed, seal
from gateway.people.audit.entry import Cause, Via, audited
from gateway.people.audit.external_copies import CheckpointKeeper, HeadKeeper
from gateway.people.audit.key import AuditKey, Day
from gateway.people.audit.stored_rows import COLUMNS, end_of_chain, newest_day, read_days
from gateway.storage.database import Database
from gateway.storage.leadership import lease
from gateway.storage.queries.chunked_writes import delete_in_chunks
from gateway.storage.records import AuditRow
from gateway.storage.tables import audit, audit_day

log = structlog.get_logger(__name__)

SEAL_S: Final = 0.5
_ERASE_EVERY_MS: Final = 3600 * 1000
ERASED: Final = "audit.erase"
"""The act of the audit row about removed days."""
DAY_MS: Final = 24 * 3600 * 1000
_AT_ONCE: Final = 500
_SEALER: Final = Cause("system:audit", Via.CLOCK)


class RecordNotKept(Exception):
    """Rows are sealed, but their copies outside the database are missing or do not match; the text says which."""


class Sealer:
    """Works for one epoch of the leader; every transaction checks the lease."""

    def __init__(
        self, database: Database, epoch: int, key: AuditKey, folder: Path, head: Path, kept_days: int,
        clock: Callable[[], int],
    ) -> None:  # fmt: skip
        """Make a sealer.

        Args:
            database: the database of the audit.
            epoch: of the leader.
            key: signs the statements.
            folder: of the checkpoint files.
            head: file of the head.
            kept_days: retention of rows in days.
            clock: epoch ms.
        """
        self._database = database
        self._epoch = epoch
        self._key = key
        self._kept_ms = kept_days * DAY_MS
        self._clock = clock
        self._tip: Day | None = None
        """The newest day as signed; None before the first pass."""
        self._head = HeadKeeper(database, epoch, key, head, clock)
        self._checkpoints = CheckpointKeeper(database, key, folder, clock)
        self._erase_due_at = 0

    def findings(self) -> dict[str, Value]:
        """Fields of the platform's reading; `checkpoint_ok` only after the first attempt to write files."""
        tried = self._checkpoints.trouble is not None
        checkpoint: dict[str, Value] = {"checkpoint_ok": not self._checkpoints.trouble} if tried else {}
        return {"audit_ok": not self._head.trouble, **checkpoint}

    @property
    def trouble(self) -> str:
        """What is wrong with the audit or its copies outside the database; "" if nothing is."""
        return self._head.trouble or self._checkpoints.trouble or ""

    async def tick(self) -> None:
        """One pass: chain and sign; each hour remove expired days. Raises LeaseLost."""
        await self.seal()
        await self._head.keep()
        now = self._clock()
        if now >= self._erase_due_at:
            self._erase_due_at = now + _ERASE_EVERY_MS
            self._checkpoints.call()
            await self.erase_old()
            await self._head.keep()
        await self._checkpoints.keep()

    async def seal(self) -> None:
        """Chain every committed row; close the day if a new one has begun. Raises LeaseLost."""
        while True:
            tip, rows = await self._look()
            if tip is not None and not tip.closed and day_of(self._clock()) > tip.day:
                await self._close(tip)
            elif rows:
                await self._write(tip, rows)
            else:
                break

    async def _look(self) -> tuple[Day | None, Sequence[Any]]:
        """The end of the chain, and the oldest rows that are not chained yet."""
        async with self._database.reading() as connection:
            oldest = select(*COLUMNS).where(audit.c.seq.is_(None)).order_by(audit.c.id).limit(_AT_ONCE)
            rows = (await connection.execute(oldest)).mappings().all()
            tip = await newest_day(connection)
        if self._tip is not None and tip != self._tip:
            log.error("the audit was changed from outside; run gengfu verify-audit")
            self._head.look_again()
        self._tip = tip
        return tip, rows

    async def _write(self, tip: Day | None, rows: Sequence[Any]) -> None:
        async with self._database.reading() as connection:
            last, previous = await end_of_chain(connection, tip)
        # Before the transaction, to keep the write lock short.
        sealed = seal([{**row, "form": FORM} for row in rows], last, previous)
        async with self._database.transaction() as connection:
            await lease.verify(connection, self._epoch)
            await _number(connection, [row["id"] for row in rows], sealed)
            signed = await self._sign(connection, tip, sealed, previous)
        self._tip = signed

    async def _sign(self, connection: AsyncConnection, tip: Day | None, sealed: list[Sealed], previous: str) -> Day:
        now, end = self._clock(), sealed[-1]
        if tip is None or tip.closed:
            # A clock that was set back must not reopen a closed day.
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
        self._checkpoints.call()
        log.info("audit day closed", day=signed.day, rows=signed.last - signed.first + 1)

    async def erase_old(self) -> None:
        """Remove closed days older than the setting, as a whole and oldest first; their signed statements stay.

        The removal is recorded in the chain before the rows are deleted, so a gap is always explained.
        """
        async with self._database.reading() as connection:
            days = await read_days(connection)
            first = await connection.scalar(select(func.min(audit.c.seq)))
        old = [day for day in days if first is not None and day.last >= first and self._is_old(day)]
        if not old:
            return
        async with self._database.transaction() as transaction:
            await lease.verify(transaction, self._epoch)
            transaction.add_audit(*(self._note(day) for day in old))
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


def day_of(now: int) -> str:
    """The day in UTC of a moment in epoch milliseconds."""
    return datetime.fromtimestamp(now / 1000, UTC).strftime("%Y-%m-%d")


def start_of(day: str) -> int:
    """When a day begins, in epoch milliseconds."""
    return int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1000)


async def _number(connection: AsyncConnection, ids: Sequence[int], sealed: Sequence[Sealed]) -> None:
    statement = update(audit).where(audit.c.id == bindparam("row"))
    numbered = statement.values(seq=bindparam("s"), hash=bindparam("h"), form=FORM)
    places = [{"row": row, "s": one.seq, "h": one.hash} for row, one in zip(ids, sealed, strict=True)]
    await connection.execute(numbered, places)


async def _replace(connection: AsyncConnection, day: Day) -> None:
    await connection.execute(update(audit_day).where(audit_day.c.day == day.day).values(msgspec.structs.asdict(day)))
