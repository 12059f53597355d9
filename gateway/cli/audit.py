"""`gengfu verify-audit`: verifies the audit in the database or in a file, and exports it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.app import database_url
from gateway.cli.errors import AuditNotWhole, NoAudit
from gateway.clocks import wall_ms
from gateway.people.audit.external_check import Outside
from gateway.people.audit.head import Head, NotReadable, head_file, read_head, read_restores
from gateway.people.audit.key import PUBLIC_PATTERN, checkpoints_folder, key_file, read_public_keys
from gateway.people.audit.verification import Proof, check_database, check_file, export, read_checkpoints, sentences
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.migrate import newest_revision, revision_of

_MOST_SHOWN = 50
Say = Callable[[str], None]


async def verify_audit(
    settings: Settings,
    keys: Sequence[Path],
    checkpoints: Path | None,
    heads: Sequence[Path],
    file: Path | None,
    target: Path | None,
    say: Say,
) -> None:
    """Verify, and export if a target is given.

    Args:
        settings: name the database and the keys.
        keys: public keys to trust; none: those beside the private key.
        checkpoints: folder of checkpoints kept elsewhere.
        heads: heads of other services on the same database, or kept elsewhere.
        file: an export to verify instead of the database.
        target: file of the export.
        say: shows a line.

    Raises:
        AuditNotWhole: after all findings were shown.
        NoAudit, AuditKeyError, NotAnExport, NotReadable, OSError: it cannot be verified.
    """
    trusted = read_public_keys(keys or sorted(key_file(settings).parent.glob(PUBLIC_PATTERN)))
    if not trusted:
        raise NoAudit(f"there is no public key beside {key_file(settings)}; give one with --key")
    given = Outside(copies=read_checkpoints(checkpoints) if checkpoints else (), heads=_read_heads(heads))
    if file is not None:
        _tell(check_file(file, trusted, given), given, say)
        return
    database = _open(settings)
    try:
        await _require_current(database)
        if target is not None:
            say(f"{await export(database, target)} rows written to {target}")
        outside = _with_own(settings, given)
        _tell(await check_database(database, trusted, outside), outside, say)
    finally:
        await database.close()


def _read_heads(files: Sequence[Path]) -> list[Head]:
    found = {file: read_head(file) for file in files}
    missing = [str(file) for file, head in found.items() if head is None]
    if missing:
        raise NotReadable(f"{missing[0]}: there is no head")
    return [head for head in found.values() if head is not None]


def _with_own(settings: Settings, given: Outside) -> Outside:
    """The given copies, and those that this service keeps beside its data.

    Raises NotAnExport, NotReadable, OSError.
    """
    data_dir, folder = settings.storage.data_dir, checkpoints_folder(settings)
    head, is_own = read_head(head_file(settings)), key_file(settings).is_file()
    own = read_checkpoints(folder) if folder.is_dir() else []
    return Outside(
        copies=[*given.copies, *(day for day in own if day not in given.copies)],
        heads=given.heads if head is None else [*given.heads, head],
        head_missing=is_own and head is None,
        own_checkpoints=frozenset(day.day for day in own) if is_own else None,
        restores=read_restores(data_dir),
        now=wall_ms(),
    )


def _open(settings: Settings) -> Database:
    database = Database(database_url(settings))
    name = database.engine.url.database or ""
    if database.is_sqlite and not Path(name).is_file():
        raise NoAudit(f"{name}: no such database; name its folder with --data-dir")
    return database


async def _require_current(database: Database) -> None:
    """Raise NoAudit if the tables are those of another version: missing columns would look like removed data."""
    found, needed = await revision_of(database), newest_revision()
    if found == needed:
        return
    where = database.engine.url.render_as_string(hide_password=True)
    if found is None:
        raise NoAudit(f"{where}: this database has no tables of Gengfu; check storage.database_url")
    if found > needed:
        raise NoAudit(
            f"{where}: the database belongs to a later version ({found}); verify it with the version that wrote it"
        )
    raise NoAudit(
        f"{where}: the database is of an older version ({found}, this one needs {needed}); run `gengfu migrate`, which "
        "keeps a copy of it first, or verify it with the version that wrote it"
    )


def _tell(proof: Proof, outside: Outside, say: Say) -> None:
    kept = f"{len(outside.copies)} checkpoints, {len(outside.heads)} heads"
    say(f"{proof.rows} rows ({proof.first} to {proof.last}), {proof.days} signed days, {kept}")
    for note in proof.notes:
        say(f"note: {note}")
    for line in sentences(proof.findings[:_MOST_SHOWN]):
        say(line)
    if len(proof.findings) > _MOST_SHOWN:
        say(f"and {len(proof.findings) - _MOST_SHOWN} more")
    if proof.findings:
        raise AuditNotWhole("the audit is not whole: keep this copy, and compare it with a backup or an export")
    say("The audit is whole.")
