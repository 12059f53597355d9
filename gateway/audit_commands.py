"""What `gengfu verify-audit` does: proves the audit whole, from the database or a file, and exports it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.app import database_url
from gateway.people.audit_key import PUBLIC_PATTERN, Day, key_file, read_public_keys
from gateway.people.audit_proof import Proof, check_database, check_file, export, read_checkpoints, sentences
from gateway.settings import Settings
from gateway.storage.database import Database

_MOST_SHOWN = 50
Say = Callable[[str], None]


class AuditNotWhole(Exception):
    """Something was done to the audit. What, has been said."""


class NoAudit(Exception):
    """There is nothing to verify, or no key to verify it with; the text says what to do."""


async def verify_audit(
    settings: Settings,
    keys: Sequence[Path],
    checkpoints: Path | None,
    file: Path | None,
    target: Path | None,
    say: Say,
) -> None:
    """Verify, and export where a target is given.

    Args:
        settings: where the database and the keys are.
        keys: public keys to trust; none: those beside the private key.
        checkpoints: folder of checkpoints that were kept elsewhere.
        file: an export to verify instead of the database.
        target: where to export to.
        say: shows a line.

    Raises:
        AuditNotWhole: after every finding has been shown.
        NoAudit, AuditKeyError, NotAnExport, OSError: it cannot be verified.
    """
    trusted = read_public_keys(keys or sorted(key_file(settings).parent.glob(PUBLIC_PATTERN)))
    if not trusted:
        raise NoAudit(f"no public key beside {key_file(settings)}; give one with --key")
    copies = read_checkpoints(checkpoints) if checkpoints else []
    if file is not None:
        _tell(check_file(file, trusted, copies), copies, say)
        return
    database = _open(settings)
    try:
        if target is not None:
            say(f"{await export(database, target)} rows written to {target}")
        _tell(await check_database(database, trusted, copies), copies, say)
    finally:
        await database.close()


def _open(settings: Settings) -> Database:
    database = Database(database_url(settings))
    name = database.engine.url.database or ""
    if database.is_sqlite and not Path(name).is_file():
        raise NoAudit(f"{name}: no such database; name its folder with --data-dir")
    return database


def _tell(proof: Proof, copies: Sequence[Day], say: Say) -> None:
    say(f"{proof.rows} rows ({proof.first} to {proof.last}), {proof.days} signed days, {len(copies)} checkpoints")
    for line in sentences(proof.findings[:_MOST_SHOWN]):
        say(line)
    if len(proof.findings) > _MOST_SHOWN:
        say(f"and {len(proof.findings) - _MOST_SHOWN} more")
    if proof.findings:
        raise AuditNotWhole("the audit is not whole: keep this copy, and compare it with a backup or an export")
    say("The audit is whole.")
