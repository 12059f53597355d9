"""Each manipulation that docs/audit.md names, and by what it is found: its table has no row without a case here."""

import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.people.audit.chain import BEGINNING, CONTENT, seal
from gateway.people.audit.head import Head, Restore, read_head, write_head
from gateway.people.audit.key import open_key
from gateway.people.audit.sealer import DAY_MS
from gateway.people.audit.verification import read_checkpoints
from gateway.storage.database import Database
from gateway.storage.tables import audit, audit_identity
from tests.builders.alarms import rows_of
from tests.builders.audit_book import Book, open_book
from tests.paths import DOCS

DOC = DOCS / "audit.md"
INSERTED = (
    "INSERT INTO audit (id, at, site, actor, role, via, origin, act, thing, cause, seq, hash) VALUES"
    " (:id, :at, '', 'p-8', '', 'web', '', 'ticket.arrive', 'R-HQ-1', '', :seq, :hash)"
)


@pytest.fixture
async def book(database: Database, tmp_path: Path) -> Book:
    """Twelve rows on three closed days, and two of today."""
    book = await open_book(database, tmp_path)
    await book.write_days(3)
    await book.write(2)
    await book.sealer.tick()
    return book


async def forget_the_last_day(book: Book) -> None:
    await book.spoil("DELETE FROM audit WHERE seq > 12")
    await book.spoil("DELETE FROM audit_day WHERE first = 13")


async def forget_several_days(book: Book) -> None:
    await book.spoil("DELETE FROM audit WHERE seq > 4")
    await book.spoil("DELETE FROM audit_day WHERE first > 4")


async def empty(book: Book) -> None:
    await book.spoil("DELETE FROM audit")
    await book.spoil("DELETE FROM audit_day")


async def empty_with_its_beginning(book: Book) -> None:
    await empty(book)
    await book.spoil("DELETE FROM audit_identity")


async def remove_the_beginning(book: Book) -> None:
    await book.spoil("DELETE FROM audit_identity")


async def change_the_beginning(book: Book) -> None:
    await book.spoil("UPDATE audit_identity SET at = at + 1")


async def put_another_databases_beginning(book: Book) -> None:
    await book.spoil("UPDATE audit_identity SET database = 'another'")


async def remove_the_head(book: Book) -> None:
    book.head_file.unlink()


async def change_the_head(book: Book) -> None:
    head = read_head(book.head_file)
    assert head is not None
    book.head_file.write_text(book.head_file.read_text().replace(f'"last":{head.last}', '"last":12'))


async def renumber_ids(book: Book) -> None:
    await book.spoil("UPDATE audit SET id = id + 1000 WHERE seq >= 13")


async def exchange_ids(book: Book) -> None:
    await book.spoil("UPDATE audit SET id = -id WHERE seq IN (3, 10)")
    await book.spoil("UPDATE audit SET id = 13 + id WHERE id < 0")


async def put_an_unsealed_row_between(book: Book) -> None:
    await book.spoil("DELETE FROM audit WHERE seq = 14")
    await book.spoil("UPDATE audit SET id = 500 WHERE seq = 13")
    await book.spoil(INSERTED, id=400, at=book.clock(), seq=None, hash=None)


async def put_an_old_unsealed_row(book: Book) -> None:
    await book.spoil(INSERTED, id=900, at=book.clock() - DAY_MS, seq=None, hash=None)


async def put_a_row_out_of_the_chain(book: Book) -> None:
    await book.spoil(INSERTED, id=900, at=book.clock(), seq=-7, hash="0" * 64)


async def put_a_row_behind_the_end(book: Book) -> None:
    await book.spoil(INSERTED, id=900, at=book.clock(), seq=15, hash="0" * 64)


async def write_null_as_json(book: Book) -> None:
    await book.spoil("UPDATE audit SET before = 'null' WHERE seq = 6")


async def add_blanks(book: Book) -> None:
    await book.spoil("UPDATE audit SET after = :text WHERE seq = 6", text='{"state":  "on_site", "share": 0.1}')


async def reorder_keys(book: Book) -> None:
    await book.spoil("UPDATE audit SET after = :text WHERE seq = 6", text='{"share": 0.1, "state": "on_site"}')


async def remove_a_day(book: Book) -> None:
    await book.spoil("DELETE FROM audit_day WHERE first = 5")


async def remove_the_first_day(book: Book) -> None:
    await book.spoil("DELETE FROM audit_day WHERE first = 1")


async def remove_a_row(book: Book) -> None:
    await book.spoil("DELETE FROM audit WHERE seq = 6")


async def change_a_row(book: Book) -> None:
    await book.spoil("UPDATE audit SET actor = 'p-8' WHERE seq = 6")


async def exchange_rows(book: Book) -> None:
    await book.spoil("UPDATE audit SET seq = -seq WHERE seq IN (3, 10)")
    await book.spoil("UPDATE audit SET seq = 13 + seq WHERE seq < 0")


async def sign_anew_with_the_stolen_key(book: Book) -> None:
    await book.spoil("UPDATE audit SET actor = 'p-8' WHERE seq = 6")
    await book.spoil("UPDATE audit SET seq = NULL, hash = NULL, form = NULL WHERE seq >= 5")
    await book.spoil("DELETE FROM audit_day WHERE first >= 5")
    await book.new_sealer().seal()


async def remove_a_checkpoint(book: Book) -> None:
    sorted(book.checkpoints.glob("*.json"))[1].unlink()


Manipulation = Callable[[Book], Awaitable[None]]
THREATS: dict[str, tuple[Manipulation, str]] = {
    "The newest day removed, with what is signed of it": (forget_the_last_day, "end_cut"),
    "Several newest days removed, with what is signed of them": (forget_several_days, "end_cut"),
    "All rows and signed days removed": (empty, "end_cut"),
    "The database emptied, its beginning too": (empty_with_its_beginning, "emptied"),
    "The statement of the beginning removed": (remove_the_beginning, "emptied"),
    "The statement of the beginning changed": (change_the_beginning, "not_signed"),
    "Another database put in its place": (put_another_databases_beginning, "other_database"),
    "The head removed": (remove_the_head, "head_missing"),
    "The head changed": (change_the_head, "not_signed"),
    "Ids given anew": (renumber_ids, "changed"),
    "Ids of two rows exchanged": (exchange_ids, "changed"),
    "A row put between sealed ones, not sealed": (put_an_unsealed_row_between, "unsealed"),
    "A row put in that is older than the last sealing, not sealed": (put_an_old_unsealed_row, "unsealed"),
    "A row put in with a number that the chain does not reach": (put_a_row_out_of_the_chain, "unsealed"),
    "A row put behind the end": (put_a_row_behind_the_end, "beyond_end"),
    "JSON `null` written where nothing was": (write_null_as_json, "changed"),
    "Blanks in stored JSON changed": (add_blanks, "changed"),
    "The order of keys in stored JSON changed": (reorder_keys, "changed"),
    "A row removed": (remove_a_row, "removed"),
    "A row changed": (change_a_row, "changed"),
    "Two rows exchanged": (exchange_rows, "moved"),
    "The statement of a day removed": (remove_a_day, "day_removed"),
    "The statement of the first day removed": (remove_the_first_day, "day_removed"),
    "Rows chained and signed anew with the stolen key": (sign_anew_with_the_stolen_key, "forged"),
    "A closed day without its checkpoint file": (remove_a_checkpoint, "checkpoint_missing"),
}
"""As the table in docs/audit.md names it -> what does it, and the word with which it is found."""


async def words(book: Book) -> set[str]:
    """What `gengfu verify-audit` says on the machine of the service."""
    copies = read_checkpoints(book.checkpoints)
    named = await book.named(
        copies=copies, head_missing=not book.head_file.exists(), own_checkpoints=frozenset(day.day for day in copies),
        now=book.clock() + DAY_MS,
    )  # fmt: skip
    return {what for what, _, _ in named}


async def test_what_nobody_has_touched_is_whole(book: Book) -> None:
    assert await words(book) == set()


@pytest.mark.parametrize("name", THREATS)
async def test_the_manipulation_is_found(book: Book, name: str) -> None:
    manipulate, word = THREATS[name]
    await manipulate(book)
    assert word in await words(book)


def test_the_threat_table_of_the_documentation_is_this_one() -> None:
    rows = re.findall(r"^\| (.+?) \| `(\w+)` \|", DOC.read_text(encoding="utf-8").split("## Threats")[1], re.MULTILINE)
    assert rows == [(name, word) for name, (_, word) in THREATS.items()]


# -- rows that an earlier version has sealed -----------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "is_found"),
    [
        ("UPDATE audit SET before = before WHERE seq = 1", False),
        ("""UPDATE audit SET before = '{"state":"old"}' WHERE seq = 1""", True),
        ("UPDATE audit SET after = 'null' WHERE seq = 1", True),
    ],
)
async def test_rows_sealed_by_an_earlier_version_are_whole_and_their_text_is_what_was_written(
    database: Database, tmp_path: Path, statement: str, is_found: bool
) -> None:
    book = await open_book(database, tmp_path)
    content = {
        **dict.fromkeys(CONTENT, ""), "at": book.clock(), "before": {"state": "old"}, "after": None,
    }  # fmt: skip
    (sealed,) = seal([content], 0, BEGINNING)
    await book.spoil(
        "INSERT INTO audit (at, site, actor, role, via, origin, act, thing, before, cause, seq, hash) VALUES"
        """ (:at, '', '', '', '', '', '', '', '{"state": "old"}', '', 1, :hash)""",
        at=book.clock(), hash=sealed.hash,
    )  # fmt: skip
    await book.write()
    await book.sealer.tick()
    assert (await rows_of(database, audit))[1]["form"] == 2
    await book.spoil(statement)
    assert ("changed" in {what for what, _, _ in await book.named()}) is is_found


# -- the head ------------------------------------------------------------------------------------------


async def test_a_fresh_database_is_told_from_an_emptied_one(database: Database, tmp_path: Path) -> None:
    book = await open_book(database, tmp_path)
    await book.sealer.tick()
    head = read_head(book.head_file)
    assert head is not None
    assert (head.last, await book.named()) == (0, [])
    await book.write(1)
    await book.sealer.tick()
    await empty(book)
    assert await book.named() == [("end_cut", 1, 1)]


async def test_a_crash_between_sealing_and_the_head_is_explained_and_mended(book: Book) -> None:
    await book.write(3)
    await book.sealer.seal()
    proof = await book.check()
    assert proof.findings == ()
    assert any("3 rows behind" in note for note in proof.notes)
    await book.new_sealer().tick()
    proof = await book.check()
    assert (proof.findings, proof.notes) == ((), ())


async def test_the_head_is_never_set_back_and_the_service_tells_that_rows_are_missing(book: Book) -> None:
    before = book.head_file.read_bytes()
    await forget_the_last_day(book)
    await book.write(1)
    for sealer in (book.sealer, book.new_sealer()):
        await sealer.tick()
        assert sealer.findings()["audit_ok"] is False
        assert "are missing" in sealer.trouble
    assert book.head_file.read_bytes() == before
    book.head_file.rename(book.head_file.with_name("evidence"))
    await sealer.tick()
    assert sealer.trouble == "", "whoever has looked into it takes the file away"
    assert book.head_file.exists()


async def test_a_removed_beginning_is_not_made_anew(book: Book) -> None:
    await remove_the_beginning(book)
    sealer = book.new_sealer()
    await sealer.tick()
    assert "beginning" in sealer.trouble
    assert await rows_of(book.database, audit_identity) == []


async def test_each_service_keeps_its_own_head_and_either_finds_a_cut_end(book: Book, tmp_path: Path) -> None:
    """Two services on one database: the second has taken over, the head of the first is behind."""
    first = read_head(book.head_file)
    book.head_file = tmp_path / "second" / "audit.head"
    book.head_file.parent.mkdir()
    await book.write(2)
    await book.new_sealer().tick()
    second = read_head(book.head_file)
    assert first is not None
    assert second is not None
    assert (first.last, second.last, first.database) == (14, 16, second.database)
    assert (await book.check(heads=[first, second])).findings == ()
    await forget_several_days(book)
    assert {what for what, _, _ in await book.named(heads=[first])} == {"end_cut"}
    assert {what for what, _, _ in await book.named(heads=[second])} == {"end_cut"}


async def test_a_head_that_cannot_be_read_is_told_and_left(book: Book) -> None:
    book.head_file.write_text("{")
    sealer = book.new_sealer()
    await sealer.tick()
    assert str(book.head_file) in sealer.trouble
    assert book.head_file.read_text() == "{"


async def test_a_restored_backup_is_called_restored_and_not_a_forgery(book: Book, tmp_path: Path) -> None:
    """The checkpoints carried away are newer than the backup; the day that it ends in was closed anew since."""
    shutil.copytree(book.checkpoints, tmp_path / "elsewhere")
    backup_at = book.clock() - DAY_MS - 1
    await forget_several_days(book)
    book.head_file.unlink()
    carried = read_checkpoints(tmp_path / "elsewhere")
    restores = [Restore(backup_at - 2 * DAY_MS, book.clock() + 1)]
    proof = await book.check(copies=carried, restores=restores)
    assert proof.findings == ()
    assert [note.split(":")[0] for note in proof.notes][:2] == ["restored", "restored"]
    assert {what for what, _, _ in await book.named(copies=carried)} == {"day_removed"}, "without the note of it"


def test_a_head_signed_by_another_key_is_not_ours(tmp_path: Path) -> None:
    file = tmp_path / "audit.head"
    head = open_key(tmp_path / "audit.key").sign(Head("d", 1, "0" * 64, "2025-11-22", 1, key=""))
    write_head(file, head)
    assert read_head(file) == head
    assert not list(tmp_path.glob("*.part"))


def test_a_power_cut_while_the_head_is_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "audit.head"
    key = open_key(tmp_path / "audit.key")
    before = key.sign(Head("d", 1, "0" * 64, "2025-11-22", 1, key=""))
    write_head(file, before)

    def cut(*_: Any) -> None:
        raise OSError("no power")

    monkeypatch.setattr(Path, "replace", cut)
    with pytest.raises(OSError, match="no power"):
        write_head(file, key.sign(Head("d", 2, "1" * 64, "2025-11-22", 2, key="")))
    assert read_head(file) == before
