"""Identity proof by name and password, and by a code if the account requires one."""

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.people.authentication.identity_proof import Claim, IdentityProof, LoginRefused, Proven, Refusal
from gateway.people.authentication.login_rows import digest_of
from gateway.people.authentication.second_factor import take_code
from gateway.people.authentication.secret_seal import SecretSeal
from gateway.people.authentication.shared_throttle import SharedThrottle
from gateway.people.authentication.throttle import Attempt
from gateway.people.passwords.hashes import PasswordHashes
from gateway.storage.database import Database
from gateway.storage.tables import person


class Passwords:
    """The identity proof of every account."""

    def __init__(
        self, database: Database, hashes: PasswordHashes, throttle: SharedThrottle, seal: SecretSeal, *, demo: bool
    ) -> None:
        self._database = database
        self._hashes = hashes
        self._throttle = throttle
        self._seal = seal
        self._demo = demo

    async def prove(self, claim: Claim, attempt: Attempt, now: int) -> Proven:
        """See `IdentityProof`. Unknown names cost the same work as known ones."""
        wait = await self._throttle.admit(attempt, now)
        if wait:
            raise LoginRefused(Refusal.SLOWED, wait)
        row = await self._row(attempt.username)
        hashed = row["password_hash"] if row is not None and row["disabled_at"] is None else None
        if not await self._hashes.is_right(hashed, claim.secret) or row is None:
            raise LoginRefused(Refusal.WRONG)
        if row["totp_confirmed"]:
            await self._take_code(row, claim.code, now)
        self._throttle.forgive(attempt, now)
        return _proven(row)

    async def is_own(self, identity: str, password: str, attempt: Attempt, now: int) -> Proven:
        """Check the password of a logged-in person again. Raises LoginRefused."""
        wait = await self._throttle.admit(attempt, now)
        if wait:
            raise LoginRefused(Refusal.SLOWED, wait)
        row = await self._row(attempt.username)
        hashed = row["password_hash"] if row is not None and row["id"] == identity else None
        if not await self._hashes.is_right(hashed, password):
            raise LoginRefused(Refusal.WRONG)
        self._throttle.forgive(attempt, now)
        return _proven(row)

    async def require_unchanged(self, connection: AsyncConnection, proven: Proven) -> None:
        """See `IdentityProof`."""
        statement = self._enabled().where(person.c.id == proven.id).with_for_update()
        row = (await connection.execute(statement)).mappings().one_or_none()
        if row is None or _proven(row) != proven:
            raise LoginRefused(Refusal.WRONG)

    def holding(self, proven: Proven) -> "ProofHeld":
        """Joins the transaction that relies on a proof, and rolls it back if the proof is no longer valid."""
        return ProofHeld(self, proven)

    async def _take_code(self, row: Any, code: str, now: int) -> None:
        if not code:
            raise LoginRefused(Refusal.CODE_NEEDED)
        self._seal.read_key()
        async with self._database.transaction() as transaction:
            if not await take_code(transaction, self._seal, row, code, now):
                raise LoginRefused(Refusal.CODE_WRONG)

    async def _row(self, username: str) -> Any:
        statement = select(person).where(person.c.username == username, person.c.demo == self._demo)
        async with self._database.reading() as connection:
            return (await connection.execute(statement)).mappings().one_or_none()

    def _enabled(self) -> Select[Any]:
        return select(person).where(person.c.demo == self._demo, person.c.disabled_at.is_(None))


class ProofHeld:
    """See `Passwords.holding` (`storage.database.Companion`)."""

    def __init__(self, proof: IdentityProof, proven: Proven) -> None:
        self._proof = proof
        self._proven = proven

    async def begin(self, connection: AsyncConnection) -> None:
        """Raises LoginRefused."""
        await self._proof.require_unchanged(connection, self._proven)

    async def end(self, connection: AsyncConnection) -> None:
        """Nothing to do: the row is locked until the commit."""


def _proven(row: Any) -> Proven:
    """A second factor is required only once it is confirmed."""
    second_factor = row["totp_secret"] if row["totp_confirmed"] else None
    return Proven(str(row["id"]), digest_of(f"{row['password_hash']} {second_factor}"))
