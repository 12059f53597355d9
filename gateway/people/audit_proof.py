"""Proves that the audit is whole, from the database or from an exported file, and says what is not.

The chain shows a row that was removed, changed or exchanged. The signed days show what was chained anew from somewhere
on, and an end that was cut off. Copies of the days that were kept elsewhere show what was signed anew with a stolen
key.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import RowMapping, select

from gateway.people.audit_chain import BEGINNING, CONTENT, ChainCheck, Finding, Sealed, What, canonical, removed
from gateway.people.audit_key import Day, is_signed
from gateway.people.audit_sealer import COLUMNS, DAY_MS, ERASED, content_of, read_days, start_of
from gateway.storage.database import Database
from gateway.storage.tables import audit

LEAST_KEPT_DAYS: Final = 365
_PAGE: Final = 1_000
Keys = Mapping[str, Ed25519PublicKey]


class NotAnExport(Exception):
    """A file is no export of the audit, or no checkpoint; the text says where it fails."""


class Proof(msgspec.Struct, frozen=True):
    """What was looked at, and what is wrong with it."""

    rows: int
    first: int
    last: int
    days: int
    keys: tuple[str, ...]
    findings: tuple[Finding, ...]


class Erased(msgspec.Struct, frozen=True):
    """The note that a day was removed, and when."""

    at: int
    day: date
    last: int
    kept_days: int

    def was_old(self) -> bool:
        """Whether the day had been kept as long as any day must be."""
        ended = start_of(self.day.isoformat()) + DAY_MS
        return self.kept_days >= LEAST_KEPT_DAYS and ended + self.kept_days * DAY_MS <= self.at


class AuditCheck:
    """Takes the signed days first and then every row; `proof` says what does not fit."""

    def __init__(self, days: Sequence[Day], keys: Keys, copies: Sequence[Day] = ()) -> None:
        self._days = sorted(days, key=lambda day: (day.first, day.last))
        self._keys = keys
        self._copies = copies
        self._chain = ChainCheck()
        self._ends = {day.last: day for day in self._days}
        self._hashes: dict[int, str] = {}
        self._notes: list[Erased] = []

    def take(self, row: Sealed) -> None:
        """The next row, in the order of their numbers."""
        if self._chain.rows == 0 and row.seq - 1 in self._ends:
            self._chain.follow_on(self._ends[row.seq - 1].hash)
        self._chain.take(row)
        if row.seq in self._ends:
            self._hashes[row.seq] = row.hash
        if row.content["act"] == ERASED:
            with contextlib.suppress(msgspec.ValidationError, TypeError):  # somebody else's: it counts for nothing
                self._notes.append(msgspec.convert({**row.content["before"], "at": row.content["at"]}, Erased))

    def proof(self) -> Proof:
        """Everything that was found, in the order of the rows."""
        chain = self._chain
        found = [
            *chain.findings(), *self._beginning(), *self._end(), *self._signatures(), *self._order_of_days(),
            *self._rows_of_days(), *self._kept_elsewhere(),
        ]  # fmt: skip
        found.sort(key=lambda finding: (finding.first, finding.last))
        used = tuple(sorted({day.key for day in self._days}))
        return Proof(chain.rows, chain.first, chain.last, len(self._days), used, tuple(found))

    def _beginning(self) -> Iterator[Finding]:
        """Rows may be missing before the first one only where it is noted that their days were old."""
        last = self._chain.first - 1
        if last < 1:
            return
        notes = [note for note in self._notes if note.last == last]
        if not notes:
            yield removed(1 + max((note.last for note in self._notes if note.last < last), default=0), last)
        elif not any(note.was_old() for note in notes):
            yield Finding(What.ERASED_EARLY, 1, last, f"rows up to {last} were erased before their time")

    def _end(self) -> Iterator[Finding]:
        last, signed = self._chain.last, self._days[-1].last if self._days else 0
        if last < signed:
            yield Finding(
                What.END_CUT, last + 1, signed, f"rows {last + 1} to {signed} are missing: the end was cut off"
            )
        elif last > signed:
            yield Finding(What.BEYOND_END, signed + 1, last, f"rows {signed + 1} to {last} stand behind the signed end")

    def _signatures(self) -> Iterator[Finding]:
        for day in (*self._days, *self._copies):
            if day.key not in self._keys:
                text = f"{day.day} is signed with key {day.key}, which is not known here; give it with --key"
                yield Finding(What.UNKNOWN_KEY, day.first, day.last, text)
            elif not is_signed(day, self._keys):
                yield Finding(What.NOT_SIGNED, day.first, day.last, f"the signature of {day.day} is false")

    def _order_of_days(self) -> Iterator[Finding]:
        last, digest = 0, BEGINNING
        for day in self._days:
            if day.first > last + 1:
                text = f"what was signed of rows {last + 1} to {day.first - 1} is missing"
                yield Finding(What.DAY_REMOVED, last + 1, day.first - 1, text)
            elif day.first != last + 1 or day.previous != digest:
                yield Finding(What.DAY_DIFFERS, day.first, day.last, f"{day.day} does not follow on the day before it")
            last, digest = day.last, day.hash

    def _rows_of_days(self) -> Iterator[Finding]:
        for seq, digest in self._hashes.items():
            day = self._ends[seq]
            if digest != day.hash:
                text = f"rows {day.first} to {day.last} are not the ones that were signed on {day.day}"
                yield Finding(What.DAY_DIFFERS, day.first, day.last, text)

    def _kept_elsewhere(self) -> Iterator[Finding]:
        here = {day.day: day for day in self._days}
        for copy in self._copies:
            day = here.get(copy.day)
            if day is None:
                text = f"{copy.day} was signed (rows {copy.first} to {copy.last}) and is missing"
                yield Finding(What.DAY_REMOVED, copy.first, copy.last, text)
            elif (day.first, day.last, day.previous, day.hash) != (copy.first, copy.last, copy.previous, copy.hash):
                text = f"the checkpoint of {copy.day} kept elsewhere says otherwise: rows since then were made anew"
                yield Finding(What.FORGED, copy.first, copy.last, text)


async def check_database(database: Database, keys: Keys, copies: Sequence[Day] = ()) -> Proof:
    """Check all that is sealed; rows of the last second are not yet."""
    check: AuditCheck | None = None
    async for days, rows in _pages(database):
        check = check or AuditCheck(days, keys, copies)
        for row in rows:
            check.take(row)
    return (check or AuditCheck([], keys, copies)).proof()


async def _pages(database: Database) -> Any:
    """The signed days with each page of sealed rows, all as of one moment; once at least."""
    async with database.snapshot() as connection:
        days, last = await read_days(connection), 0
        while True:
            page = (
                select(audit.c.seq, audit.c.hash, *COLUMNS).where(audit.c.seq > last).order_by(audit.c.seq).limit(_PAGE)
            )
            rows = [_sealed(row) for row in (await connection.execute(page)).mappings()]
            yield days, rows
            if len(rows) < _PAGE:
                return
            last = rows[-1].seq


def _sealed(row: RowMapping) -> Sealed:
    return Sealed(row["seq"], content_of(row), str(row["hash"]))


async def export(database: Database, file: Path) -> int:
    """Write the sealed audit as JSON lines: the signed days, then each row with its hash. Returns the number of rows.

    Raises:
        FileExistsError: nothing is ever written over.
        OSError: the file cannot be written.
    """
    count, first_page = 0, True
    with file.open("xb") as writing:
        async for days, rows in _pages(database):
            if first_page:
                writing.writelines(_line({"day": msgspec.structs.asdict(day)}) for day in days)
            writing.writelines(_line({"row": {**row.content, "seq": row.seq}, "hash": row.hash}) for row in rows)
            count, first_page = count + len(rows), False
    return count


def _line(body: Mapping[str, Any]) -> bytes:
    return canonical(body) + b"\n"


def check_file(file: Path, keys: Keys, copies: Sequence[Day] = ()) -> Proof:
    """Check an export, without any database. Raises NotAnExport, OSError."""
    with file.open("rb") as reading:
        lines = _read_lines(reading)
        days: list[Day] = []
        row: Sealed | None = None
        for found in lines:
            if isinstance(found, Sealed):
                row = found
                break
            days.append(found)
        check = AuditCheck(days, keys, copies)
        while row is not None:
            check.take(row)
            following = next(lines, None)
            if isinstance(following, Day):
                raise NotAnExport("a signed day stands behind the first row")
            row = following
    return check.proof()


def _read_lines(reading: IO[bytes]) -> Iterator[Day | Sealed]:
    for number, line in enumerate(reading, 1):
        try:
            body = json.loads(line)
            if "day" in body:
                yield msgspec.convert(body["day"], Day)
                continue
            content = {name: body["row"][name] for name in CONTENT}
            yield Sealed(int(body["row"]["seq"]), content, str(body["hash"]))
        except (ValueError, KeyError, TypeError) as error:
            raise NotAnExport(f"line {number} is no line of an export: {error!r}") from error


def read_checkpoints(folder: Path) -> list[Day]:
    """Checkpoints that were kept elsewhere. Raises NotAnExport, OSError."""
    return [_read_checkpoint(file) for file in sorted(folder.iterdir()) if file.suffix == ".json"]


def _read_checkpoint(file: Path) -> Day:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Day)
    except msgspec.MsgspecError as error:
        raise NotAnExport(f"{file}: {error}") from error


def sentences(findings: Iterable[Finding]) -> list[str]:
    """For people: one line a finding."""
    return [f"{finding.what.value}: {finding.text}" for finding in findings]
