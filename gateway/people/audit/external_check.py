"""Checks the audit against its copies outside the database. Pure: no files, no clock.

A person with write access to the database only cannot change these copies too.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from gateway.people.audit.chain import Finding, What
from gateway.people.audit.head import Head, Identity, Restore
from gateway.people.audit.key import Day

_WRITTEN_WITHIN_MS: Final = 60_000
"""A checkpoint file exists within this time after its day was closed."""


class Outside(msgspec.Struct, frozen=True):
    """The copies found outside the database."""

    copies: Sequence[Day] = ()
    """Checkpoints of the service itself or from elsewhere."""
    heads: Sequence[Head] = ()
    head_missing: bool = False
    """The private key is present, but the head that this service keeps beside it is missing."""
    own_checkpoints: frozenset[str] | None = None
    """Days that have a file in the service's own folder; None: it was not read."""
    restores: Sequence[Restore] = ()
    now: int = 0
    """Epoch ms."""

    def was_restored(self, at: int) -> bool:
        """Whether data written at this moment was lost by a later restore of a backup."""
        return any(restore.backup_at < at <= restore.restored_at for restore in self.restores)


class Inside(msgspec.Struct, frozen=True):
    """The content of the database: its signed days, the beginning of its audit, and its first and last row."""

    days: Sequence[Day]
    identity: Identity | None
    first: int
    last: int
    hashes: Mapping[int, str]
    """Hashes of the last rows of days and heads, by their number."""


def compare(outside: Outside, inside: Inside) -> tuple[list[Finding], list[str]]:
    """Mismatches, and notes that are no faults."""
    findings: list[Finding] = []
    notes: list[str] = []
    for finding, at in (*_of_copies(outside, inside), *_of_heads(outside, inside)):
        if outside.was_restored(at):
            notes.append(f"restored: {finding.text}; a backup was restored since, and later data is not in it")
        else:
            findings.append(finding)
    findings += _of_beginning(outside, inside)
    findings += _missing_checkpoints(outside, inside)
    notes += _of_lag(outside, inside)
    return findings, notes


def _of_copies(outside: Outside, inside: Inside) -> Iterator[tuple[Finding, int]]:
    here = {day.day: day for day in inside.days}
    for copy in outside.copies:
        day = here.get(copy.day)
        if day is None:
            text = f"{copy.day} was signed (rows {copy.first} to {copy.last}) and is missing"
            yield Finding(What.DAY_REMOVED, copy.first, copy.last, text), copy.at
        elif (day.first, day.last, day.previous, day.hash) != (copy.first, copy.last, copy.previous, copy.hash):
            text = f"the checkpoint of {copy.day} does not match: rows were rewritten"
            yield Finding(What.FORGED, copy.first, copy.last, text), copy.at


def _of_heads(outside: Outside, inside: Inside) -> Iterator[tuple[Finding, int]]:
    for head in outside.heads:
        if inside.identity is not None and head.database != inside.identity.database:
            text = f"the head belongs to database {head.database}, but this is {inside.identity.database}"
            yield Finding(What.OTHER_DATABASE, 0, 0, text), head.at
        elif head.last > inside.last:
            text = (
                f"rows {inside.last + 1} to {head.last} were sealed and are missing: the end was cut off, or an older "
                "copy of the database was put back by hand"
            )
            yield Finding(What.END_CUT, inside.last + 1, head.last, text), head.at
        elif inside.hashes.get(head.last, head.hash) != head.hash:
            text = f"row {head.last} is not the one that was sealed: rows were rewritten"
            yield Finding(What.FORGED, head.last, inside.last, text), head.at


def _of_beginning(outside: Outside, inside: Inside) -> Iterator[Finding]:
    if inside.identity is None and outside.heads:
        text = "the statement with which the audit of this database began is missing: the database was emptied"
        yield Finding(What.EMPTIED, 0, 0, text)
    if outside.head_missing and inside.identity is not None:
        text = "the head of this service is missing beside its data: a cut-off end cannot be detected"
        yield Finding(What.HEAD_MISSING, 0, 0, text)


def _missing_checkpoints(outside: Outside, inside: Inside) -> Iterator[Finding]:
    """On PostgreSQL each service has files of the days that it closed itself: those up to the day of its head."""
    if outside.own_checkpoints is None:
        return
    until = max((head.day for head in outside.heads), default="9999")
    for day in inside.days:
        is_due = day.closed and day.day <= until and day.at + _WRITTEN_WITHIN_MS < outside.now
        if is_due and day.day not in outside.own_checkpoints:
            text = f"{day.day} is closed and has no checkpoint file"
            yield Finding(What.CHECKPOINT_MISSING, day.first, day.last, text)


def _of_lag(outside: Outside, inside: Inside) -> Iterator[str]:
    if not outside.heads:
        yield "no head was given: a cut-off end is detected only if a signed day of it is left"
        return
    behind = inside.last - max(head.last for head in outside.heads)
    if behind > 0:
        yield (
            f"the newest head is {behind} rows behind: the service was stopped between sealing and writing it, or "
            "another service has sealed since"
        )
