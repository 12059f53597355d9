"""The hash chain over audit rows, and the search for rows that do not match it. No database, no key, no clock.

Each row's hash is SHA-256 over the hash before it (64 hexadecimal digits) and the row's canonical bytes: its content
with its number in the chain as JSON, keys sorted, no spaces, ASCII only. The first row follows 64 zeros.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

BEGINNING: Final = "0" * 64
"""The hash before the first row."""
CONTENT: Final = (
    "at", "site", "actor", "role", "via", "origin", "act", "thing", "before", "after", "cause",
)  # fmt: skip
"""Columns of a row that are hashed, besides its number."""
FORM: Final = 2
"""The current form of sealed rows: their id and this number are hashed too, and JSON as the stored text."""
OF_FORM: Final = (*CONTENT, "id", "form")
"""The hashed columns of a row of this form, besides its number."""
_MOST_SUSPECTS: Final = 24
"""Mismatched rows that are compared with each other to find exchanged ones."""


class Sealed(msgspec.Struct, frozen=True):
    """A row of the chain: number, content by column, hash."""

    seq: int
    content: Mapping[str, Any]
    hash: str


class What(StrEnum):
    """Kinds of faults of the audit."""

    REMOVED = "removed"
    CHANGED = "changed"
    MOVED = "moved"
    END_CUT = "end_cut"
    BEYOND_END = "beyond_end"
    NOT_SIGNED = "not_signed"
    FORGED = "forged"
    UNKNOWN_KEY = "unknown_key"
    DAY_DIFFERS = "day_differs"
    DAY_REMOVED = "day_removed"
    ERASED_EARLY = "erased_early"
    UNSEALED = "unsealed"
    HEAD_MISSING = "head_missing"
    EMPTIED = "emptied"
    OTHER_DATABASE = "other_database"
    CHECKPOINT_MISSING = "checkpoint_missing"


class Finding(msgspec.Struct, frozen=True):
    """One fault: rows `first` to `last` by their number in the chain, and an explanation for people."""

    what: What
    first: int
    last: int
    text: str


def canonical(content: Mapping[str, Any]) -> bytes:
    """The canonical bytes of some content, the same on every machine and from either database."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode("ascii")


def hash_of(previous: str, seq: int, content: Mapping[str, Any]) -> str:
    """The hash of a row at `seq` that follows the hash `previous`."""
    before = previous.encode("ascii", "replace")  # a manipulated value is hashed as it is and does not match
    return hashlib.sha256(before + canonical({**content, "seq": seq})).hexdigest()


def seal(rows: Iterable[Mapping[str, Any]], last: int, previous: str) -> list[Sealed]:
    """Chain the contents of rows, in their order, after the row `last` whose hash is `previous`."""
    sealed = []
    for seq, row in enumerate(rows, last + 1):
        content = {column: row[column] for column in OF_FORM if column in row}
        previous = hash_of(previous, seq, content)
        sealed.append(Sealed(seq, content, previous))
    return sealed


class ChainCheck:
    """Checks rows one by one in the order of their numbers, and collects mismatches."""

    def __init__(self) -> None:
        self.rows = 0
        self.first = 0
        self.last = 0
        self.gaps: list[Finding] = []
        self._last_hash: str | None = None
        self._suspects: list[tuple[Sealed, str]] = []
        self._others: list[int] = []

    def take(self, row: Sealed) -> None:
        """Check the next row. A row after a gap cannot be checked against the row before it, and is trusted."""
        if row.seq <= self.last:
            text = f"row {row.seq} follows row {self.last}"
            self.gaps.append(Finding(What.MOVED, row.seq, row.seq, text))
            return
        if self.rows and row.seq != self.last + 1:
            self.gaps.append(removed(self.last + 1, row.seq - 1))
            self._last_hash = None
        if self._last_hash is not None:
            self._compare(row, self._last_hash)
        elif row.seq == 1:
            self._compare(row, BEGINNING)
        self.rows += 1
        self.first = self.first or row.seq
        self.last = row.seq
        self._last_hash = row.hash

    def follow_on(self, previous: str) -> None:
        """Check the first row against the hash that a signed statement has for the row before it."""
        self._last_hash = previous

    def _compare(self, row: Sealed, previous: str) -> None:
        if hash_of(previous, row.seq, row.content) == row.hash:
            return
        if len(self._suspects) < _MOST_SUSPECTS:
            self._suspects.append((row, previous))
        else:
            self._others.append(row.seq)

    def findings(self) -> list[Finding]:
        """All mismatches, in the order of the rows."""
        found = [*self.gaps, *_explain(self._suspects), *(changed(seq) for seq in self._others)]
        return sorted(found, key=lambda finding: (finding.first, finding.last))


def _explain(suspects: list[tuple[Sealed, str]]) -> list[Finding]:
    """Split mismatched rows into exchanged and changed ones."""
    known = {row.hash for row, _ in suspects} | {previous for _, previous in suspects}
    # A row after an exchanged one mismatches because of its neighbour: after one of the other hashes it matches.
    guilty = [row for row, _ in suspects if row.hash not in _hashes_at(row.seq, row, known)]
    found = []
    for row in guilty:
        places = [other.seq for other in guilty if other.seq != row.seq]
        belongs = next((seq for seq in places if known & _hashes_at(seq, row, known)), None)
        found.append(changed(row.seq) if belongs is None else moved(row.seq, belongs))
    return found


def _hashes_at(seq: int, row: Sealed, known: set[str]) -> set[str]:
    """The hashes that the row would have at a position, after each of the known hashes."""
    return {hash_of(previous, seq, row.content) for previous in known}


def removed(first: int, last: int) -> Finding:
    rows = f"row {first} is" if first == last else f"rows {first} to {last} are"
    return Finding(What.REMOVED, first, last, f"{rows} missing")


def changed(seq: int) -> Finding:
    text = f"row {seq} was changed, or row {seq - 1} before it and its hash with it"
    return Finding(What.CHANGED, seq, seq, text)


def moved(seq: int, belongs: int) -> Finding:
    return Finding(What.MOVED, seq, seq, f"the row at {seq} belongs at {belongs}: rows were exchanged")
