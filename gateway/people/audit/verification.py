"""Verifies the audit from the database or from an exported file, and reports every fault.

The chain shows removed, changed and exchanged rows. The signed days show rows that were chained again, and a cut-off
end. Copies of the days kept elsewhere show rows that were signed again with a stolen key.
"""

import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import RowMapping, select

from gateway.people.audit.chain import (
    BEGINNING,
    CONTENT,
    OF_FORM,
    ChainCheck,
    Finding,
    Sealed,
    What,
    canonical,
    removed,
)
from gateway.people.audit.external_check import Inside, Outside, compare
from gateway.people.audit.head import Head, Identity
from gateway.people.audit.key import Day, is_signed
from gateway.people.audit.sealer import DAY_MS, ERASED, start_of
from gateway.people.audit.stored_rows import COLUMNS, Unsealed, content_of, read_days, read_identity, read_unsealed
from gateway.storage.database import Database
from gateway.storage.tables import audit

LEAST_KEPT_DAYS: Final = 365
NOTHING: Final = Outside()
_PAGE: Final = 1_000
_SEALED_WITHIN_MS: Final = 60_000
"""The sealer runs twice a second; this is the allowance for a slow database."""
Keys = Mapping[str, Ed25519PublicKey]


class NotAnExport(Exception):
    """A file is no valid export or checkpoint of the audit; the text names the place."""


class Proof(msgspec.Struct, frozen=True):
    """What was checked, and its faults."""

    rows: int
    first: int
    last: int
    days: int
    keys: tuple[str, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    """Notes that are no faults."""


class Beside(msgspec.Struct, frozen=True):
    """Data of the database beside the sealed rows."""

    days: Sequence[Day] = ()
    identity: Identity | None = None
    unsealed: Sequence[Unsealed] = ()


class Erased(msgspec.Struct, frozen=True):
    """The record of the removal of a day, and its time."""

    at: int
    day: date
    last: int
    kept_days: int

    def was_old(self) -> bool:
        """Whether the day had been kept for the minimum retention."""
        ended = start_of(self.day.isoformat()) + DAY_MS
        return self.kept_days >= LEAST_KEPT_DAYS and ended + self.kept_days * DAY_MS <= self.at


class AuditCheck:
    """Takes the signed days first and then every row; `proof` has the faults."""

    def __init__(self, beside: Beside, keys: Keys, outside: Outside = NOTHING) -> None:
        self._days = sorted(beside.days, key=lambda day: (day.first, day.last))
        self._identity = beside.identity
        self._unsealed = beside.unsealed
        self._keys = keys
        self._outside = outside
        self._chain = ChainCheck()
        self._ends = {day.last: day for day in self._days}
        self._wanted = {*self._ends, *(head.last for head in outside.heads)}
        self._hashes: dict[int, str] = {}
        self._notes: list[Erased] = []

    def take(self, row: Sealed) -> None:
        """The next row, in the order of their numbers."""
        if self._chain.rows == 0 and row.seq - 1 in self._ends:
            self._chain.follow_on(self._ends[row.seq - 1].hash)
        self._chain.take(row)
        if row.seq in self._wanted:
            self._hashes[row.seq] = row.hash
        if row.content["act"] == ERASED:
            with contextlib.suppress(msgspec.ValidationError, TypeError, ValueError):  # not ours: ignored
                self._notes.append(_note_in(row))

    def proof(self) -> Proof:
        """All findings, in the order of the rows."""
        chain = self._chain
        inside = Inside(self._days, self._identity, chain.first, chain.last, self._hashes)
        disagreeing, notes = compare(self._outside, inside)
        found = [
            *chain.findings(), *self._beginning(), *self._end(), *self._signatures(), *self._order_of_days(),
            *self._rows_of_days(), *self._out_of_chain(),
        ]  # fmt: skip
        known = {(finding.what, finding.first, finding.last) for finding in found}
        found += [finding for finding in disagreeing if (finding.what, finding.first, finding.last) not in known]
        found.sort(key=lambda finding: (finding.first, finding.last))
        used = tuple(sorted({day.key for day in self._days}))
        return Proof(
            chain.rows, chain.first, chain.last, len(self._days), used, tuple(found), (*notes, *self._waiting())
        )

    def _beginning(self) -> Iterator[Finding]:
        """Rows before the first one may be missing only if the removal of their days is recorded."""
        last = self._chain.first - 1
        if last < 1:
            return
        notes = [note for note in self._notes if note.last == last]
        if not notes:
            yield removed(1 + max((note.last for note in self._notes if note.last < last), default=0), last)
        elif not any(note.was_old() for note in notes):
            yield Finding(What.ERASED_EARLY, 1, last, f"rows up to {last} were removed before their retention ended")

    def _end(self) -> Iterator[Finding]:
        last, signed = self._chain.last, self._days[-1].last if self._days else 0
        if last < signed:
            yield Finding(
                What.END_CUT, last + 1, signed, f"rows {last + 1} to {signed} are missing: the end was cut off"
            )
        elif last > signed:
            yield Finding(What.BEYOND_END, signed + 1, last, f"rows {signed + 1} to {last} are after the signed end")

    def _signatures(self) -> Iterator[Finding]:
        identity = () if self._identity is None else (self._identity,)
        for statement in (*self._days, *self._outside.copies, *self._outside.heads, *identity):
            name, first, last = _place_of(statement)
            if statement.key not in self._keys:
                text = f"{name} is signed with the unknown key {statement.key}; give it with --key"
                yield Finding(What.UNKNOWN_KEY, first, last, text)
            elif not is_signed(statement, self._keys):
                yield Finding(What.NOT_SIGNED, first, last, f"the signature of {name} is invalid")

    def _order_of_days(self) -> Iterator[Finding]:
        last, digest = 0, BEGINNING
        for day in self._days:
            if day.first > last + 1:
                text = f"the statement of rows {last + 1} to {day.first - 1} is missing"
                yield Finding(What.DAY_REMOVED, last + 1, day.first - 1, text)
            elif day.first != last + 1 or day.previous != digest:
                yield Finding(What.DAY_DIFFERS, day.first, day.last, f"{day.day} does not continue the day before it")
            last, digest = day.last, day.hash

    def _out_of_chain(self) -> Iterator[Finding]:
        """Rows outside the chain, or unsealed rows that the sealer must have passed."""
        signed_at = self._days[-1].at if self._days else 0
        for row in self._unsealed:
            if row.seq is not None:
                text = f"the row with id {row.id} is outside the chain, with the number {row.seq}"
            elif row.is_passed:
                text = f"the row with id {row.id} is between sealed rows and is not sealed: it was inserted"
            elif row.at + _SEALED_WITHIN_MS < signed_at:
                text = f"the row with id {row.id} is older than the last sealed row and is not sealed: it was inserted"
            else:
                continue
            yield Finding(What.UNSEALED, 0, 0, text)

    def _waiting(self) -> Iterator[str]:
        found = len(list(self._out_of_chain()))
        if len(self._unsealed) > found:
            yield f"{len(self._unsealed) - found} rows are not sealed yet; the service seals them within a second"

    def _rows_of_days(self) -> Iterator[Finding]:
        for seq, day in self._ends.items():
            if self._hashes.get(seq, day.hash) != day.hash:
                text = f"rows {day.first} to {day.last} are not the ones that were signed on {day.day}"
                yield Finding(What.DAY_DIFFERS, day.first, day.last, text)


def _place_of(statement: Day | Head | Identity) -> tuple[str, int, int]:
    """The name of a statement, and its rows."""
    match statement:
        case Day():
            return statement.day, statement.first, statement.last
        case Head():
            return "the head", 1, statement.last
        case Identity():
            return "the beginning of this database", 0, 0


def _note_in(row: Sealed) -> Erased:
    """Raises ValueError, TypeError, msgspec.ValidationError."""
    before = row.content["before"]
    body = json.loads(before) if isinstance(before, str) else before
    return msgspec.convert({**body, "at": row.content["at"]}, Erased)


async def check_database(database: Database, keys: Keys, outside: Outside = NOTHING) -> Proof:
    """Check all sealed rows; those of the last second may not be sealed yet."""
    check: AuditCheck | None = None
    async for beside, rows in _pages(database):
        check = check or AuditCheck(beside, keys, outside)
        for row in rows:
            check.take(row)
    return (check or AuditCheck(Beside(), keys, outside)).proof()


async def _pages(database: Database) -> AsyncIterator[tuple[Beside, list[Sealed]]]:
    """Pages of sealed rows, each with the data beside the rows, all from one snapshot; at least one page."""
    async with database.snapshot() as connection:
        days, identity = await read_days(connection), await read_identity(connection)
        beside, last = Beside(days, identity, await read_unsealed(connection)), 0
        while True:
            page = (
                select(audit.c.seq, audit.c.hash, *COLUMNS).where(audit.c.seq > last).order_by(audit.c.seq).limit(_PAGE)
            )
            rows = [_sealed(row) for row in (await connection.execute(page)).mappings()]
            yield beside, rows
            if len(rows) < _PAGE:
                return
            last = rows[-1].seq


def _sealed(row: RowMapping) -> Sealed:
    return Sealed(row["seq"], content_of(row), str(row["hash"]))


async def export(database: Database, file: Path) -> int:
    """Write the sealed audit as JSON lines: the signed days, then each row with its hash. Returns the number of rows.

    Raises:
        FileExistsError: existing files are never overwritten.
        OSError: the file cannot be written.
    """
    count, first_page = 0, True
    with file.open("xb") as writing:
        async for beside, rows in _pages(database):
            if first_page:
                writing.writelines(_line({"day": msgspec.structs.asdict(day)}) for day in beside.days)
            writing.writelines(_line({"row": {**row.content, "seq": row.seq}, "hash": row.hash}) for row in rows)
            count, first_page = count + len(rows), False
    return count


def _line(body: Mapping[str, Any]) -> bytes:
    return canonical(body) + b"\n"


def check_file(file: Path, keys: Keys, outside: Outside = NOTHING) -> Proof:
    """Check an export without a database. Raises NotAnExport, OSError."""
    with file.open("rb") as reading:
        lines = _read_lines(reading)
        days: list[Day] = []
        row: Sealed | None = None
        for found in lines:
            if isinstance(found, Sealed):
                row = found
                break
            days.append(found)
        check = AuditCheck(Beside(days), keys, outside)
        while row is not None:
            check.take(row)
            following = next(lines, None)
            if isinstance(following, Day):
                raise NotAnExport("a signed day is after the first row")
            row = following
    return check.proof()


def _read_lines(reading: IO[bytes]) -> Iterator[Day | Sealed]:
    for number, line in enumerate(reading, 1):
        try:
            body = json.loads(line)
            if "day" in body:
                yield msgspec.convert(body["day"], Day)
                continue
            columns = OF_FORM if "form" in body["row"] else CONTENT
            content = {name: body["row"][name] for name in columns}
            yield Sealed(int(body["row"]["seq"]), content, str(body["hash"]))
        except (ValueError, KeyError, TypeError) as error:
            raise NotAnExport(f"line {number} is not valid in an export: {error!r}") from error


def read_checkpoints(folder: Path) -> list[Day]:
    """Read checkpoints kept elsewhere. Raises NotAnExport, OSError."""
    return [_read_checkpoint(file) for file in sorted(folder.iterdir()) if file.suffix == ".json"]


def _read_checkpoint(file: Path) -> Day:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Day)
    except msgspec.MsgspecError as error:
        raise NotAnExport(f"{file}: {error}") from error


def sentences(findings: Iterable[Finding]) -> list[str]:
    """The report for people: one line per finding."""
    return [f"{finding.what.value}: {finding.text}" for finding in findings]
