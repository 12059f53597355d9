"""The proof: whoever may write the database, or holds the key, is found out; and the rows are named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.people.audit.external_check import Outside
from gateway.people.audit.key import AuditKeyError, open_key
from gateway.people.audit.verification import NotAnExport, check_file, export, read_checkpoints
from gateway.storage.database import Database
from tests.builders.alarms import Clock
from tests.builders.audit_book import KEPT_DAYS, Book, open_book


@pytest.fixture
async def book(database: Database, tmp_path: Path) -> Book:
    """Twelve rows on three closed days, and two of today."""
    book = await open_book(database, tmp_path)
    await book.write_days(3)
    await book.write(2)
    await book.sealer.tick()
    return book


async def test_an_untouched_audit_is_whole(book: Book) -> None:
    proof = await book.check()
    assert (proof.rows, proof.first, proof.last, proof.days, proof.findings) == (14, 1, 14, 4, ())


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE audit SET actor = 'p-8' WHERE seq = 6", [("changed", 6, 6)]),
        ("UPDATE audit SET at = at + 1 WHERE seq = 14", [("changed", 14, 14)]),
        ("UPDATE audit SET role = 'manager' WHERE seq = 1", [("changed", 1, 1)]),
        ("UPDATE audit SET after = '{}' WHERE seq IN (3, 9)", [("changed", 3, 3), ("changed", 9, 9)]),
        ("UPDATE audit SET before = NULL WHERE seq = 5", [("changed", 5, 5)]),
        ("DELETE FROM audit WHERE seq = 6", [("removed", 6, 6)]),
        ("DELETE FROM audit WHERE seq BETWEEN 6 AND 9", [("removed", 6, 9)]),
        ("DELETE FROM audit WHERE seq = 8", [("removed", 8, 8)]),  # the last of a day
        ("DELETE FROM audit WHERE seq <= 3", [("removed", 1, 3)]),
        ("DELETE FROM audit WHERE seq <= 4", [("removed", 1, 4)]),  # a whole day, but nobody noted it
        ("DELETE FROM audit WHERE seq > 12", [("end_cut", 13, 14)]),
        ("DELETE FROM audit", [("end_cut", 1, 14)]),
        ("DELETE FROM audit_day WHERE first = 5", [("day_removed", 5, 8)]),
        ("DELETE FROM audit_day WHERE first = 13", [("beyond_end", 13, 14)]),
        ("DELETE FROM audit_day", [("beyond_end", 1, 14)]),
        ("UPDATE audit_day SET closed = NOT closed WHERE first = 5", [("not_signed", 5, 8)]),
        ("UPDATE audit_day SET signature = 'none' WHERE first = 1", [("not_signed", 1, 4)]),
    ],
)  # fmt: skip
async def test_what_somebody_does_to_the_database_is_found(
    book: Book, statement: str, expected: list[tuple[str, int, int]]
) -> None:
    await book.spoil(statement)
    assert await book.named() == expected


async def test_exchanged_rows_are_found(book: Book) -> None:
    await book.spoil("UPDATE audit SET seq = -seq WHERE seq IN (3, 10)")
    await book.spoil("UPDATE audit SET seq = 13 + seq WHERE seq < 0")
    assert await book.named() == [("moved", 3, 3), ("moved", 10, 10)]


async def test_rows_chained_anew_from_somewhere_on_do_not_fit_what_was_signed(book: Book) -> None:
    """Whoever knows how the chain is made, and may write the database, still lacks the key."""
    await book.spoil("UPDATE audit SET actor = 'p-8' WHERE seq = 6")
    await book.spoil("UPDATE audit SET seq = NULL, hash = NULL WHERE seq >= 6")
    await book.spoil("DELETE FROM audit_day WHERE first >= 5")
    forger = open_key(book.key_file.parent / "other" / "audit.key")
    real, book.sealer._key = book.sealer._key, forger
    await book.sealer.seal()
    named = await book.named()
    assert ("unknown_key", 6, 14) in named
    book.sealer._key = real


async def test_what_is_signed_anew_with_the_stolen_key_differs_from_the_checkpoints_elsewhere(
    book: Book, tmp_path: Path
) -> None:
    shutil.copytree(book.checkpoints, tmp_path / "elsewhere")
    await book.spoil("UPDATE audit SET actor = 'p-8' WHERE seq = 6")
    await book.spoil("UPDATE audit SET seq = NULL, hash = NULL WHERE seq >= 5")
    await book.spoil("DELETE FROM audit_day WHERE first >= 5")
    book.clock.now = Clock().now + 24 * 3600 * 1000
    await book.new_sealer().seal()
    assert await book.named() == [("forged", 14, 14)], "the head of before says so"
    assert await book.named(heads=[]) == [], "without it all fits again"
    named = await book.named(heads=[], copies=read_checkpoints(tmp_path / "elsewhere"))
    assert named == [("forged", 5, 8), ("day_removed", 9, 12)]


async def test_days_erased_before_their_time_are_found(book: Book) -> None:
    """Whoever writes the note of an erasure into the audit still cannot make the day older."""
    note = {"day": "2025-11-22", "first": 1, "last": 4, "kept_days": KEPT_DAYS}
    await book.spoil("DELETE FROM audit WHERE seq <= 4")
    await book.spoil(
        "INSERT INTO audit (at, site, actor, role, via, origin, act, thing, before, cause) VALUES"
        " (:at, '', 'system:audit', '', 'clock', '', 'audit.erase', '2025-11-22', :note, '')",
        at=book.clock(),
        note=json.dumps(note),
    )
    await book.sealer.seal()
    assert await book.named() == [("erased_early", 1, 4)]


async def test_a_key_that_nobody_knows_here_is_said(book: Book) -> None:
    named = await book.named(keys={})
    assert {what for what, _, _ in named} == {"unknown_key"}


# -- an export, without the database -------------------------------------------------------------------------------


async def exported(book: Book, tmp_path: Path) -> Path:
    file = tmp_path / "audit.jsonl"
    assert await export(book.database, file) == 14
    return file


async def test_an_export_is_whole_without_the_database(book: Book, tmp_path: Path) -> None:
    file = await exported(book, tmp_path)
    proof = check_file(file, book.keys, Outside(copies=read_checkpoints(book.checkpoints)))
    assert (proof.rows, proof.days, proof.findings) == (14, 4, ())
    with pytest.raises(FileExistsError):
        await export(book.database, file)


def without(lines: list[bytes]) -> list[bytes]:
    return lines[:9] + lines[10:]


def swapped(lines: list[bytes]) -> list[bytes]:
    return [*lines[:9], lines[10], lines[9], *lines[11:]]


def changed(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b'"actor":"p-7"', b'"actor":"p-8"') if at == 9 else line for at, line in enumerate(lines)]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (without, [("removed", 6, 6)]),
        (swapped, [("moved", 6, 6), ("removed", 6, 6)]),
        (changed, [("changed", 6, 6)]),
        (lambda lines: lines[:-1], [("end_cut", 14, 14)]),
        (lambda lines: lines[1:], [("day_removed", 1, 4)]),
    ],
)
async def test_what_somebody_does_to_an_export_is_found(
    book: Book, tmp_path: Path, spoil: Callable[[list[bytes]], list[bytes]], expected: list[tuple[str, int, int]]
) -> None:
    file = await exported(book, tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(spoil(lines)))
    found = check_file(file, book.keys).findings
    assert sorted((one.what.value, one.first, one.last) for one in found) == expected


@pytest.mark.parametrize("content", ["no json\n", "[1]\n", '{"row": {}}\n', '{"day": {}}\n'])
def test_what_is_no_export_is_refused_with_its_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_text(content)
    with pytest.raises(NotAnExport, match="line 1"):
        check_file(file, {})


def test_what_is_no_checkpoint_is_refused_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "2025-11-22.json").write_text("{}")
    with pytest.raises(NotAnExport, match=r"2025-11-22\.json"):
        read_checkpoints(tmp_path)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "audit.key"
    first = open_key(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert open_key(file).id == first.id
    file.chmod(0o640)
    with pytest.raises(AuditKeyError, match="chmod 600"):
        open_key(file)
