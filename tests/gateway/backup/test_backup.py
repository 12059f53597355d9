"""Backups: what is in them, that they are whole under load, and that a restore writes over nothing."""

import asyncio
import io
import shutil
import sqlite3
import tarfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from gateway.backup import backup as backup_module
from gateway.backup.backup import Made, make_backup, unpack, verify_backup
from gateway.backup.contents import copy_sqlite, settings_without_secrets
from gateway.backup.restore import NotEmpty, restore_backup
from gateway.backup.sealed_file import BackupDamaged, Header, PassphraseNeeded, SealedWriter
from gateway.backup.stoppable import StoppableThread, Stopped
from gateway.people.audit.head import read_restores
from gateway.settings import Settings, load_settings
from gateway.storage.database import Database
from gateway.storage.tables import audit
from tests.builders.alarms import T0, rows_of, sqlite_address
from tests.builders.audit_book import Book, open_book

SECRET = "correct horse battery staple"


@pytest.fixture
async def book(migrated_file: Path, tmp_path: Path) -> AsyncIterator[Book]:
    """A data folder with a database, an audit, and a bit of everything else."""
    shutil.copy(migrated_file, tmp_path / "gengfu.db")
    database = Database(sqlite_address(tmp_path / "gengfu.db"))
    book = await open_book(database, tmp_path)
    await book.write_days(2)
    for name in ("sequences.db", "history.db"):
        with closing(sqlite3.connect(tmp_path / name)) as made, made:
            made.execute("CREATE TABLE seen (name TEXT)")
            made.execute("INSERT INTO seen VALUES (?)", (name,))
    for name in ("spool/0001.frames", "attachments/01/0190b3f0", "gengfu.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    yield book
    await database.close()


def settings_of(data_dir: Path, /, **backup: object) -> Settings:
    broker = {"password": "of the broker"}
    rules = data_dir / "site.rules.yaml"
    rules.write_text("rules: []")
    return Settings(storage={"data_dir": data_dir}, backup=backup, broker=broker, alarms={"rule_files": [rules]})  # type: ignore[arg-type]


async def make(folder: Path, *, with_history: bool = False, now: int = T0, **backup: object) -> Made:
    url = make_url(sqlite_address(folder / "gengfu.db"))
    return await make_backup(
        settings_of(folder, **backup), url, folder / "backups", now, lambda _: None, with_history=with_history
    )


def names_in(made: Made, passphrase: str = "") -> set[str]:
    names: set[str] = set()
    unpack(made.file, passphrase, names.add)
    return names


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


async def test_everything_that_is_needed_is_in_it_and_nothing_that_is_secret(book: Book, tmp_path: Path) -> None:
    made = await make(tmp_path)
    names = names_in(made)
    assert {name for name in names if not name.startswith("audit-")} == {
        "gengfu.db", "sequences.db", "spool/0001.frames", "attachments/01/0190b3f0", "settings.toml",
        "audit.head",
        "checkpoints/2025-11-22.json", "checkpoints/2025-11-23.json", f"checkpoints/{public_key(tmp_path)}",
        "rules_and_mappings/0-site.rules.yaml",
    }  # fmt: skip
    assert public_key(tmp_path) in names
    assert (made.files, made.encrypted) == (len(names), False)
    assert made.file.stat().st_mode & 0o077 == 0
    assert b"PRIVATE KEY" not in made.file.read_bytes()
    assert b"of the broker" not in made.file.read_bytes()


def public_key(folder: Path) -> str:
    (file,) = folder.glob("audit-*.pub")
    return file.name


async def test_keys_go_into_an_encrypted_one_only(book: Book, tmp_path: Path) -> None:
    (tmp_path / "second_factor.key").write_bytes(b"a key")
    assert not {"audit.key", "second_factor.key"} & names_in(await make(tmp_path))
    made = await make(tmp_path, now=T0 + 1000, passphrase=SECRET)  # a folder of its own: named by the second
    assert made.encrypted
    assert {"audit.key", "second_factor.key"} <= names_in(made, SECRET)
    with pytest.raises(PassphraseNeeded):
        verify_backup(made.file, "")


async def test_the_readings_are_in_it_where_they_are_asked_for(book: Book, tmp_path: Path) -> None:
    assert "history.db" in names_in(await make(tmp_path, with_history=True))


async def test_what_is_restored_is_what_was_there(book: Book, tmp_path: Path) -> None:
    made = await make(tmp_path, passphrase=SECRET, with_history=True)
    target = tmp_path / "new" / "data"
    said: list[str] = []
    assert await restore_backup(made.file, target, SECRET, None, said.append) == made.files
    for name in ("spool/0001.frames", "attachments/01/0190b3f0", "audit.key", "checkpoints/2025-11-22.json"):
        assert (target / name).read_bytes() == (tmp_path / name).read_bytes()
        assert (target / name).stat().st_mode & 0o077 == 0
    restored = Database(sqlite_address(target / "gengfu.db"))
    assert await rows_of(restored, audit) == await rows_of(book.database, audit)
    again = Book(restored, target, book.epoch)
    assert await again.named() == []
    assert (target / "audit.head").read_bytes() == (tmp_path / "audit.head").read_bytes()
    assert len(read_restores(target)) == 1, "that it was restored is noted, for what checkpoints elsewhere say"
    await restored.close()
    assert load_settings(target / "settings.toml").storage.data_dir == tmp_path
    assert sorted(path.name for path in target.parent.iterdir()) == ["data"]


async def test_a_second_one_in_the_same_second_writes_over_nothing(book: Book, tmp_path: Path) -> None:
    made = await make(tmp_path)
    before = made.file.read_bytes()
    with pytest.raises(FileExistsError):
        await make(tmp_path)
    assert made.file.read_bytes() == before
    assert [file.name for file in (tmp_path / "backups").iterdir()] == [made.file.name]


async def test_a_copy_that_is_not_whole_gets_no_name(
    book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the disk gives back other bytes than it took."""

    def spoilt(content: Path, target: Path, *rest: object) -> None:
        pack(content, target, *rest)
        target.write_bytes(target.read_bytes()[:-5] + b"\0" * 5)

    pack: Callable[..., None] = backup_module._pack
    monkeypatch.setattr(backup_module, "_pack", spoilt)
    with pytest.raises(BackupDamaged):
        await make(tmp_path)
    assert list((tmp_path / "backups").iterdir()) == []


async def test_a_damaged_database_is_not_taken_for_a_backup(book: Book, tmp_path: Path) -> None:
    await book.database.close()
    file = tmp_path / "sequences.db"
    content = bytearray(file.read_bytes())
    content[4096:4200] = b"\xff" * 104
    file.write_bytes(bytes(content))
    with pytest.raises(sqlite3.DatabaseError):
        await make(tmp_path)
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_copy_under_load_ends_and_is_of_one_moment(tmp_path: Path) -> None:
    """Each transaction moves an amount from one row to another: the sum is always the same."""
    file = tmp_path / "live.db"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, amount INTEGER, ballast BLOB)")
        rows = [(number, 100, bytes(3_000)) for number in range(12_000)]  # many steps of the copy
        database.executemany("INSERT INTO account VALUES (?, ?, ?)", rows)
    stop, steps, written = threading.Event(), [], [0]

    def write() -> None:
        with closing(sqlite3.connect(file, isolation_level=None)) as writing:
            while not stop.is_set():
                writing.execute("BEGIN IMMEDIATE")
                writing.execute("UPDATE account SET amount = amount - 1 WHERE id = 0")
                writing.execute("UPDATE account SET amount = amount + 1 WHERE id = 11999")
                writing.execute("COMMIT")
                written[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        copy_sqlite(file, tmp_path / "copy.db", lambda: steps.append(written[0]))
    finally:
        stop.set()
        writer.join()
    assert len(steps) > 1, "the copy took several steps"
    assert steps[-1] > steps[0], "and was written to between them"
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT sum(amount), count(*) FROM account").fetchone() == (1_200_000, 12_000)


async def test_a_task_that_is_cancelled_waits_for_its_thread_to_stop() -> None:
    begun, ended = threading.Event(), threading.Event()
    thread = StoppableThread()

    def work() -> None:
        begun.set()
        try:
            while True:
                thread.stopping()
        finally:
            ended.set()

    task = asyncio.create_task(thread.run(work))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    with pytest.raises(Stopped):
        thread.stopping()


def test_settings_go_without_passwords_and_can_be_read_again(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, passphrase=SECRET, folder=str(tmp_path / "更夫"), kept=3)
    text = settings_without_secrets(settings)
    assert SECRET not in text
    assert "of the broker" not in text
    file = tmp_path / "settings.toml"
    file.write_text(text, encoding="utf-8")
    again = load_settings(file)
    assert again.backup.folder == str(tmp_path / "更夫")
    assert again.alarms == settings.alarms
    assert again.broker.password.get_secret_value() == ""


# -- restore -------------------------------------------------------------------------------------------------------


def packed(folder: Path, *members: tarfile.TarInfo) -> Path:
    """A backup that is sealed properly and holds what none should hold."""
    file = folder / "forged.backup"
    with file.open("wb") as writing:
        sealed = SealedWriter(writing, Header(T0, "0", "0"), "")
        with tarfile.open(fileobj=sealed, mode="w|") as tar:  # type: ignore[call-overload]  # it only writes
            for member in members:
                member.size = 1 if member.isreg() else 0
                tar.addfile(member, io.BytesIO(b"x"))
        sealed.finish()
    return file


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "spool/../../evil"])
async def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(BackupDamaged, match="not a valid file name"):
        await restore_backup(packed(tmp_path, tarfile.TarInfo(name)), tmp_path / "data", "", None, lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["forged.backup"]


async def test_a_link_does_not_belong_into_a_backup(tmp_path: Path) -> None:
    link = tarfile.TarInfo("gengfu.db")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(BackupDamaged, match="does not belong"):
        await restore_backup(packed(tmp_path, link), tmp_path / "data", "", None, lambda _: None)


async def test_what_is_not_in_the_manifest_is_not_restored(tmp_path: Path) -> None:
    with pytest.raises(BackupDamaged, match="manifest"):
        await restore_backup(packed(tmp_path, tarfile.TarInfo("a")), tmp_path / "data", "", None, lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["forged.backup"]


async def test_nothing_is_written_over(book: Book, tmp_path: Path) -> None:
    made = await make(tmp_path)
    target = tmp_path / "data"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(NotEmpty):
        await restore_backup(made.file, target, "", None, lambda _: None)
    assert files_of(target) == {"mine.txt": b"mine"}
    (target / "mine.txt").unlink()
    await restore_backup(made.file, target, "", None, lambda _: None)
    assert (target / "gengfu.db").is_file()


async def test_a_torn_backup_leaves_the_place_as_it_was(book: Book, tmp_path: Path) -> None:
    made = await make(tmp_path)
    made.file.write_bytes(made.file.read_bytes()[:-100])
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(BackupDamaged):
        await restore_backup(made.file, tmp_path / "data", "", None, lambda _: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_database_that_is_not_there_is_not_backed_up_as_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        copy_sqlite(tmp_path / "gengfu.db", tmp_path / "copy.db", lambda: None)
    assert not (tmp_path / "gengfu.db").exists()
