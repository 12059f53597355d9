"""Copies of the audit outside the database: the head after each sealing, and a checkpoint for each closed day.

Neither ever moves back. If the database does not match the head, sealed rows are missing: the head stays as it is, for
`gengfu verify-audit`, and `trouble` reports it until they match or the file is moved away.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog
from sqlalchemy import insert

from collectors.disk.trouble_words import words_for_file
from gateway.people.audit.chain import BEGINNING
from gateway.people.audit.head import Head, Identity, NotReadable, read_head, write_durably, write_head
from gateway.people.audit.key import AuditKey, Day
from gateway.people.audit.stored_rows import end_of_chain, hash_at, newest_day, read_days, read_identity
from gateway.storage.database import Database
from gateway.storage.identity import new_id
from gateway.storage.leadership import lease
from gateway.storage.tables import audit_identity

log = structlog.get_logger(__name__)

_RETRY_MS: Final = 60 * 1000
"""After a checkpoint could not be written."""


class HeadKeeper:
    """Writes the head of one service to its file."""

    def __init__(self, database: Database, epoch: int, key: AuditKey, file: Path, clock: Callable[[], int]) -> None:
        self._database = database
        self._epoch = epoch
        self._key = key
        self._file = file
        self._clock = clock
        self._identity: Identity | None = None
        self._head: Head | None = None
        self._compared = False
        self.trouble = ""
        """Why the database does not match the stored head; "" if it does."""

    def look_again(self) -> None:
        """Another process has changed the signed data: compare before the next head is written."""
        self._compared = False

    async def keep(self) -> None:
        """Write the head if it has advanced. Raises LeaseLost, OSError."""
        if not self._compared:
            await self._compare()
        if self._identity is None or self.trouble:
            return
        async with self._database.reading() as connection:
            tip = await newest_day(connection)
        last, digest, day = (0, BEGINNING, "") if tip is None else (tip.last, tip.hash, tip.day)
        if self._head is not None and (self._head.last, self._head.hash, self._head.day) == (last, digest, day):
            return
        head = self._key.sign(Head(self._identity.database, last, digest, day, self._clock(), key=""))
        await asyncio.to_thread(write_head, self._file, head)
        self._head = head

    async def _compare(self) -> None:
        """Check the file against the database; sign the statement of the audit's beginning if there is none."""
        try:
            self._head = await asyncio.to_thread(read_head, self._file)
        except NotReadable as error:
            self._report(str(error))
            return
        async with self._database.reading() as connection:
            self._identity = await read_identity(connection)
        if self._identity is None and self._head is None:
            self._identity = await self._begin()
        self._report(await self._difference())
        self._compared = not self.trouble

    async def _begin(self) -> Identity:
        async with self._database.transaction() as connection:
            await lease.verify(connection, self._epoch)
            last, digest = await end_of_chain(connection, await newest_day(connection))
            now = self._clock()
            identity = self._key.sign(Identity(new_id(now), now, last, digest, key=""))
            await connection.execute(insert(audit_identity).values(msgspec.structs.asdict(identity)))
        return identity

    async def _difference(self) -> str:
        head = self._head
        if head is None:
            return ""
        if self._identity is None:
            return "the signed beginning of the audit is missing in the database"
        if head.database != self._identity.database:
            return f"{self._file} is the head of another database"
        async with self._database.reading() as connection:
            last, _ = await end_of_chain(connection, await newest_day(connection))
            found = await hash_at(connection, head.last)
        if last < head.last:
            return f"rows {last + 1} to {head.last} of the audit were sealed and are missing"
        if found not in {None, head.hash}:
            return f"row {head.last} of the audit is not the one that was sealed"
        return ""

    def _report(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            log.error("the audit does not match what was sealed; run gengfu verify-audit", why=trouble)
        self.trouble = trouble


class CheckpointKeeper:
    """Writes a signed checkpoint file for each closed day."""

    def __init__(self, database: Database, key: AuditKey, folder: Path, clock: Callable[[], int]) -> None:
        self._database = database
        self._key = key
        self._folder = folder
        self._clock = clock
        self._due_at: int | None = 0
        self.trouble: str | None = None
        """Why the last attempt to write files failed, "" if it succeeded; None before the first."""

    def call(self) -> None:
        """A closed day may lack its file."""
        self._due_at = 0

    async def keep(self) -> None:
        """Write missing files if it is time; failures are reported and retried in a minute."""
        if self._due_at is None or self._clock() < self._due_at:
            return
        async with self._database.reading() as connection:
            closed = [day for day in await read_days(connection) if day.closed]
        try:
            trouble = await asyncio.to_thread(_write_checkpoints, self._folder, closed, self._key)
        except OSError as error:  # the folder may be remote; rows are sealed and signed anyway
            trouble = f"{self._folder}: {words_for_file(error)}"
        if trouble and trouble != self.trouble:
            log.error("the checkpoint of a closed day cannot be written; retrying each minute", why=trouble)
        self.trouble = trouble
        self._due_at = self._clock() + _RETRY_MS if trouble else None


def _write_checkpoints(folder: Path, days: Sequence[Day], key: AuditKey) -> str:
    """Write a file for each day that has none; existing files are never changed. Returns the error, or ""."""
    folder.mkdir(parents=True, exist_ok=True)
    key.write_public(folder)
    wrong = ""
    for day in days:
        file, content = folder / f"{day.day}.json", msgspec.json.encode(day) + b"\n"
        if not file.exists():
            write_durably(file, content)
        elif file.read_bytes() != content:
            wrong = f"{file} is not the checkpoint of that day; move it away, then it is written again"
    return wrong
