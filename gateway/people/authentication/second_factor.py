"""The second factor of administrators and managers: TOTP codes (RFC 6238), and recovery codes.

Optional. The secret is needed to check a code, so it is encrypted and not hashed (`secret_seal.py`); recovery codes are
hashed, and work even if the key is lost.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final

import pyotp
import structlog
from sqlalchemy import delete, insert, select, update

from gateway.people.audit.entry import Cause, Via, audited
from gateway.people.authentication.login_rows import digest_of
from gateway.people.authentication.secret_seal import CannotUnseal, SecretSeal, is_sealed
from gateway.people.permissions import ALL_SITES
from gateway.storage.database import Database
from gateway.storage.records import AuditRow
from gateway.storage.tables import person, recovery_code
from gateway.storage.transaction import Transaction

log = structlog.get_logger(__name__)

_STEP_MS: Final = 30_000
_DRIFT: Final = (0, -1, 1)
"""Tolerance for a phone's clock, in steps."""
_CODES: Final = 10
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_CODE_LENGTH: Final = 16
"""79 random bits."""


_HAS_SECRET: Final = person.c.totp_secret.is_not(None)


class WrongCode(Exception):
    """The code is not the current one."""


class NotBegun(Exception):
    """There is no second factor to confirm or to remove."""


def matching_step(secret: str, code: str, now: int, last_step: int) -> int | None:
    """The time step of a code: the current one or next to it, and newer than the last accepted one. Pure."""
    wanted = code.replace(" ", "")
    if not (wanted.isascii() and wanted.isdigit()):
        return None
    codes = pyotp.TOTP(secret)
    present = now // _STEP_MS
    steps = (present + drift for drift in _DRIFT)
    return next(
        (step for step in steps if step > last_step and secrets.compare_digest(codes.generate_otp(step), wanted)), None
    )


async def take_code(transaction: Transaction, seal: SecretSeal, row: Mapping[str, Any], code: str, now: int) -> bool:
    """Use up a TOTP or recovery code; whether it was valid. No code is valid twice."""
    step = None
    try:
        step = matching_step(seal.open(row["id"], row["totp_secret"]), code, now, row["totp_step"])
    except CannotUnseal as error:
        log.error("a second factor cannot be checked; gengfu user reset NAME --second-factor", why=str(error))
    if step is not None:
        taken = await transaction.execute(
            update(person).where(person.c.id == row["id"], person.c.totp_step < step).values(totp_step=step)
        )
        return taken.rowcount == 1
    digest = _recovery_digest(row["id"], code)
    used = await transaction.execute(delete(recovery_code).where(recovery_code.c.digest == digest))
    if used.rowcount:
        cause = Cause(row["id"], Via.WEB)
        transaction.add_audit(_record(now, cause, "person.recovery_code", row["id"]))
    return used.rowcount == 1


class SecondFactors:
    """Sets up and removes second factors."""

    def __init__(self, database: Database, seal: SecretSeal) -> None:
        self._database = database
        self._seal = seal

    async def seal_plain(self) -> None:
        """Seal secrets of an earlier version. Raises CannotUnseal."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(person.c.id, person.c.totp_secret).where(_HAS_SECRET))).all()
        for identity, secret in rows:
            if not is_sealed(secret):
                same = (person.c.id == identity) & (person.c.totp_secret == secret)
                sealed = self._seal.seal(identity, secret)
                async with self._database.transaction() as connection:
                    await connection.execute(update(person).where(same).values(totp_secret=sealed))

    async def begin(self, identity: str, username: str, cause: Cause, now: int) -> tuple[str, str]:
        """A new secret, and its otpauth address; in force once a code has confirmed it."""
        secret = pyotp.random_base32()
        sealed = self._seal.seal(identity, secret)
        async with self._database.transaction() as transaction:
            # One in use must be removed first: otherwise a stranger at an open browser could replace it.
            begun = await transaction.execute(
                update(person)
                .where(person.c.id == identity, person.c.totp_confirmed.is_(False))
                .values(totp_secret=sealed, updated_at=now)
            )
            if begun.rowcount == 0:
                raise NotBegun("there is a second factor already; remove it first")
            transaction.add_audit(_record(now, cause, "person.second_factor_begin", identity))
        return secret, pyotp.TOTP(secret, name=username, issuer="Gengfu").provisioning_uri()

    async def confirm(self, identity: str, code: str, cause: Cause, now: int) -> list[str]:
        """Turn the second factor on. Returns the recovery codes, which are shown once. Raises WrongCode."""
        self._seal.read_key()
        fresh = ["".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH)) for _ in range(_CODES)]
        async with self._database.transaction() as transaction:
            found = select(person.c.totp_secret).where(person.c.id == identity, person.c.totp_confirmed.is_(False))
            sealed = (await transaction.execute(found.with_for_update())).scalar_one_or_none()
            if sealed is None:
                raise NotBegun("there is no second factor to confirm")
            step = matching_step(self._seal.open(identity, sealed), code, now, 0)
            if step is None:
                raise WrongCode("this is not the current code; check the phone's clock")
            await transaction.execute(
                update(person)
                .where(person.c.id == identity)
                .values(totp_confirmed=True, totp_step=step, version=person.c.version + 1, updated_at=now)
            )
            await transaction.execute(delete(recovery_code).where(recovery_code.c.person == identity))
            rows = [{"digest": _recovery_digest(identity, one), "person": identity} for one in fresh]
            await transaction.execute(insert(recovery_code), rows)
            transaction.add_audit(_record(now, cause, "person.second_factor", identity))
        return fresh

    async def remove(self, identity: str, cause: Cause, now: int) -> None:
        """Turn the second factor off. Raises NotBegun."""
        async with self._database.transaction() as transaction:
            removed = await transaction.execute(
                update(person)
                .where(person.c.id == identity, person.c.totp_secret.is_not(None))
                .values(totp_secret=None, totp_confirmed=False, version=person.c.version + 1, updated_at=now)
            )
            if removed.rowcount == 0:
                raise NotBegun("there is no second factor")
            await transaction.execute(delete(recovery_code).where(recovery_code.c.person == identity))
            transaction.add_audit(_record(now, cause, "person.second_factor_remove", identity))


def _recovery_digest(identity: str, code: str) -> str:
    return digest_of(f"{identity} {code.strip().replace('-', '').casefold()}")


def _record(now: int, cause: Cause, act: str, identity: str) -> AuditRow:
    return audited(now, ALL_SITES, cause, act, f"person:{identity}", None, None)
